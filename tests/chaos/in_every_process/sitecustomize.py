"""Python imports this in every process of the campaign: a process can be told to die in the middle of a write.

A file `$CHAOS/<what>` is an order: the first process that writes a file with <what> in its path takes the order, and
kills itself with half of that file written. For an order `$CHAOS/<what>@linked` it dies just after the whole file has
its name.
"""

import os
import signal
from contextlib import suppress
from pathlib import Path

LINKED = "@linked"
_orders = os.environ.get("CHAOS")
_fsync, _link = os.fsync, os.link


def _taken(path: str, ending: str = "") -> bool:
    """Whether there was an order for this file that no other process has taken."""
    for order in Path(str(_orders)).iterdir():
        what = order.name.removesuffix(LINKED)
        if order.name == f"{what}{ending}" and what.replace(":", "/") in path:
            with suppress(FileNotFoundError):
                order.rename(Path(f"{_orders}.done") / order.name)
                return True
    return False


def fsync(descriptor: int) -> None:
    _fsync(descriptor)
    path = Path(f"/proc/self/fd/{descriptor}").readlink()
    if path.suffix == ".unfinished" and _taken(str(path)):
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)


def link(source: str, target: str, **options: object) -> None:
    _link(source, target, **options)
    if str(source).endswith(".unfinished") and _taken(str(target), LINKED):
        os.kill(os.getpid(), signal.SIGKILL)


if _orders is not None:
    os.fsync, os.link = fsync, link
