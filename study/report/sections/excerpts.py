"""Inside songs: what the bare and the pre-trained network answer over time, where they disagree most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from components.corpora.audio import SAMPLE_RATE, mp3, to_int16
from study.design.baselines import baselines
from study.records.query import Query
from study.report import drawing
from study.report.arm_names import in_words
from study.report.blocks import Audio, Block, Figure, Section, Table, columns, label, number
from study.report.facts import Facts, listed, text

if TYPE_CHECKING:
    from components.corpora.corpus import Corpus
    from study.kinds.trained_networks import TrainedTagger

KEY, TITLE = "excerpts", "Inside songs"
SAYS = (
    "Here you can look and listen into test songs. Of all songs and tags{among}, these are the ones on which {bare} "
    "(“{bare_arm}”) and {arm} (“{pretrained_arm}”), both of seed {seed}, disagree most, whichever is right; each song "
    "and each tag appears once at most. They are chosen for the size of the difference: they illustrate, and prove "
    "nothing."
)
NUM_EXCERPTS, EXCERPT_S, MOST_POSITIONS = 4, 10.0, 48


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two networks of one seed: arm and final stage of the bare one and of the other."""

    bare: str
    arm: str
    seed: int
    bare_stage: str
    arm_stage: str


@dataclass(frozen=True, kw_only=True)
class Excerpt:
    """Up to 10 s of a song; the curves are probabilities of the tag in the segments around `seconds`."""

    track: str
    tag: str
    target: int
    bare_score: float
    arm_score: float
    seconds: np.ndarray
    bare: np.ndarray
    arm: np.ndarray
    start_s: float
    waveform: np.ndarray


def section(facts: Facts, most: int) -> Section | None:
    """At most `most` excerpts; None where the study has no two networks to compare."""
    pair = _pair(facts)
    if pair is None:
        return None
    sql = _question(facts, pair)
    rows = _disagreements(facts, pair, sql)[:most]
    try:
        found = _heard(facts, pair, rows)
    except (ValueError, OSError, RuntimeError, LookupError) as error:
        return Section(key=KEY, title=TITLE, says=f"Not shown: {error}.")
    among = " of the study's groups" if facts.groups else ""
    bare, arm = in_words(facts.arms, pair.bare), in_words(facts.arms, pair.arm)
    names = {"bare_arm": pair.bare, "pretrained_arm": pair.arm}
    says = SAYS.format(bare=bare, arm=arm, seed=pair.seed, among=among, **names)
    blocks: list[Block] = [_figure(pair, found), *map(_audio, range(len(found)), found), _table(pair, found, sql)]
    return Section(key=KEY, title=TITLE, says=says, blocks=blocks)


def _pair(facts: Facts) -> Pair | None:
    """The reference, else the first pre-trained arm, and its backend alone, at the first seed that both have."""
    bases = baselines({arm: facts.arms[arm] for arm in facts.of_task("tagging")})
    pairs = {arm: base for arm, base in bases.items() if facts.arms[base]["source"] == "-"}
    pretrained = [arm for arm in pairs if facts.arms[arm]["source"] != "none"]
    if not pretrained:
        return None
    arm = "reference" if "reference" in pretrained else pretrained[0]
    bare = pairs[arm]
    done = {(run["arm"], run["seed"]): run["final_stage"] for run in facts.runs if run["state"] == "done"}
    for seed in facts.seeds:
        if (bare, seed) in done and (arm, seed) in done:
            return Pair(bare=bare, arm=arm, seed=seed, bare_stage=done[bare, seed], arm_stage=done[arm, seed])
    return None


def _question(facts: Facts, pair: Pair) -> str:
    """The question for how far the two networks' scores of a song differ."""
    tags = list(dict.fromkeys(tag for members in facts.groups.values() for tag in members))
    among = f"\n  AND a.class IN ({listed(tags)})" if tags else ""
    return (
        "SELECT a.track, a.class, a.target, b.score AS bare, a.score AS arm\n"
        "FROM track_scores a JOIN track_scores b USING (track, class)\n"
        f"WHERE a.stage = {text(pair.arm_stage)}\n  AND b.stage = {text(pair.bare_stage)}{among}\n"
        "ORDER BY abs(a.score - b.score) DESC, track, class"
    )


def _disagreements(facts: Facts, pair: Pair, sql: str) -> list[dict[str, Any]]:
    """The largest differences, each song and each tag once."""
    query = Query(facts.store, ("track_scores",), stages=[pair.bare_stage, pair.arm_stage])
    songs, tags, found = set(), set(), []
    for row in query.run(sql).to_pylist():
        if row["track"] not in songs and row["class"] not in tags:
            songs.add(row["track"])
            tags.add(row["class"])
            found.append(row)
    return found


def _heard(facts: Facts, pair: Pair, rows: Sequence[dict[str, Any]]) -> list[Excerpt]:
    """Both networks over each song; ValueError or OSError for scores, weights or songs that are not there."""
    if not rows:
        raise ValueError("there are no scores of songs")
    from components.corpora.corpus import Corpus
    from study.kinds.trained_networks import TrainedTagger

    described = facts.corpora.get("tagging")
    if described is None:
        raise ValueError("the corpus of the songs is not recorded")
    if "://" in described["place"]:
        raise ValueError(f"{described['place']} is no folder")
    corpus = Corpus.open(described["place"])
    if corpus.digest != described["digest"]:
        raise ValueError(f"{described['place']} holds another corpus than that of the study")
    identities = [pair.bare_stage, pair.arm_stage]
    asked = facts.ask(f"SELECT stage, config FROM stages WHERE state = 'done' AND stage IN ({listed(identities)})")
    configs = {row["stage"]: row["config"] for row in asked.rows}
    listeners = [TrainedTagger(facts.store, identity, configs[identity]) for identity in identities]
    return [_excerpt(corpus, listeners, row) for row in rows]


