"""Which comparisons earn a star: families, refusals, and what the seeds do not replicate."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from study.statistics.comparisons import FEWEST_FOR_SIGN_FLIP, Comparison, compare
from study.statistics.measurements import Measurements
from study.statistics.over_seeds import effect_size, equivalence_p, holm, paired_t, sign_flip_p
from study.statistics.power import num_pairs_needed, smallest_detectable_effect

ARMS = ("bare", "vocals", "drums", "bass")
VOCALS, DRUMS, BASS = (Comparison(arm, "bare", "roc_auc") for arm in ARMS[1:])


def rows_of(*arguments, **options) -> list[Any]:
    """The rows, of which the tests know where nothing is None."""
    return compare(*arguments, **options)


def study(num_seeds=5, effects=(0.0, 9.0, 6.0, 0.0), shared=()):
    """Values whose effects stand far above their noise, or not at all; arms in `shared` have one separator."""
    rng = np.random.default_rng(3)
    values = {
        arm: {seed: effect + value for seed, value in enumerate(rng.normal(size=num_seeds))}
        for arm, effect in zip(ARMS, effects, strict=True)
    }
    stages = {arm: {seed: runs_stages(arm, seed, shared) for seed in range(num_seeds)} for arm in ARMS}
    kinds = {stage: stage.split()[0] for by_seed in stages.values() for run in by_seed.values() for stage in run}
    return Measurements(values={"roc_auc": values}, stages=stages, kinds=kinds)


def runs_stages(arm, seed, shared):
    separator = [f"separation {arm} {0 if arm in shared else seed}"] if arm != "bare" else []
    return (*separator, f"finetuning {arm} {seed}")


def differences(measured, arm):
    values = measured.values["roc_auc"]
    return np.array([values[arm][seed] - values["bare"][seed] for seed in values["bare"]])


def changed(measured, arm, seed, value=None):
    """The same study with another value, or none, of one run."""
    by_seed = {s: v for s, v in measured.values["roc_auc"][arm].items() if s != seed}
    values = measured.values["roc_auc"] | {arm: by_seed if value is None else by_seed | {seed: value}}
    return replace(measured, values={"roc_auc": values})


def restaged(measured, arm, stages, kinds=()):
    """The same study in which an arm's runs are made of other stages."""
    return replace(measured, stages=measured.stages | {arm: stages}, kinds={**measured.kinds, **dict(kinds)})


def test_rows_are_paired_t_tests_with_holm():
    measured = study()
    rows = rows_of(measured, [VOCALS, DRUMS, BASS])
    expected = [paired_t(differences(measured, arm)) for arm in ARMS[1:]]
    assert [row.contrast for row in rows] == expected
    assert [row.p_holm for row in rows] == pytest.approx(holm(np.array([each.p for each in expected])))
    assert [row.star for row in rows] == [True, True, False]
    assert [row.reasons for row in rows] == [()] * 3
    assert [row.comparison for row in rows] == [VOCALS, DRUMS, BASS]
    assert rows[0].difference == rows[0].interval.estimate == pytest.approx(differences(measured, "vocals").mean())
    assert rows[0].interval.varies == "seeds" and rows[0].seeds == (0, 1, 2, 3, 4)


def test_a_family_can_take_a_star_that_a_single_test_gives():
    # Three differences with p = 0.02 to 0.05 each: none survives a family of three.
    base = np.array([-1.0, 0.0, 1.0, 2.0])
    values = {"bare": dict.fromkeys(range(4), 0.0)}
    values |= {arm: dict(enumerate(base + 2.0 + extra)) for arm, extra in zip(ARMS[1:], (0, 0.01, 0.02), strict=True)}
    measured = replace(study(num_seeds=4), values={"roc_auc": values})
    assert all(0.02 < row.p <= 0.05 for row in rows_of(measured, [VOCALS, DRUMS, BASS]))
    assert [row.star for row in rows_of(measured, [VOCALS])] == [True]
    assert [row.star for row in rows_of(measured, [VOCALS, DRUMS, BASS])] == [False] * 3


