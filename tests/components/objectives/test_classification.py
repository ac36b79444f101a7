"""Draws that arms share, losses and scores of whole tracks, a frozen separator that stays as it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from components.corpora.corpus import Corpus
from components.corpora.corpus_writer import CorpusWriter
from components.networks.initialisation import submodule_state
from components.objectives import metrics
from components.objectives.classification import ClassificationObjective, SegmentConfig
from components.training.checkpoint import state_from_bytes, state_to_bytes
from components.training.loop import Batch, Training
from components.training.training_config import Phase, TrainingConfig
from tests.components.tiny import (
    ALL_SOURCES,
    BACKEND,
    SEGMENT,
    TAGS,
    adam,
    classifier,
    joint,
    labelled_corpus,
    lasting,
    lively,
)

GRID = SegmentConfig(grid_samples=SEGMENT // 2)
DROPPING = replace(BACKEND, dropout=0.5)


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    return labelled_corpus(tmp_path_factory.mktemp("corpora") / "tags")


@pytest.fixture(scope="module")
def genres(tmp_path_factory):
    return labelled_corpus(tmp_path_factory.mktemp("corpora") / "genres", "genre")


def objective(network, corpus, segments=None, **options):
    return ClassificationObjective(network, corpus, segments=segments or SegmentConfig(), **options)


def batch(size=4, *, seed=0, epoch=0, first=0):
    return Batch(seed=seed, epoch=epoch, step=0, positions=range(first, first + size))


def evaluated(learned, split):
    learned.set_training(False)
    with torch.no_grad():
        return learned.evaluate(split)


class TestDraws:
    def test_arms_of_one_seed_hear_the_same_segments_in_the_same_order(self, tagged):
        """Whatever the network and however large the batch."""
        bare, whole = objective(classifier(), tagged), objective(joint(sources=ALL_SOURCES), tagged)
        for seed, epoch in ((0, 0), (0, 1), (1, 0)):
            everything = bare.draw(batch(8, seed=seed, epoch=epoch))
            halves = [whole.draw(batch(2, seed=seed, epoch=epoch, first=first)) for first in (0, 2, 4, 6)]
            for drawn, pieces in zip(everything, zip(*halves, strict=True), strict=True):
                assert np.array_equal(drawn, np.concatenate(pieces))

    def test_an_epoch_has_a_fresh_segment_of_every_training_track(self, tagged):
        bare = objective(classifier(), tagged)
        epochs = [*(bare.draw(batch(8, epoch=epoch)) for epoch in range(20)), bare.draw(batch(8, seed=1))]
        assert bare.examples_per_epoch() == 8
        for tracks, starts in epochs:
            assert sorted(tracks) == list(tagged.indices("train"))
            assert (starts >= 0).all() and (starts + SEGMENT <= tagged.tracks["length"][tracks]).all()
        orders, crops = (np.stack([epoch[i] for epoch in epochs]) for i in (0, 1))
        assert len(np.unique(orders, axis=0)) == 21
        assert len(np.unique(crops)) > 140

    def test_a_grid_leaves_its_multiples(self, tagged):
        bare = objective(classifier(), tagged, GRID)
        starts = np.concatenate([bare.draw(batch(8, epoch=epoch))[1] for epoch in range(20)])
        assert set(starts) == {0, SEGMENT // 2, SEGMENT}

    def test_arms_of_one_seed_start_from_the_same_backend(self):
        for sources in (("vocals",), ALL_SOURCES):
            bare, wide = (
                submodule_state(classifier(3).state_dict(), "backend"),
                submodule_state(joint(3, sources).state_dict(), "backend"),
            )
            assert bare.keys() == wide.keys()
            for name, tensor in bare.items():
                tiled = tensor.expand(-1, len(sources) + 1, -1, -1) if name == "blocks.0.0.weight" else tensor
                assert torch.equal(wide[name], tiled), name
        assert not torch.equal(
            bare["head.1.weight"], submodule_state(classifier(4).state_dict(), "backend")["head.1.weight"]
        )


class TestLoss:
    @pytest.mark.parametrize("make", [classifier, joint])
    def test_of_tags_is_binary_cross_entropy(self, tagged, make):
        learned = objective(lively(make(), tagged), tagged)
        learned.set_training(False)
        tracks, starts = learned.draw(batch())
        logits = learned.network(tagged.gather(tracks, starts, SEGMENT)[:, 0])
        expected = functional.binary_cross_entropy(logits.sigmoid(), tagged.labels(tracks))
        torch.testing.assert_close(learned(*learned.inputs(batch())), expected)

    def test_of_genres_is_cross_entropy(self, genres):
        learned = objective(lively(classifier(), genres), genres)
        learned.set_training(False)
        tracks, starts = learned.draw(batch())
        probabilities = learned.network(genres.gather(tracks, starts, SEGMENT)[:, 0]).softmax(dim=1)
        expected = -probabilities[range(4), genres.labels(tracks)].log().mean()
        torch.testing.assert_close(learned(*learned.inputs(batch())), expected)

    @pytest.mark.parametrize("kind", ["tagging", "genre"])
    def test_falls(self, kind, tagged, genres):
        network = classifier(backend=replace(BACKEND, widths=(4,) * 7))
        learned = objective(network, tagged if kind == "tagging" else genres)
        training = Training(learned, adam(num_epochs=8, batch_size=8, learning_rate=2e-2, validate_every=8), seed=0)
        training.run()
        losses = [row["train_loss"] for row in training.position.history]
        assert np.mean(losses[4:]) < 0.9 * losses[0]


class TestScores:
    @pytest.mark.parametrize(("split", "overlap"), [("validation", 0.0), ("test", 0.5)])
    def test_a_tracks_probability_is_the_mean_over_its_segments(self, tagged, split, overlap):
        learned = objective(lively(classifier(), tagged), tagged)
        scores = evaluated(learned, split)
        assert list(scores.tracks) == list(tagged.indices(split))
        assert np.array_equal(scores.targets, tagged.labels(tagged.indices(split)))
        assert scores.probabilities.std(axis=0).min() > 0.01
        for row, track in enumerate(scores.tracks):
            hop = round(SEGMENT * (1 - overlap))
            starts = np.arange(0, tagged.tracks["length"][track] - SEGMENT + 1, hop)
            assert len(starts) == (2 if split == "validation" else 3)
            segments = tagged.gather(np.full(len(starts), track), starts, SEGMENT)[:, 0]
            expected = learned.network(segments).sigmoid().mean(dim=0).detach().numpy()
            np.testing.assert_allclose(scores.probabilities[row], expected, atol=1e-6)

    def test_validation_of_tags(self, tagged):
        learned = objective(lively(classifier(), tagged), tagged)
        scores = evaluated(learned, "validation")
        expected = metrics.tagging_scores(scores.targets, scores.probabilities, classes=TAGS, split="validation")
        p, t = scores.probabilities, scores.targets
        loss = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
        with torch.no_grad():
            found = learned.validate()
        assert found == pytest.approx({"loss": loss, "roc_auc": expected.roc_auc, "pr_auc": expected.pr_auc}, abs=1e-6)

    def test_validation_of_genres(self, genres):
        learned = objective(lively(classifier(), genres), genres)
        scores = evaluated(learned, "validation")
        np.testing.assert_allclose(scores.probabilities.sum(axis=1), 1, atol=1e-6)
        right = scores.probabilities.argmax(axis=1) == scores.targets
        with torch.no_grad():
            found = learned.validate()
        assert found == pytest.approx(
            {
                "loss": -np.log(scores.probabilities[range(len(right)), scores.targets]).mean(),
                "accuracy": right.mean(),
                "balanced_accuracy": np.mean([right[scores.targets == genre].mean() for genre in range(3)]),
            },
            abs=1e-6,
        )


def frozen(corpus, seed=0, *, cache_bytes=0, backend=BACKEND):
    return objective(joint(seed, backend=backend), corpus, GRID, freeze_separator=True, cache_bytes=cache_bytes)


def values(network):
    """Copies of all parameters and statistics; BatchNorm's counters are not used."""
    state = network.state_dict().items()
    return {name: tensor.clone() for name, tensor in state if not name.endswith("num_batches_tracked")}


