"""What a stranger may have put into a store, a table or a name does no harm, and secrets stay where they were given."""

import io
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from components.corpora.corpus import Corpus
from components.training import checkpoint
from study.command.options import Options
from study.command.study import StudyCommand
from study.records.query import Query
from study.records.records import Records, slug
from study.records.stage_log import log_path
from study.report.blocks import Page
from study.report.export import folder_of, write
from study.report.facts import Facts, text
from study.report.page import build, html
from study.store.attempt import begin_attempt
from study.store.storage import open_storage
from study.store.store import Store
from study.upkeep.checks import checks_of, look, mend
from study.upkeep.contents import Contents
from study.upkeep.pruning import Pruning
from tests.bucket import Bucket
from tests.study import toy_report as toy
from tests.study.toy_command import PRESETS, finish
from tests.study.toy_stages import toy_stage
from tests.study.toy_store import busy_store
from tests.study.toy_study import study

ODD = [
    *("../../up", "..", "/etc/x", "", "\x00", "é/\\"),
    *("a'; DROP TABLE runs; --", '"', "100%_\n", "<script>alert(1)</script>"),
]

COMPARED = [["reference", "bare", "roc_auc"]]


class Planted:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self):
        return Path.touch, (self._mark,)


def test_nothing_in_a_store_is_unpickled(tmp_path):
    mark = tmp_path / "executed"
    planted = pickle.dumps(Planted(mark))
    pickle.loads(planted)
    assert mark.exists()
    mark.unlink()

    whole = busy_store(Store(tmp_path / "whole"))
    whole.add_input(b"weights")
    kinds: dict[str, list[str]] = {}
    for file in whole.storage.files():
        kinds.setdefault(f"{file.path.split('/')[0]} {Path(file.path).name[:6]}", []).append(file.path)
    for number, paths in enumerate(kinds.values()):
        folder = Path(shutil.copytree(whole.location, tmp_path / f"store{number}"))
        for path in paths:
            (folder / path).write_bytes(planted)
        store = Store(folder)
        mend(look(checks_of(Contents(store)), lambda done, total: None), store)
        _ = Pruning(Contents(store)).removals, Records(store).studies(), Records(store).searches()
        Query(store).run("SELECT count(*) FROM runs, stages, epochs, tag_metrics, track_scores, trials")
    for read in (checkpoint.weights_from_bytes, checkpoint.state_from_bytes):
        with pytest.raises(Exception, match=r".+"):
            read(planted)
    torn = begin_attempt(whole, toy_stage(seed=90))
    torn.save_state(planted)
    with pytest.raises(Exception, match=r".+"):
        checkpoint.state_from_bytes(whole.read_state(str(whole.latest_state(torn.identity))))
    assert not mark.exists()


def test_no_corpus_is_unpickled(corpora, tmp_path):
    mark, tagging = tmp_path / "executed", Path(corpora["tagging_corpus"])
    for file in tagging.iterdir():
        folder = Path(shutil.copytree(tagging, tmp_path / file.name))
        (folder / file.name).write_bytes(pickle.dumps(Planted(mark)))
        with pytest.raises(ValueError, match=r".+"):
            Corpus.open(folder).verify()
    assert not mark.exists()


def arms(name: str) -> dict[str, dict[str, str]]:
    return {"bare": toy.BARE, "reference": toy.FACTORS, f"x{name}": toy.FACTORS | {"source": "none"}}


@pytest.mark.parametrize("name", ODD)
def test_no_name_leads_out_of_its_folder(name, tmp_path):
    for path in (folder_of(name), f"studies/{slug(name)}.json", log_path(toy_stage(label=name))):
        assert path.count("/") == 1 and Path(path).name not in ("..", ".") and not Path(path).name.startswith(".")
    place = tmp_path / "a" / "b" / "store"
    store = toy.write_study(place, {"bare": toy.BARE, f"x{name}": toy.FACTORS}, name=name or "x", seeds=[0])
    page = Page(title=name, studied=name, answer=[name], sections=[], storage=name, until=name)
    write(page, open_storage(place), folder_of(name), own=True)
    Records(store).write_search({"name": name}, [])
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written and all(path.is_relative_to(place) for path in written)
    assert all(path.relative_to(place).parts[0] != "report.html" for path in written)
    assert "<script>alert" not in html(page)


def test_no_name_breaks_the_page(tmp_path):
    named = {arm: factors for name in ODD if name for arm, factors in arms(name).items()}
    store = toy.write_study(tmp_path, named, name="".join(ODD) or "x", seeds=range(2), comparisons=COMPARED)
    page = build(Facts(store))
    assert "<script>alert" not in html(page)
    write(page, open_storage(tmp_path / "out"), "report", own=True)


@pytest.mark.parametrize("name", [name for name in ODD if name != "\x00"])
def test_no_name_breaks_sql(name, tmp_path):
    store = toy.write_study(tmp_path, arms(name), name="s", seeds=range(2), comparisons=COMPARED)
    query = Query(store)
    (row,) = query.run(f"SELECT count(*) AS n FROM runs WHERE arm = {text(f'x{name}')}").to_pylist()
    assert row == {"n": 2}
    assert query.run("SELECT count(*) AS n FROM runs").to_pylist() == [{"n": 6}]


def test_secrets_in_a_storages_address_stand_nowhere(corpora, tmp_path, bucket: Bucket, capfd, caplog):
    secret = "TOPSECRETKEY"
    place = bucket.address(tmp_path.name).replace("s3://", f"s3://tests:{secret}@")
    options = Options(preset="toy", storage=place, precision="float32", **corpora)
    console = Console(file=io.StringIO(), width=200)
    command = StudyCommand(study(), PRESETS, replace(options, explain=""), console)
    finish(command.store, command.graph)
    for identity in command.store.identities():
        for attempt in command.store.attempts(identity):
            Records(command.store).write_attempt(identity, attempt)
    assert command.run() == 0
    damaged = f"stages/{command.graph.identities[0]}/done.json"
    command.store.storage.write(damaged, b"{")
    command.store.done(command.graph.identities[0])
    command.print_plan()
    files = command.store.storage.files()
    assert any(file.path.endswith(".html") for file in files) and any("quarantine" in file.path for file in files)
    for file in files:
        assert secret.encode() not in command.store.storage.read(file.path), file.path
        assert secret not in file.path
    said = capfd.readouterr()
    assert isinstance(console.file, io.StringIO)
    for words in (console.file.getvalue(), said.out, said.err, caplog.text, repr(command.store)):
        assert secret not in words
