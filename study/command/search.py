"""The command behind a search: from options to a winner, its file, the records and a page."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import tyro
from rich.console import Console

from study.command import plan
from study.command.display import showing, terminal
from study.command.exit_code import EXIT_FAILED, exit_code
from study.command.preset import Preset, preset_of, with_available_weights
from study.command.resolved_options import ResolvedOptions
from study.command.search_options import SearchOptions
from study.command.starts import Starts
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
from study.search.winner_file import winner_file_text
from study.stages.graph import StageGraph
from study.stages.identity import canonical
from study.stages.progress import Progress
from study.stages.stage import Stage, StoppingRule
from study.store.attempt import describe_done
from study.store.locks import locked
from study.store.storage import open_storage

FOLDER = "searches"


@dataclass(frozen=True, kw_only=True)
class Search:
    """The arms to search for, each in the same space with the same budget.

    ValueError for a hyperparameter of a part that an arm does not have.
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
    """A search with its options resolved; `stack` releases its lock at the end.

    Raises:
        ValueError: options, a space or a storage that do not fit, or another command runs this search.
        OSError: the storage is not writable, or a corpus is not there.
    """

    def __init__(
        self, search: Search, presets: Mapping[str, Preset], options: SearchOptions, console: Console, stack: ExitStack
    ) -> None:
        self.options, self.console, self.space = options, console, search.space
        self.name = options.name or f"{search.name}-{options.preset}"
        preset = preset_of(presets, options)
        known = {arm.name: arm for arm in search.arms}
        for name in options.arms:
            if name not in known:
                raise ValueError(f"--arms {name!r} does not exist; there are: {', '.join(known)}")
        chosen = [arm for arm in search.arms if not options.arms or arm.name in options.arms]
        arms = with_available_weights(
            Study(name=self.name, arms=chosen, seeds=[options.seed]), preset, options, self._say
        ).arms
        starts = Starts.given(options, preset.recipe)
        arms = starts.started(arms)
        trials = [arm.trial for arm in arms]
        self.resolved = ResolvedOptions(trials, self.name, preset, options, starts=starts, console=console)
        self.store, self.execution = self.resolved.store, self.resolved.execution
        self.progress = Progress()
        lock = self.store.storage.local_path(f"{FOLDER}/{slug(self.name)}.lock")
        if lock is not None:
            busy = f"another command runs the search {self.name!r}: wait for it, or give a --name"
            stack.enter_context(locked(lock, busy=busy))
        self._optuna_storage = self._open_optuna_storage()
        self.searches = [self._arm_search(arm) for arm in arms]

    def _open_optuna_storage(self) -> optuna.storages.BaseStorage:
        """ValueError for an address that Optuna cannot open, or if there is no address and no folder either."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        address = self.options.optuna_storage
        file = self.store.storage.local_path(f"{FOLDER}/{slug(self.name)}.db")
        if not address and file is None:
            raise ValueError("the storage is no folder: say with --optuna-storage where Optuna keeps the search")
        if self.options.plan and not address and file is not None and not file.exists():
            # A plan leaves nothing behind.
            return optuna.storages.InMemoryStorage()
        try:
            return optuna.storages.get_storage(address or f"sqlite:///{file}")
        except Exception as error:  # whatever databases and their drivers raise
            raise ValueError(f"--optuna-storage {address} cannot be opened: {error}") from error

    def _arm_search(self, arm: Arm) -> ArmSearch:
        options, corpora = self.options, self.resolved.corpora
        num_epochs = last_training(self.resolved.recipe, arm.trial).num_epochs
        method = Method(
            sampler=options.sampler,
            objectives=self._objectives(arm),
            seed=options.seed,
            parallel=options.parallel,
            halving=options.halving(num_epochs),
            num_epochs=num_epochs,
        )
        if options.sampler == "exhaustive" and self.space.size is None:
            raise ValueError("--sampler exhaustive takes every combination; a Real range has infinitely many")
        name = f"{self.name} {arm.name}"
        # A plan of a new search leaves nothing in Optuna's storage.
        is_new = options.plan and name not in optuna.get_all_study_names(self._optuna_storage)
        recipe = search_recipe(self.resolved.recipe, arm, options.grace(num_epochs))
        make_stage = partial(stage_of, arm=arm, recipe=recipe, corpora=corpora, seed=options.seed)
        # Stages with the preset's values and with every batch size at an end of its range must be trainable.
        sizes = self.space.ranges["batch_size"].ends if "batch_size" in self.space.ranges else ()
        for values in (Hyperparameters(), *(Hyperparameters(batch_size=int(size)) for size in sizes)):
            plan.check(StageGraph([make_stage(values)]), self.store, replace(self.execution, corpora=corpora.folders))
        return ArmSearch(
            arm=arm,
            name=name,
            storage=optuna.storages.InMemoryStorage() if is_new else self._optuna_storage,
            space=self.space,
            method=method,
            budget=Budget.parsed(options.budget),
            recipe=recipe,
            corpora=corpora,
            store=self.store,
            settings=self._settings(arm, method, make_stage(Hyperparameters())),
            progress=self.progress,
        )

    def _settings(self, arm: Arm, method: Method, stage: Stage) -> dict[str, Any]:
        """What must stay the same when a search goes on; `stage`: one with the preset's values."""
        kinds = [arm.trial.task, *(["separation"] if arm.trial.source not in (None, "none") else [])]
        return {
            "preset": self.options.preset,
            "factors": arm.trial.factors,
            "corpora": {kind: self.resolved.corpora.of(kind).digest for kind in kinds},
            "space": canonical(dict(self.space.ranges)),
            "objectives": dict(method.objectives),
            "sampler": method.sampler,
            "seed": method.seed,
            "parallel": method.parallel,
            "halving": canonical(method.halving) if method.halving else None,
            # Everything else that decides what is trained.
            "stage": stage.identity,
        }

    def _objectives(self, arm: Arm) -> dict[str, bool]:
        """Objective -> whether larger is better; ValueError for one that the arm's task does not have."""
        known = METRICS[arm.trial.task]
        for name in self.options.objectives:
            if name not in (*known, DURATION):
                allowed = ", ".join((*known, DURATION))
                raise ValueError(f"--objectives {name!r} does not exist for {arm.trial.task}; there are: {allowed}")
        return {name: name != DURATION for name in self.options.objectives or [next(iter(known))]}

    def print_plan(self) -> None:
        """Prints the arms, the budget and the space."""
        for search in self.searches:
            self._say(headline(search))
        for name, values in self.space.ranges.items():
            self._say(f"  {name}: {values}")

    def run(self) -> int:
        """Searches until the budget is spent, tests the winner, writes the records, the winner file and the page.

        ValueError for a budget of fewer trials than have ended already.
        """
        for search in self.searches:
            search.check_budget()
        for search in self.searches:
            self._say(headline(search))
        self._say(f"storage {self.store.storage.name}   logs {self.store.storage.name}/logs")
        describe_done(self.store, StageGraph(stage for search in self.searches for stage in search.tried()))
        self.progress.listeners.append(lambda entry: self._write_records())
        graph = StageGraph()
        if self._ask_for_first(graph):
            # Ray takes seconds to import: a command that trains nothing does not wait for it.
            from study.cluster.run_graph import run_graph

            run_graph(
                graph,
                store=self.store,
                execution=self.execution,
                progress=self.progress,
                watched=showing(self.progress, self.console),
                feed=self,
                expected=self.resolved.expected_seconds(),
                examples=[search.stage_of(Hyperparameters()) for search in self.searches],
                purpose="search",
            )
        else:
            self._say("Nothing to train: the budget is spent.")
        Records(self.store).rebuild()
        self._write_records()
        self._print_outcome()
        self._write_winner_file()
        from study.report.final_page import publish_searches

        self._say(f"Page: {publish_searches(self.store, self.name, [search.name for search in self.searches])}")
        failed = any(search.ask_tell.best() is None or not search.tested(self.store) for search in self.searches)
        return EXIT_FAILED if failed else 0

    def more(self) -> list[Stage]:
        """A feed of the stages of all arms; prints how trials ended."""
        new: list[Stage] = []
        for search in self.searches:
            num_ended = len(search.ask_tell.ended)
            new += search.more()
            for line in trial_lines(search, search.ask_tell.ended[num_ended:]):
                self._say(line)
        return new

    def rule_of(self, identity: str) -> StoppingRule | None:
        return next(filter(None, (search.rule_of(identity) for search in self.searches)), None)

    def _ask_for_first(self, graph: StageGraph) -> bool:
        """Fills the graph until it has a stage to train; returns whether there is one."""
        while new := self.more():
            graph.add(new)
            done = describe_done(self.store, graph)
            self.progress.add(graph, done)
            if len(done) < len(graph):
                return True
        return False

    def _write_records(self) -> None:
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

    def _write_winner_file(self) -> None:
        entries = {search.arm.name: entry for search in self.searches if (entry := search.entry()) is not None}
        if not entries:
            return
        data = winner_file_text(entries, searched=[search.arm.name for search in self.searches]).encode()
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

    def _say(self, text: str) -> None:
        """Prints one line, however long. Brackets in it are not markup."""
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)
