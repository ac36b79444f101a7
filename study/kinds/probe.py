"""The stage kind that trains no network: a linear probe of a separator's features."""

import logging
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from components.corpora.corpus import Corpus
from components.corpora.labels import Labels, with_labels
from components.networks.batch_norm import calibrate_batch_norm
from components.networks.initialisation import initialise, load_strictly
from components.objectives.classification import TrackScores
from components.objectives.metrics import check_tags, genre_scores, tagging_scores
from components.objectives.probe import LinearProbe, ProbeConfig, ProbeNetwork, track_features
from components.random_streams import numpy_generator
from components.training.checkpoint import weights_from_bytes, weights_to_bytes
from study.kinds.arithmetic import Arithmetic, compute_of, on_device, open_corpus
from study.kinds.scores import metrics_of, score_tables
from study.kinds.weights import WEIGHTS, Weights
from study.kinds.work import probe_work
from study.stages.stage import StageKind, StageResult, StageRun

SPLITS = ("train", "validation", "test")
_log = logging.getLogger("study.stage")


@dataclass(frozen=True, kw_only=True)
class ProbeStage:
    """Configuration of a probe. `seed` draws a separator that no stage trained, and the segments that calibrate it.

    `labels`: the training tracks; None: all of them. `separator_weights`: the separator, if no stage trained it.
    """

    seed: int
    probe: ProbeConfig
    calibration_batches: int
    arithmetic: Arithmetic
    labels: Labels | None = field(default=None, metadata={"legacy": None})
    separator_weights: Weights | None = field(default=None, metadata={"legacy": None})


def _probe(run: StageRun) -> StageResult:
    config: ProbeStage = run.stage.config
    corpus = with_labels(open_corpus(run), config.labels)
    network = _network(config, corpus, run)
    features_of = {split: _features_of(network, corpus, split, config, run) for split in SPLITS}
    probe, epochs = _best_probe(features_of, corpus, config.probe)
    tracks, features, targets = features_of["test"]
    scores = TrackScores(tracks, targets, probe.probabilities(features))
    measured = _measure(corpus, targets, scores.probabilities, "test")
    best = max(epochs, key=lambda epoch: epoch[_monitor(corpus)])
    facts = {"num_features": float(features.shape[1]), "inverse_regularisation": best["inverse_regularisation"]}
    return StageResult(
        metrics=metrics_of(measured) | facts | {f"validation_{_monitor(corpus)}": best[_monitor(corpus)]},
        epochs=epochs,
        tables=score_tables(corpus, scores, measured),
        files={WEIGHTS: weights_to_bytes({name: torch.from_numpy(x) for name, x in probe.arrays().items()})},
    )


def _network(config: ProbeStage, corpus: Corpus, run: StageRun) -> ProbeNetwork:
    network = ProbeNetwork(config.probe)
    if network.separator is not None and config.separator_weights is not None:
        load_strictly(network.separator, weights_from_bytes(run.read_input(config.separator_weights.sha256)))
    elif network.separator is not None and "separator" in run.stage.parents:
        load_strictly(network.separator, weights_from_bytes(run.read("separator", WEIGHTS)))
    elif network.separator is not None:
        initialise(network.separator, config.seed, "separator")
    network = on_device(network, run).eval()
    if config.calibration_batches:
        batches = (_training_segments(config, corpus, batch) for batch in range(config.calibration_batches))
        calibrate_batch_norm(network.separator, batches)
    return network


def _training_segments(config: ProbeStage, corpus: Corpus, batch: int) -> torch.Tensor:
    """Beginnings of up to 16 training tracks."""
    tracks = numpy_generator(config.seed, "order", batch).permutation(corpus.indices("train"))[:16]
    return corpus.gather(tracks, np.zeros(len(tracks), dtype=np.int64), config.probe.num_samples)[:, 0]


def _features_of(
    network: ProbeNetwork, corpus: Corpus, split: str, config: ProbeStage, run: StageRun
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tracks, features and targets of a split."""
    with compute_of(config, run).autocast():
        tracks, features = track_features(network, corpus, split)
    run.report({"step": SPLITS.index(split) + 1, "num_steps": len(SPLITS)})
    _log.info("%s: %d tracks, %d features", split, *features.shape)
    return tracks, features, corpus.labels(tracks).cpu().numpy()


def _best_probe(
    features_of: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]], corpus: Corpus, config: ProbeConfig
) -> tuple[LinearProbe, list[dict[str, Any]]]:
    """The probe that is best on the validation split, and a row for each regularisation that was tried."""
    _, features, targets = features_of["train"]
    _, held_out, truth = features_of["validation"]
    best, rows = None, []
    for number, strength in enumerate(config.inverse_regularisations):
        started = time.perf_counter()
        probe = LinearProbe.fit(features, targets, strength, num_classes=len(corpus.classes))
        scores = metrics_of(_measure(corpus, truth, probe.probabilities(held_out), "validation"))
        row = {"epoch": number, "step": number + 1, "phase": "0", "inverse_regularisation": strength, **scores}
        if best is None or scores[_monitor(corpus)] > max(earlier[_monitor(corpus)] for earlier in rows):
            best = probe
        rows.append(row | {"duration_s": time.perf_counter() - started})
    assert best is not None
    return best, rows


def _monitor(corpus: Corpus) -> str:
    return "roc_auc" if corpus.kind == "tagging" else "accuracy"


def _measure(corpus: Corpus, targets: np.ndarray, probabilities: np.ndarray, split: str) -> Any:
    measure = tagging_scores if corpus.kind == "tagging" else genre_scores
    return measure(targets, probabilities, classes=corpus.classes, split=split)


def _check(config: ProbeStage, corpus_path: str, num_workers: int) -> None:
    corpus = with_labels(Corpus.open(corpus_path), config.labels)
    for split in SPLITS:
        tracks = corpus.indices(split)
        corpus.tiles(tracks, config.probe.num_samples)
        if corpus.kind == "tagging":
            check_tags(corpus.labels(tracks).numpy(), classes=corpus.classes, split=split)
        elif len(np.unique(corpus.labels(tracks).numpy())) < 2:
            raise ValueError(f"{corpus.folder} has a single genre among its {split} tracks: nothing to tell apart")


PROBE = StageKind(name="probe", version=1, run=_probe, check=_check, work=probe_work)
