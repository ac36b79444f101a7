"""What a stage needs of a GPU's memory, as far as a CPU can tell: what it grows with, and by how much."""

from dataclasses import replace

import pytest

from components.corpora.corpus import Corpus
from components.networks.parameter_counts import num_parameters
from components.networks.separator import Separator
from study.cluster.execution import Execution, Resources
from study.command import gpu_memory
from study.design.trial import bare_trial
from study.design.trial_to_stages import final_stage
from study.kinds.arithmetic import Arithmetic
from study.kinds.memory import OTHER_BYTES
from study.stages.stage import Stage
from tests.study.toy_study import REFERENCE, Bench, open_all, recipe, write_corpora

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def stages(tmp_path_factory) -> tuple[dict[str, Stage], dict[str, str]]:
    folders = write_corpora(tmp_path_factory.mktemp("corpora"))
    trials = {"frozen": REFERENCE, "finetuned": replace(REFERENCE, unet="finetuned"), "bare": bare_trial(REFERENCE)}
    found = {name: final_stage(trial, 0, recipe(), open_all(folders)) for name, trial in trials.items()}
    found["separation"] = found["frozen"].parents["separator"]
    return found, Bench(folders).places


def memory_of(stage: Stage, places: dict[str, str], *, num_workers: int = 1, features: int = 0, **changed) -> int:
    assert stage.kind.memory is not None
    return stage.kind.memory(replace(stage.config, **changed), places[stage.corpus], num_workers, features)


@pytest.mark.parametrize("name", ["frozen", "finetuned", "bare", "separation"])
def test_what_a_step_keeps_grows_with_each_workers_share_of_the_batch(name, stages):
    stage, places = stages[0][name], stages[1]
    size = stage.config.training.batch_size
    one, two, four = (
        memory_of(stage, places, training=replace(stage.config.training, batch_size=factor * size))
        for factor in (1, 2, 4)
    )
    assert four - two == pytest.approx(2 * (two - one), rel=0.01)
    assert two > one
    doubled = replace(stage.config.training, batch_size=2 * size)
    assert memory_of(stage, places, num_workers=2, training=doubled) == one


def test_separation_needs_weights_gradients_moments_and_its_corpus(stages):
    stage, places = stages[0]["separation"], stages[1]
    weights = 4 * num_parameters(Separator(stage.config.separator))
    corpus = Corpus.open(places[stage.corpus]).waveform.nbytes
    size = stage.config.training.batch_size
    one, two = (
        memory_of(stage, places, training=replace(stage.config.training, batch_size=factor * size)) for factor in (1, 2)
    )
    assert one - (two - one) == pytest.approx(5 * weights + corpus + OTHER_BYTES, rel=1e-3)


def test_a_frozen_separator_keeps_less_and_so_does_bf16(stages):
    found, places = stages
    assert memory_of(found["frozen"], places) < memory_of(found["finetuned"], places)
    bf16 = Arithmetic(precision="bf16")
    assert memory_of(found["finetuned"], places, arithmetic=bf16) < memory_of(found["finetuned"], places)


def test_kept_features_count_up_to_their_limit(stages):
    found, places = stages
    grid = replace(found["frozen"].config.segments, grid_samples=1600)
    without, little, much, more = (
        memory_of(found["frozen"], places, features=features, segments=grid) for features in (0, 100, 2**30, 2**31)
    )
    assert little == without + 100
    assert without < much == more


def test_the_largest_need_and_that_of_all_who_share_a_gpu_are_said(stages):
    found, places = stages
    execution = Execution(storage="", default_resources=Resources(gpus_per_worker=0.25))
    (line,) = gpu_memory.lines(found.values(), execution, places)
    assert line.startswith("GPU memory: a stage needs up to about 0.5 GiB (") and "up to about 2." in line
    assert list(gpu_memory.lines(found.values(), Execution(storage=""), places)) == []
