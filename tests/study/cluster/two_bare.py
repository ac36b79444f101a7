"""An experiment of two stages that need nothing from each other: a bare backend with two seeds."""

import sys

from experiments.presets import PRESETS
from study.command.study import main
from study.design.arms import bare
from study.design.study import Study
from study.design.trial import Trial

TWO = Study(name="two", arms=[bare(Trial())], seeds=range(2))

if __name__ == "__main__":
    sys.exit(main(TWO, PRESETS, groups={}, description=__doc__))
