"""Stages of known length, in a module that Ray's processes can import."""

import time
from dataclasses import dataclass

from study.stages.stage import StageKind, StageResult, StageRun


@dataclass(frozen=True, kw_only=True)
class Config:
    number: int
    seconds: float = 0.0


def sleep(run: StageRun) -> StageResult:
    time.sleep(run.stage.config.seconds)
    return StageResult(metrics={"seconds": run.stage.config.seconds})


TOY = StageKind(name="sleep", version=1, run=sleep)
