"""A killed command leaves nothing behind, and Ray's words do not reach the terminal."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests import ROOT

# A command with a child in a session of its own, as Ray's are, and Ray's words in their file.
COMMAND = """
import os, subprocess, sys
from pathlib import Path
from study.cluster.guard import guarded
from study.cluster.words_of_ray import kept_in
folder = Path(sys.argv[1])
log, scratch = folder / "log", folder / "scratch"
scratch.mkdir()
sleeping = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
with kept_in(log), guarded(log, str(scratch)):
    child = subprocess.Popen(sleeping, stdout=subprocess.PIPE, start_new_session=True)
    child.stdout.readline()
    os.write(2, sys.argv[2].encode())
    print("own words", file=sys.stderr)
    print(child.pid, flush=True)
    sys.stdin.readline()
    child.kill()
print("after", file=sys.stderr)
os.write(2, b"the end")
"""


def start(folder: Path, words: str) -> "tuple[subprocess.Popen[str], psutil.Process]":
    """The command, and its child."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder), words],
        cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    return process, psutil.Process(int(process.stdout.readline()))


@pytest.mark.parametrize("words", ["", "pages of a state dump"])
def test_what_a_killed_command_started_ends_and_one_line_says_where_rays_words_are(tmp_path, words):
    process, child = start(tmp_path, words)
    assert {p.name() for p in psutil.Process(process.pid).children()} != set()
    # Long enough for the guard to have looked.
    with pytest.raises(psutil.TimeoutExpired):
        child.wait(3)
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate(timeout=60)  # until the guard, the last to hold it, closes the error output
    assert not child.is_running() and not (tmp_path / "scratch").exists()
    where = f" What Ray said last: {tmp_path}/log" if words else ""
    line = f"The command was ended from outside. The same command goes on from what is done.{where}"
    assert said.splitlines() == ["own words", line]
    assert (tmp_path / "log").exists() == bool(words) and (not words or (tmp_path / "log").read_text() == words)


def test_an_orderly_end_is_quiet_and_gives_the_error_output_back(tmp_path):
    process, _ = start(tmp_path, "pages of a state dump")
    _, said = process.communicate("\n", timeout=60)
    assert process.returncode == 0 and said == "own words\nafter\nthe end"
    assert (tmp_path / "scratch").exists() and (tmp_path / "log").read_text() == "pages of a state dump"
