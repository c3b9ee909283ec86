"""Frameworks: what trains a model, saves it and exports it to what converters take.

Each module here is one, under the name that a study's model gives (`helpers.studies.Model`), with
the same functions:

- ``load(path, schema)`` opens a trained file, where there is more to it than its path, see `load`
- ``export(model, schema, path)`` writes a ``.tflite`` file with the schema's names, in order, and
  says what it did to the model, if anything; or ``WITHOUT`` says why there is none
- ``plain(model)`` is what its own converter makes, to look at; None if it has none
- ``train``, ``predict``, ``save``, ``describe``, ``weights``, of what trains models here

The others are the forms of trained files that somebody brings: `of` tells a file's.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from helpers.errors import BadInput
from helpers.runtimes import scale_of
from helpers.schema import Schema
from helpers.studies import Inputs
from helpers.tasks.judgement import SAME_ERROR

CHECKED_ROWS = 4096
"""Rows that a model is called with before anything is learnt, and most that are scored twice."""
_SCORE_ROWS, _SCORE_VALUES = 65_536, 8 << 20
"""Most rows and most values that a model is called with."""

FORMS = {".keras": "keras", ".tflite": "tflite", ".onnx": "onnx", ".pt2": "pytorch"}
"""Framework by the suffix of a file that somebody brings; a SavedModel is a folder."""
_WEIGHTS_ALONE = """\
{0} is not opened: it is weights without their model, or a pickle, which may execute anything.
Where the model's class is at hand, save operators and weights, with an example of two rows or more:
    model.load_state_dict(torch.load("{0}", weights_only=True))
    rows = {{0: torch.export.Dim("batch")}}
    program = torch.export.export(model.eval(), (example,), dynamic_shapes=(rows,))
    torch.export.save(program, "model.pt2")
and bring model.pt2"""


def of(path: Path) -> str:
    """Name of the framework of a trained file.

    Raises
    ------
    BadInput : it is of no form that is known, or is not there.
    """
    if path.suffix in (".pt", ".pth"):
        raise BadInput(_WEIGHTS_ALONE.format(path.name))
    if not path.exists():
        raise BadInput(f"there is no model {path}")
    if path.is_dir() and (path / "saved_model.pb").is_file():
        return "savedmodel"
    if path.is_dir() or path.suffix not in FORMS:
        raise BadInput(
            f"{path.name} is no model that is known: bring a .keras, .pt2, .tflite or .onnx file, "
            "or the folder of a SavedModel"
        )
    return FORMS[path.suffix]


def get(name: str) -> ModuleType:
    """Return the framework of that name; a BadInput lists those there are."""
    there = sorted(module.name for module in pkgutil.iter_modules(__path__))
    if name not in there:
        raise BadInput(f"there is no framework {name!r}; there is: {', '.join(there)}")
    return importlib.import_module(f"{__name__}.{name}")


def load(framework: ModuleType, path: Path, schema: Schema):
    """Open a trained file; one that is converted as a file stays its path."""
    return framework.load(path, schema) if hasattr(framework, "load") else path


def scored(
    outputs: Callable[[Inputs], dict[str, np.ndarray]], schema: Schema, inputs: Inputs
) -> dict[str, np.ndarray]:
    """All outputs of a model by the schema's names, ``(n_rows, *shape)``: the reference for every
    converted file.

    Parameters
    ----------
    outputs : what the model gives of named inputs ``(n, *shape)``, as many as a call takes.

    Raises
    ------
    BadInput : rows score differently the second time, among fewer others: nothing could be held
        against such scores.
    """
    rows = len(next(iter(inputs.values())))
    step = max(
        1, min(_SCORE_ROWS, _SCORE_VALUES * rows // sum(array.size for array in inputs.values()))
    )
    again = np.arange(max(1, min(rows, step, CHECKED_ROWS) // 2))
    if schema.batch is not None:
        step, again = schema.batch, (np.arange(schema.batch) + 1) % rows

    def part(places: np.ndarray) -> dict[str, np.ndarray]:
        return outputs({name: array[places] for name, array in inputs.items()})

    ends = [rows if schema.batch is None else first + step for first in range(0, rows, step)]
    parts = [
        part(np.arange(i * step, min((i + 1) * step, end)) % rows) for i, end in enumerate(ends)
    ]
    found = {name: np.concatenate([each[name] for each in parts])[:rows] for name in parts[0]}
    for name, values in part(again).items():
        first = found[name][again]
        if (difference := np.abs(values - first).max()) > SAME_ERROR * scale_of(first):
            raise BadInput(
                f"the model gives two different scores for the same rows (up to {difference:.2g} "
                "apart): a layer such as dropout or batch normalisation is active outside "
                "training: build it without training=True"
            )
    return found
