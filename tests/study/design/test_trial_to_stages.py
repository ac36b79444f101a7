"""A trial unfolds into stages whose identities change exactly with what gives the results their meaning."""

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from components.corpora.labels import Labels
from components.networks.adapters import ALL_POINTS, NO_POINTS, finest, only, without
from components.objectives.separation import Part
from study.corpora.corpora import Corpora
from study.design.trial import Trial, bare_trial, level_name, probe_trial
from study.design.trial_to_stages import final_stage
from study.kinds.arithmetic import Arithmetic
from study.kinds.classification import CLASSIFICATION
from study.kinds.finetuning import FINETUNING
from study.kinds.probe import PROBE
from study.kinds.separation import SEPARATION
from study.kinds.weights import Weights
from study.stages.identity import canonical
from study.stages.stage import Stage
from tests.study.toy_study import DIGESTS, REFERENCE, corpora_in_name, recipe

THREE_STAGE = replace(REFERENCE, scheme="three-stage")
RANDOM = replace(REFERENCE, source="none")
AST = replace(REFERENCE, backend="ast")
PROBED = probe_trial(REFERENCE, "none", ("mixture", "estimates"))


def unfolded(trial: Trial = REFERENCE, *, seed: int = 0, **changes: Any) -> Stage:
    return final_stage(trial, seed, recipe(**changes), corpora_in_name())


# Whoever changes these makes every store that exists train everything again: only where the results do change.
GOLDEN = {
    "separation vocals": "b606dcd0ec7f8369a51d3a60a7ade3cf469248bb94a76c60699e1a91f56a351c",
    "separation multiple": "6cdbfa7bcde13f745a9f8ce59dcc0d42418b77d0b418a717e20086d096199949",
    "bare": "a6daaefb3e67d396ba78e3d98ac7a00dac38fa1bdec510d315f82d76a4209026",
    "two-stage": "011cd173c05540945db1a28c740363ee76d8a298d083cc960df859dee9e3a987",
    "three-stage": "532cb2de8e82c3a4cf9d4a5c1a3bd0fa0ba9dd7f90b4ee740479cd837efd9a24",
    "random": "93f59851f98a320c26dadd9f83ae27aefb57f98b16e00fa613422fd2a8f0e13b",
    "transformer": "84206a17938b68895e7b5f39218d067b1c587db9c634709cec2675c7f530359f",
    "probe": "a4efa500806b56cc18884837743e036111772c61ea912ccf2afcdaaf9598ec2b",
}


def test_golden_identities():
    two, three = unfolded(), unfolded(THREE_STAGE)
    found = {
        "separation vocals": two.parents["separator"],
        "separation multiple": unfolded(replace(REFERENCE, source="multiple")).parents["separator"],
        "bare": unfolded(bare_trial(REFERENCE)),
        "two-stage": two,
        "three-stage": three,
        "random": unfolded(RANDOM),
        "transformer": unfolded(AST),
        "probe": unfolded(PROBED),
    }
    assert {name: stage.identity for name, stage in found.items()} == GOLDEN


REMIX = {"remix": replace(recipe().remix, target=Part(presence=0.5))}


@pytest.mark.parametrize(
    ("trial", "decisive_for", "change"),
    [
        (REFERENCE, RANDOM, {"calibration_batches": 7}),  # a separator that was trained is not calibrated
        (replace(RANDOM, unet="finetuned"), RANDOM, {"calibration_batches": 7}),  # nor one that learns
        (replace(REFERENCE, insertion=NO_POINTS), REFERENCE, {"adapters_initial_std": 0.5}),
        (replace(REFERENCE, source="multiple"), REFERENCE, REMIX),
    ],
)
def test_what_a_result_does_not_depend_on_is_no_part_of_its_identity(trial, decisive_for, change):
    assert unfolded(trial, **change).identity == unfolded(trial).identity
    assert unfolded(decisive_for, **change).identity != unfolded(decisive_for).identity


