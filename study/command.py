"""The command behind an experiment: from options to a trained study, its tables and an exit code."""

import os
import signal
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console

from components.corpora.generated.config import GeneratedConfig, Kind
from study import answer
from study.corpora import open_corpora
from study.design import PlannedRun, Study
from study.display import duration, shown
from study.identity import difference
from study.kinds import Arithmetic
from study.progress import Progress
from study.provenance import source_facts
from study.records import Records, Run
from study.site import Resources, Site
from study.stage import StageGraph
from study.store import Store
from study.trial import Recipe

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named size of everything; `generated` is the corpora's where no data are given."""

    description: str
    generated: GeneratedConfig
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where and how a study runs. Running the same command again does what is missing and nothing else."""

    preset: str = "demo"
    """Sizes, schedules and corpora by name."""
    storage: str = ""
    """Folder or URI of the store. Default: $STUDY_STORAGE, else ~/studies/<study>."""
    seeds: int | None = None
    """Number of seeds, 0 to n-1. Default: the experiment's own."""
    plan: bool = False
    """Print arms, stages and what would run, then stop."""
    explain: str = ""
    """A run, as "arm/seed0": why its stages are done, or what changed since the ones that are. Then stop."""
    separation_corpus: str | None = None
    """Folder of a separation corpus. Default: generated."""
    tagging_corpus: str | None = None
    """Folder of a tagging corpus. Default: generated."""
    genre_corpus: str | None = None
    """Folder of a genre corpus. Default: generated."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """Arithmetic of the networks; auto: bf16 where the CPU or the GPU computes in it. Part of a stage's identity."""
    workers: int = 1
    """Workers that train one stage together."""
    cpus_per_worker: int = 1
    """CPUs, and so threads, of each worker."""
    gpus_per_worker: float = 0.0
    """GPUs of each worker; a fraction lets stages share one."""
    max_cpus: int | None = None
    """CPUs that the cluster can grow to. Default: what it has."""
    max_gpus: int | None = None
    """GPUs that the cluster can grow to. Default: what it has."""
    checkpoint_every_s: float = 60.0
    """Seconds between the loop states from which a killed stage goes on."""
    stages_per_trial: int = 3
    """At most so many ready stages run one after the other in the same processes, which saves their start."""


