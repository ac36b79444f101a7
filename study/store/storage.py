"""Storage: whole files under one location, a local folder or an object store, each written completely or not at all.

A local file is written beside its place, flushed to the disk and then renamed (or linked, where it must not replace
another one). An object store (s3://, gs://, abfs://, through pyarrow.fs) shows an object only when its upload is
complete. If one does not answer, or says that it is overloaded, it is asked again for two minutes.

pyarrow cannot make an upload depend on whether the object exists. So `create` looks first and then writes there: of two
writers at the same moment, both may get the answer that they were first. The later content stays.
"""

import errno
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import pyarrow as pa
from pyarrow import fs

Item = TypeVar("Item")
Value = TypeVar("Value")
_NUM_THREADS = 16
PATIENCE_S = 120.0
_PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0)
# What pyarrow's errors say when an object store cannot answer now, and when a network fails.
_PASSES = re.compile(
    r"HTTP status (?:429|5\d\d)|SLOW_DOWN|SERVICE_UNAVAILABLE|THROTTL|INTERNAL_FAILURE|NETWORK_CONNECTION"
    r"|REQUEST_TIMEOUT|curlCode|UNAVAILABLE|timed? ?out|Connection (?:refused|reset)",
    re.IGNORECASE,
)
_WHAT_TO_DO = {
    errno.ENOSPC: "Free some space there",
    errno.EDQUOT: "Free some space there, or have the quota raised",
    errno.EACCES: "Make it writable",
    errno.EPERM: "Make it writable",
    errno.EROFS: "Make it writable",
}
_log = logging.getLogger(__name__)


class StorageError(PermissionError):
    """The storage takes no file now; the text says where, why, and what to do."""


class StoredAt(NamedTuple):
    """A file: its path, its size, and when it was written (seconds since 1970, None where the place does not tell)."""

    path: str
    num_bytes: int
    written_at: float | None


class Storage:
    """Files by their path below the location, on any pyarrow file system whose files appear when they are closed.

    `name` is the location for messages, without the parts of a URI that can hold a secret.
    """

    def __init__(self, location: str, filesystem: fs.FileSystem, root: str) -> None:
        self.name = re.sub(r"://[^/]*@", "://", location).split("?")[0].rstrip("/")
        self._location = location
        self._filesystem = filesystem
        self._root = root.rstrip("/")

    def name_of(self, path: str) -> str:
        """The full name of a path, for messages."""
        return f"{self.name}/{path}"

    def address_of(self, path: str) -> str:
        """The full address of a path for other programs, with the options of the URI."""
        place, *options = self._location.split("?", 1)
        return "?".join([f"{place.rstrip('/')}/{path}", *options])

    def local_path(self, path: str) -> Path | None:
        """The path on this machine's file system; None in an object store."""
        return None

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _patiently(self, call: Callable[[], Value]) -> Value:
        """What the call returns. While it fails for a reason that passes, it is repeated."""
        ends, pauses = time.monotonic() + PATIENCE_S, [*_PAUSES_S]
        while True:
            try:
                return call()
            except OSError as error:
                if not _PASSES.search(str(error)) or time.monotonic() > ends:
                    raise
                if len(pauses) == len(_PAUSES_S):
                    _log.warning("%s does not answer, trying for %.0f s: %s", self.name, PATIENCE_S, _line(error))
            time.sleep(pauses.pop(0) if len(pauses) > 1 else pauses[0])

    def read(self, path: str) -> bytes:
        """The file's content; FileNotFoundError if there is none."""

        def read() -> bytes:
            with self.open(path) as file:
                return file.read()

        return self._patiently(read)

    def open(self, path: str) -> pa.NativeFile:
        """The file for reading at any position; FileNotFoundError if there is none."""
        return self._filesystem.open_input_file(self._path(path))

    def exists(self, path: str) -> bool:
        return self._patiently(lambda: self._filesystem.get_file_info(self._path(path))).type == fs.FileType.File

    def names(self, folder: str) -> list[str]:
        """Sorted names in a folder, without unfinished files; none if there is no such folder."""
        names = (info.base_name for info in self._listed(folder, recursive=False))
        return sorted(name for name in names if name and not name.startswith("."))

    def files(self, folder: str = "") -> list[StoredAt]:
        """All files at any depth below a folder, sorted by path, unfinished ones too; none without such a folder."""
        found = [info for info in self._listed(folder, recursive=True) if info.type == fs.FileType.File]
        root = len(self._path(""))
        times = (None if info.mtime_ns is None else info.mtime_ns / 1e9 for info in found)
        return sorted(
            (StoredAt(info.path[root:], info.size, time) for info, time in zip(found, times, strict=True)),
            key=lambda file: file.path,
        )

    def _listed(self, folder: str, *, recursive: bool) -> list[fs.FileInfo]:
        selector = fs.FileSelector(self._path(folder).rstrip("/"), allow_not_found=True, recursive=recursive)
        while True:
            # Another process may remove a folder between pyarrow's look at it and its listing.
            with suppress(FileNotFoundError):
                return self._patiently(lambda: self._filesystem.get_file_info(selector))

    def write(self, path: str, data: bytes) -> None:
        """Writes a file; a reader sees the old content or the new, always whole. StorageError if it cannot be."""

        def write() -> None:
            with self._filesystem.open_output_stream(self._path(path)) as file:
                file.write(data)

        try:
            self._patiently(write)
        except OSError as error:
            raise self._not_written(path, error) from error

    def _not_written(self, path: str, error: OSError) -> StorageError:
        what_to_do = _WHAT_TO_DO.get(error.errno or 0, "See that it is there and takes files")
        cause = error.strerror or _line(error)
        return StorageError(f"{self.name_of(path)} cannot be written: {cause}. {what_to_do}; the same command goes on")

    def create(self, path: str, data: bytes) -> bool:
        """Writes a file only if there is none; returns whether it did (on object stores see above)."""
        if self.exists(path):
            return False
        self.write(path, data)
        return True

    def delete(self, path: str) -> None:
        """Removes a file if it is there."""
        with suppress(FileNotFoundError):
            if self.exists(path):
                self._patiently(lambda: self._filesystem.delete_file(self._path(path)))

    def move(self, path: str, target: str) -> None:
        """Moves a file to a place where there is none; FileNotFoundError if it is not there."""
        if not self.exists(path):
            raise FileNotFoundError(self.name_of(path))
        self._filesystem.move(self._path(path), self._path(target))

    def delete_folder(self, path: str) -> None:
        """Removes a folder and its content, as far as possible. A folder that is not there is no error."""
        with suppress(OSError):
            self._filesystem.delete_dir(self._path(path))

    def delete_unfinished(self, folder: str, prefix: str) -> None:
        """Removes the unfinished files, of names with this prefix, that killed writers left in a folder.

        Object stores keep no such files. A writer that is still alive gets a FileNotFoundError.
        """

    def check_writable(self) -> None:
        """Raises PermissionError, with location and cause, unless files can be created, replaced and removed here."""
        probe = f"probe-{uuid.uuid4().hex}"
        try:
            if not self.create(probe, b"1"):
                raise OSError(f"{probe} exists already")
            self.write(probe, b"2")
            self.delete(probe)
        except OSError as error:
            raise PermissionError(f"storage {self.name} is not writable: {error}") from error


