"""The summary on the terminal: what the arms scored, against their baseline, and what so many seeds can support."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from study.command.display import say
from study.design.baselines import baselines
from study.design.metrics import METRICS
from study.records.records import Records, Run
from study.statistics.over_seeds import fewest_pairs_for, paired_difference, smallest_sign_flip_p, spread

Values = Mapping[int, float]
ByArm = Mapping[str, Values]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What was measured for a task.

    Attributes:
        probes: whether these are the linear probes of a study, or all its other runs.
        arms: arm -> its factors, in the order of the study.
        finals: arm -> seed -> the final stage of a run that is done; seeds that share one count once.
        states: arm -> seed -> "done", "failed" or "pending".
        metrics: metric -> arm -> seed -> value.
        groups: group of tags -> arm -> seed -> mean ROC-AUC.
        separators: source -> "si_sdr" or "si_sdr_mixture" -> seed -> dB; "vocals of 4" if four are separated at once.
        unscored: tags that no test track, or every one, has; they have no part in the macro averages.
        num_tags: how many tags there are.
        stars: (arm, metric or group) whose planned comparison with its baseline is significant.
    """

    task: str
    probes: bool
    arms: Mapping[str, Mapping[str, str]]
    finals: Mapping[str, Mapping[int, str]]
    states: Mapping[str, Mapping[int, str]]
    metrics: Mapping[str, ByArm]
    groups: Mapping[str, ByArm]
    separators: Mapping[str, ByArm]
    unscored: Sequence[str] = ()
    num_tags: int = 0
    stars: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def read(
        cls, records: Records, runs: Iterable[Run], task: str, groups: Mapping[str, Sequence[str]], *, probes: bool
    ) -> "Summary":
        """What the records hold of a task's planned runs: its probes or all others; `groups` names sets of tags."""
        runs = [r for r in runs if r.factors["task"] == task and (r.factors["scheme"] == "probe") == probes]
        planned = {(run.study, run.arm, run.seed, run.final_stage) for run in runs}
        keys = ("study", "arm", "seed", "final_stage")
        rows = [row for row in records.read("runs").to_pylist() if tuple(row[key] for key in keys) in planned]
        done = [row for row in rows if row["state"] == "done"]
        tags = records.read("tag_metrics", stages={row["final_stage"] for row in done})
        stages = records.read("stages", stages={stage for row in done for stage in row["stages"]})
        return cls(
            task=task,
            probes=probes,
            arms={run.arm: run.factors for run in runs},
            finals=_by_arm(done, "final_stage"),
            # A run that the records do not hold yet is pending.
            states=_by_arm([{"arm": run.arm, "seed": run.seed, "state": "pending"} for run in runs] + rows, "state"),
            metrics={
                name: _by_arm([row | {"value": dict(row["metrics"])[name]} for row in done], "value")
                for name in METRICS[task]
            },
            groups=_groups(tags, done, groups),
            separators=_separators(stages),
            unscored=_unscored(tags),
            num_tags=len(tags["class"].unique()),
        )

    @property
    def num_seeds(self) -> int:
        """Number of seeds of the study, done or not."""
        return max((len(by_seed) for by_seed in self.states.values()), default=0)

    @property
    def num_pairs(self) -> int:
        """The fewest pairs of runs that an arm has with its baseline; the fewest runs, if there is no baseline."""
        others = self.baselines or dict(zip(self.arms, self.arms, strict=True))
        return min((len(self.pairs(arm, other)) for arm, other in others.items() if arm in self.finals), default=0)

    def pairs(self, arm: str, other: str) -> list[int]:
        """Seeds that both arms have, one for each pair of final stages: a copied run replicates nothing."""
        own, base = self.finals.get(arm, {}), self.finals.get(other, {})
        first = {(own[seed], base[seed]): seed for seed in sorted(own.keys() & base.keys(), reverse=True)}
        return sorted(first.values())

    @property
    def baselines(self) -> dict[str, str]:
        """Arm -> what it is compared with."""
        return baselines(self.arms)


def _by_arm(rows: Iterable[dict[str, Any]], column: str) -> dict[str, dict[int, Any]]:
    """Arm -> seed -> the column's value."""
    found: dict[str, dict[int, Any]] = {}
    for row in rows:
        found.setdefault(row["arm"], {})[row["seed"]] = row[column]
    return found


