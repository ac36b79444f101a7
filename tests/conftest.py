"""For all tests: one thread, as a stage on one CPU has, and Ctrl-C as a terminal gives it."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from xdist.scheduler import LoadScopeScheduling

from tests.bucket import Bucket, serving

torch.set_num_threads(1)
# A shell that starts the tests in the background has them, and so their children, ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Where several processes share the tests, each file stays in one of them, and so do all on the shared cluster."""
    return ByCluster(config, log)


class ByCluster(LoadScopeScheduling):
    """One process has all tests that share a cluster, another those that start their own; they come first."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", maxsplit=1)[0]
        if path in OWN_CLUSTER:
            return "own cluster"
        return "cluster" if path.startswith(CLUSTER) else path


CLUSTER = "tests/study/cluster/"
OWN_CLUSTER = tuple(CLUSTER + name for name in ("test_chaos.py", "test_nodes.py", "test_killed.py"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(CLUSTER))


@pytest.fixture(scope="session")
def bucket() -> Iterator[Bucket]:
    """A bucket on loopback, for all tests that want one."""
    with serving("lab") as bucket:
        yield bucket


# What follows imports inside the fixtures: shape annotations are executed only in what is imported later than this.
@pytest.fixture(scope="session")
def toy_corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The toy corpora by kind."""
    from tests.study.toy_study import write_corpora

    return write_corpora(tmp_path_factory.mktemp("corpora"))


@pytest.fixture(scope="session")
def trained(toy_corpora: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A store in which the toy study is really trained: bare, reference and a random U-Net, with two seeds."""
    from study.store.store import Store
    from tests.study.toy_study import study
    from tests.study.toy_trained import train

    store = Store(tmp_path_factory.mktemp("store"))
    train(study(), toy_corpora, store)
    return store


@pytest.fixture(scope="session")
def songs(toy_corpora: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy study's test tracks as files, and a file that is no audio."""
    from tests.study.toy_trained import write_songs

    return write_songs(toy_corpora["tagging"], tmp_path_factory.mktemp("songs"))
