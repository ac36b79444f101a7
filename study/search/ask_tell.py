"""Ask and tell: an Optuna study that the same search always asks and tells in the same way.

Trial k is asked for when exactly the trials up to k - `parallel` have been told, in their order. Its sampler has random
numbers that belong to k. So speed and interruptions make no difference: the values depend on the seed, on `parallel`
and on the results alone. Optuna's storage and the store of stages hold the whole state.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from study.cluster.successive_halving import HalvingRule, validated
from study.design.hyperparameters import Hyperparameters
from study.search.budget import FEWEST_FOR_TERMINATOR, TERMINATOR_EVERY, Budget, should_terminate
from study.search.method import DURATION, Method, sampler_of, trained_s
from study.search.space import Space
from study.stages.identity import difference
from study.stages.progress import LOST, Progress
from study.stages.stage import Stage, StoppingRule
from study.store.store import Store

SETTINGS_KEY = "search"
# A stage's final state -> Optuna's name for it.
_STATES = {
    "done": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
# A search ends after so many trials in a row that failed or repeated known values.
MAX_USELESS_IN_A_ROW = 20


class AskTell:
    """A feed of the stages that Optuna asks for.

    `settings` is what must stay the same when the search goes on. ValueError, with the difference, if Optuna's storage
    holds a search of that name with other settings.
    """

    def __init__(
        self,
        *,
        name: str,
        storage: optuna.storages.BaseStorage,
        space: Space,
        method: Method,
        budget: Budget,
        settings: Mapping[str, Any],
        stage_of: Callable[[Hyperparameters], Stage],
        store: Store,
        progress: Progress,
    ) -> None:
        self.study = optuna.create_study(
            study_name=name,
            storage=storage,
            # Never used: each trial is drawn on a copy of the study, with a sampler of its own.
            sampler=RandomSampler(),
            directions=method.directions,
            load_if_exists=True,
        )
        self._check_settings(name, settings)
        self._space, self._method, self._budget, self._stage_of = space, method, budget, stage_of
        self._store, self._progress = store, progress
        # By the number of a trial: stages that this command asked for, and stages of trials that have ended.
        self.stages: dict[int, Stage] = {}
        self._known_stages: dict[int, Stage] = {}
        self._rules: dict[str, StoppingRule] = {}
        self._allowed: dict[tuple[int, int], bool] = {}
        self._num_judged, self._terminated = 0, False
        self._is_stuck = False
        trials = self.study.get_trials(deepcopy=False)
        self.ended: list[FrozenTrial] = [trial for trial in trials if trial.state.is_finished()]
        self._num_before = len(self.ended)
        # Trials that an interrupted command asked for and did not tell.
        self._interrupted = trials[len(self.ended) :]

    def _check_settings(self, name: str, settings: Mapping[str, Any]) -> None:
        plain = json.loads(json.dumps(settings))
        known = self.study.user_attrs.get(SETTINGS_KEY)
        if known is None:
            self.study.set_user_attr(SETTINGS_KEY, plain)
        elif changes := difference(known, plain):
            # A stage's identity says nothing to a reader; it is named only if nothing else has changed.
            named = [line for line in changes if not line.startswith("stage ")] or ["its stages are trained otherwise"]
            raise ValueError(
                f"the search {name!r} in Optuna's storage is another one ({'; '.join(named)}): give a --name of its own"
            )

    def more(self) -> Sequence[Stage]:
        """Tells and asks in turn, as long as there is something to tell or to ask for; returns the new stages."""
        new: list[Stage] = []
        while True:
            is_room = self._num_asked < len(self.ended) + self._method.parallel
            if is_room and (self._interrupted or self._may_ask()):
                new += self._ask()
            elif not self._tell_next():
                return new

    def rule_of(self, identity: str) -> StoppingRule | None:
        return self._rules.get(identity)

    @property
    def _num_asked(self) -> int:
        return self._num_before + len(self.stages)

    @property
    def finished(self) -> bool:
        """Whether all trials have ended, and no more will be asked for."""
        return not self._interrupted and len(self.ended) == self._num_asked and not self._may_ask()

    def _may_ask(self) -> bool:
        """Computed once for each pair of numbers of trials asked for and ended, since a terminator is slow."""
        place = (self._num_asked, len(self.ended))
        if place not in self._allowed:
            size, spent = self._space.size, sum(trial.user_attrs.get(DURATION, 0.0) for trial in self.ended)
            different = {stage.identity for stage in (*map(self._stage_of_ended, self.ended), *self.stages.values())}
            last = self.ended[-MAX_USELESS_IN_A_ROW:]
            is_useless = len(last) == MAX_USELESS_IN_A_ROW and not any(trial.user_attrs[DURATION] for trial in last)
            is_left = (size is None or len(different) < size) and not is_useless and not self._is_stuck
            terminated = self._budget.until_terminator and self._is_terminated()
            self._allowed = {place: is_left and self._budget.allows(self._num_asked, spent, terminated=terminated)}
        return self._allowed[place]

    def _is_terminated(self) -> bool:
        """Whether the terminator ended the search after any number of trials: another command must not resume it."""
        while not self._terminated and self._num_judged + TERMINATOR_EVERY <= len(self.ended):
            self._num_judged += TERMINATOR_EVERY
            if self._num_judged >= FEWEST_FOR_TERMINATOR:
                copy = optuna.create_study(directions=self._method.directions)
                copy.add_trials(self.ended[: self._num_judged])
                self._terminated = should_terminate(copy)
        return self._terminated

    def _ask(self) -> list[Stage]:
        """Asks for the next trial, those of an interrupted command first; returns its stage, if that is new."""
        number = self._num_asked
        trial = self._interrupted.pop(0) if self._interrupted else self._draw(number)
        stage = self.stages[number] = self._stage_of(Hyperparameters(**trial.params))
        if self._same_before(number) is not None:
            return []
        if self._method.halving is not None:
            # After an interruption more trials have ended than when it was asked for first.
            known = self.ended[: self._num_known(number)]
            self._rules[stage.identity] = HalvingRule(
                halving=self._method.halving,
                metric=self._method.first,
                num_epochs=self._method.num_epochs,
                before=[ended.intermediate_values for ended in known if ended.state != TrialState.FAIL],
            )
        return [stage]

    def _draw(self, number: int) -> FrozenTrial:
        """Draws the next trial on a copy of the study, so that the storage has all of its values or none."""
        copy = optuna.create_study(
            sampler=sampler_of(self._method.sampler, self._method.seed, number), directions=self._method.directions
        )
        trials = self.study.get_trials(deepcopy=False)
        num_known = self._num_known(number)
        # Later trials count as running, with their values and no result, even if they have ended by now.
        running = [
            optuna.trial.create_trial(
                state=TrialState.RUNNING,
                params=trial.params,
                distributions=trial.distributions,
                system_attrs=trial.system_attrs,
            )
            for trial in trials[num_known:]
        ]
        copy.add_trials([*trials[:num_known], *running])
        self._space.suggest(copy.ask())
        self.study.add_trial(copy.get_trials(deepcopy=False)[-1])
        trial = self.study.get_trials(deepcopy=False)[-1]
        if trial.number != number:
            raise ValueError(f"another command runs this search: it asked for trial {number}")
        return trial

    def _num_known(self, number: int) -> int:
        """How many trials a trial depends on, however many have ended by now."""
        return max(number - self._method.parallel + 1, 0)

    def _same_before(self, number: int) -> int | None:
        """The number of an earlier trial with the same stage."""
        for ended in self.ended:
            if ended.number < number and self._stage_of_ended(ended) == self.stages[number]:
                return ended.number
        return next((n for n, stage in self.stages.items() if n < number and stage == self.stages[number]), None)

    def _stage_of_ended(self, trial: FrozenTrial) -> Stage:
        if trial.number not in self._known_stages:
            self._known_stages[trial.number] = self._stage_of(Hyperparameters(**trial.params))
        return self._known_stages[trial.number]

    def _tell_next(self) -> bool:
        """Tells the next trial in order, if its stage has ended."""
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
            # Its values are not to blame: it is not told, and the next command tries it again.
            self._is_stuck = True
        if entry is None or self._is_stuck or entry.state not in _STATES:
            return False
        state, outcome = _STATES[entry.state], self._outcome(stage) or {"epochs": [], "metrics": {}}
        epochs = self._epochs_until_stopped(stage, outcome["epochs"])
        if len(epochs) < len(outcome["epochs"]):
            state = TrialState.PRUNED
        values = self._method.values(outcome) if state == TrialState.COMPLETE else None
        self._tell(number, state, values, validated(epochs, self._method.first), trained_s(epochs))
        return True

    def _epochs_until_stopped(self, stage: Stage, epochs: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """The epochs until this search stops the stage early, even if another search has trained it to its end."""
        rule = self._rules.get(stage.identity)
        ends = range(1, len(epochs)) if rule is not None else ()
        return next((epochs[:end] for end in ends if rule is not None and rule(epochs[:end])), epochs)

    def _outcome(self, stage: Stage) -> dict[str, Any] | None:
        """The outcome of the attempt that counts, or else of the longest: the epochs of all attempts are equal."""
        done = self._store.done(stage.identity)
        names = [done.attempt] if done else self._store.attempts(stage.identity)
        outcomes = [found for name in names if (found := self._store.outcome(stage.identity, name)) is not None]
        return max(outcomes, key=lambda outcome: len(outcome["epochs"]), default=None)

    def _tell(
        self, number: int, state: TrialState, values: Any, epochs: Mapping[int, float], duration_s: float
    ) -> None:
        before = self.study.get_trials(deepcopy=False)[number]
        trial = Trial(self.study, before._trial_id)
        # Optuna takes no intermediate values if there are several objectives.
        for epoch, value in epochs.items() if len(self._method.objectives) == 1 else ():
            if epoch not in before.intermediate_values:
                trial.report(value, epoch)
        trial.set_user_attr(DURATION, duration_s)
        trial.set_user_attr("stage", self.stages[number].identity)
        self.ended.append(self.study.tell(trial, values if state == TrialState.COMPLETE else None, state))

    def best(self) -> FrozenTrial | None:
        """The winner; of several objectives, among the trials that no other beats, the best at the first objective."""
        if not any(trial.state == TrialState.COMPLETE for trial in self.ended):
            return None
        if len(self._method.objectives) == 1:
            return self.study.best_trial
        sign = 1 if self._method.objectives[self._method.first] else -1
        return max(self.study.best_trials, key=lambda trial: (sign * trial.values[0], -trial.number))
