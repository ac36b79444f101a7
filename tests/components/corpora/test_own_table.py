"""Tables as spreadsheets and programs write them."""

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.corpora.own_table import further_columns, read_table


def table(folder: Path, content: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_what_stands_between_the_cells_is_found(tmp_path, delimiter, ending, mark):
    lines = [["song", "split", "note"], ["007", "train", '"a, b; c\td"'], [], ["8", "test", ""]]
    text = mark + ending.join(delimiter.join(line) for line in lines)
    assert read_table(table(tmp_path, text), ("song", "split")) == [
        {"song": "007", "split": "train", "note": "a, b; c\td"},
        {"song": "8", "split": "test", "note": ""},
    ]


def test_another_encoding_has_to_be_said(tmp_path):
    path = table(tmp_path, "song,split\nBjörk,train\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"table\.csv is no utf-8 text \(byte 0xf6 at 13\): say --encoding"):
        read_table(path, ("song",))
    assert read_table(path, ("song",), encoding="latin-1")[0]["song"] == "Björk"
    with pytest.raises(ValueError, match="--encoding is 'klingon'; there is none of that name"):
        read_table(path, ("song",), encoding="klingon")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'song'; needed: song, split; it has: "),
        ("song;splits\n", "no column 'split'; needed: song, split; it has: song, splits"),
        ("song,split,song\n", "has the column 'song' twice"),
        ("song,split\na,train\nb\n", r"row 2 has 1 cells, the header 2: \['b'\]"),
        ('song,split\na,train\n"b,test\n', "cannot be read after row 1"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_table(table(tmp_path, text), ("song", "split"))


def test_parquet_keeps_its_types_and_what_a_corpus_cannot_keep_becomes_text(tmp_path):
    columns = {"song": ["a"], "year": [1999], "when": [date(2020, 1, 2)], "loudness": [float("nan")], "live": [True]}
    pq.write_table(pa.table(columns), tmp_path / "table.parquet")
    rows = read_table(tmp_path / "table.parquet", ("song",))
    expected = {"year": 1999, "when": "2020-01-02", "loudness": None, "live": True}
    assert further_columns(tmp_path, rows, ("song",)) == [expected]


def test_what_is_no_table_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="give a CSV or Parquet table with the columns song"):
        read_table(tmp_path / "absent.csv", ("song",))
    (tmp_path / "bad.parquet").write_text("no table")
    with pytest.raises(ValueError, match=r"bad\.parquet cannot be read"):
        read_table(tmp_path / "bad.parquet", ("song",))