class TestFrozenSeparator:
    def test_keeps_its_weights_and_statistics(self, tagged):
        learned = frozen(tagged, cache_bytes=2**24)
        before = values(learned.network)
        Training(learned, adam(num_epochs=2, batch_size=4), seed=0).run()
        for name, tensor in values(learned.network).items():
            assert torch.equal(tensor, before[name]) == name.startswith("separator."), name

    def test_without_it_the_separator_learns(self, tagged):
        learned = objective(joint(), tagged, GRID, cache_bytes=2**24)
        before = values(learned.network.separator)
        Training(learned, adam(batch_size=4, keep="last"), seed=0).run()
        state = values(learned.network.separator)
        assert not [name for name, tensor in before.items() if torch.equal(tensor, state[name])]

    def test_what_is_kept_of_its_features_changes_no_bit(self, tagged):
        found = []
        for cache_bytes in (0, 300_000, 2**24):
            learned = frozen(tagged, cache_bytes=cache_bytes)
            training = Training(learned, adam(num_epochs=2, batch_size=4, validate_every=2), seed=0)
            training.run()
            found.append(lasting(training))
            assert (learned._cache.num_bytes > 0) == (cache_bytes > 0)
        assert found[0] == found[1] == found[2]

    def test_kept_features_give_the_loss_of_the_network(self, tagged):
        learned = frozen(tagged, cache_bytes=2**24)
        lively(learned.network, tagged)
        learned.set_training(False)
        tracks, starts = learned.draw(batch())
        logits = learned.network(tagged.gather(tracks, starts, SEGMENT)[:, 0])
        expected = functional.binary_cross_entropy_with_logits(logits, tagged.labels(tracks))
        for _ in range(2):
            torch.testing.assert_close(learned(*learned.inputs(batch())), expected)

    def test_features_are_computed_once_for_each_place_of_the_grid(self, tagged):
        learned = frozen(tagged, cache_bytes=2**26)
        computed = []
        learned.network.separator.register_forward_pre_hook(lambda module, inputs: computed.append(inputs[0].shape[0]))
        Training(learned, adam(num_epochs=6, batch_size=4), seed=0).run()
        # At most three places in each of eight training tracks, and two tiles in each of four validation tracks.
        assert set(computed) == {1} and 8 + 8 < len(computed) <= 8 + 24

    def test_a_learning_separators_features_are_never_kept(self, tagged):
        learned = objective(joint(), tagged, GRID, cache_bytes=2**24)
        learned.inputs(batch())
        assert learned._cache.num_bytes == 0


