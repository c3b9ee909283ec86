"""What a training file computes, against gradients by finite differences in float64."""

import numpy as np
import pytest
from ondevice_net import CLASSES, SCHEMA, net, pictures
from scipy.signal import correlate

from helpers.errors import BadInput
from helpers.ondevice.optimisers import SGD
from helpers.ondevice.program import WEIGHTS, Program, arrays, vector


def _convolved(x, kernel, bias, padding):
    """``(rows, height, width, c_in)`` by SciPy, in float64."""
    if padding == "same":
        x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    maps = [
        sum(correlate(x[..., i], kernel[None, :, :, i, o], "valid") for i in range(x.shape[3]))
        for o in range(kernel.shape[3])
    ]
    return np.stack(maps, -1) + bias


def _windows(x):
    rows, high, wide, maps = x.shape
    inside = x[:, : high // 2 * 2, : wide // 2 * 2]
    return inside.reshape(rows, high // 2, 2, wide // 2, 2, maps)


def _loss(values, inputs, labels):
    k1, b1, k2, b2, w1, c1, w2, c2 = values
    x = np.maximum(_convolved(inputs["image"].astype(float), k1, b1, "same"), 0)
    x = _windows(x).max(axis=(2, 4))
    x = np.maximum(_convolved(x, k2, b2, "valid"), 0)
    x = _windows(x).mean(axis=(2, 4)).reshape(len(labels), -1)
    logits = np.maximum(x @ w1 + c1, 0) @ w2 + c2
    logits -= logits.max(axis=1, keepdims=True)
    said = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -said[np.arange(len(labels)), labels].mean()


def test_gradients_are_those_by_finite_differences(program):
    rng = np.random.default_rng(5)
    learner = Program(program.model, SCHEMA, SGD())
    weights = learner.initial()[WEIGHTS] + rng.normal(0, 0.05, learner.sizes[WEIGHTS])
    weights = weights.astype(np.float32)  # biases too are off zero: no unit is on its bend
    inputs, labels = pictures(5, seed=3)
    inputs = {"image": inputs["image"] + rng.normal(0, 0.1, (5, 12, 12, 1)).astype(np.float32)}
    after, found = learner.stepped({**learner.initial(), WEIGHTS: weights}, inputs, labels, 1.0)
    gradient = weights - after[WEIGHTS].numpy()

    exact, differences = weights.astype(float), np.empty(len(weights))
    for place in range(len(weights)):
        moved = []
        for step in (1e-6, -1e-6):
            changed = exact.copy()
            changed[place] += step
            moved.append(_loss(arrays(learner, changed), inputs, labels))
        differences[place] = (moved[0] - moved[1]) / 2e-6
    assert float(found["loss"]) == pytest.approx(_loss(arrays(learner, exact), inputs, labels))
    # weights - after rounds to the last bit of a weight of at most 1: 6e-8
    np.testing.assert_allclose(gradient, differences, atol=3e-7)


def test_a_unit_at_zero_and_the_first_of_equal_values():
    from helpers.ondevice import operators
    from helpers.quiet import tensorflow

    tf = tensorflow()
    x = tf.constant([[-1.0, 0.0, 2.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(operators.relu(x))
    assert tape.gradient(y, x).numpy().tolist() == [[0, 0, 1]]
    image = tf.reshape(tf.constant([1.0, 3, 3, 3, 0, 5, 5, 2, 9]), [1, 3, 3, 1])
    with tf.GradientTape() as tape:
        tape.watch(image)
        y = tf.reduce_sum(operators.maximum_pooling(image, (2, 2)))
    assert tape.gradient(y, image).numpy().ravel().tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0]


def test_layers_that_are_not_trained_are_constants():
    model = net()
    for layer in model.layers[:-1]:
        layer.trainable = False
    last = Program(model, SCHEMA)
    assert last.sizes[WEIGHTS] == (6 * CLASSES + CLASSES,)
    state, (inputs, labels) = last.initial(), pictures(8)
    after, _ = last.stepped(state, inputs, labels, 0.01)
    assert np.abs(after[WEIGHTS].numpy() - state[WEIGHTS]).max() > 0.005
    wanted = model(inputs["image"]).numpy()
    found = last.outputs(state[WEIGHTS], inputs)["probabilities"].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert vector(arrays(last, state[WEIGHTS])).tolist() == state[WEIGHTS].tolist()


def _of(*layers):
    import keras

    image = x = keras.Input((12, 12, 1), name="image")
    for layer in layers:
        x = layer(x)
    return keras.Model(image, x, name="small")


def _last(L) -> list:
    return [L.Flatten(), L.Dense(CLASSES, activation="softmax", name="probabilities")]


REFUSALS = {
    "layer 'norm' has a BatchNormalization": lambda L: [
        L.BatchNormalization(name="norm"),
        *_last(L),
    ],
    "layer 'drop' has a Dropout": lambda L: [L.Dropout(0.5, name="drop"), *_last(L)],
    "layer 'far' has strides (2, 2)": lambda L: [L.Conv2D(2, 3, strides=2, name="far"), *_last(L)],
    "layer 'wide' has dilation_rate (2, 2)": lambda L: [
        L.Conv2D(2, 3, dilation_rate=2, name="wide"),
        *_last(L),
    ],
    "layer 'gelu' has the activation gelu": lambda L: [
        L.Conv2D(2, 3, activation="gelu", name="gelu"),
        *_last(L),
    ],
    "layer 'first' has channels first": lambda L: [
        L.MaxPooling2D((2, 1), data_format="channels_first", name="first"),
        *_last(L),
    ],
    "layer 'over' has windows that overlap": lambda L: [
        L.MaxPooling2D(3, 1, name="over"),
        *_last(L),
    ],
    "layer 'kept' has a kernel_regularizer": lambda L: [
        L.Conv2D(2, 3, kernel_regularizer="l2", name="kept"),
        *_last(L),
    ],
    "layer 'each' has an input of 4 axes": lambda L: [L.Dense(2, name="each"), *_last(L)],
    "ends with linear": lambda L: [L.Flatten(), L.Dense(3, name="probabilities")],
    "sigmoid is of one value": lambda L: [L.Flatten(), L.Dense(3, activation="sigmoid", name="o")],
}
"""Layers, made with `keras.layers`, by what is said of them."""


@pytest.mark.parametrize("said", REFUSALS)
def test_what_cannot_be_trained_is_told_by_name(said):
    from helpers.quiet import tensorflow

    tensorflow()
    from keras import layers

    model = _of(*REFUSALS[said](layers))
    with pytest.raises(BadInput) as error:
        Program(model, SCHEMA)
    assert said in str(error.value)
