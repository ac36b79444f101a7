"""Does pre-training by source separation help to tag music, and what does it take?

In the reference, a U-Net is pre-trained to separate vocals and then frozen. Adapters connect it to a short-chunk CNN,
and these are trained on tagging; the bare arm has the CNN alone. Linear probes ask what the U-Net's estimate itself
tells about the vocal tags, beside the mixture: of the pre-trained U-Net and of a random one.

More levels take longer. Give `one_factor_off` some, `source=["none", "drums"]`, `scheme=["three-stage"]`,
`unet=["finetuned"]` or `insertion=[NO_POINTS, finest(1)]`, and only those are trained: arms that differ from the
reference in one factor each.
(Garoufis, Zlatintsi, Maragos: "Pre-Training Music Classification Models via Music Source Separation", EUSIPCO 2024.)

    python experiments/ablation.py                          # generated music, two cores, about 10 minutes
    python experiments/ablation.py --plan                   # what would run
    ray job submit --working-dir . -- python experiments/ablation.py
"""

import sys

from components.networks.adapters import ALL_POINTS
from experiments.presets import PRESETS
from experiments.tag_groups import TAG_GROUPS
from study.command.study import main
from study.design.arms import bare, one_factor_off, probes
from study.design.study import Study, planned
from study.design.trial import Trial

reference = Trial(
    task="tagging", backend="cnn", source="vocals", scheme="two-stage", insertion=ALL_POINTS, unet="frozen"
)

study = Study(
    name="pretraining",
    arms=[
        *probes(reference, sources=[None, "none", "vocals"]),
        bare(reference),
        *one_factor_off(reference),
    ],
    seeds=range(4),
    # The source is asked about the tags that it should help with.
    compare=[planned("probe vocals", other, in_="vocal tags") for other in ("probe mixture", "probe none")],
)

if __name__ == "__main__":
    sys.exit(main(study, PRESETS, groups=TAG_GROUPS, description=__doc__))
