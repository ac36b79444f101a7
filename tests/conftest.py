"""For all tests: one thread, as a stage on one CPU has, and Ctrl-C as a terminal gives it."""

import signal
from collections.abc import Iterator
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
    """Where several processes share the tests, each file stays in one of them, and all tests on Ray in the first."""
    return ByCluster(config, log)


class ByCluster(LoadScopeScheduling):
    """One process has all tests that share a cluster; they come first."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", maxsplit=1)[0]
        return "cluster" if path.startswith("tests/study/cluster/") else path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith("tests/study/cluster/"))


@pytest.fixture(scope="session")
def bucket() -> Iterator[Bucket]:
    """A bucket on loopback, for all tests that want one."""
    with serving("lab") as bucket:
        yield bucket
