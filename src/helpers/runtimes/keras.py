"""Keras: the trained model itself, as the reference. Opening it imports TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from helpers.errors import DamagedFile
from helpers.quiet import tensorflow
from helpers.runtimes import Steps, check_interface, check_rows, steps_of
from helpers.schema import Schema


class Model:
    """An open ``.keras`` file; see `helpers.runtimes.Runtime`. Calls go through one traced ``tf.function``."""

    def __init__(self, path: Path, schema: Schema, threads: int):
        tf = tensorflow()
        import keras

        import helpers.layers  # noqa: F401 (registers what studies' models are made of)

        self.path, self.schema = path, schema
        try:
            self.model = keras.models.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # Keras raises whatever its zip, JSON and HDF5 readers do
            raise DamagedFile(f"{path.name} is not a usable Keras file: {error}") from error
        shapes = {tensor.name: ([-1, *tensor.shape[1:]], tensor.dtype) for tensor in self.model.inputs}
        check_interface(path, schema, shapes, self.model.output_names[0])
        signature = {t.name: tf.TensorSpec((None, t.width), t.dtype) for t in schema.inputs}
        self._call = tf.function(lambda inputs: self.model(inputs, training=False), input_signature=[signature])

    def score(self, inputs):
        rows = self.schema.check(inputs)
        scores = np.asarray(self._call(dict(inputs)))
        check_rows(self.path, rows, scores.shape)
        return scores

    def steps(self, inputs) -> Steps:
        self.schema.check(inputs)
        tf = tensorflow()
        names = {
            "call": self._call,
            "asarray": np.asarray,
            "arrays": dict(inputs),
            "tensors": {name: tf.constant(array) for name, array in inputs.items()},
        }
        return steps_of(["asarray(call(arrays))"], "call(tensors)", names)
