"""The exit code of a command, however it was started and however it ends."""

import io
import signal
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from study.cluster.execution import ClusterLostError
from study.command.exit_code import EXIT_INTERRUPTED, EXIT_USAGE, exit_code
from tests import ROOT

WAITS = """
import time
from study.command.display import terminal
from study.cluster.execution import ClusterLostError
from study.command.exit_code import exit_code

def run():
    print("waiting", flush=True)
    time.sleep(60)
    return 0

raise SystemExit(exit_code(run, terminal(), stopped="It starts again."))
"""


def ignore_signals() -> None:
    """What a shell does to the SIGINT of a command in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_was_started_with_signals_ignored_is_interrupted(sent):
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS],
        cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=ignore_signals,  # noqa: PLW1509
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    process.send_signal(sent)
    printed, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (EXIT_INTERRUPTED, "") and EXIT_INTERRUPTED == 130
    assert "Stopped. It starts again." in printed


def test_a_lost_cluster_is_one_line_that_says_how_to_go_on(monkeypatch, capsys):
    def run() -> int:
        raise ClusterLostError("Ray has failed; what it said: /tmp/log")

    monkeypatch.setattr(sys, "argv", ["/somewhere/ablation.py"])
    assert exit_code(run, Console(file=io.StringIO()), stopped="It starts again.") == 1
    assert capsys.readouterr().err == "ablation.py: Ray has failed; what it said: /tmp/log. It starts again.\n"


@pytest.mark.parametrize("error", [ValueError("two\nlines"), FileNotFoundError("two\n lines")])
def test_bad_input_is_one_line_in_any_thread(monkeypatch, capsys, error):
    def run() -> int:
        raise error

    monkeypatch.setattr(sys, "argv", ["/somewhere/ablation.py"])
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(exit_code(run, Console(file=io.StringIO()))))
    thread.start()
    thread.join()
    assert codes == [EXIT_USAGE] == [2]
    assert capsys.readouterr().err == "ablation.py: two lines\n"
