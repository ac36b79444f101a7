"""For all tests: one thread, as a stage on one CPU has, and as fast where several processes share the cores."""

from collections.abc import Iterator

import pytest
import torch

from tests.bucket import Bucket, serving

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bucket() -> Iterator[Bucket]:
    """A bucket on loopback, for all tests that want one."""
    with serving("lab") as bucket:
        yield bucket
