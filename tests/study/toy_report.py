"""A small study with everything that a report shows, and a large one that is only records; scores are drawn."""

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score, roc_auc_score

from study.records.records import Records, Run
from study.records.schemas import SCHEMAS
from study.stages.stage import Stage, StageKind, StageResult
from study.store.attempt import begin_attempt
from study.store.store import Store
from tests.study.toy_stages import ToyConfig, toy_run

TAGS = ("choir", "male", "drums", "flute")
GROUPS = {"voices": ["choir", "male"], "beats": ["drums"]}
NUM_TRACKS = 60
KINDS = {
    name: StageKind(name=name, version=1, run=toy_run)
    for name in ("separation", "classification", "finetuning", "probe")
}
FACTORS = {
    "task": "tagging",
    "backend": "cnn",
    "weights": "random",
    "source": "vocals",
    "scheme": "two-stage",
    "insertion": "all",
    "fusion": "sum",
    "adapters": "random",
    "inputs": "estimates and mixture",
    "unet": "frozen",
    "separators": "per seed",
    "probe": "-",
}
MACHINE = {"host": "node-1", "torch": "2.11.0", "commit": "abc", "gpus_per_worker": "0", "num_workers": "1"}
NOTHING = dict.fromkeys(FACTORS, "-") | {"task": "tagging"}


def probe(source: str) -> dict[str, str]:
    heard = "mixture" if source == "-" else "mixture estimates"
    return NOTHING | {"scheme": "probe", "source": source, "probe": heard}


BARE = NOTHING | {"backend": "cnn", "weights": "random"}
ARMS = {
    "probe mixture": probe("-"),
    "probe vocals": probe("vocals"),
    "bare": BARE,
    "reference": FACTORS,
    "source=none": FACTORS | {"source": "none"},
    "source=drums": FACTORS | {"source": "drums"},
    "scheme=three-stage": FACTORS | {"scheme": "three-stage"},
    "insertion=none": FACTORS | {"insertion": "none"},
    "source=none insertion=none": FACTORS | {"source": "none", "insertion": "none"},
}
# How far the scores of tracks with a tag lie above those without, by arm.
SHIFT = {"reference": 1.2, "scheme=three-stage": 1.6, "bare": 1.0}
COMPARISONS = [
    [arm, "bare", "roc_auc"] for arm, factors in ARMS.items() if arm != "bare" and factors["scheme"] != "probe"
]


def targets() -> np.ndarray:
    return np.random.default_rng(99).random((NUM_TRACKS, len(TAGS))) < 0.4


def scores(arm: str, seed: int) -> np.ndarray:
    """Probabilities (track, tag), drawn."""
    generator = np.random.default_rng([sum(arm.encode()), seed])
    drawn = generator.standard_normal((NUM_TRACKS, len(TAGS))) + SHIFT.get(arm, 0.8) * targets()
    return 1 / (1 + np.exp(-drawn))


def roc_auc(arm: str, seed: int) -> list[float]:
    """Of each tag, by scikit-learn."""
    return [float(roc_auc_score(targets()[:, tag], scores(arm, seed)[:, tag])) for tag in range(len(TAGS))]


def result_of(arm: str, seed: int) -> StageResult:
    found, probabilities = roc_auc(arm, seed), scores(arm, seed)
    precision = [float(average_precision_score(targets()[:, tag], probabilities[:, tag])) for tag in range(len(TAGS))]
    tags = {
        "class": list(TAGS),
        "split": ["test"] * len(TAGS),
        "num_positives": targets().sum(axis=0).tolist(),
        "num_tracks": [NUM_TRACKS] * len(TAGS),
        "roc_auc": found,
        "pr_auc": precision,
    }
    tracks = {
        "track": [f"track{i}" for i in range(NUM_TRACKS) for _ in TAGS],
        "class": list(TAGS) * NUM_TRACKS,
        "target": targets().astype(np.int8).ravel(),
        "score": probabilities.ravel(),
    }
    metrics = {"roc_auc": float(np.mean(found)), "pr_auc": float(np.mean(precision)), "num_parameters": 1234567.0}
    epochs = [
        {"epoch": i, "step": i, "phase": "0", "duration_s": 1.0, "train_loss": 1 / (1 + i)}
        | ({"loss": 0.9, "roc_auc": 0.5 + 0.05 * i} if i % 2 else {})
        for i in range(6)
    ]
    return StageResult(
        metrics=metrics, epochs=epochs, tables={"tag_metrics": pa.table(tags), "track_scores": pa.table(tracks)}
    )


def stage(kind: str, name: str, seed: int, **parents: Stage) -> Stage:
    """Its learning rate stands for all that its name says."""
    config = ToyConfig(seed=seed, learning_rate=1 + sum(f"{kind} {name}".encode()) / 1000)
    return Stage(kind=KINDS[kind], config=config, corpus="c0ffee", parents=parents, label=f"{kind} {name}, seed {seed}")


def stages(arm: str, factors: dict[str, str], seed: int) -> list[Stage]:
    """All that a run needs, its final stage last."""
    if factors["source"] == "-" and factors["scheme"] != "probe":
        return [stage("classification", arm, seed)]
    has_separator = factors["source"] not in ("-", "none")
    parents = {"separator": stage("separation", factors["source"], seed)} if has_separator else {}
    if factors["scheme"] == "three-stage":
        parents["backend"] = stage("classification", "bare", seed)
    kind = "probe" if factors["scheme"] == "probe" else "finetuning"
    return [*parents.values(), stage(kind, arm, seed, **parents)]