def _groups(tags: pa.Table, done: Sequence[dict[str, Any]], groups: Mapping[str, Sequence[str]]) -> dict[str, ByArm]:
    """The groups; once something is done, without those of which no tag has a score."""
    found = {name: _group(tags, done, members) for name, members in groups.items()}
    return {name: values for name, values in found.items() if values or not done}


def _group(tags: pa.Table, done: Iterable[dict[str, Any]], members: Sequence[str]) -> ByArm:
    """The mean ROC-AUC of a group of tags, by arm and seed."""
    chosen = tags.filter(pc.field("class").isin(list(members)))
    means = chosen.group_by("stage").aggregate([("roc_auc", "mean")]).to_pylist()
    by_stage = {row["stage"]: row["roc_auc_mean"] for row in means if row["roc_auc_mean"] is not None}
    rows = [row | {"mean": by_stage[row["final_stage"]]} for row in done if row["final_stage"] in by_stage]
    return _by_arm(rows, "mean")


def _unscored(tags: pa.Table) -> list[str]:
    means = tags.group_by("class").aggregate([("roc_auc", "mean")]).to_pylist()
    return sorted(row["class"] for row in means if row["roc_auc_mean"] is None)


def _separators(stages: pa.Table) -> dict[str, dict[str, dict[int, float]]]:
    found: dict[str, dict[str, dict[int, float]]] = {}
    for row in stages.filter(pc.field("kind") == "separation").to_pylist():
        metrics = dict(row["metrics"])
        sources = [name.removeprefix("si_sdr_mixture_") for name in metrics if name.startswith("si_sdr_mixture_")]
        for source in sources:
            scores = found.setdefault(source if len(sources) == 1 else f"{source} of {len(sources)}", {})
            for metric in ("si_sdr", "si_sdr_mixture"):
                scores.setdefault(metric, {})[row["seed"]] = metrics[f"{metric}_{source}"]
    return found


def show(summary: Summary, console: Console) -> None:
    """Prints the tables of what was measured."""
    if summary.probes:
        _show_probes(summary, console)
    else:
        _show_runs(summary, console)


def conclude(summary: Summary, console: Console, *, generated: bool = True) -> None:
    """Prints what the reference and the separators are, and how sure the numbers are; `generated`: the songs are."""
    if "reference" in summary.arms:
        factors = ", ".join(f"{factor} {level}" for factor, level in summary.arms["reference"].items())
        _say(console, f"\nreference: {factors}. The other names say how an arm differs from it.")
    for source, metrics in summary.separators.items():
        estimate, mixture = (
            spread(np.array(list(metrics[name].values()), dtype=np.float64)) for name in ("si_sdr", "si_sdr_mixture")
        )
        _say(
            console,
            f"Separator {source}: SI-SDR {estimate.mean:+.1f} dB in test songs where it sounds, "
            f"{estimate.mean - mixture.mean:.1f} dB above the mixture itself ({mixture.mean:+.1f} dB)",
        )
    if "three-stage" in [factors["scheme"] for factors in summary.arms.values()]:
        _say(console, "Three-stage arms train their backend twice as long: alone, then within the joint network.")
    if {"shared", "exported"} & {factors.get("separators") for factors in summary.arms.values()}:
        _say(console, "All seeds share their separators: a result about a source holds for that one separator.")
    console.print(_caution(summary, generated), highlight=False)


def _show_runs(summary: Summary, console: Console) -> None:
    others = " and ".join(dict.fromkeys(summary.baselines.values()))
    against = f"; then the difference to {others}, paired by seed (seeds above it)" if others else ""
    _say(console, f"\n[bold]{summary.task.capitalize()}[/]: mean ± sd over {_seeds(summary.num_seeds)}{against}")
    console.print(_table(summary, summary.metrics, titles=METRICS[summary.task]), soft_wrap=True)
    _say_unscored(summary, console)
    if summary.groups:
        _say(console, "\n[bold]Groups of tags[/]: ROC-AUC, the mean over the group's tags")
        sources = {arm: factors["source"] for arm, factors in summary.arms.items()}
        console.print(_table(summary, summary.groups, {"pre-trained on": sources}), soft_wrap=True)
    if summary.stars:
        _say(console, "* significant: paired t test over seeds, Holm's correction over all planned comparisons, 5 %")


