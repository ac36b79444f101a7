"""Windows over a waveform that comes block by block."""

import numpy as np
import pytest

from components.corpora.windows import windows

SONG = np.arange(103, dtype=np.float32)


@pytest.mark.parametrize("sizes", [[103], [1] * 103, [50, 53], [7, 0, 96]])
@pytest.mark.parametrize(("num_samples", "hop"), [(10, 10), (10, 3), (4, 4), (103, 1)])
def test_every_whole_window_in_its_place_however_the_blocks_fall(sizes, num_samples, hop):
    blocks = np.split(SONG, np.cumsum(sizes)[:-1])
    found = list(windows(blocks, num_samples, hop))
    starts = range(0, len(SONG) - num_samples + 1, hop)
    np.testing.assert_array_equal(np.stack(found), np.stack([SONG[start : start + num_samples] for start in starts]))


def test_what_is_too_short_has_no_window():
    assert list(windows([SONG[:50], SONG[50:]], 104, 1)) == []
