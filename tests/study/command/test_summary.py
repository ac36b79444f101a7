"""The summary: numbers recomputed by hand, every arm in its place and whole, plain words about what it supports."""

import io
import statistics
from dataclasses import replace

import pyarrow as pa
import pytest
from rich.console import Console

from study.command import summary as answer_module
from study.command.summary import Summary, conclude, show
from study.records.records import Records, Run
from study.stages.stage import StageKind, StageResult
from study.store.attempt import begin_attempt
from study.store.store import Store
from tests.study.toy_stages import toy_run, toy_stage

# ROC-AUC by arm and seed, in the order of the study, which is not that of the alphabet.
SCORES = {
    "zero-shot": {0: 0.5, 1: 0.52},
    "bare": {0: 0.80, 1: 0.84},
    "reference": {0: 0.81, 1: 0.82},
    "source=drums": {0: 0.85, 1: 0.90},
    "half": {0: 0.7},
    "broken": {},
    "to come": {},
}
TAGS = {"drums": ("beat", "toms"), "voices": ("choir",)}
SEPARATION = StageKind(name="separation", version=1, run=toy_run)
FACTORS = {"task": "tagging", "source": "vocals", "scheme": "two-stage"}


def tag_metrics(value: float) -> pa.Table:
    """ROC-AUC of beat, toms and choir: `value`, a little more, a little less."""
    tags = {"beat": value, "toms": value + 0.04, "choir": value - 0.1}
    return pa.table(
        {
            "class": list(tags),
            "split": ["test"] * 3,
            "num_positives": [3] * 3,
            "num_tracks": [9] * 3,
            "roc_auc": list(tags.values()),
            "pr_auc": [0.5] * 3,
        }
    )


def separator(seed: int):
    return toy_stage(kind=SEPARATION, seed=seed)


def final(arm: str, seed: int):
    parents = {} if arm == "bare" else {"separator": separator(seed)}
    return toy_stage(seed=seed, learning_rate=1 + list(SCORES).index(arm), parents=parents)


def run_of(arm: str, seed: int) -> Run:
    factors = FACTORS | {"source": "-" if arm == "bare" else arm.removeprefix("source=")}
    stage = final(arm, seed)
    stages = (*(parent.identity for parent in stage.parents.values()), stage.identity)
    return Run(study="toy", arm=arm, seed=seed, factors=factors, final_stage=stage.identity, stages=stages)


RUNS = [run_of(arm, seed) for seed in (0, 1) for arm in SCORES]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    for seed, value in ((0, 3.0), (1, 5.0)):
        metrics = {"loss": 0.1, "si_sdr_vocals": value, "si_sdr_mixture_vocals": -2.0, "sdr_vocals": 1.0}
        begin_attempt(store, separator(seed)).finish(StageResult(metrics=metrics))
    for arm, by_seed in SCORES.items():
        for seed, value in by_seed.items():
            result = StageResult(
                metrics={"roc_auc": value, "pr_auc": value / 2}, tables={"tag_metrics": tag_metrics(value)}
            )
            begin_attempt(store, final(arm, seed)).finish(result)
    begin_attempt(store, final("broken", 1)).fail(ValueError("too small"))
    records = Records(store)
    records.rebuild()
    # Another study in the same store, and a plan of this one that is out of date.
    stale = replace(run_of("bare", 0), final_stage=final("half", 0).identity, stages=(final("half", 0).identity,))
    records.write_runs([*RUNS[:-1], replace(stale, study="other"), replace(stale, arm="to come", seed=1)])
    return records


@pytest.fixture(scope="module")
def answer(records):
    return Summary.read(records, RUNS, "tagging", TAGS, probes=False)


def text_of(answer: Summary, columns: int = 100, **options) -> str:
    console = Console(file=io.StringIO(), width=columns)
    show(answer, console)
    conclude(answer, console, **options)
    return console.file.getvalue()


def row_of(text: str, arm: str) -> str:
    (row,) = [line for line in text.split("Groups of tags", maxsplit=1)[0].splitlines() if line.startswith(f"{arm} ")]
    return row


def test_arms_stand_in_the_order_of_the_study(answer):
    assert list(answer.arms) == list(SCORES)
    lines = text_of(answer).splitlines()
    found = [line.split("  ")[0] for line in lines if line.split("  ")[0] in SCORES]
    assert found == [*SCORES, *SCORES]


