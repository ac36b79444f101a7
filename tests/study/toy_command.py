"""The toy study behind its command, and results that were never trained."""

import io
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from rich.console import Console

from components.corpora.generated.config import GeneratedConfig
from study.command.options import Options
from study.command.preset import Preset
from study.command.study import StudyCommand
from study.design.arms import Arm
from study.stages.stage import Stage, StageResult
from study.store.attempt import begin_attempt
from study.store.store import Store
from tests.study.toy_study import TAGS, recipe, study

PRESETS = {"toy": Preset(description="toy", generated=GeneratedConfig(), recipe=recipe(), imagenet=True)}


def command(options: Options, *arms: Arm, columns: int = 100, presets: Any = None, groups: Any = None) -> StudyCommand:
    console = Console(file=io.StringIO(), width=columns)
    return StudyCommand(study(*arms), presets or PRESETS, options, console, groups)


def text_of(command: StudyCommand) -> str:
    """What it has told so far."""
    file = command.console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def finish(store: Store, stages: Iterable[Stage]) -> None:
    """Results as the kinds would leave them."""
    for stage in stages:
        if not store.done(stage.identity):
            begin_attempt(store, stage).finish(result_of(stage))


def result_of(stage: Stage) -> StageResult:
    if stage.kind.name == "separation":
        return StageResult(metrics={"si_sdr_vocals": 4.0, "si_sdr_mixture_vocals": -1.0})
    value = 0.5 + 0.01 * stage.config.seed
    counts = {"num_positives": [4] * 3, "num_tracks": [8] * 3}
    scores = {"roc_auc": [value] * 3, "pr_auc": [value] * 3}
    tags = pa.table({"class": list(TAGS), "split": ["test"] * 3, **counts, **scores})
    return StageResult(metrics={"roc_auc": value, "pr_auc": value}, tables={"tag_metrics": tags})
