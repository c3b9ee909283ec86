"""One interface over the runtimes: open a model file, score named inputs.

`open_model` picks the runtime by the file's suffix. Inputs are bound by name and validated before every call,
because each of these runtimes scores a wrong name order, shape or dtype without an error.
"""

from __future__ import annotations

import importlib
import timeit
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from helpers import child, parameters
from helpers.errors import BadInput, DamagedFile, WorkbenchError
from helpers.schema import Schema

MODULES = {".keras": "keras", ".tflite": "litert", ".mnn": "mnn"}
"""File suffix to runtime: the name of a module here, whose ``Model(path, schema, threads)`` is a `Runtime`."""


class Steps(NamedTuple):
    """Timers over the bare runtime calls for one batch; ``.timeit(calls)`` makes them and returns the seconds.

    `timeit` compiles the calls into the loop itself, so that no function call of ours is timed with them.
    """

    copy_and_run: timeit.Timer
    run: timeit.Timer


class Runtime(Protocol):
    """An open model file. Not safe to call from two threads at once."""

    def score(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Scores ``(n_rows, 1) float32`` of named inputs; BadInput for what `Schema.check` refuses."""

    def steps(self, inputs: Mapping[str, np.ndarray]) -> Steps:
        """The bare runtime calls for this batch, without validation: copy in, run, copy out; and the run alone.

        Good until the next `score`.
        """


def runtime_of(path: Path | str) -> str:
    """Name of the runtime that a model file belongs to: ``keras``, ``litert`` or ``mnn``."""
    suffix = Path(path).suffix
    if suffix not in MODULES:
        raise BadInput(f"{path}: no runtime opens {suffix or 'a file without suffix'}; known: {', '.join(MODULES)}")
    return MODULES[suffix]


def variant_of(file: str) -> tuple[str, str]:
    """Runtime and precision of a file of a run: ``mnn/fp32.mnn`` is ``("mnn", "fp32")``; a Keras model is fp32."""
    runtime = runtime_of(file)
    return runtime, "fp32" if runtime == "keras" else Path(file).stem


def open_model(path: Path, schema: Schema, *, threads: int = 1, trusted: bool = False) -> Runtime:
    """Open a ``.keras``, ``.tflite`` or ``.mnn`` file.

    Parameters
    ----------
    threads : threads the runtime may use.
    trusted : the file came from `Stage.input`, whose SHA-256 check it passed. Any other file is opened and
        scored in a child process first, because the native runtimes can crash on a damaged one.

    Raises
    ------
    DamagedFile : the file is gone, not a model, crashes its runtime, or does not take the schema's inputs
        with a dynamic batch.
    """
    parameters.check("threads", threads)
    runtime = importlib.import_module(f"{__name__}.{runtime_of(path)}")
    if not Path(path).is_file():
        raise DamagedFile(f"there is no file {path}")
    if not trusted:
        try:
            child.run(f"open {Path(path).name}", f"{__name__}:_probe", path=str(path), schema=schema.to_json())
        except DamagedFile:
            raise
        except WorkbenchError as error:
            raise DamagedFile(f"{Path(path).name} is not a usable model file: {error}") from error
    return runtime.Model(Path(path), schema, threads)


def _probe(path: str, schema: dict) -> None:
    """Open and score 1 and 3 rows of zeros; runs in a child process."""
    declared = Schema.from_json(schema)
    model = open_model(Path(path), declared, trusted=True)
    for rows in (1, 3):
        model.score({t.name: np.zeros((rows, t.width), t.dtype) for t in declared.inputs})


def check_interface(path: Path, schema: Schema, found: Mapping[str, tuple[list[int], str | None]], output: str) -> None:
    """Refuse a file whose inputs or output are not the schema's.

    Parameters
    ----------
    found : by input name, the shape with -1 for a dynamic batch, and the dtype where the runtime tells it.
    output : name of the file's output.
    """
    if set(found) != set(schema.input_names):
        raise DamagedFile(f"{path.name} takes inputs {sorted(found)}, the model takes {schema.input_names}")
    if output != schema.output.name:
        raise DamagedFile(f"{path.name} gives {output!r}, the model gives {schema.output.name!r}")
    for tensor in schema.inputs:
        shape, dtype = found[tensor.name]
        if list(shape[1:]) != [tensor.width]:
            raise DamagedFile(
                f"{path.name}: {tensor.name} has shape {list(shape)}, the model takes [-1, {tensor.width}]"
            )
        if dtype not in (None, tensor.dtype):
            raise DamagedFile(f"{path.name}: {tensor.name} is {dtype}, the model takes {tensor.dtype}")


def check_rows(path: Path, rows: int, shape: tuple[int, ...]) -> None:
    """Refuse an output that is not one score a row: a file with a static batch answers 1 row for 1000."""
    if tuple(shape) != (rows, 1):
        raise DamagedFile(
            f"static batch: {path.name} answers shape {tuple(shape)} for {rows} rows; convert it with a dynamic one"
        )
