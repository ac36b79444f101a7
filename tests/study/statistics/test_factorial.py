"""Factorial designs against contrasts worked out by hand."""

from itertools import product

import numpy as np
import pytest

from study.statistics.factorial import Change, Factorial
from study.statistics.over_seeds import paired_t

SCHEME = Change(factor="scheme", level="three", against="two")
POINT = Change(factor="point", level="fine", against="none")
FACTORS = ("scheme", "point")


def cells(num_seeds=4) -> dict[tuple[str, ...], dict[int, float]]:
    """2 x 3 cells of random values, by seed."""
    rng = np.random.default_rng(1)
    return {
        cell: dict(enumerate(rng.normal(size=num_seeds)))
        for cell in product(("two", "three"), ("none", "fine", "coarse"))
    }


def column(of, *cell):
    return np.array([of[cell][seed] for seed in sorted(of[cell])])


def test_interaction_is_a_difference_of_differences():
    given = cells()
    by_hand = (column(given, "three", "fine") - column(given, "two", "fine")) - (
        column(given, "three", "none") - column(given, "two", "none")
    )
    design = Factorial.from_cells(FACTORS, given)
    found, expected = design.interaction(SCHEME, POINT), paired_t(by_hand)
    assert found.p == pytest.approx(expected.p)
    assert vars(found.interval) == pytest.approx(vars(expected.interval))
    assert design.interaction(POINT, SCHEME).interval.estimate == pytest.approx(found.interval.estimate)


def test_main_effect_is_the_mean_over_the_other_factors_levels():
    given = cells()
    by_hand = np.mean(
        [column(given, "three", point) - column(given, "two", point) for point in ("none", "fine", "coarse")], axis=0
    )
    found, expected = Factorial.from_cells(FACTORS, given).main_effect(SCHEME), paired_t(by_hand)
    assert (found.p, found.interval.low) == pytest.approx((expected.p, expected.interval.low))
    assert found.interval.varies == "seeds" and found.interval.num == 4


def test_values_that_add_up_have_no_interaction():
    effect = {"two": 0.0, "three": 2.0, "none": 0.0, "fine": 5.0, "coarse": -1.0}
    noise = iter(np.random.default_rng(2).normal(0, 1e-3, size=100))
    given = {
        cell: {seed: sum(effect[level] for level in cell) + seed + next(noise) for seed in range(5)} for cell in cells()
    }
    design = Factorial.from_cells(FACTORS, given)
    assert design.interaction(SCHEME, POINT).interval.estimate == pytest.approx(0, abs=3e-3)
    assert design.main_effect(SCHEME).interval.estimate == pytest.approx(2, abs=3e-3)
    assert design.main_effect(POINT).interval.estimate == pytest.approx(5, abs=3e-3)


def test_a_swapped_change_flips_the_sign():
    design = Factorial.from_cells(FACTORS, cells())
    back = Change(factor="scheme", level="two", against="three")
    assert design.main_effect(back).interval.estimate == pytest.approx(-design.main_effect(SCHEME).interval.estimate)
    there, and_back = design.interaction(SCHEME, POINT), design.interaction(back, POINT)
    assert and_back.interval.low == pytest.approx(-there.interval.high)


def test_the_order_of_cells_and_seeds_changes_nothing():
    given = cells()
    turned = {cell: dict(reversed(by_seed.items())) for cell, by_seed in reversed(given.items())}
    ordered, other = (Factorial.from_cells(FACTORS, of).interaction(SCHEME, POINT) for of in (given, turned))
    assert other.p == pytest.approx(ordered.p)


def test_a_third_factor_is_averaged_over():
    given = {
        (*cell, backend): {s: v + offset for s, v in by.items()}
        for cell, by in cells().items()
        for backend, offset in (("cnn", 0.0), ("ast", 9.0))
    }
    found = Factorial.from_cells((*FACTORS, "backend"), given).interaction(SCHEME, POINT)
    assert found.interval.estimate == pytest.approx(
        Factorial.from_cells(FACTORS, cells()).interaction(SCHEME, POINT).interval.estimate
    )


def without(cell, seed=None):
    given = cells()
    if seed is None:
        del given[cell]
    else:
        given[cell][seed] = np.nan
    return given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (without(("three", "fine")), "incomplete: there is no scheme=three, point=fine"),
        (without(("two", "coarse"), 2), "incomplete: scheme=two, point=coarse has no finite value for seed 2"),
        (
            cells() | {("two", "none"): {0: 1.0, 1: 1.0, 2: 1.0}},
            "scheme=two, point=none has no finite value for seed 3",
        ),
        (cells() | {("two",): {0: 1.0}}, "has 1 levels; the factors are scheme, point"),
        ({}, "needs cells"),
    ],
)
def test_an_incomplete_design_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Factorial.from_cells(FACTORS, given)


def test_unknown_factors_and_levels_are_refused():
    design = Factorial.from_cells(FACTORS, cells())
    with pytest.raises(ValueError, match=r"no factor 'backend'; there are: scheme, point"):
        design.main_effect(Change(factor="backend", level="cnn", against="ast"))
    with pytest.raises(ValueError, match=r"no change between two of the levels none, fine, coarse"):
        design.main_effect(Change(factor="point", level="middle", against="none"))
    with pytest.raises(ValueError, match="no change between two"):
        design.main_effect(Change(factor="point", level="none", against="none"))
    with pytest.raises(ValueError, match="'scheme' twice"):
        design.interaction(SCHEME, SCHEME)


def test_one_seed_has_no_interval():
    with pytest.raises(ValueError, match="at least 2"):
        Factorial.from_cells(FACTORS, cells(num_seeds=1)).main_effect(SCHEME)
