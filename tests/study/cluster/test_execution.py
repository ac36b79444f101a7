"""Where and with what stages run is checked, and no identity knows of it."""

import dataclasses

import pytest

from study.cluster.execution import Execution, Resources, default_storage
from study.command.options import Options, corpora_folder
from study.design.trial_to_stages import final_stage
from study.stages.identity import canonical, to_json
from tests.study.toy_study import REFERENCE, corpora_in_name, recipe


def test_resources_by_kind_and_for_all_others():
    two, one = Resources(num_workers=2, cpus_per_worker=3), Resources()
    execution = Execution(storage="/store", resources={"separation": two})
    assert execution.resources_of("separation") == two and execution.resources_of("finetuning") == one
    assert two.total == {"CPU": 6, "GPU": 0}
    assert Resources(num_workers=2, gpus_per_worker=1.0).total == {"CPU": 2, "GPU": 2}
    assert str(two) == "2 worker(s) x 3 CPU"
    assert str(Resources(gpus_per_worker=0.5)) == "1 worker(s) x 1 CPU and 0.5 GPU"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_workers": 0}, r"Resources\.num_workers is 0; it must be at least 1"),
        ({"cpus_per_worker": 0}, r"Resources\.cpus_per_worker is 0"),
        ({"gpus_per_worker": -1.0}, r"Resources\.gpus_per_worker is -1\.0"),
        ({"num_workers": 2, "gpus_per_worker": 0.5}, "NCCL refuses two workers on one GPU"),
    ],
)
def test_impossible_resources_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Resources(**fields)


def test_hanging_at_once_is_refused():
    with pytest.raises(ValueError, match=r"Execution\.hung_after_s is 0"):
        Execution(storage="/store", hung_after_s=0)


def test_an_option_that_is_gone_says_so():
    with pytest.raises(ValueError, match="--stages-per-trial is gone"):
        Options(stages_per_trial=16)


def test_options_become_the_site():
    options = Options(
        workers=2,
        cpus_per_worker=3,
        gpus_per_worker=1.0,
        max_cpus=8,
        max_gpus=4,
        checkpoint_every_s=5.0,
        hung_after_s=60.0,
    )
    execution = options.execution("/store", {"d1": "/corpus"})
    assert execution.storage == "/store" and execution.corpora == {"d1": "/corpus"}
    assert execution.resources_of("any") == Resources(num_workers=2, cpus_per_worker=3, gpus_per_worker=1.0)
    assert (execution.max_cpus, execution.max_gpus) == (8, 4)
    assert (execution.checkpoint_every_s, execution.hung_after_s) == (5.0, 60.0)


def test_arithmetic_follows_the_machine_unless_it_is_asked_for(monkeypatch):
    for has_bf16, expected in ((True, "bf16"), (False, "float32")):
        monkeypatch.setattr("study.command.options._cpu_has_bf16", lambda has_bf16=has_bf16: has_bf16)
        assert Options().arithmetic().precision == expected
        assert Options(precision="float32").arithmetic().precision == "float32"
        assert Options(precision="bf16").arithmetic().precision == "bf16"
        on_gpu = Options(gpus_per_worker=1.0).arithmetic()
        assert (on_gpu.precision, on_gpu.batch_norm) == ("bf16", "synchronised")
    assert Options().arithmetic().batch_norm == "local"


def test_no_seeds_are_refused():
    with pytest.raises(ValueError, match="--first-seed is -1; give 0 to 2147483647"):
        Options(first_seed=-1)
    with pytest.raises(ValueError, match="--seeds is 0; give at least 1"):
        Options(seeds=0)


def test_no_configuration_holds_a_fact_of_the_site():
    stage = final_stage(REFERENCE, 0, recipe(), corpora_in_name())
    names = {field.name for cls in (Execution, Resources) for field in dataclasses.fields(cls)}
    for each in (stage, *stage.parents.values()):
        text = to_json(canonical(each.config))
        assert not [name for name in names if f'"{name}"' in text]


def test_storage_has_a_default(monkeypatch):
    monkeypatch.delenv("STUDY_STORAGE", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert default_storage("demo") == "/home/somebody/studies/demo"
    monkeypatch.setenv("STUDY_STORAGE", "s3://lab/study")
    assert default_storage("demo") == "s3://lab/study"


def test_corpora_are_generated_in_the_store_unless_it_is_a_bucket():
    assert str(corpora_folder("/shared/study")) == "/shared/study/corpora"
    with pytest.raises(ValueError, match="--storage s3://lab/study is no folder: give the corpora's folders"):
        corpora_folder("s3://lab/study")
