"""From how many labels on is pre-training no longer worth it?

The backend alone and the backend with a frozen U-Net (random, pre-trained on vocals, on drums) are trained on a part of
the labelled tracks. A seed's smaller part lies within its larger ones and is the same for all arms. Each U-Net is
compared with the backend alone on as many labels, in the tags that its source should help with.

    python experiments/labels.py --storage results/demo      # the demo's separators of vocals are used again
    python experiments/labels.py --preset paper --separation-corpus corpora/musdb18 --tagging-corpus corpora/mtat
"""

import sys

from components.networks.adapters import ALL_POINTS
from experiments.presets import LABELS
from experiments.tag_groups import TAG_GROUPS
from study.command.study import main
from study.design.arms import full_grid
from study.design.study import Study, planned
from study.design.trial import Trial, bare_trial

SHARES = (0.25, 0.5, "all")
GROUP_OF = {"vocals": "vocal tags", "drums": "drum tags"}

reference = Trial(
    task="tagging", backend="cnn", source="vocals", scheme="two-stage", insertion=ALL_POINTS, unet="frozen"
)

study = Study(
    name="labels",
    arms=[
        *full_grid(bare_trial(reference), labels=SHARES),
        *full_grid(reference, source=["none", *GROUP_OF], labels=SHARES),
    ],
    seeds=range(4),
    compare=[
        planned(f"source={source} labels={share}", f"labels={share}", in_=group)
        for source, group in GROUP_OF.items()
        for share in SHARES
    ],
)

if __name__ == "__main__":
    sys.exit(main(study, LABELS, groups=TAG_GROUPS, description=__doc__))
