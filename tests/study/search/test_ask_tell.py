"""A search depends on its seed and its results alone: not on the order of stages, and not on interruptions."""

from unittest.mock import patch

import pytest
from optuna.trial import TrialState

from study.search.ask_tell import MAX_USELESS_IN_A_ROW
from study.search.budget import Budget, should_terminate
from study.search.method import SamplerName
from study.stages.graph import StageGraph
from study.store.attempt import begin_attempt
from tests.study.toy_search import CHOICES, NUM_EPOCHS, SPACE, Bench, end, told


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
def test_the_order_in_which_stages_end_makes_no_difference(tmp_path, sampler: SamplerName):
    found = []
    for order in range(2):
        (tmp_path / str(order)).mkdir()
        found.append(told(Bench(tmp_path / str(order), sampler=sampler).run(order=order)))
    assert found[0] == found[1]
    assert len(found[0]) == 14 and len({str(params) for params, *_ in found[0]}) == 14


@pytest.mark.parametrize(("sampler", "num_stages"), [("tpe", 0), ("tpe", 4), ("tpe", 11), ("random", 4), ("cmaes", 9)])
def test_a_killed_search_asks_for_the_same_and_finds_the_same(tmp_path, sampler: SamplerName, num_stages):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole = Bench(tmp_path / "whole", sampler=sampler).run()
    killed = Bench(tmp_path / "killed", sampler=sampler)
    killed.run(order=1, num_stages=num_stages)
    killed.run(order=2, num_stages=2)
    again = killed.run(order=3)
    assert told(again) == told(whole)
    best, expected = again.best(), whole.best()
    assert best is not None and expected is not None and best.number == expected.number


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_larger_budget_goes_on_as_if_it_had_been_known_from_the_beginning(tmp_path, sampler: SamplerName):
    for name in ("longer", "at once"):
        (tmp_path / name).mkdir()
    short = Bench(tmp_path / "longer", budget="15", sampler=sampler).run()
    long = Bench(tmp_path / "longer", budget="24", sampler=sampler).run()
    assert told(long)[:15] == told(short)
    assert told(long) == told(Bench(tmp_path / "at once", budget="24", sampler=sampler).run())


def test_what_another_search_has_trained_to_its_end_is_judged_all_the_same(tmp_path):
    for name in ("alone", "after"):
        (tmp_path / name).mkdir()
    alone = Bench(tmp_path / "alone", sampler="random").run()
    assert any(trial.state == TrialState.PRUNED for trial in alone.ended)
    Bench(tmp_path / "after", sampler="random", halving=None).run()
    (tmp_path / "after" / "optuna.db").unlink()
    after = Bench(tmp_path / "after", sampler="random").run()
    assert told(after) == told(alone)


def test_an_attempt_that_only_began_hides_none_that_was_given_up(tmp_path):
    """Another search may be at the same stage."""
    for name in ("alone", "beside"):
        (tmp_path / name).mkdir()
    expected = told(Bench(tmp_path / "alone").run())
    bench = Bench(tmp_path / "beside")

    def end_and_begin(stage, ask_tell, progress, store):
        end(stage, ask_tell, progress, store)
        begin_attempt(store, stage)

    with patch("tests.study.toy_search.end", end_and_begin):
        ask_tell = bench.run()
    assert told(ask_tell) == expected and any(state == TrialState.PRUNED for _, state, _ in expected)
    pruned = [trial for trial in ask_tell.ended if trial.state == TrialState.PRUNED]
    assert all(trial.user_attrs["duration_s"] for trial in pruned)


def failing(ask_tell, progress, store, state: str, error: str) -> None:
    """Every stage that is asked for ends so."""
    graph = StageGraph()
    while new := ask_tell.more():
        graph.add(new)
        progress.add(graph, store.done_identities(graph.identities))
        for stage in new:
            progress.end(stage.identity, state, error)


@pytest.mark.parametrize(("state", "error"), [("skipped", "its parent failed"), ("failed", "its processes were lost")])
def test_what_is_no_fault_of_a_trial_is_tried_again_by_the_next_command(tmp_path, state, error):
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    bench = Bench(tmp_path / "broken")
    ask_tell, progress, store = bench.made()
    failing(ask_tell, progress, store, state, error)
    assert ask_tell.ended == [] and not ask_tell.finished
    assert told(bench.run()) == told(Bench(tmp_path / "whole").run())


def test_a_trial_that_raises_counts_and_many_of_them_end_the_search(tmp_path):
    ask_tell, progress, store = Bench(tmp_path, budget="1000s").made()
    failing(ask_tell, progress, store, "failed", "NonFiniteError: not finite at step 3")
    states = {trial.state for trial in ask_tell.ended}
    assert states == {TrialState.FAIL} and MAX_USELESS_IN_A_ROW <= len(ask_tell.ended) < MAX_USELESS_IN_A_ROW + 3
    assert ask_tell.finished and ask_tell.best() is None


def test_a_space_that_is_exhausted_ends_the_search(tmp_path):
    found = Bench(tmp_path, CHOICES, budget="10000s", halving=None, sampler="random").run()
    assert len({str(trial.params) for trial in found.ended}) == 6


def test_seconds_are_those_of_training(tmp_path):
    found = Bench(tmp_path, budget="3", halving=None).run()
    assert [trial.user_attrs["duration_s"] for trial in found.ended] == [float(NUM_EPOCHS)] * 3


