"""The corpora of a study: given folders, or generated ones where none are given."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread

from components.corpora.corpus import Corpus
from components.corpora.generated.config import GeneratedConfig, Kind
from components.corpora.generated.corpora import Map, recipe_of, write_corpus
from study.corpora.cache import local_copy
from study.stages.identity import digest

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Corpora:
    """The opened corpora that a study's trials need, and the addresses that local copies came from; both by kind."""

    by_kind: Mapping[str, Corpus]
    addresses: Mapping[str, str] = field(default_factory=dict)

    def of(self, kind: str) -> Corpus:
        if kind not in self.by_kind:
            raise ValueError(f"there is no {kind} corpus; given: {', '.join(self.by_kind) or 'none'}")
        return self.by_kind[kind]

    @property
    def places(self) -> dict[str, str]:
        """Content digest -> folder, or the address that every machine knows."""
        return {corpus.digest: self.place_of(kind) for kind, corpus in self.by_kind.items()}

    @property
    def folders(self) -> dict[str, str]:
        """Content digest -> folder on this machine."""
        return {corpus.digest: str(corpus.folder) for corpus in self.by_kind.values()}

    def place_of(self, kind: str) -> str:
        return self.addresses.get(kind, str(self.by_kind[kind].folder))


def open_corpora(
    kinds: Iterable[Kind],
    given: Mapping[str, str | None],
    generated: GeneratedConfig,
    folder: Path,
    report: Report,
    *,
    cache: str = "",
) -> Corpora:
    """Opens the corpora of these kinds.

    A corpus that is not given is generated once, below `folder`. A given one is opened where it is or, with a cache, as
    this machine's own copy.

    Raises:
        ValueError, FileNotFoundError: a given place that holds no corpus, or one of another kind.
    """
    kinds = list(kinds)
    # Given corpora come first: a mistake shows before anything is generated.
    found = {kind: _given(kind, place, cache) for kind in kinds if (place := given.get(kind)) is not None}
    missing: list[Kind] = [kind for kind in kinds if given.get(kind) is None]
    with _processes() as spread:
        made = {kind: _generated(kind, generated, folder, spread, report) for kind in missing}
    places = {kind: str(given[kind]) for kind in found} if cache else {}
    # Absolute: the process that trains on a corpus may work in another folder.
    addresses = {k: p if "://" in p else str(Path(p).expanduser().absolute()) for k, p in places.items()}
    return Corpora(by_kind={**found, **made}, addresses=addresses)


def _given(kind: Kind, place: str, cache: str) -> Corpus:
    corpus = Corpus.open(local_copy(place, cache))
    if corpus.kind != kind:
        raise ValueError(f"--{kind}-corpus {place} holds a {corpus.kind} corpus")
    return corpus


def _generated(kind: Kind, config: GeneratedConfig, folder: Path, spread: Map, report: Report) -> Corpus:
    """The folder is named after the recipe's digest: another recipe makes another corpus, never a mixture of both."""
    place = folder / f"generated-{kind}-{digest(recipe_of(config, kind))[:12]}"
    if not place.is_dir():
        # Another command may finish first; equal recipes give equal corpora.
        with suppress(FileExistsError):
            write_corpus(kind, place, config, map=spread, report=lambda done, total: report(kind, done, total))
    return Corpus.open(place)


@contextmanager
def _processes() -> Iterator[Map]:
    """A `map` over as many processes as there are CPUs, started when it is first used.

    They are spawned, since torch does not survive a fork.
    """
    num_processes = len(os.sched_getaffinity(0))
    pool = ProcessPoolExecutor(num_processes, mp_context=get_context("spawn"), initializer=_start_process)
    try:
        yield lambda function, items: pool.map(function, items, chunksize=4)
    finally:
        pool.shutdown(cancel_futures=True)


def _start_process() -> None:
    """Gives the process one thread, and ends it when the process that started it ends, for whatever reason."""
    import torch

    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
