"""The loop: the same bits however often it is interrupted, phases that end when they should, the best weights kept."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from components.training import workers
from components.training.checkpoint import state_from_bytes, state_to_bytes
from components.training.loop import Compute, NonFiniteError, Training
from components.training.training_config import Phase, TrainingConfig
from tests.components.tiny import ToyObjective, adam, lasting, vector

# Two steps in an epoch, twelve in all; epoch 1 is phase 0's best and is not its last, epoch 2 the worst.
SCRIPT = [3.0, 1.0, 9.0, 2.0, 0.5, 4.0]
TWELVE_STEPS = TrainingConfig(
    phases=(
        Phase(optimiser="adam", learning_rate=0.02, schedule="one_cycle", num_epochs=3),
        Phase(optimiser="sgd", learning_rate=0.02, schedule="step_decay", decay=0.5, decay_every_steps=2, num_epochs=2),
        Phase(optimiser="adamw", learning_rate=0.01, weight_decay=0.1, num_epochs=1),
    ),
    batch_size=4,
    steps_per_epoch=2,
    max_epochs=6,
    monitor="scripted",
    better="lower",
)
CONFIGS = {
    "phases, schedules and reloads": TWELVE_STEPS,
    "the last weights": replace(TWELVE_STEPS, keep="last"),
    "patience ends phases": replace(
        TWELVE_STEPS,
        phases=tuple(replace(phase, num_epochs=6, patience=0) for phase in TWELVE_STEPS.phases),
    ),
    "few validations": replace(TWELVE_STEPS, validate_every=2),
    "the limit ends the first phase": replace(
        TWELVE_STEPS, phases=(replace(TWELVE_STEPS.phases[0], num_epochs=9),), max_epochs=6
    ),
    "one long epoch": replace(TWELVE_STEPS, phases=TWELVE_STEPS.phases[:1], steps_per_epoch=12, max_epochs=1),
}


def toy(config=TWELVE_STEPS, *, seed=0, initial=0, script=SCRIPT, **options):
    return Training(ToyObjective(initial, script), config, seed=seed, **options)


def interrupted(after, config, **options):
    """Stopped after so many steps, and continued in a process that knows nothing but the state."""
    first = toy(config, **options)
    for _ in range(after):
        first.step()
    data = state_to_bytes(first.state())
    torch.manual_seed(99)
    second = toy(config, initial=99, **options)
    second.load_state(state_from_bytes(data))
    second.run()
    return second


class TestResume:
    @pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
    def test_after_each_step_ends_with_the_same_bits(self, config):
        undisturbed = toy(config)
        undisturbed.run()
        for after in range(undisturbed.position.step + 1):
            assert lasting(interrupted(after, config)) == lasting(undisturbed), f"interrupted after {after} steps"

    def test_the_stage_of_the_first_case_has_all_that_can_go_wrong(self):
        training = toy()
        weights = []
        training.run(lambda t: weights.append(vector(t.network)))
        position = training.position
        assert (position.step, position.epoch, position.phase, position.best_epoch) == (12, 6, 3, 4)
        assert training.num_steps == 12
        assert [row["phase"] for row in position.history] == [0, 0, 0, 1, 1, 2]
        assert isinstance(training.network[3], nn.Dropout)
        assert all(not torch.equal(a, b) for a, b in pairwise(weights))

    def test_with_bf16(self):
        compute = Compute(precision="bf16")
        undisturbed = toy(compute=compute)
        undisturbed.run()
        assert lasting(undisturbed) != lasting(interrupted(3, TWELVE_STEPS))
        assert lasting(interrupted(3, TWELVE_STEPS, compute=compute)) == lasting(undisturbed)

    def test_a_loaded_state_is_copied(self):
        first, second = toy(), toy()
        for _ in range(3):
            first.step()
        second.load_state(first.state())
        kept = state_to_bytes(first.state())
        second.run()
        again = toy()
        again.load_state(state_from_bytes(kept))
        assert lasting(again) == lasting(first)
        first.run()
        assert lasting(first) == lasting(second)

    def test_moments_follow_the_layout_of_their_parameters(self):
        """A fused optimiser walks memory: moments in another layout than their kernel's would be silently mixed up."""
        first, undisturbed = toy(), toy()
        for _ in range(3):
            first.step()
        state = state_from_bytes(state_to_bytes(first.state()))
        for moments in state["optimiser"]["state"].values():
            moments |= {name: moments[name].contiguous() for name in ("exp_avg", "exp_avg_sq")}
        second = toy()
        second.load_state(state)
        second.run()
        undisturbed.run()
        assert lasting(second) == lasting(undisturbed)


