"""Scores of arms as cells: mean ± sd, and the number of seeds if some are missing."""

from study.report.blocks import Cell, spread_cell
from study.report.facts import Facts
from study.statistics.over_seeds import Spread


def score(facts: Facts, arm: str, spread: Spread | None, *, digits: int | None = None) -> Cell:
    """A score as it was measured; "missing" or "failed" where there is none."""
    if spread is None:
        return _absent(facts, arm)
    whole = spread.num == len(facts.seeds)
    shown = facts.digits if digits is None else digits
    return spread_cell(spread, digits=shown, small="" if whole else _seeds(facts, arm, spread))


def percent(facts: Facts, arm: str, spread: Spread | None, *, star: bool = False) -> Cell:
    """A score in percent as the paper prints it, always with its number of seeds."""
    if spread is None:
        return _absent(facts, arm)
    return spread_cell(spread, digits=2, scale=100, mark="*" if star else "", small=f"({spread.num})")


def _absent(facts: Facts, arm: str) -> Cell:
    return Cell(text="failed" if "failed" in facts.states[arm].values() else "missing", faint=True)


def _seeds(facts: Facts, arm: str, spread: Spread) -> str:
    """One run that all seeds share is the same for any seed."""
    all_done = set(facts.states[arm].values()) == {"done"}
    return "(any seed)" if all_done and spread.num == 1 else f"(n = {spread.num})"
