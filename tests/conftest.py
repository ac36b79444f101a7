"""For all tests: one thread, as a stage on one CPU has, and Ctrl-C as a terminal gives it."""

import signal
from collections.abc import Iterator

import pytest
import torch

from tests.bucket import Bucket, serving

torch.set_num_threads(1)
# A shell that starts the tests in the background has them, and so their children, ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the tests, one has all that share a cluster, first; each file stays in one."""
    items.sort(key=lambda item: item.get_closest_marker("cluster") is None)
    for item in items:
        is_of_cluster = item.get_closest_marker("cluster") is not None
        item.add_marker(pytest.mark.xdist_group("cluster" if is_of_cluster else str(item.path)))


@pytest.fixture(scope="session")
def bucket() -> Iterator[Bucket]:
    """A bucket on loopback, for all tests that want one."""
    with serving("lab") as bucket:
        yield bucket
