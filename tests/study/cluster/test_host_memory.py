"""Freed memory stays in the process: after a few steps, a step asks the system for no new pages."""

import resource
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys, torch
from study.cluster.host_memory import keep_freed_memory
if "keep" in sys.argv:
    assert keep_freed_memory()
def touch():
    tensors = [torch.ones(2**24) for _ in range(4)]
    del tensors
for _ in range(9):
    touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*arguments: str) -> int:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_a_step_finds_the_memory_of_those_before_it():
    num_pages = 4 * 2**26 // resource.getpagesize()
    assert page_faults() > num_pages / 2
    assert page_faults("keep") < num_pages / 10
