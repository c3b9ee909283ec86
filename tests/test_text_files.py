"""Text files are UTF-8 and JSON is JSON, whatever the locale says and a metric is."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from helpers import code, files


def _calls() -> Iterator[tuple[str, ast.Call, str]]:
    """Every call in the package: where, what, and the name of the function."""
    for path in sorted(code.FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path.name}:{node.lineno}", node, ast.unparse(node.func)


def test_every_text_file_is_read_and_written_as_utf_8():
    wrong = []
    for where, call, name in _calls():
        text = name.endswith((".read_text", ".write_text"))
        if name in ("open", "os.fdopen", "io.open") or name.endswith("NamedTemporaryFile"):
            mode = [a.value for a in call.args[1:2] if isinstance(a, ast.Constant)]
            text = (
                not (name.endswith("File") or len(call.args) > 1 and not mode)
                and "b" not in (mode or ["r"])[0]
            )
        if text and not any(word.arg == "encoding" for word in call.keywords):
            wrong.append(where)
    assert wrong == []


def test_what_is_no_number_is_refused_where_json_is_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


def test_records_pages_and_sweep_files_do_not_depend_on_the_locale(tmp_path, home):
    script = """
from pathlib import Path
from helpers import report, results, runs
from helpers.sweeps import plan
stage = runs.Stage("06_device_bundle", study="ranking", run="a", version="für Ärzte")
with stage.output("a.txt") as path:
    path.write_bytes(b"a")
stage.finish(bytes=1)
report.write(stage.run)
report.write_index("ranking")
plan.read(Path("sweep.yaml"))
"""
    (tmp_path / "sweep.yaml").write_text(
        'study: ranking\nlist: [{version: "für Ärzte"}]', encoding="utf-8"
    )
    locale = {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "utf-8",
    }
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    command = [sys.executable, "script.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **locale}, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    folder = home / "artifacts/ranking/a"
    assert "für Ärzte" in (folder / "report.html").read_text(encoding="utf-8")
    assert json.loads((folder / "run.json").read_bytes())["parameters"]["version"] == "für Ärzte"
