"""A stage's work is what torch counts while the stage runs."""

from dataclasses import replace

import pytest
from torch.utils.flop_counter import FlopCounterMode

from study.design.trial import bare_trial, probe_trial
from study.design.trial_to_stages import final_stage
from study.kinds.held_out_test import TEST, TestStage
from study.stages.stage import Stage
from tests.study.toy_study import REFERENCE, Bench, open_all, recipe, write_corpora

pytestmark = pytest.mark.usefixtures("one_thread")
TRIALS = {
    "frozen": REFERENCE,
    "finetuned": replace(REFERENCE, unet="finetuned"),
    "bare": bare_trial(REFERENCE),
    "probe": probe_trial(REFERENCE, "vocals", ("mixture", "estimates")),
}


@pytest.mark.parametrize("name", [*TRIALS, "separation", "test"])
def test_work_is_what_torch_counts(name, tmp_path):
    folders = write_corpora(tmp_path)
    stage = final_stage(TRIALS.get(name, REFERENCE), 0, recipe(), open_all(folders))
    if name == "separation":
        stage = stage.parents["separator"]
    if name == "test":
        stage = Stage(
            kind=TEST, config=TestStage(seed=0, trained=stage.config), corpus=stage.corpus, parents={"trained": stage}
        )
    bench = Bench(folders)
    for parent in stage.parents.values():
        bench.result(parent)
    with FlopCounterMode(display=False) as counter:
        bench.result(stage)

    assert stage.kind.work is not None
    found = stage.kind.work(stage.config, bench.places[stage.corpus])
    assert found == pytest.approx(counter.get_total_flops(), rel=0.25)
