"""Spaces and hyperparameters: what is refused, and what each value changes."""

import math
from dataclasses import replace

import pytest

from study.command.search import Search
from study.design.arms import bare
from study.design.hyperparameters import NAMES, Hyperparameters, applicable, last_training, tuned_stage
from study.design.trial import Trial, bare_trial, probe_trial
from study.design.trial_to_stages import final_stage
from study.search.space import Choice, Real, Space, Whole
from study.search.winner_file import read_winner_file, winner_file_text
from study.stages.identity import difference
from tests.study.toy_study import REFERENCE, corpora_in_name, recipe

LEARNING = replace(REFERENCE, unet="finetuned")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Real(low=0.1, high=0.1), "Real from 0.1 to 0.1: the range is empty"),
        (lambda: Real(low=1.0, high=0.1), "Real from 1.0 to 0.1: the range is inverted"),
        (lambda: Real(low=0.0, high=0.1, log=True), "on a logarithmic scale both ends are positive"),
        (lambda: Real(low=0.0, high=math.inf), "both ends are finite numbers"),
        (lambda: Whole(low=4, high=2), "Whole from 4 to 2: the range is inverted"),
        (lambda: Choice(()), "give at least one, and each once"),
        (lambda: Choice((8, 8)), "give at least one, and each once"),
        (lambda: Space({}), "the space of a search is empty"),
        (lambda: Space({"momentum": Real(low=0, high=1)}), "no hyperparameter 'momentum'; there are: backend_learning"),
        (
            lambda: Space({"dropout": Real(low=0.0, high=1.0)}),
            r"Hyperparameters.dropout is 1.0; it lies between 0 and 1",
        ),
        (
            lambda: Space({"backend_learning_rate": Real(low=0.0, high=1.0)}),
            "learning_rate is 0.0; it must be positive",
        ),
        (lambda: Space({"batch_size": Real(low=1, high=8)}), "batch_size is a whole number"),
        (
            lambda: Space({"schedule": Choice(("step_decay",))}),
            "schedule is 'step_decay'; allowed: constant, one_cycle",
        ),
    ],
)
def test_what_is_no_space_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_part_that_an_arm_has_not_is_refused():
    space = Space({"unet_learning_rate": Real(low=1e-4, high=1e-2, log=True)})
    with pytest.raises(
        ValueError, match="arm 'bare' has no part for unet_learning_rate; it has: backend_learning_rate"
    ):
        Search(name="s", arms=[bare(REFERENCE)], space=space)
    space.check(LEARNING, "finetuned")
    assert applicable(LEARNING) == set(NAMES)
    assert applicable(replace(LEARNING, insertion=())) == set(NAMES) - {"adapters_learning_rate", "adapters_std"}
    with pytest.raises(ValueError, match="a probe is fitted"):
        applicable(probe_trial(REFERENCE, None, ("mixture",)))


def changes(trial: Trial, **values) -> list[str]:
    """What is different about a trial's last stage with these values."""
    corpora = corpora_in_name()
    stages = [
        final_stage(trial, 0, recipe(), corpora),
        tuned_stage(trial, 0, recipe(), corpora, Hyperparameters(**values)),
    ]
    assert stages[0].parents == stages[1].parents  # what came before stays
    return [line.removeprefix("config.").split(" ")[0] for line in difference(*(one.description for one in stages))]


@pytest.mark.parametrize(
    ("values", "changed"),
    [
        ({"backend_learning_rate": 0.5}, ["training.phases"]),
        ({"unet_learning_rate": 0.5}, ["training.learning_rate_factors.separator"]),
        ({"adapters_learning_rate": 0.5}, ["training.learning_rate_factors.adapters"]),
        ({"weight_decay": 0.5}, ["training.phases"]),
        ({"optimiser": "adamw"}, ["training.phases"]),
        ({"schedule": "one_cycle"}, ["training.phases"]),
        ({"batch_size": 2}, ["training.batch_size"]),
        ({"dropout": 0.4}, ["joint.backend.dropout"]),
        ({"adapters_std": 0.5}, ["joint.adapters.initial_std"]),
        ({}, []),
    ],
)
def test_each_value_changes_one_field_of_the_last_stage(values, changed):
    assert changes(LEARNING, **values) == changed


def test_three_stages_share_the_backends_pre_training():
    trial = replace(LEARNING, scheme="three-stage")
    assert changes(trial, backend_learning_rate=0.5, dropout=0.4) == ["joint.backend.dropout", "training.phases"]