def _show_probes(summary: Summary, console: Console) -> None:
    """What a linear model finds in the separators, before any network is finetuned."""
    others = " and ".join(dict.fromkeys(summary.baselines.values()))
    against = f", then the difference to {others} (seeds above it)" if others else ""
    _say(
        console,
        f"\n[bold]Linear probe, {summary.task}[/]: a logistic regression on what separators hear; mean ± sd "
        f"over {_seeds(summary.num_seeds)} of them{against}",
    )
    name = next(iter(METRICS[summary.task]))
    columns = {**summary.groups, name: summary.metrics[name]}
    console.print(_table(summary, columns, titles=METRICS[summary.task]), soft_wrap=True)
    _say_unscored(summary, console)


def _say_unscored(summary: Summary, console: Console) -> None:
    if summary.unscored:
        scored = f"{summary.num_tags - len(summary.unscored)} of {summary.num_tags} tags"
        say(console, f"Averages: over {scored}. No test track, or every one, has: {', '.join(summary.unscored)}")


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)


def _seeds(number: int) -> str:
    return f"{number} seed" + ("" if number == 1 else "s")


def _table(
    summary: Summary,
    columns: Mapping[str, ByArm],
    facts: Mapping[str, Mapping[str, str]] | None = None,
    titles: Mapping[str, str] | None = None,
) -> Table:
    """A row for each arm: its name, which is never cut or wrapped, facts about it, and a cell for each column."""
    facts, titles = facts or {}, titles or {}
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("arm", no_wrap=True, min_width=max(map(len, summary.arms), default=0))
    for name in [*facts, *columns]:
        table.add_column(titles.get(name, name))
    cells = {name: _cells(summary, name, values) for name, values in columns.items()}
    for arm in summary.arms:
        table.add_row(arm, *(by_arm[arm] for by_arm in facts.values()), *(by_arm[arm] for by_arm in cells.values()))
    return table


def _cells(summary: Summary, name: str, values: ByArm) -> dict[str, str]:
    """Arm -> its value, then its difference to the baseline, if it has one; both aligned over the arms."""
    own = {arm: _value(summary, values, arm) for arm in summary.arms}
    width = max(map(len, own.values()), default=0)
    differences = {arm: _difference(summary, values, arm) for arm in summary.arms}
    stars = {arm: "*" if (arm, name) in summary.stars else "" for arm in summary.arms}
    return {arm: f"{own[arm]:<{width}}  {differences[arm]}{stars[arm]}".rstrip() for arm in summary.arms}


def _value(summary: Summary, values: ByArm, arm: str) -> str:
    if not values.get(arm):
        return "failed" if "failed" in summary.states[arm].values() else "missing"
    distinct = [values[arm][seed] for seed in summary.pairs(arm, arm) if seed in values[arm]]
    found = spread(np.array(distinct, dtype=np.float64))
    text = f"{found.mean:.3f}" + (f" ± {found.sd:.3f}" if found.num > 1 else "")
    if found.num == summary.num_seeds:
        return text
    return f"{text} each" if len(values[arm]) == summary.num_seeds else f"{text} (n = {found.num})"


def _difference(summary: Summary, values: ByArm, arm: str) -> str:
    if arm not in summary.baselines:
        return ""
    other = summary.baselines[arm]
    seeds = summary.pairs(arm, other)
    own, base = ({s: values[name][s] for s in seeds if s in values.get(name, {})} for name in (arm, other))
    found = paired_difference(own, base)
    return "" if found is None else f"{found.mean:+.3f} ({found.num_higher}/{found.num_pairs})"


def _caution(summary: Summary, generated: bool) -> str:
    """What so many seeds can and cannot support; p is that of the comparison with the fewest pairs."""
    num_seeds, num_pairs = summary.num_seeds, summary.num_pairs
    p = smallest_sign_flip_p(num_pairs)
    fewest = f" ({num_pairs} for the arm with the fewest done)" if num_pairs < num_seeds else ""
    varied = "initial weights, order and crops, on one corpus"
    sentences = [
        f"How sure: {_seeds(num_seeds)} vary {varied}." if num_seeds > 1 else "How sure: one seed shows no spread.",
        f"Even if a difference has the same sign on every seed{fewest}, "
        f"an exact sign-flip test gives p = {p:.2g} at best"
        + (
            f": signs alone show nothing here ({fewest_pairs_for(0.05)} seeds could), so read them as hints."
            if p > 0.05
            else ", without a correction for the number of comparisons shown."
        ),
        "The songs are generated; what holds for them need not hold for recordings." if generated else "",
    ]
    return " ".join(filter(None, sentences))
