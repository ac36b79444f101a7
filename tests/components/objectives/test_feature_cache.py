"""A cache changes how often a feature is computed, and nothing else."""

import pytest
import torch

from components.networks.backend import BackendInput
from components.objectives.feature_cache import FeatureCache

BYTES = 4 * (2 * 3 + 5)


class Counted:
    """Features that tell their key, and how often each was computed."""

    def __init__(self, keys):
        self.keys, self.computed = keys, []

    def __call__(self, index):
        key = self.keys[index]
        self.computed.append(key)
        return BackendInput(torch.full((1, 1, 2, 3), float(key)), {4: torch.full((1, 5), -float(key))})


def asked(cache, keys):
    """What the cache gives, checked, and what it had computed for it."""
    compute = Counted(keys)
    features = cache.features(keys, compute)
    assert features.log_mel.shape == (len(keys), 1, 2, 3) and features.maps[4].shape == (len(keys), 5)
    assert features.log_mel[:, 0, 0, 0].tolist() == keys
    assert features.maps[4][:, 0].tolist() == [-key for key in keys]
    return compute.computed


def test_each_segment_is_computed_once_one_at_a_time():
    cache = FeatureCache(10 * BYTES)
    assert asked(cache, [1, 2, 3]) == [1, 2, 3]
    assert asked(cache, [3, 4, 1, 4]) == [4]
    assert cache.num_bytes == 4 * BYTES


@pytest.mark.parametrize(("max_bytes", "num_kept"), [(0, 0), (BYTES - 1, 0), (2 * BYTES, 2), (3 * BYTES - 1, 2)])
def test_what_does_not_fit_is_computed_each_time(max_bytes, num_kept):
    cache = FeatureCache(max_bytes)
    asked(cache, [1, 2, 3])
    assert asked(cache, [1, 2, 3]) == [1, 2, 3][num_kept:]
    assert cache.num_bytes == num_kept * BYTES <= max_bytes


def test_a_batch_is_a_copy():
    cache = FeatureCache(10 * BYTES)
    for keys in ([1], [1, 2]):
        features = cache.features(keys, Counted(keys))
        features.log_mel.fill_(9)
        features.maps[4].fill_(9)
    assert asked(cache, [1, 2]) == []


def test_nothing_is_kept_for_gradients():
    weight = torch.ones(1, requires_grad=True)
    features = FeatureCache(BYTES).features([1], lambda index: BackendInput(weight * torch.ones(1, 1, 2, 3), {}))
    assert not features.log_mel.requires_grad and features.maps == {}


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="max_bytes is -1"):
        FeatureCache(-1)
