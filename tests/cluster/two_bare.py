"""An experiment of two stages that need nothing from each other: a bare backend with two seeds."""

import sys

from experiments.presets import PRESETS
from study.command import main
from study.design import Study, bare
from study.trial import Trial

if __name__ == "__main__":
    sys.exit(main(Study(name="two", arms=[bare(Trial())], seeds=range(2)), PRESETS, groups={}, description=__doc__))