RESUMED = TrainingConfig(
    phases=(
        Phase(optimiser="adamw", learning_rate=1e-2, schedule="one_cycle", num_epochs=3),
        Phase(optimiser="sgd", learning_rate=1e-2, num_epochs=3),
    ),
    batch_size=4,
    max_epochs=6,
    validate_every=2,
    monitor="roc_auc",
    better="higher",
)


def test_an_interrupted_finetuning_ends_with_the_same_bits(tagged):
    """With dropout, and with features that the undisturbed one has kept and the other has to compute anew."""

    def begun(seed=0):
        return Training(frozen(tagged, seed, cache_bytes=2**24, backend=DROPPING), RESUMED, seed=0)

    undisturbed, states = begun(), []
    undisturbed.run(lambda training: states.append(state_to_bytes(training.state())))
    assert len(states) == 12
    for after in (1, 6, 9):
        second = begun(seed=9)
        second.load_state(state_from_bytes(states[after - 1]))
        second.run()
        assert lasting(second) == lasting(undisturbed), f"interrupted after {after} steps"


def written(folder, labels, *, kind="tagging", num_samples=SEGMENT):
    """A corpus with tracks of these labels in every split."""
    with CorpusWriter(folder, name="refused", kind=kind, classes=TAGS) as writer:
        for split, tracks in labels.items():
            for index, track_labels in enumerate(tracks):
                waveform = np.full(num_samples + index, 7, dtype=np.int16)
                writer.add(f"{split}{index}", waveform, split=split, labels=track_labels)
    return Corpus.open(folder)