class TestLooks:
    @pytest.mark.parametrize("look_every", [2, 5, 99])
    def test_change_no_result(self, look_every):
        often, seldom = toy(), toy(look_every=look_every)
        often.run()
        seldom.run()
        assert lasting(often) == lasting(seldom)

    @pytest.mark.parametrize("after", [1, 3, 4])
    def test_are_taken_before_a_state(self, after):
        undisturbed = toy()
        undisturbed.run()
        assert lasting(interrupted(after, TWELVE_STEPS, look_every=99)) == lasting(undisturbed)

    def test_come_at_an_epochs_end_and_so_often(self):
        training, seen = toy(CONFIGS["one long epoch"], look_every=5), []
        training.run(lambda t: seen.append(t.is_seen))
        assert [step for step, is_seen in enumerate(seen, start=1) if is_seen] == [5, 10, 12]


class TestDraws:
    def test_the_seed_decides_everything(self):
        runs = [toy(seed=seed) for seed in (0, 0, 1)]
        for training in runs:
            training.run()
        assert lasting(runs[0]) == lasting(runs[1]) != lasting(runs[2])

    def test_dropout_differs_from_step_to_step_and_does_not_heed_the_global_generator(self):
        training, masks = toy(), []
        training.network[3].register_forward_hook(lambda module, inputs, output: masks.append(output == 0))
        other = toy()
        for _ in range(2):
            training.step()
            torch.rand(5)
            other.step()
        assert not torch.equal(masks[0], masks[1])
        training.run()
        other.run()
        assert lasting(training) == lasting(other)

    def test_a_batch_is_the_next_positions_of_its_epoch(self):
        training, batches = toy(), []
        draw = training.objective.inputs
        training.objective.inputs = lambda batch: batches.append(batch) or draw(batch)
        for _ in range(3):
            training.step()
        assert [(b.epoch, b.step, list(b.positions)) for b in batches] == [
            (0, 0, [0, 1, 2, 3]),
            (0, 1, [4, 5, 6, 7]),
            (1, 2, [0, 1, 2, 3]),
        ]
        assert {batch.seed for batch in batches} == {0}


def scripted(script, *, patience=10, num_phases=4, max_epochs=200, validate_every=1):
    """PAPER section 7's phases: Adam 1e-4, then SGD 1e-3, 1e-4, 1e-5; one step an epoch."""
    rates = (("adam", 1e-4), ("sgd", 1e-3), ("sgd", 1e-4), ("sgd", 1e-5))
    phases = tuple(
        Phase(optimiser=name, learning_rate=rate, num_epochs=200, patience=patience)
        for name, rate in rates[:num_phases]
    )
    config = replace(
        TWELVE_STEPS, phases=phases, steps_per_epoch=1, max_epochs=max_epochs, validate_every=validate_every
    )
    training = toy(config, script=script)
    training.run()
    return training


class TestPhases:
    def test_a_phase_ends_after_more_than_ten_epochs_without_a_better_one(self):
        training = scripted([5.0, 4.0, 3.0] + [3.0] * 100)
        phases = [row["phase"] for row in training.position.history]
        # The best is epoch 2; epochs 3 to 12 are ten without a better one, epoch 13 the eleventh.
        assert phases == [0] * 14 + [1] * 11 + [2] * 11 + [3] * 11
        assert (training.position.best_epoch, training.position.best_value) == (2, 3.0)
        rates = {row["phase"]: row["learning_rate"] for row in training.position.history}
        assert rates == {0: 1e-4, 1: 1e-3, 2: 1e-4, 3: 1e-5}

    @pytest.mark.parametrize(("num_worse", "num_epochs"), [(10, 1 + 10 + 1 + 11), (11, 1 + 11)])
    def test_a_better_one_after_ten_epochs_is_in_time_and_after_eleven_too_late(self, num_worse, num_epochs):
        script = [5.0] + [6.0] * num_worse + [1.0] + [6.0] * 100
        assert len(scripted(script, num_phases=1).position.history) == num_epochs

    def test_at_most_so_many_epochs_in_all(self):
        training = scripted([float(-epoch) for epoch in range(300)])
        assert len(training.position.history) == training.position.epoch == 200
        assert training.num_steps == 200
        stopped_later = scripted([5.0] + [6.0] * 100, max_epochs=17)
        assert [row["phase"] for row in stopped_later.position.history] == [0] * 12 + [1] * 5
        assert "scripted" in stopped_later.position.history[-1]

    def test_patience_is_lost_only_at_a_validation(self):
        training = scripted([5.0] * 100, patience=2, num_phases=1, validate_every=4)
        history = training.position.history
        assert [row["epoch"] for row in history if "scripted" in row] == [3, 7]
        assert len(history) == 8

    def test_a_phases_last_epoch_is_validated(self):
        training = toy(replace(TWELVE_STEPS, validate_every=2))
        training.run()
        assert [row["epoch"] for row in training.position.history if "scripted" in row] == [1, 2, 4, 5]

    def test_each_phase_starts_from_the_best_weights_so_far(self):
        training = toy()
        starts = {0: vector(training.network)}
        training.run(lambda t: starts.setdefault(t.position.epoch, vector(t.network)))
        # Epoch 1 was phase 0's best, and epoch 4 is the best of all.
        assert torch.equal(starts[3], starts[2])
        assert torch.equal(starts[5], vector(training.network))
        assert len({tuple(start.tolist()) for start in starts.values()}) == 6

    def test_the_best_weights_are_kept_with_their_statistics_or_the_last(self):
        results = {}
        for keep in ("best", "last"):
            training, ends = toy(replace(TWELVE_STEPS, keep=keep)), {}
            training.run(lambda t, ends=ends: ends.setdefault(t.position.epoch - 1, lasting(t)["weights"]))
            results[keep] = lasting(training)["weights"]
        # Epoch 4 is the best.
        assert results["best"] == ends[4]
        assert results["last"] == ends[5] != ends[4]

    def test_a_higher_metric_may_be_better(self):
        training = toy(replace(TWELVE_STEPS, better="higher"))
        training.run()
        assert (training.position.best_epoch, training.position.best_value) == (2, 9.0)


