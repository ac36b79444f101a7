"""Remixes are exactly what the paper says, the loss leaves the edges out, the separator learns and is scored."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from components.objectives import metrics
from components.objectives.separation import Part, RemixConfig, SeparationLossConfig
from components.training.checkpoint import state_from_bytes, state_to_bytes
from components.training.loop import Batch, Compute, Training
from tests.components.tiny import (
    ALL_SOURCES,
    NUM_FRAMES,
    REMIX,
    SEGMENT,
    STEMS,
    adam,
    lasting,
    separation,
    separation_corpus,
    separator,
)

EDGE = 512


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return separation_corpus(tmp_path_factory.mktemp("corpora") / "songs")


def batch(size=6, *, seed=0, epoch=0, first=0):
    return Batch(seed=seed, epoch=epoch, step=0, positions=range(first, first + size))


def samples(corpus, track, start, stem):
    """Straight from the corpus's integers."""
    begin = corpus.tracks["start"][track] + start
    return corpus.waveform[begin : begin + SEGMENT, STEMS.index(stem)].numpy().astype(np.float64) / 32_768


class TestRemix:
    @pytest.mark.parametrize("source", ALL_SOURCES)
    def test_one_source_is_two_excerpts_of_it_and_two_of_the_rest(self, corpus, source):
        objective = separation(corpus, separator((source,)))
        mixtures, targets = objective.remixed(batch())
        tracks, starts, gains = objective.draw(batch())
        assert mixtures.shape == (6, SEGMENT) and targets.shape == (6, 1, SEGMENT) and tracks.shape == (6, 4)
        assert (gains == 1).all()
        for i in range(6):
            drawn = list(zip(tracks[i], starts[i], strict=True))
            target = sum(samples(corpus, *excerpt, source) for excerpt in drawn[:2])
            rest = sum(samples(corpus, *e, "mixture") - samples(corpus, *e, source) for e in drawn[2:])
            np.testing.assert_allclose(targets[i, 0].numpy(), target, atol=1e-6)
            np.testing.assert_allclose(mixtures[i].numpy(), target + rest, atol=1e-6)

    def test_all_sources_are_two_excerpts_of_each_but_one_of_the_bass(self, corpus):
        objective = separation(corpus, separator(ALL_SOURCES))
        mixtures, targets = objective.remixed(batch())
        tracks, starts, _ = objective.draw(batch())
        assert tracks.shape == (6, 7) and targets.shape == (6, 4, SEGMENT)
        for i in range(6):
            drawn = iter(zip(tracks[i], starts[i], strict=True))
            expected = [
                sum(samples(corpus, *next(drawn), source) for _ in range(number))
                for source, number in (("vocals", 2), ("other", 2), ("drums", 2), ("bass", 1))
            ]
            np.testing.assert_allclose(targets[i].numpy(), expected, atol=1e-6)
            np.testing.assert_allclose(mixtures[i].numpy(), sum(expected), atol=1e-6)

    def test_parts_come_as_often_and_as_loud_as_asked(self, corpus):
        remix = replace(REMIX, target=Part(presence=0.5, gain_db=(6.0, 6.0)), others=Part(gain_db=(-12.0, 0.0)))
        loud, plain = separation(corpus, remix=remix), separation(corpus)
        _, _, gains = loud.draw(batch(300))
        present = gains[:, 0] > 0
        assert 0.4 < present.mean() < 0.6
        np.testing.assert_allclose(gains[present, 0], 10**0.3, rtol=1e-5)
        decibels = 20 * np.log10(gains[:, 1])
        assert decibels.min() >= -12.001 and decibels.max() <= 0.001 and -7 < decibels.mean() < -5
        (mixture, target), (plain_mixture, plain_target) = loud.remixed(batch()), plain.remixed(batch())
        gain = torch.from_numpy(gains[:6])
        torch.testing.assert_close(target[:, 0], gain[:, :1] * plain_target[:, 0])
        others = gain[:, 1:] * (plain_mixture - plain_target[:, 0])
        torch.testing.assert_close(mixture - target[:, 0], others, atol=1e-6, rtol=1e-5)

    def test_crops_stay_in_their_excerpts_and_reach_all_of_them(self, tmp_path):
        corpus = separation_corpus(tmp_path / "long", num_samples=3 * SEGMENT)
        excerpt_s = 1.5 * SEGMENT / 16_000
        objective = separation(corpus, remix=RemixConfig(excerpt_s=excerpt_s, excerpt_hop_s=2 * excerpt_s))
        tracks, starts, _ = objective.draw(batch(200))
        assert set(tracks.ravel()) == set(corpus.indices("train"))
        assert starts.min() < 0.05 * SEGMENT and 0.45 * SEGMENT < starts.max() <= SEGMENT / 2

    def test_a_song_shorter_than_an_excerpt_is_used_to_its_end(self, corpus):
        _, starts, _ = separation(corpus, remix=RemixConfig(excerpt_s=60.0)).draw(batch(200))
        last = 22_000 + 2000 - SEGMENT
        assert starts.min() < 0.05 * last and 0.95 * last < starts.max() <= last


