"""A draw depends on its address and on nothing else."""

import numpy as np
import pytest
import torch

from components.random_streams import numpy_generator, torch_generator

ADDRESSES = [
    (0, "crop"),
    (1, "crop"),
    (0, "order"),
    (0, "crop", 0),
    (0, "crop", 1, 12),
    (0, "crop", 11, 2),
    (0, "crop", 1, 1, 2),
    (0, "crop", "head.weight"),
]


def from_numpy(*address):
    return numpy_generator(*address).random()


def from_torch(*address):
    return torch.rand((), generator=torch_generator(*address), dtype=torch.float64).item()


@pytest.mark.parametrize("draw", [from_numpy, from_torch])
class TestBoth:
    def test_equal_addresses_draw_alike_and_others_do_not(self, draw):
        draws = [draw(*address) for address in ADDRESSES]
        assert draws == [draw(*address) for address in reversed(ADDRESSES)][::-1]
        assert len(set(draws)) == len(ADDRESSES)

    def test_draws_are_spread_evenly(self, draw):
        draws = np.array([draw(0, "spread", position) for position in range(2000)])
        counts = np.histogram(draws, bins=10, range=(0, 1))[0]
        assert ((counts > 140) & (counts < 260)).all()
        assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.1

    def test_the_global_generators_neither_matter_nor_move(self, draw):
        np.random.seed(3)
        torch.manual_seed(3)
        before = torch.get_rng_state(), draw(0, "crop")
        assert torch.equal(before[0], torch.get_rng_state())
        torch.manual_seed(4)
        assert draw(0, "crop") == before[1]


def test_the_draws_of_an_address_never_change():
    """Every result ever stored was drawn by these; another number here is another meaning of every seed."""
    assert from_numpy(7, "crop", 3, "x") == 0.6787212847774924
    assert from_torch(7, "crop", 3, "x") == 0.988199232067387
