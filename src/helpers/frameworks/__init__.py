"""Frameworks: what trains a model, saves it and exports it to what converters take.

Each module here is one, under the name that a study's model gives (`helpers.studies.Model`), with
the same functions:

- ``train``, ``predict``, ``save``, ``load``, ``describe``
- ``export(model, schema, path)`` writes a float32 ``.tflite`` file with the schema's names, in
  order
- ``plain(model)`` is what its own converter makes, to look at
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from helpers.errors import BadInput


def get(name: str) -> ModuleType:
    """Return the framework of that name; a BadInput lists those there are."""
    there = sorted(module.name for module in pkgutil.iter_modules(__path__))
    if name not in there:
        raise BadInput(f"there is no framework {name!r}; there is: {', '.join(there)}")
    return importlib.import_module(f"{__name__}.{name}")
