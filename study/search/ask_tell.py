"""Ask and tell: an Optuna study that is asked and told so that the same search always asks the same.

Trial k is asked for when exactly the trials up to k - `width` have been told, and in their order, with a sampler whose
random numbers belong to k. So neither who is faster nor a kill in between makes a difference: what is asked for
depends on the seed, the width and the results alone. All of it is in Optuna's storage and in the store of stages.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from study.cluster.halving import HalvingRule, validated
from study.design.hyperparameters import Hyperparameters
from study.search.budget import FEWEST_FOR_TERMINATOR, TERMINATOR_EVERY, Budget, is_worthless
from study.search.method import DURATION, Method, sampler_of, trained_s
from study.search.space import Space
from study.stages.identity import difference
from study.stages.progress import LOST, Progress
from study.stages.stage import Rule, Stage
from study.store.store import Store

SPACE_KEY = "search"
# A stage's end as Optuna calls it.
_STATES = {
    "done": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
# So many trials in a row that failed, or that asked for what was known, end a search.
MOST_IN_VAIN = 20


def _on_the_way(trial: FrozenTrial) -> FrozenTrial:
    """A trial as it was when nothing of it was known but its values."""
    return optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params=trial.params,
        distributions=trial.distributions,
        system_attrs=trial.system_attrs,
    )


class AskTell:
    """A feed of stages that Optuna asks for.

    `described` is what the search is; ValueError, with the difference, where the storage holds another one of its name.
    """

    def __init__(
        self,
        *,
        name: str,
        storage: optuna.storages.BaseStorage,
        space: Space,
        method: Method,
        budget: Budget,
        described: Mapping[str, Any],
        stage_of: Callable[[Hyperparameters], Stage],
        store: Store,
        progress: Progress,
    ) -> None:
        self.study = optuna.create_study(
            study_name=name,
            storage=storage,
            # What is asked for is drawn on copies.
            sampler=RandomSampler(),
            directions=method.directions,
            load_if_exists=True,
        )
        self._check_same(name, described)
        self._space, self._method, self._budget, self._stage_of = space, method, budget, stage_of
        self._store, self._progress = store, progress
        self.stages: dict[int, Stage] = {}
        self._rules: dict[str, Rule] = {}
        self._known: dict[int, Stage] = {}
        self._allowed: dict[tuple[int, int], bool] = {}
        self._num_judged, self._worthless = 0, False
        self._is_stuck = False
        trials = self.study.get_trials(deepcopy=False)
        self.ended: list[FrozenTrial] = [trial for trial in trials if trial.state.is_finished()]
        self._num_before = len(self.ended)
        # Of a search that was interrupted, what was asked for and not told.
        self._left = trials[len(self.ended) :]

    def _check_same(self, name: str, described: Mapping[str, Any]) -> None:
        plain = json.loads(json.dumps(described))
        known = self.study.user_attrs.get(SPACE_KEY)
        if known is None:
            self.study.set_user_attr(SPACE_KEY, plain)
        elif changes := difference(known, plain):
            told = "; ".join([line for line in changes if not line.startswith("stage ")] or ["trained otherwise"])
            raise ValueError(
                f"the search {name!r} in Optuna's storage is another one ({told}): give a --name of its own"
            )

    def more(self) -> Sequence[Stage]:
        """Tells and asks, one after the other, for as long as there is something to tell or to ask."""
        new: list[Stage] = []
        while True:
            if self._num_asked < len(self.ended) + self._method.width and (self._left or self._may_ask()):
                new += self._ask()
            elif not self._tell_next():
                return new

    def rule_of(self, identity: str) -> Rule | None:
        return self._rules.get(identity)

    @property
    def _num_asked(self) -> int:
        return self._num_before + len(self.stages)

    @property
    def finished(self) -> bool:
        """Whether all is told, and nothing more will be asked for."""
        return not self._left and len(self.ended) == self._num_asked and not self._may_ask()

    def _may_ask(self) -> bool:
        """Worked out once for every number of trials asked for and told: a terminator thinks for a while."""
        place = (self._num_asked, len(self.ended))
        if place not in self._allowed:
            size, spent = self._space.size, sum(trial.user_attrs.get(DURATION, 0.0) for trial in self.ended)
            different = {stage.identity for stage in (*map(self._stage, self.ended), *self.stages.values())}
            is_left = (size is None or len(different) < size) and not self._is_in_vain and not self._is_stuck
            worthless = self._budget.until_worthless and self._is_worthless()
            self._allowed = {place: is_left and self._budget.allows(self._num_asked, spent, is_worthless=worthless)}
        return self._allowed[place]

    @property
    def _is_in_vain(self) -> bool:
        """Whether the last trials have failed or told nothing new, one and all."""
        last = self.ended[-MOST_IN_VAIN:]
        return len(last) == MOST_IN_VAIN and not any(trial.user_attrs[DURATION] for trial in last)

    def _is_worthless(self) -> bool:
        """Whether that was so after any number of trials: what is over stays over, also for another command."""
        while not self._worthless and self._num_judged + TERMINATOR_EVERY <= len(self.ended):
            self._num_judged += TERMINATOR_EVERY
            if self._num_judged >= FEWEST_FOR_TERMINATOR:
                copy = optuna.create_study(directions=self._method.directions)
                copy.add_trials(self.ended[: self._num_judged])
                self._worthless = is_worthless(copy)
        return self._worthless

    def _ask(self) -> list[Stage]:
        """A trial that was begun before an interruption, else the next one; its stage, unless it is known already."""
        number = self._num_asked
        trial = self._left.pop(0) if self._left else self._drawn(number)
        stage = self.stages[number] = self._stage_of(Hyperparameters(**trial.params))
        if self._same_before(number) is not None:
            return []
        if self._method.halving is not None:
            # Not more than had been told when it was asked for first.
            known = self.ended[: self._num_known(number)]
            self._rules[stage.identity] = HalvingRule(
                halving=self._method.halving,
                metric=self._method.first,
                num_epochs=self._method.num_epochs,
                before=[told.intermediate_values for told in known if told.state != TrialState.FAIL],
            )
        return [stage]

    def _drawn(self, number: int) -> FrozenTrial:
        """The next trial, drawn on a copy of the study, so that the storage has all of its values or none."""
        copy = optuna.create_study(
            sampler=sampler_of(self._method.sampler, self._method.seed, number), directions=self._method.directions
        )
        trials = self.study.get_trials(deepcopy=False)
        known = self._num_known(number)
        copy.add_trials([*trials[:known], *map(_on_the_way, trials[known:])])
        self._space.suggest(copy.ask())
        self.study.add_trial(copy.get_trials(deepcopy=False)[-1])
        trial = self.study.get_trials(deepcopy=False)[-1]
        if trial.number != number:
            raise ValueError(f"another command is at this search: it asked for trial {number}")
        return trial

    def _num_known(self, number: int) -> int:
        """How many trials have a say in what a trial is, however many have been told by now."""
        return max(number - self._method.width + 1, 0)

    def _same_before(self, number: int) -> int | None:
        """The number of an earlier trial of the same stage."""
        for told in self.ended:
            if told.number < number and self._stage(told) == self.stages[number]:
                return told.number
        return next((n for n, stage in self.stages.items() if n < number and stage == self.stages[number]), None)

    def _stage(self, trial: FrozenTrial) -> Stage:
        if trial.number not in self._known:
            self._known[trial.number] = self._stage_of(Hyperparameters(**trial.params))
        return self._known[trial.number]

    def _tell_next(self) -> bool:
        """Tells the first trial that is not told yet, if it has ended."""
        number = len(self.ended)
        if number not in self.stages:
            return False
        if (same := self._same_before(number)) is not None:
            before = self.ended[same]
            self._tell(number, before.state, before.values, before.intermediate_values, 0.0)
            return True
        stage = self.stages[number]
        entry = self._progress.stages.get(stage.identity)
        if entry is not None and (entry.state == "skipped" or entry.error.startswith(LOST)):
            # No fault of its values: it is not told, and the next command tries it again.
            self._is_stuck = True
        if entry is None or self._is_stuck or entry.state not in _STATES:
            return False
        state, outcome = _STATES[entry.state], self._outcome(stage) or {"epochs": [], "metrics": {}}
        epochs = self._judged(stage, outcome["epochs"])
        if len(epochs) < len(outcome["epochs"]):
            state = TrialState.PRUNED
        values = self._method.values(outcome) if state == TrialState.COMPLETE else None
        self._tell(number, state, values, validated(epochs, self._method.first), trained_s(epochs))
        return True

    def _judged(self, stage: Stage, epochs: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """The epochs after which this search gives a stage up, also one that another search has trained to its end."""
        rule = self._rules.get(stage.identity)
        ends = range(1, len(epochs)) if rule is not None else ()
        return next((epochs[:end] for end in ends if rule is not None and rule(epochs[:end])), epochs)

    def _outcome(self, stage: Stage) -> dict[str, Any] | None:
        """What the attempt left that counts, or the one that got furthest: the epochs of all are the same."""
        done = self._store.done(stage.identity)
        names = [done.attempt] if done else self._store.attempts(stage.identity)
        left = [outcome for name in names if (outcome := self._store.outcome(stage.identity, name)) is not None]
        return max(left, key=lambda outcome: len(outcome["epochs"]), default=None)

    def _tell(
        self, number: int, state: TrialState, values: Any, epochs: Mapping[int, float], duration_s: float
    ) -> None:
        before = self.study.get_trials(deepcopy=False)[number]
        trial = Trial(self.study, before._trial_id)
        # Optuna knows no values on the way of several objectives.
        for epoch, value in epochs.items() if len(self._method.objectives) == 1 else ():
            if epoch not in before.intermediate_values:
                trial.report(value, epoch)
        trial.set_user_attr(DURATION, duration_s)
        trial.set_user_attr("stage", self.stages[number].identity)
        self.ended.append(self.study.tell(trial, values if state == TrialState.COMPLETE else None, state))

    def best(self) -> FrozenTrial | None:
        """The winner: of several objectives the one of those that nothing beats that is best at the first."""
        if not any(trial.state == TrialState.COMPLETE for trial in self.ended):
            return None
        if len(self._method.objectives) == 1:
            return self.study.best_trial
        sign = 1 if self._method.objectives[self._method.first] else -1
        return max(self.study.best_trials, key=lambda trial: (sign * trial.values[0], -trial.number))
