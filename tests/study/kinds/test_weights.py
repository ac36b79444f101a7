"""ImageNet weights on their way: from the option into the store, into a stage's identity, into a backend."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save

from components.networks import vit_weights
from components.networks.initialisation import initialise
from components.training.checkpoint import weights_from_bytes
from study.design.arms import Arm
from study.design.trial import bare_trial
from study.design.trial_to_stages import final_stage
from study.kinds.weights import WEIGHTS, Weights, add_weights
from study.store.store import Store
from tests.study.toy_command import PRESETS, command, text_of
from tests.study.toy_study import REFERENCE, Bench, open_all, recipe, write_corpora

TRANSFORMER = recipe().backends["ast"].network
AST = replace(REFERENCE, backend="ast", weights="imagenet")


def file_of_weights() -> bytes:
    network = TRANSFORMER.build()
    initialise(network, 5, "images")
    return save({name.removeprefix("transformer."): x.contiguous() for name, x in network.state_dict().items()})


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "vit.safetensors"
    path.write_bytes(file_of_weights())
    return path


def test_name_and_checksum_enter_the_identity_and_the_file_the_store(options, file):
    made = command(replace(options, imagenet_weights=str(file)), Arm(name="ast", trial=AST))
    config = made.runs[0].final_stage.config
    assert config.weights.name == "vit.safetensors"
    assert made.store.read_input(config.weights.sha256) == file.read_bytes()
    assert config.weights.sha256 in str(made.runs[0].final_stage.description)


def test_other_weights_are_another_stage(options, file):
    first = command(replace(options, imagenet_weights=str(file)), Arm(name="ast", trial=AST)).graph.identities
    assert command(replace(options, imagenet_weights=str(file)), Arm(name="ast", trial=AST)).graph.identities == first
    network = TRANSFORMER.build()
    initialise(network, 6, "images")
    file.write_bytes(save({name.removeprefix("transformer."): x for name, x in network.state_dict().items()}))
    assert command(replace(options, imagenet_weights=str(file)), Arm(name="ast", trial=AST)).graph.identities != first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        (b"torn", "vit.safetensors cannot be read"),
        (save({"cls_token": torch.zeros(1, 1, 4)}), "vit.safetensors has no tensor 'pos_embed'"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_before_anything_starts(options, tmp_path, content, message):
    path = tmp_path / "vit.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        command(replace(options, imagenet_weights=str(path)), Arm(name="ast", trial=AST))
    assert Store(options.storage).storage.names("inputs") == []


def test_a_file_that_no_arm_starts_from_is_refused(options, file):
    with pytest.raises(ValueError, match="no arm starts from such weights"):
        command(replace(options, imagenet_weights=str(file)))


def test_without_a_file_the_hub_is_asked_and_its_silence_is_an_error_with_a_way_out(monkeypatch, options):
    def refuse(*arguments):
        raise OSError("no route to the hub")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    with pytest.raises(ValueError, match=r"orig_in21k_ft_in1k cannot be fetched: give .* a file .*no route to the hub"):
        command(options, Arm(name="ast", trial=AST))


def test_a_plan_needs_no_hub(monkeypatch, options):
    def refuse(*arguments):
        raise OSError("no route to the hub")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", refuse)
    planned = command(replace(options, plan=True), Arm(name="ast", trial=AST))
    assert planned.runs[0].final_stage.config.weights.name == vit_weights.HUB_NAME
    with pytest.raises(FileNotFoundError):
        command(replace(options, plan=True, imagenet_weights="/nowhere.npz"), Arm(name="ast", trial=AST))


def test_a_preset_of_another_size_starts_at_random_and_says_so(monkeypatch, options, file):
    monkeypatch.setitem(PRESETS, "small", replace(PRESETS["toy"], imagenet=False))
    small = command(replace(options, preset="small"), Arm(name="ast", trial=AST))
    assert "Preset small: no ImageNet weights of its size exist, backends start at random" in text_of(small)
    assert small.study.arms[0].trial.weights == "random" and small.runs[0].final_stage.config.weights is None
    given = command(replace(options, preset="small", imagenet_weights=str(file)), Arm(name="ast", trial=AST))
    assert given.study.arms[0].trial.weights == "imagenet"


def test_the_hubs_file_is_known_by_the_hubs_name(monkeypatch, file, tmp_path):
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repository, name: str(file))
    found = add_weights(Store(tmp_path / "store"), "", [TRANSFORMER])
    assert found.name == f"{vit_weights.HUB_NAME}/vit.safetensors"


@pytest.mark.parametrize("scheme", ["bare", "two-stage", "three-stage"])
def test_a_backend_starts_from_them(scheme, file, tmp_path):
    folders = write_corpora(tmp_path / "corpora")
    bench, data = Bench(folders), file.read_bytes()
    weights = Weights(name=file.name, sha256=Store(tmp_path / "store").add_input(data))
    bench.inputs[weights.sha256] = data
    trial = bare_trial(AST) if scheme == "bare" else replace(AST, scheme=scheme)
    # A learning rate at which nothing moves: what is left is what it started from.
    still = recipe(weights=weights, backends=standing_still())
    stage = final_stage(trial, 0, still, open_all(folders))
    state = weights_from_bytes(bench.result(stage).files[WEIGHTS])
    kernel = weights_from_bytes(data)["patch_embed.proj.weight"]
    found = state["backend.transformer.patch_embed.proj.weight"]
    torch.testing.assert_close(found, kernel.expand_as(found), atol=1e-6, rtol=0)
    norm = state["backend.transformer.blocks.0.attn.qkv.weight"]
    torch.testing.assert_close(norm, weights_from_bytes(data)["blocks.0.attn.qkv.weight"], atol=1e-6, rtol=0)


def standing_still():
    entry = recipe().backends["ast"]
    phase = replace(entry.training.phases[0], learning_rate=1e-12)
    training = replace(entry.training, phases=(phase,))
    return {"ast": replace(entry, training=training, finetuning=dict.fromkeys(entry.finetuning, training))}
