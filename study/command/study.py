"""The command behind a study: from options to trained stages, tables, a page and an exit code."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import tyro
from rich.console import Console

from study.command import cost, gpu_memory, plan
from study.command.display import showing, terminal
from study.command.exit_code import EXIT_FAILED, exit_code
from study.command.options import Options
from study.command.preset import Preset, preset_of, with_available_weights
from study.command.resolved_options import ResolvedOptions
from study.command.starts import Starts
from study.design.metrics import METRICS
from study.design.study import Study
from study.records.records import Records, Run
from study.search.winner_file import read_winner_file
from study.stages.graph import StageGraph
from study.stages.progress import Progress, duration
from study.store.attempt import describe_done


def main(
    study: Study,
    presets: Mapping[str, Preset],
    groups: Mapping[str, Sequence[str]],
    description: str | None,
    preset: str = "demo",
) -> int:
    """Runs a study from the command line; returns the exit code.

    `groups` names sets of tags whose mean ROC-AUC the tables show; `preset` is the one used if none is given.
    """
    listed = "\n".join(f"    --preset {name}: {one.description}" for name, one in presets.items())
    options = tyro.cli(
        Options,
        default=Options(preset=preset),
        description=f"{description or ''}\n\n{listed}\n",
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    console = terminal()

    def run() -> int:
        command = StudyCommand(study, presets, options, console, groups)
        if options.plan:
            command.print_plan()
            return 0
        if options.explain:
            command.print_explanation(options.explain)
            return 0
        return command.run()

    return exit_code(run, console)


class StudyCommand:
    """A study with its options resolved: its store, corpora, groups of tags, runs and graph of stages.

    Raises:
        ValueError: an unknown preset, a corpus that does not fit, or a comparison planned in what nobody measures.
        OSError: the storage is not writable, or a corpus is not there.
    """

    def __init__(
        self,
        study: Study,
        presets: Mapping[str, Preset],
        options: Options,
        console: Console,
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        preset = preset_of(presets, options)
        plan.check_comparisons(study, groups or {})
        seeds = study.seeds if options.seeds is None else range(options.seeds)
        seeds = [options.first_seed + seed for seed in seeds]
        self.winner_file = read_winner_file(options.hyperparameters) if options.hyperparameters else None
        tuned = f"-tuned-{self.winner_file.digest[:8]}" if self.winner_file else ""
        study = replace(study, name=f"{study.name}-{options.preset}{tuned}", seeds=tuple(seeds))
        self.options, self.console = options, console
        study = with_available_weights(study, preset, options, self._say)
        starts = Starts.given(options, preset.recipe)
        self.study = replace(study, arms=starts.started(study.arms))
        trials = [arm.trial for arm in self.study.arms]
        self.resolved = ResolvedOptions(trials, self.study.name, preset, options, starts=starts, console=console)
        self.store, self.corpora, self.execution = self.resolved.store, self.resolved.corpora, self.resolved.execution
        self.groups = plan.known_groups(groups or {}, self.corpora)
        self.study, left_out = plan.with_known_groups(self.study, groups or {}, self.groups)
        for line in left_out:
            self._say(line)
        values = self.winner_file.values_for([arm.name for arm in self.study.arms]) if self.winner_file else {}
        self.runs = self.study.runs(self.resolved.recipe, self.corpora, values)
        self.graph = StageGraph(run.final_stage for run in self.runs)
        plan.check(self.graph, self.store, replace(self.execution, corpora=self.corpora.folders))

    def print_plan(self) -> None:
        """Prints the arms, the stages and what would run."""
        from study.report.paper_numbers import SPREADS

        plan.print_plan(self.study, self.runs, self.graph, self.store, self.console)
        limit, expected = cost.resources_here(self.execution), self.resolved.expected_seconds()
        done = self.store.done_identities(self.graph.identities)
        for line in cost.lines(self.runs, self.graph, done, execution=self.execution, limit=limit, expected=expected):
            self._say(line)
        self._say_memory()
        published = SPREADS if self.options.preset == "paper" and not self._any_generated() else {}
        self._say(plan.smallest_effect(self.study, published))

    def _say_memory(self) -> None:
        """How much of a GPU the stages that are left need."""
        done = self.store.done_identities(self.graph.identities)
        left = [stage for stage in self.graph if stage.identity not in done]
        for line in gpu_memory.lines(left, self.execution, self.corpora.folders):
            self._say(line)

    def print_explanation(self, name: str) -> None:
        """Prints for each stage of a run that it is done, or how it differs from the most similar stage that is.

        ValueError for a run that the study does not have.
        """
        names = {f"{run.arm.name}/seed{run.seed}": run for run in self.runs}
        if name not in names:
            raise ValueError(f"--explain {name!r}: there is no such run; there are: {', '.join(names)}")
        for line in plan.explanation(names[name], self.store):
            self._say(line)

    def run(self) -> int:
        """Trains what is missing, writes the records and the page, prints the tables; returns the exit code."""
        records = Records(self.store)
        # Records that cannot be read are refused before anything is trained.
        records.read("runs")
        self._say(plan.headline(self.study, self.runs, self.graph))
        self._say(f"storage {self._place}   logs {self._place}/logs   {self.resolved.recipe.arithmetic}")
        for line in self.winner_file.lines(self.options.preset, self.corpora) if self.winner_file else ():
            self._say(line)
        self._say_memory()
        records.write_study(self._description())
        records.write_runs(self._run_records())
        progress = self._train(records)
        records.rebuild()
        records.write_runs(self._run_records())
        self._print_tables(records)
        self._print_account(progress)
        from study.report.final_page import publish

        with self.console.status("Drawing the page"):
            page = publish(self.store, self.study.name)
        self._say(f"Page: {page}")
        return self._print_failures(progress)

    @property
    def _place(self) -> str:
        """Where the store is, without secrets."""
        return self.store.storage.name

    def _say(self, text: str) -> None:
        """Prints one line, however long. Brackets in it are not markup."""
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _train(self, records: Records) -> Progress:
        progress = Progress()
        done = describe_done(self.store, self.graph)
        progress.add(self.graph, done)
        if len(done) == len(self.graph):
            self._say(f"Nothing to train: {len(done)} of {len(self.graph)} stages are done.")
            return progress
        # Ray takes seconds to import: a command that trains nothing does not wait for it.
        from study.cluster.run_graph import run_graph

        watched = self._watched(progress, records)
        run_graph(
            self.graph,
            store=self.store,
            execution=self.execution,
            expected=self.resolved.expected_seconds(),
            progress=progress,
            watched=watched,
        )
        return progress

    @contextmanager
    def _watched(self, progress: Progress, records: Records) -> Iterator[None]:
        """Shows the progress on the screen and on the study's page until the block ends."""
        from study.report.export import page_of
        from study.report.live_page import LivePage

        self._say(f"page {self.store.storage.name_of(page_of(self.study.name))}")
        page = LivePage(
            self.store,
            self.study.name,
            progress,
            refresh=lambda: records.write_runs(self._run_records()),
            complain=self._say,
        )
        with page, showing(progress, self.console):
            yield

    def _print_tables(self, records: Records) -> None:
        """Prints the tables of each task, probes first, and what they can support."""
        from study.command import summary
        from study.report.facts import Facts
        from study.report.sections import opening
        from study.report.study_comparisons import StudyComparisons

        facts = Facts(self.store, self.study.name)
        comparing = StudyComparisons(facts)
        starred = [one.comparison for one in comparing.planned if one.star]
        for task in dict.fromkeys(run.arm.trial.task for run in self.runs):
            known = self.groups if task == "tagging" else {}
            read = partial(summary.Summary.read, records, self._run_records(), task, known)
            summaries = [found for found in (read(probes=True), read(probes=False)) if found.arms]
            for found in summaries:
                stars = frozenset((o.arm, o.metric) for o in starred if o.against == found.baselines.get(o.arm))
                summary.show(replace(found, stars=stars), self.console)
            summary.conclude(summaries[-1], self.console, generated=self._any_generated())
        self._say("")
        for sentence in opening.told(facts, comparing):
            self._say(sentence)

    def _any_generated(self) -> bool:
        return any(corpus.name.startswith("generated-") for corpus in self.corpora.by_kind.values())

    def _print_account(self, progress: Progress) -> None:
        """Prints how much was trained, and how to query the results."""
        executed = [entry for entry in progress.of_state("done") if not entry.cached]
        self._say(
            f"\n{len(executed)} stages trained by this command, {len(self.graph)} unique in the study, "
            f"{plan.num_alone(self.runs)} if every run trained its own. It took {duration(progress.seconds)}."
        )
        metric = next(iter(METRICS[self.runs[0].arm.trial.task]))
        where = f"study = '{self.study.name}' AND state = 'done'"
        sql = f"SELECT arm, avg({metric}), count(*) FROM runs WHERE {where} GROUP BY arm ORDER BY 2 DESC"
        self._say(f"Rows: {self._place}/records/*/*.parquet")
        self._say(f'Try:  python experiments/query.py --storage {self._place} "{sql}"')

    def _print_failures(self, progress: Progress) -> int:
        """Prints failed and skipped stages and missing runs; returns the exit code."""
        states = progress.stages
        missing = [run for run in self.runs if states[run.final_stage.identity].state != "done"]
        for entry in (*progress.of_state("failed"), *progress.of_state("skipped")):
            self._say(f"{entry.state}: {entry.stage.label}: {entry.error}")
        if missing:
            names = ", ".join(f"{run.arm.name} (seed {run.seed})" for run in missing)
            self._say(f"{len(missing)} of {len(self.runs)} runs are missing: {names}")
        return EXIT_FAILED if missing else 0

    def _run_records(self) -> list[Run]:
        return [
            Run(
                study=self.study.name,
                arm=run.arm.name,
                seed=run.seed,
                factors=run.arm.trial.factors,
                final_stage=run.final_stage.identity,
                stages=tuple(stage.identity for stage in run.stages),
            )
            for run in self.runs
        ]

    def _description(self) -> dict[str, Any]:
        """What the study is, for its report."""
        corpora = {
            kind: {"name": corpus.name, "digest": corpus.digest, "place": self.corpora.place_of(kind)}
            | {name: getattr(corpus.manifest, name) for name in ("counts", "excluded", "rejects")}
            for kind, corpus in self.corpora.by_kind.items()
        }
        return {
            "name": self.study.name,
            "preset": self.options.preset,
            "arms": [{"name": arm.name, "factors": arm.trial.factors} for arm in self.study.arms],
            "seeds": list(self.study.seeds),
            "comparisons": self.study.comparisons,
            "margins": dict(self.study.margins),
            "groups": {name: list(tags) for name, tags in self.groups.items()},
            "corpora": corpora,
            "hyperparameters": self.winner_file.content if self.winner_file else {},
        }
