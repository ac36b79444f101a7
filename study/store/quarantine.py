"""Quarantine: a damaged file is moved aside with its cause, never deleted, and one line says so.

quarantine/<its path>-<token>          the file
quarantine/<its path>-<token>.cause    what is wrong with it, in words
"""

import logging
import uuid

from study.store.storage import Storage

FOLDER = "quarantine"
# Without a handler of its own, a warning is a line on the terminal's error output, and in a worker in Ray's log.
_log = logging.getLogger(__name__)


def set_aside(storage: Storage, path: str, cause: object, consequence: str) -> None:
    """Moves a file; nothing if another process was faster. ValueError, naming the file, if it cannot be moved."""
    place, text = f"{FOLDER}/{path}-{uuid.uuid4().hex[:8]}", " ".join(str(cause).split())
    try:
        storage.move(path, place)
        storage.write(f"{place}.cause", text.encode())
    except FileNotFoundError:
        return
    except OSError as error:
        raise ValueError(f"{storage.name_of(path)} is damaged ({text}), and cannot be set aside: {error}") from error
    _log.warning("damaged, set aside as %s: %s. %s", storage.name_of(place), text, consequence)
