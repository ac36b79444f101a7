"""The study's command in a process of its own, to be killed, and what it leaves behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from tests import ROOT

WITHIN_S = 600.0


def start(storage: Path | str, *options: str) -> "subprocess.Popen[str]":
    """The tiny study with one seed; a loop state after every step."""
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "experiments/ablation.py", "--preset", "tiny", "--seeds", "1"]
    return subprocess.Popen(
        [*command, "--storage", str(storage), "--checkpoint-every-s", "0", *options],
        cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def finish(process: "subprocess.Popen[str]") -> str:
    """What it said; it must end well."""
    output, _ = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, output
    return output


def wait_until(happened: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    ends = time.monotonic() + WITHIN_S
    while not happened():
        assert process.poll() is None and time.monotonic() < ends
        time.sleep(0.05)


def family(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """The process's descendants."""
    return psutil.Process(process.pid).children(recursive=True)


def workers(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """Those that train."""
    return named(process, "RayTrainWorker")


def named(process: "subprocess.Popen[str]", name: str) -> list[psutil.Process]:
    """Those of its processes that run Ray's actors of a class."""
    return [p for p in family(process) if name in _name(p)]


def _name(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):  # it may end, or be a zombie, meanwhile
        return " ".join(process.cmdline()[:1])
    return ""


def interrupt(process: "subprocess.Popen[str]") -> None:
    """Ctrl-C."""
    process.send_signal(signal.SIGINT)


def gone(processes: list[psutil.Process]) -> bool:
    """Whether they all end, as the guard sees to."""
    _, alive = psutil.wait_procs(processes, timeout=30)
    return not alive
