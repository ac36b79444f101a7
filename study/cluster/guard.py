"""The guard: a small process that outlives a killed command, ends what the command left behind, and says where to look.

Ray's agents notice for a minute at most that their cluster is gone. And a command that Ray aborts can say nothing.
"""

import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

LOOK_EVERY_S = 2.0
ORDERLY_S = 5.0
_DONE = b"done"


@contextmanager
def guarded(log: Path, scratch: str) -> Iterator[None]:
    """If this process ends inside the block, its descendants are ended and `scratch` is removed within 15 s.

    `scratch`: a folder of this machine, "" for none. `log`: where Ray's words are. It is named if there are any.
    """
    guard = subprocess.Popen(
        [sys.executable, "-m", "study.cluster.guard", str(psutil.Process().pid), str(log), scratch],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stderr=_terminal(),
        start_new_session=True,
    )
    try:
        yield
    finally:
        with suppress(OSError):  # somebody has ended the guard
            guard.communicate(_DONE)


def _terminal() -> int | None:
    """The error output, None if it is no file. File descriptor 2 may lead elsewhere."""
    try:
        return sys.stderr.fileno()
    except (OSError, ValueError):
        return None


def main(command: psutil.Process, log: Path, scratch: str) -> None:
    """Waits for the end of the command, which closes the standard input, and cleans up if it says nothing before."""
    family: set[psutil.Process] = set()
    while not select.select([sys.stdin], [], [], LOOK_EVERY_S)[0]:
        family |= _descendants([command])
    if sys.stdin.buffer.read() == _DONE:
        return
    family |= _descendants(family)
    _, left = psutil.wait_procs(family, timeout=ORDERLY_S)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=ORDERLY_S)
    shutil.rmtree(scratch, ignore_errors=True)
    said = f" What Ray said last: {log}" if log.exists() and log.stat().st_size else ""
    print(f"The command was ended from outside. The same command goes on from what is done.{said}", file=sys.stderr)
    if not said:
        log.unlink(missing_ok=True)


def _descendants(processes: "list[psutil.Process] | set[psutil.Process]") -> set[psutil.Process]:
    found: set[psutil.Process] = set()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found.update(process.children(recursive=True))
    return found - {psutil.Process()}


if __name__ == "__main__":
    main(psutil.Process(int(sys.argv[1])), Path(sys.argv[2]), sys.argv[3])
