"""What tests of the bundle share: making one of a folder, with its manifest and descriptor."""

import contextlib
import json
from pathlib import Path

import numpy as np

from helpers import files
from helpers.bundle import archive, golden, make
from helpers.errors import DamagedFile
from helpers.schema import Dimension, Schema, Tensor


def write_manifest(folder: Path, schema, version: str = "v1") -> None:
    """``model.json`` for whatever is in the folder."""
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {archive.MANIFEST}
    tolerance = {}
    with contextlib.suppress(OSError, DamagedFile):
        tolerance = golden.from_bytes((folder / archive.GOLDEN).read_bytes()).tolerance
    models = {n: {"tolerance": tolerance.get(n)} for n in ("model.tflite", "model.mnn") if n in names}
    digests = {name: files.sha256(folder / name) for name in sorted(names)}
    content = {"version": version, "files": models, "schema": schema.to_json(), "sha256": digests}
    (folder / archive.MANIFEST).write_text(json.dumps(content))


def changed_weight(file: Path, model) -> bytes:
    """The bytes of a model file with the first weight of the first layer changed by 0.05."""
    content = bytearray(file.read_bytes())
    weights = model.get_weights()[0].astype("<f4")
    stored = (np.ascontiguousarray(weights.T)[0, :4].tobytes(), weights[0, :4].tobytes())  # one way or the other
    place = max(content.find(part) for part in stored)
    assert place > 0
    content[place : place + 4] = np.float32(weights[0, 0] + 0.05).tobytes()
    return bytes(content)


def nan_bias(file: Path, model) -> bytes:
    """The bytes of a model file in which a layer adds NaN: every score is NaN."""
    content, bias = file.read_bytes(), model.get_weights()[3].astype("<f4").tobytes()
    assert bias in content
    return content.replace(bias, np.float32(np.nan).tobytes() + bias[4:])


def publish(folder: Path, place: Path, version: str = "v1") -> Path:
    """Pack a folder and write its descriptor beside the zip; returns the descriptor's path."""
    content = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return make.publish(content, place, version)


def feed_schema(names, sizes=None) -> Schema:
    """Of a model that takes one id a candidate and input; `sizes` of the tables that they index, by name."""
    last = {name: (sizes[name] if sizes else 2**31) - 1 for name in names}
    inputs = tuple(Tensor(name, "item", (Dimension(name, "an id", 0, last[name]),), "int64") for name in names)
    return Schema("feed_model", inputs, Tensor("score", "score", (Dimension("score", "probability of a click"),)))
