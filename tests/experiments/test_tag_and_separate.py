"""The scripts that use a finished study on songs: what they print, and their exit codes."""

import json
import os
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components.corpora.audio import decode
from experiments import separate, tag
from study.store.store import Store
from tests.study.toy_study import TAGS


@pytest.fixture
def run(monkeypatch, capsys):
    def run(script, *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
        try:
            code = script.main()
        except SystemExit as error:
            code = error.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def contents(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_the_most_probable_tags_are_printed_a_line_a_song(trained: Store, songs, run):
    before = contents(trained.location)
    code, out, err = run(tag, trained.location, songs)
    lines = out.splitlines()
    assert code == 0 and len(lines) == 8 and lines[3].startswith("test3: ")
    assert all(name in lines[3] for name in TAGS) and lines[3].count(" ± ") == 3
    assert "Tagging with arm 'reference', seeds 0, 1. Left out: 1 files that are no audio." in err
    assert contents(trained.location) == before


def test_standard_output_is_nothing_but_the_rows(trained, songs, run):
    code, out, _ = run(tag, trained.location, songs / "test2.flac", "--format", "json", "--seeds", "0")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and sorted(row["class"] for row in rows) == sorted(TAGS)
    assert {(row["song"], row["networks"], row["sd"]) for row in rows} == {("test2", 1, None)}


def test_rows_over_time_and_their_picture_go_to_files(trained, songs, run, tmp_path):
    picture, rows = tmp_path / "tags.svg", tmp_path / "tags.parquet"
    given = [trained.location, songs / "test1.flac", songs / "test2.flac", "--over-time", "--arm", "bare"]
    code, out, _ = run(tag, *given, "--plot", picture, "--format", "parquet", "--out", rows)
    assert code == 0 and out == ""
    assert pq.read_table(rows).column_names == ["song", "start_s", "end_s", "class", "score"]
    assert all(text in picture.read_text() for text in ("test1", "test2", "seconds into the song", *TAGS))
    code, out, _ = run(tag, *given)
    assert code == 0 and "      0.00 to     0.66 s  " in out


def test_a_song_that_fails_is_named_and_the_exit_code_is_1(trained, songs, run, tmp_path):
    (tmp_path / "broken.mp3").write_bytes(b"no audio in here, only text " * 50)
    for script, more in ((tag, ()), (separate, ("--out", tmp_path / "out"))):
        code, out, err = run(script, trained.location, tmp_path / "broken.mp3", songs / "test0.flac", *more)
        said = [line for line in (out + err).splitlines() if line.startswith("failed: ")]
        assert (
            code == 1 and len(said) == 1 and said[0].startswith("failed: broken: ") and "cannot be decoded" in said[0]
        )
    assert (tmp_path / "out" / "test0.vocals.wav").is_file()


def test_estimates_are_files_beside_each_other(trained, songs, run, tmp_path):
    given = [trained.location, songs, "--out", tmp_path, "--format", "flac", "--source", "vocals", "--seed", "1"]
    code, out, _ = run(separate, *given)
    assert code == 0 and out.startswith(
        "Separating vocals, mono at 16 kHz, with the separator of arm 'reference', seed 1."
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"test{place}.vocals.flac" for place in range(8)]
    assert len(decode(tmp_path / "test7.vocals.flac")) == len(decode(songs / "test7.flac"))
    code, _, err = run(separate, *given)
    assert code == 2 and "test0.vocals.flac and 7 more exist already" in err
    code, out, _ = run(separate, *given, "--keep")
    assert code == 0 and "There already: the estimates of 8 songs." in out


@pytest.mark.parametrize(
    "asked",
    [
        (tag, ["--arm", "nothing"], "has no arm 'nothing' with a finished tagger; these have one: bare, reference"),
        (tag, ["--seeds", "9"], "seed 9 of arm 'reference' is not done; done: 0, 1"),
        (tag, ["--plot", "tags.gif"], "the file's ending has to be .png or .svg"),
        (tag, ["--plot", "tags.png"], "--plot draws up to 6 songs, given: 8"),
        (tag, ["--format", "parquet"], "--format parquet needs a file: give --out"),
        (separate, ["--out", "x", "--source", "kazoo"], "no finished separator of 'kazoo'; it has: vocals"),
        (separate, ["--out", "x", "--format", "ogg"], "invalid choice"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(trained, songs, run, asked):
    script, given, message = asked
    code, out, err = run(script, trained.location, songs, *given)
    assert code == 2 and message in " ".join((out + err).replace("│", " ").split())
    assert not os.path.exists("x")  # noqa: PTH110


def test_a_folder_without_a_study_is_named(songs, run, tmp_path):
    code, _, err = run(tag, tmp_path, songs)
    assert code == 2 and f"{tmp_path} holds no study" in err
