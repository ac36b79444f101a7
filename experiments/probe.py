"""What do separators hear of a tag, before any network is finetuned on it?

A logistic regression on the mixture, and on the mixture beside the estimates of five random U-Nets, of five that were
trained to separate vocals and of five that were trained to separate drums: the cheapest answer to whether pre-training
carries a tag at all. Separators of the ablation are used again where the storage is the same.

    python experiments/probe.py --storage results/demo
"""

import sys

from components.corpora.generated.content import DRUM_TAGS, VOCAL_TAGS
from experiments.presets import PRESETS
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
    sys.exit(main(study, PRESETS, groups={"vocal tags": VOCAL_TAGS, "drum tags": DRUM_TAGS}, description=__doc__))
