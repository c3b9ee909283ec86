"""A small net of every layer that can be trained in a file, and pictures with blank ground."""

import numpy as np

from helpers.schema import Dimension, Schema, Tensor

CLASSES = 3
SCHEMA = Schema(
    "small_model",
    (Tensor("image", shape=(12, 12, 1), meaning="a picture"),),
    (Tensor("probabilities", "", tuple(Dimension(str(k), "p") for k in range(CLASSES))),),
)


def net(seed: int = 0):
    """Convolution, both poolings, Flatten and Dense; 479 weights."""
    from helpers.quiet import tensorflow

    tensorflow()
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    image = keras.Input((12, 12, 1), name="image")
    x = layers.Conv2D(3, 3, padding="same", activation="relu", name="first")(image)
    x = layers.MaxPooling2D(name="pool")(x)
    x = layers.Conv2D(4, 3, activation="relu", name="second")(x)
    x = layers.AveragePooling2D((2, 2), name="mean")(x)
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(6, activation="relu", name="hidden")(x)
    x = layers.Dense(CLASSES, activation="softmax", name="probabilities")(x)
    return keras.Model(image, x, name="small")


def pictures(rows: int, seed: int = 1) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A bright bar or square on blank ground; its class is which."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, rows).astype(np.int32)
    image = np.zeros((rows, 12, 12, 1), np.float32)
    for row, label in enumerate(labels):
        top, left = rng.integers(1, 7, 2)
        high, wide = [(5, 1), (1, 5), (3, 3)][label]
        image[row, top : top + high, left : left + wide] = rng.uniform(0.4, 1)
    return {"image": image}, labels
