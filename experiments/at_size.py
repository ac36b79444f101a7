"""Does pre-training still help with full-width networks, and with many labels?

The backend alone, with a frozen U-Net (random, pre-trained on vocals, on drums), and with a U-Net that was pre-trained
on vocals and goes on learning, in two stages and in three (the paper's). Each is trained on 192, 600 and 2,000 labelled
tracks of generated music.

A part is a seed: about 15 minutes of a GPU. All parts are kept in one store, and the last command shows them together:

    python experiments/at_size.py --storage results/at-size --gpus-per-worker 1 --seeds 1 --first-seed 0  # then 1, 2, 3
    python experiments/at_size.py --storage results/at-size --gpus-per-worker 1                           # all four
    python experiments/at_size.py --storage /tmp/at-size --preset generated-large-tiny --seeds 1          # on a CPU
"""

import sys
from dataclasses import replace

from components.networks.adapters import ALL_POINTS
from experiments.presets import AT_SIZE
from experiments.tag_groups import TAG_GROUPS
from study.command.study import main
from study.design.arms import full_grid, named
from study.design.study import Study, planned
from study.design.trial import Trial, bare_trial

LABELS = (192, 600, "all")
GROUP_OF = {"vocals": "vocal tags", "drums": "drum tags"}

frozen = Trial(task="tagging", backend="cnn", source="vocals", scheme="two-stage", insertion=ALL_POINTS, unet="frozen")
learning = replace(frozen, unet="finetuned")

study = Study(
    name="at-size",
    arms=[
        *named("bare", full_grid(bare_trial(frozen), labels=LABELS)),
        *named("frozen", full_grid(frozen, source=["none", *GROUP_OF], labels=LABELS)),
        *named("finetuned", full_grid(learning, scheme=["two-stage", "three-stage"], labels=LABELS)),
    ],
    seeds=range(4),
    compare=[
        planned(f"frozen source={source} labels={num}", other.format(num), in_=group)
        for num in LABELS
        for source, group in GROUP_OF.items()
        for other in ("bare labels={}", "frozen source=none labels={}")
    ]
    + [
        planned(f"finetuned scheme={scheme} labels={num}", f"bare labels={num}")
        for num in LABELS
        for scheme in ("two-stage", "three-stage")
    ],
    margins={"roc_auc": 0.005},
)

if __name__ == "__main__":
    sys.exit(main(study, AT_SIZE, groups=TAG_GROUPS, description=__doc__, preset="generated-large"))
