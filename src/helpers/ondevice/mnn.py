"""The same training with MNN's own operators, gradients and optimisers.

Two of its ways are not Keras' and are written otherwise here. Its maximum pooling gives the whole
gradient to each of equal values in a window, so that a blank picture counts four times: a window's
places are picked by convolutions with fixed kernels, and compared in pairs. And slices, which would
pick them too, have no gradient in MNN: what is in front of them is not trained, without a word.

MNN lets nobody read its optimiser's vectors, so that training with momentum or Adam that is
interrupted begins them anew.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from helpers.errors import BadInput
from helpers.ondevice import optimisers
from helpers.ondevice.program import STEP, WEIGHTS, Program, State, arrays, vector
from helpers.quiet import native_output
from helpers.studies import Inputs


class Trainer:
    """Trains what a program says in MNN; used as `helpers.ondevice.trainer.Trainer`.

    Raises
    ------
    BadInput : a layer that is not written for MNN, by name.
    """

    def __init__(self, program: Program):
        with native_output():
            import MNN.expr as F
            from MNN import nn

        F.lazy_eval(True)  # without it the gradient is of nothing, and no weight moves
        self._F, self._program = F, program
        self._graph = _Graph(program.model)
        if any(not layer.trainable for layer in program.model.layers if layer.weights):
            raise BadInput("MNN's optimisers train every layer: no layer can be kept as it is")
        graph = self._graph
        graph.picks = {  # beside the net, which would train them
            layer.name: _picks(F, nn, layer)
            for layer in program.model.layers
            if type(layer).__name__ == "MaxPooling2D"
        }

        class Net(nn.Module):
            """The layers with weights, as MNN registers them."""

            def __init__(self):
                super().__init__()
                for number, layer in enumerate(graph.weighted):
                    setattr(self, f"layer{number}", _made(F, nn, layer))

            def forward(self, given):
                return graph.run(F, given, self)

        self._net = Net()
        self.restore(program.initial())

    def train(self, inputs: Inputs, labels: np.ndarray, learning_rate: float) -> dict[str, float]:
        """One step on a batch; ``loss`` and the share that was ``correct`` before it."""
        self._net.train(True)
        found = self._net.forward(self._given(inputs))
        loss = self._loss(found, labels)
        before = self._said(found, loss, labels)
        self._optimiser.learning_rate = float(learning_rate)
        self._optimiser.step(loss)
        self._steps += 1
        return before

    def evaluate(self, inputs: Inputs, labels: np.ndarray) -> dict[str, float]:
        """``loss`` and the share that is ``correct``."""
        self._net.train(False)
        found = self._net.forward(self._given(inputs))
        return self._said(found, self._loss(found, labels), labels)

    def _said(self, found, loss, labels: np.ndarray) -> dict[str, float]:
        decided = _read(found).reshape(len(labels), -1).argmax(axis=1)
        return {"loss": float(_read(loss)), "correct": float(np.mean(decided == labels))}

    def infer(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """The model's output by name, ``(n_rows, ...)``."""
        self._net.train(False)
        rows = len(next(iter(inputs.values())))
        found = _read(self._net.forward(self._given(inputs))).reshape(rows, -1)
        binary = self._program.model.outputs[0].shape[-1] == 1
        return {self._program.schema.output.name: found[:, 1:] if binary else found}

    def save(self) -> State:
        """The weights and the steps made; what the optimiser holds cannot be read."""
        values = []
        for held in self._held():
            *bias, kernel = (_read(each) for each in held)
            kernel = kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T
            values += [kernel, *(each.ravel() for each in bias)]
        return {WEIGHTS: vector(values), STEP: np.float32(self._steps)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Begin from weights, with an optimiser that has seen nothing."""
        from MNN import optim

        rest = iter(arrays(self._program, np.asarray(state[WEIGHTS], np.float32)))
        for layer, held in zip(self._graph.weighted, self._held(), strict=True):
            kernel, bias = next(rest), [next(rest)] if layer.use_bias else []
            kernel = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
            for parameter, value in zip(held, [*bias, kernel], strict=True):
                parameter.write(np.ascontiguousarray(value).ravel().tolist())
        chosen = self._program.optimiser
        if isinstance(chosen, optimisers.SGD):
            self._optimiser = optim.SGD(self._net, 0.001, chosen.momentum, 0.0)
        else:
            self._optimiser = optim.ADAM(self._net, 0.001)
            self._optimiser.momentum = chosen.beta_1
            self._optimiser.momentum2 = chosen.beta_2
            self._optimiser.eps = chosen.epsilon
        self._steps = 0

    def _held(self) -> list:
        """MNN's parameters of each layer: the bias, if there is one, and the kernel."""
        return [
            getattr(self._net, f"layer{i}").parameters for i in range(len(self._graph.weighted))
        ]

    def _given(self, inputs: Inputs) -> dict:
        F, given = self._F, {}
        for tensor in self._program.schema.inputs:
            array = np.asarray(inputs[tensor.name], np.float32)
            if array.ndim == 4:
                array = array.transpose(0, 3, 1, 2)
            values = np.ascontiguousarray(array).ravel().tolist()
            value = F.const(values, list(array.shape), F.NCHW)
            given[tensor.name] = F.convert(value, F.NC4HW4) if array.ndim == 4 else value
        return given

    def _loss(self, found, labels: np.ndarray):
        F, rows = self._F, len(labels)
        from MNN import nn

        classes = max(2, int(self._program.model.outputs[0].shape[-1]))
        number = F.const([int(x) for x in labels], [rows], F.NCHW, F.int)
        return nn.loss.cross_entropy(found, F.one_hot(number, classes, 1.0, 0.0))


def _read(variable) -> np.ndarray:
    """A copy of what a variable holds; MNN hands out memory that is gone with the variable."""
    return np.array(variable.read())


class _Graph:
    """A Keras graph of layers, to be run by MNN, with channels in front of rows and columns."""

    def __init__(self, model):
        self._layers = list(model.layers)
        self._from: dict[str, list[str]] = {}
        before = []
        described = {each["config"]["name"]: each for each in model.get_config()["layers"]}
        for layer in self._layers:
            kind = type(layer).__name__
            if kind not in LAYERS:
                raise BadInput(
                    f"layer {layer.name!r} is a {kind}, which is not written for MNN's training; "
                    f"what is: {', '.join(LAYERS)}"
                )
            nodes = described.get(layer.name, {}).get("inbound_nodes")
            self._from[layer.name] = _histories(nodes) if nodes is not None else before
            before = [layer.name]
        self.picks: dict[str, list] = {}
        self.weighted = [layer for layer in self._layers if layer.weights]

    def run(self, F, given: Mapping, net):
        values = dict(given)
        for layer in self._layers:
            if layer.name in values:
                continue
            taken = [values[name] for name in self._from[layer.name]]
            if layer.weights:
                number = self.weighted.index(layer)
                value = getattr(net, f"layer{number}")(taken[0])
                values[layer.name] = _bent(F, layer, value)
            else:
                values[layer.name] = LAYERS[type(layer).__name__](
                    F, layer, taken, self.picks.get(layer.name)
                )
        return values[self._layers[-1].name]


def _histories(nodes) -> list[str]:
    """Names of the layers that a layer takes, as Keras' configuration has them."""
    if isinstance(nodes, Mapping):
        if "keras_history" in nodes:
            return [nodes["keras_history"][0]]
        nodes = list(nodes.values())
    if not isinstance(nodes, (list, tuple)):
        return []
    return [name for each in nodes for name in _histories(each)]


def _made(F, nn, layer):
    """MNN's layer with the weights of a Keras layer."""
    if type(layer).__name__ == "Dense":
        return nn.linear(int(layer.kernel.shape[0]), int(layer.kernel.shape[1]), layer.use_bias)
    high, wide, taken, given = (int(n) for n in layer.kernel.shape)
    padding = F.Padding_Mode.SAME if layer.padding == "same" else F.Padding_Mode.VALID
    return nn.conv(taken, given, [wide, high], padding_mode=padding, bias=layer.use_bias)


def _bent(F, layer, value):
    """The activation; sigmoid is softmax beside a zero, since its loss has no gradient in MNN."""
    name = getattr(layer.activation, "__name__", "")
    bends = {
        "linear": lambda x: x,
        "relu": F.relu,
        "softmax": lambda x: F.softmax(x, 1),
        "sigmoid": lambda x: F.softmax(F.concat([x - x, x], 1), 1),
    }
    if name not in bends:
        raise BadInput(f"layer {layer.name!r} ends with {name}, which is not written for MNN")
    return bends[name](value)


def _flattened(F, layer, taken, picks):
    """As Keras flattens: channels last."""
    value = taken[0]
    if len(layer.input.shape) == 4:
        value = F.transpose(F.convert(value, F.NCHW), [0, 2, 3, 1])
    return F.reshape(value, [-1, int(np.prod(layer.input.shape[1:]))])


def _picks(F, nn, layer) -> list:
    """A convolution for each place of a pooling window, with a fixed kernel that picks it."""
    (high, wide), channels = layer.pool_size, int(layer.input.shape[-1])
    found = []
    for place in range(high * wide):
        pick = nn.conv(
            channels,
            channels,
            [wide, high],
            stride=[wide, high],
            padding_mode=F.Padding_Mode.VALID,
            depthwise=True,
            bias=False,
        )
        kernel = np.zeros((channels, high * wide), np.float32)
        kernel[:, place] = 1.0
        pick.parameters[-1].write(kernel.ravel().tolist())
        found.append(pick)
    return found


def _pooled(F, layer, taken, picks):
    """The largest of each window; of equal ones the first takes all of the gradient."""
    found = None
    for pick in picks:
        value = pick(taken[0])
        found = value if found is None else found + F.relu(value - found)
    return found


LAYERS = {
    "InputLayer": lambda F, layer, taken, picks: taken[0],
    "Conv2D": None,
    "Dense": None,
    "MaxPooling2D": _pooled,
    "AveragePooling2D": lambda F, layer, taken, picks: F.avg_pool(
        taken[0], list(layer.pool_size[::-1]), list(layer.pool_size[::-1])
    ),
    "Flatten": _flattened,
    "Concatenate": lambda F, layer, taken, picks: F.concat(taken, 1),
    "ReLU": lambda F, layer, taken, picks: F.relu(taken[0]),
}
"""How MNN computes a layer, by its kind; those with weights are `_made`."""
