"""Layers that can be trained in a model file: what each computes, and its gradient.

A gradient is written with operators that every TensorFlow Lite runtime has. Keras' own becomes
operators that none has, as the gradient of a convolution by its kernel. Two choices are not free:
where a unit is exactly zero, relu's gradient is zero; of equal values in a pooling window the first
takes all. TensorFlow chooses so, and blank pictures are full of both cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from helpers.errors import BadInput
from helpers.quiet import tensorflow


def dense(x, kernel, bias):
    """``x (n, n_in)`` times ``kernel (n_in, n_out)`` plus ``bias``, which may be None."""
    tf = tensorflow()

    @tf.custom_gradient
    def product(x, kernel):
        def gradient(dy):
            by_x = tf.matmul(dy, kernel, transpose_b=True)
            return by_x, tf.matmul(x, dy, transpose_a=True)

        return tf.matmul(x, kernel), gradient

    return _biased(product(x, kernel), bias)


def convolution(x, kernel, bias, padding: str):
    """``x (n, height, width, c_in)`` by ``kernel (k_h, k_w, c_in, c_out)``, steps of 1.

    The gradient by the kernel is one matrix product: a row for each place of the kernel and input
    channel, of all places and pictures it was applied to.
    """
    tf = tensorflow()
    high, wide, taken, given = (int(n) for n in kernel.shape)
    top, left = ((high - 1) // 2, (wide - 1) // 2) if padding == "same" else (0, 0)
    below, right = (high - 1 - top, wide - 1 - left) if padding == "same" else (0, 0)

    @tf.custom_gradient
    def applied(x, kernel):
        def gradient(dy):
            rows, columns = int(dy.shape[1]), int(dy.shape[2])
            padded = tf.pad(x, [[0, 0], [top, below], [left, right], [0, 0]])
            across = tf.transpose(padded, [3, 1, 2, 0])
            seen = [
                tf.reshape(across[:, i : i + rows, j : j + columns], [taken, -1])
                for i in range(high)
                for j in range(wide)
            ]
            wanted = tf.reshape(tf.transpose(dy, [3, 1, 2, 0]), [given, -1])
            by_kernel = tf.matmul(tf.concat(seen, 0), wanted, transpose_b=True)
            above, before = high - 1 - top, wide - 1 - left
            around = [[0, 0], [above, high - 1 - below], [before, wide - 1 - right], [0, 0]]
            # one axis: of two TensorFlow Lite 2.9 says that it cannot reverse them, and goes on
            turned = tf.reverse(tf.reshape(kernel, [high * wide, taken, given]), [0])
            back = tf.reshape(tf.transpose(turned, [0, 2, 1]), [high, wide, given, taken])
            by_x = tf.nn.conv2d(tf.pad(dy, around), back, 1, "VALID")
            return by_x, tf.reshape(by_kernel, [high, wide, taken, given])

        return tf.nn.conv2d(x, kernel, 1, padding.upper()), gradient

    return _biased(applied(x, kernel), bias)


def _biased(x, bias):
    tf = tensorflow()
    if bias is None:
        return x

    @tf.custom_gradient
    def added(x, bias):
        return x + bias, lambda dy: (dy, tf.reduce_sum(dy, list(range(len(x.shape) - 1))))

    return added(x, bias)


def relu(x):
    """The larger of ``x`` and 0; at exactly 0 its gradient is 0."""
    tf = tensorflow()

    @tf.custom_gradient
    def bent(x):
        y = tf.nn.relu(x)
        return y, lambda dy: dy * tf.cast(y > 0, tf.float32)

    return bent(x)


def maximum_pooling(x, size: tuple[int, int]):
    """The largest of each window ``size``, windows side by side; of equal ones the first in reading
    order takes all of the gradient.
    """
    return pooled(x, size, "max", _first)


def average_pooling(x, size: tuple[int, int]):
    """The mean of each window ``size``, windows side by side."""
    return pooled(x, size, "avg", _evenly)


def pooled(x, size: tuple[int, int], kind: str, shares: Callable):
    """Windows side by side; `shares` are the parts of the gradient that go to each of their places,
    of the places' values, the pooled ones and these' gradient.
    """
    tf = tensorflow()
    pool = tf.nn.max_pool2d if kind == "max" else tf.nn.avg_pool2d

    @tf.custom_gradient
    def pooled(x):
        y = pool(x, size, size, "VALID")

        def gradient(dy):
            (high, wide), (rows, columns) = size, (int(n) for n in y.shape[1:3])
            inside = x[:, : rows * high, : columns * wide]
            places = [inside[:, i::high, j::wide] for i in range(high) for j in range(wide)]
            parts = shares(places, y, dy)
            lines = [
                _joined(parts[i * wide : (i + 1) * wide], 3, [-1, rows, columns * wide])
                for i in range(high)
            ]
            whole = _joined(lines, 2, [-1, rows * high, columns * wide])
            rest = [int(x.shape[1]) - rows * high, int(x.shape[2]) - columns * wide]
            return tf.pad(whole, [[0, 0], [0, rest[0]], [0, rest[1]], [0, 0]])

        return y, gradient

    return pooled(x)


def _joined(parts, axis: int, shape: list[int]):
    """Values that alternate along an axis."""
    tf = tensorflow()
    return tf.reshape(tf.stack(parts, axis), [*shape, int(parts[0].shape[-1])])


def _first(places, y, dy):
    tf = tensorflow()
    result, free = [], None
    for place in places:
        hit = tf.cast(tf.equal(place, y), tf.float32)
        mine = hit if free is None else hit * free
        free = 1.0 - mine if free is None else free - mine
        result.append(mine * dy)
    return result


def _evenly(places, y, dy):
    return [dy * (1.0 / len(places))] * len(places)


def sigmoid(x):
    """1 / (1 + exp(-x))."""
    tf = tensorflow()

    @tf.custom_gradient
    def bent(x):
        y = tf.sigmoid(x)
        return y, lambda dy: dy * y * (1.0 - y)

    return bent(x)


def tanh(x):
    """The hyperbolic tangent."""
    tf = tensorflow()

    @tf.custom_gradient
    def bent(x):
        y = tf.tanh(x)
        return y, lambda dy: dy * (1.0 - y * y)

    return bent(x)


def cross_entropy(logits, labels):
    """Mean over the rows of what the class says of ``labels (n,)``, which is not differentiated.

    ``logits (n, n_classes)``; ``(n, 1)`` is one probability, and labels are 0 and 1.
    """
    tf = tensorflow()
    classes = int(logits.shape[1])

    @tf.custom_gradient
    def loss(logits):
        rows = tf.cast(tf.shape(logits)[0], tf.float32)
        if classes == 1:
            wanted = tf.reshape(tf.cast(labels, tf.float32), [-1, 1])
            found = tf.sigmoid(logits)
            tail = tf.math.log(1.0 + tf.exp(-tf.abs(logits)))
            each = tf.nn.relu(logits) - logits * wanted + tail
        else:
            wanted = tf.one_hot(labels, classes)
            found = tf.nn.softmax(logits)
            lowered = logits - tf.reduce_max(logits, 1, keepdims=True)
            each = tf.math.log(tf.reduce_sum(tf.exp(lowered), 1))
            each -= tf.reduce_sum(lowered * wanted, 1)
        return tf.reduce_sum(each) / rows, lambda dy: dy * (found - wanted) / rows

    return loss(logits)


def correct(logits, labels):
    """How many of the rows are decided as labelled, ``()`` float32."""
    tf = tensorflow()
    if int(logits.shape[1]) == 1:
        decided = tf.cast(tf.reshape(logits, [-1]) > 0, tf.int32)
    else:
        decided = tf.argmax(logits, 1, tf.int32)
    return tf.reduce_sum(tf.cast(tf.equal(decided, labels), tf.float32))


@dataclass(frozen=True)
class Rules:
    """What may be done in another way, and then is wrong, see `helpers.ondevice.faults`.

    Attributes
    ----------
    relu, pool : operators with their gradients.
    seen : what becomes of labels before the loss.
    shown : what becomes of the outputs of ``infer``.
    """

    relu: Callable = relu
    pool: Callable = maximum_pooling
    seen: Callable = lambda labels, classes: labels
    shown: Callable = lambda outputs: outputs


_ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh")
_LAST = {"softmax", "sigmoid"}
_AS_THEY_ARE = ("InputLayer", "Flatten", "Reshape", "Concatenate", "Add", "Permute", "Rescaling")
_TRAINABLE = ("Dense", "Conv2D", "MaxPooling2D", "AveragePooling2D", "ReLU", "Activation")
_SUPPORTED = (*_TRAINABLE, *_AS_THEY_ARE[1:])


def twin(model, rules: Rules):
    """The same Keras model of layers that are computed as here, and whose output are logits.

    Raises
    ------
    BadInput : a layer, or a setting of one, that cannot be trained in a file, by name.
    """
    import keras

    last = model.layers[-1] if model.layers else None
    if len(model.outputs or ()) != 1 or last is None or last.output is not model.outputs[0]:
        raise BadInput(f"{model.name} must have one output, of its last layer")
    ends = getattr(last, "activation", None)
    ending = getattr(ends, "__name__", "none")
    if ending not in _LAST:
        raise BadInput(
            f"the last layer {last.name!r} ends with {ending}: it must be softmax over classes, or "
            "sigmoid of one value, so that it is known what the loss is"
        )
    classes = int(last.output.shape[-1])
    if len(last.output.shape) != 2 or (ending == "sigmoid") != (classes == 1):
        raise BadInput(
            f"the last layer {last.name!r} gives {list(last.output.shape)} with {ending}: softmax "
            "is over two classes or more, sigmoid is of one value"
        )

    def bent(layer):
        name = getattr(layer.activation, "__name__", "")
        if layer is last:
            return lambda x: x
        if name not in _ACTIVATIONS:
            raise _refused(layer, f"the activation {name}", f"one of {', '.join(_ACTIVATIONS)}")
        return {
            "linear": lambda x: x,
            "relu": rules.relu,
            "sigmoid": sigmoid,
            "tanh": tanh,
        }[name]

    class Dense(keras.layers.Dense):
        def call(self, x):
            return self.ends(dense(x, _value(self.kernel), _value(self.bias)))

    class Conv2D(keras.layers.Conv2D):
        def call(self, x):
            return self.ends(convolution(x, _value(self.kernel), _value(self.bias), self.padding))

    class Pooling(keras.layers.Layer):
        def __init__(self, pool, size, **named):
            super().__init__(**named)
            self.pool, self.size = pool, size

        def call(self, x):
            return self.pool(x, self.size)

        def compute_output_shape(self, shape):
            return (shape[0], shape[1] // self.size[0], shape[2] // self.size[1], shape[3])

    class Bent(keras.layers.Layer):
        def call(self, x):
            return self.ends(x)

        def compute_output_shape(self, shape):
            return shape

    def made(layer):
        kind, named = type(layer).__name__, {"name": layer.name, "trainable": layer.trainable}
        if type(layer).__module__.partition(".")[0] != "keras" or kind not in (
            *_TRAINABLE,
            *_AS_THEY_ARE,
        ):
            raise _refused(layer, f"a {kind}", f"layers of {', '.join(_SUPPORTED)}")
        if kind in _AS_THEY_ARE:
            return type(layer).from_config(layer.get_config())
        if getattr(layer, "data_format", "channels_last") == "channels_first":
            raise _refused(layer, "channels first", "data_format='channels_last'")
        if kind in ("MaxPooling2D", "AveragePooling2D"):
            if layer.padding != "valid" or tuple(layer.strides) != tuple(layer.pool_size):
                raise _refused(layer, "windows that overlap or pad", "strides as its pool_size")
            pool = rules.pool if kind == "MaxPooling2D" else average_pooling
            return Pooling(pool, tuple(layer.pool_size), **named)
        if kind == "ReLU":
            if layer.max_value is not None or layer.negative_slope or layer.threshold:
                raise _refused(layer, "a limit, slope or threshold", "a plain relu")
            copy = Bent(**named)
            copy.ends = rules.relu
            return copy
        if kind == "Activation":
            copy = Bent(**named)
            copy.ends = bent(layer)
            return copy
        if kind == "Dense" and (axes := len(layer.input.shape)) != 2:
            raise _refused(layer, f"an input of {axes} axes", "Flatten before it")
        if kind == "Conv2D":
            plain = {"strides": (1, 1), "dilation_rate": (1, 1), "groups": 1}
            for setting, only in plain.items():
                if (found := getattr(layer, setting)) != only:
                    raise _refused(layer, f"{setting} {found}", f"{setting} {only}")
        for setting in ("kernel_regularizer", "bias_regularizer", "activity_regularizer"):
            if getattr(layer, setting, None) is not None:
                raise _refused(layer, f"a {setting}", "no term in the loss but its own")
        if getattr(layer, "kernel_constraint", None) or getattr(layer, "bias_constraint", None):
            raise _refused(layer, "a constraint", "free weights")
        copy = {"Dense": Dense, "Conv2D": Conv2D}[kind].from_config(layer.get_config())
        copy.ends = bent(layer)
        return copy

    copy = keras.models.clone_model(model, clone_function=made)
    copy.set_weights(model.get_weights())
    return copy


def _value(variable):
    return None if variable is None else tensorflow().convert_to_tensor(variable.value)


def _refused(layer, found: str, way: str) -> BadInput:
    return BadInput(
        f"layer {layer.name!r} has {found}, which cannot be trained in a file; what can: {way}"
    )
