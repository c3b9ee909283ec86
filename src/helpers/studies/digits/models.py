"""Networks for digits, of layers that a phone can also train: Conv2D, MaxPooling2D, Flatten, Dense,
ReLU and softmax.

Widths are the published ones; the models do not look at `hidden_units`.
"""

from __future__ import annotations

from collections.abc import Sequence

from helpers.studies.digits.mnist import IMAGE

OUTPUT = "probabilities"


def lenet(hidden_units: int = 84):
    """LeNet-5 (LeCun et al. 1998) with ReLU and maximum pooling: 61,706 parameters."""
    from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D

    return _model(
        "lenet",
        [
            Conv2D(6, 5, padding="same", activation="relu", name="convolution_1"),
            MaxPooling2D(name="pooling_1"),
            Conv2D(16, 5, activation="relu", name="convolution_2"),
            MaxPooling2D(name="pooling_2"),
            Flatten(name="flatten"),
            Dense(120, activation="relu", name="hidden_1"),
            Dense(84, activation="relu", name="hidden_2"),
        ],
    )


def published(hidden_units: int = 500):
    """The network of MNIST-CoreML-Training: 585,958 parameters, nearly all of them in `hidden`."""
    from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D

    return _model(
        "published",
        [
            Conv2D(32, 3, activation="relu", name="convolution_1"),
            MaxPooling2D(name="pooling_1"),
            Conv2D(32, 2, activation="relu", name="convolution_2"),
            MaxPooling2D(name="pooling_2"),
            Flatten(name="flatten"),
            Dense(500, activation="relu", name="hidden"),
        ],
    )


def _model(name: str, layers: Sequence):
    """A picture through layers, and the probability of each class."""
    import keras

    image = x = keras.Input(IMAGE.shape, name=IMAGE.name)
    for layer in layers:
        x = layer(x)
    probabilities = keras.layers.Dense(10, activation="softmax", name=OUTPUT)(x)
    return keras.Model(image, probabilities, name=name)
