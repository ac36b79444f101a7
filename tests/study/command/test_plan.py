"""What would run and why, printed before anything is trained."""

from dataclasses import replace
from pathlib import Path

import pytest

from components.networks.spectrogram import MelConfig
from study.command.plan import check_comparisons, known_groups, smallest_effect, with_known_groups
from study.command.study import StudyCommand
from study.design.arms import bare, one_factor_off
from study.design.study import Study, against, planned
from study.store.attempt import begin_attempt
from tests.study.toy_command import PRESETS, command, finish, text_of
from tests.study.toy_study import REFERENCE, TAGS, corpora_in_name, recipe


def files_below(folder: str) -> set[str]:
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}


def test_the_plan_counts_and_runs_nothing(options):
    made = command(options, bare(REFERENCE), *one_factor_off(REFERENCE, source=["none"], scheme=["three-stage"]))
    before = files_below(options.storage)
    made.print_plan()
    text = text_of(made)
    assert 'Study "toy-toy": 4 arms x 2 seeds = 8 runs, 10 unique stages (14 if every run trained its own)' in text
    assert "0 of 10 stages are done; 10 would run." in text
    assert text.count("  to run  ") == 10 and "  done  " not in text
    assert files_below(options.storage) == before == {"store.json"}


def test_the_plan_knows_what_is_done(options):
    made = command(options)
    separators = [stage for stage in made.graph if stage.kind.name == "separation"]
    finish(made.store, separators)
    made.print_plan()
    lines = text_of(made).splitlines()
    assert "2 of 8 stages are done; 6 would run." in lines
    assert [line.split("  ")[-1] for line in lines if line.startswith("  done")] == [s.label for s in separators]


def test_the_plan_tells_what_so_many_seeds_can_show():
    planned = Study(
        name="s", arms=[bare(REFERENCE), *one_factor_off(REFERENCE)], seeds=range(5), compare=[against("bare")]
    )
    told = smallest_effect(planned, {("tagging", "cnn", "roc_auc"): 0.001, ("genre", "cnn", "accuracy"): 0.5})
    # By hand: five pairs show 1.68 standard deviations; the difference of two runs has the root of two as much.
    assert smallest_effect(planned, {}).endswith("paired t test): 1.7 standard deviations of the paired differences.")
    assert told.endswith("by the spread of the paper's runs, unpaired, 0.0024 roc_auc (tagging, cnn).")
    twice = replace(planned, compare=[against("bare", metrics=("roc_auc", "pr_auc"))])
    assert "corrected for 2 tests): 2.1 standard deviations" in smallest_effect(twice, {})
    assert "One seed shows no effect" in smallest_effect(replace(planned, seeds=[0]), {})


@pytest.mark.parametrize("columns", [20, 80])
def test_the_plans_lines_are_never_wrapped(options, columns):
    made = command(options, columns=columns)
    made.print_plan()
    lines = text_of(made).splitlines()
    arms = ["  arm ", "  bare ", "  reference ", "  source=none "]
    assert [line[: len(arm)] for line, arm in zip(lines[1:5], arms, strict=True)] == arms
    assert all(stage.label in line for stage, line in zip(made.graph, lines[5 : 5 + len(made.graph)], strict=True))
    places = [line.index(level) for line, level in zip(lines[1:5], ("unet", "-  ", "frozen", "frozen"), strict=True)]
    assert places[0] == places[2] == places[3]


def explained(made: StudyCommand, name: str) -> list[str]:
    made.print_explanation(name)
    return text_of(made).splitlines()


def test_nothing_is_done_at_first(options):
    assert explained(command(options), "reference/seed0") == [
        "separation vocals, seed 0: new; no separation stage is done",
        "finetuning tagging cnn, vocals, two-stage, frozen, adapters all, seed 0: new; no finetuning stage is done",
    ]


def test_done_stages_are_reused(done):
    lines = explained(command(done), "reference/seed0")
    assert [line.rsplit(": ", 1)[1] for line in lines] == ["done, reused"] * 2


