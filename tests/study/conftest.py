"""The toy study's surroundings on disk, made once."""

import shutil
from pathlib import Path

import pytest
import torch

from study.command.options import Options
from tests.study.toy_command import command, finish
from tests.study.toy_study import write_corpora


@pytest.fixture(scope="session")
def corpora(tmp_path_factory) -> dict[str, str]:
    """The toy corpora as options."""
    folders = write_corpora(tmp_path_factory.mktemp("corpora"))
    return {f"{kind}_corpus": str(folder) for kind, folder in folders.items()}


@pytest.fixture
def options(corpora, tmp_path) -> Options:
    """Options for a store that is not there yet."""
    return Options(preset="toy", storage=str(tmp_path / "store"), precision="float32", **corpora)


@pytest.fixture(scope="session")
def finished(corpora, tmp_path_factory) -> Path:
    """A store in which the toy study is done."""
    folder = tmp_path_factory.mktemp("finished")
    made = command(Options(preset="toy", storage=str(folder), precision="float32", **corpora))
    finish(made.store, made.graph)
    return folder


@pytest.fixture
def done(options, finished) -> Options:
    """Options for a store of its own in which the toy study is done."""
    shutil.copytree(finished, options.storage)
    return options


@pytest.fixture
def one_thread():
    """As a worker has it: the same bits wherever it runs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
