"""The answer on the terminal: what the arms scored, against the bare backend, and what so many seeds can support."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from study.records import Records
from study.statistics import PairedDifference, paired_difference, smallest_sign_flip_p, spread

METRICS = {
    "tagging": {"roc_auc": "ROC-AUC", "pr_auc": "PR-AUC"},
    "genre": {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"},
}
Values = dict[int, float]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was measured: metric -> arm -> seed -> value; tag groups and separators likewise."""

    task: str
    arms: Sequence[str]
    metrics: Mapping[str, Mapping[str, Values]]
    groups: Mapping[str, Mapping[str, Values]]
    separators: Mapping[str, Mapping[str, Values]]

    @classmethod
    def read(cls, records: Records, study: str, task: str, groups: Mapping[str, Sequence[str]]) -> "Answer":
        """From a study's records; runs that are not done are not in it."""
        rows = records.read("runs").filter((pc.field("study") == study) & (pc.field("state") == "done")).to_pylist()
        rows = [row for row in rows if dict(row["factors"])["task"] == task]
        final = {row["final_stage"]: row for row in rows}
        tags = records.read("tag_metrics", stages=final) if groups else None
        stages = records.read("stages", stages={stage for row in rows for stage in row["stages"]})
        return cls(
            task=task,
            arms=list(dict.fromkeys(row["arm"] for row in rows)),
            metrics={name: _by_arm(rows, lambda row, name=name: dict(row["metrics"])[name]) for name in METRICS[task]},
            groups={name: _group(tags, final, members) for name, members in groups.items()} if tags is not None else {},
            separators=_separators(stages),
        )


def _by_arm(rows: Iterable[dict], value) -> dict[str, Values]:
    found: dict[str, Values] = {}
    for row in rows:
        found.setdefault(row["arm"], {})[row["seed"]] = value(row)
    return found


def _group(tags: pa.Table, final: Mapping[str, dict], members: Sequence[str]) -> dict[str, Values]:
    """The mean ROC-AUC of a group of tags, by arm and seed."""
    chosen = tags.filter(pc.field("class").isin(list(members)))
    means = chosen.group_by("stage").aggregate([("roc_auc", "mean")]).to_pylist()
    by_stage = {row["stage"]: row["roc_auc_mean"] for row in means}
    rows = [row for stage, row in final.items() if stage in by_stage]
    return _by_arm(rows, lambda row: by_stage[row["final_stage"]])


def _separators(stages: pa.Table) -> dict[str, dict[str, Values]]:
    """Source -> {"si_sdr", "si_sdr_mixture"} -> seed -> dB on the test songs."""
    found: dict[str, dict[str, Values]] = {}
    for row in stages.filter(pc.field("kind") == "separation").to_pylist():
        for name, value in dict(row["metrics"]).items():
            for metric in ("si_sdr", "si_sdr_mixture"):
                source = name.removeprefix(f"{metric}_")
                if name == f"{metric}_{source}" and not source.startswith("mixture_"):
                    found.setdefault(source, {}).setdefault(metric, {})[row["seed"]] = value
    return found


def show(answer: Answer, console: Console, reference: str = "bare") -> None:
    """Tables and plain sentences."""
    num_seeds = max((len(values) for by_arm in answer.metrics.values() for values in by_arm.values()), default=0)
    console.print()
    console.print(_table(answer, reference, num_seeds))
    _show_separators(answer, console)
    console.print(_caution(num_seeds))


def _table(answer: Answer, reference: str, num_seeds: int) -> Table:
    title = f"{answer.task}, mean ± sd over {num_seeds} seeds; Δ paired by seed against {reference} (seeds above it)"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    table.add_column("arm")
    columns = {METRICS[answer.task][name]: values for name, values in answer.metrics.items()} | dict(answer.groups)
    for name in columns:
        table.add_column(name, justify="right")
        table.add_column("Δ", justify="right")
    for arm in answer.arms:
        cells = [cell for values in columns.values() for cell in _cells(values, arm, reference)]
        table.add_row(arm, *cells)
    return table


def _cells(values: Mapping[str, Values], arm: str, reference: str) -> tuple[str, str]:
    if arm not in values:
        return "–", ""
    found = spread(np.array(list(values[arm].values())))
    own = f"{found.mean:.3f}" + (f" ± {found.sd:.3f}" if found.num > 1 else "")
    difference = paired_difference(values[arm], values.get(reference, {})) if arm != reference else None
    return own, "" if difference is None else _signed(difference)


def _signed(difference: PairedDifference) -> str:
    return f"{difference.mean:+.3f} ({difference.num_higher}/{difference.num_pairs})"


def _show_separators(answer: Answer, console: Console) -> None:
    for source, metrics in answer.separators.items():
        estimate = spread(np.array(list(metrics["si_sdr"].values())))
        mixture = spread(np.array(list(metrics["si_sdr_mixture"].values())))
        console.print(
            f"Separator {source}: SI-SDR {estimate.mean:+.1f} dB on test songs, "
            f"{estimate.mean - mixture.mean:.1f} dB above the mixture itself ({mixture.mean:+.1f} dB)",
            highlight=False,
        )


def _caution(num_seeds: int) -> str:
    """What so many seeds can and cannot support."""
    p = smallest_sign_flip_p(num_seeds)
    return (
        f"How sure: {num_seeds} seeds vary the initial weights, the order and the crops, on one corpus. Even if a "
        f"difference has the same sign on all {num_seeds}, an exact sign-flip test gives p = {p:.2g} at best"
        + (", so nothing here is significant: read the signs as hints. " if p > 0.05 else ". ")
        + "The songs are generated; what holds for them need not hold for recordings."
    )
