"""The store script: what it says, and its exit code."""

import sys
from pathlib import Path

import pytest

from experiments.store import main
from study.store.attempt import begin_attempt
from study.store.store import Store
from tests.study.toy_stages import toy_stage
from tests.study.toy_store import CHILD, PARENT, busy_store, fail


@pytest.fixture
def store(tmp_path) -> Store:
    return busy_store(Store(tmp_path / "store"))


@pytest.fixture
def run(store, monkeypatch, capsys):
    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["store.py", store.location, *arguments])
        code = main()
        said = capsys.readouterr()
        return code, said.out + said.err

    return run


def weights_of(store: Store, identity: str) -> Path:
    done = store.done(identity)
    assert done is not None
    return Path(store.location, f"stages/{identity}/attempts/{done.attempt}/weights.bin")


def test_the_list_says_what_is_done_begun_and_failed_by_study(store, run):
    begin_attempt(store, toy_stage(seed=41, label="[only] begun"))
    fail(store, toy_stage(seed=42, label="broken"), ValueError("no"))
    code, said = run("list")
    lines = said.splitlines()
    assert code == 0
    assert [line.split(";")[0] for line in lines if not line.startswith(" ")] == [
        "demo: 2 done",
        "rates bare: 2 done",
        "of no study and no search: 4 done, 1 begun, 1 failed",
    ]
    begun = next(line for line in lines if "[only] begun" in line)
    assert begun.startswith("    begun ") and " bytes  0 s ago " in begun
    assert begun.endswith(f"[only] begun ({toy_stage(seed=41).identity[:8]})")
    assert sum("child" in line for line in lines) == 2


def test_verify_names_damage_and_changes_nothing_and_repair_mends(store, run):
    assert run("verify")[0] == 0
    weights_of(store, CHILD.identity).write_bytes(b"wRights")
    code, said = run("verify")
    assert code == 1 and f"damaged: {weights_of(store, CHILD.identity)}: its SHA-256 is" in said
    assert said.endswith(f"1 fault. Try: python experiments/store.py {store.location} repair\n")
    assert store.done(CHILD.identity) is not None

    code, said = run("repair")
    assert code == 0 and f"not done any more: child ({CHILD.identity[:8]})" in said
    assert "1 fault. 1 stage will be trained again by the same command." in said
    code, said = run("verify")
    assert code == 0 and said.endswith(f"3 files set aside: {store.location}/quarantine\n")


def test_repair_says_what_it_cannot_mend(store, run):
    Path(store.location, f"stages/{PARENT.identity}/stage.json").unlink()
    code, said = run("repair")
    assert code == 1 and f"still damaged: {store.location}/stages/{PARENT.identity}/stage.json: it is gone" in said


def test_prune_removes_only_with_yes(store, run):
    code, said = run("prune")
    assert code == 0 and "stages that no study and no search refers to: 4," in said and "Nothing was removed." in said
    assert len(store.identities()) == 6
    code, said = run("prune", "--yes")
    assert code == 0 and "Removed" in said and len(store.identities()) == 2
    assert "Nothing to remove." in run("prune", "--yes")[1]


def test_the_sizes_add_up_to_what_is_there(store, run):
    code, said = run("size")
    number = sum(path.is_file() for path in Path(store.location).rglob("*"))
    assert code == 0 and f"{number} files  in all" in said and "results of stages that are done" in said


def test_what_makes_no_sense_is_refused_in_one_line(store, run, monkeypatch, capsys, tmp_path):
    with pytest.raises(SystemExit):
        run("verify", "--yes")
    assert "--yes is for prune" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["store.py", str(tmp_path / "nothing"), "verify"])
    assert main() == 2 and capsys.readouterr().err == f"store.py: {tmp_path}/nothing holds no study\n"
    assert not (tmp_path / "nothing").exists()