def test_a_changed_field_is_named_with_both_values(done):
    changed = {"toy": replace(PRESETS["toy"], recipe=recipe(adapters_initial_std=0.5, mel=MelConfig(low_hz=90.0)))}
    assert explained(command(done, presets=changed), "reference/seed0") == [
        "separation vocals, seed 0: done, reused",
        "finetuning tagging cnn, vocals, two-stage, frozen, adapters all, seed 0: new; like "
        '"finetuning tagging cnn, vocals, two-stage, frozen, adapters all, seed 0", but',
        "    joint.adapters.initial_std changed from 0.01 to 0.5",
        "    joint.mel.low_hz changed from 100 to 90",
    ]


def test_of_parents_it_says_that_they_are_others(done):
    changed = {"toy": replace(PRESETS["toy"], recipe=recipe(remix=replace(recipe().remix, excerpt_s=1.0)))}
    separation, _, finetuning, why = explained(command(done, presets=changed), "reference/seed0")[:4]
    assert separation == 'separation vocals, seed 0: new; like "separation vocals, seed 0", but'
    assert finetuning.startswith("finetuning") and why == "    its separator comes from another stage"


def test_another_seed_differs_in_the_seed(options):
    made = command(options)
    finish(made.store, made.runs[1].stages)
    lines = explained(made, "reference/seed1")
    assert lines[1] == "    seed changed from 0 to 1"


def test_failed_and_interrupted_stages_are_no_new_ones(options):
    made = command(options)
    separation, finetuning = made.runs[1].stages
    begin_attempt(made.store, separation).save_state(b"state")
    begin_attempt(made.store, finetuning).fail(ValueError("too small"))
    lines = explained(made, "reference/seed0")
    assert lines[0].endswith("begun, not done; it goes on from its last saved state")
    assert lines[1].endswith("begun, not done; the last attempt failed: ValueError: too small")


def test_an_unknown_run_is_refused_with_those_that_exist(options):
    with pytest.raises(ValueError, match=r"--explain 'reference': there is no such run; there are: bare/seed0, "):
        command(options).print_explanation("reference")


def test_a_planned_comparison_in_what_nobody_measures_is_refused():
    arms = [bare(REFERENCE), *one_factor_off(REFERENCE, source=["none"])]
    sung = {"sung tags": ["sung"]}
    for metric in ("roc_auc", "sung tags"):
        study = Study(name="toy", arms=arms, seeds=[0], compare=[against("bare", metrics=[metric])])
        check_comparisons(study, sung)
        assert with_known_groups(study, sung, sung) == (study, [])
    for metric in ("acuracy", "accuracy", "other tags"):
        study = Study(name="toy", arms=arms, seeds=[0], compare=[planned("reference", "bare", in_=metric)])
        with pytest.raises(ValueError, match=f"asks for '{metric}' of tagging; there are: roc_auc, pr_auc, sung tags"):
            check_comparisons(study, sung)


def test_comparisons_in_tags_that_the_corpus_has_not_are_left_out_and_told():
    arms = [bare(REFERENCE), *one_factor_off(REFERENCE, source=["none"])]
    groups = {"sung tags": ["whistled", "hummed"], "loud tags": [TAGS[0], "deafening"]}
    known = known_groups(groups, corpora_in_name())
    assert known == {"loud tags": [TAGS[0]]}
    compare = [
        planned("reference", "bare", in_=["sung tags", "roc_auc"]),
        planned("reference", "source=none", in_="sung tags"),
        planned("source=none", "bare", in_="loud tags"),
    ]
    study = Study(name="toy", arms=arms, seeds=[0], compare=compare, margins={"sung tags": 0.1, "roc_auc": 0.2})
    found, lines = with_known_groups(study, groups, known)
    assert found.comparisons == [("reference", "bare", "roc_auc"), ("source=none", "bare", "loud tags")]
    assert found.margins == {"roc_auc": 0.2}
    assert lines == ["The tagging corpus has none of the sung tags (whistled, hummed): 2 planned comparisons left out"]
