"""Locks: one process at a time on this machine. A lock is free again when its process ends, for whatever reason."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, *, busy: str = "") -> Iterator[None]:
    """Holds the lock. If another process has it, waits or, with `busy`, raises ValueError with these words."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
        except BlockingIOError:
            raise ValueError(busy) from None
        yield