class LocalStorage(Storage):
    """Files below a folder that allows hard links: with them `create` is atomic, also between machines."""

    def __init__(self, location: Path) -> None:
        super().__init__(str(location), fs.LocalFileSystem(), str(location))
        self.name = str(location)

    def local_path(self, path: str) -> Path | None:
        return Path(self._path(path))

    def write(self, path: str, data: bytes) -> None:
        target = Path(self._path(path))
        try:
            self._written_beside(target, data).replace(target)
            _flush_folder(target.parent)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._not_written(path, error) from error

    def create(self, path: str, data: bytes) -> bool:
        if self.exists(path):
            return False
        target = Path(self._path(path))
        try:
            unfinished = self._written_beside(target, data)
            try:
                target.hardlink_to(unfinished)
            finally:
                unfinished.unlink()
            _flush_folder(target.parent)
        except FileExistsError:
            return False
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._not_written(path, error) from error
        return True

    def _written_beside(self, target: Path, data: bytes) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.parent / f".{target.name}.{uuid.uuid4().hex}.unfinished"
        try:
            with unfinished.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            # A full disk is to lose no more space.
            unfinished.unlink(missing_ok=True)
            raise
        return unfinished

    def delete(self, path: str) -> None:
        Path(self._path(path)).unlink(missing_ok=True)

    def move(self, path: str, target: str) -> None:
        place = Path(self._path(target))
        place.parent.mkdir(parents=True, exist_ok=True)
        Path(self._path(path)).rename(place)

    def delete_unfinished(self, folder: str, prefix: str) -> None:
        for path in Path(self._path(folder)).glob(f".{prefix}*.unfinished"):
            path.unlink(missing_ok=True)


def _line(error: OSError) -> str:
    return " ".join(str(error).split())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_storage(location: str | Path, filesystem: fs.FileSystem | None = None) -> Storage:
    """The storage at a local path or a URI that pyarrow knows; or at a path of `filesystem`, if it is given."""
    if filesystem is not None:
        return Storage(str(location), filesystem, str(location))
    if "://" not in str(location):
        return LocalStorage(Path(location).expanduser().absolute())
    filesystem, root = fs.FileSystem.from_uri(_in_one_request(str(location)))
    if isinstance(filesystem, fs.LocalFileSystem):
        return LocalStorage(Path(root))
    return Storage(str(location), filesystem, root)


def _in_one_request(address: str) -> str:
    """The address, with which a small file is written to a bucket of S3 in one request instead of three."""
    if not address.startswith("s3://") or "allow_delayed_open" in address:
        return address
    return f"{address}{'&' if '?' in address else '?'}allow_delayed_open=true"


def concurrently(function: Callable[[Item], Value], items: Iterable[Item]) -> list[Value]:
    """[function(item) for item in items], several at once: each request to an object store takes long."""
    items = list(items)
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        return list(pool.map(function, items))
