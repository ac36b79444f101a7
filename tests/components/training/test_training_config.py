"""Phases say what an optimiser does, how its learning rate goes, and when it ends; nonsense is refused by name."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from components.training.training_config import Phase, TrainingConfig, make_optimiser, make_schedule

PHASE = Phase(learning_rate=0.1, num_epochs=3)
CONFIG = TrainingConfig(phases=(PHASE,), batch_size=4, max_epochs=10, monitor="loss", better="lower")


def rates(phase, num_steps, steps_per_epoch=4):
    """The learning rate of each step."""
    optimiser = make_optimiser(phase, [("x", nn.Parameter(torch.zeros(2)))])
    schedule = make_schedule(phase, optimiser, steps_per_epoch)
    found = []
    for _ in range(num_steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return found


class TestSchedules:
    def test_constant(self):
        assert rates(PHASE, 8) == [0.1] * 8

    def test_step_decay_multiplies_every_so_many_steps(self):
        phase = replace(PHASE, schedule="step_decay", decay=0.9, decay_every_steps=3)
        assert rates(phase, 8) == pytest.approx([0.1] * 3 + [0.09] * 3 + [0.081] * 2)

    @pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
    def test_one_cycle_rises_to_the_rate_and_falls_within_the_phase(self, optimiser):
        found = rates(replace(PHASE, optimiser=optimiser, schedule="one_cycle"), 12)
        peak = found.index(max(found))
        assert max(found) == pytest.approx(0.1, rel=0.05) and 0 < peak < 6
        assert found == sorted(found[:peak]) + sorted(found[peak:], reverse=True)
        assert found[-1] < 0.01

    def test_the_first_phase_of_a_separator_is_the_papers(self):
        """PAPER section 4: 1e-3 for vocals, times 0.9 every 15,000 steps."""
        phase = Phase(learning_rate=1e-3, schedule="step_decay", decay=0.9, decay_every_steps=15_000, num_epochs=20)
        found = rates(phase, 45_000)
        assert (found[14_999], found[15_000], found[44_999]) == pytest.approx((1e-3, 9e-4, 8.1e-4))


class TestOptimisers:
    @pytest.mark.parametrize(
        ("name", "reference"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
    )
    def test_each_is_torchs_own(self, name, reference):
        ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 5)) for _ in range(2))
        optimisers = (
            make_optimiser(replace(PHASE, optimiser=name, weight_decay=0.1), [("ours", ours)]),
            reference([theirs], lr=0.1, weight_decay=0.1),
        )
        for step in range(3):
            for parameter, optimiser in zip((ours, theirs), optimisers, strict=True):
                parameter.grad = torch.arange(5.0) - step
                optimiser.step()
        torch.testing.assert_close(ours, theirs)

    def test_sgd_is_plain_under_every_schedule(self):
        for schedule in ("constant", "step_decay", "one_cycle"):
            phase = replace(PHASE, optimiser="sgd", schedule=schedule)
            optimiser = make_optimiser(phase, [("x", nn.Parameter(torch.zeros(1)))])
            make_schedule(phase, optimiser, 4)
            assert optimiser.param_groups[0]["momentum"] == 0


class TestLearningRateFactors:
    @pytest.mark.parametrize("schedule", ["constant", "step_decay", "one_cycle"])
    def test_a_part_follows_the_schedule_at_its_own_rate(self, schedule):
        phase = replace(PHASE, schedule=schedule, decay=0.5, decay_every_steps=2)
        parameters = [(name, nn.Parameter(torch.zeros(1))) for name in ("separator.x", "backend.x", "separators.x")]
        optimiser = make_optimiser(phase, parameters, {"separator": 0.1})
        scheduler = make_schedule(phase, optimiser, 4)
        for step, expected in enumerate(rates(phase, 12)):
            rest, part = optimiser.param_groups
            assert (rest["lr"], part["lr"]) == pytest.approx((expected, 0.1 * expected)), step
            optimiser.step()
            scheduler.step()
        assert [len(group["params"]) for group in optimiser.param_groups] == [2, 1]

    def test_a_name_that_nothing_stands_under_is_refused(self):
        with pytest.raises(ValueError, match="names 'adapters'; no parameter that learns stands under it"):
            make_optimiser(PHASE, [("backend.x", nn.Parameter(torch.zeros(1)))], {"adapters": 2.0})

    def test_a_factor_that_is_not_positive_is_refused(self):
        with pytest.raises(ValueError, match=r"learning_rate_factors\['separator'\] is 0"):
            replace(CONFIG, learning_rate_factors={"separator": 0.0})


class TestStepsPerEpoch:
    @pytest.mark.parametrize(("num_examples", "expected"), [(4, 1), (11, 2), (12, 3)])
    def test_whole_batches_of_the_examples(self, num_examples, expected):
        assert CONFIG.resolve_steps_per_epoch(num_examples) == expected

    def test_given_where_examples_have_no_end_or_suffice(self):
        config = replace(CONFIG, steps_per_epoch=2)
        assert [config.resolve_steps_per_epoch(number) for number in (None, 8, 100)] == [2, 2, 2]

    @pytest.mark.parametrize(
        ("changed", "num_examples", "message"),
        [
            ({}, 3, "batch_size is 4; an epoch has 3 examples"),
            ({}, None, "steps_per_epoch is None"),
            ({"steps_per_epoch": 3}, 11, "steps_per_epoch is 3; an epoch of 11 examples has 2 of 4"),
            ({"steps_per_epoch": 1}, 3, "batch_size is 4"),
        ],
    )
    def test_too_few_examples_are_refused(self, changed, num_examples, message):
        with pytest.raises(ValueError, match=message):
            replace(CONFIG, **changed).resolve_steps_per_epoch(num_examples)


def test_epochs_are_those_of_the_phases_up_to_the_limit():
    assert replace(CONFIG, phases=(PHASE, PHASE)).num_epochs == 6
    assert replace(CONFIG, phases=(PHASE,) * 4).num_epochs == 10


def test_better_is_strictly_better():
    lower, higher = CONFIG, replace(CONFIG, better="higher")
    assert lower.is_better({"loss": 1.0}, None) and higher.is_better({"loss": 1.0}, None)
    assert lower.is_better({"loss": 1.0}, 2.0) and not higher.is_better({"loss": 1.0}, 2.0)
    assert not lower.is_better({"loss": 1.0}, 1.0) and not higher.is_better({"loss": 1.0}, 1.0)


def test_a_metric_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"monitor is 'loss'; validation gives \['sdr'\]"):
        CONFIG.is_better({"sdr": 1.0}, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("num_epochs", 0),
        ("decay", 0.0),
        ("decay_every_steps", 0),
        ("weight_decay", -0.1),
        ("patience", -1),
    ],
)
def test_a_phase_refuses_nonsense(field, value):
    with pytest.raises(ValueError, match=f"Phase.{field} is {value!r}"):
        replace(PHASE, **{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("batch_size", 0),
        ("max_epochs", 0),
        ("validate_every", 0),
        ("steps_per_epoch", 0),
    ],
)
def test_a_training_refuses_nonsense(field, value):
    with pytest.raises(ValueError, match=f"TrainingConfig.{field} is {value!r}"):
        replace(CONFIG, **{field: value})


def test_a_training_needs_a_phase():
    with pytest.raises(ValueError, match="phases is empty"):
        replace(CONFIG, phases=())


@pytest.mark.parametrize(
    ("config", "field"), [(PHASE, "optimiser"), (PHASE, "schedule"), (CONFIG, "better"), (CONFIG, "keep")]
)
def test_an_unknown_name_is_refused(config, field):
    """By the configuration itself, or before it by whatever checks types."""
    with pytest.raises((ValueError, TypeError), match="nonsense"):
        replace(config, **{field: "nonsense"})