def test_values_by_arm_and_seed(answer):
    assert answer.metrics["roc_auc"] == {arm: by_seed for arm, by_seed in SCORES.items() if by_seed}
    assert answer.metrics["pr_auc"]["half"] == {0: 0.35}
    assert answer.num_seeds == 2 and answer.baselines == {arm: "bare" for arm in SCORES if arm != "bare"}


def test_groups_are_means_over_their_tags(answer):
    assert answer.groups["drums"]["bare"] == pytest.approx({0: 0.82, 1: 0.86})
    assert answer.groups["voices"]["half"] == pytest.approx({0: 0.6})


def test_mean_sd_and_paired_difference_by_hand(answer):
    by_seed, bare = SCORES["source=drums"], SCORES["bare"]
    mean, sd = statistics.mean(by_seed.values()), statistics.stdev(by_seed.values())
    differences = [by_seed[seed] - bare[seed] for seed in (0, 1)]
    assert f"{mean:.3f} ± {sd:.3f}  {statistics.mean(differences):+.3f} (2/2)" in row_of(
        text_of(answer), "source=drums"
    )
    assert "0.875 ± 0.035  +0.055 (2/2)" in row_of(text_of(answer), "source=drums")
    # One seed above, one below.
    assert "0.815 ± 0.007  -0.005 (1/2)" in row_of(text_of(answer), "reference")


def test_a_planned_comparison_that_is_significant_has_its_star_and_no_other(answer):
    text = text_of(replace(answer, stars=frozenset({("source=drums", "roc_auc")})))
    stars = [line for line in text.splitlines() if "*" in line]
    assert len(stars) == 2 and stars[0].startswith("source=drums") and stars[0].count("*") == 1
    assert stars[1].startswith("* significant: paired t test over seeds, Holm's correction")
    assert "*" not in text_of(answer)


def test_the_baseline_has_no_difference_to_itself(answer):
    row = row_of(text_of(answer), "bare")
    assert "0.820 ± 0.028" in row and "+" not in row and "/" not in row


def test_an_arm_with_too_few_seeds_says_so(answer):
    assert "0.700 (n = 1)  -0.100 (0/1)" in row_of(text_of(answer), "half")


def test_failed_and_missing_arms_are_shown(answer):
    assert answer.states["broken"] == {0: "pending", 1: "failed"}
    assert answer.states["to come"] == {0: "pending", 1: "pending"}
    assert row_of(text_of(answer), "broken").split() == ["broken", "failed", "failed"]
    assert row_of(text_of(answer), "to come").split() == ["to", "come", "missing", "missing"]


@pytest.mark.parametrize("columns", [40, 80, 100, 200])
def test_names_are_never_cut_and_numbers_fit_at_100(answer, columns):
    longest = "source=vocals scheme=three-stage insertion=4-1"
    text = text_of(
        replace(answer, arms={**answer.arms, longest: FACTORS}, states={**answer.states, longest: {}}), columns
    )
    for arm in [*SCORES, longest]:
        assert sum(line.startswith(f"{arm} ") for line in text.splitlines()) == 2, arm


def test_the_demos_table_fits_100_columns(answer):
    text = text_of(answer, 100)
    tables = [line for line in text.splitlines() if line.split("  ")[0] in SCORES]
    assert max(map(len, tables)) <= 100 and "…" not in text
    # Every row in one line.
    assert len(tables) == 2 * len(SCORES)


def test_the_second_table_names_the_pre_training_source(answer):
    lines = text_of(answer).split("Groups of tags")[1].splitlines()
    assert lines[1].split("  ")[0] == "arm" and "pre-trained on" in lines[1]
    (row,) = [line for line in lines if line.startswith("source=drums ")]
    assert row.split()[:2] == ["source=drums", "drums"]
    assert "0.895 ± 0.035  +0.055 (2/2)" in row


def test_the_reference_is_explained(answer):
    assert "reference: task tagging, source reference, scheme two-stage." in text_of(answer)
    arms = {"bare": answer.arms["bare"]}
    assert "reference" not in text_of(replace(answer, arms=arms))


