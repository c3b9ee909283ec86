"""Kernels that execute notebooks: ours whatever else is called so; they leave nothing behind."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import nbformat
import pytest
from jupyter_client import KernelManager
from nbclient import NotebookClient
from support import servers
from traitlets.config import Config

from helpers import kernels, notebooks, pipeline, runs
from helpers.errors import KernelDied, WorkbenchError
from helpers.forks import server

INTERRUPTED = "workbench: interrupted; the same command continues where it stopped\n"


@pytest.fixture
def decoy(tmp_path, monkeypatch) -> Path:
    """Kernels of another environment, called as ours and first on Jupyter's path; they leave a
    mark.
    """
    mark = tmp_path / "the decoy was started"
    code = f"open({str(mark)!r}, 'w').close()"
    for name in (kernels.NAME, kernels.ORDINARY):
        folder = tmp_path / "elsewhere/kernels" / name
        folder.mkdir(parents=True)
        spec = {"argv": [sys.executable, "-c", code, "{connection_file}"], "language": "python"}
        (folder / "kernel.json").write_text(json.dumps({**spec, "display_name": "decoy"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "elsewhere"))
    manager = KernelManager(kernel_name=kernels.NAME)
    manager.start_kernel()
    manager.provisioner.process.wait(timeout=10)
    manager.shutdown_kernel(now=True)
    assert mark.exists(), "Jupyter itself takes it for ours"
    mark.unlink()
    return mark


def _notebook(folder: Path, *sources: str) -> Path:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    for number, cell in enumerate(cells, start=1):
        cell.execution_count = number
    path = folder / "01_look.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def _print(code: str, name: str = "any") -> str:
    """What `code` prints in a kernel that executes a notebook."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    client = NotebookClient(notebook, kernel_name=name, config=Config(notebooks.KERNEL))
    return client.execute().cells[0]["outputs"][0]["text"].strip()


def test_a_stage_is_executed_by_this_environment_whatever_is_called_so(decoy, home):
    pipeline.run("ranking", "r", {"rows": 200}, chosen="01", echo=lambda line: None)
    assert runs.Run("ranking", "r").record()["stages"]["01_synthetic_data"]["status"] == "done"
    assert not decoy.exists()


def test_stored_outputs_are_checked_by_this_environment_whatever_is_called_so(decoy, tmp_path):
    path = _notebook(tmp_path, "import sys", f"assert sys.prefix == {sys.prefix!r}")
    done = notebooks.check([path])
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout
    assert not decoy.exists()


def test_the_kernel_is_the_packages_with_this_interpreter():
    code = "import sys; print(sys.executable, sys.prefix, 'tensorflow' in sys.modules)"
    assert _print(code) == f"{sys.executable} {sys.prefix} {sys.platform == 'linux'}"


def test_a_kernel_with_other_helpers_is_refused(tmp_path, monkeypatch, home):
    """A kernel looks into its working folder first, where this process does not."""
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers/__init__.py").write_text("__version__ = '0'")
    monkeypatch.chdir(tmp_path)
    refused = f"would run {tmp_path}/helpers/__init__.py.* folder without other"
    with pytest.raises(WorkbenchError, match=refused):
        pipeline.run("ranking", "r", {"rows": 200}, chosen="01", echo=lambda line: None)
    assert runs.Run("ranking", "r").record()["stages"] == {}


def test_a_damaged_specification_is_named(tmp_path, monkeypatch, home):
    monkeypatch.setattr(kernels, "SPECIFICATION", tmp_path)
    (tmp_path / "kernel.json").write_text("{")
    damaged = f"{tmp_path}/kernel.json of kernel 'workbench' is damaged"
    with pytest.raises(WorkbenchError, match=damaged):
        pipeline.run("ranking", "r", {"rows": 200}, chosen="01", echo=lambda line: None)


def test_a_kernel_that_does_not_start_is_named(tmp_path, monkeypatch, home):
    monkeypatch.setattr(kernels, "SPECIFICATION", tmp_path)
    spec = {"argv": ["false", "{connection_file}"], "display_name": "x", "language": "python"}
    (tmp_path / "kernel.json").write_text(json.dumps(spec))
    ended = f"kernel 'workbench' of {tmp_path} ended before it was ready"
    with pytest.raises(KernelDied, match=ended):
        pipeline.run("ranking", "r", {"rows": 200}, chosen="01", echo=lambda line: None)


