"""One cluster of two CPUs for all tests of this folder that need no cluster of their own."""

import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from study.cluster import connection
from study.cluster.dispatcher import Dispatcher
from study.cluster.execution import Execution
from study.cluster.scheduler import schedule
from study.stages.graph import StageGraph
from study.stages.stage import Stage
from study.store.claims import Claims
from study.store.store import Store
from tests import ROOT
from tests.study.cluster.watched import Flat, Watched


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running cluster, and the place for what Ray keeps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        # Ray's processes import the toy kinds too.
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
        # As whoever starts Ray may have it from another launcher, torchrun for example.
        patch.setenv("WORLD_SIZE", "4")
        with connection.connected(Execution(storage=str(tmp_path_factory.mktemp("store"))), num_cpus=2) as scratch:
            patch.delenv("WORLD_SIZE")
            yield scratch


Run = Callable[..., Watched]


@pytest.fixture(scope="session")
def run_in(scratch: str) -> Run:
    """Runs stages on the cluster, as one command does, with their store in a folder; keywords go to the execution."""

    def run(folder: Path, stages: Iterable[Stage], **execution: Any) -> Watched:
        place = Execution(storage=str(folder), **execution)
        progress, command = Watched(), uuid.uuid4().hex[:12]
        dispatcher = Dispatcher(
            graph=StageGraph(stages),
            store=Store(place.storage),
            execution=place,
            progress=progress,
            facts={"command": command},
            limit=partial(connection.resource_limit, place),
            holds=connection.machines_hold,
            expected=Flat(),
            claims=Claims(Store(place.storage), command),
        )
        schedule(dispatcher, execution=place, command=command, facts={}, scratch=scratch)
        return progress

    return run


@pytest.fixture
def run(run_in: Run, tmp_path: Path) -> Run:
    """As `run_in`, in the test's own folder."""
    return partial(run_in, tmp_path)
