"""A stage's own log: what it did and what went wrong, one readable file per stage in the store."""

import logging
import time

from study.stages.stage import Stage
from study.store.storage import Storage

WRITE_EVERY_S = 5.0


def log_path(stage: Stage, worker: int = 0) -> str:
    """Path of a stage's log in the store, for example logs/separation-vocals-seed-0-1f9c2a7e.log.

    The first of several workers writes that one, the others write their own, with "-worker1" and so on.
    """
    return f"logs/{stage.slug}{f'-worker{worker}' if worker else ''}.log"


class StageLog(logging.Handler):
    """Collects log lines and rewrites the file at most every few seconds (object stores cannot append)."""

    def __init__(self, storage: Storage, stage: Stage, worker: int = 0) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._storage, self._path = storage, log_path(stage, worker)
        self._lines = [storage.read(self._path).decode()] if storage.exists(self._path) else []
        self._written_at = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record) + "\n")
        if time.monotonic() - self._written_at > WRITE_EVERY_S:
            try:
                self.flush()
            except OSError:
                # As Python's logging does: a log that cannot be written does not end the stage.
                self.handleError(record)

    def flush(self) -> None:
        self._storage.write(self._path, "".join(self._lines).encode())
        self._written_at = time.monotonic()

    def __enter__(self) -> logging.Logger:
        logger = logging.getLogger("study.stage")
        logger.setLevel(logging.INFO)
        logger.addHandler(self)
        return logger

    def __exit__(self, *_: object) -> None:
        logging.getLogger("study.stage").removeHandler(self)
        self.flush()
