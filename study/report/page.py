"""The page: sections in their order, and the one file of HTML that they become."""

import shlex
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from study.report.blocks import Audio, Page, Table
from study.report.drawing import INK, MUTED, PAPER, RULE, SERIES
from study.report.facts import Facts
from study.report.sections import (
    arms,
    at_a_glance,
    curves,
    excerpts,
    factorial,
    insertion,
    labels,
    opening,
    probes,
    provenance,
    schemes,
    search,
    stages,
    table_one,
    tags,
)
from study.report.study_comparisons import StudyComparisons

TEMPLATE = "page.html.jinja"
LIGHT = {"ink": INK, "muted": MUTED, "rule": RULE, "paper": PAPER, "tint": "#f3f4f2", "warn": "#8a4b00"}
LIGHT |= {f"c{place}": colour for place, colour in enumerate(SERIES, 1)}
# The same parts on a dark ground: lighter, and in the same order of hue.
DARK = {
    "ink": "#e4e6e3",
    "muted": "#9aa2ab",
    "rule": "#3a4047",
    "paper": "#16191c",
    "tint": "#1f2327",
    "warn": "#f0b060",
}
_DARK_SERIES = ("#5db4ec", "#f08a4b", "#3cc79c", "#dc93c6", "#d8b13a", "#8fc6f2", "#a59cff", "#b5b5b5")
DARK |= {f"c{place}": colour for place, colour in enumerate(_DARK_SERIES, 1)}


def build(facts: Facts, *, num_excerpts: int = 0) -> Page:
    """The whole page. `num_excerpts`: how many songs to look into, which needs the networks."""
    comparing = StudyComparisons(facts)
    sections = [
        at_a_glance.section(facts, comparing),
        labels.section(facts, comparing),
        probes.section(facts, comparing),
        table_one.section(facts, comparing),
        arms.section(facts, comparing),
        schemes.section(facts, comparing),
        tags.section(facts, comparing),
        excerpts.section(facts, num_excerpts) if num_excerpts else None,
        insertion.section(facts),
        factorial.section(facts),
        curves.section(facts),
        search.section(facts),
        stages.section(facts),
        provenance.costs(facts),
        provenance.origin(facts),
    ]
    return Page(
        title=facts.name,
        studied=opening.studied(facts),
        answer=opening.answer(facts, comparing),
        sections=[section for section in sections if section is not None],
        storage=facts.store.storage.name,
        until=_until(facts),
    )


def html(page: Page) -> str:
    """The page as one file: nothing is loaded from anywhere."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests |= {"table": lambda one: isinstance(one, Table), "audio": lambda one: isinstance(one, Audio)}
    environment.globals["command"] = lambda sql: command(page.storage, sql)
    return environment.get_template(TEMPLATE).render(page=page, light=LIGHT, dark=DARK)


def command(storage: str, sql: str) -> str:
    """The command line that asks this question, in double quotes if the shell changes nothing inside them."""
    question = shlex.quote(sql) if set(sql) & set('"$`\\!') else f'"{sql}"'
    return f"python experiments/query.py --storage {shlex.quote(storage)} {question}"


def _until(facts: Facts) -> str:
    """When the last of the stages ended that the study plans."""
    sql = (
        "SELECT max(ended_at) AS ended FROM stages\n"
        f"WHERE stage IN (SELECT unnest(stages) FROM runs WHERE {facts.planned(facts.arms)})"
    )
    ended = facts.ask(sql).rows[0]["ended"]
    return f"{ended:%Y-%m-%d %H:%M} UTC" if ended else ""
