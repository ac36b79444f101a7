"""Which networks a command means, and what it says where there is none."""

from dataclasses import replace

import pytest

from study.design.arms import Arm
from study.design.trial import bare_trial, probe_trial
from study.store.store import Store
from study.use.finished import separator, taggers
from tests.study.toy_study import REFERENCE, TAGS, study
from tests.study.toy_trained import train


def test_the_reference_with_all_its_seeds_unless_said_otherwise(trained):
    chosen = taggers(trained)
    assert (chosen.arm, [network.seed for network in chosen.networks], chosen.classes) == ("reference", [0, 1], TAGS)
    assert str(chosen) == "arm 'reference', seeds 0, 1"
    assert [network.seed for network in taggers(trained, arm="bare", seed=1).networks] == [1]


def test_an_arm_or_a_seed_that_is_not_there_is_refused_with_what_is(trained):
    with pytest.raises(ValueError, match=r"no arm 'vocals' with a finished tagger; these have one: bare, ref"):
        taggers(trained, arm="vocals")
    with pytest.raises(ValueError, match=r"seed 7 of arm 'bare' is not done; done: 0, 1"):
        taggers(trained, arm="bare", seed=7)
    with pytest.raises(ValueError, match=r"there is no study 'other'"):
        taggers(trained, study="other")


def test_the_separator_is_the_one_that_the_reference_started_from(trained):
    chosen = separator(trained)
    assert (chosen.arm, chosen.seed, chosen.source) == ("reference", 0, "vocals")
    assert separator(trained, source="vocals", seed=1).stage != chosen.stage
    with pytest.raises(ValueError, match=r"no finished separator of 'drums'; it has: vocals"):
        separator(trained, source="drums")
    with pytest.raises(ValueError, match=r"no arm 'bare' with a finished separator; these have one: reference"):
        separator(trained, arm="bare")


def test_probes_are_no_taggers_and_seeds_that_share_a_network_count_once(toy_corpora, tmp_path):
    store = Store(tmp_path / "store")
    probe = Arm(name="probe", trial=probe_trial(REFERENCE, "vocals", ("maps",)))
    train(study(probe), toy_corpora, store)
    with pytest.raises(ValueError, match="has no arm with a finished tagger yet"):
        taggers(store)
    assert separator(store).arm == "probe"


def test_several_arms_without_a_reference_are_asked_about(toy_corpora, tmp_path):
    store = Store(tmp_path / "store")
    trials = {"one": bare_trial(REFERENCE), "two": replace(REFERENCE, source="none")}
    arms = [Arm(name=name, trial=trial) for name, trial in trials.items()]
    train(study(*arms, seeds=[0]), toy_corpora, store)
    with pytest.raises(ValueError, match=r"several arms have a finished tagger: give --arm, one of one, two"):
        taggers(store)
    with pytest.raises(ValueError, match="no arm with a finished separator yet"):
        separator(store)
