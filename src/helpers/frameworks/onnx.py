"""ONNX: an ``.onnx`` file that somebody brought, for ONNX Runtime and MNN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".onnx"
WITHOUT = (
    "no well-kept converter makes TFLite of ONNX: bring the model as it was trained, or ship the"
    " MNN file"
)
"""Why there is no TFLite file of such a model."""


@contextmanager
def plain(model: Path, *, optimise: bool = False) -> Iterator[None]:
    """Nothing: there is no converter."""
    yield None