def main(
    study: Study, presets: Mapping[str, Preset], groups: Mapping[str, Sequence[str]], description: str | None
) -> int:
    """Runs a study from the command line; returns the exit code.

    `groups` names sets of tags whose mean ROC-AUC the answer shows.
    """
    options = tyro.cli(Options, description=description)
    console = Console(stderr=False)
    try:
        command = Command(study, presets, options, console)
        if options.plan:
            command.print_plan()
            return 0
        if options.explain:
            command.print_explanation(options.explain)
            return 0
        return command.run(groups)
    except KeyboardInterrupt:
        console.print("\nStopped. What is done stays done; the same command goes on from here.")
        return EXIT_INTERRUPTED
    except (ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        return EXIT_USAGE


class Command:
    """One study with its options resolved: corpora opened, runs unfolded, the store at hand."""

    def __init__(self, study: Study, presets: Mapping[str, Preset], options: Options, console: Console) -> None:
        if options.preset not in presets:
            raise ValueError(f"--preset {options.preset!r} does not exist; there are: {', '.join(presets)}")
        if options.seeds is not None and options.seeds < 1:
            raise ValueError(f"--seeds is {options.seeds}; give at least 1")
        seeds = study.seeds if options.seeds is None else range(options.seeds)
        self.study = replace(study, name=f"{study.name}-{options.preset}", seeds=tuple(seeds))
        self.options, self.console, self.preset = options, console, presets[options.preset]
        self.location = options.storage or default_storage(self.study.name)
        self.store = Store(self.location)
        self.store.check_writable()
        self.corpora = self._open_corpora()
        self.site = self._site()
        self.runs = self.study.runs(self._recipe(), self.corpora)
        self.graph = StageGraph(run.final_stage for run in self.runs)

    def print_plan(self) -> None:
        """Arms, stages and what would run."""
        done = self.store.done_identities(self.graph.identities)
        for arm in self.study.arms:
            levels = " ".join(f"{factor}={level}" for factor, level in arm.trial.factors.items())
            self.console.print(f"  {arm.name:<28} {levels}", highlight=False)
        self.console.print(self._headline())
        for stage in self.graph:
            mark = "done   " if stage.identity in done else "to run "
            self.console.print(f"  {mark} {stage.identity[:8]}  {stage.label}", highlight=False)
        self.console.print(
            f"{len(done)} of {len(self.graph)} stages are done; {len(self.graph) - len(done)} would run."
        )

    def print_explanation(self, name: str) -> None:
        """Why each stage of a run is done, or how it differs from the most similar one that is."""
        run = self._run_named(name)
        known = {identity: self.store.stage_json(identity) for identity in self.store.identities()}
        for stage in run.stages:
            if self.store.done(stage.identity):
                self.console.print(f"{stage.label}: done, it is reused", highlight=False)
                continue
            like = [entry for entry in known.values() if entry["canonical"]["kind"] == stage.kind.name]
            changes = [difference(entry["description"], stage.description) for entry in like]
            self.console.print(
                f"{stage.label}: new" + ("" if changes else "; no stage of its kind is done"), highlight=False
            )
            for line in min(changes, key=len, default=[]):
                self.console.print(f"    {line}", highlight=False)

    def run(self, groups: Mapping[str, Sequence[str]]) -> int:
        """Trains what is missing, writes the records, shows the answer."""
        self.console.print(self._headline(), highlight=False)
        self.console.print(f"storage {self.location}   logs {self.location}/logs", highlight=False, soft_wrap=True)
        progress = self._train()
        records = Records(self.store)
        records.rebuild()
        records.write_runs(self._run_records())
        for task in dict.fromkeys(run.arm.trial.task for run in self.runs):
            shown_groups = groups if task == "tagging" else {}
            known = set(self.corpora.of(task).classes)
            shown_groups = {name: tags for name, tags in shown_groups.items() if known.issuperset(tags)}
            answer.show(answer.Answer.read(records, self.study.name, task, shown_groups), self.console)
        self._print_account(progress)
        return self._print_failures(progress)

    def _train(self) -> Progress:
        progress = Progress()
        done = self.store.done_identities(self.graph.identities)
        progress.add(self.graph, done)
        if len(done) == len(self.graph):
            self.console.print(f"Nothing to train: {len(done)} of {len(self.graph)} stages are done.", highlight=False)
            return progress
        from study import cluster
        from study.scheduler import StageSearcher, schedule

        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with cluster.connected(self.site) as scratch:
            limit = partial(cluster.limit, self.site)
            cluster.check_fits(self.graph, self.site, limit())
            searcher = StageSearcher(
                graph=self.graph,
                store=self.store,
                site=self.site,
                progress=progress,
                limit=limit,
                present=cluster.present,
            )
            with shown(progress, self.console):
                schedule(searcher, site=self.site, command=uuid.uuid4().hex[:12], facts=source_facts(), scratch=scratch)
        return progress

    def _print_account(self, progress: Progress) -> None:
        executed = [entry for entry in progress.of_state("done") if not entry.cached]
        alone = sum(len(run.stages) for run in self.runs)
        self.console.print(
            f"\n{len(executed)} stages trained by this command, {len(self.graph)} unique in the study, "
            f"{alone} if every run trained its own. It took {duration(progress.seconds)}.",
            highlight=False,
        )
        script = f"python experiments/query.py --storage {self.location}"
        sql = "SELECT arm, avg(roc_auc), count(*) FROM runs GROUP BY arm ORDER BY 2 DESC"
        self.console.print(f"Rows: {self.location}/records/*/*.parquet", highlight=False, soft_wrap=True)
        self.console.print(f'Try:  {script} "{sql}"', highlight=False, soft_wrap=True)

    def _print_failures(self, progress: Progress) -> int:
        states = progress.stages
        failed = [run for run in self.runs if states[run.final_stage.identity].state != "done"]
        for entry in progress.of_state("failed"):
            self.console.print(f"[red]failed[/] {entry.stage.label}: {entry.error}", highlight=False, soft_wrap=True)
        if failed:
            names = ", ".join(f"{run.arm.name} (seed {run.seed})" for run in failed)
            self.console.print(f"{len(failed)} of {len(self.runs)} runs are missing: {names}", highlight=False)
        return EXIT_FAILED if failed else 0

    def _headline(self) -> str:
        alone = sum(len(run.stages) for run in self.runs)
        return (
            f'Study "{self.study.name}": {len(self.study.arms)} arms x {len(self.study.seeds)} seeds = '
            f"{len(self.runs)} runs, {len(self.graph)} unique stages ({alone} if every run trained its own)"
        )

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

    def _open_corpora(self):
        options = self.options
        given = {
            "separation": options.separation_corpus,
            "tagging": options.tagging_corpus,
            "genre": options.genre_corpus,
        }
        tasks: list[Kind] = [arm.trial.task for arm in self.study.arms]
        needs_separation = any(arm.trial.source not in (None, "none") for arm in self.study.arms)
        kinds: list[Kind] = [*(["separation"] if needs_separation else []), *dict.fromkeys(tasks)]
        return open_corpora(kinds, given, self.preset.generated, corpora_folder(self.location), self._report_corpus())

    def _report_corpus(self):
        told: dict[str, int] = {}

        def report(kind: str, done: int, total: int) -> None:
            tenth = 10 * done // total
            if told.get(kind) != tenth:
                told[kind] = tenth
                end = "\r" if self.console.is_terminal and done < total else "\n"
                if self.console.is_terminal or done == total:
                    self.console.print(f"Generated {kind} corpus: {done}/{total} tracks", end=end, highlight=False)

        return report

    def _site(self) -> Site:
        options = self.options
        resources = Resources(
            num_workers=options.workers,
            cpus_per_worker=options.cpus_per_worker,
            gpus_per_worker=options.gpus_per_worker,
        )
        return Site(
            storage=self.location,
            corpora=self.corpora.places,
            default_resources=resources,
            checkpoint_every_s=options.checkpoint_every_s,
            max_cpus=options.max_cpus,
            max_gpus=options.max_gpus,
            stages_per_trial=options.stages_per_trial,
        )

    def _recipe(self) -> Recipe:
        """The preset's recipe with the arithmetic that this site has."""
        uses_gpu = self.options.gpus_per_worker > 0
        precision = self.options.precision
        if precision == "auto":
            precision = "bf16" if uses_gpu or _cpu_has_bf16() else "float32"
        arithmetic = Arithmetic(precision=precision, batch_norm="synchronised" if uses_gpu else "local")
        return replace(self.preset.recipe, arithmetic=arithmetic)


def default_storage(study: str) -> str:
    """$STUDY_STORAGE, else a folder in the home directory: under a job the working directory is a temporary copy."""
    return os.environ.get("STUDY_STORAGE") or str(Path.home() / "studies" / study)


def corpora_folder(storage: str) -> Path:
    """Where corpora are generated: in a local store, else in the home directory."""
    return Path.home() / "studies" / "corpora" if "://" in storage else Path(storage).resolve() / "corpora"


def _cpu_has_bf16() -> bool:
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported())
