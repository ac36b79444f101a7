"""The result of a test: metrics by name, and tables of each track's and each tag's scores."""

import numpy as np
import pyarrow as pa

from components.corpora.corpus import Corpus
from components.objectives.classification import TrackScores
from components.objectives.metrics import GenreScores, TaggingScores


def metrics_of(measured: TaggingScores | GenreScores) -> dict[str, float]:
    """The scores over all classes, or over those that the split has."""
    return measured.averages


def score_tables(corpus: Corpus, scores: TrackScores, measured: TaggingScores | GenreScores) -> dict[str, pa.Table]:
    """The records' tables of a test: each track's scores and, for tagging, each tag's."""
    num_tracks, num_classes = scores.probabilities.shape
    targets = scores.targets if scores.targets.ndim == 2 else np.eye(num_classes)[scores.targets]
    tables = {
        "track_scores": pa.table(
            {
                "track": np.repeat(corpus.tracks["id"][scores.tracks], num_classes).tolist(),
                "class": list(corpus.classes) * num_tracks,
                "target": targets.astype(np.int8).ravel(),
                "score": scores.probabilities.ravel(),
            }
        )
    }
    if isinstance(measured, TaggingScores):
        rows = [{"class": tag.tag, "split": "test"} | vars(tag) for tag in measured.tags]
        tables["tag_metrics"] = pa.Table.from_pylist([{k: v for k, v in row.items() if k != "tag"} for row in rows])
    return tables
