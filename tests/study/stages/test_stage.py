"""Identities change exactly when the result's meaning does, and the graph holds each identity once."""

import dataclasses
import pickle
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from study.stages.graph import StageGraph
from study.stages.identity import canonical, difference, digest, to_json
from study.stages.stage import Stage, StageKind, StageRun
from tests.study.toy_stages import TOY, OtherNetwork, ToyConfig, ToyNetwork, toy_run, toy_stage


def test_golden_canonical_form():
    expected = (
        '{"config":{"augmented":false,"class":"ToyConfig","learning_rate":0.001,"network":{"channels":[16,32],'
        '"class":"ToyNetwork","dropout":null},"precision":"float32","seed":0,"weight_decay":1},'
        '"corpus":"c0ffee","kind":"toy","parents":{},"version":1}'
    )
    assert to_json(toy_stage().canonical) == expected


def test_golden_identities():
    parent = toy_stage()
    assert parent.identity == "6aeaf9367fb859652387fa2125d75ee71ff6ed9a7c46afc773da922532b0a750"
    assert (
        toy_stage(seed=1, parents={"parent": parent}).identity
        == "4fb67cb581444cc15bb112f4c68248dbed095fc105f774dcb2a5936572712354"
    )


CHANGES = {
    "seed": 1,
    "learning_rate": 1e-4,
    "weight_decay": 0.5,
    "precision": "bfloat16",
    "augmented": True,
    "network": ToyNetwork(channels=(16, 33)),
}


@pytest.mark.parametrize("name", [entry.name for entry in dataclasses.fields(ToyConfig)])
def test_every_field_changes_the_identity(name):
    assert toy_stage(**{name: CHANGES[name]}).identity != toy_stage().identity


@pytest.mark.parametrize(
    "other",
    [
        toy_stage(network=ToyNetwork(dropout=0.5)),
        toy_stage(network=OtherNetwork()),
        toy_stage(network=ToyNetwork(channels=(32, 16))),
        toy_stage(corpus="c0ffef"),
        toy_stage(parents={"parent": toy_stage()}),
        toy_stage(kind=StageKind(name="toy", version=2, run=toy_run)),
        toy_stage(kind=StageKind(name="toy2", version=1, run=toy_run)),
    ],
)
def test_all_that_gives_meaning_changes_the_identity(other):
    assert other.identity != toy_stage().identity
    assert other != toy_stage()


def test_a_parents_change_role_and_absence_change_the_childs_identity():
    children = [toy_stage(parents=p) for p in ({}, {"a": toy_stage()}, {"b": toy_stage()}, {"a": toy_stage(seed=1)})]
    assert len({child.identity for child in children}) == 4
    assert len({toy_stage(parents={"up": child}).identity for child in children}) == 4


def test_label_order_of_parents_and_run_function_do_not_change_the_identity():
    a, b = toy_stage(seed=1), toy_stage(seed=2)
    stage = toy_stage(parents={"a": a, "b": b})
    assert toy_stage(parents={"b": b, "a": a}, label="for people").identity == stage.identity
    kind = StageKind(name="toy", version=1, run=print)
    assert toy_stage(kind=kind, parents={"a": a, "b": b}) == stage


def test_equal_numbers_have_one_form_and_other_types_stay_apart():
    assert toy_stage(weight_decay=1).identity == toy_stage(weight_decay=1.0).identity
    assert to_json(canonical(-0.0)) == to_json(canonical(0))
    assert len({to_json(canonical(value)) for value in (1, True, "1", None, (1,), 1.5)}) == 6
    assert to_json(canonical(0.1 + 0.2)) == "0.30000000000000004"


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), {1, 2}, Path("/data"), b"x", object(), {1: 2}, {"class": 1}]
)
def test_what_has_no_canonical_form_is_refused_by_its_field(value):
    with pytest.raises(ValueError, match="network"):
        canonical(ToyConfig(network=value))