def alterations(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The value with one thing changed, for every thing in it, however deep; nobody asks whether it makes sense."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            for place, other in alterations(getattr(value, field.name), f"{path}.{field.name}"):
                altered = copy.copy(value)
                object.__setattr__(altered, field.name, other)
                yield place, altered
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from ((place, {**value, key: other}) for place, other in alterations(item, f"{path}[{key}]"))
    elif isinstance(value, tuple):
        yield f"{path} shorter" if value else f"{path} longer", value[:-1] if value else (0,)
        for i, item in enumerate(value):
            for place, other in alterations(item, f"{path}[{i}]"):
                yield place, (*value[:i], other, *value[i + 1 :])
    else:
        yield path, _other(value)


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return 7 if value is None else value + ("!" if isinstance(value, str) else 1)


CONFIGS = {
    stage.kind.name: stage
    for stage in (
        unfolded(),
        unfolded().parents["separator"],
        unfolded(THREE_STAGE).parents["backend"],
        unfolded(PROBED),
    )
}
ALTERATIONS = [
    pytest.param(stage, config, id=f"{kind}{path}")
    for kind, stage in CONFIGS.items()
    for path, config in alterations(stage.config)
]


def test_there_is_a_configuration_of_every_kind():
    assert set(CONFIGS) == {kind.name for kind in (SEPARATION, CLASSIFICATION, FINETUNING, PROBE)}


def with_config(stage: Stage, config: Any) -> Stage:
    return Stage(kind=stage.kind, config=config, corpus=stage.corpus, parents=stage.parents)


@pytest.mark.parametrize(("stage", "config"), ALTERATIONS)
def test_any_field_of_any_configuration_changes_the_identity(stage, config):
    assert with_config(stage, config).identity != stage.identity


def test_no_two_alterations_are_alike():
    identities = [with_config(*parameter.values).identity for parameter in ALTERATIONS]
    assert len(set(identities)) == len(identities) > 150


def test_the_walk_reaches_every_configuration():
    classes = {name for stage in CONFIGS.values() for name in _classes(canonical(stage.config))}
    assert classes == {
        *("SeparationStage", "SeparatorConfig", "UNetConfig", "SpectrogramConfig", "RemixConfig", "Part"),
        *("SeparationLossConfig", "TrainingConfig", "Phase", "Arithmetic"),
        *("ClassificationStage", "ClassifierConfig", "ShortChunkCNNConfig", "MelConfig", "SegmentConfig"),
        *("FinetuningStage", "JointConfig", "AdapterConfig", "InsertionPoint", "ProbeStage", "ProbeConfig"),
    }


def _classes(form: Any) -> Iterator[str]:
    if isinstance(form, dict):
        yield from (form["class"],) if "class" in form else ()
    for item in form.values() if isinstance(form, dict) else form if isinstance(form, list) else ():
        yield from _classes(item)


@pytest.mark.parametrize("stage", CONFIGS.values(), ids=CONFIGS)
def test_corpus_and_version_change_the_identity(stage):
    others = [
        dataclasses.replace(stage, corpus="c0" * 32),
        dataclasses.replace(stage, kind=replace(stage.kind, version=stage.kind.version + 1)),
    ]
    assert len({stage.identity, *(other.identity for other in others)}) == 3


@pytest.mark.parametrize("stage", CONFIGS.values(), ids=CONFIGS)
def test_a_new_field_at_its_legacy_value_changes_no_identity(stage):
    reverb = dataclasses.field(default=0.5, metadata={"legacy": 0.0})
    for path, config in grown(stage.config, ("reverb", float, reverb)):
        assert with_config(stage, config(0.0)).identity == stage.identity, path
        assert with_config(stage, config(0.5)).identity != stage.identity, path


def grown(value: Any, field: tuple, path: str = "config") -> Iterator[tuple[str, Any]]:
    """For every dataclass in the value: the value, as a function of a field that this dataclass has in addition."""
    if dataclasses.is_dataclass(value):
        yield path, lambda new: _with_field(value, field, new)
        for name in (entry.name for entry in dataclasses.fields(value)):
            for place, inner in grown(getattr(value, name), field, f"{path}.{name}"):
                yield place, lambda new, name=name, inner=inner: _with(value, name, inner(new))
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            for place, inner in grown(item, field, f"{path}[{i}]"):
                yield place, lambda new, i=i, inner=inner: (*value[:i], inner(new), *value[i + 1 :])


def _with(value: Any, name: str, item: Any) -> Any:
    altered = copy.copy(value)
    object.__setattr__(altered, name, item)
    return altered


def _with_field(value: Any, field: tuple, new: float) -> Any:
    grown_class = dataclasses.make_dataclass(
        type(value).__name__, [field], bases=(type(value),), frozen=True, kw_only=True
    )
    altered = object.__new__(grown_class)
    for name in (entry.name for entry in dataclasses.fields(value)):
        object.__setattr__(altered, name, getattr(value, name))
    object.__setattr__(altered, field[0], new)
    return altered


def test_folders_and_names_of_corpora_change_no_identity():
    moved = final_stage(REFERENCE, 0, recipe(), corpora_in_name("/elsewhere"))
    assert moved.identity == unfolded().identity


@pytest.mark.parametrize("kind", DIGESTS)
def test_another_corpus_changes_the_stages_that_train_on_it(kind):
    three = final_stage(THREE_STAGE, 0, recipe(), corpora_in_name(**{kind: "c0" * 32}))
    before = unfolded(THREE_STAGE)
    assert (three.parents["separator"] != before.parents["separator"]) == (kind == "separation")
    assert (three.parents["backend"] != before.parents["backend"]) == (kind == "tagging")
    assert (three != before) == (kind != "genre")


def test_the_schemes_share_the_separator():
    assert unfolded().parents["separator"] == unfolded(THREE_STAGE).parents["separator"]


def test_one_separator_serves_both_backends_and_the_probe():
    separator = unfolded().parents["separator"]
    for trial in (AST, probe_trial(REFERENCE, "vocals", ("estimates",)), replace(REFERENCE, task="genre")):
        assert unfolded(trial).parents["separator"] == separator


def test_the_bare_arm_is_the_three_stage_schemes_backend():
    assert unfolded(bare_trial(REFERENCE)) == unfolded(THREE_STAGE).parents["backend"]


@pytest.mark.parametrize(
    "other",
    [
        replace(REFERENCE, unet="finetuned"),
        replace(REFERENCE, insertion=NO_POINTS),
        replace(REFERENCE, insertion=finest(2)),
        replace(REFERENCE, task="genre"),
    ],
)
def test_what_comes_after_the_separation_shares_the_separator(other):
    assert unfolded(other).parents["separator"] == unfolded().parents["separator"]
    assert unfolded(other) != unfolded()


def test_a_random_unet_has_no_separator_to_wait_for():
    assert unfolded(RANDOM).parents == {}
    assert set(unfolded(replace(RANDOM, scheme="three-stage")).parents) == {"backend"}


def test_seeds_share_nothing():
    first, second = unfolded(THREE_STAGE), unfolded(THREE_STAGE, seed=1)
    assert first != second and all(first.parents[role] != second.parents[role] for role in first.parents)


def test_arithmetic_is_part_of_every_stage():
    bf16 = unfolded(THREE_STAGE, arithmetic=Arithmetic(precision="bf16"))
    before = unfolded(THREE_STAGE)
    assert bf16 != before and all(bf16.parents[role] != before.parents[role] for role in before.parents)


def test_labels_tell_the_stages_of_a_study_apart():
    trials = [REFERENCE, THREE_STAGE, RANDOM, bare_trial(REFERENCE), replace(REFERENCE, insertion=only(3))]
    trials += [replace(REFERENCE, unet="finetuned"), replace(REFERENCE, task="genre")]
    stages = [unfolded(trial, seed=seed) for trial in trials for seed in (0, 1)]
    stages += [parent for stage in stages for parent in stage.parents.values()]
    labels = {stage.identity: stage.label for stage in stages}
    assert len(set(labels.values())) == len(labels) > 14


def test_the_order_of_insertion_points_is_no_level():
    backwards = replace(REFERENCE, insertion=tuple(reversed(ALL_POINTS)))
    assert backwards == REFERENCE and unfolded(backwards) == unfolded()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "guitar"}, r"Trial\.source is 'guitar'; allowed: none, bass, drums, other, vocals, multiple"),
        ({"scheme": "four-stage"}, r"Trial\.scheme is 'four-stage'; allowed: two-stage, three-stage"),
        ({"task": "captioning"}, r"Trial\.task is 'captioning'; allowed: tagging, genre"),
        ({"task": None}, r"Trial\.task is None"),
        ({"backend": "ast2"}, r"Trial\.backend is 'ast2'; allowed: cnn, ast"),
        ({"weights": "audioset"}, r"Trial\.weights is 'audioset'; allowed: random, imagenet"),
        ({"fusion": "product"}, r"Trial\.fusion is 'product'; allowed: sum, concatenation"),
        ({"adapters": "ones"}, r"Trial\.adapters is 'ones'; allowed: random, zero, patch-kernel"),
        ({"inputs": "noise"}, r"Trial\.inputs is 'noise'; allowed: estimates and mixture, mixture, estimates"),
        ({"separators": "borrowed"}, r"Trial\.separators is 'borrowed'; allowed: per seed, shared"),
        ({"probe": ("mixture",)}, r"Trial\.probe is .*; a trial with a U-Net has no probe"),
        ({"scheme": "probe"}, r"Trial\.backend is 'cnn'; a probe has no backend"),
        ({"unet": "thawed"}, r"Trial\.unet is 'thawed'; allowed: frozen, finetuned"),
        ({"insertion": (5,)}, r"no insertion point has level 5; there are: 0, 1, 2, 3, 4"),
        ({"insertion": ALL_POINTS[:1] * 2}, "a point twice"),
        ({"insertion": None}, r"Trial\.insertion is None; a trial with a U-Net needs one"),
        ({"scheme": None}, r"Trial\.scheme is None; a trial with a U-Net needs one"),
        ({"source": None}, r"a bare backend \(source None\) has no scheme"),
        ({"source": None, "scheme": None}, r"a bare backend \(source None\) has no insertion"),
    ],
)
def test_impossible_trials_are_refused_with_the_reason(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(REFERENCE, **changes)


def test_a_missing_corpus_or_stem_is_named():
    corpora = corpora_in_name()
    with pytest.raises(ValueError, match="there is no genre corpus; given: separation, tagging"):
        final_stage(
            replace(REFERENCE, task="genre"),
            0,
            recipe(),
            replace(corpora, by_kind={kind: corpora.of(kind) for kind in ("separation", "tagging")}),
        )
    songs = corpora.of("separation")
    without_vocals = replace(songs, manifest=replace(songs.manifest, stems=("mixture", "drums")))
    with pytest.raises(ValueError, match=r"/nowhere/separation has no stem 'vocals', which source 'vocals' needs"):
        final_stage(REFERENCE, 0, recipe(), replace(corpora, by_kind={**corpora.by_kind, "separation": without_vocals}))


def test_levels_have_names_to_read():
    assert [level_name("insertion", points) for points in (ALL_POINTS, NO_POINTS, finest(2))] == [
        "all",
        "none",
        "4 3",
    ]
    given = {"task": "tagging", "backend": "cnn", "weights": "random", "labels": "all"}
    assert bare_trial(REFERENCE).factors == dict.fromkeys(REFERENCE.factors, "-") | given
    assert PROBED.factors == dict.fromkeys(REFERENCE.factors, "-") | {
        "task": "tagging", "source": "none", "scheme": "probe", "separators": "per seed", "probe": "mixture estimates",
        "labels": "all",
    }  # fmt: skip


def test_a_probe_has_the_separators_of_the_other_runs_and_draws_nothing_else():
    probe = unfolded(probe_trial(REFERENCE, "vocals", ("mixture", "estimates")), seed=1)
    assert probe.parents["separator"] == unfolded(seed=1).parents["separator"]
    assert probe.config.seed == 0 and probe.config.calibration_batches == 0
    assert unfolded(PROBED, seed=1).config.seed == 1 and unfolded(PROBED).config.calibration_batches > 0
    mixture = probe_trial(REFERENCE, None, ("mixture",))
    assert unfolded(mixture, seed=0) == unfolded(mixture, seed=1)


def test_a_mixture_has_no_estimates_to_probe():
    with pytest.raises(ValueError, match=r"Trial\.probe is \('maps',\); without a separator"):
        probe_trial(REFERENCE, None, ("maps",))


def test_random_separators_are_shared_too():
    shared = replace(RANDOM, separators="shared")
    assert (
        unfolded(shared, seed=3).config.separator_seed == 0 and unfolded(RANDOM, seed=3).config.separator_seed is None
    )
    probes = [unfolded(replace(PROBED, separators="shared"), seed=seed).identity for seed in range(3)]
    assert len(set(probes)) == 1


def test_features_of_a_probe_are_known_and_have_no_order():
    assert probe_trial(REFERENCE, "vocals", ("estimates", "mixture")).probe == ("mixture", "estimates")
    for wrong in (("bogus",), "maps", (), ("maps", "maps")):
        with pytest.raises(ValueError, match="give some of"):
            probe_trial(REFERENCE, "vocals", wrong)
    with pytest.raises(ValueError, match="does not use the separator"):
        probe_trial(REFERENCE, "vocals", ("mixture",))


def test_unusual_levels_stand_in_the_label():
    label = unfolded(replace(REFERENCE, fusion="concatenation", inputs="estimates")).label
    assert label.endswith(", adapters all, fusion concatenation, inputs estimates, seed 0")


def test_a_factor_more_is_one_field_and_belongs_to_bare_arms_and_joint_networks():
    """What the README says about adding one."""
    activation = ("activation", "str | None", dataclasses.field(default="relu"))
    grown = dataclasses.make_dataclass("Grown", [activation], bases=(Trial,), frozen=True, kw_only=True)
    reference = grown(unet="frozen")
    assert bare_trial(reference).factors["activation"] == "relu"
    assert replace(reference, activation="gelu").factors["activation"] == "gelu"


def many_tracks(num: int = 200) -> Corpora:
    """Corpora with so many training tracks."""
    by_kind = {
        kind: replace(corpus, manifest=replace(corpus.manifest, counts={"train": num, "validation": 1, "test": 1}))
        for kind, corpus in corpora_in_name().by_kind.items()
    }
    return Corpora(by_kind=by_kind)


def test_labels_are_those_of_the_seed_for_every_arm():
    trials = [bare_trial(REFERENCE), REFERENCE, THREE_STAGE, RANDOM, PROBED, probe_trial(REFERENCE, None, ("mixture",))]
    for trial in trials:
        stages = [final_stage(replace(trial, labels=48), seed, recipe(), many_tracks()) for seed in (3, 4)]
        assert [stage.config.labels for stage in stages] == [Labels(num=48, seed=3), Labels(num=48, seed=4)]
        assert stages[0].identity != stages[1].identity
        assert "labels 48, seed 3" in stages[0].label
    three = final_stage(replace(THREE_STAGE, labels=48), 3, recipe(), many_tracks())
    assert three.parents["backend"] == final_stage(
        replace(bare_trial(REFERENCE), labels=48), 3, recipe(), many_tracks()
    )
    assert three.parents["separator"] == unfolded(seed=3).parents["separator"]


def test_as_many_labels_are_one_stage_however_they_are_said():
    def identity(labels: Any) -> str:
        return final_stage(replace(REFERENCE, labels=labels), 0, recipe(), many_tracks()).identity

    assert identity(0.25) == identity(50) != identity("all")
    assert identity(200) == identity("all") == unfolded().identity


@pytest.mark.parametrize("labels", [0, -3, True, 1.0, 0.0, 1.5, float("nan"), "some"])
def test_a_number_of_labels_that_is_none_is_refused(labels):
    with pytest.raises(ValueError, match=r"Trial\.labels is .*; allowed: a number from 1 on, a share between 0 and 1"):
        replace(REFERENCE, labels=labels)


def test_labels_that_the_corpus_has_not_are_refused():
    for labels, num in ((201, 201), (0.001, 0)):
        with pytest.raises(ValueError, match=f"Trial.labels is {labels}, {num} of the 200 training tracks of /nowhere"):
            final_stage(replace(REFERENCE, labels=labels), 0, recipe(), many_tracks())


def test_shared_separators_are_those_of_one_seed():
    shared = replace(REFERENCE, separators="shared")
    assert unfolded(shared, seed=3).parents["separator"] == unfolded(REFERENCE, seed=0).parents["separator"]
    assert unfolded(shared, seed=0) == unfolded(REFERENCE, seed=0)
    assert shared.factors["separators"] == "shared"


@pytest.mark.parametrize(
    "change",
    [
        {"fusion": "concatenation"},
        {"adapters": "zero"},
        {"inputs": "mixture"},
        {"inputs": "estimates"},
        {"unet": "slow"},
        {"unet": "finetuned"},
        {"insertion": without(2)},
        {"weights": "imagenet"},
    ],
)
@pytest.mark.parametrize("reference", [REFERENCE, AST])
def test_each_level_is_another_joint_network_after_the_same_separator(reference, change):
    if change.get("weights") == "imagenet" and reference.backend == "cnn":
        pytest.skip("there are none for it")
    weights = Weights(name="vit.npz", sha256="ab" * 32)
    other, before = unfolded(replace(reference, **change), weights=weights), unfolded(reference)
    assert other != before and other.parents == before.parents


def test_adapters_enter_the_blocks_that_the_backend_says():
    for trial, blocks in ((REFERENCE, {2: 3, 3: 2}), (AST, {2: 3, 3: 2})):
        points = unfolded(replace(trial, insertion=(3, 2))).config.joint.adapters.points
        assert {point.level: point.block for point in points} == blocks


def test_weights_belong_to_the_stage_that_starts_from_them():
    weights = Weights(name="vit.npz", sha256="ab" * 32)
    trial = replace(AST, weights="imagenet", scheme="three-stage")
    three = unfolded(trial, weights=weights)
    assert three.config.weights is None and three.parents["backend"].config.weights == weights
    assert unfolded(replace(trial, scheme="two-stage"), weights=weights).config.weights == weights
    other = replace(weights, sha256="cd" * 32)
    assert unfolded(trial, weights=other).parents["backend"] != three.parents["backend"]


def test_weights_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="'imagenet'; there are none for backend 'cnn'"):
        unfolded(replace(REFERENCE, weights="imagenet"))
    with pytest.raises(ValueError, match=r"'imagenet', but Recipe\.weights names no file"):
        unfolded(replace(AST, weights="imagenet"))


def test_a_patch_kernel_needs_patches():
    with pytest.raises(ValueError, match="'patch-kernel'; ShortChunkCNNConfig has no patches"):
        unfolded(replace(REFERENCE, adapters="patch-kernel"))