def _excerpt(corpus: "Corpus", listeners: "Sequence[TrainedTagger]", row: dict[str, Any]) -> Excerpt:
    track, tag = int(np.flatnonzero(corpus.tracks["id"] == row["track"])[0]), corpus.classes.index(row["class"])
    length, segment = int(corpus.tracks["length"][track]), max(one.num_samples for one in listeners)
    starts = np.unique(np.linspace(0, length - segment, MOST_POSITIONS).astype(np.int64))
    bare, arm = (
        one.probabilities(corpus.gather(np.full(len(starts), track), starts, one.num_samples)[:, 0])[:, tag]
        for one in listeners
    )
    centres = (starts + segment / 2) / SAMPLE_RATE
    begin = _begin(centres, np.abs(arm - bare), length / SAMPLE_RATE)
    inside = (centres >= begin) & (centres <= begin + EXCERPT_S)
    first = round(begin * SAMPLE_RATE)
    num_samples = min(round(EXCERPT_S * SAMPLE_RATE), length - first)
    waveform = corpus.gather(np.array([track]), np.array([first]), num_samples)[0, 0].numpy()
    return Excerpt(
        track=row["track"],
        tag=row["class"],
        target=row["target"],
        bare_score=row["bare"],
        arm_score=row["arm"],
        seconds=centres[inside],
        bare=bare[inside],
        arm=arm[inside],
        start_s=begin,
        waveform=to_int16(waveform),
    )


def _begin(centres: np.ndarray, difference: np.ndarray, length_s: float) -> float:
    """Where the stretch of 10 s begins in which the networks differ most (s)."""
    begins = [begin for begin in centres - centres[0] if begin + EXCERPT_S <= length_s]
    inside = [(centres >= begin) & (centres <= begin + EXCERPT_S) for begin in begins]
    means = [difference[chosen].mean() if chosen.any() else 0.0 for chosen in inside]
    return float(begins[int(np.argmax(means))]) if begins else 0.0


def _figure(pair: Pair, excerpts: Sequence[Excerpt]) -> Figure:
    num_rows = -(-len(excerpts) // 2)

    def paint(canvas: Canvas) -> None:
        panels = canvas.subplots(num_rows, 2, sharey=True, squeeze=False).ravel()
        for axes in panels[len(excerpts) :]:
            axes.set_visible(False)
        for axes, excerpt in zip(panels, excerpts, strict=False):
            _panel(axes, pair, excerpt)
        canvas.supxlabel("seconds into the song", fontsize=8, color=drawing.MUTED)
        canvas.supylabel("probability", fontsize=8, color=drawing.MUTED)
        handles, labels = panels[0].get_legend_handles_labels()
        canvas.legend(handles, labels, loc="outside upper center", ncols=2, labelcolor=drawing.INK)

    return drawing.draw(
        "activation",
        f"Each network's answer for the segment around each moment: grey “{pair.bare}”, blue “{pair.arm}”.",
        "Probabilities of a tag over time for both networks; the songs' scores are in the table below.",
        paint,
        height=0.7 + 1.55 * num_rows,
    )


def _panel(axes: Axes, pair: Pair, excerpt: Excerpt) -> None:
    axes.plot(excerpt.seconds, excerpt.bare, color=drawing.MUTED, linewidth=1.3, linestyle=(0, (4, 2)), label=pair.bare)
    axes.plot(excerpt.seconds, excerpt.arm, color=drawing.SERIES[0], linewidth=1.7, label=pair.arm)
    axes.set_xlim(excerpt.start_s, excerpt.start_s + len(excerpt.waveform) / SAMPLE_RATE)
    axes.set_ylim(-0.03, 1.03)
    drawing.light_grid(axes, "y")
    axes.set_title(f"{excerpt.tag}: {_has(excerpt)}", fontsize=8)
    axes.tick_params(labelsize=7, length=2)


def _has(excerpt: Excerpt) -> str:
    return "the song has it" if excerpt.target else "the song does not have it"


def _audio(place: int, excerpt: Excerpt) -> Audio:
    end = excerpt.start_s + len(excerpt.waveform) / SAMPLE_RATE
    caption = f"{excerpt.tag} ({_has(excerpt)}): {excerpt.track}, {excerpt.start_s:.1f} to {end:.1f} s"
    return Audio(key=f"excerpt-{place + 1}", caption=caption, mp3=mp3(excerpt.waveform))


def _table(pair: Pair, excerpts: Sequence[Excerpt], sql: str) -> Table:
    rows = [
        [label(one.tag), label(one.track), number(one.target), number(one.bare_score, 3), number(one.arm_score, 3)]
        for one in excerpts
    ]
    head = [*columns("tag", "song", words=2), *columns("has it", pair.bare, pair.arm, words=0)]
    caption = "Scores of whole songs: the mean over their segments."
    return Table(key="excerpts", caption=caption, columns=head, rows=rows, sql=[sql])
