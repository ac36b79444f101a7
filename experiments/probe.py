"""What do separators hear of a tag, before any network is finetuned on it?

This is the cheapest test of whether pre-training carries a tag at all: a logistic regression on the mixture alone, or
on the mixture and the estimates of a U-Net. There are five random U-Nets, five trained to separate vocals and five
trained to separate drums. On the same storage, the ablation's separators are used again.

    python experiments/probe.py --storage results/demo
"""

import sys

from experiments.presets import PRESETS
from experiments.tag_groups import TAG_GROUPS
from study.command.study import main
from study.design.arms import probes
from study.design.study import Study, against
from study.design.trial import Trial

study = Study(
    name="probe",
    arms=probes(Trial(), sources=[None, "none", "vocals", "drums"]),
    seeds=range(5),
    compare=[against("probe none")],
)

if __name__ == "__main__":
    sys.exit(main(study, PRESETS, groups=TAG_GROUPS, description=__doc__))
