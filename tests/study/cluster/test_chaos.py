"""The campaign of `make chaos` in small: one study, disturbed in five ways."""

import pytest

from tests.chaos.rounds import play

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
SCRIPT = ("tests/study/cluster/two_bare.py", "--preset", "tiny", "--seeds", "1")
KINDS = ("worker", "driver", "trial", "worker, writing a state", "worker, writing a marker")


def test_a_study_that_is_killed_at_random_moments_ends_as_if_undisturbed():
    alone = play(SCRIPT, KINDS, seed=0, most=0, expected=None)
    assert not alone.killed and all(alone.rows[table] for table in ("runs", "epochs", "tag_metrics", "track_scores"))
    assert play(SCRIPT, KINDS, seed=1, most=5, expected=alone.rows).killed
