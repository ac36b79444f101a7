"""Designs: every arm stands there once, under a name to read, and a study shares whatever it can."""

import re
from dataclasses import replace

import pytest

from components.networks.adapters import ALL_POINTS, NO_POINTS, finest, without
from study.design.arms import Arm, bare, full_grid, leave_one_out, one_factor_off, probes
from study.design.study import Study, against, planned
from study.design.trial import bare_trial
from study.stages.graph import StageGraph
from tests.study.toy_study import REFERENCE, corpora_in_name, recipe


def names(arms: list[Arm]) -> list[str]:
    return [arm.name for arm in arms]


def test_one_factor_off_has_the_reference_and_one_arm_for_each_level():
    arms = one_factor_off(REFERENCE, source=["none", "drums"], scheme=["three-stage"], insertion=[NO_POINTS, finest(1)])
    assert names(arms) == [
        *("reference", "source=none", "source=drums", "scheme=three-stage", "insertion=none", "insertion=4")
    ]
    assert arms[0].trial == REFERENCE
    for arm in arms[1:]:
        changed = [name for name, level in arm.trial.factors.items() if level != REFERENCE.factors[name]]
        assert changed == [arm.name.split("=")[0]]


def test_a_level_that_is_the_references_own_is_refused_however_it_is_written():
    with pytest.raises(ValueError, match=r"source=vocals is the reference's own level; leave it out"):
        one_factor_off(REFERENCE, source=["vocals"])
    with pytest.raises(ValueError, match=r"insertion=all is the reference's own level"):
        one_factor_off(REFERENCE, insertion=[tuple(reversed(ALL_POINTS))])


def test_probes_are_named_by_what_the_separator_was_trained_on():
    arms = probes(REFERENCE, sources=[None, "none", "vocals"], features=("estimates",))
    assert names(arms) == ["probe mixture", "probe none", "probe vocals"]
    assert [arm.trial.probe for arm in arms] == [("mixture",), ("estimates",), ("estimates",)]
    assert all(arm.trial.scheme == "probe" and arm.trial.task == REFERENCE.task for arm in arms)


def test_planned_comparisons_are_of_like_with_like():
    arms = [*probes(REFERENCE, sources=[None, "none"]), bare(REFERENCE), *one_factor_off(REFERENCE, source=["none"])]
    compare = [against("bare"), against("probe mixture", metrics=["roc_auc", "pr_auc"])]
    study = Study(name="toy", arms=arms, seeds=[0], compare=compare)
    assert study.comparisons == [
        ("reference", "bare", "roc_auc"),
        ("source=none", "bare", "roc_auc"),
        ("probe none", "probe mixture", "roc_auc"),
        ("probe none", "probe mixture", "pr_auc"),
    ]
    both = Study(name="toy", arms=arms, seeds=[0], compare=[against("bare"), against("source=none")])
    assert both.comparisons == [
        ("reference", "bare", "roc_auc"),
        ("source=none", "bare", "roc_auc"),  # and not bare against source=none once more
        ("reference", "source=none", "roc_auc"),
    ]


def test_a_single_comparison_is_planned_in_a_metric_or_in_groups_of_tags():
    arms = [bare(REFERENCE), *one_factor_off(REFERENCE, source=["none"])]
    compare = [planned("reference", "source=none", in_=["vocal tags", "pr_auc"]), planned("source=none", "bare")]
    study = Study(name="toy", arms=arms, seeds=[0], compare=[*compare, against("bare"), compare[0]])
    assert study.comparisons == [
        ("reference", "source=none", "vocal tags"),
        ("reference", "source=none", "pr_auc"),
        ("source=none", "bare", "roc_auc"),
        ("reference", "bare", "roc_auc"),
    ]


GENRE = one_factor_off(REFERENCE, task=["genre"])[1:]


@pytest.mark.parametrize(
    ("compare", "margins", "message"),
    [
        (
            against("nobody"),
            {},
            r"Study\.compare names 'nobody'; the arms of the study are: bare, reference, task=genre",
        ),
        (planned("reference", "nobody"), {}, r"Study\.compare names 'nobody'"),
        (planned("bare", "bare"), {}, r"Study\.compare plans 'bare' against itself; name two arms"),
        (planned("bare", "task=genre"), {}, r"plans 'bare' \(tagging\) against 'task=genre' \(genre\): one task"),
        (planned("reference", "bare", in_=[]), {}, r"plans reference against bare in no metric"),
        (against("bare"), {"pr_auc": 0.1}, r"Study\.margins names 'pr_auc'; comparisons are planned in: roc_auc"),
        (against("bare"), {"roc_auc": 0.0}, r"Study\.margins\['roc_auc'\] is 0\.0; give a positive number"),
        (against("bare"), {"roc_auc": float("nan")}, r"is nan; give a positive number"),
    ],
)
def test_comparisons_that_cannot_be_made_are_refused(compare, margins, message):
    arms = [bare(REFERENCE), *one_factor_off(REFERENCE), *GENRE]
    with pytest.raises(ValueError, match=message):
        Study(name="toy", arms=arms, seeds=[0], compare=[compare], margins=margins)


