"""Which learning rate, schedule, weight decay, dropout and batch size are best for the ablation's arms?

Optuna asks for values. Each trial trains the last stage of an arm with them; the separators are the ablation's own.
The winner is a small file. With `--arms reference`, the ablation uses its values for all arms. Without, each arm is
searched with the same budget and gets its own values.

    python experiments/search.py --storage results/demo --arms reference --budget 20
    python experiments/ablation.py --storage results/demo --hyperparameters results/demo/searches/rates-demo-winner.json
"""

import sys

from components.networks.adapters import ALL_POINTS
from experiments.presets import PRESETS
from study.command.search import Search, main
from study.design.arms import bare, one_factor_off
from study.design.trial import Trial
from study.search.space import Choice, Real, Space

reference = Trial(
    task="tagging", backend="cnn", source="vocals", scheme="two-stage", insertion=ALL_POINTS, unet="frozen"
)

search = Search(
    name="rates",
    arms=[bare(reference), *one_factor_off(reference, source=["none", "drums"])],
    space=Space(
        {
            "backend_learning_rate": Real(low=3e-4, high=3e-2, log=True),
            "weight_decay": Real(low=1e-4, high=1e-1, log=True),
            "dropout": Real(low=0.0, high=0.5),
            "batch_size": Choice((8, 16)),
            "schedule": Choice(("one_cycle", "constant")),
        }
    ),
)

if __name__ == "__main__":
    sys.exit(main(search, PRESETS, description=__doc__))
