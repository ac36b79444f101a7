"""TensorBoard's files: every stage's epochs as it trains, one file per attempt in the stage's own folder.

`tensorboard --logdir STORAGE/tensorboard` shows them. The study itself does not read them, and a stage goes on if one
cannot be written.
"""

import logging
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from study.stages.stage import Stage
from study.store.storage import Storage

FOLDER = "tensorboard"
WRITE_EVERY_S, SEND_EVERY_S = 5.0, 30.0
_log = logging.getLogger("study.stage")
_NO_METRICS = ("epoch", "step", "phase")


class TensorBoardLog:
    """Writes the epochs of one attempt; a context manager.

    An object store cannot append, so there the whole file is written again every `SEND_EVERY_S` seconds.
    """

    def __init__(self, storage: Storage, stage: Stage, attempt: str) -> None:
        self._storage, self._path, self._attempt = storage, f"{FOLDER}/{stage.slug}", attempt
        self._own = storage.local_path(self._path)
        self._written_at = self._sent_at = time.monotonic()
        self._open = ExitStack()
        self._writer: Any = None

    def __enter__(self) -> "TensorBoardLog":
        self._try(self._start)
        return self

    def add(self, epoch: Mapping[str, Any]) -> None:
        """A row as in `StageResult.epochs`; its numbers stand at the optimiser step at which the epoch ended."""
        self._try(lambda: self._add(epoch))

    def __exit__(self, *_: object) -> None:
        with self._open:
            self._try(self._end)

    def _try(self, write: Callable[[], None]) -> None:
        """Runs `write`. After the first failure nothing more is written."""
        try:
            write()
        except OSError as error:
            _log.warning("no more events for TensorBoard: %s", error)
            self._writer = None

    def _start(self) -> None:
        # Imported here: processes that train nothing need not load it. Its SummaryWriter is not used: it writes in a
        # thread, and waiting for a thread that has failed never ends.
        from tensorboardX.event_file_writer import EventsWriter

        self._folder = self._own or Path(self._open.enter_context(tempfile.TemporaryDirectory()))
        self._folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(self._folder / "events"), f".{self._attempt}")

    def _add(self, epoch: Mapping[str, Any]) -> None:
        if self._writer is None:
            return
        from tensorboardX.proto import event_pb2
        from tensorboardX.summary import scalar

        for name, value in epoch.items():
            if name not in _NO_METRICS and isinstance(value, int | float) and math.isfinite(value):
                event = event_pb2.Event(wall_time=time.time(), step=epoch["step"], summary=scalar(name, value))  # pyright: ignore[reportAttributeAccessIssue]
                self._writer.write_event(event)
        if time.monotonic() - self._written_at >= WRITE_EVERY_S:
            self._writer.flush()
            self._written_at = time.monotonic()
        if time.monotonic() - self._sent_at >= SEND_EVERY_S:
            self._send()

    def _end(self) -> None:
        if self._writer is not None:
            self._send()
            self._writer.close()

    def _send(self) -> None:
        self._sent_at = time.monotonic()
        if self._own is None:
            self._writer.flush()
            for file in self._folder.iterdir():
                self._storage.write(f"{self._path}/{file.name}", file.read_bytes())