def description(name: str, arms: dict[str, dict[str, str]], seeds: Iterable[int], **changes: Any) -> dict[str, Any]:
    corpus = {
        "name": "generated-tagging",
        "digest": "c0ffee",
        "counts": {"train": 9, "test": NUM_TRACKS},
        "place": "/c",
    }
    return {
        "name": name,
        "preset": "demo",
        "arms": [{"name": arm, "factors": factors} for arm, factors in arms.items()],
        "seeds": list(seeds),
        "comparisons": COMPARISONS,
        "groups": GROUPS,
        "corpora": {"tagging": corpus},
        **changes,
    }


def write_study(
    folder: Path,
    arms: dict[str, dict[str, str]] = ARMS,
    *,
    name: str = "toy",
    seeds: Iterable[int] = range(3),
    failed: Collection[tuple[str, int]] = (),
    missing: Collection[tuple[str, int]] = (),
    shared: Collection[str] = (),
    **changes: Any,
) -> Store:
    """A store with the study; `failed` and `missing` runs have a final stage that failed or never began.

    Arms among `shared` have the same stages at all seeds.
    """
    store = Store(folder)
    store.check_writable()
    records = Records(store)
    records.write_study(description(name, arms, seeds, **changes))
    runs = []
    for seed in seeds:
        for arm, factors in arms.items():
            needed = stages(arm, factors, 0 if arm in shared else seed)
            for one in needed[:-1]:
                if not store.done(one.identity):
                    begin_attempt(store, one, MACHINE).finish(StageResult(metrics={"si_sdr_vocals": 3.0}))
            if (arm, seed) in failed:
                begin_attempt(store, needed[-1], MACHINE).fail(ValueError("out of <memory> & more"))
            elif (arm, seed) not in missing and not store.done(needed[-1].identity):
                begin_attempt(store, needed[-1], MACHINE).finish(result_of(arm, seed))
            identities = tuple(one.identity for one in needed)
            run = {"study": name, "arm": arm, "seed": seed, "factors": factors}
            runs.append(Run(**run, final_stage=identities[-1], stages=identities))
    records.rebuild()
    records.write_runs(runs)
    return store


def write_large(folder: Path, *, num_arms: int = 200, num_seeds: int = 5, num_tags: int = 50) -> Store:
    """A study of a thousand runs, as records alone."""
    store = Store(folder)
    store.check_writable()
    # Arms that differ in their source's name alone would be one row of Table 1; widths stand for other factors.
    arms = {"bare": BARE} | {
        f"source={source} width={width}": FACTORS | {"source": source, "inputs": f"width {width}"}
        for width in range(-(-(num_arms - 1) // 5))
        for source in ("none", "bass", "drums", "other", "vocals")
    }
    arms = dict(list(arms.items())[:num_arms])
    comparisons = [[arm, "bare", "roc_auc"] for arm in arms if arm != "bare"]
    groups = {"voices": ["tag0", "tag1"]}
    described = description("large", arms, range(num_seeds), comparisons=comparisons, groups=groups)
    Records(store).write_study(described)
    generator = np.random.default_rng(0)
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in ("runs", "stages", "epochs", "tag_metrics")}
    for arm, factors in arms.items():
        for seed in range(num_seeds):
            _add_run(tables, arm, factors, seed, generator.random(num_tags) / 10 + 0.8)
    for name, rows in tables.items():
        path = folder / "records" / name / "compacted.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMAS[name]), path)
    return store


def _add_run(tables, arm: str, factors: dict[str, str], seed: int, by_tag: np.ndarray) -> None:
    key = {"stage": f"{arm}/{seed}", "attempt": "001-x"}
    metrics = [("pr_auc", float(by_tag.mean() / 2)), ("roc_auc", float(by_tag.mean()))]
    run = {"study": "large", "arm": arm, "seed": seed, "factors": list(factors.items()), "final_stage": key["stage"]}
    tables["runs"].append(run | {"stages": [key["stage"]], "state": "done", "metrics": metrics})
    facts = {"attempt_number": 1, "kind": "finetuning", "label": f"finetuning {arm}, seed {seed}", "state": "done"}
    costs = {"duration_s": 10.0, "cpu_s": 9.0, "parents": [], "metrics": metrics, "facts": [("host", "n")]}
    tables["stages"].append(key | facts | costs | {"seed": seed, "config": json.dumps({})})
    for epoch in range(60):
        found = [("loss", 1 / (1 + epoch)), ("roc_auc", 0.8), ("train_loss", 1 / (2 + epoch))]
        row = {"epoch": epoch, "phase": "0", "step": epoch, "duration_s": 1.0}
        tables["epochs"].append(key | row | {"metrics": found})
    for tag, value in enumerate(by_tag):
        counts = {"split": "test", "num_positives": 9, "num_tracks": 99}
        tables["tag_metrics"].append(
            key | counts | {"class": f"tag{tag}", "roc_auc": float(value), "pr_auc": float(value / 2)}
        )
