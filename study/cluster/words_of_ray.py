"""Ray's own words: what its parts print when one of them dies goes to a file, not to the user's terminal."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def kept_in(file: Path) -> Iterator[None]:
    """Ray's C++ parts write to file descriptor 2 and its Python parts to a logger: both lead to the file.

    What this program itself writes to its error output stays there.
    """
    own, terminal = sys.stderr, os.dup(2)
    with suppress(OSError, ValueError):  # a stream without a file descriptor is not Ray's
        if own.fileno() == 2:
            sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1, encoding=own.encoding, errors=own.errors)
    with file.open("ab") as log:
        own.flush()
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        if sys.stderr is not own:
            sys.stderr.close()
            sys.stderr = own
        _lead_to(logging.NullHandler())


def logged_in(file: Path) -> None:
    """Leads Ray's logger to the file. Ray sets its own handler when it starts: call this afterwards."""
    _lead_to(logging.FileHandler(file, delay=True))


def _lead_to(handler: logging.Handler) -> None:
    logger = logging.getLogger("ray")
    for known in list(logger.handlers):
        logger.removeHandler(known)
        known.close()
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
