"""Each numbered notebook, and a run of a study of a test's own."""

from pathlib import Path

import pytest
from support import QUICKLY, workbench

from helpers import notebooks


@pytest.fixture(params=notebooks.numbered().values(), ids=lambda path: path.stem)
def notebook(request) -> Path:
    return request.param


@pytest.fixture
def workbench_with(tmp_path, home):
    """A function that writes a study's file and runs it; returns what that printed."""

    def execute(name: str, study: str, *arguments: str, run: str = "r") -> str:
        file = tmp_path / f"{name}.py"
        file.write_text(study)
        done = workbench("run", str(file), *QUICKLY, *arguments, "--run", run, home=home)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return execute
