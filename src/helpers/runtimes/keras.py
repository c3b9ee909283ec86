"""Keras: the trained model itself, as the reference. Opening it imports TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from helpers.errors import BadInput, DamagedFile
from helpers.quiet import tensorflow
from helpers.runtimes.runtime import (
    Runtime,
    Steps,
    check_interface,
    check_outputs,
    steps_of,
)
from helpers.schema import Schema


def named_outputs(model, result) -> dict[str, object]:
    """What calling a Keras model gave, by the names of its outputs."""
    if isinstance(result, Mapping):
        return dict(result)
    results = result if isinstance(result, (list, tuple)) else [result]
    return dict(zip(model.output_names, results, strict=True))


def call(model, inputs: Mapping[str, object], schema: Schema) -> dict[str, object]:
    """Call a Keras model, as it is outside training, with inputs by name; its outputs by the
    schema's names.

    Raises
    ------
    BadInput : the model gives other outputs.
    """
    return schema_outputs(model, schema, model(structured(model, inputs), training=False))


def structured(model, inputs: Mapping[str, object]):
    """Named inputs in the form that a Keras model was built with: it warns of a single input in a
    dict.
    """
    return (
        inputs if isinstance(model.input, (Mapping, list, tuple)) else next(iter(inputs.values()))
    )


def schema_outputs(model, schema: Schema, result) -> dict[str, object]:
    """What calling a Keras model gave, by the schema's names and in its order; one output may be
    called otherwise.

    Raises
    ------
    BadInput : the model gives other outputs.
    """
    outputs = named_outputs(model, result)
    if len(outputs) == len(schema.outputs) == 1:
        return {schema.output.name: next(iter(outputs.values()))}
    if sorted(outputs) != sorted(schema.output_names):
        raise BadInput(f"the model gives {sorted(outputs)}, the schema says {schema.output_names}")
    return {name: outputs[name] for name in schema.output_names}


def load(path: Path):
    """Load a ``.keras`` file; nothing in it is executed.

    Raises
    ------
    DamagedFile : it is not a Keras model.
    """
    tensorflow()
    import keras

    import helpers.layers  # noqa: F401 (registers what studies' models are made of)

    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises whatever its zip, JSON and HDF5 readers do
        raise DamagedFile(f"{path.name} is not a usable Keras file: {error}") from error


class Model(Runtime):
    """An open ``.keras`` file. Calls go through one traced ``tf.function``."""

    def __init__(self, path: Path, schema: Schema, threads: int):
        tf = tensorflow()
        self.path, self.schema, self.model = path, schema, load(path)
        inputs = {t.name: ([-1, *t.shape[1:]], t.dtype) for t in self.model.inputs}
        outputs = named_outputs(self.model, self.model.output)
        described = {name: ([-1, *t.shape[1:]], t.dtype) for name, t in outputs.items()}
        check_interface(path, schema, inputs, described)
        signature = {
            t.name: tf.TensorSpec((schema.batch, *t.shape), t.dtype) for t in schema.inputs
        }

        self._call = tf.function(
            lambda inputs: call(self.model, inputs, schema), input_signature=[signature]
        )

    def _predict(self, inputs, rows):
        outputs = {name: np.asarray(value) for name, value in self._call(dict(inputs)).items()}
        shapes = {name: array.shape for name, array in outputs.items()}
        check_outputs(self.path, self.schema, rows, shapes)
        return {name: outputs[name] for name in self.schema.output_names}

    def steps(self, inputs) -> Steps:
        self.schema.check(inputs)
        tf = tensorflow()
        names = {
            "call": self._call,
            "asarray": np.asarray,
            "arrays": dict(inputs),
            "tensors": {name: tf.constant(array) for name, array in inputs.items()},
        }
        results = {name: f"asarray(outputs[{name!r}])" for name in self.schema.output_names}
        return steps_of(["outputs = call(arrays)"], results, "call(tensors)", names)
