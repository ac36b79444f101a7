"""Arms in words: understood without the names of the records, and no two alike."""

import pytest

from experiments import ablation, at_size, insertion, labels, paper
from study.design.arms import one_factor_off
from study.report.arm_names import in_words

ARMS = {
    study.name: {arm.name: arm.trial.factors for arm in study.arms}
    for study in (ablation.study, at_size.study, insertion.study, labels.study, paper.study)
}


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ("bare", "the CNN alone"),
        ("reference", "the U-Net pre-trained on vocals"),
        ("source=none", "the random U-Net"),
        ("source=drums", "the U-Net pre-trained on drums"),
        ("probe mixture", "the probe of the mixture"),
        ("probe none", "the probe of the random U-Net"),
        ("probe vocals", "the probe of the U-Net pre-trained on vocals"),
    ],
)
def test_the_arms_of_the_demo_and_of_its_next_levels(arm, words):
    more = [*ablation.study.arms, *one_factor_off(ablation.reference, source=["none", "drums"])]
    assert in_words({arm.name: arm.trial.factors for arm in more}, arm) == words


@pytest.mark.parametrize("study", ARMS)
def test_no_two_arms_of_a_study_are_called_the_same(study):
    words = [in_words(ARMS[study], arm) for arm in ARMS[study]]
    assert len(set(words)) == len(words)


def test_the_number_of_labels_is_said_where_it_differs():
    arms = ARMS["labels"]
    assert in_words(arms, "labels=0.25") == "the CNN alone with 25% of the labels"
    assert in_words(arms, "source=drums labels=all") == "the U-Net pre-trained on drums with all labels"
    told = in_words(ARMS["at-size"], "finetuned scheme=three-stage labels=192")
    assert told == "the U-Net pre-trained on vocals with 192 labels, three-stage, U-Net finetuned"


def test_what_differs_from_most_arms_is_said():
    factors = ARMS["pretraining"]["reference"]
    arms = {"a": factors, "b": factors | {"scheme": "three-stage"}, "c": factors | {"unet": "slow"}, "d": factors}
    assert in_words(arms, "b") == "the U-Net pre-trained on vocals, three-stage"
    assert in_words(arms, "c") == "the U-Net pre-trained on vocals, U-Net slow"