def test_one_at_a_time_is_optunas_own_loop(tmp_path):
    """With nothing parallel and nothing given up early, the values are those of asking and telling by hand."""
    import optuna

    from study.design.hyperparameters import Hyperparameters
    from study.search.method import sampler_of
    from tests.study.toy_search import score

    found = Bench(tmp_path, parallel=1, halving=None).run()
    by_hand = optuna.create_study(direction="maximize")
    for number in range(14):
        by_hand.sampler = sampler_of("tpe", 1, number)
        trial = by_hand.ask()
        values = SPACE.suggest(trial)
        assert isinstance(values, Hyperparameters)
        for epoch in range(1, NUM_EPOCHS + 1):
            trial.report(score(values, epoch), epoch)
        by_hand.sampler = optuna.samplers.RandomSampler()
        by_hand.tell(trial, score(values, NUM_EPOCHS))
    assert [trial.params for trial in found.ended] == [trial.params for trial in by_hand.trials]


def test_trials_given_up_are_told_as_pruned_with_what_they_had_reached(tmp_path):
    ask_tell = Bench(tmp_path, budget="30").run()
    states = [trial.state for trial in ask_tell.ended]
    pruned = [trial for trial in ask_tell.ended if trial.state == TrialState.PRUNED]
    assert pruned and TrialState.COMPLETE in states
    for trial in pruned:
        assert max(trial.intermediate_values) in (1, 3) and trial.params["dropout"] >= 0
    complete = [trial for trial in ask_tell.ended if trial.state == TrialState.COMPLETE]
    assert all(max(trial.intermediate_values) == NUM_EPOCHS for trial in complete)


def test_values_asked_for_twice_are_one_stage(tmp_path):
    ask_tell = Bench(tmp_path, CHOICES, sampler="random", budget="20", halving=None).run()
    assert 6 < len(ask_tell.ended) <= 20
    values = {str(trial.params): trial.values for trial in ask_tell.ended}
    assert len(values) <= 6 and all(trial.values == values[str(trial.params)] for trial in ask_tell.ended)
    assert sum(trial.user_attrs["duration_s"] > 0 for trial in ask_tell.ended) <= 6


def test_an_exhaustive_search_takes_every_combination_once(tmp_path):
    ask_tell = Bench(tmp_path, CHOICES, sampler="exhaustive", budget="100", halving=None).run()
    assert len(ask_tell.ended) == len({str(trial.params) for trial in ask_tell.ended}) == 6
    best = ask_tell.best()
    assert best is not None and best.params == {"batch_size": 8, "schedule": "constant"}


def test_early_stopping_finds_the_same_winner_with_fewer_epochs(tmp_path):
    for name in ("whole", "halved"):
        (tmp_path / name).mkdir()
    whole = Bench(tmp_path / "whole", CHOICES, sampler="exhaustive", parallel=1, halving=None).run()
    halved = Bench(tmp_path / "halved", CHOICES, sampler="exhaustive", parallel=1).run()
    winners = [ask_tell.best() for ask_tell in (whole, halved)]
    assert winners[0] is not None and winners[1] is not None and winners[0].params == winners[1].params
    epochs = [sum(max(trial.intermediate_values) for trial in ask_tell.ended) for ask_tell in (whole, halved)]
    assert epochs[1] < epochs[0] == 6 * NUM_EPOCHS


def test_several_objectives_have_a_winner_that_nothing_beats(tmp_path):
    ask_tell = Bench(tmp_path, objectives={"roc_auc": True, "pr_auc": True}, halving=None).run()
    best = ask_tell.best()
    assert best is not None and best.values[0] == max(trial.values[0] for trial in ask_tell.ended)


def test_another_search_of_the_name_is_refused_with_the_difference(tmp_path):
    bench = Bench(tmp_path)
    bench.made({"space": {"dropout": 0.5}})
    with pytest.raises(ValueError, match=r"another one \(space\.dropout changed from 0\.5 to 0\.4\): give a --name"):
        bench.made({"space": {"dropout": 0.4}})


def test_seconds_of_stages_end_a_search(tmp_path):
    few = Bench(tmp_path, budget="0.000001s", parallel=2).run()
    assert len(few.ended) == 2  # the second was on its way when the first was told


def test_the_terminator_ends_a_search(tmp_path, monkeypatch):
    asked_at: list[int] = []

    def enough(self, study):
        asked_at.append(sum(trial.state.is_finished() for trial in study.trials))
        return asked_at[-1] >= 30

    monkeypatch.setattr("optuna.terminator.Terminator.should_terminate", enough)
    bench = Bench(tmp_path, budget="terminator", halving=None, sampler="random", parallel=2)
    assert len(bench.run().ended) == 31 and asked_at == [20, 25, 30]
    assert len(bench.run().ended) == 31  # over is over


def test_optunas_own_terminator_is_asked(tmp_path):
    study = Bench(tmp_path, budget="20", halving=None, sampler="random").run().study
    assert isinstance(should_terminate(study), bool)


@pytest.mark.parametrize("text", ["", "-3", "0", "1.5", "s", "-1s", "infs", "nan", "soon"])
def test_a_budget_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"--budget .*: give trials \(30\), seconds of training"):
        Budget.parsed(text)
