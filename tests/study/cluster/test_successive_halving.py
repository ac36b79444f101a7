"""Successive halving: Tune's rule, over the trials before and nobody else."""

import pytest

from study.cluster.successive_halving import Halving, HalvingRule
from study.design.hyperparameters import Hyperparameters
from tests.study.toy_search import NUM_EPOCHS, rows


def rule(*before: dict[int, float], factor: int = 2, grace: int = 1) -> HalvingRule:
    halving = Halving(grace_epochs=grace, factor=factor)
    return HalvingRule(halving=halving, metric="roc_auc", num_epochs=NUM_EPOCHS, before=before)


def epochs(*values: float | None) -> list[dict]:
    """Epochs, of which those without a value were not validated."""
    known = rows(Hyperparameters(), len(values))
    return [
        {k: v for k, v in row.items() if k != "roc_auc"} | ({} if value is None else {"roc_auc": value})
        for row, value in zip(known, values, strict=True)
    ]


def test_the_first_trial_goes_on_whatever_it_is_like():
    assert not any(rule()(epochs(*[0.0] * number)) for number in range(1, NUM_EPOCHS + 1))


@pytest.mark.parametrize(("value", "stops"), [(0.74, True), (0.76, False)])
def test_a_trial_stops_below_the_best_share_of_those_before(value, stops):
    before = [{1: 0.5}, {1: 0.7}, {1: 0.8}, {1: 0.9}]
    # By hand: half of four go on; the median of their values lies at 0.75.
    assert rule(*before)(epochs(value)) is stops
    # Of three parts one goes on: two thirds of the way from 0.5 to 0.9, by rank, lie at 0.8.
    assert rule(*before, factor=3)(epochs(0.79)) and not rule(*before, factor=3)(epochs(0.81))


def test_between_rungs_nothing_stops():
    before = [dict.fromkeys(range(1, 10), 0.9)]
    bad = [0.95, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]
    stops = [len(bad[: n + 1]) for n in range(len(bad)) if rule(*before)(epochs(*bad[: n + 1]))]
    assert stops == [2, 4, 8]  # what passed the first rung is looked at again at the next ones


def test_the_last_epoch_and_those_that_were_not_validated_stop_nothing():
    before = [dict.fromkeys(range(1, 10), 0.9)]
    assert not rule(*before)(epochs(*[0.1] * NUM_EPOCHS))
    assert not rule(*before)(epochs(0.95, None))
    assert rule(*before)(epochs(0.95, None, 0.1))  # validated late: compared at the rung that it has passed


def test_rungs():
    assert Halving(grace_epochs=4, factor=3).rungs(40) == [4, 12, 36]
    assert Halving(grace_epochs=40, factor=3).rungs(40) == []
    with pytest.raises(ValueError, match="at least 1 epoch and factor 2"):
        Halving(grace_epochs=0)
