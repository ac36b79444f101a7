"""Imports go down only: experiments, study, components, and within these from room to room."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

from tests import ROOT

FLOORS = ("components", "study", "experiments")
# Each room imports those before it alone. The first six would do for pictures as well; the others know music.
ROOMS = {
    "components": ("random_streams", "corpora", "networks", "training", "objectives"),
    "study": (
        *("stages", "store", "records", "upkeep", "statistics", "cluster"),
        *("corpora", "kinds", "design", "search", "report", "use", "command"),
    ),
}
ENGINE = {"stages", "store", "records", "upkeep", "statistics", "cluster"}
# Where tools live that nobody else needs to know.
OWNERS = {"ray": {"cluster"}, "optuna": {"search", "report", "command"}, "tyro": {"command"}, "duckdb": {"records"}}


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


def room_of(module: str) -> str:
    return module.split(".")[1]


def climbing(floor: str) -> list[str]:
    """Imports of a room that stands above the importer's, both ends named."""
    order = ROOMS[floor]
    return [
        f"{importer} imports {imported}: {room_of(importer)} stands below {room_of(imported)}"
        for importer in sorted(of(floor) - {floor})
        for imported in sorted(IMPORTS[importer])
        if imported.startswith(f"{floor}.") and order.index(room_of(imported)) > order.index(room_of(importer))
    ]


def circles() -> list[str]:
    """Chains of modules that import each other."""
    graph = {name: {found for found in IMPORTS[name] if found in IMPORTS} for name in IMPORTS}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return [" imports ".join(reversed(error.args[1]))]
    return []


def test_imports_are_found_wherever_they_stand():
    source = (
        "import a.b\nfrom c import d\nfrom . import e\nfrom ..f import g\n"
        "def h():\n    from i import j\n    importlib.import_module('k')\n    __import__('l.m')\n"
    )
    expected = {"a.b", "c", "c.d", "x.y", "x.y.e", "x.f", "x.f.g", "i", "i.j", "k", "l.m"}
    assert set(imports(source, "x.y")) == expected


def test_the_floors_and_rooms_are_there():
    assert {"components.training.loop", "study.stages.stage", "experiments.ablation"} <= set(IMPORTS)
    for floor, rooms in ROOMS.items():
        assert {room_of(module) for module in of(floor) - {floor}} == set(rooms)


@pytest.mark.parametrize("floor", ROOMS)
def test_no_import_climbs(floor: str):
    assert climbing(floor) == []


def test_no_modules_import_each_other():
    assert circles() == []


def test_what_climbs_or_circles_is_named_at_both_ends(monkeypatch):
    monkeypatch.setitem(IMPORTS, "study.store.locks", {"study.cluster.worker", "study.store.locks"})
    assert climbing("study") == ["study.store.locks imports study.cluster.worker: store stands below cluster"]
    monkeypatch.setitem(IMPORTS, "study.store.locks", {"study.store.attempt"})
    monkeypatch.setitem(IMPORTS, "study.store.storage", {"study.store.locks"})
    assert "study.store.locks imports study.store.attempt" in circles()[0] and len(circles()) == 1


def test_every_room_says_its_purpose_in_one_sentence():
    for floor, rooms in ROOMS.items():
        for room in rooms:
            path = ROOT / floor / room / "__init__.py"
            assert not path.exists() or (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").strip()


def test_components_import_neither_the_study_nor_its_tools():
    assert breaches(of("components"), {"study", "experiments", "ray", "optuna", "duckdb"}) == []


def test_the_study_does_not_import_the_questions():
    assert breaches(of("study"), {"experiments"}) == []


def test_nothing_imports_tests():
    assert breaches(set(IMPORTS), {"tests", "pytest"}) == []


@pytest.mark.parametrize("tool", OWNERS)
def test_only_some_rooms_know_a_tool(tool: str):
    assert breaches({m for m in of("study") if m != "study" and room_of(m) not in OWNERS[tool]}, {tool}) == []


def test_statistics_need_numpy_and_scipy_alone():
    allowed = {"numpy", "scipy", "jaxtyping", "study", *sys.stdlib_module_names}
    used = {found for module in of("study") if "statistics" in module.split(".") for found in IMPORTS[module]}
    assert {name.split(".")[0] for name in used} <= allowed
    assert {room_of(name) for name in used if name.startswith("study.")} == {"statistics"}


def test_the_engine_knows_nothing_of_music():
    engine = {module for module in of("study") - {"study"} if room_of(module) in ENGINE}
    assert breaches(engine, {"components"}) == []


BLOCKED = """
import sys

BLOCKED = ("ray", "optuna", "duckdb", "study", "experiments")

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
sys.path.insert(0, sys.argv[1])

from pathlib import Path
from components.objectives.classification import ClassificationObjective, SegmentConfig
from components.training.loop import Training
from tests.components import tiny

folder = Path(sys.argv[2])
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


# They take long to import: who needs one imports it where it is used.
SLOW = (
    "sklearn",
    "torchmetrics",
    "duckdb",
    "optuna",
    "timm",
    "jinja2",
    "scipy.signal",
    "scipy.stats",
    "torch._inductor",
)


@pytest.mark.parametrize(
    ("modules", "slow"),
    [
        ("experiments.ablation", ("ray", *SLOW)),
        ("study.cluster.worker, study.kinds.finetuning, study.kinds.probe", SLOW),
    ],
    ids=["command", "worker"],
)
def test_what_starts_imports_nothing_slow(modules, slow):
    code = f"import sys, {modules}; print([name for name in {slow!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


def test_components_train_where_ray_is_not_installed(tmp_path):
    command = [sys.executable, "-c", BLOCKED, str(ROOT), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["SeparationObjective", "2"],
        ["ClassificationObjective", "2"],
        ["ClassificationObjective", "2"],
    ]
    assert last == "ray is blocked"
