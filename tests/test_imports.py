"""What is imported when, and that imports run downwards."""

import ast
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import helpers

SOURCE = Path(__file__).resolve().parents[1] / "src" / "helpers"
NOTEBOOKS = SOURCE.parents[1] / "notebooks"
FLOORS = [
    {"captions", "colours", "errors", "figures", "layers", "quiet", "terminal"},
    {"files"},
    {"code", "forks", "parameters", "schema", "strict_json"},
    {
        "child",
        "environment",
        "features",
        "kernels",
        "metrics",
        "pictures",
        "ratings",
        "records",
        "tables",
    },
    {"runs", "tasks"},
    {"studies", "runtimes", "trained"},
    {"simulation", "log_files", "evaluation", "overlap", "registry"},
    {"arrays", "leaks", "logs", "pictured", "rated"},
    {"datasets"},
    {"convert", "plots"},
    {"frameworks", "learning"},
    {"results", "notebooks", "pages", "tracking", "bundle", "judging", "repeats"},
    {"glance", "points"},
    {"explain", "ondevice", "report", "own", "serving"},
    {"compared"},
    {"pipeline"},
    {"sweeps"},
    {"cli"},
]
"""Ground floor first; a module imports from floors below, and from its own package."""
LIGHT = [
    "runs",
    "studies",
    "features",
    "simulation",
    "overlap",
    "leaks",
    "datasets",
    "frameworks",
    "learning.ranking",
    "learning.classification",
    "studies.feed",
    "studies.feed.split",
    "studies.images",
    "pictured",
    "pictures",
    "bundle.client",
    "bundle.native",
    "ondevice.bundle",
    "convert.tflite",
    "convert.mnn",
    "evaluation.parity",
    "evaluation.latency",
    "evaluation.latency_statistics",
    "notebooks",
    "serving.app",
    "serving.server",
    "pages",
    "report",
    "pipeline",
    "cli",
]
"""Modules that import nothing heavy."""


def _python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def _seconds(code: str) -> float:
    def once() -> float:
        start = time.perf_counter()
        _python(code)
        return time.perf_counter() - start

    return min(once() for _ in range(5))


def test_importing_helpers_takes_under_three_tenths_of_a_second():
    assert _seconds("import helpers") - _seconds("pass") < 0.3


def test_tensorflow_computes_without_onednn_whoever_imports_it():
    """Keras may be imported before `helpers.quiet.tensorflow` is called; TensorFlow before helpers
    is told.
    """
    environment = {
        name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"
    }
    look = "import os, helpers.quiet; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    first = "import sys; sys.modules['tensorflow'] = sys\n"

    def run(code: str, **more: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment | more
        )

    assert run(look).stdout.split() == ["0"]
    assert run(look).stderr == ""
    assert run(look, TF_ENABLE_ONEDNN_OPTS="1").stdout.split() == ["1"]
    assert "imported before helpers and computes with oneDNN" in run(first + look).stderr


def test_no_module_imports_tensorflow_or_mnn_when_imported():
    """All in one process: the first that does is named."""
    heavy = ("tensorflow", "keras", "MNN", "_tools", "sklearn", "torch", "PIL", "bokeh", "itables")
    code = f"""
import importlib, sys
for name in {LIGHT}:
    importlib.import_module("helpers." + name)
    if found := [module for module in {heavy} if module in sys.modules]:
        sys.exit(f"helpers.{{name}} imports {{found}}")
"""
    _python(code)


def _floor(module: str) -> int:
    return next(i for i, names in enumerate(FLOORS) if module in names)


def test_every_module_has_a_floor():
    found = {
        path.stem if path.is_file() else path.name
        for path in SOURCE.iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert found - {"__init__"} == set().union(*FLOORS)


def test_the_package_says_on_which_floor_a_module_is():
    entries = re.findall(r"^\d+\. (.*?):", helpers.__doc__, re.DOTALL | re.MULTILINE)
    assert [set(re.findall(r"``(\w+)``", entry)) for entry in entries] == FLOORS


def test_imports_run_downwards():
    wrong = []
    for path in SOURCE.rglob("*.py"):
        here = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if here == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module
                and node.module.split(".")[0] == "helpers"
            ):
                parts = node.module.split(".")
                targets = (
                    [parts[1]]
                    if len(parts) > 1
                    else [alias.name for alias in node.names if not alias.name.startswith("__")]
                )
                wrong += [
                    f"{path.name} imports {t}"
                    for t in targets
                    if t != here and _floor(t) >= _floor(here)
                ]
    assert wrong == []


def test_no_stage_runtime_or_report_names_a_study():
    from helpers import registry, tasks

    assert "ranking" in tasks.NAMES, "a study and a task of one name"
    for path in SOURCE.rglob("*.py"):
        if "studies" not in path.parts and path.name != "cli.py":
            words = {
                node.value
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Constant)
            }
            assert not words & (set(registry.names()) - set(tasks.NAMES)), path
    for path in NOTEBOOKS.glob("0[1-6]_*.ipynb"):
        cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
        for cell in cells:
            if "parameters" not in cell["metadata"].get("tags", []):
                source = "".join(cell["source"])
                assert not any(
                    f'"{name}"' in source for name in set(registry.names()) - set(tasks.NAMES)
                ), path
