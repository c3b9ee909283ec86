"""Frameworks: what trains a model, saves it and exports it to what converters take.

Each module here is one, under the name that a study's model gives (`helpers.studies.Model`), with
the same functions:

- ``load(path, schema)`` opens a trained file, where there is more to it than its path, see `load`
- ``export(model, schema, path)`` writes a ``.tflite`` file with the schema's names, in order, and
  says what it did to the model, if anything; or ``WITHOUT`` says why there is none
- ``plain(model)`` is what its own converter makes, to look at; None if it has none
- ``train``, ``predict``, ``save``, ``describe``, of what trains models here

The others are the forms of trained files that somebody brings: `of` tells a file's.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from helpers.errors import BadInput
from helpers.schema import Schema

FORMS = {".keras": "keras", ".tflite": "tflite", ".onnx": "onnx"}
"""Framework by the suffix of a file that somebody brings; a SavedModel is a folder."""


def of(path: Path) -> str:
    """Name of the framework of a trained file.

    Raises
    ------
    BadInput : it is of no form that is known, or is not there.
    """
    if path.suffix in (".pt2", ".pt", ".pth"):
        raise BadInput(
            f"{path.name} is PyTorch's, which is not installed here: export the model to ONNX "
            "(torch.onnx.export) and bring that"
        )
    if not path.exists():
        raise BadInput(f"there is no model {path}")
    if path.is_dir() and (path / "saved_model.pb").is_file():
        return "savedmodel"
    if path.is_dir() or path.suffix not in FORMS:
        raise BadInput(
            f"{path.name} is no model that is known: bring a .keras, .tflite or .onnx file, or the "
            "folder of a SavedModel"
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