def test_metrics_are_one_family():
    measured = study()
    both = replace(measured, values={"roc_auc": measured.values["roc_auc"], "pr_auc": measured.values["roc_auc"]})
    rows = rows_of(both, [VOCALS, replace(VOCALS, metric="pr_auc")])
    assert [row.p_holm for row in rows] == pytest.approx([2 * rows[0].p] * 2)


def test_equivalence_is_two_one_sided_tests_in_the_same_family():
    measured = study(effects=(0.0, 9.0, 0.3, 0.0))
    margins = {"roc_auc": 3.0}
    rows = rows_of(measured, [VOCALS, DRUMS, BASS], margins=margins)
    p = [row.p for row in rows]
    for row in rows:
        found = np.array(row.differences)
        above = stats.ttest_1samp(found, -3.0, alternative="greater").pvalue
        below = stats.ttest_1samp(found, 3.0, alternative="less").pvalue
        assert equivalence_p(found, 3.0) == pytest.approx(max(above, below))
        p.append(max(above, below))
    adjusted = holm(np.array(p))
    assert [row.p_holm for row in rows] == pytest.approx(adjusted[:3])
    assert [row.p_equivalent for row in rows] == pytest.approx(adjusted[3:])
    assert [row.equivalent for row in rows] == (adjusted[3:] <= 0.05).tolist()
    assert [row.star for row in rows] == [True, False, False]
    assert not rows[0].equivalent and any(row.equivalent for row in rows[1:])


def test_only_metrics_with_a_margin_add_to_the_family():
    measured = study()
    both = replace(measured, values={"roc_auc": measured.values["roc_auc"], "pr_auc": measured.values["roc_auc"]})
    planned = [VOCALS, replace(VOCALS, metric="pr_auc")]
    rows = rows_of(both, planned, margins={"pr_auc": 2.0})
    assert [(row.margin, row.p_equivalent is None, row.equivalent) for row in rows] == [
        (None, True, False),
        (2.0, False, False),
    ]
    assert rows[0].p_holm == pytest.approx(3 * rows[0].p)


def test_what_is_incomplete_is_not_equivalent():
    row = rows_of(changed(study(effects=(0.0, 0.0, 0.0, 0.0)), "vocals", 3), [VOCALS], margins={"roc_auc": 99.0})[0]
    assert (row.equivalent, row.p_equivalent, row.margin) == (False, None, 99.0) and row.reasons


@pytest.mark.parametrize("margin", [0.0, -1.0, math.nan])
def test_a_margin_is_positive(margin):
    with pytest.raises(ValueError, match="it is a positive number"):
        equivalence_p(np.array([0.1, 0.2]), margin)


def test_swapped_arms_flip_the_sign_and_keep_the_star():
    there, back = rows_of(study(), [VOCALS])[0], rows_of(study(), [Comparison("bare", "vocals", "roc_auc")])[0]
    assert back.difference == pytest.approx(-there.difference)
    assert back.p == pytest.approx(there.p) and back.star and there.star


def test_alpha_is_that_of_stars_and_intervals():
    row = rows_of(study(), [VOCALS], alpha=1e-9)[0]
    assert not row.star and row.reasons == () and row.interval.confidence == 1 - 1e-9


def test_post_hoc_is_labelled_and_never_starred_and_no_part_of_the_family():
    rows = rows_of(study(), [VOCALS], post_hoc=[DRUMS])
    assert rows[0] == rows_of(study(), [VOCALS])[0]
    assert (rows[1].planned, rows[1].star, rows[1].p_holm) == (False, False, None)
    assert rows[1].p < 0.01 and rows[1].interval is not None
    assert rows[1].reasons == ("post hoc: not among the planned comparisons",)


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
@pytest.mark.parametrize("arm", ["vocals", "bare"])
def test_an_incomplete_comparison_has_an_interval_of_what_is_there_and_no_star(arm, value):
    measured = changed(study(), arm, 3, value)
    row = rows_of(measured, [VOCALS])[0]
    assert row.reasons == (f"incomplete: {arm} is missing or failed at seed 3",)
    assert (row.star, row.p_holm, row.seeds) == (False, None, (0, 1, 2, 4))
    assert row.contrast == paired_t(np.delete(differences(study(), "vocals"), 3))


