"""One interface over the runtimes: open a model file, score named inputs.

`open_model` picks the runtime by the file's suffix. Inputs are bound by name and validated before
every call, because each of these runtimes scores a wrong name order, shape or dtype without an
error.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers import parameters
from helpers.errors import BadInput, DamagedFile
from helpers.runtimes import guarded
from helpers.runtimes.runtime import Runtime, Steps, fits
from helpers.schema import Schema

__all__ = [
    "Runtime",
    "Steps",
    "batch_differences",
    "fits",
    "open_model",
    "runtime_of",
    "scale_of",
    "variant_of",
]

MODULES = {
    ".keras": "keras",
    ".zip": "savedmodel",
    ".onnx": "onnx",
    ".pt2": "pytorch",
    ".tflite": "litert",
    ".mnn": "mnn",
}
"""File suffix to runtime: the name of a module here, whose ``Model(path, schema, threads)`` is a
`Runtime`, and ``interface(path)`` tells what a file takes and gives."""
PHONE = ("litert", "mnn")
"""Runtimes of files that a bundle takes to a phone."""
NAMES = {
    "keras": "Keras",
    "savedmodel": "SavedModel",
    "onnx": "ONNX Runtime",
    "pytorch": "PyTorch",
    "litert": "LiteRT",
    "mnn": "MNN",
}
_IMPORTS = {"keras": "notebooks", "savedmodel": "notebooks"}


def runtime_of(path: Path | str) -> str:
    """Name of the runtime that a model file belongs to, as ``litert``."""
    suffix = Path(path).suffix
    if suffix not in MODULES:
        raise BadInput(
            f"{path}: no runtime opens {suffix or 'a file without suffix'}; known: "
            f"{', '.join(MODULES)}"
        )
    return MODULES[suffix]


def variant_of(file: str) -> tuple[str, str]:
    """Runtime and precision of a file of a run: ``mnn/fp32.mnn`` is ``("mnn", "fp32")``; a trained
    model is fp32.
    """
    return runtime_of(file), Path(file).stem if is_converted(file) else "fp32"


def is_converted(file: Path | str) -> bool:
    """Whether a file is made of a trained model, by its path: those of ONNX Runtime, which may be
    trained models too, are in a folder of its name.
    """
    runtime = runtime_of(file)
    return runtime in PHONE or (runtime == "onnx" and Path(file).parent.name == runtime)


def imports(path: Path) -> str:
    """What the process that opens a file may have imported already, see `helpers.child`."""
    return _IMPORTS.get(runtime_of(path), "runtimes")


def interface(path: Path) -> list[dict[str, tuple[list[int], str]]]:
    """Inputs, and outputs, of any model file as it calls them: by name, shape (-1 for what is free)
    and dtype. The file is opened in a child process.

    Raises
    ------
    DamagedFile : it cannot be opened.
    """
    name = runtime_of(path)
    if not Path(path).is_file():
        raise DamagedFile(f"there is no file {path}")
    return guarded.ask(Path(path), f"{__name__}.{name}:interface", imports(path))


def open_model(path: Path, schema: Schema, *, threads: int = 1, trusted: bool = False) -> Runtime:
    """Open a model file; a trained one, see `is_converted`, by its own names.

    Parameters
    ----------
    threads : threads the runtime may use.
    trusted : the file has been judged not to be broken, and is the one that was judged (it came
        from `Stage.input`, whose SHA-256 check it passed). Any other file is opened and scored in a
        child process, see `helpers.runtimes.guarded`, because the native runtimes can crash on it
        at any call; it has no `Runtime.steps`.

    Raises
    ------
    DamagedFile : the file is gone, not a model, crashes its runtime, or does not take the schema's
        inputs with a dynamic batch.
    """
    parameters.check("threads", threads)
    path, name = Path(path), runtime_of(path)
    if not path.is_file():
        raise DamagedFile(f"there is no file {path}")
    if not is_converted(path):
        schema = schema.as_given()
    if not trusted:
        return guarded.Guarded(path, schema, threads, imports(path))
    return importlib.import_module(f"{__name__}.{name}").Model(path, schema, threads)


def scale_of(output: np.ndarray) -> float:
    """What differences of an output are measured by: 1, or its largest value if that is larger."""
    return max(1.0, float(np.abs(output).max()))


def batch_differences(
    model: Runtime, inputs: Mapping[str, np.ndarray], batches: Sequence[int]
) -> list[float]:
    """Score the same rows in batches of many sizes and all at once.

    Sizes come in a random order that is always the same, so that batches grow and shrink: a runtime
    that keeps the shape of an earlier batch only shows it then. Each size is scored twice, on other
    rows. Where the batch is fixed, rows are moved by one, so that each has other neighbours and
    another place.

    Parameters
    ----------
    inputs : named inputs; repeated where there are fewer rows than the batches take.

    Returns
    -------
    For each of `batches`, the largest difference of an output's value, as a part of `scale_of` that
    output; NaN if one is NaN.
    """
    taken = 1 + 2 * sum(batches)
    inputs = {name: array[:taken] for name, array in inputs.items()}
    if isinstance(model, guarded.Guarded):
        return model.batch_differences(inputs, batches)
    whole = model.predict(inputs)
    rows_there = len(next(iter(whole.values())))
    differences, start = [0.0] * len(batches), 0 if model.schema.batch is None else 1
    for i in np.random.default_rng(0).permutation(len(batches)):
        for _ in range(2):
            rows = np.arange(start, start + batches[i]) % rows_there
            found = model.predict_at_once({name: array[rows] for name, array in inputs.items()})
            for name, array in found.items():
                if array.shape != (len(rows), *whole[name].shape[1:]):
                    raise DamagedFile(f"static batch: {name} of {len(array)} rows for {len(rows)}")
                difference = np.abs(array - whole[name][rows]).max() / scale_of(whole[name])
                differences[i] = float(np.maximum(differences[i], difference))
            start += batches[i]
    return differences
