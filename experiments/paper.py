"""The paper's two tables: every source, two backends, two tasks, both schemes, five seeds.

The data are MUSDB18, MagnaTagATune and FMA; `experiments/prepare.py` makes corpora of them.

    python experiments/paper.py --plan --separation-corpus corpora/musdb18 --tagging-corpus corpora/mtat \\
        --genre-corpus corpora/fma-medium
    ray job submit --working-dir . -- python experiments/paper.py --storage s3://lab/paper --gpus-per-worker 1 ...

The transformer starts from ImageNet weights, as in the paper, and the CNN from random ones.
Garoufis, Zlatintsi, Maragos: "Pre-Training Music Classification Models via Music Source Separation", EUSIPCO 2024.
"""

import sys
from dataclasses import replace

from components.networks.adapters import ALL_POINTS
from experiments.presets import PRESETS
from study.command.study import main
from study.design.arms import bare, full_grid, named
from study.design.study import Study, against
from study.design.trial import Trial

cnn = Trial(backend="cnn", insertion=ALL_POINTS, unet="finetuned")
ast = replace(cnn, backend="ast", weights="imagenet")
REFERENCES = [replace(backend, task=task) for task in ("tagging", "genre") for backend in (cnn, ast)]
METRICS = {"tagging": ("roc_auc", "pr_auc"), "genre": ("accuracy",)}


def name_of(reference: Trial) -> str:
    return f"{reference.task} {reference.backend}"


study = Study(
    name="tables",
    arms=[
        arm
        for reference in REFERENCES
        for arm in named(
            name_of(reference),
            [
                bare(reference),
                *full_grid(
                    reference,
                    source=["none", "bass", "drums", "other", "vocals", "multiple"],
                    scheme=["two-stage", "three-stage"],
                ),
            ],
        )
    ],
    seeds=range(5),
    compare=[against(f"{name_of(reference)} bare", metrics=METRICS[reference.task]) for reference in REFERENCES],
)

if __name__ == "__main__":
    sys.exit(main(study, PRESETS, groups={}, description=__doc__, preset="paper"))
