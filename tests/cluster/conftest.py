"""One cluster of two CPUs for all tests of this folder that need no cluster of their own."""

import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from watched import Watched

from study import cluster
from study.scheduler import StageSearcher, schedule
from study.site import Site
from study.stage import Stage, StageGraph
from study.store import Store

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running cluster, and the place for what Ray keeps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        # Ray's processes import the toy kinds too.
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(ROOT), os.environ.get("PYTHONPATH", "")]))
        # As whoever starts Ray may have it from another launcher, torchrun for example.
        patch.setenv("WORLD_SIZE", "4")
        with cluster.connected(Site(storage=str(tmp_path_factory.mktemp("store"))), num_cpus=2) as scratch:
            patch.delenv("WORLD_SIZE")
            yield scratch


Run = Callable[..., Watched]


@pytest.fixture
def run(scratch: str, tmp_path: Path) -> Run:
    """Runs stages on the cluster, as one command does; keywords go to the site."""

    def run(stages: Iterable[Stage], watch: Callable[[StageSearcher, Watched], Any] | None = None, **site: Any):
        place = Site(storage=str(tmp_path), **site)
        store, progress = Store(place.storage), Watched()
        searcher = StageSearcher(
            graph=StageGraph(stages),
            store=store,
            site=place,
            progress=progress,
            limit=partial(cluster.limit, place),
            present=cluster.present,
        )
        if watch is not None:
            watch(searcher, progress)
        schedule(searcher, site=place, command=uuid.uuid4().hex[:12], facts={}, scratch=scratch)
        return progress

    return run