def test_without_our_provisioner_an_ordinary_kernel_of_this_interpreter_is_started(
    monkeypatch, caplog
):
    from jupyter_client.provisioning import KernelProvisionerFactory

    factory = KernelProvisionerFactory.instance()
    monkeypatch.delitem(factory.provisioners, "workbench-fork", raising=False)
    monkeypatch.setattr(factory, "_get_provisioner", lambda name: 1 / 0)
    code = "import sys; print(sys.executable, 'tensorflow' in sys.modules)"
    assert _print(code) == f"{sys.executable} False"
    assert "workbench-fork is not installed" in caplog.text


def _history(folder: Path) -> list[str]:
    file = folder / "profile_default/history.sqlite"
    if not file.exists():
        return []
    with closing(sqlite3.connect(file)) as database:
        return [source for (source,) in database.execute("select source_raw from history")]


@pytest.mark.slow
def test_what_is_executed_is_not_in_the_users_history(tmp_path, monkeypatch, home):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    manager = KernelManager(kernel_name=kernels.NAME)
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    client.execute_interactive("'typed by the user'", timeout=60)
    client.stop_channels()
    manager.shutdown_kernel()
    before = _history(tmp_path)
    assert before == ["'typed by the user'"], "a kernel that the user opens keeps its history"
    pipeline.run("ranking", "r", {"rows": 200}, chosen="01", echo=lambda line: None)
    (tmp_path / "notebook").mkdir()
    assert notebooks.check([_notebook(tmp_path / "notebook", "x = 1")]).returncode == 0
    assert _history(tmp_path) == before


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """An empty TMPDIR; fork servers are elsewhere."""
    for name in ("temporary", "runtime"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    yield tmp_path / "temporary"
    for process in servers(tmp_path / "runtime"):
        process.kill()


def _left(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if not path.name.startswith("workbench-timing-")]


def _start(home: Path, *arguments: str) -> subprocess.Popen:
    """The command in a process group of its own, as a shell starts it."""
    command = [sys.executable, "-m", "helpers.cli", "run", "ranking", "--run", "r", *arguments]
    environment = {**os.environ, "WORKBENCH_HOME": str(home)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, start_new_session=True, **streams)


@pytest.mark.slow
def test_a_run_leaves_the_temporary_folder_as_it_was(temporary, home):
    process = _start(home, "-p", "rows=400", "-p", "epochs=1", "--stages", "01-03")
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert _left(temporary) == []


def _statuses(home: Path) -> list[str]:
    try:
        record = json.loads((home / "artifacts/ranking/r/run.json").read_text())
    except (OSError, json.JSONDecodeError):
        return []
    return [stage["status"] for stage in record["stages"].values()]


MOMENTS = {
    "it begins": lambda home: (home / "artifacts/ranking/r/.executing").exists(),
    "the fork server starts": lambda home: list(server.folder().glob("*.log")),
    "a cell is executed": lambda home: "running" in _statuses(home),
    "the next stage begins": lambda home: "done" in _statuses(home),
}


@pytest.mark.slow
def test_an_interruption_is_one_line_at_any_moment(temporary, home):
    """As by Ctrl-C on a terminal, which interrupts all of the process group."""
    for moment, after in [
        ("it begins", 0),
        ("the fork server starts", 0.5),
        ("a cell is executed", 0),
        ("a cell is executed", 0.6),
        ("a cell is executed", 1.2),
        ("the next stage begins", 0),
    ]:
        for file in home.rglob("run.json"):
            file.unlink()
        process = _start(home, "-p", "rows=20000")
        while not MOMENTS[moment](home) and process.poll() is None:
            time.sleep(0.02)
        time.sleep(after)
        os.killpg(process.pid, signal.SIGINT)
        started = time.monotonic()
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (130, INTERRUPTED), (moment, after)
        assert time.monotonic() - started < 10, "what a cell may take to end, and no more"
        assert _left(temporary) == [], (moment, after)
