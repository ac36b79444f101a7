"""Fewer labels: nested parts, close to every class's share, that lose no class without a word."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from components.corpora.corpus import Corpus
from components.corpora.corpus_writer import CorpusWriter
from components.corpora.labels import NUM_DRAWN, Labels, balanced_order, with_labels

TAGS = ("often", "half", "rare")
SHARES = (0.7, 0.5, 0.06)
NUM = 200


def drawn(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((NUM, len(TAGS))) < SHARES


def written(folder: Path, labels: Sequence[Sequence[str]], kind: str = "tagging") -> Corpus:
    with CorpusWriter(folder, name="toy", kind=kind, classes=TAGS) as writer:
        for index, present in enumerate(labels):
            writer.add(f"train{index}", np.zeros(20, np.int16), split="train", labels=list(present))
        for split in ("validation", "test"):
            writer.add(split, np.zeros(20, np.int16), split=split, labels=["often"])
    return Corpus.open(folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Corpus:
    tags = [[tag for tag, there in zip(TAGS, row, strict=True) if there] for row in drawn()]
    return written(tmp_path_factory.mktemp("labels") / "corpus", tags)


def test_a_smaller_part_lies_within_a_larger_one(corpus):
    parts = [set(with_labels(corpus, Labels(num=num, seed=3)).indices("train")) for num in (20, 50, 120)]
    assert [len(part) for part in parts] == [20, 50, 120]
    assert parts[0] < parts[1] < parts[2] < set(corpus.indices("train"))


def test_another_seed_takes_other_tracks_and_the_same_seed_the_same(corpus):
    first, again, other = (set(with_labels(corpus, Labels(num=50, seed=s)).indices("train")) for s in (0, 0, 1))
    assert first == again and len(first & other) < 40


def test_nothing_but_the_training_tracks_changes(corpus):
    part = with_labels(corpus, Labels(num=20, seed=0))
    for split in ("validation", "test"):
        assert part.indices(split).tolist() == corpus.indices(split).tolist()
    tracks = part.indices("train")
    assert (part.labels(tracks) == corpus.labels(tracks)).all()
    assert part.digest == corpus.digest and len(corpus.indices("train")) == NUM
    assert with_labels(corpus, None) is corpus


@pytest.mark.parametrize("seed", range(5))
def test_classes_keep_their_shares_better_than_by_chance(seed):
    present = drawn()
    order = balanced_order(present, Labels(num=1, seed=seed))
    assert sorted(order) == list(range(NUM))
    chance = np.random.default_rng(seed).permutation(NUM)
    off = [np.abs(present[tracks[:40]].mean(axis=0) - present.mean(axis=0)) for tracks in (order, chance)]
    assert off[0].max() <= 0.025 and off[0].sum() < off[1].sum()


def test_genres_are_counted_out(tmp_path):
    corpus = written(tmp_path / "genre", [[TAGS[index % 3]] for index in range(60)], kind="genre")
    assert NUM_DRAWN > 20
    for num in (3, 6, 30):
        part = with_labels(corpus, Labels(num=num, seed=0))
        counts = np.bincount(part.labels(part.indices("train")).numpy(), minlength=3)
        assert counts.max() - counts.min() <= 1


def test_more_labels_than_there_are_are_refused(corpus):
    with pytest.raises(ValueError, match=r"201 labels are more than the 200 training tracks of .*corpus"):
        with_labels(corpus, Labels(num=201, seed=0))
    with pytest.raises(ValueError, match=r"Labels\.num is 0; at least 1"):
        Labels(num=0, seed=0)


def test_a_part_that_loses_a_class_is_refused_with_the_fewest_that_keep_all(corpus):
    with pytest.raises(ValueError, match=r"2 labels of seed 0 hold only one side of the classes \[.*'rare'") as refused:
        with_labels(corpus, Labels(num=2, seed=0))
    found = re.search(r"at least (\d+) are needed with this seed", str(refused.value))
    assert found
    fewest = int(found[1])
    with_labels(corpus, Labels(num=fewest, seed=0))
    with pytest.raises(ValueError, match="hold only one side"):
        with_labels(corpus, Labels(num=fewest - 1, seed=0))
