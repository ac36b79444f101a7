"""Draws by name, and copies by name."""

import math

import pytest
import torch
from torch import nn

from components.networks.initialisation import initialise, load_strictly, submodule_state, widen_first_convolution


def network(num_layers=2):
    return nn.Sequential(
        *(nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)) for _ in range(num_layers)), nn.LayerNorm(5)
    )


def drawn(seed=0, stream="backend", **options):
    module = network()
    initialise(module, seed, stream, **options)
    return module.state_dict()


def test_weights_are_glorot_uniform_biases_zero_and_norms_neutral():
    module = nn.Sequential(nn.Linear(300, 200), nn.BatchNorm1d(200))
    nn.init.constant_(module[1].weight, 7)
    module[1].running_mean.fill_(7)
    initialise(module, 0, "x")
    limit = math.sqrt(6 / 500)
    weight = module[0].weight
    assert weight.abs().max() <= limit and weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.01)
    assert not module[0].bias.any()
    assert (module[1].weight == 1).all() and not module[1].bias.any() and not module[1].running_mean.any()


@pytest.mark.parametrize("std", [0.0, 0.01])
def test_weights_may_be_normal(std):
    module = nn.Conv2d(64, 64, 1)
    initialise(module, 0, "adapters", std=std)
    assert module.weight.std().item() == pytest.approx(std, rel=0.05)
    assert not module.bias.any()


def test_seed_and_stream_and_name_address_the_draw():
    first, again = drawn(), drawn()
    assert all(torch.equal(first[name], again[name]) for name in first)
    for other in (drawn(seed=1), drawn(stream="unet")):
        assert not torch.equal(first["0.0.weight"], other["0.0.weight"])
    assert not torch.equal(first["0.0.weight"], first["1.0.weight"])


def test_one_module_more_moves_no_other_draw():
    longer = network(num_layers=4)
    initialise(longer, 0, "backend")
    state = longer.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in drawn().items() if name[0] in "01")


def test_draws_do_not_depend_on_precision():
    exact = network().double()
    initialise(exact, 0, "backend")
    assert all(torch.equal(tensor, exact.state_dict()[name].to(tensor.dtype)) for name, tensor in drawn().items())


def test_draws_do_not_touch_the_global_generator():
    module = network()
    before = torch.get_rng_state()
    initialise(module, 0, "backend")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_layer_without_a_rule_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'1.weight' of a Embedding"):
        initialise(nn.Sequential(nn.Linear(2, 2), nn.Embedding(2, 2)), 0, "x")


def test_loading_copies_every_tensor():
    module = network()
    state = drawn(seed=3)
    load_strictly(module, state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"1.0.weight": None}, "no tensor '1.0.weight', which Sequential needs"),
        ({"1.0.bias": torch.zeros(3)}, r"'1.0.bias' is \(3,\) in the state and \(4,\) in Sequential"),
        ({"head.weight": torch.zeros(3)}, "a tensor 'head.weight', which Sequential has not"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_is_copied(changed, message):
    module = network()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = {name: tensor for name, tensor in {**drawn(), **changed}.items() if tensor is not None}
    with pytest.raises(ValueError, match=message):
        load_strictly(module, state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_a_part_of_a_state_has_its_prefix_cut_off():
    state = {"backend.head.weight": torch.ones(1), "backend2.bias": torch.ones(1)}
    assert list(submodule_state(state, "backend")) == ["head.weight"]
    with pytest.raises(ValueError, match=r"under 'separator\.'"):
        submodule_state(state, "separator")


def test_widening_tiles_the_kernel_and_keeps_the_rest():
    state = {"first": torch.randn(4, 1, 3, 3), "other": torch.randn(4)}
    wide = widen_first_convolution(state, "first", 3)
    assert wide["first"].shape == (4, 3, 3, 3)
    assert all(torch.equal(wide["first"][:, [channel]], state["first"]) for channel in range(3))
    assert wide["other"] is state["other"]


@pytest.mark.parametrize("name", ["other", "missing", "wide"])
def test_only_a_kernel_of_one_channel_can_be_widened(name):
    with pytest.raises(ValueError, match=name):
        widen_first_convolution({"other": torch.ones(4), "wide": torch.ones(4, 2, 3, 3)}, name, 3)
