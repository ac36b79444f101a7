"""More than a thousand changes that must give a stage another identity, and the many that must not."""

import copy
import dataclasses
import itertools
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.corpora.corpus import Corpus
from study.command.options import Options
from study.command.plan import explanation
from study.design.study import PlannedRun
from study.stages.stage import Stage
from study.store.store import Store
from tests.components.corpora.small_corpus import SPLITS, small_waveforms, write_small
from tests.study.toy_command import command, finish
from tests.study.toy_study import study


def mutated(value: Any) -> Iterator[tuple[str, Any]]:
    """(path of what was changed, the value with it changed), for every field at any depth, in several ways."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            for path, item in mutated(getattr(value, field.name)):
                # Not through the constructor: a value that it refuses must not share an identity either.
                changed = copy.copy(value)
                object.__setattr__(changed, field.name, item)
                yield f"{field.name}.{path}" if path else field.name, changed
    elif isinstance(value, tuple):
        yield from (("", (*value[:place], item, *value[place + 1 :])) for place, item in changed_items(value))
        yield "", (*value, value[-1] if value else 1)
        if value:
            yield "", value[1:]
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from ((f"{key}.{path}" if path else key, {**value, key: new}) for path, new in mutated(item))
    else:
        yield from (("", item) for item in other_scalars(value))


def changed_items(items: tuple[Any, ...]) -> Iterator[tuple[int, Any]]:
    return ((place, changed) for place, item in enumerate(items) for _, changed in itertools.islice(mutated(item), 2))


def other_scalars(value: Any) -> list[Any]:
    if isinstance(value, bool):
        return [not value, int(value), None]
    if isinstance(value, int):
        return [value + 1, value - 1, value + 2, 1000 * value + 7, value + 0.5, str(value), None]
    if isinstance(value, float):
        return [value * (1 + 2**-52) or 2**-52, value + 1, 3 * value + 1, -value - 1, str(value), None]
    if isinstance(value, str):
        return [f"{value}x", value.upper() + "_", "", None]
    return [1, False, "none"]


def explained(stage: Stage, store: Store) -> list[str]:
    """What `--explain` says of a run's last stage, below the line that names it."""
    run = PlannedRun(arm=study().arms[0], seed=0, final_stage=stage)
    lines = list(explanation(run, store))
    last = max(place for place, line in enumerate(lines) if not line.startswith(" "))
    return [line.strip() for line in lines[last + 1 :]]


def test_no_changed_configuration_has_the_identity_of_a_stage_that_is_done_and_each_change_is_named(options, tmp_path):
    made = command(dataclasses.replace(options, seeds=1))
    known, number = set(made.graph.identities), 0
    for place, stage in enumerate(made.graph):
        store = Store(tmp_path / f"store{place}")
        finish(store, [stage])
        for path, config in mutated(stage.config):
            changed = Stage(kind=stage.kind, config=config, corpus=stage.corpus, parents=stage.parents)
            assert changed.identity not in known, path
            (line,) = explained(changed, store)
            assert line.startswith((f"{path} changed from ", f"{path}.")), (path, line)
            number += 1
    assert number >= 900  # with those of the tests below more than 1,400


def test_other_versions_corpora_and_parents_are_named(options, tmp_path):
    made = command(dataclasses.replace(options, seeds=1))
    for place, stage in enumerate(made.graph):
        store = Store(tmp_path / f"store{place}")
        finish(store, [stage])
        for version in range(stage.kind.version + 1, stage.kind.version + 11):
            kind = dataclasses.replace(stage.kind, version=version)
            changed = Stage(kind=kind, config=stage.config, corpus=stage.corpus, parents=stage.parents)
            assert changed.identity != stage.identity
            assert explained(changed, store) == [f"version changed from {stage.kind.version} to {version}"]
        for digit in "0123456789":
            changed = Stage(kind=stage.kind, config=stage.config, corpus=digit * 64, parents=stage.parents)
            assert changed.identity != stage.identity
            assert [line.split(" ")[0] for line in explained(changed, store)] == ["corpus"]


def small(folder: Path, **changes: Any) -> str:
    digest = Corpus.open(write_small(folder, **changes)).digest
    shutil.rmtree(folder)
    return digest


def test_every_changed_sample_label_and_split_gives_another_corpus(tmp_path):
    drawn, digests = random.Random(0), {small(tmp_path / "c")}
    for _ in range(150):
        samples = [waveform.copy() for waveform in small_waveforms()]
        track = drawn.randrange(len(samples))
        place = tuple(drawn.randrange(size) for size in samples[track].shape)
        samples[track][place] ^= np.int16(1 << drawn.randrange(15))
        digests.add(small(tmp_path / "c", samples=samples))
    tags = ("vocals", "drums", "flute")
    subsets = [()] + [subset for size in (1, 2, 3) for subset in itertools.combinations(tags, size)]
    for labels in itertools.product(subsets[:4], repeat=3):  # none of them is the usual
        digests.add(small(tmp_path / "c", labels=labels))
    for splits in itertools.product(("train", "validation", "test"), repeat=3):
        if splits != SPLITS:
            digests.add(small(tmp_path / "c", splits=splits))
    assert len(digests) == 1 + 150 + 64 + 26


def test_every_changed_byte_of_weights_gives_another_input(tmp_path):
    store, weights = Store(tmp_path), bytes(range(256))
    found = {store.add_input(weights)}
    for place in range(256):
        found.add(store.add_input(weights[:place] + bytes([weights[place] ^ 1]) + weights[place + 1 :]))
    assert len(found) == 257


SITE = {
    "workers": [1, 2, 4],
    "cpus_per_worker": [1, 2, 8],
    "checkpoint_every_s": [0.0, 1.5, 600.0],
    "hung_after_s": [1.0, 1e6],
    "compile": ["auto", "always", "never"],
    "max_cpus": [None, 4, 512],
    "max_gpus": [None, 64],
    "corpus_cache": ["", "cache"],
    "plan": [False, True],
    "verify": [False, True],
    "explain": ["", "reference/seed0"],
}


def test_where_and_how_a_study_runs_changes_no_identity(options, tmp_path):
    usual = command(options)
    drawn = random.Random(0)
    # Each changes eleven things at once, besides the store and the order of the arms.
    for number in range(20):
        site: dict[str, Any] = {name: drawn.choice(values) for name, values in SITE.items() if name != "corpus_cache"}
        moved = dataclasses.replace(options, storage=str(tmp_path / f"store{number % 5}"), **site)
        if number % 10 == 0:
            moved = dataclasses.replace(moved, **elsewhere(options, tmp_path / f"corpora{number}"))
        arms = drawn.sample(usual.study.arms, len(usual.study.arms))
        made = command(moved, *arms)
        assert set(made.graph.identities) == set(usual.graph.identities), moved


def elsewhere(options: Options, folder: Path) -> dict[str, str]:
    """The corpora's options, with copies of the corpora under other names."""
    folder.mkdir()
    given = {f"{kind}_corpus": path for kind, path in options.given_corpora.items() if path is not None}
    return {name: str(shutil.copytree(path, folder / name)) for name, path in given.items()}


@pytest.mark.parametrize("label", ["", "another", "a/b", "é", "x" * 300])
def test_a_label_changes_no_identity(options, label):
    for stage in command(options).graph:
        assert dataclasses.replace(stage, label=label).identity == stage.identity
