"""What tests of sweeps share: starting one, reading what it made, and looking for processes that it
left.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
from support import servers

from helpers import runs
from helpers.forks import server
from helpers.sweeps import plan

TWO_WIDTHS = (
    "study: ranking\nstages: 01-02\nbase: {rows: 1000, epochs: 2, seed: 1}\ngrid: {hidden_units: "
    "[4, 8]}\n"
)
FIRST_STAGE = "study: ranking\nstages: '01'\nbase: {rows: 200}\ngrid: {seed: [1, 2, 3]}\n"


def start(file: Path, home: Path, *options: str) -> subprocess.Popen:
    """`workbench sweep` with two workers, in a process of its own."""
    environment = {**os.environ, "WORKBENCH_HOME": str(home)}
    command = [sys.executable, "-m", "helpers.cli", "sweep", str(file), "--workers", "2", *options]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def records(home: Path) -> dict[str, dict]:
    """All run.json by run."""
    return {
        path.parent.name: json.loads(path.read_text())
        for path in home.glob("artifacts/ranking/*/run.json")
    }


def done_stages(home: Path) -> dict[tuple[str, str], str]:
    """When each stage that is done was started, by run and stage."""
    return {
        (name, stage): entry["started"]
        for name, record in records(home).items()
        for stage, entry in record["stages"].items()
        if entry["status"] == "done" and "notebook_sha256" in entry
    }


def check_whole(home: Path, file: Path) -> None:
    """Every run of the file is finished, whole and leaves nothing half-written."""
    made = plan.read(file)
    assert set(records(home)) == set(made.runs)
    for name in made.runs:
        run = runs.Run(made.study, name)
        entries = run.record()["stages"]
        assert [stage[:2] for stage in entries] == list(made.stages)
        for stage, entry in entries.items():
            assert entry["status"] == "done"
            for output in entry["outputs"]:
                run.verified(stage, output)
    assert not list(home.rglob(".partial-*"))


def forked(kind: str = "") -> list[psutil.Process]:
    """Living forks of the servers of one kind of imports, or of all."""
    found = []
    for process in servers(server.folder()):
        try:
            if not kind or kind in process.cmdline():
                found += [
                    child for child in process.children() if child.status() != psutil.STATUS_ZOMBIE
                ]
        except psutil.NoSuchProcess:
            continue
    return found


def forks_ended(seconds: float = 10.0) -> bool:
    """Whether no fork is left, soon."""
    deadline = time.monotonic() + seconds
    while (left := forked()) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in left:
        print("left behind:", process.pid, process.status(), process.cmdline(), process.parent())
    return not left
