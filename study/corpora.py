"""The corpora of a study: given folders, or generated ones where none are given."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from components.corpora.generated.config import GeneratedConfig, Kind
from components.corpora.generated.corpora import recipe_of, write_corpus
from components.corpus import Corpus
from study.identity import digest
from study.trial import Corpora

Report = Callable[[str, int, int], None]


def open_corpora(
    kinds: Iterable[Kind], given: Mapping[str, str | None], generated: GeneratedConfig, folder: Path, report: Report
) -> Corpora:
    """Opens the corpora of these kinds; one that is not given is generated below `folder`, once.

    Raises:
        ValueError, FileNotFoundError: a given folder that holds no corpus, or one of another kind.
    """
    return Corpora(by_kind={kind: _open(kind, given.get(kind), generated, folder, report) for kind in kinds})


def _open(kind: Kind, given: str | None, generated: GeneratedConfig, folder: Path, report: Report) -> Corpus:
    if given is None:
        return _generated(kind, generated, folder, report)
    corpus = Corpus.open(given)
    if corpus.kind != kind:
        raise ValueError(f"--{kind}-corpus {given} holds a {corpus.kind} corpus")
    return corpus


def _generated(kind: Kind, config: GeneratedConfig, folder: Path, report: Report) -> Corpus:
    """The folder's name is the recipe's digest: another recipe is another corpus, never a mixture of two."""
    place = folder / f"generated-{kind}-{digest(recipe_of(config, kind))[:12]}"
    if not place.is_dir():
        # Another command may be first; equal recipes give equal corpora.
        with _processes() as spread, suppress(FileExistsError):
            write_corpus(kind, place, config, map=spread, report=lambda done, total: report(kind, done, total))
    return Corpus.open(place)


class _processes:  # noqa: N801 - reads as what it gives
    """A `map` over as many processes as there are CPUs; they start afresh, since torch does not survive a fork."""

    def __enter__(self) -> Callable[[Callable[[int], Any], Iterable[int]], Iterator[Any]]:
        num_processes = len(os.sched_getaffinity(0))
        self._pool = ProcessPoolExecutor(num_processes, mp_context=get_context("spawn"), initializer=_one_thread)
        return lambda function, items: self._pool.map(function, items, chunksize=4)

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