@pytest.mark.parametrize("design", [one_factor_off, full_grid])
def test_unknown_factors_and_levels_are_refused(design):
    with pytest.raises(ValueError, match=r"no factor 'colour'; there are: task, backend, weights, source, scheme"):
        design(REFERENCE, colour=["red"])
    with pytest.raises(ValueError, match=r"Trial\.source is 'guitar'"):
        design(REFERENCE, source=["guitar"])
    with pytest.raises(ValueError, match="no insertion point has level 9"):
        design(REFERENCE, insertion=[(9,)])
    with pytest.raises(ValueError, match=r"a bare backend .* has no scheme"):
        design(REFERENCE, source=[None])


def test_full_grid_is_every_combination():
    arms = full_grid(REFERENCE, source=["none", "drums", "vocals"], scheme=["two-stage", "three-stage"])
    assert len(arms) == 6
    assert {(arm.trial.source, arm.trial.scheme) for arm in arms} == {
        (source, scheme) for source in ("none", "drums", "vocals") for scheme in ("two-stage", "three-stage")
    }
    assert arms[0].name == "source=none scheme=two-stage"
    assert all(replace(arm.trial, source="vocals", scheme="two-stage") == REFERENCE for arm in arms)
    with pytest.raises(ValueError, match="at least"):
        full_grid(REFERENCE)


def test_leave_one_out_has_all_points_and_each_missing_once():
    arms = leave_one_out(replace(REFERENCE, insertion=NO_POINTS))
    assert arms[0].trial == REFERENCE and len(arms) == 1 + len(ALL_POINTS)
    assert {arm.trial.insertion for arm in arms[1:]} == {without(level) for level in ALL_POINTS}
    assert arms[1].name == "insertion without level 4"
    with pytest.raises(ValueError, match=r"a bare backend .* has no insertion"):
        leave_one_out(bare_trial(REFERENCE))


def test_arms_may_be_listed_by_hand():
    listed = [Arm(name="plain", trial=bare_trial(REFERENCE)), Arm(name="full", trial=REFERENCE)]
    study = Study(name="by-hand", arms=listed, seeds=[3, 1])
    runs = study.runs(recipe(), corpora_in_name())
    assert [(run.arm.name, run.seed) for run in runs] == [("plain", 3), ("full", 3), ("plain", 1), ("full", 1)]
    assert all(run.final_stage.config.seed == run.seed for run in runs)


DESIGNS = [
    [bare(REFERENCE), *one_factor_off(REFERENCE, source=["none", "bass"], unet=["finetuned"], task=["genre"])],
    full_grid(REFERENCE, source=["none", "other"], insertion=[NO_POINTS, finest(2), ALL_POINTS], unet=["frozen"]),
    leave_one_out(REFERENCE),
]


@pytest.mark.parametrize("arms", DESIGNS)
def test_every_arm_has_a_readable_name_of_its_own(arms):
    assert len(set(names(arms))) == len(arms)
    assert all(re.fullmatch(r"[a-z0-9=\- ]{3,60}", name) for name in names(arms))
    assert len({arm.trial for arm in arms}) == len(arms)
    Study(name="toy", arms=arms, seeds=[0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arms": []}, "has 0 arms and 1 seeds"),
        ({"seeds": []}, "has 1 arms and 0 seeds"),
        ({"seeds": [0, 1, 0]}, "the seed 0 is in the study twice"),
        ({"arms": [Arm(name="a", trial=REFERENCE)] * 2}, "the arm name 'a' is in the study twice"),
        (
            {"arms": [Arm(name="a", trial=REFERENCE), Arm(name="b", trial=REFERENCE)]},
            "the arms 'a' and 'b' of the study are one trial",
        ),
    ],
)
def test_studies_that_answer_nothing_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Study(**{"name": "toy", "arms": [Arm(name="a", trial=REFERENCE)], "seeds": [0], **fields})


def test_an_arm_needs_a_name():
    with pytest.raises(ValueError, match=r"Arm\.name is ' '"):
        Arm(name=" ", trial=REFERENCE)


def test_a_study_trains_each_stage_once():
    sources = ["none", "drums", "vocals"]
    arms = [bare(REFERENCE), *full_grid(REFERENCE, source=sources, scheme=["two-stage", "three-stage"])]
    runs = Study(name="toy", arms=arms, seeds=range(2)).runs(recipe(), corpora_in_name())
    graph = StageGraph(run.final_stage for run in runs)
    # By seed: the backend, two separators, six joint networks.
    assert len(graph) == 2 * (1 + 2 + 6)
    assert sum(len(run.stages) for run in runs) == 2 * (1 + 1 + 2 + 2 * 2 + 2 * 3)


def test_the_stages_of_a_run_are_its_ancestors_parents_first():
    arm = Arm(name="three", trial=replace(REFERENCE, scheme="three-stage"))
    (run,) = Study(name="toy", arms=[arm], seeds=[0]).runs(recipe(), corpora_in_name())
    assert run.stages[-1] == run.final_stage
    assert set(run.stages[:-1]) == set(run.final_stage.parents.values()) and len(run.stages) == 3