def test_a_seed_that_was_planned_for_one_arm_only_is_missing_in_the_other():
    measured = study()
    extra = restaged(measured, "vocals", {**measured.stages["vocals"], 7: ("more",)}, {"more": "finetuning"})
    reasons = rows_of(changed(extra, "vocals", 7, 1.0), [VOCALS])[0].reasons
    assert reasons == ("incomplete: bare is missing or failed at seed 7",)


def test_both_arms_can_be_incomplete():
    measured = changed(changed(changed(study(), "bare", 0), "vocals", 1), "vocals", 2)
    assert rows_of(measured, [VOCALS])[0].reasons == (
        "incomplete: vocals is missing or failed at seeds 1, 2",
        "incomplete: bare is missing or failed at seed 0",
    )


def test_an_unfinished_comparison_stays_in_the_family():
    unfinished = rows_of(changed(study(), "bass", 3), [VOCALS, DRUMS, BASS])
    smallest = min(row.p for row in unfinished[:2])
    assert min(row.p_holm for row in unfinished[:2]) == pytest.approx(3 * smallest)
    # Whatever bass will give, no adjusted p of the others can rise.
    finished = rows_of(study(), [VOCALS, DRUMS, BASS])
    assert all(later.p_holm <= earlier.p_holm for earlier, later in zip(unfinished[:2], finished[:2], strict=True))


def test_one_seed_gives_no_interval_and_says_so():
    row = rows_of(study(num_seeds=1), [VOCALS])[0]
    assert row.difference == differences(study(num_seeds=1), "vocals")[0]
    assert (row.contrast, row.interval, row.p, row.p_holm, row.star) == (None, None, None, None, False)
    assert row.reasons == ("1 seed that both arms have gives no interval; two are the fewest",)
    assert (row.effect_size, row.smallest_detectable(), row.seeds_needed()) == (None, None, None)


def test_without_a_seed_there_is_no_difference():
    measured = replace(study(num_seeds=1), values={"roc_auc": {"vocals": {0: 1.0}}})
    row = rows_of(measured, [VOCALS])[0]
    assert row.difference is None and not row.star
    assert "no seed that both arms have, and so no difference" in row.reasons


def test_equal_differences_do_not_pass_for_certainty():
    values = {"bare": {0: 0.80, 1: 0.70}, "vocals": {0: 0.85, 1: 0.75}}
    row = rows_of(replace(study(num_seeds=2), values={"roc_auc": values}), [VOCALS])[0]
    assert row.difference == pytest.approx(0.05) and row.contrast is None and not row.star
    assert row.reasons == ("all seeds give the same difference, and without spread there is no t test",)


def test_one_separator_for_all_seeds_takes_the_star():
    rows = rows_of(study(shared=("vocals",)), [VOCALS, DRUMS])
    assert rows[0].reasons == ("conditional on that one checkpoint: vocals has one separation for all seeds",)
    assert rows[0].p == paired_t(differences(study(), "vocals")).p < 0.001
    assert (rows[0].star, rows[0].p_holm) == (False, None)
    assert rows[1].star


def test_what_may_have_no_star_makes_none_of_the_others_easier():
    conditional, drums = rows_of(study(shared=("vocals",)), [VOCALS, DRUMS])
    assert conditional.p < drums.p and drums.p_holm == pytest.approx(2 * drums.p)


def test_nor_has_the_reference_one_separator_alone():
    reason = "conditional on that one checkpoint: vocals has one separation for all seeds"
    assert rows_of(study(shared=("vocals",)), [Comparison("bare", "vocals", "roc_auc")])[0].reasons == (reason,)


def test_a_shared_separator_that_one_seed_of_the_reference_has_too_is_still_one():
    measured = study(shared=("vocals",))
    # Drums is now vocals with a separator for each seed, of which seed 0 trains the one that vocals shares.
    per_seed = {seed: (f"separation vocals {seed}", f"finetuning drums {seed}") for seed in range(5)}
    kinds = {f"separation vocals {seed}": "separation" for seed in range(5)}
    row = rows_of(restaged(measured, "drums", per_seed, kinds), [Comparison("vocals", "drums", "roc_auc")])[0]
    assert row.reasons == ("conditional on that one checkpoint: vocals has one separation for all seeds",)


