"""The stage kind that trains nothing: it tests a network that was trained without the test split."""

from dataclasses import dataclass

from components.networks.classifier import Classifier
from components.networks.initialisation import load_strictly
from components.networks.joint_network import JointNetwork
from components.training.checkpoint import weights_from_bytes
from study.kinds.arithmetic import on_device
from study.kinds.classification import ClassificationStage, objective_of, scored_on_test
from study.kinds.finetuning import FinetuningStage
from study.kinds.weights import WEIGHTS
from study.kinds.work import held_out_test_work
from study.stages.stage import StageKind, StageResult, StageRun


@dataclass(frozen=True, kw_only=True)
class TestStage:
    """Configuration of a test of the stage `trained`, with the same `seed`."""

    __test__ = False  # nothing for pytest

    seed: int
    trained: ClassificationStage | FinetuningStage


def _run(run: StageRun) -> StageResult:
    config = run.stage.config.trained
    network = Classifier(config.classifier) if isinstance(config, ClassificationStage) else JointNetwork(config.joint)
    load_strictly(network, weights_from_bytes(run.read("trained", WEIGHTS)))
    metrics, tables = scored_on_test(objective_of(on_device(network, run), config, run), config, run)
    return StageResult(metrics=metrics, tables=tables)


TEST = StageKind(name="test", version=1, run=_run, work=held_out_test_work)
