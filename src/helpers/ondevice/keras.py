"""Keras' own training, used as a file's: what others are held to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from helpers.ondevice.program import STEP, WEIGHTS, Program, State, arrays, vector
from helpers.quiet import tensorflow
from helpers.runtimes.keras import structured
from helpers.studies import Inputs


class Trainer:
    """Trains a copy of a program's model with Keras' optimiser, loss and gradients; used as
    `helpers.ondevice.trainer.Trainer`.

    `restore` begins with an optimiser that has seen nothing; its step is compiled once.
    """

    def __init__(self, program: Program):
        tensorflow()
        import keras

        self._program = program
        model = self._model = keras.models.clone_model(program.model)
        for copy, layer in zip(model.layers, program.model.layers, strict=True):
            copy.trainable = layer.trainable
        self._binary = model.outputs[0].shape[-1] == 1
        loss = "binary_crossentropy" if self._binary else "sparse_categorical_crossentropy"
        optimiser = program.optimiser.keras(0.001)
        model.compile(optimiser, loss, metrics=["accuracy"], jit_compile=False)
        optimiser.build(model.trainable_variables)
        self._fresh = [np.zeros(v.shape, v.dtype) for v in optimiser.variables]
        self.restore(program.initial())

    def train(self, inputs: Inputs, labels: np.ndarray, learning_rate: float) -> dict[str, float]:
        """One step on a batch; ``loss`` and the share that was ``correct`` before it."""
        self._model.optimizer.learning_rate = learning_rate
        said = self._model.train_on_batch(structured(self._model, inputs), self._labels(labels))
        self._model.reset_metrics()
        self._steps += 1
        return {"loss": float(said[0]), "correct": float(said[1])}

    def epoch(self, inputs: Inputs, labels: np.ndarray, batch_size: int) -> None:
        """An epoch of Keras' ``fit``, which is faster than step by step."""
        given = structured(self._model, inputs)
        self._model.fit(given, self._labels(labels), batch_size, verbose=0)

    def evaluate(self, inputs: Inputs, labels: np.ndarray) -> dict[str, float]:
        """``loss`` and the share that is ``correct``."""
        given = structured(self._model, inputs)
        loss, correct = self._model.evaluate(given, self._labels(labels), verbose=0)
        return {"loss": float(loss), "correct": float(correct)}

    def infer(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """The model's output by name, ``(n_rows, ...)``."""
        scores = self._model(structured(self._model, inputs), training=False)
        return {self._program.schema.output.name: np.asarray(scores)}

    def save(self) -> State:
        """The weights and the steps made."""
        weights = vector([each.numpy() for each in self._model.trainable_variables])
        return {WEIGHTS: weights, STEP: np.float32(self._steps)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Begin from weights, with an optimiser that has seen nothing."""
        self._model.set_weights(self._program.model.get_weights())
        values = arrays(self._program, np.asarray(state[WEIGHTS], np.float32))
        for variable, value in zip(self._model.trainable_variables, values, strict=True):
            variable.assign(value)
        for variable, value in zip(self._model.optimizer.variables, self._fresh, strict=True):
            variable.assign(value)
        self._steps = 0

    def _labels(self, labels: np.ndarray) -> np.ndarray:
        return labels.reshape(-1, 1).astype(np.float32) if self._binary else labels