def test_fewer_separators_than_seeds_take_the_star_as_well():
    measured = study()
    two = {seed: (f"separation vocals {seed % 2}", f"finetuning vocals {seed}") for seed in range(5)}
    assert rows_of(restaged(measured, "vocals", two), [VOCALS])[0].reasons == (
        "conditional on that one checkpoint: vocals has one separation for seeds 0, 2, 4",
        "conditional on that one checkpoint: vocals has one separation for seeds 1, 3",
    )


def test_what_both_arms_share_is_no_difference_but_is_noted():
    measured = study(shared=("vocals",))
    same = {seed: ("separation vocals 0", f"finetuning drums {seed}") for seed in range(5)}
    row = rows_of(restaged(measured, "drums", same), [Comparison("vocals", "drums", "roc_auc")])[0]
    assert row.reasons == () and row.p_holm == row.p
    assert row.note == "holds for one checkpoint: both arms have the same separation at all seeds"
    assert rows_of(study(), [VOCALS])[0].note == ""


def test_a_backend_that_is_the_references_own_at_each_seed_is_no_reason():
    measured = study()
    three_stage = {s: (f"finetuning bare {s}", *measured.stages["vocals"][s]) for s in range(5)}
    assert rows_of(restaged(measured, "vocals", three_stage), [VOCALS])[0].star


def test_a_stage_in_which_nothing_is_drawn_may_be_run_once():
    measured = restaged(study(), "bare", dict.fromkeys(range(5), ("probe mixture",)), {"probe mixture": "probe"})
    assert rows_of(measured, [VOCALS])[0].reasons == (
        "conditional on that one checkpoint: bare has one probe for all seeds",
    )
    assert rows_of(replace(measured, deterministic=("probe",)), [VOCALS])[0].star


def test_what_else_a_row_tells():
    measured = study(num_seeds=FEWEST_FOR_SIGN_FLIP)
    row, by_hand = rows_of(measured, [BASS])[0], differences(measured, "bass")
    assert row.p_sign_flip == sign_flip_p(by_hand)
    assert row.effect_size == effect_size(by_hand)
    assert row.smallest_detectable(alpha=0.01) == smallest_detectable_effect(8, by_hand.std(ddof=1), alpha=0.01)
    assert row.seeds_needed(power=0.9) == num_pairs_needed(effect_size(by_hand), power=0.9)


def test_below_eight_seeds_there_is_no_sign_flip_test_and_below_three_no_effect_size():
    assert rows_of(study(num_seeds=7), [VOCALS])[0].p_sign_flip is None
    row = rows_of(study(num_seeds=2), [VOCALS])[0]
    assert row.interval is not None and row.smallest_detectable() > 0
    assert (row.effect_size, row.seeds_needed()) == (None, None)


@pytest.mark.parametrize(
    ("planned", "post_hoc", "message"),
    [
        ([VOCALS, VOCALS], [], "vocals against bare in roc_auc is given 2 times"),
        ([VOCALS], [VOCALS], "given 2 times"),
        ([Comparison("vocal", "bare", "roc_auc")], [], "no arm 'vocal'; there are: bare, vocals"),
        ([Comparison("vocals", "base", "roc_auc")], [], "no arm 'base'"),
        ([replace(VOCALS, metric="roc")], [], "no metric 'roc'; there are: roc_auc"),
    ],
)
def test_comparisons_that_cannot_be_made_are_refused(planned, post_hoc, message):
    with pytest.raises(ValueError, match=message):
        rows_of(study(), planned, post_hoc=post_hoc)


def test_an_arm_is_not_compared_with_itself():
    with pytest.raises(ValueError, match="is the arm itself, 'vocals'"):
        Comparison("vocals", "vocals", "roc_auc")


def test_what_was_not_planned_has_no_value_and_every_stage_has_a_kind():
    with pytest.raises(ValueError, match="a value of 'vocals' at seed 9"):
        changed(study(), "vocals", 9, 1.0)
    with pytest.raises(ValueError, match="the stage 'lost' has no kind"):
        restaged(study(), "vocals", {**study().stages["vocals"], 0: ("lost",)})


def test_no_planned_comparison_is_no_row():
    assert rows_of(study(), []) == []
