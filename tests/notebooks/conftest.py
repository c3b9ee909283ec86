"""Each numbered notebook, and a copy of the project with a study of a test's own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import PROJECT, QUICKLY

from helpers import notebooks


@pytest.fixture(params=notebooks.numbered().values(), ids=lambda path: path.stem)
def notebook(request) -> Path:
    return request.param


@pytest.fixture
def workbench_with(tmp_path, home):
    """A function that writes a study into a copy of the project and runs it there; returns what
    that printed.
    """
    project = tmp_path / "project"
    for name in ("src", "notebooks"):
        shutil.copytree(
            PROJECT / name,
            project / name,
            ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"),
        )
    shutil.copy(PROJECT / "pyproject.toml", project)
    environment = {**os.environ, "PYTHONPATH": str(project / "src"), "WORKBENCH_HOME": str(home)}

    def execute(name: str, study: str, *arguments: str, run: str = "r") -> str:
        (project / f"src/helpers/studies/{name}.py").write_text(study)
        command = [
            sys.executable,
            "-m",
            "helpers.cli",
            "run",
            name,
            *QUICKLY,
            *arguments,
            "--run",
            run,
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return execute
