"""The paper's way to count."""

from torch import nn

from components.networks.parameter_counts import num_parameters, num_trainable


def test_running_statistics_count_and_their_number_of_batches_does_not():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    module.register_buffer("window", nn.Parameter().new_zeros(9))
    assert num_trainable(module) == 3 * 4 + 4 + 2 * 4
    assert num_parameters(module) == num_trainable(module) + 2 * 4
