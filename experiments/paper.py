"""The paper's two tables: every source, two backends, two tasks, both schemes, five seeds.

On MUSDB18, MagnaTagATune and FMA as `experiments/prepare.py` makes corpora of them:

    python experiments/paper.py --plan --separation-corpus corpora/musdb18 --tagging-corpus corpora/mtat \\
        --genre-corpus corpora/fma-medium
    ray job submit --working-dir . -- python experiments/paper.py --storage s3://lab/paper --gpus-per-worker 1 ...

Garoufis, Zlatintsi, Maragos: "Pre-Training Music Classification Models via Music Source Separation", EUSIPCO 2024.
"""

import sys
from dataclasses import replace

from components.adapters import ALL_POINTS
from experiments.presets import PRESETS
from study.command import main
from study.design import Study, against, bare, full_grid, named
from study.trial import Trial

reference = Trial(insertion=ALL_POINTS, unet="finetuned")
METRICS = {"tagging": ("roc_auc", "pr_auc"), "genre": ("accuracy",)}
PAIRS = [(task, backend) for task in METRICS for backend in ("cnn", "ast")]

study = Study(
    name="tables",
    arms=[
        arm
        for task, backend in PAIRS
        for arm in named(
            f"{task} {backend}",
            [
                bare(replace(reference, task=task, backend=backend)),
                *full_grid(
                    replace(reference, task=task, backend=backend),
                    source=["none", "bass", "drums", "other", "vocals", "multiple"],
                    scheme=["two-stage", "three-stage"],
                ),
            ],
        )
    ],
    seeds=range(5),
    compare=[against(f"{task} {backend} bare", metrics=METRICS[task]) for task, backend in PAIRS],
)

if __name__ == "__main__":
    sys.exit(main(study, PRESETS, groups={}, description=__doc__, preset="paper"))