FULL = (("slow", "loud", "sung"), ())
GENRES = tuple((tag,) for tag in TAGS)


class TestRefusals:
    @pytest.mark.parametrize("split", ["validation", "test"])
    @pytest.mark.parametrize("labels", [(("slow", "sung"), ()), (TAGS, ("loud",))])
    def test_a_tag_that_a_split_says_nothing_about_is_no_obstacle(self, tmp_path, split, labels):
        corpus = written(tmp_path / "tags", {"train": FULL, "validation": FULL, "test": FULL, split: labels})
        task = objective(classifier(), corpus)
        with torch.no_grad():
            averages = task.measure(task.evaluate(split), split).averages
        assert averages["num_tags"] == 2 and 0 <= averages["roc_auc"] <= 1

    @pytest.mark.parametrize("split", ["validation", "test"])
    def test_a_split_in_which_no_tag_has_a_score(self, tmp_path, split):
        corpus = written(tmp_path / "tags", {"train": FULL, "validation": FULL, "test": FULL, split: ((), ())})
        with pytest.raises(ValueError, match=rf"of 3 tags, each has none or all of the 2 {split} tracks"):
            objective(classifier(), corpus)

    @pytest.mark.parametrize("split", ["validation", "test"])
    def test_a_genre_without_a_track_is_no_obstacle(self, tmp_path, split):
        labels = {"train": GENRES, "validation": GENRES, "test": GENRES, split: GENRES[:2]}
        task = objective(classifier(), written(tmp_path / "genres", labels, kind="genre"))
        with torch.no_grad():
            assert task.measure(task.evaluate(split), split).averages["num_genres"] == 2

    @pytest.mark.parametrize("split", ["train", "validation", "test"])
    def test_a_split_without_a_track(self, tmp_path, split):
        labels = {other: FULL for other in ("train", "validation", "test") if other != split}
        with pytest.raises(ValueError, match=f"no track in split '{split}'"):
            objective(classifier(), written(tmp_path / "tags", labels))

    def test_a_segment_longer_than_the_shortest_track(self, tmp_path):
        labels = {"train": FULL, "validation": FULL, "test": FULL}
        corpus = written(tmp_path / "tags", labels, num_samples=SEGMENT - 1)
        with pytest.raises(ValueError, match=f"{SEGMENT} samples is longer than track 'train0' with {SEGMENT - 1}"):
            objective(classifier(), corpus)

    def test_another_number_of_classes(self, tagged):
        with pytest.raises(ValueError, match=r"num_classes is 4, .* has 3"):
            objective(classifier(backend=replace(BACKEND, num_classes=4)), tagged)

    def test_a_corpus_without_labels(self, tmp_path):
        with CorpusWriter(tmp_path / "songs", name="songs", kind="separation", stems=("mixture",)) as writer:
            writer.add("a", np.zeros(SEGMENT, dtype=np.int16), split="train")
        with pytest.raises(ValueError, match="separation corpus; classification needs tagging or genre"):
            objective(classifier(), Corpus.open(tmp_path / "songs"))

    def test_a_bare_backend_has_nothing_to_freeze(self, tagged):
        with pytest.raises(ValueError, match="a Classifier has no separator"):
            objective(classifier(), tagged, freeze_separator=True)

    def test_a_batch_larger_than_an_epoch(self, tagged):
        with pytest.raises(ValueError, match="batch_size is 16; an epoch has 8 examples"):
            Training(objective(classifier(), tagged), adam(batch_size=16), seed=0)

    @pytest.mark.parametrize(
        ("field", "value"), [("grid_samples", 0), ("validation_overlap", 1.0), ("test_overlap", -0.1)]
    )
    def test_nonsense(self, field, value):
        with pytest.raises(ValueError, match=f"SegmentConfig.{field} is {value}"):
            replace(GRID, **{field: value})
