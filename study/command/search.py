"""The command behind a search: from options to a winner, its file, the records and a page."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import tyro
from rich.console import Console

from study.command import plan
from study.command.display import shown, terminal
from study.command.preset import Preset, preset_of, startable
from study.command.resolved import Resolved
from study.command.search_options import SearchOptions
from study.command.study import EXIT_FAILED, exit_code
from study.design.arms import Arm
from study.design.hyperparameters import Hyperparameters, last_training
from study.design.metrics import METRICS
from study.design.study import Study
from study.records.records import Records, slug
from study.search.arm_search import ArmSearch, search_recipe, stage_of
from study.search.budget import Budget
from study.search.method import DURATION, Method
from study.search.space import Space
from study.search.summary import headline, outcome_lines, trial_lines
from study.search.winners import to_text
from study.stages.graph import StageGraph
from study.stages.identity import canonical
from study.stages.progress import Progress
from study.stages.stage import Rule, Stage
from study.store.locks import locked
from study.store.storage import open_storage

FOLDER = "searches"


@dataclass(frozen=True, kw_only=True)
class Search:
    """Which arms to search for, each in the same space with the same budget.

    ValueError for a hyperparameter of a part that an arm has not.
    """

    name: str
    arms: Sequence[Arm]
    space: Space

    def __post_init__(self) -> None:
        for arm in self.arms:
            self.space.check(arm.trial, arm.name)


def main(search: Search, presets: Mapping[str, Preset], description: str | None) -> int:
    """Runs a search from the command line; returns the exit code."""
    options = tyro.cli(SearchOptions, description=description, config=(tyro.conf.FlagCreatePairsOff,))
    console = terminal()

    def run() -> int:
        with ExitStack() as stack:
            command = SearchCommand(search, presets, options, console, stack)
            if options.plan:
                command.print_plan()
                return 0
            return command.run()

    return exit_code(run, console)


class SearchCommand:
    """A search with its options resolved; `stack` holds what is to be given back at the end.

    Raises:
        ValueError: options, a space or a storage that do not fit; another command that searches here.
        OSError: the storage is not writable, or a corpus is not there.
    """

    def __init__(
        self, search: Search, presets: Mapping[str, Preset], options: SearchOptions, console: Console, stack: ExitStack
    ) -> None:
        self.options, self.console, self.space = options, console, search.space
        self.name = options.name or f"{search.name}-{options.preset}"
        preset = preset_of(presets, options)
        arms = _chosen_arms(search.arms, options.arms)
        drawn = startable(Study(name=self.name, arms=arms, seeds=[options.seed]), preset, options, self._say)
        self.resolved = Resolved([arm.trial for arm in drawn.arms], self.name, preset, options, console)
        self.store, self.execution = self.resolved.store, self.resolved.execution
        self.progress = Progress()
        lock = self.store.storage.local_path(f"{FOLDER}/{slug(self.name)}.lock")
        if lock is not None:
            busy = f"another command is at the search {self.name!r}: wait for it, or give a --name"
            stack.enter_context(locked(lock, busy=busy))
        database = self.store.storage.local_path(f"{FOLDER}/{slug(self.name)}.db")
        if options.plan and database is not None and not options.optuna_storage and not database.exists():
            self._storage = optuna.storages.InMemoryStorage()
        else:
            self._storage = _optuna_storage(options.optuna_storage, database)
        self.searches = [self._search_of(arm) for arm in drawn.arms]

    def _storage_of(self, name: str) -> optuna.storages.BaseStorage:
        """Optuna's storage; for the plan of a search that is not there yet, one that is forgotten again."""
        is_there = name in optuna.get_all_study_names(self._storage)
        return self._storage if is_there or not self.options.plan else optuna.storages.InMemoryStorage()

    def _search_of(self, arm: Arm) -> ArmSearch:
        num_epochs = last_training(self.resolved.recipe, arm.trial).num_epochs
        name = f"{self.name} {arm.name}"
        method = Method(
            sampler=self.options.sampler,
            objectives=self._objectives(arm),
            seed=self.options.seed,
            width=self.options.parallel,
            halving=self.options.halving(num_epochs),
            num_epochs=num_epochs,
        )
        if self.options.sampler == "exhaustive" and self.space.size is None:
            raise ValueError(
                "--sampler exhaustive takes every combination; a space with a Real range has no end of them"
            )
        recipe = search_recipe(self.resolved.recipe, arm, self.options.grace(num_epochs))
        stage = partial(stage_of, arm=arm, recipe=recipe, corpora=self.resolved.corpora, seed=self.options.seed)
        self._check(stage)
        return ArmSearch(
            arm=arm,
            name=name,
            storage=self._storage_of(name),
            space=self.space,
            method=method,
            budget=Budget.parsed(self.options.budget),
            recipe=recipe,
            corpora=self.resolved.corpora,
            store=self.store,
            described=self._described(arm, method, stage(Hyperparameters())),
            progress=self.progress,
        )

    def _described(self, arm: Arm, method: Method, unchanged: Stage) -> dict[str, Any]:
        """What must stay the same when a search goes on."""
        return {
            "preset": self.options.preset,
            "factors": arm.trial.factors,
            "corpora": {kind: self.resolved.corpora.of(kind).digest for kind in _kinds(arm)},
            "space": canonical(dict(self.space.ranges)),
            "objectives": dict(method.objectives),
            "sampler": method.sampler,
            "seed": method.seed,
            "parallel": method.width,
            "halving": canonical(method.halving) if method.halving else None,
            # Whatever else decides what is trained.
            "stage": unchanged.identity,
        }

    def _objectives(self, arm: Arm) -> dict[str, bool]:
        """Metric -> whether it is to be large; ValueError for one that the arm's task does not have."""
        known = METRICS[arm.trial.task]
        for name in self.options.objectives:
            if name not in (*known, DURATION):
                raise ValueError(f"--objectives {name!r} is none of {arm.trial.task}'s: {', '.join(known)}, {DURATION}")
        return {name: name != DURATION for name in self.options.objectives or [next(iter(known))]}

    def _check(self, stage: Callable[[Hyperparameters], Stage]) -> None:
        """ValueError for what cannot be trained on its corpus, with the preset's values or the ends of batch sizes."""
        sizes = self.space.ranges["batch_size"].ends if "batch_size" in self.space.ranges else ()
        execution = replace(self.execution, corpora=self.resolved.corpora.folders)
        for values in (Hyperparameters(), *(Hyperparameters(batch_size=int(size)) for size in sizes)):
            plan.check(StageGraph([stage(values)]), self.store, execution)

    def print_plan(self) -> None:
        """Arms, space and budget."""
        for search in self.searches:
            self._say(headline(search))
        for name, among in self.space.ranges.items():
            self._say(f"  {name}: {among}")

    def run(self) -> int:
        """Asks and trains until the budget is spent, tests the winner, writes the records, the file and the page.

        ValueError for a budget that is smaller than what is told already.
        """
        for search in self.searches:
            search.check_budget()
        for search in self.searches:
            self._say(headline(search))
        self._say(f"storage {self.store.storage.name}   logs {self.store.storage.name}/logs")
        self.progress.listeners.append(lambda entry: self._record())
        graph = StageGraph()
        if self._is_something_to_train(graph):
            # Ray takes seconds to import: whoever has nothing to train need not wait for it.
            from study.cluster.run_graph import run_graph

            run_graph(
                graph,
                store=self.store,
                execution=self.execution,
                progress=self.progress,
                watched=shown(self.progress, self.console),
                feed=self,
                expected=[search.stage_of(Hyperparameters()) for search in self.searches],
                purpose="search",
            )
        else:
            self._say("Nothing to train: the budget is spent.")
        Records(self.store).rebuild()
        self._record()
        self._print_outcome()
        self._write_winners()
        self._publish()
        failed = any(search.ask_tell.best() is None or not search.tested(self.store) for search in self.searches)
        return EXIT_FAILED if failed else 0

    def more(self) -> list[Stage]:
        """A feed of all arms' stages; says what was told to Optuna on the way."""
        new: list[Stage] = []
        for search in self.searches:
            num_told = len(search.ask_tell.ended)
            new += search.more()
            for line in trial_lines(search, search.ask_tell.ended[num_told:]):
                self._say(line)
        return new

    def rule_of(self, identity: str) -> Rule | None:
        return next(filter(None, (search.rule_of(identity) for search in self.searches)), None)

    def _is_something_to_train(self, graph: StageGraph) -> bool:
        """Asks until a stage is asked for that is not done; all of them join the graph."""
        while new := self.more():
            graph.add(new)
            done = self.store.done_identities(graph.identities)
            self.progress.add(graph, done)
            if len(done) < len(graph):
                return True
        return False

    def _record(self) -> None:
        records = Records(self.store)
        for search in self.searches:
            records.write_search(search.description(), search.rows())

    def _print_outcome(self) -> None:
        for search in self.searches:
            self._say("")
            for line in outcome_lines(search, self.store):
                self._say(line)
        for entry in self.progress.of_state("failed"):
            self._say(f"failed: {entry.stage.label}: {entry.error}")

    def _write_winners(self) -> None:
        entries = {search.arm.name: entry for search in self.searches if (entry := search.entry()) is not None}
        if not entries:
            return
        data = to_text(entries, searched=[search.arm.name for search in self.searches]).encode()
        path = f"{FOLDER}/{slug(self.name)}-winner.json"
        self.store.storage.write(path, data)
        place = self.store.storage.name_of(path)
        if self.options.output:
            given = Path(self.options.output).expanduser().absolute()
            open_storage(given.parent).write(given.name, data)
            place = str(given)
        self._say(f"\nWinner: {place}")
        where = f"--preset {self.options.preset} --storage {self.store.storage.name}"
        self._say(f"Try:  python experiments/ablation.py {where} --hyperparameters {place}")

    def _publish(self) -> None:
        from study.report.final_page import publish_searches

        self._say(f"Page: {publish_searches(self.store, self.name, [search.name for search in self.searches])}")

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)


def _kinds(arm: Arm) -> list[str]:
    """The corpora that an arm's stages are trained on."""
    return [arm.trial.task, *(["separation"] if arm.trial.source not in (None, "none") else [])]


def _chosen_arms(arms: Sequence[Arm], names: Sequence[str]) -> list[Arm]:
    known = {arm.name: arm for arm in arms}
    for name in names:
        if name not in known:
            raise ValueError(f"--arms {name!r} does not exist; there are: {', '.join(known)}")
    return [arm for arm in arms if not names or arm.name in names]


def _optuna_storage(address: str, default: Path | None) -> optuna.storages.BaseStorage:
    """Optuna's storage; ValueError for an address that it cannot open, or none where there is no default."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    if not address and default is None:
        raise ValueError("the storage is no folder: say with --optuna-storage where Optuna keeps the search")
    try:
        return optuna.storages.get_storage(address or f"sqlite:///{default}")
    except Exception as error:  # whatever databases and their drivers raise
        raise ValueError(f"--optuna-storage {address} cannot be opened: {error}") from error
