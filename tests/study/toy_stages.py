"""Toy stages for the engine's tests: nothing is trained, everything is quick."""

from dataclasses import dataclass, field

import pyarrow as pa

from study.stages.stage import Stage, StageKind, StageResult, StageRun


@dataclass(frozen=True, kw_only=True)
class ToyNetwork:
    channels: tuple[int, ...] = (16, 32)
    dropout: float | None = None


@dataclass(frozen=True, kw_only=True)
class OtherNetwork:
    channels: tuple[int, ...] = (16, 32)
    dropout: float | None = None


@dataclass(frozen=True, kw_only=True)
class ToyConfig:
    seed: int = 0
    learning_rate: float = 1e-3
    weight_decay: float = 1.0
    precision: str = "float32"
    augmented: bool = False
    network: ToyNetwork | OtherNetwork = field(default_factory=ToyNetwork)


def toy_run(run: StageRun) -> StageResult:
    return StageResult(metrics={"loss": float(run.stage.config.seed)})


TOY = StageKind(name="toy", version=1, run=toy_run)


def toy_stage(kind=TOY, corpus="c0ffee", parents=None, label="", **config) -> Stage:
    return Stage(kind=kind, config=ToyConfig(**config), corpus=corpus, parents=parents or {}, label=label)


def toy_result(value=1.0, weights=b"weights") -> StageResult:
    epochs = [
        {"epoch": i, "step": 10 * i, "phase": "train", "duration_s": 0.5, "loss": value / (i + 1)} for i in range(3)
    ]
    scores = pa.table({"track": ["a", "b"], "class": ["rock", "rock"], "target": [1, 0], "score": [0.75, 0.25]})
    tags = {
        "class": ["rock"],
        "split": ["test"],
        "num_positives": [1],
        "num_tracks": [2],
        "roc_auc": [1.0],
        "pr_auc": [1.0],
    }
    return StageResult(
        metrics={"loss": value, "accuracy": 0.5},
        epochs=epochs,
        tables={"track_scores": scores, "tag_metrics": pa.table(tags)},
        files={"weights.bin": weights},
        facts={"device": "cpu", "threads": 1},
    )
