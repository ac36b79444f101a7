"""Every number of a report's tables equals one recomputed by hand."""

import csv
import io
import statistics
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from study.records.query import Query
from study.report.blocks import Page, Table
from study.report.export import as_csv, as_latex, write
from study.report.facts import Facts
from study.report.page import build, html
from study.stages.stage import StageResult
from study.statistics.over_tracks import roc_auc_over_tracks
from study.store.storage import open_storage
from study.store.store import Store
from tests.study import toy_report as toy

SEEDS = range(3)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return toy.write_study(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def page(store) -> Page:
    return build(Facts(store))


def table(page: Page, key: str) -> Table:
    (found,) = [one for one in page.tables if one.key == key]
    return found


def rows(page: Page, key: str) -> list[dict[str, str]]:
    """The rows of a table as its CSV file has them."""
    return list(csv.DictReader(io.StringIO(as_csv(table(page, key)))))


def row(page: Page, key: str, **words: str) -> dict[str, str]:
    (found,) = [one for one in rows(page, key) if all(one[name] == word for name, word in words.items())]
    return found


def macro(arm: str, seeds=SEEDS) -> list[float]:
    return [statistics.mean(toy.roc_auc(arm, seed)) for seed in seeds]


def differences(arm: str, against: str) -> np.ndarray:
    return np.array(macro(arm)) - np.array(macro(against))


def test_every_section_is_there(page):
    keys = "glance probe table-one arms schemes tags insertion crossed curves stages cost provenance"
    assert [section.key for section in page.sections] == keys.split()
    assert all(section.blocks for section in page.sections)


def test_arms_are_means_and_standard_deviations_over_seeds(page):
    arms = [arm for arm, factors in toy.ARMS.items() if factors["scheme"] != "probe"]
    assert [one["arm"] for one in rows(page, "arms-tagging")] == arms
    for arm in arms:
        found = row(page, "arms-tagging", arm=arm)
        assert float(found["ROC-AUC mean"]) == pytest.approx(statistics.mean(macro(arm)))
        assert float(found["ROC-AUC sd"]) == pytest.approx(statistics.stdev(macro(arm)))
        assert found["ROC-AUC n"] == "3"


def test_planned_comparisons_are_paired_t_tests_with_holm(page):
    found = rows(page, "planned-tagging")
    assert [(one["arm"], one["against"]) for one in found] == [tuple(names[:2]) for names in toy.COMPARISONS]
    p = np.array([stats.ttest_1samp(differences(one["arm"], "bare"), 0).pvalue for one in found])
    order = np.argsort(p)
    adjusted = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    for place, one in enumerate(found):
        expected = differences(one["arm"], "bare")
        interval = stats.t.interval(0.95, 2, expected.mean(), stats.sem(expected))
        assert float(one["difference"]) == pytest.approx(expected.mean())
        assert (float(one["95 % over seeds low"]), float(one["95 % over seeds high"])) == pytest.approx(interval)
        assert int(one["seeds above"]) == (expected > 0).sum()
        assert float(one["p"]) == pytest.approx(p[place])
        assert float(one["p (Holm)"]) == pytest.approx(adjusted[list(order).index(place)])
        assert (one.get("difference mark") == "*") == (adjusted[list(order).index(place)] <= 0.05)


def test_songs_and_seeds_vary_together(page):
    found = row(page, "planned-tagging", arm="reference")
    gain = differences("reference", "bare")
    tracks = [
        roc_auc_over_tracks(toy.targets(), np.stack([toy.scores(arm, seed) for seed in SEEDS]), tags=toy.TAGS)
        for arm in ("reference", "bare")
    ]
    error = (tracks[0] - tracks[1]).macro().interval.standard_error
    over_seeds = stats.sem(gain) ** 2
    df = (over_seeds + error**2) ** 2 / (over_seeds**2 / 2)
    interval = stats.t.interval(0.95, df, gain.mean(), np.sqrt(over_seeds + error**2))
    shown = [float(found[f"95 % over seeds and songs {end}"]) for end in ("low", "high")]
    assert shown == pytest.approx(interval)


def test_at_a_glance_is_the_gain_over_the_bare_backend(page, store):
    for source, arm in {"random weights": "source=none", "drums": "source=drums", "vocals": "reference"}.items():
        found = row(page, "glance-tagging-cnn", **{"U-Net pre-trained on": source})
        gain = differences(arm, "bare")
        low, high = stats.t.interval(0.95, 2, gain.mean(), stats.sem(gain))
        assert float(found["ROC-AUC"]) == pytest.approx(gain.mean())
        assert (float(found["ROC-AUC low"]), float(found["ROC-AUC high"])) == pytest.approx((low, high))
        assert (found["ROC-AUC above"], found["ROC-AUC seeds"]) == (str((gain > 0).sum()), "3")
        voices = [np.mean(toy.roc_auc(arm, s)[:2]) - np.mean(toy.roc_auc("bare", s)[:2]) for s in SEEDS]
        assert float(found["voices"]) == pytest.approx(statistics.mean(voices))
    seconds = {row["stage"]: row["cpu_s"] for row in Query(store).run("SELECT stage, cpu_s FROM stages").to_pylist()}
    needed = [stage.identity for seed in SEEDS for stage in toy.stages("reference", toy.FACTORS, seed)]
    assert float(found["CPU-seconds a run"]) == pytest.approx(sum(seconds[stage] for stage in needed) / 3)


def test_what_the_seeds_could_show_stands_beside_the_planned_comparisons(page):
    found = rows(page, "power-tagging")
    assert [one["arm"] for one in found] == [one["arm"] for one in rows(page, "planned-tagging")]
    alpha = 0.05 / len(found)
    for one in found:
        gain = differences(one["arm"], "bare")
        # Hedges' correction for two degrees of freedom: gamma(1) / (sqrt(1) gamma(1/2)).
        assert float(one["effect size"]) == pytest.approx(gain.mean() / gain.std(ddof=1) / np.sqrt(np.pi))
        effect = float(one["smallest detectable"]) / gain.std(ddof=1)
        critical = stats.t.isf(alpha / 2, 2)
        assert stats.nct.sf(critical, 2, effect * np.sqrt(3)) == pytest.approx(0.8, abs=1e-4)
        assert one["p (sign flips)"] == "–"
        further = "–" if one["seeds needed"] == "–" else str(int(one["seeds needed"]) - 3)
        assert one["further seeds"] == further


def test_post_hoc_comparisons_stand_apart_without_a_star(page):
    found = table(page, "post-hoc-tagging")
    assert "Post hoc" in found.caption and not any(cell.mark for cells in found.rows for cell in cells)
    assert "PR-AUC" in found.caption


def test_table_one_holds_ours_in_percent_and_the_papers(page):
    found = table(page, "table-one")
    assert found.badge == "not comparable: generated songs, preset demo"
    titles = [cells[0].text for cells in found.rows]
    assert titles == ["bare backend", "none (random U-Net)", "bass", "drums", "other", "vocals", "multiple"]
    arms = {
        "bare backend": "bare",
        "none (random U-Net)": "source=none",
        "drums": "source=drums",
        "vocals": "reference",
    }
    for one in rows(page, "table-one"):
        arm = arms.get(one["pre-trained on"])
        expected = f"{100 * statistics.mean(macro(arm)):.6f}" if arm else ""
        mean = one["CNN ROC-AUC, ours mean"]
        assert (f"{float(mean):.6f}" if mean else "") == expected
    vocals = row(page, "table-one", **{"pre-trained on": "vocals"})
    published = [vocals[f"CNN ROC-AUC, paper {name}"] for name in ("mean", "sd", "mark")]
    assert published == ["91.85", "0.03", "*"]


def test_comparable_only_at_the_papers_sizes_on_real_corpora(tmp_path):
    corpora = {"tagging": {"name": "magnatagatune", "digest": "0", "counts": {"test": 4332}}}
    few = {name: toy.ARMS[name] for name in ("bare", "reference")}
    real = Facts(toy.write_study(tmp_path / "1", few, comparisons=[], corpora=corpora, preset="paper"))
    assert real.comparable and table(build(real), "table-one").badge == ""
    small = Facts(toy.write_study(tmp_path / "2", few, comparisons=[], corpora=corpora))
    assert table(build(small), "table-one").badge == "not comparable: preset demo"
    made = Facts(toy.write_study(tmp_path / "3", few, comparisons=[], preset="paper"))
    assert "generated songs" in table(build(made), "table-one").badge


def test_schemes_are_compared_pair_by_pair(page):
    found = row(page, "schemes", **{"pre-trained on": "vocals"})
    assert float(found["ROC-AUC, three-stage mean"]) == pytest.approx(
        100 * statistics.mean(macro("scheme=three-stage"))
    )
    (difference,) = [one for one in rows(page, "schemes-differences") if one["in"] == "ROC-AUC"]
    assert float(difference["difference"]) == pytest.approx(differences("scheme=three-stage", "reference").mean())


def test_probes_are_compared_with_that_of_the_mixture(page):
    found = [one for one in rows(page, "probe-tagging-differences") if one["in"] == "ROC-AUC"]
    assert [(one["arm"], one["against"]) for one in found] == [("probe vocals", "probe mixture")]
    assert float(found[0]["difference"]) == pytest.approx(differences("probe vocals", "probe mixture").mean())


def test_groups_are_means_over_their_tags(page):
    found = row(page, "tag-groups", arm="reference")
    expected = [statistics.mean(toy.roc_auc("reference", seed)[:2]) for seed in SEEDS]
    assert float(found["voices mean"]) == pytest.approx(statistics.mean(expected))
    assert float(found["voices sd"]) == pytest.approx(statistics.stdev(expected))
    bare = [statistics.mean(toy.roc_auc("bare", seed)[:2]) for seed in SEEDS]
    difference = row(page, "tag-group-differences", arm="reference", **{"in": "voices"})
    assert float(difference["difference"]) == pytest.approx(statistics.mean(expected) - statistics.mean(bare))


def test_tags_stand_in_their_groups_first(page):
    assert [one["tag"] for one in rows(page, "all-tags")] == ["choir", "male", "drums", "flute"]
    found = row(page, "all-tags", tag="flute")
    expected = [toy.roc_auc("source=drums", seed)[3] for seed in SEEDS]
    assert float(found["source=drums mean"]) == pytest.approx(statistics.mean(expected))


def test_tag_intervals_over_seeds_and_over_songs_are_two(page):
    found = row(page, "tag-intervals-cnn", tag="drums", **{"pre-trained on": "vocals"})
    expected = np.array([toy.roc_auc("reference", s)[2] - toy.roc_auc("bare", s)[2] for s in SEEDS])
    assert float(found["difference"]) == pytest.approx(expected.mean())
    over_seeds = stats.t.interval(0.95, 2, expected.mean(), stats.sem(expected))
    assert float(found["95 % over seeds low"]) == pytest.approx(over_seeds[0])
    low, high = (float(found[f"95 % over songs {end}"]) for end in ("low", "high"))
    assert low + high == pytest.approx(2 * expected.mean())
    assert high - low == pytest.approx(2 * 1.959964 * delong_error("reference", "bare", 2), rel=1e-5)


def delong_error(arm: str, other: str, tag: int) -> float:
    """DeLong's standard error of the mean difference over seeds, pair by pair of tracks."""
    positive = toy.targets()[:, tag]
    parts = 0.0
    for name, sign in ((arm, 1), (other, -1)):
        for seed in SEEDS:
            own = toy.scores(name, seed)[:, tag]
            parts = parts + sign * (own[positive][:, None] > own[~positive][None, :]) / len(SEEDS)
    pairs = np.asarray(parts)
    variance = pairs.mean(axis=1).var(ddof=1) / positive.sum() + pairs.mean(axis=0).var(ddof=1) / (~positive).sum()
    return float(np.sqrt(variance))


def test_interactions_of_crossed_factors(page):
    found = {one["change"]: float(one["difference"]) for one in rows(page, "crossed-source-insertion")}
    effect = differences("source=none insertion=none", "insertion=none") - differences("source=none", "reference")
    names = ("source vocals against none", "insertion all against none")
    assert found[" × ".join(names)] == pytest.approx(effect.mean())
    assert set(found) == {*names, " × ".join(names)}


def test_insertion_levels_stand_from_none_to_all(page):
    assert [one["levels that enter"] for one in rows(page, "insertion-0")] == ["none", "all"]


def test_what_the_corpora_leave_out_is_told_by_cause(tmp_path):
    rejects = [{"id": f"{number:04d}", "reason": "too short"} for number in range(5)] + [{"id": "x", "reason": "torn"}]
    corpus = {"name": "magnatagatune", "digest": "0", "counts": {"test": 9}, "excluded": {"no tag": 12}}
    corpora = {"tagging": corpus | {"rejects": rejects}}
    page = build(Facts(toy.write_study(tmp_path, {"bare": toy.BARE}, comparisons=[], corpora=corpora)))
    found = [[cell.text for cell in cells] for cells in table(page, "left-out").rows]
    assert found == [
        ["tagging", "excluded", "no tag", "12", ""],
        ["tagging", "rejected", "too short", "5", "0000, 0001, 0002, …"],
        ["tagging", "rejected", "torn", "1", "x"],
    ]


def test_compute_is_counted_in_gpu_seconds_where_there_are_gpus(tmp_path, monkeypatch):
    monkeypatch.setitem(toy.MACHINE, "gpus_per_worker", "0.5")
    monkeypatch.setitem(toy.MACHINE, "num_workers", "4")
    store = toy.write_study(tmp_path, {"bare": toy.BARE, "reference": toy.FACTORS}, comparisons=[])
    page = build(Facts(store))
    seconds = {row["stage"]: row["duration_s"] for row in Query(store).run("FROM stages").to_pylist()}
    once, _ = rows(page, "sharing")
    assert float(once["GPU-hours"]) * 3600 == pytest.approx(2 * sum(seconds.values()))
    needed = [one.identity for seed in SEEDS for one in toy.stages("reference", toy.FACTORS, seed)]
    found = row(page, "glance-tagging-cnn", **{"U-Net pre-trained on": "vocals"})
    assert float(found["GPU-seconds a run"]) == pytest.approx(2 * sum(seconds[stage] for stage in needed) / 3)


def test_two_backends_and_two_tasks_stand_side_by_side(tmp_path, monkeypatch):
    def result(arm: str, seed: int) -> StageResult:
        if "genre" not in arm:
            return toy_result(arm, seed)
        accuracy = 0.6 + 0.01 * seed + 0.1 * ("reference" in arm)
        return StageResult(metrics={"accuracy": accuracy, "balanced_accuracy": accuracy - 0.1})

    toy_result = toy.result_of
    monkeypatch.setattr(toy, "result_of", result)
    arms = {}
    for task in ("tagging", "genre"):
        for backend in ("cnn", "ast"):
            changes = {"task": task, "backend": backend}
            arms |= {f"bare {task} {backend}": toy.BARE | changes, f"reference {task} {backend}": toy.FACTORS | changes}
    comparisons = [[f"reference genre {backend}", f"bare genre {backend}", "accuracy"] for backend in ("cnn", "ast")]
    page = build(Facts(toy.write_study(tmp_path, arms, comparisons=comparisons)))
    keys = {"glance-tagging-cnn", "glance-tagging-ast", "glance-genre-cnn", "glance-genre-ast", "planned-genre"}
    assert keys <= {one.key for one in page.tables}
    gain = row(page, "glance-genre-ast", **{"U-Net pre-trained on": "vocals"})
    assert float(gain["accuracy"]) == pytest.approx(0.1) and gain["accuracy above"] == "3"
    titles = [column.title for column in table(page, "table-one").columns[1:]]
    assert titles[::2] == [
        *("CNN ROC-AUC, ours", "CNN PR-AUC, ours", "AST ROC-AUC, ours", "AST PR-AUC, ours"),
        *("CNN accuracy, ours", "AST accuracy, ours"),
    ]
    assert {"curves-genre-train_loss"}.isdisjoint(figure.key for figure in page.figures)


def test_sharing_is_unique_against_run_by_run(page, store):
    once, alone = rows(page, "sharing")
    runs = [toy.stages(arm, factors, seed) for seed in SEEDS for arm, factors in toy.ARMS.items()]
    assert int(once["stages"]) == len({stage.identity for run in runs for stage in run})
    assert int(alone["stages"]) == sum(map(len, runs))
    sql = "SELECT sum(duration_s) AS s FROM stages WHERE state = 'done'"
    assert float(once["hours"]) * 3600 == pytest.approx(Query(store).run(sql)["s"][0].as_py())


def test_every_question_of_a_table_can_be_asked_again(page, store):
    query = Query(store)
    asked = [(one.key, sql) for one in page.tables for sql in one.sql]
    assert {one.key for one in page.tables} - {key for key, _ in asked} == {"corpora"}
    for _, sql in asked:
        assert query.run(sql).num_rows >= 0


def test_sql_gives_the_means_that_are_shown(page, store):
    found = Query(store).run(table(page, "arms-tagging").sql[0]).to_pylist()
    for one in found:
        assert float(row(page, "arms-tagging", arm=one["arm"])["ROC-AUC mean"]) == one["roc_auc_mean"]


def test_files_lie_beside_the_page(page, tmp_path):
    target = write(page, open_storage(tmp_path), "out", own=True)
    assert target == f"{tmp_path}/out/report.html" and Path(target).read_text() == html(page)
    tables = {path.name for path in (tmp_path / "out" / "tables").iterdir()}
    assert tables == {f"{one.key}.{suffix}" for one in page.tables for suffix in ("csv", "tex")}
    figures = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    assert figures == {f"{one.key}.{suffix}" for one in page.figures for suffix in ("svg", "png")}
    assert len({one.key for one in page.tables}) == len(page.tables)
    assert len({one.key for one in page.figures}) == len(page.figures)


def test_latex_is_escaped_and_in_columns(page):
    text = as_latex(table(page, "planned-tagging"))
    head = next(line for line in text.splitlines() if line.endswith(r"\\"))
    assert head.count("&") == len(table(page, "planned-tagging").columns) - 1
    assert r"95 \% over seeds" in head and "$-$" in text and "−" not in text


def test_gains_are_told_by_the_number_of_labels(tmp_path):
    arms = {
        f"{name} {labels}": factors | {"labels": labels}
        for name, factors in (("bare", toy.BARE), ("vocals", toy.FACTORS))
        for labels in ("5", "0.8", "all")
    }
    compared = [[f"vocals {labels}", f"bare {labels}", "voices"] for labels in ("5", "all")]
    page = build(Facts(toy.write_study(tmp_path, arms, comparisons=compared)))
    found = rows(page, "labels-tagging")
    # Of nine training tracks.
    assert [(one["arm"], one["labelled tracks"]) for one in found] == [
        ("U-Net pre-trained on vocals", number) for number in ("5", "7", "9")
    ]
    for one, labels in zip(found, ("5", "0.8", "all"), strict=True):
        gain = [macro(f"vocals {labels}")[seed] - macro(f"bare {labels}")[seed] for seed in SEEDS]
        assert float(one["ROC-AUC"]) == pytest.approx(statistics.mean(gain))
    assert "labels-tagging" in {figure.key for figure in page.figures}
    # Arms are compared with what was trained on as many labels, here as everywhere.
    glance = row(page, "glance-tagging-cnn", **{"U-Net pre-trained on": "vocals"})
    assert float(glance["ROC-AUC"]) in [pytest.approx(float(one["ROC-AUC"])) for one in found]


def test_without_arms_that_differ_in_their_labels_there_is_no_section(page):
    assert "labels" not in {section.key for section in page.sections}
