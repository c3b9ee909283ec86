"""What several test modules use and no fixture is."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil

from helpers import files, registry, runs, tasks
from helpers.convert import tflite
from helpers.frameworks import keras as framework

PROJECT = Path(__file__).resolve().parents[1]
QUICK = {"latency_seconds": 1.0}
"""Parameters of a run that is only needed to be there."""
QUICKLY = [word for name, value in QUICK.items() for word in ("-p", f"{name}={value}")]
STRACE = ["strace", "--follow-forks", "--seccomp-bpf", "--trace=connect"]


def train(study, training, validation, **options):
    """Train a study's first model, as notebook 02 does; returns it and its history."""
    build = study.models[study.model_name("default")].build
    return framework.train(
        build, study.schema, tasks.get(study.task), training, validation, **options
    )


def workbench(
    *arguments: str, home: Path | None = None, before: list[str] = ()
) -> subprocess.CompletedProcess:
    """The command line in a process of its own; `before` is what runs it (strace)."""
    environment = {**os.environ, **({"WORKBENCH_HOME": str(home)} if home else {})}
    command = [*before, sys.executable, "-m", "helpers.cli", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def servers(place: Path) -> list[psutil.Process]:
    """Fork servers with their socket at `place` or in that folder. What they forked has the same
    command line.
    """
    found = [
        p
        for p in psutil.process_iter(["cmdline"])
        if any(str(place) in word for word in p.info["cmdline"] or [])
    ]
    lines, result = {process.pid: process.info["cmdline"] for process in found}, []
    for process in found:
        with suppress(psutil.NoSuchProcess):
            if lines.get(process.ppid()) != process.info["cmdline"]:
                result.append(process)
    return result


def code_cells(notebook: Path) -> list[dict]:
    """The code cells of a stored notebook."""
    return [
        cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"
    ]


def replace_recorded(run: runs.Run, file: str, content: bytes) -> None:
    """Put other bytes in place of a recorded file and make the record believe them, as a wrong
    converter would.
    """
    path = run.folder / file
    old, _ = files.sha256(path), path.write_bytes(content)
    with run.edit() as record:
        for stage in record["stages"].values():
            for kind in ("inputs", "outputs"):
                if stage[kind].get(file) == old:
                    stage[kind][file] = files.sha256(path)


def planted(source: Path, path: Path, number: int, change: Callable) -> Path:
    """A copy of a ``.tflite`` file in which one layer has the weights that `change` makes of its
    own, ``(n,)``.
    """
    model = tflite._read(source.read_bytes())
    graph = model.subgraphs[0]
    ends = [operator.inputs for operator in graph.operators if len(operator.inputs) == 3]
    buffers = [model.buffers[graph.tensors[inputs[1]].buffer] for inputs in ends]
    buffer = [buffer for buffer in buffers if buffer.data is not None][number]
    weights = change(np.frombuffer(bytes(bytearray(buffer.data)), np.float32).copy())
    buffer.data = np.frombuffer(weights.tobytes(), np.uint8)
    path.write_bytes(tflite._packed(model))
    return path


def larger(weights: np.ndarray, times: float = 1.05) -> np.ndarray:
    """Weights of which the largest is larger still."""
    weights[np.abs(weights).argmax()] *= times
    return weights


class Scoring:
    """A runtime with one output whose values a test computes in `score`."""

    schema = registry.get("ranking").schema

    def predict(self, inputs):
        return {self.schema.output.name: self.score(inputs)}

    predict_at_once = predict


def random_inputs(schema, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {t.name: rng.standard_normal((rows, *t.shape), dtype=np.float32) for t in schema.inputs}
