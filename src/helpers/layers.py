"""Keras layers of the studies' models. Importing this imports Keras, so import it inside a
function.
"""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="helpers")
class Table(keras.layers.Layer):
    """Rows of a table by id: ids of any shape to ``(*ids.shape, width) float32``, as one GATHER.

    What `keras.layers.Embedding` is exported as.
    """

    def __init__(self, size: int, width: int, **options):
        super().__init__(**options)
        self.size, self.width = size, width

    def build(self, shape):
        self.table = self.add_weight(
            name="table", shape=(self.size, self.width), initializer="uniform"
        )
        super().build(shape)

    def call(self, ids):
        return tf.gather(self.table, tf.cast(ids, "int32"))

    def compute_output_shape(self, shape):
        return (*shape, self.width)

    def get_config(self):
        return {**super().get_config(), "size": self.size, "width": self.width}


@keras.saving.register_keras_serializable(package="helpers")
class Lookup(Table):
    """Rows of a table by one id: ``(n, 1) int`` to ``(n, width) float32``.

    What `keras.layers.Embedding` does, as one GATHER: Embedding's check of negative ids becomes a
    SELECT_V2, which MNN refuses. Ids must be from 0 to ``size`` - 1, which `Schema.check` sees to.
    """

    def call(self, ids):
        return tf.gather(self.table, ids[:, 0])

    def compute_output_shape(self, shape):
        return (shape[0], self.width)
