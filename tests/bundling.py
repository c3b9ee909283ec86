"""What tests of the bundle share: making one of a folder, with its manifest and descriptor."""

import contextlib
import json
import shutil
from pathlib import Path

import numpy as np

from helpers import files
from helpers.bundle import archive, golden, make
from helpers.errors import DamagedFile
from helpers.schema import Dimension, Schema, Tensor


def write_manifest(folder: Path, schema, version: str = "v1") -> None:
    """``model.json`` for whatever is in the folder."""
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {
        archive.MANIFEST
    }
    tolerance = {}
    with contextlib.suppress(OSError, DamagedFile):
        tolerance = golden.from_bytes((folder / archive.GOLDEN).read_bytes()).tolerance
    models = {
        n: {"tolerance": tolerance.get(n)} for n in ("model.tflite", "model.mnn") if n in names
    }
    digests = {name: files.sha256(folder / name) for name in sorted(names)}
    content = {
        "format": archive.FORMAT,
        "version": version,
        "files": models,
        "schema": schema.to_json(),
        "sha256": digests,
    }
    (folder / archive.MANIFEST).write_text(json.dumps(content))


def changed_weight(file: Path, model, by: float = 0.05) -> bytes:
    """The bytes of a model file with the first weight of the first layer changed."""
    content = bytearray(file.read_bytes())
    weights = model.get_weights()[0].astype("<f4")
    stored = (
        np.ascontiguousarray(weights.T)[0, :4].tobytes(),
        weights[0, :4].tobytes(),
    )  # one way or the other
    place = max(content.find(part) for part in stored)
    assert place > 0
    content[place : place + 4] = np.float32(weights[0, 0] + by).tobytes()
    return bytes(content)