class TestHistory:
    def test_the_training_loss_is_the_mean_over_the_epochs_steps(self):
        training, losses = toy(), []
        training.objective.register_forward_hook(lambda module, inputs, loss: losses.append(loss.item()))
        training.run()
        expected = [sum(losses[i : i + 2]) / 2 for i in range(0, 12, 2)]
        assert [row["train_loss"] for row in training.position.history] == expected

    def test_each_row_says_where_it_stands(self):
        training = toy()
        training.run()
        rows = training.position.history
        assert [(row["epoch"], row["step"]) for row in rows] == [(epoch, 2 * epoch + 2) for epoch in range(6)]
        assert all(row["duration_s"] > 0 and row["loss"] > 0 for row in rows)
        assert [row["learning_rate"] for row in rows[3:]] == [0.01, 0.005, 0.01]


class Broken(ToyObjective):
    """Breaks in step 3; `how` says what: the loss, or a gradient behind a finite loss."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward(self, x, step=0):
        loss = super().forward(x)
        return loss if step < 3 else self.how(loss, self.network[0].weight)

    def validate(self):
        return {"loss": 1.0}


def breaks(how, **options):
    return Training(Broken(how), adam(num_epochs=2, steps_per_epoch=8), seed=0, **options)


BROKEN = {
    "loss": (lambda loss, weight: loss * torch.nan, "loss nan, gradients of "),
    "constant": (lambda loss, weight: loss + torch.inf, "loss inf, all gradients finite"),
    "gradient": (lambda loss, weight: loss + (weight * 0).abs().sqrt().sum(), r"loss \d.*, gradients of 0.weight$"),
}


class TestNotFinite:
    @pytest.mark.parametrize(("how", "message"), BROKEN.values(), ids=BROKEN)
    def test_is_an_error_before_the_weights_change(self, how, message):
        training = breaks(how)
        for _ in range(3):
            training.step()
        before = vector(training.network)
        with pytest.raises(NonFiniteError, match=rf"step 3 \(phase 0, epoch 0\): {message}"):
            training.step()
        assert torch.equal(before, vector(training.network))
        assert training.position.step == 3

    @pytest.mark.parametrize(("how", "message"), BROKEN.values(), ids=BROKEN)
    @pytest.mark.parametrize("look_every", [2, 3, 5, 99])
    def test_is_an_error_at_the_next_look_with_the_weights_from_before(self, how, message, look_every):
        """As where a GPU works ahead: the step is named, and later ones have changed no weight."""
        undisturbed, training = breaks(how), breaks(how, look_every=look_every)
        for _ in range(3):
            undisturbed.step()
        with pytest.raises(NonFiniteError, match=rf"step 3 \(phase 0, epoch 0\): {message}"):
            training.run()
        assert torch.equal(vector(undisturbed.network), vector(training.network))

    def test_no_state_is_given_of_a_broken_training(self):
        training = breaks(BROKEN["loss"][0], look_every=99)
        for _ in range(5):
            training.step()
        with pytest.raises(NonFiniteError, match="step 3"):
            training.state()

    @pytest.mark.parametrize("look_every", [1, 3])
    def test_large_gradients_whose_norm_overflows_are_no_error(self, look_every):
        training = breaks(lambda loss, weight: loss + 2e38 * weight.sum(), look_every=look_every)
        for _ in range(4):
            training.step()

    @pytest.mark.parametrize("value", [float("nan"), float("-inf")])
    def test_metrics_are_an_error_too(self, value):
        training = toy(script=[1.0, value, 1.0])
        with pytest.raises(NonFiniteError, match=r"step 4 \(phase 0, epoch 1\): validation gives scripted"):
            training.run()


class TestRefusals:
    def test_workers_that_do_not_divide_the_batch(self, monkeypatch):
        monkeypatch.setattr(workers, "num_workers", lambda: 3)
        with pytest.raises(ValueError, match="batch_size 4 does not divide among 3 workers"):
            toy()

    def test_an_unknown_precision(self):
        with pytest.raises((ValueError, TypeError), match="float16"):
            Compute(precision="float16")
