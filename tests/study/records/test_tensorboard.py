"""TensorBoard's files: what TensorBoard would read of them, on a disk and on an object store."""

import math
import struct
from pathlib import Path

from pyarrow import fs
from tensorboardX.proto import event_pb2

from study.records.tensorboard import TensorBoardLog
from study.store.storage import open_storage
from tests.study.toy_stages import toy_stage

EPOCHS = [
    {"epoch": 0, "step": 10, "phase": "0", "train_loss": 0.5, "duration_s": 2.0},
    {"epoch": 1, "step": 20, "phase": "0", "train_loss": 0.25, "roc_auc": 0.75, "loss": math.nan, "duration_s": 2.0},
]


def scalars(data: bytes) -> list[tuple[str, int, float]]:
    """(name, step, value) of an event file: records of length, checksum, event, checksum."""
    found = []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        event = event_pb2.Event.FromString(data[12 : 12 + length])
        found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
        data = data[16 + length :]
    return found


EXPECTED = [
    ("train_loss", 10, 0.5),
    ("duration_s", 10, 2.0),
    ("train_loss", 20, 0.25),
    ("roc_auc", 20, 0.75),
    ("duration_s", 20, 2.0),
]


def test_every_finite_number_of_every_epoch_stands_at_its_step(tmp_path):
    stage = toy_stage()
    with TensorBoardLog(open_storage(tmp_path), stage, "001-abc") as events:
        for epoch in EPOCHS:
            events.add(epoch)
    (file,) = (tmp_path / "tensorboard" / stage.slug).iterdir()
    assert file.name.endswith(".001-abc") and "tfevents" in file.name
    assert scalars(file.read_bytes()) == EXPECTED


def test_the_next_attempt_has_a_file_of_its_own(tmp_path):
    for attempt in ("001-abc", "002-def"):
        with TensorBoardLog(open_storage(tmp_path), toy_stage(), attempt) as events:
            events.add(EPOCHS[0])
    files = sorted((tmp_path / "tensorboard" / toy_stage().slug).iterdir(), key=lambda file: file.name[-7:])
    assert [scalars(file.read_bytes()) for file in files] == [EXPECTED[:2]] * 2


def test_a_file_that_cannot_be_written_ends_nothing(tmp_path, monkeypatch):
    from tensorboardX.event_file_writer import EventsWriter

    def full(self, event):
        raise OSError(28, "No space left on device")

    (tmp_path / "tensorboard").write_text("here is no room for a folder")
    with TensorBoardLog(open_storage(tmp_path), toy_stage(), "001-abc") as events:
        events.add(EPOCHS[0])
    (tmp_path / "tensorboard").unlink()
    with TensorBoardLog(open_storage(tmp_path), toy_stage(), "002-abc") as events:
        events.add(EPOCHS[0])
        monkeypatch.setattr(EventsWriter, "write_event", full)
        for _ in range(100):  # more than any queue holds
            events.add(EPOCHS[1])
    (file,) = (tmp_path / "tensorboard" / toy_stage().slug).iterdir()
    assert scalars(file.read_bytes()) in ([], EXPECTED[:2])


def test_an_object_store_gets_the_file_sent(tmp_path, monkeypatch):
    monkeypatch.setattr("study.records.tensorboard.SEND_EVERY_S", 0.0)
    filesystem = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    storage = open_storage("bucket", filesystem)
    filesystem.create_dir(f"bucket/tensorboard/{toy_stage().slug}")
    with TensorBoardLog(storage, toy_stage(), "001-abc") as events:
        events.add(EPOCHS[0])
        (file,) = Path(tmp_path, "bucket/tensorboard", toy_stage().slug).iterdir()
        events.add(EPOCHS[1])
    assert scalars(file.read_bytes()) == EXPECTED
