"""Compares trainings with traced and with plain steps; prints a line for each. An argument: only the first so many.

A process of its own: the tests' check of shape annotations stands around every function, and cannot be traced.
"""

import sys
import tempfile
from pathlib import Path

import torch

from components.training.loop import Compute, Precision, Training
from tests.components.tiny import adam, labelled_corpus, lasting, separation_corpus
from tests.components.training.test_step_counts import objective

# Bf16 is rounded at other places: of it, only that it can be traced is told.
TRACED: tuple[tuple[str, Precision], ...] = (
    ("separation", "float32"),
    ("joint", "float32"),
    ("kept features", "float32"),
    ("transformer", "float32"),
    ("joint", "bf16"),
)
compile_step = torch.compile


def traced(forward, **_):
    """Compilation up to the point where a compiler for the machine would be needed."""
    return compile_step(forward, backend="aot_eager", fullgraph=True)


def main() -> None:
    torch.compile = traced  # pyright: ignore[reportAttributeAccessIssue]
    with tempfile.TemporaryDirectory() as folder:
        corpora = {
            "songs": separation_corpus(Path(folder) / "songs"),
            "tags": labelled_corpus(Path(folder) / "tags"),
        }
        for kind, precision in TRACED[: int(sys.argv[1]) if len(sys.argv) > 1 else None]:
            said, results = [], []
            for is_compiled in (True, False):
                compute = Compute(precision=precision, compile=is_compiled)
                config = adam(num_epochs=2, steps_per_epoch=2)
                training = Training(objective(kind, corpora), config, seed=3, compute=compute, say=said.append)
                training.run()
                results.append(lasting(training))
            print(f"{kind}, {precision}: {'; '.join(said)}, {'same' if results[0] == results[1] else 'other'} bits")


if __name__ == "__main__":
    main()