def test_rates_of_later_phases_and_of_parts_keep_their_meaning():
    training = last_training(recipe(), LEARNING)
    second = replace(training.phases[0], learning_rate=training.phases[0].learning_rate / 10)
    two = replace(training, phases=(training.phases[0], second), max_epochs=4)
    backend = replace(recipe().backends["cnn"], finetuning={"finetuned": two})
    values = Hyperparameters(backend_learning_rate=0.5, unet_learning_rate=0.05)
    known = recipe(backends={"cnn": backend})
    found = tuned_stage(LEARNING, 0, known, corpora_in_name(), values).config.training
    assert [phase.learning_rate for phase in found.phases] == pytest.approx([0.5, 0.05])
    assert found.learning_rate_factors == pytest.approx({"separator": 0.1})


def test_an_arm_takes_the_values_that_it_has_parts_for():
    values = {"unet_learning_rate": 0.5, "adapters_std": 0.2, "dropout": 0.1}
    assert changes(bare_trial(REFERENCE), **values) == ["classifier.backend.dropout"]


# The file of a winner


def entry(values: dict | None, **changed) -> dict:
    facts = {"search": "rates", "trial": 3, "metric": "validation_roc_auc", "value": 0.8, "preset": "toy"}
    facts |= {"budget": "20 trials", "trials": {"complete": 15, "pruned": 5}, "corpora": {"tagging": "7a" * 32}}
    return {"values": values, **facts, **changed}


def written(folder, entries) -> str:
    path = folder / "winner.json"
    path.write_text(winner_file_text(entries, searched=list(entries)))
    return str(path)


def test_one_winner_is_for_all_arms_and_several_are_for_their_own(tmp_path):
    one = read_winner_file(written(tmp_path, {"reference": entry({"dropout": 0.1})}))
    assert one.values_for(["bare", "x"]) == dict.fromkeys(["bare", "x"], Hyperparameters(dropout=0.1))
    several = {"a": entry({"dropout": 0.1}), "b": entry({"dropout": 0.2})}
    each = read_winner_file(written(tmp_path, several))
    assert each.values_for(["a", "b"])["b"] == Hyperparameters(dropout=0.2) and each.digest != one.digest
    with pytest.raises(ValueError, match="has values for a, b, and none for c"):
        each.values_for(["a", "c"])


def test_values_of_something_else_are_told(tmp_path):
    chosen = read_winner_file(written(tmp_path, {"a": entry({"dropout": 0.12345})}))
    assert list(chosen.lines("toy", corpora_in_name())) == [
        "Hyperparameters of all arms: dropout 0.1235 (search 'rates', trial 3)"
    ]
    _, other = chosen.lines("demo", corpora_in_name(tagging="00" * 32))
    assert other == "  They were found with another: tagging, preset toy"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "lacks arms with values"),
        ({"a": 3}, "arm 'a' is 3"),
        ({"a": entry(None)}, "arm 'a': values is None"),
        ({"a": entry({}, corpora=None)}, "arm 'a': corpora is None"),
        ({"a": entry({"batch_size": 0})}, "batch_size is 0; it is a whole number from 1"),
        ({"a": entry({"batch_size": 16.5})}, "batch_size is 16.5; it is a whole number"),
        ({"a": entry({"optimiser": "foo"})}, "optimiser is 'foo'; allowed: adam, adamw, sgd"),
        ({"a": entry({"weight_decay": -1})}, "weight_decay is -1; it must be at least 0"),
        (
            {"a": entry({}), "b": entry({}, trials={"complete": 3})},
            r"unequal budgets: 20 trials \(20 ended\), 20 trials \(3",
        ),
        ({"a": {"values": {}}}, "arm 'a' lacks search, trial"),
        ({"a": entry({"momentum": 1})}, "no hyperparameter 'momentum'"),
        ({"a": entry({"dropout": 2.0})}, "arm 'a': Hyperparameters.dropout is 2.0"),
        ({"a": entry({"dropout": "much"})}, "arm 'a': "),
        ({"a": entry({}), "b": entry({}, budget="30 trials")}, r"unequal budgets: 20 trials \(20 ended\), 30 trials"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, entries, message):
    with pytest.raises(ValueError, match=message):
        read_winner_file(written(tmp_path, entries))


def test_a_file_that_is_not_there_or_none_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"--hyperparameters .*none\.json: there is no such file"):
        read_winner_file(str(tmp_path / "none.json"))
    (tmp_path / "torn.json").write_text('{"format"')
    with pytest.raises(ValueError, match="is no file of values"):
        read_winner_file(str(tmp_path / "torn.json"))