class TestDraws:
    def test_arms_of_one_seed_hear_the_same_excerpts(self, corpus):
        draws = [separation(corpus, separator(sources)).draw(batch()) for sources in (("bass",), ("drums",))]
        everything = separation(corpus, separator(ALL_SOURCES)).draw(batch())
        for one, other, of_all in zip(*draws, everything, strict=True):
            assert np.array_equal(one, other) and np.array_equal(one, of_all[:, : one.shape[1]])

    def test_an_example_does_not_depend_on_its_batch(self, corpus):
        objective = separation(corpus)
        whole = objective.draw(batch(6))
        parts = [objective.draw(batch(2, first=first)) for first in (0, 2, 4)]
        for drawn, pieces in zip(whole, zip(*parts, strict=True), strict=True):
            assert np.array_equal(drawn, np.concatenate(pieces))

    def test_seed_epoch_and_position_address_the_draw(self, corpus):
        objective = separation(corpus)
        starts = [objective.draw(b)[1] for b in (batch(), batch(seed=1), batch(epoch=1), batch(first=6), batch())]
        assert np.array_equal(starts[0], starts[-1])
        assert all(not np.array_equal(starts[0], other) for other in starts[1:-1])


class TestLoss:
    def test_is_the_mean_absolute_error_without_the_edges(self, corpus):
        objective = separation(corpus)
        mixture, target = objective.remixed(batch(2))
        separation_of = objective.network(mixture)
        estimate = objective.network.waveforms(separation_of, SEGMENT)
        expected = (estimate - target)[..., EDGE:-EDGE].abs().mean()
        torch.testing.assert_close(objective.loss(mixture, target), expected)

    def test_does_not_hear_the_tapered_edges(self, corpus):
        objective = separation(corpus)
        mixture, target = objective.remixed(batch(2))
        target.requires_grad_()
        (heard,) = torch.autograd.grad(objective.loss(mixture, target), target)
        assert not heard[..., :EDGE].any() and not heard[..., -EDGE:].any()
        assert heard[..., EDGE:-EDGE].all()

    def test_is_zero_for_a_perfect_estimate(self, corpus):
        objective = separation(corpus)
        objective.network.unet.register_forward_hook(lambda *call: call[2]._replace(mask=torch.ones_like(call[2].mask)))
        mixture, _ = objective.remixed(batch(2))
        assert objective.loss(mixture, mixture[:, None]) < 1e-6

    def test_square_root_magnitudes_are_added_by_their_weight(self, corpus):
        losses = {}
        for weights in ((1.0, 0.0), (0.0, 1.0), (2.0, 3.0)):
            config = SeparationLossConfig(waveform_weight=weights[0], sqrt_magnitude_weight=weights[1])
            objective = separation(corpus, loss=config)
            losses[weights] = objective(*objective.inputs(batch(2)))
        expected = 2 * losses[1.0, 0.0] + 3 * losses[0.0, 1.0]
        torch.testing.assert_close(losses[2.0, 3.0], expected)
        mixture, target = objective.remixed(batch(2))
        magnitude = objective.network.spectrogram.stft(target[:, 0])[..., :-1].abs()
        estimate = objective.network(mixture).estimate_magnitude[:, 0]
        error = ((estimate + 1e-4).sqrt() - (magnitude + 1e-4).sqrt()).abs().mean()
        torch.testing.assert_close(losses[0.0, 1.0], error)

    @pytest.mark.parametrize("sources", [("vocals",), ALL_SOURCES])
    def test_falls_below_what_it_was_and_what_silence_has(self, corpus, sources):
        objective = separation(corpus, separator(sources))
        mixture, target = objective.remixed(batch(4, seed=5))
        first, silent = objective.loss(mixture, target).item(), target[..., EDGE:-EDGE].abs().mean().item()
        training = Training(objective, adam(steps_per_epoch=12, learning_rate=2e-2), seed=0)
        for _ in range(12):
            training.step()
        objective.set_training(True)
        assert objective.loss(mixture, target).item() < 0.85 * min(first, silent)


