"""TensorBoard's files: every stage's epochs as it trains, one file per attempt in the stage's own folder.

`tensorboard --logdir STORAGE/tensorboard` shows them; the study itself reads none of them.
"""

import logging
import math
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from study.stage import Stage
from study.storage import Storage

FOLDER = "tensorboard"
UPLOAD_EVERY_S = 30.0
_log = logging.getLogger("study.stage")
_NO_METRICS = ("epoch", "step", "phase")


class EpochEvents:
    """The events of one attempt; a context. On an object store, which cannot append, the file is sent now and then."""

    def __init__(self, storage: Storage, stage: Stage, attempt: str) -> None:
        self._storage, self._path, self._attempt = storage, f"{FOLDER}/{stage.slug}", attempt
        self._sent_at = time.monotonic()
        self._open = ExitStack()

    def __enter__(self) -> "EpochEvents":
        # Where tensorboardX is imported it stays in memory; processes that train nothing need not have it.
        from tensorboardX import SummaryWriter

        self._own = self._storage.local_path(self._path)
        self._folder = self._own or Path(self._open.enter_context(tempfile.TemporaryDirectory()))
        self._writer = SummaryWriter(str(self._folder), flush_secs=10, filename_suffix=f".{self._attempt}")
        return self

    def add(self, epoch: Mapping[str, Any]) -> None:
        """A row as in `StageResult.epochs`; its numbers stand at the optimiser step at which the epoch ended."""
        for name, value in epoch.items():
            if name not in _NO_METRICS and isinstance(value, int | float) and math.isfinite(value):
                self._writer.add_scalar(name, value, epoch["step"])
        if time.monotonic() - self._sent_at >= UPLOAD_EVERY_S:
            self._send()

    def __exit__(self, *_: object) -> None:
        with self._open:
            self._writer.close()
            self._send()

    def _send(self) -> None:
        self._sent_at = time.monotonic()
        if self._own is None:
            self._writer.flush()
            for file in self._folder.iterdir():
                try:
                    self._storage.write(f"{self._path}/{file.name}", file.read_bytes())
                except OSError as error:  # a picture that cannot be sent ends no stage
                    _log.warning("%s was not sent: %s", file.name, error)
