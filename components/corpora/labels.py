"""Fewer labels: a part of a corpus' training tracks, balanced over the classes.

The part of a seed is a part of all its larger ones, so that two numbers of labels differ by the tracks that are added.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Int64

from components.corpora.corpus import Corpus
from components.random_streams import numpy_generator

UNUSED = "unused"
# Each next track is the best of so many that are drawn: seeds differ, and the classes stay close to their shares.
NUM_DRAWN = 32


@dataclass(frozen=True, kw_only=True)
class Labels:
    """How many labelled tracks are trained on; `seed` decides which. ValueError for none."""

    num: int
    seed: int

    def __post_init__(self) -> None:
        if self.num < 1:
            raise ValueError(f"Labels.num is {self.num}; at least 1")


def with_labels(corpus: Corpus, labels: Labels | None) -> Corpus:
    """The corpus with these training tracks alone; None: with all of them. Validation and test stay as they are.

    Raises:
        ValueError: more labels than training tracks, or, naming them, classes that all of them have lost, with the
            fewest labels of this seed that keep every class.
    """
    if labels is None:
        return corpus
    tracks = corpus.indices("train")
    if labels.num > len(tracks):
        raise ValueError(f"{labels.num} labels are more than the {len(tracks)} training tracks of {corpus.folder}")
    present = corpus.multi_hot(tracks)
    order = balanced_order(present, labels)
    _check_classes(present[order], labels, corpus)
    split = corpus.tracks["split"].copy()
    split[np.setdiff1d(tracks, tracks[order[: labels.num]])] = UNUSED
    return replace(corpus, tracks={**corpus.tracks, "split": split})


def balanced_order(present: Bool[np.ndarray, "track class"], labels: Labels) -> Int64[np.ndarray, " track"]:
    """All tracks, so that any first part of them has close to its share of each class.

    Next comes, of some tracks drawn, the one that leaves the least sum of (count - share)² / share over the classes.
    """
    generator = numpy_generator(labels.seed, "labels")
    left = generator.permutation(len(present))
    share = np.maximum(present.mean(axis=0), 1 / len(present))
    order, count = np.empty(len(present), dtype=np.int64), np.zeros(present.shape[1])
    for place in range(len(present)):
        num_left = len(present) - place
        drawn = generator.integers(num_left, size=NUM_DRAWN)
        # What a track adds to the sum is the same for each of its classes, whichever other ones it has.
        added = present[left[drawn]] @ ((2 * (count - (place + 1) * share) + 1) / share)
        best = drawn[np.argmin(added)]
        order[place] = left[best]
        count += present[left[best]]
        left[best] = left[num_left - 1]
    return order


def _check_classes(present: Bool[np.ndarray, "track class"], labels: Labels, corpus: Corpus) -> None:
    """Every class that the training tracks have needs a track with it and, of tags, one without."""
    kept = _num_needed(present)
    if corpus.kind == "tagging":
        kept = np.maximum(kept, _num_needed(~present))
    lost = [name for name, needed in zip(corpus.classes, kept, strict=True) if needed > labels.num]
    if lost:
        raise ValueError(
            f"{labels.num} labels of seed {labels.seed} hold only one side of the classes {lost}; of {corpus.folder} "
            f"at least {kept.max()} are needed with this seed"
        )


def _num_needed(present: Bool[np.ndarray, "track class"]) -> Int64[np.ndarray, " class"]:
    """How many first tracks hold each class once; 0 for a class that none has."""
    return np.where(present.any(axis=0), present.argmax(axis=0) + 1, 0)