def test_a_new_field_at_its_legacy_value_keeps_the_identity():
    @dataclass(frozen=True, kw_only=True)
    class Config:
        seed: int = 0

    old = Stage(kind=TOY, config=Config(), corpus="c")

    @dataclass(frozen=True, kw_only=True)
    class Config:
        seed: int = 0
        initialisation: str = field(default="zero", metadata={"legacy": "random"})
        network: ToyNetwork = field(default=ToyNetwork(), metadata={"legacy": ToyNetwork()})

    def new(**fields):
        return Stage(kind=TOY, config=Config(**fields), corpus="c")

    assert new(initialisation="random").identity == old.identity
    assert new().identity != old.identity
    assert new(initialisation="random", network=ToyNetwork(dropout=0.1)).identity != old.identity
    assert new().description["config"]["network"] == canonical(ToyNetwork())
    lines = difference(new(initialisation="random").description, new().description)
    assert lines == ['config.initialisation changed from "random" to "zero"']


def test_difference_names_paths_and_both_values():
    old = toy_stage().description
    new = toy_stage(seed=1, network=OtherNetwork(channels=(8,)), parents={"up": toy_stage()}).description
    assert difference(old, old) == []
    assert difference(old, new) == [
        "config.network.channels changed from [16, 32] to [8]",
        'config.network.class changed from "ToyNetwork" to "OtherNetwork"',
        "config.seed changed from 0 to 1",
        f'parents.up changed from nothing to "{toy_stage().identity}"',
    ]


def test_a_stage_pickles_with_its_identity():
    stage = toy_stage(parents={"up": toy_stage(seed=3)}, label="x")
    again = pickle.loads(pickle.dumps(stage))
    assert again == stage and again.kind.run is toy_run and again.label == "x"


@pytest.mark.parametrize(("name", "version"), [("Toy Kind", 1), ("", 1), ("toy", 0), ("toy", True), ("toy", "1")])
def test_a_kind_that_cannot_be_named_is_refused(name, version):
    with pytest.raises(ValueError, match=r"StageKind\.(name|version)"):
        StageKind(name=name, version=version, run=toy_run)


def test_a_stage_needs_a_corpus_and_a_configuration():
    with pytest.raises(ValueError, match=re.escape("Stage.corpus")):
        toy_stage(corpus="")
    with pytest.raises(ValueError, match=re.escape("Stage.config")):
        Stage(kind=TOY, config={"seed": 0}, corpus="c")


def diamond():
    top = toy_stage(seed=0)
    left, right = toy_stage(seed=1, parents={"up": top}), toy_stage(seed=2, parents={"up": toy_stage(seed=0)})
    return top, left, right, toy_stage(seed=3, parents={"left": left, "right": right})


def test_graph_holds_ancestors_once_and_parents_first():
    top, left, right, bottom = diamond()
    graph = StageGraph([bottom, left])
    assert list(graph) == [top, left, right, bottom]
    assert graph.identities == [stage.identity for stage in graph] and len(graph) == 4
    assert graph[left.identity] == left and left.identity in graph and "other" not in graph


def test_graph_knows_descendants():
    top, left, right, bottom = diamond()
    alone = toy_stage(seed=9)
    graph = StageGraph([bottom, alone])
    assert graph.descendants(top.identity) == [left.identity, right.identity, bottom.identity]
    assert graph.descendants(right.identity) == [bottom.identity]
    assert graph.descendants(alone.identity) == graph.descendants(bottom.identity) == []


def test_graph_grows_by_what_is_new():
    _, left, right, bottom = diamond()
    graph = StageGraph([left])
    assert graph.add([bottom, left]) == [right, bottom]
    assert graph.add([bottom]) == []


def test_a_run_reads_files_of_its_parents_only():
    stage = toy_stage(parents={"up": toy_stage(seed=1)})
    run = StageRun(
        stage=stage,
        corpus_path="/corpus",
        read_parent=lambda role, name: f"{role}/{name}".encode(),
        read_input=lambda sha256: sha256.encode(),
        save_state=lambda state: None,
        report=lambda progress: None,
    )
    assert run.read("up", "weights") == b"up/weights"
    with pytest.raises(ValueError, match=r"no parent 'down'; it has \['up'\]"):
        run.read("down", "weights")


def test_identity_is_the_digest_of_the_canonical_form():
    assert toy_stage().identity == digest(toy_stage().canonical)
