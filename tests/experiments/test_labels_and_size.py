"""The studies of labels and of size: comparisons of like with like, one separator for all numbers of labels."""

import pytest

from experiments import at_size, labels
from experiments.presets import AT_SIZE, PRESETS
from study.stages.graph import StageGraph
from tests.experiments.test_presets import corpora_of

STUDIES = {"labels": (labels.study, PRESETS["demo"]), "at size": (at_size.study, AT_SIZE["generated-large"])}
study_and_preset = pytest.mark.parametrize(("study", "preset"), STUDIES.values(), ids=STUDIES)


@study_and_preset
def test_arms_are_compared_on_as_many_labels(study, preset):
    trials = {arm.name: arm.trial for arm in study.arms}
    assert study.comparisons
    for arm, against, _ in study.comparisons:
        assert trials[arm].labels == trials[against].labels


@study_and_preset
def test_a_seed_trains_each_separator_once(study, preset):
    runs = study.runs(preset.recipe, corpora_of(preset))
    kinds = [stage.kind.name for stage in StageGraph(run.final_stage for run in runs)]
    assert kinds.count("separation") == 2 * len(study.seeds)
    # Every arm has stages of its own, but a backend that a third stage starts from is that of the bare arm.
    assert len(kinds) == kinds.count("separation") + len(runs)


def test_parts_of_a_study_are_seeds_of_the_whole():
    runs = at_size.study.runs(AT_SIZE["generated-large"].recipe, corpora_of(AT_SIZE["generated-large"]))
    assert len({run.seed for run in runs}) == 4 and len(runs) == 4 * 18


def test_the_small_form_has_as_many_labelled_tracks():
    large, tiny = (AT_SIZE[name].generated for name in ("generated-large", "generated-large-tiny"))
    assert large.num_train == tiny.num_train == 2_000