class TestScores:
    def test_each_source_has_its_own_beside_the_mixtures(self, corpus):
        objective = separation(corpus, separator(ALL_SOURCES))
        objective.set_training(False)
        with torch.no_grad():
            scores = {split: objective.evaluate(split) for split in ("validation", "test")}
            assert objective.validate() == scores["validation"]
        names = {f"{n}_{s}" for n in ("sdr", "si_sdr", "sdr_mixture", "si_sdr_mixture") for s in ALL_SOURCES}
        assert all(found.keys() == {"loss"} | names for found in scores.values())
        assert scores["validation"] != scores["test"]

    def test_they_are_means_over_the_splits_own_segments(self, corpus):
        objective = separation(corpus)
        objective.set_training(False)
        (track,) = corpus.indices("test")
        mixture, target = (
            torch.stack([torch.from_numpy(samples(corpus, track, i * SEGMENT, stem)).float() for i in range(2)])
            for stem in ("mixture", "vocals")
        )
        with torch.no_grad():
            found = objective.evaluate("test")
            estimate = objective.network.waveforms(objective.network(mixture), SEGMENT)[..., EDGE:-EDGE]
        inner = target[:, None, EDGE:-EDGE]
        expected = {
            "loss": (estimate - inner).abs().mean(),
            "sdr_vocals": metrics.sdr(estimate, inner).mean(),
            "si_sdr_vocals": metrics.si_sdr(estimate, inner).mean(),
            "sdr_mixture_vocals": metrics.sdr(mixture[:, None, EDGE:-EDGE], inner).mean(),
            "si_sdr_mixture_vocals": metrics.si_sdr(mixture[:, None, EDGE:-EDGE], inner).mean(),
        }
        assert found == pytest.approx({name: value.item() for name, value in expected.items()}, rel=1e-5)

    def test_an_identity_scores_as_the_mixture_does(self, corpus):
        objective = separation(corpus)
        objective.network.unet.register_forward_hook(lambda *call: call[2]._replace(mask=torch.ones_like(call[2].mask)))
        with torch.no_grad():
            scores = objective.evaluate("validation")
        assert scores["si_sdr_vocals"] == pytest.approx(scores["si_sdr_mixture_vocals"], abs=1e-3)
        assert scores["sdr_vocals"] == pytest.approx(scores["sdr_mixture_vocals"], abs=1e-3)


def test_an_interrupted_separation_ends_with_the_same_bits(corpus):
    config = adam(num_epochs=2, steps_per_epoch=3)
    compute = Compute(precision="bf16")
    undisturbed = Training(separation(corpus), config, seed=0, compute=compute)
    undisturbed.run()
    for after in (1, 3, 5):
        first = Training(separation(corpus), config, seed=0, compute=compute)
        for _ in range(after):
            first.step()
        second = Training(separation(corpus, separator(seed=9)), config, seed=0, compute=compute)
        second.load_state(state_from_bytes(state_to_bytes(first.state())))
        second.run()
        assert lasting(second) == lasting(undisturbed), after


class TestRefusals:
    @pytest.mark.parametrize("absent", ["train", "validation", "test"])
    def test_a_split_without_a_track(self, tmp_path, absent):
        songs = {split: 1 for split in ("train", "validation", "test") if split != absent}
        corpus = separation_corpus(tmp_path / "songs", songs=songs)
        with pytest.raises(ValueError, match=f"no track in split '{absent}'"):
            separation(corpus)

    def test_a_segment_longer_than_the_shortest_song_of_any_split(self, tmp_path):
        corpus = separation_corpus(tmp_path / "songs", num_samples=SEGMENT - 500, songs={"train": 2, "test": 2})
        with pytest.raises(ValueError, match=f"{SEGMENT} samples is longer than track 'train0' with {SEGMENT - 500}"):
            separation(corpus)
        songs = {"train": 1, "validation": 1, "test": 1}
        separation(separation_corpus(tmp_path / "just", num_samples=SEGMENT, songs=songs))
        corpus = separation_corpus(tmp_path / "uneven", num_samples=SEGMENT, num_test=SEGMENT - 1, songs=songs)
        with pytest.raises(ValueError, match="longer than track 'test0'"):
            separation(corpus)

    def test_a_segment_that_six_poolings_do_not_divide(self, corpus):
        with pytest.raises(ValueError, match="96 frames; allowed: multiples of 64 frames"):
            separation(corpus, num_frames=96)

    def test_an_excerpt_shorter_than_a_segment(self, corpus):
        with pytest.raises(ValueError, match=rf"excerpt_s is 0.5, 8000 samples; a segment has {SEGMENT}"):
            separation(corpus, remix=RemixConfig(excerpt_s=0.5))

    def test_a_stem_that_is_not_there(self, corpus):
        with pytest.raises(ValueError, match="has no stem 'guitar'; it has"):
            separation(corpus, separator(("guitar",)))

    def test_several_sources_without_a_rule(self, tmp_path, corpus):
        with pytest.raises(ValueError, match="sources has 'mixture'; several at once can be remixed out of: vocals"):
            separation(corpus, separator(("vocals", "mixture")))

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Part(presence=0.0), "presence is 0.0"),
            (lambda: Part(presence=1.5), "presence is 1.5"),
            (lambda: Part(gain_db=(1.0, 0.0)), "gain_db"),
            (lambda: RemixConfig(excerpt_s=0.0), "excerpt_s is 0.0"),
            (lambda: RemixConfig(excerpt_hop_s=-1.0), "excerpt_hop_s is -1.0"),
            (lambda: SeparationLossConfig(waveform_weight=0.0), "one must be positive"),
            (lambda: SeparationLossConfig(sqrt_magnitude_weight=-1.0), "none may be negative"),
        ],
    )
    def test_nonsense(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()


def test_the_number_of_frames_is_that_of_the_segment(corpus):
    assert separation(corpus).segment_samples == SEGMENT == (NUM_FRAMES - 1) * 160 + 512