def changed_float(content: bytes) -> bytes:
    """The bytes of a model file with 0.05 added to a float in a long row of such as weights are."""
    values = np.frombuffer(content[: len(content) // 4 * 4], "<f4")
    usual = (np.abs(values) > 1e-3) & (np.abs(values) < 1)
    inside = np.convolve(usual, np.ones(9), "same") == 9
    place = int(np.flatnonzero(inside)[3])
    changed = np.float32(values[place] + 0.05).tobytes()
    return content[: 4 * place] + changed + content[4 * place + 4 :]


def nan_bias(file: Path, model) -> bytes:
    """The bytes of a model file in which a layer adds NaN: every score is NaN."""
    content, bias = file.read_bytes(), model.get_weights()[3].astype("<f4").tobytes()
    assert bias in content
    return content.replace(bias, np.float32(np.nan).tobytes() + bias[4:])


def publish(folder: Path, place: Path, version: str = "v1") -> Path:
    """Pack a folder and write its descriptor beside the zip; returns the descriptor's path."""
    content = {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
    return make.publish(content, place, version)


def ios_module(rendered: dict[str, str]) -> dict[str, str]:
    """Text by file name of what a bundle has for iOS, but for the sample app, which is no part of
    the module.
    """
    return {
        Path(path).name: text
        for path, text in rendered.items()
        if path.startswith("ios/") and not path.startswith("ios/Sample/")
    }


def publish_versions(paths: list[Path], schema, place: Path, file: str = "model.tflite") -> None:
    """Bundles of the same files below `place`, each with its descriptor: ``good``, ``better``, and
    ``broken``, whose `file` has a weight changed.
    """
    for version in ("good", "broken", "better"):
        folder = place / "unpacked" / version
        folder.mkdir(parents=True)
        for path in paths:
            shutil.copy(path, folder)
        if version == "broken":
            model = folder / file
            model.write_bytes(changed_float(model.read_bytes()))
        write_manifest(folder, schema, version)
        publish(folder, place / version, version)


def golden_cases(schema, scored, tolerance: float = 1e-5) -> golden.Golden:
    """Golden cases of a model of one output, of inputs by case.

    Parameters
    ----------
    scored : by case, its inputs, and the scores of the trained model and, by file, of each file.
    """
    name, shape = schema.output.name, schema.output.shape
    cases, files = [], {}
    for case, (inputs, trained, expected) in scored.items():
        outputs = {file: {name: scores.reshape(-1, *shape)} for file, scores in expected.items()}
        cases.append(golden.Case(case, inputs, {name: trained.reshape(-1, *shape)}, outputs))
        files = {file: {name: tolerance} for file in expected}
    ends = golden.described(schema.inputs), golden.described(schema.outputs)
    return golden.Golden(*ends, files, tuple(cases))


def feed_schema(names, sizes=None) -> Schema:
    """Of a model that takes one id a candidate and input; `sizes` of the tables that they index, by
    name.
    """
    last = {name: (sizes[name] if sizes else 2**31) - 1 for name in names}
    inputs = tuple(
        Tensor(name, "item", (Dimension(name, "an id", 0, last[name]),), "int64") for name in names
    )
    return Schema(
        "feed_model",
        inputs,
        (Tensor("score", "score", (Dimension("score", "probability of a click"),)),),
    )


PICTURE = Schema(
    "picture_model",
    (
        Tensor(
            "image",
            dtype="uint8",
            shape=(12, 12, 3),
            low=0,
            high=255,
            meaning="a picture, row by row, RGB",
        ),
    ),
    (
        Tensor("kind", shape=(4,), meaning="probability of each kind"),
        Tensor("embedding", shape=(8,), low=-9, high=9),
    ),
)
"""Of a model of pictures, with two outputs."""
MIXED = Schema(
    "mixed_model",
    (
        Tensor("values", "user", tuple(Dimension(f"v{i}", f"value {i}", -1, 1) for i in range(5))),
        Tensor(
            "ids",
            "item",
            (Dimension("id", "an id", 0, 99), Dimension("parent", "its parent", -5, 5)),
            "int32",
        ),
        Tensor("hour", "context", (Dimension("hour", "hour of the day", 0, 23),), "int64"),
    ),
    (Tensor("score", "", (Dimension("score", "probability of a click"),)),),
    batch=4,
)
"""Of a model that takes inputs of three dtypes, four rows at a time."""
SHAPED = {schema.model_name: schema for schema in (PICTURE, MIXED)}


def shaped_model(schema: Schema):
    """A Keras model of a schema of `SHAPED`, with random weights."""
    import keras

    keras.utils.set_random_seed(3)
    inputs = [keras.Input(t.shape, name=t.name, dtype=t.dtype) for t in schema.inputs]
    if schema is PICTURE:
        edges = keras.layers.Conv2D(4, 3, strides=2, activation="relu")(
            keras.layers.Rescaling(1 / 255)(inputs[0])
        )
        embedding = keras.layers.Dense(8, name="embedding")(keras.layers.Flatten()(edges))
        outputs = {
            "kind": keras.layers.Dense(4, activation="softmax", name="kind")(embedding),
            "embedding": embedding,
        }
        return keras.Model(inputs, outputs, name=schema.model_name)
    ids, hour = (
        keras.ops.cast(values, "float32") / most
        for values, most in zip(inputs[1:], (100, 24), strict=True)
    )
    joined = keras.layers.Concatenate()([inputs[0], ids, hour])
    hidden = keras.layers.Dense(8, activation="relu", kernel_initializer="random_normal")(joined)
    return keras.Model(
        inputs,
        keras.layers.Dense(1, activation="sigmoid", name="score")(hidden),
        name=schema.model_name,
    )


def typical_inputs(schema: Schema, rows: int = 300) -> dict[str, np.ndarray]:
    """Values anywhere in the ranges."""
    rng = np.random.default_rng(0)

    def values(tensor: Tensor) -> np.ndarray:
        low, high = (np.broadcast_to(end, tensor.shape) for end in tensor.bounds)
        if tensor.dtype == "float32":
            return rng.uniform(low, high, (rows, *tensor.shape)).astype("float32")
        return rng.integers(low, high, (rows, *tensor.shape), endpoint=True, dtype=tensor.dtype)

    return {tensor.name: values(tensor) for tensor in schema.inputs}
