"""Imports go down the staircase only: experiments, study, components; and the study's engine knows nothing of music."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLOORS = ("components", "study", "experiments")
# What pictures would need as well as music; the study's other modules stand above it and are closed to it.
ENGINE_NAMES = (
    "stage identity storage store attempt derive record_schemas records site stage_log scheduler worker cluster "
    "tensorboard spreading progress query provenance statistics power factorial track_statistics track_bootstrap "
    "measured comparisons search.halving"
)
ENGINE = {f"study.{name}" for name in ENGINE_NAMES.split()}
KNOW_RAY = {"study.cluster", "study.scheduler", "study.spreading", "study.worker", "study.search.halving"}


def imports(source: str, package: str) -> Iterator[str]:
    """Every module that a text imports, anywhere in it, also by hand; `package` is what a leading dot stands for."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from (argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))


def modules(floor: str) -> dict[str, set[str]]:
    """What each module of a floor imports."""
    found = {}
    for path in sorted((ROOT / floor).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        package = ".".join(parts[:-1])
        name = package if parts[-1] == "__init__" else ".".join(parts)
        found[name] = set(imports(path.read_text(encoding="utf-8"), package))
    return found


IMPORTS = {name: found for floor in FLOORS for name, found in modules(floor).items()}


def breaches(importers: set[str], forbidden: set[str]) -> list[str]:
    """Imports of the forbidden packages or modules, or of anything in them."""
    return [
        f"{importer} imports {imported}"
        for importer in sorted(importers)
        for imported in sorted(IMPORTS[importer])
        if any(imported == name or imported.startswith(f"{name}.") for name in forbidden)
    ]


def of(floor: str) -> set[str]:
    return {name for name in IMPORTS if name.split(".")[0] == floor}


def test_imports_are_found_wherever_they_stand():
    source = (
        "import a.b\nfrom c import d\nfrom . import e\nfrom ..f import g\n"
        "def h():\n    from i import j\n    importlib.import_module('k')\n    __import__('l.m')\n"
    )
    expected = {"a.b", "c", "c.d", "x.y", "x.y.e", "x.f", "x.f.g", "i", "i.j", "k", "l.m"}
    assert set(imports(source, "x.y")) == expected


def test_the_floors_are_there():
    assert {"components.training", "components.corpora.generated.song", "study.stage", "experiments.ablation"} <= set(
        IMPORTS
    )


def test_components_import_neither_the_study_nor_its_tools():
    assert breaches(of("components"), {"study", "experiments", "ray", "optuna", "duckdb"}) == []


def test_the_study_does_not_import_the_questions():
    assert breaches(of("study"), {"experiments"}) == []


def test_nothing_imports_tests():
    assert breaches(set(IMPORTS), {"tests", "pytest"}) == []


def test_only_few_modules_know_ray():
    assert breaches(set(IMPORTS) - KNOW_RAY, {"ray"}) == []


def test_the_engine_knows_nothing_of_music():
    study_proper = of("study") - ENGINE - {"study"}
    assert {"study.trial", "study.kinds", "study.design", "study.corpora", "study.command"} <= study_proper
    assert breaches(ENGINE, {"components", *study_proper}) == []


BLOCKED = """
import sys

BLOCKED = ("ray", "optuna", "duckdb", "study", "experiments")

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
sys.path[:0] = sys.argv[1:3]

from pathlib import Path
from components.classification import ClassificationObjective, SegmentConfig
from components.training import Training
import tiny

folder = Path(sys.argv[3])
songs, tags = tiny.separation_corpus(folder / "songs"), tiny.labelled_corpus(folder / "tags")
objectives = (
    tiny.separation(songs),
    ClassificationObjective(tiny.classifier(), tags, segments=SegmentConfig()),
    ClassificationObjective(tiny.joint(), tags, segments=SegmentConfig(), freeze_separator=True),
)
for objective in objectives:
    training = Training(objective, tiny.adam(batch_size=4, steps_per_epoch=2), seed=0)
    training.run()
    print(type(objective).__name__, training.position.step, training.position.best_value)

assert not [name for name in sys.modules if name.split(".")[0] in BLOCKED]
try:
    import ray
except ImportError as error:
    print(error)
"""


def test_components_train_where_ray_is_not_installed(tmp_path):
    command = [sys.executable, "-c", BLOCKED, str(ROOT), str(ROOT / "tests" / "components"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["SeparationObjective", "2"],
        ["ClassificationObjective", "2"],
        ["ClassificationObjective", "2"],
    ]
    assert last == "ray is blocked"
