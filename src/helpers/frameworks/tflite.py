"""TFLite: a finished ``.tflite`` file that somebody brought, with the names that it has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.convert import tflite
from helpers.schema import Schema

SUFFIX = ".tflite"


def export(model: Path, schema: Schema, path: Path) -> list[str]:
    """Write the same model with the schema's names, in its order; weights are the same bytes.

    Raises
    ------
    ConversionFailed : the file has other inputs or outputs.
    """
    content = model.read_bytes()
    renamed = tflite.renamed(content, schema)
    path.write_bytes(renamed)
    return [] if renamed == content else ["tensors have the schema's names, in its order"]


@contextmanager
def plain(model: Path, *, optimise: bool = False) -> Iterator[Path | None]:
    """The file as it was brought; nobody can optimise it again."""
    yield None if optimise else model
