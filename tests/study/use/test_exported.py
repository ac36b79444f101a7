"""A study that starts from what another exported goes on as if it had trained it itself."""

from dataclasses import replace

import pytest
import torch

from components.training.checkpoint import weights_from_bytes
from study.design.arms import Arm
from study.design.trial import Trial, bare_trial, probe_trial
from study.design.trial_to_stages import final_stage
from study.kinds.weights import WEIGHTS, exported_backend_state
from study.store.store import Store
from study.use.export import export
from study.use.exported import backend_of, check_fits, read_exported, separator_of
from study.use.finished import separator, taggers
from tests.study.command.test_study import command
from tests.study.toy_study import REFERENCE, Bench, open_all, recipe


@pytest.fixture(scope="module")
def folders(trained, tmp_path_factory) -> dict[str, str]:
    """The exported separator, bare backend and joint network of seed 0."""
    place = tmp_path_factory.mktemp("exported")
    export(trained, separator(trained, seed=0), (), str(place / "separator"), onnx=False)
    for arm in ("bare", "reference"):
        chosen = taggers(trained, arm=arm, seed=0)
        export(trained, chosen.networks[0], chosen.classes, str(place / arm), onnx=False)
    return {name: str(place / name) for name in ("separator", "bare", "reference")}


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("trial", [REFERENCE, probe_trial(REFERENCE, "vocals", ("maps",))], ids=["joint", "probe"])
def test_from_an_exported_separator_the_result_is_that_from_the_trained_one(folders, toy_corpora, tmp_path, trial):
    bench, corpora, store = Bench(toy_corpora), open_all(toy_corpora), Store(tmp_path)
    exported = read_exported("--start-separator", folders["separator"])
    weights = exported.add_to(store)
    bench.inputs[weights.sha256] = store.read_input(weights.sha256)
    given = final_stage(replace(trial, separators="exported"), 0, recipe(start_separator=weights), corpora)
    own = final_stage(trial, 0, recipe(), corpora)
    assert not given.parents and own.parents and given.identity != own.identity
    assert bench.result(given).metrics == bench.result(own).metrics
    assert bench.result(given).files[WEIGHTS] == bench.result(own).files[WEIGHTS]


def test_a_backend_starts_from_the_exported_weights_but_for_other_classes(folders):
    exported = read_exported("--start-backend", folders["bare"])
    weights, config = weights_from_bytes(exported.data), backend_of(exported)
    state = exported_backend_state(exported.data, config.build().state_dict())
    assert all(torch.equal(state[name], weights[f"backend.{name}"]) for name in state)
    drawn = replace(config, num_classes=7).build().state_dict()
    state = exported_backend_state(exported.data, drawn)
    fresh = [name for name in state if state[name] is drawn[name]]
    assert fresh == ["head.5.weight", "head.5.bias"]


def test_a_network_of_another_size_or_kind_is_refused_with_its_fields(folders):
    exported = read_exported("--start-separator", folders["separator"])
    wider = replace(separator_of(exported), unet=recipe().unet.scaled(2.0))
    with pytest.raises(ValueError, match=r"does not fit the preset: unet\.channels"):
        check_fits(exported, separator_of(exported), wider)
    with pytest.raises(ValueError, match="holds a SeparationStage's network, not a bare backend"):
        backend_of(exported)
    with pytest.raises(ValueError, match="holds a FinetuningStage's network, not a bare backend"):
        backend_of(read_exported("--start-backend", folders["reference"]))
    with pytest.raises(FileNotFoundError, match=r"--start-backend /nowhere has no config\.json"):
        read_exported("--start-backend", "/nowhere")


def test_a_command_trains_no_separator_of_that_source_and_says_which_arms_start_where(options, folders):
    started = replace(options, start_separator=folders["separator"], start_backend=folders["bare"])
    made = command(started)
    assert {stage.kind.name for stage in made.graph} == {"classification", "finetuning"}
    factors = {arm.name: arm.trial.factors for arm in made.study.arms}
    assert factors["reference"]["separators"] == "exported" and factors["source=none"]["separators"] == "per seed"
    assert {one["weights"] for one in factors.values()} == {"exported"}
    labels = [stage.label for stage in made.graph]
    assert any("separators exported" in label and "weights exported" in label for label in labels)
    assert made.store.read_input(made.resolved.recipe.start_separator.sha256)


def test_a_start_that_no_arm_can_use_is_refused_before_anything_is_made(options, folders):
    arm = Arm(name="bare", trial=bare_trial(REFERENCE))
    with pytest.raises(ValueError, match=r"--start-separator .* is for source 'vocals'; the arms have: $"):
        command(replace(options, start_separator=folders["separator"]), arm)
    with pytest.raises(ValueError, match="no separator is given: --start-separator"):
        command(options, Arm(name="given", trial=replace(REFERENCE, separators="exported")))
    with pytest.raises(ValueError, match="no backend is given: --start-backend"):
        command(options, Arm(name="given", trial=replace(bare_trial(REFERENCE), weights="exported")))
    with pytest.raises(ValueError, match="a random U-Net is not exported"):
        Trial(source="none", separators="exported")
