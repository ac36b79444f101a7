"""Which insertion points does it take? All of them, none, or all but one of the five, for both backends.

The data and the schemes are the paper's, as in `experiments/paper.py`. On the same storage, arms that both studies have
are trained once.

    python experiments/insertion.py --plan --separation-corpus corpora/musdb18 --tagging-corpus corpora/mtat
"""

import sys
from dataclasses import replace

from components.networks.adapters import NO_POINTS
from experiments.presets import PRESETS
from study.command.study import main
from study.design.arms import Arm, bare, leave_one_out, named
from study.design.study import Study, against
from study.design.trial import Trial

cnn = Trial(backend="cnn", scheme="three-stage", unet="finetuned")
ast = Trial(backend="ast", scheme="two-stage", unet="finetuned", weights="imagenet")
REFERENCES = [cnn, ast]

study = Study(
    name="insertion",
    arms=[
        arm
        for reference in REFERENCES
        for arm in named(
            str(reference.backend),
            [
                bare(reference),
                Arm(name="insertion=none", trial=replace(reference, insertion=NO_POINTS)),
                *leave_one_out(reference),
            ],
        )
    ],
    seeds=range(5),
    compare=[against(f"{reference.backend} reference", metrics=("roc_auc", "pr_auc")) for reference in REFERENCES],
)

if __name__ == "__main__":
    sys.exit(main(study, PRESETS, groups={}, description=__doc__, preset="paper"))
