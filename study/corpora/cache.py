"""The corpus cache: a corpus that lies elsewhere is copied once to each machine's own disk."""

import os
import shutil
from pathlib import Path

from components.corpora.corpus import Corpus
from components.corpora.corpus_format import MANIFEST_FILE, TABLE_FILE, WAVEFORM_FILE, Manifest
from study.store.locks import locked
from study.store.storage import Storage, open_storage

COPY_BYTES = 16 * 2**20


def local_copy(address: str, cache: str) -> Path:
    """The folder of a corpus on this machine: the address itself or, with a cache, the copy there.

    Several processes may ask at once: one of them copies, and compares the copy with the corpus' digest. The cache's
    name may hold environment variables, which every machine sets for itself.

    Raises:
        ValueError: without a cache, an address that is no folder; a variable that is not set; or a copy whose digest
            does not fit.
        FileNotFoundError: no corpus there.
    """
    if not cache:
        if "://" in address:
            raise ValueError(f"{address} is no folder: say with --corpus-cache where every machine may keep a copy")
        return Path(address).expanduser().absolute()
    own_disk = own_folder(cache)
    storage = open_storage(address)
    try:
        manifest = storage.read(MANIFEST_FILE)
    except FileNotFoundError:
        raise FileNotFoundError(f"{storage.name} holds no corpus: it has no {MANIFEST_FILE}") from None
    digest = Manifest.parsed(manifest, storage.name_of(MANIFEST_FILE)).digest
    target = own_disk / digest
    with locked(target.with_suffix(".lock")):
        if not _is_whole(target, manifest):
            shutil.rmtree(target, ignore_errors=True)
            _copy(storage, target)
    return target


def own_folder(cache: str) -> Path:
    """The cache's folder on this machine; ValueError if it names an environment variable that is not set here."""
    folder = Path(os.path.expandvars(cache)).expanduser().absolute()
    if "$" in str(folder):
        raise ValueError(f"--corpus-cache {cache} names an environment variable that is not set on this machine")
    return folder


def _is_whole(copy: Path, manifest: bytes) -> bool:
    """Whether a copy is there and complete, with the same manifest."""
    try:
        Corpus.open(copy)
        return (copy / MANIFEST_FILE).read_bytes() == manifest
    except (ValueError, OSError):
        return False


def _copy(storage: Storage, target: Path) -> None:
    unfinished = target.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    for name in (WAVEFORM_FILE, TABLE_FILE, MANIFEST_FILE):
        with storage.open(name) as source, (unfinished / name).open("wb") as file:
            shutil.copyfileobj(source, file, COPY_BYTES)
    Corpus.open(unfinished).verify()
    unfinished.rename(target)
