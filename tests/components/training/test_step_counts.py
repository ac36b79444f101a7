"""What one step asks of its device: how many operators, and that nothing waits between two looks at the losses.

Counts, never times: they are the same on every machine. A higher one is a slower step on a GPU, where each operator is
a kernel or more. If a change needs more, say why and raise the number; if it needs fewer, lower it.
"""

import pytest
import torch

from components.corpora.corpus import Corpus
from components.objectives.classification import ClassificationObjective, SegmentConfig
from components.training.loop import Batch, Compute, Objective, Training
from tests.benchmarks.counting import count
from tests.components.tiny import (
    ALL_SOURCES,
    SEGMENT,
    TRANSFORMER,
    adam,
    classifier,
    joint,
    labelled_corpus,
    separation,
    separation_corpus,
    separator,
)

# What reads a number back from the device, or makes a tensor whose size the host must know.
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal.default")
KINDS = ("separation", "all sources", "bare", "joint", "frozen", "kept features", "transformer")


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> dict[str, Corpus]:
    folder = tmp_path_factory.mktemp("corpora")
    return {"songs": separation_corpus(folder / "songs"), "tags": labelled_corpus(folder / "tags")}


def objective(kind: str, corpora: dict[str, Corpus], device: str = "cpu") -> Objective:
    songs, tags = corpora["songs"].to(device), corpora["tags"].to(device)
    if kind in ("separation", "all sources"):
        return separation(songs, separator(ALL_SOURCES if kind == "all sources" else ("vocals",)).to(device))
    if kind in ("bare", "transformer"):
        network = classifier() if kind == "bare" else joint(backend=TRANSFORMER)
        return ClassificationObjective(network.to(device), tags, segments=SegmentConfig())
    grid = SegmentConfig(grid_samples=SEGMENT if kind == "kept features" else 1)
    frozen = {"freeze_separator": kind != "joint", "cache_bytes": 2**24}
    return ClassificationObjective(joint().to(device), tags, segments=grid, **frozen)


def between_looks(kind: str, corpora: dict[str, Corpus], compute: Compute | None = None, num_epochs: int = 4):
    """A training that has done an epoch, and looks at nothing in the one that follows."""
    compute = compute or Compute()
    learnt = objective(kind, corpora, compute.device)
    training = Training(learnt, adam(num_epochs=num_epochs, steps_per_epoch=4), seed=0, compute=compute, look_every=99)
    for _ in range(4):
        training.step()
    assert training.is_seen
    return training


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_waits_for_the_device_between_two_looks(kind, corpora):
    counts = count(between_looks(kind, corpora).step)
    assert [name for name in counts.operators if name.startswith(WAITS)] == []


def test_a_look_is_what_waits(corpora):
    training = between_looks("bare", corpora)
    for _ in range(3):
        training.step()
    counts = count(training.step)
    assert "_local_scalar_dense.default" in counts.operators


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_step_synchronises_with_the_gpu(kind, precision, corpora):
    training = between_looks(kind, corpora, Compute(device="cuda", precision=precision), num_epochs=9)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            training.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


# Operators, and MFLOP of convolutions and matrix products.
MOST = {
    "separation": (266, 57.54),
    "all sources": (268, 68.15),
    "bare": (148, 15.47),
    "joint": (383, 100.66),
    "frozen": (270, 44.30),
    "kept features": (157, 8.35),
    "transformer": (594, 94.09),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_has_no_more_operators_and_flops(kind, corpora):
    found, (most_operators, most_mflop) = count(between_looks(kind, corpora).step), MOST[kind]
    assert found.num_operators <= most_operators
    assert 0.5 * most_mflop < found.flops / 1e6 <= most_mflop


@pytest.mark.parametrize(
    ("kind", "num_excerpts", "num_stems"), [("separation", 4, 2), ("all sources", 7, 5), ("bare", 1, 1)]
)
def test_one_kernel_reads_the_stems_in_use_and_nothing_else(kind, num_excerpts, num_stems, corpora):
    learnt, num_examples = objective(kind, corpora), 2
    batch = Batch(seed=0, epoch=0, step=0, positions=range(num_examples))
    tracks, starts = (drawn.ravel() for drawn in learnt.draw(batch)[:2])
    names = ("mixture", *learnt.sources) if kind != "bare" else None
    counts = count(lambda: learnt.corpus.gather(tracks, starts, SEGMENT, names))
    assert counts.operators.keys() == {"index.Tensor", "_to_copy.default", "div_.Tensor"}
    num_values = num_examples * num_excerpts * num_stems * SEGMENT
    # int16 is read and written; read and written as float32; read and written once more.
    assert counts.num_bytes == pytest.approx(num_values * (2 + 2 + 2 + 4 + 4 + 4), rel=0.01)


@pytest.mark.parametrize("kind", ["separation", "joint"])
def test_the_overlap_add_needs_no_im2col(kind, corpora):
    """Neither forward nor in its gradient, which on a GPU took as long as half the normalisations."""
    counts = count(between_looks(kind, corpora).step)
    assert [name for name in counts.operators if "im2col" in name or "col2im" in name] == []
