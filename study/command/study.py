"""The command behind an experiment: from options to a trained study, its tables and an exit code."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from study.command import plan, summary
from study.command.display import shown, terminal
from study.command.options import Options
from study.command.preset import Preset, preset_of, startable
from study.command.resolved import Resolved
from study.design.study import PlannedRun, Study
from study.records.records import Records, Run
from study.search.winners import read_winners
from study.stages.graph import StageGraph
from study.stages.progress import Progress, duration

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


def main(
    study: Study,
    presets: Mapping[str, Preset],
    groups: Mapping[str, Sequence[str]],
    description: str | None,
    preset: str = "demo",
) -> int:
    """Runs a study from the command line; returns the exit code.

    `groups` names sets of tags whose mean ROC-AUC the answer shows; `preset` is the one that is taken if none is given.
    """
    named = "\n".join(f"    --preset {name}: {one.description}" for name, one in presets.items())
    options = tyro.cli(
        Options,
        default=Options(preset=preset),
        description=f"{description or ''}\n\n{named}\n",
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    console = terminal()

    def run() -> int:
        command = Command(study, presets, options, console)
        if options.plan:
            command.print_plan()
            return 0
        if options.explain:
            command.print_explanation(options.explain)
            return 0
        return command.run(groups)

    return exit_code(run, console)


def exit_code(run: Callable[[], int], console: Console) -> int:
    """What `run` returns; an interruption and bad input have exit codes of their own, and no traceback."""
    try:
        return run()
    except KeyboardInterrupt:
        console.print("\nStopped. What is done stays done; the same command goes on from here.")
        return EXIT_INTERRUPTED
    except (ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_USAGE


class Command:
    """One study with its options resolved: corpora opened, runs unfolded, the store at hand.

    Raises:
        ValueError: an unknown preset, or a corpus that does not fit.
        OSError: the storage is not writable, or a corpus is not there.
    """

    def __init__(self, study: Study, presets: Mapping[str, Preset], options: Options, console: Console) -> None:
        preset = preset_of(presets, options)
        seeds = study.seeds if options.seeds is None else range(options.seeds)
        self.winners = read_winners(options.hyperparameters) if options.hyperparameters else None
        tuned = f"-tuned-{self.winners.digest[:8]}" if self.winners else ""
        study = replace(study, name=f"{study.name}-{options.preset}{tuned}", seeds=tuple(seeds))
        self.options, self.console = options, console
        self.study = startable(study, preset, options, self._say)
        self.resolved = Resolved([arm.trial for arm in self.study.arms], self.study.name, preset, options, console)
        self.store, self.corpora, self.execution = self.resolved.store, self.resolved.corpora, self.resolved.execution
        values = self.winners.of_arms([arm.name for arm in self.study.arms]) if self.winners else {}
        self.runs = self.study.runs(self.resolved.recipe, self.corpora, values)
        self.graph = StageGraph(run.final_stage for run in self.runs)
        plan.check(self.graph, self.store, replace(self.execution, corpora=self.corpora.folders))

    def print_plan(self) -> None:
        """Arms, stages and what would run."""
        from study.report.paper_numbers import SPREADS

        plan.print_plan(self.study, self.runs, self.graph, self.store, self.console)
        published = SPREADS if self.options.preset == "paper" and not self._any_generated() else {}
        self._say(plan.smallest_effect(self.study, published))

    def print_explanation(self, name: str) -> None:
        """Of each stage of a run: that it is done and reused, or how it differs from the most similar one that is."""
        for line in plan.explanation(self._run_named(name), self.store):
            self._say(line)

    def run(self, groups: Mapping[str, Sequence[str]]) -> int:
        """Trains what is missing, writes the records, shows the answer."""
        groups = plan.known_groups(groups, self.corpora)
        plan.check_comparisons(self.study, groups)
        records = Records(self.store)
        # What cannot be read afterwards is refused before anything is trained.
        records.read("runs")
        self._say(plan.headline(self.study, self.runs, self.graph))
        self._say(f"storage {self._place}   logs {self._place}/logs   {self.resolved.recipe.arithmetic}")
        for line in self.winners.lines(self.options.preset, self.corpora) if self.winners else ():
            self._say(line)
        records.write_study(self._description(groups))
        records.write_runs(self._run_records())
        progress = self._train(records)
        records.rebuild()
        records.write_runs(self._run_records())
        self._print_answers(records, groups)
        self._print_account(progress)
        self._publish()
        return self._print_failures(progress)

    @property
    def _place(self) -> str:
        """Where the store is, without what may be secret in it."""
        return self.store.storage.name

    def _say(self, text: str) -> None:
        """One line, however long; brackets in it are no markup."""
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _train(self, records: Records) -> Progress:
        progress = Progress()
        done = self.store.done_identities(self.graph.identities)
        progress.add(self.graph, done)
        if len(done) == len(self.graph):
            self._say(f"Nothing to train: {len(done)} of {len(self.graph)} stages are done.")
            return progress
        # Ray takes seconds to import: whoever has nothing to train need not wait for it.
        from study.cluster.run_graph import run_graph

        watched = self._watched(progress, records)
        run_graph(self.graph, store=self.store, execution=self.execution, progress=progress, watched=watched)
        return progress

    @contextmanager
    def _watched(self, progress: Progress, records: Records) -> Iterator[None]:
        """Shows the progress on the terminal and on the page until the block ends."""
        with self._live_page(progress, records), shown(progress, self.console):
            yield

    def _live_page(self, progress: Progress, records: Records) -> AbstractContextManager[Any]:
        """The study's page, kept up to date in the background."""
        from study.report.export import page_of
        from study.report.live_page import LivePage

        self._say(f"page {self.store.storage.name_of(page_of(self.study.name))}")
        return LivePage(
            self.store,
            self.study.name,
            progress,
            refresh=lambda: records.write_runs(self._run_records()),
            complain=self._say,
        )

    def _publish(self) -> None:
        """The study's page with its tables and figures."""
        from study.report.final_page import publish

        with self.console.status("Drawing the page"):
            told = publish(self.store, self.study.name)
        self._say(f"Page: {told}")

    def _print_answers(self, records: Records, groups: Mapping[str, Sequence[str]]) -> None:
        """An answer for each task."""
        from study.report.facts import Facts
        from study.report.study_comparisons import StudyComparisons

        planned = StudyComparisons(Facts(self.store, self.study.name)).planned
        starred = [one.comparison for one in planned if one.star]
        for task in dict.fromkeys(run.arm.trial.task for run in self.runs):
            known = groups if task == "tagging" else {}
            read = partial(summary.Summary.read, records, self._run_records(), task, known)
            answers = [found for found in (read(probes=True), read(probes=False)) if found.arms]
            for found in answers:
                stars = frozenset((o.arm, o.metric) for o in starred if o.against == found.baselines.get(o.arm))
                summary.show(replace(found, stars=stars), self.console)
            summary.conclude(answers[-1], self.console, generated=self._any_generated())

    def _any_generated(self) -> bool:
        return any(corpus.name.startswith("generated-") for corpus in self.corpora.by_kind.values())

    def _print_account(self, progress: Progress) -> None:
        executed = [entry for entry in progress.of_state("done") if not entry.cached]
        self._say(
            f"\n{len(executed)} stages trained by this command, {len(self.graph)} unique in the study, "
            f"{plan.num_alone(self.runs)} if every run trained its own. It took {duration(progress.seconds)}."
        )
        metric = next(iter(summary.METRICS[self.runs[0].arm.trial.task]))
        where = f"study = '{self.study.name}' AND state = 'done'"
        sql = f"SELECT arm, avg({metric}), count(*) FROM runs WHERE {where} GROUP BY arm ORDER BY 2 DESC"
        self._say(f"Rows: {self._place}/records/*/*.parquet")
        self._say(f'Try:  python experiments/query.py --storage {self._place} "{sql}"')

    def _print_failures(self, progress: Progress) -> int:
        states = progress.stages
        missing = [run for run in self.runs if states[run.final_stage.identity].state != "done"]
        for entry in (*progress.of_state("failed"), *progress.of_state("skipped")):
            self._say(f"{entry.state}: {entry.stage.label}: {entry.error}")
        if missing:
            names = ", ".join(f"{run.arm.name} (seed {run.seed})" for run in missing)
            self._say(f"{len(missing)} of {len(self.runs)} runs are missing: {names}")
        return EXIT_FAILED if missing else 0

    def _run_named(self, name: str) -> PlannedRun:
        names = {f"{run.arm.name}/seed{run.seed}": run for run in self.runs}
        if name not in names:
            raise ValueError(f"--explain {name!r}: there is no such run; there are: {', '.join(names)}")
        return names[name]

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

    def _description(self, groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """What the study is, for whoever reports on it later."""
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
            "groups": {name: list(tags) for name, tags in groups.items()},
            "corpora": corpora,
            "hyperparameters": self.winners.content if self.winners else {},
        }
