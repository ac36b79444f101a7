"""The page: loads nothing, escapes everything, stays small, and says what is missing."""

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from study.report.blocks import Page
from study.report.export import as_csv, as_latex, write
from study.report.facts import Facts
from study.report.page import build, html
from study.store.storage import open_storage
from tests import ROOT
from tests.study import toy_report as toy

ODD = """<b>&amp;</b></script> $x_1$ "'é% \\"""
FEW = {name: toy.ARMS[name] for name in ("bare", "reference", "source=none")}


class Tags(HTMLParser):
    """Every element with its attributes, and the text of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.text += data


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    return build(Facts(toy.write_study(tmp_path_factory.mktemp("store"))))


@pytest.fixture(scope="module")
def text(page) -> str:
    return html(page)


def test_nothing_is_loaded_from_anywhere(text):
    for tag, attributes in Tags(text).found:
        assert tag not in ("img", "iframe", "object", "embed", "video", "base", "form")
        for name, value in attributes.items():
            if name in ("src", "href", "xlink:href", "action", "srcset", "data"):
                assert value and value.startswith(("#", "data:"))
            assert not name.startswith("on")
    assert not re.search(r"https?://|@import|url\((?!#)|//[a-z]+\.", text)


def test_every_element_is_closed_and_every_id_is_one(text):
    tags = Tags(text)
    assert tags.open == []
    ids = [attributes["id"] for _, attributes in tags.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {
        value[1:] for _, found in tags.found for name, value in found.items() if name == "href" and value[0] == "#"
    }
    assert targets <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(ids)


def test_drawings_follow_the_colours_of_the_page(text):
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert drawings and all("var(--ink)" in one for one in drawings)
    assert not any("#1f2429" in one for one in drawings)


def test_words_and_numbers_inside_drawings_are_those_of_the_files(page):
    for figure in page.figures:
        shown, drawn = (re.findall(r">([^<>]*\S[^<>]*)</text>", one) for one in (figure.svg, figure.drawn.decode()))
        assert shown == drawn and len(shown) > 3


def test_generated_songs_are_called_generated(text):
    assert "All songs are generated: synthesised from a seed, not recorded" in Tags(text).text


def test_odd_names_are_escaped_everywhere(tmp_path):
    arms = {"bare": toy.BARE, ODD: toy.FACTORS, f"{ODD}2": toy.FACTORS | {"source": "none"}}
    groups = {f"<i>{ODD}": ["choir"], "second": ["drums"]}
    comparisons = [[ODD, "bare", "roc_auc"], [f"{ODD}2", "bare", "roc_auc"]]
    changes = {"groups": groups, "comparisons": comparisons}
    store = toy.write_study(tmp_path / "store", arms, name=ODD, seeds=range(2), **changes)
    page = build(Facts(store))
    shown = html(page)
    tags = Tags(shown)
    assert tags.open == [] and "b" not in {tag for tag, _ in tags.found} and "i" not in {tag for tag, _ in tags.found}
    assert ODD in tags.text and shown.count("</script>") == 1
    assert page.title == ODD
    for table in page.tables:
        assert "$x_1$" not in as_latex(table).split("\\begin", 1)[1]
        as_csv(table)
    write(page, open_storage(tmp_path), "out", own=True)


def test_failed_and_missing_runs_are_told_with_their_cause(tmp_path):
    store = toy.write_study(
        tmp_path, FEW, failed=[("reference", 1)], missing=[("source=none", 2)], comparisons=toy.COMPARISONS[:2]
    )
    page = build(Facts(store))
    (missing,) = [table for table in page.tables if table.key == "missing"]
    cells = [[cell.text for cell in row] for row in missing.rows]
    cause = "finetuning reference, seed 1: ValueError: out of <memory> & more"
    assert cells == [["reference", "1", "failed", cause], ["source=none", "2", "pending", "not begun or running"]]
    (planned,) = [table for table in page.tables if table.key == "planned-tagging"]
    assert "incomplete: reference is missing or failed at seed 1" in planned.rows[0][-1].text
    assert not any(cell.mark for row in planned.rows for cell in row)
    assert "The answer is not complete. Of 9 runs, 1 failed, 1 without a result yet." in page.answer
    (arms,) = [table for table in page.tables if table.key == "arms-tagging"]
    assert arms.rows[1][2].small == "(n = 2)"
    assert "&lt;memory&gt; &amp; more" in html(page)


def test_the_answer_tells_what_is_undecided_from_what_is_not_shown(tmp_path):
    store = toy.write_study(
        tmp_path, FEW, seeds=range(4), missing=[("source=none", 2)], comparisons=toy.COMPARISONS[:2]
    )
    first, second, third, *_ = build(Facts(store)).answer
    assert re.match(
        r"In ROC-AUC, the U-Net pre-trained on vocals is not shown to differ from the CNN alone: .*, above on \d of "
        r"4 seeds \(about [\d,]+ further seeds would show it, in \S+ CPU-hours\)\.$",
        first,
    )
    assert second.startswith("The smallest difference that 4 seeds could have shown is 0.")
    assert third == (
        "1 of 2 planned comparisons cannot be decided by these runs: incomplete: source=none is missing or failed at "
        "seed 2."
    )


def test_a_star_is_told_with_its_interval(tmp_path, monkeypatch):
    monkeypatch.setitem(toy.SHIFT, "reference", 4.0)
    store = toy.write_study(tmp_path, FEW, seeds=range(5), comparisons=toy.COMPARISONS[:2])
    page = build(Facts(store))
    assert re.match(
        r"In ROC-AUC, the U-Net pre-trained on vocals scores higher than the CNN alone: "
        r"\+0\.\d{3} \[\+0\.\d{3}, \+0\.\d{3}\], above on 5 of 5 seeds \*\.$",
        page.answer[0],
    )
    assert re.match(r"In ROC-AUC, the random U-Net is not shown to differ from the CNN alone: ", page.answer[1])
    assert page.answer[2] == "* Significant at 5 %, corrected for 2 planned tests (Holm)."
    tables = {table.key: table for table in page.tables}
    assert tables["planned-tagging"].rows[0][2].mark == "*" and tables["planned-tagging"].rows[1][2].mark == ""
    (vocals,) = [row for row in tables["table-one"].rows if row[0].text == "vocals"]
    assert [vocals[1].mark, vocals[3].mark] == ["*", ""]
    assert not any(cell.mark for row in tables["post-hoc-tagging"].rows for cell in row)


def test_a_group_of_tags_earns_a_star_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setitem(toy.SHIFT, "reference", 4.0)
    compared = [["reference", "bare", "voices"], ["reference", "source=none", "voices"]]
    page = build(Facts(toy.write_study(tmp_path, FEW, seeds=range(5), comparisons=compared)))
    assert re.match(
        r"In the voices, the U-Net pre-trained on vocals scores higher than the CNN alone: [^*;]* of 5 seeds \*; it "
        r"scores higher than the random U-Net: [^*;]* of 5 seeds \*\.$",
        page.answer[0],
    )
    (planned,) = [table for table in page.tables if table.key == "planned-tagging"]
    assert [row[2].mark for row in planned.rows] == ["*", "*"] and "In voices" in planned.caption


def test_arms_that_hardly_differ_are_equivalent(tmp_path):
    compared = [["source=none", "bare", "roc_auc"]]
    store = toy.write_study(tmp_path, FEW, seeds=range(8), comparisons=compared, margins={"roc_auc": 0.9})
    page = build(Facts(store))
    assert re.match(
        r"In ROC-AUC, the random U-Net scores lower than the CNN alone, yet the two are equivalent within 0\.9: .*"
        r" of 8 seeds \*\.$",
        page.answer[0],
    )
    (planned,) = [table for table in page.tables if table.key == "planned-tagging"]
    assert planned.rows[0][-1].text == "equivalent within 0.9"
    (power,) = [table for table in page.tables if table.key == "power-tagging"]
    assert "p = 0.05 / 2" in power.caption


def test_of_many_questions_those_with_an_answer_are_told(tmp_path, monkeypatch):
    monkeypatch.setitem(toy.SHIFT, "reference", 4.0)
    arms = {arm: factors for arm, factors in toy.ARMS.items() if factors["scheme"] != "probe"}
    compared = [[arm, "bare", metric] for arm in arms if arm != "bare" for metric in ("roc_auc", "pr_auc")]
    page = build(Facts(toy.write_study(tmp_path, arms, seeds=range(5), comparisons=compared)))
    told = [
        sentence for sentence in page.answer if sentence.startswith("In ") and "planned comparisons" not in sentence
    ]
    assert told and all("*" in sentence for sentence in told)
    assert any(re.match(r"In \d+ of 12 planned comparisons no difference is shown", one) for one in page.answer)


def test_an_empty_study_says_what_is_not_there_yet(tmp_path):
    everything = [(arm, seed) for arm in FEW for seed in range(3)]
    store = toy.write_study(tmp_path, FEW, missing=everything, comparisons=toy.COMPARISONS[:2])
    page = build(Facts(store))
    assert any("9 without a result yet" in sentence for sentence in page.answer)
    assert "no scores of single tags yet" in html(page)
    assert not any(cell.mark for table in page.tables if table.key != "table-one" for row in table.rows for cell in row)


def test_arms_that_share_no_seed_yet_are_shown(tmp_path):
    store = toy.write_study(
        tmp_path, FEW, missing=[("bare", 0), ("bare", 1), ("reference", 2)], comparisons=toy.COMPARISONS[:1]
    )
    page = build(Facts(store))
    (table,) = [one for one in page.tables if one.key == "tag-intervals-cnn"]
    assert [row[4].text for row in table.rows if row[2].text == "vocals"] == ["–"] * len(toy.TAGS)


def test_a_study_that_is_only_described(tmp_path):
    store = toy.write_study(tmp_path, {}, comparisons=[], corpora={}, groups={})
    assert "No comparison was planned" in html(build(Facts(store)))
    store = toy.write_study(tmp_path / "no seeds run", FEW, seeds=[], comparisons=[])
    html(build(Facts(store)))


def test_what_was_not_asked_for_has_no_section(tmp_path):
    store = toy.write_study(tmp_path, {"bare": toy.BARE}, comparisons=[], groups={})
    keys = [section.key for section in build(Facts(store)).sections]
    assert keys == ["arms", "tags", "curves", "stages", "cost", "provenance"]


def test_arms_that_the_study_no_longer_has_are_left_out(tmp_path):
    toy.write_study(tmp_path, FEW, comparisons=[])
    store = toy.write_study(tmp_path, {"bare": toy.BARE}, comparisons=[], seeds=range(2))
    page = build(Facts(store))
    (arms,) = [table for table in page.tables if table.key == "arms-tagging"]
    assert [row[0].text for row in arms.rows] == ["bare"]
    assert "n" not in arms.rows[0][2].small and arms.rows[0][2].values["n"] == 2


def test_seeds_that_share_a_run_count_once(tmp_path):
    arms = {"probe mixture": toy.probe("-"), "probe vocals": toy.probe("vocals")}
    store = toy.write_study(tmp_path, arms, seeds=range(2), shared=["probe mixture"], comparisons=[], groups={})
    page = build(Facts(store))
    (probes,) = [table for table in page.tables if table.key == "probe-tagging"]
    assert probes.rows[0][3].small == "(any seed)" and "±" not in probes.rows[0][3].text
    assert probes.rows[1][3].small == "" and "±" in probes.rows[1][3].text


@pytest.mark.slow
def test_a_thousand_runs_fit_into_two_megabytes(tmp_path):
    page = build(Facts(toy.write_large(tmp_path)))
    assert "200 arms × 5 seeds = 1,000 runs" in page.studied
    assert len(html(page).encode()) < 2e6


def test_one_study_is_chosen_by_its_name(tmp_path):
    toy.write_study(tmp_path, {"bare": toy.BARE}, name="first", comparisons=[])
    store = toy.write_study(tmp_path, FEW, name="second", comparisons=[])
    with pytest.raises(ValueError, match="several studies: give --study, one of first, second"):
        Facts(store)
    assert list(Facts(store, "first").arms) == ["bare"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "experiments" / "report.py"), *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "MPLCONFIGDIR": "/tmp"}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, env=environment)


def test_the_command_writes_beside_the_store(tmp_path):
    store = toy.write_study(tmp_path / "store", {"bare": toy.BARE}, comparisons=[])
    done = run(store.location)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Report: {tmp_path}/store/report/toy/report.html (")
    kept = tmp_path / "else" / "figures" / "mine.png"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert run(store.location, "--out", str(tmp_path / "else")).returncode == 0
    assert (tmp_path / "else" / "report.html").is_file() and kept.exists()


def test_what_an_earlier_page_left_in_the_store_is_removed(page, tmp_path):
    storage = open_storage(tmp_path)
    write(page, storage, "report/toy", own=True)
    fewer = replace(page, sections=[section for section in page.sections if section.key != "tags"])
    write(fewer, storage, "report/toy", own=True)
    left = {name.split(".")[0] for part in ("tables", "figures") for name in storage.names(f"report/toy/{part}")}
    assert left == {one.key for one in (*fewer.tables, *fewer.figures)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "other"], r"report\.py: there is no study 'other' in .*; there are: toy\n"),
        (["/nowhere"], r"report\.py: /nowhere holds no study\n"),
    ],
)
def test_what_is_not_there_is_one_line_and_exit_code_2(tmp_path, arguments, message):
    store = toy.write_study(tmp_path / "store", {"bare": toy.BARE}, comparisons=[])
    done = run(*([] if "/nowhere" in arguments else [store.location]), *arguments)
    assert done.returncode == 2 and re.fullmatch(message, done.stderr), done.stderr
    assert not (tmp_path / "store" / "report").exists()


def test_more_excerpts_than_there_is_room_for_are_refused():
    done = run("/nowhere", "--excerpts", "5")
    assert done.returncode == 2 and "--excerpts is 5; give 0 to 4" in done.stderr


def test_the_report_starts_without_ray_or_torch():
    check = (
        "import sys, experiments.report; print([m for m in ('ray', 'torch', 'sklearn', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"