def test_without_a_bare_arm_the_reference_is_the_baseline(answer):
    arms = {name: answer.arms[name] for name in ("reference", "source=drums")}
    without = replace(answer, arms=arms)
    assert without.baselines["source=drums"] == "reference" and "reference" not in without.baselines
    assert "difference to reference" in text_of(without)
    assert "0.875 ± 0.035  +0.060 (2/2)" in row_of(text_of(without), "source=drums")
    alone = replace(answer, arms={"half": FACTORS})
    assert alone.baselines == {} and "difference" not in text_of(alone).splitlines()[1]


def test_separators_against_the_mixture(answer):
    assert answer.separators == {"vocals": {"si_sdr": {0: 3.0, 1: 5.0}, "si_sdr_mixture": {0: -2.0, 1: -2.0}}}
    expected = (
        "Separator vocals: SI-SDR +4.0 dB in test songs where it sounds, 6.0 dB above the mixture itself (-2.0 dB)"
    )
    assert expected in text_of(answer)


def test_a_study_reads_its_own_runs_only(records):
    only = Summary.read(records, [run_of("bare", 0)], "tagging", {}, probes=False)
    assert only.metrics["roc_auc"] == {"bare": {0: 0.8}} and only.num_seeds == 1 and only.groups == {}
    assert Summary.read(records, RUNS, "genre", {}, probes=False).arms == {}


def test_probes_stand_in_a_table_of_their_own_against_the_mixtures(tmp_path):
    store, runs = Store(tmp_path), []
    for place, (arm, source, values) in enumerate(
        [("probe mixture", "-", (0.6, 0.6)), ("probe vocals", "vocals", (0.7, 0.74)), ("bare", "-", (0.9, 0.9))]
    ):
        for seed, value in enumerate(values):
            stage = toy_stage(seed=seed, learning_rate=100 + place)
            result = StageResult(metrics={"roc_auc": value, "pr_auc": 0.5}, tables={"tag_metrics": tag_metrics(value)})
            begin_attempt(store, stage).finish(result)
            factors = {"task": "tagging", "source": source, "scheme": "-" if arm == "bare" else "probe"}
            identity = stage.identity
            run = Run(study="toy", arm=arm, seed=seed, factors=factors, final_stage=identity, stages=(identity,))
            runs.append(run)
    records = Records(store)
    records.rebuild()
    records.write_runs(runs)
    probes, others = (Summary.read(records, runs, "tagging", TAGS, probes=probes) for probes in (True, False))
    assert list(probes.arms) == ["probe mixture", "probe vocals"]
    assert probes.baselines == {"probe vocals": "probe mixture"}
    assert list(others.arms) == ["bare"]
    text = text_of(probes)
    assert "Linear probe, tagging" in text and "bare" not in text
    (row,) = [line for line in text.splitlines() if line.startswith("probe vocals")]
    # The groups, then all tags.
    assert row.split()[2::5] == ["0.740", "0.620", "0.720"] and row.count("+0.120 (2/2)") == 3


def finals_of(by_arm: dict[str, dict[int, float]]) -> dict[str, dict[int, str]]:
    """A final stage of its own for every run."""
    return {arm: {seed: f"{arm}{seed}" for seed in by_seed} for arm, by_seed in by_arm.items()}


def copies(answer: Summary, **changed) -> str:
    """Six seeds of three arms; those of "shared" are one stage."""
    values = {"bare": dict.fromkeys(range(6), 0.8), "shared": dict.fromkeys(range(6), 0.9)}
    values["other"] = {seed: 0.8 + seed / 100 for seed in range(6)}
    finals = finals_of(values) | {"shared": dict.fromkeys(range(6), "one"), **changed}
    states = {arm: dict.fromkeys(range(6), "done") for arm in values}
    bare = FACTORS | {"source": "-"}
    arms = dict.fromkeys(values, FACTORS) | {"bare": bare, "other": FACTORS | {"backend": "ast"}}
    return text_of(replace(answer, arms=arms, states=states, metrics={"roc_auc": values}, groups={}, finals=finals))


def test_copies_of_a_run_count_once(answer):
    assert row_of(copies(answer), "shared").split() == ["shared", "0.900", "each", "+0.100", "(6/6)"]
    one = dict.fromkeys(range(6), "another")
    text = copies(answer, bare=one)
    assert row_of(text, "shared").split()[-2:] == ["+0.100", "(1/1)"]
    assert "(1 for the arm with the fewest done)" in " ".join(text.split())


def test_every_backend_is_compared_with_itself_alone():
    arms = {
        f"{backend} {name}": {"backend": backend, "source": source}
        for backend in ("cnn", "ast")
        for name, source in (("bare", "-"), ("joint", "vocals"))
    }
    nothing = {"metrics": {}, "groups": {}, "separators": {}, "states": {}, "finals": {}}
    answer = Summary(task="tagging", probes=False, arms=arms, **nothing)
    assert answer.baselines == {"cnn joint": "cnn bare", "ast joint": "ast bare"}


def test_an_arm_of_another_backend_is_not_compared(answer):
    assert row_of(copies(answer), "other").split() == ["other", "0.825", "±", "0.019"]


def test_what_the_numbers_hide_is_said(answer):
    factors = FACTORS | {"scheme": "three-stage", "separators": "shared"}
    text = text_of(replace(answer, arms={"bare": FACTORS, "reference": factors}))
    assert "Three-stage arms train their backend twice as long" in text
    assert "holds for that one separator" in text
    assert "twice as long" not in text_of(answer) and "one separator" not in text_of(answer)


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        (1, ["one seed shows no spread", "p = 1 at best", "signs alone show nothing here (6 seeds could)"]),
        (
            2,
            [
                "2 seeds vary initial weights",
                "p = 0.5 at best",
                "signs alone show nothing here",
                "so read them as hints",
            ],
        ),
        (6, ["6 seeds vary", "p = 0.031 at best, without a correction for the number of comparisons shown."]),
    ],
)
def test_the_text_says_what_so_many_seeds_support(answer, seeds, words):
    metrics = {"roc_auc": {"bare": dict.fromkeys(range(seeds), 0.8), "reference": dict.fromkeys(range(seeds), 0.9)}}
    arms, finals = {"bare": FACTORS, "reference": FACTORS}, finals_of(metrics["roc_auc"])
    states = {"bare": dict.fromkeys(range(seeds), "done"), "reference": dict.fromkeys(range(seeds), "done")}
    text = " ".join(text_of(replace(answer, arms=arms, states=states, metrics=metrics, finals=finals)).split())
    assert all(each in text for each in words), text
    assert ("signs alone show nothing" in text) == (seeds < 6)


def test_only_generated_songs_are_called_generated(answer):
    assert "The songs are generated" in " ".join(text_of(answer).split())
    assert "generated" not in text_of(answer, generated=False)


def test_nothing_done_is_shown_too(tmp_path):
    store = Store(tmp_path)
    empty = Summary.read(Records(store), RUNS, "tagging", TAGS, probes=False)
    assert row_of(text_of(empty), "bare").split() == ["bare", "missing", "missing"]


def test_the_smallest_p_is_that_of_the_comparison_with_the_fewest_seeds_done(answer):
    done = {"bare": dict.fromkeys(range(6), 0.8), "reference": dict.fromkeys(range(3), 0.9)}
    states = {"bare": dict.fromkeys(range(6), "done"), "reference": dict.fromkeys(range(3), "done")}
    changed = {"arms": dict.fromkeys(states, FACTORS), "states": states, "metrics": {"roc_auc": done}, "groups": {}}
    text = " ".join(text_of(replace(answer, **changed, finals=finals_of(done))).split())
    assert "(3 for the arm with the fewest done)" in text and "p = 0.25 at best" in text


def test_one_source_of_several_separated_at_once_stands_apart(tmp_path):
    store = Store(tmp_path)
    one = {"si_sdr_vocals": 5.0, "si_sdr_mixture_vocals": -2.0}
    two = {"si_sdr_vocals": 1.0, "si_sdr_mixture_vocals": -2.0, "si_sdr_drums": 2.0, "si_sdr_mixture_drums": -3.0}
    for rate, metrics in ((1, one), (2, two)):
        stage = toy_stage(kind=SEPARATION, seed=0, learning_rate=rate)
        begin_attempt(store, stage).finish(StageResult(metrics=metrics))
    records = Records(store)
    records.rebuild()
    found = answer_module._separators(records.read("stages"))
    assert found["vocals"]["si_sdr"] == {0: 5.0} and found["vocals of 2"]["si_sdr"] == {0: 1.0}
    assert found["drums of 2"]["si_sdr_mixture"] == {0: -3.0}
