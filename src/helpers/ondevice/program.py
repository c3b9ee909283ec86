"""What a training file computes: one step of training, as a function without any state."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from helpers.errors import BadInput
from helpers.ondevice import operators, optimisers
from helpers.quiet import tensorflow
from helpers.runtimes.keras import structured
from helpers.schema import Schema

WEIGHTS, STEP = "weights", "step"
IGNORED = "ignored"
"""Input of ``save``: TensorFlow Lite's ``runSignature`` in Java refuses a signature without one."""
State = dict[str, np.ndarray]
"""By name: ``weights (n,)``, the optimiser's slots ``(n,)`` and ``step ()``, all float32."""


@dataclass(frozen=True)
class Program:
    """A Keras model, its loss and an optimiser, as functions of their state.

    All trained weights are one vector, in the order in which Keras has them; what is not trained is
    a constant.

    Attributes
    ----------
    model : Keras model; layers with ``trainable = False`` keep their weights.
    schema : of the model.
    optimiser : one of `helpers.ondevice.optimisers`.
    rules : others only to plant a fault.
    """

    model: object
    schema: Schema
    optimiser: object = field(default_factory=optimisers.Adam)
    rules: operators.Rules = field(default_factory=operators.Rules)

    def __post_init__(self):
        twin = operators.twin(self.model, self.rules)
        if not twin.trainable_variables:
            raise BadInput(f"no layer of {self.model.name} is to be trained")
        object.__setattr__(self, "_twin", twin)
        object.__setattr__(self, "_trained", list(self.model.trainable_variables))
        constants = [variable.numpy() for variable in twin.non_trainable_variables]
        object.__setattr__(self, "_constants", constants)

    def untrained(self, seed: int = 42) -> Program:
        """The same, of a model whose weights are drawn anew.

        The same weights as after `keras.utils.set_random_seed`, whose draws other threads of the
        process (Dask's among them) take part of.
        """
        rng = random.Random(seed)

        def anew(layer):
            return type(layer).from_config(_seeded(layer.get_config(), rng))

        clone = _keras().models.clone_model
        model = clone(self.model)  # without these seeds, for whoever draws once more
        model.set_weights(clone(self.model, clone_function=anew).get_weights())
        return replace(self, model=model)

    def last_layer(self) -> Program:
        """The same, of a copy of the model of which only the last layer with weights is trained."""
        model = _keras().models.clone_model(self.model)
        model.set_weights(self.model.get_weights())
        for layer in [layer for layer in model.layers if layer.weights][:-1]:
            layer.trainable = False
        return replace(self, model=model)

    @property
    def layout(self) -> list[tuple[str, tuple[int, ...]]]:
        """Names and shapes of what lies in the vector of weights, in order."""
        return [(each.path, tuple(each.shape)) for each in self._trained]

    @property
    def sizes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the state, by name."""
        count = sum(int(np.prod(shape)) for _, shape in self.layout)
        return {WEIGHTS: (count,), **dict.fromkeys(self.optimiser.slots, (count,)), STEP: ()}

    def initial(self) -> State:
        """The model's weights, and an optimiser that has seen nothing."""
        state = {name: np.zeros(shape, np.float32) for name, shape in self.sizes.items()}
        state[WEIGHTS] = vector([v.numpy() for v in self._trained])
        return state

    def logits(self, weights, inputs: Mapping):
        """What the model says before softmax or sigmoid, ``(n, n_classes)``."""
        return self._logits(self._parts(weights), inputs)

    def outputs(self, weights, inputs: Mapping) -> dict:
        """The model's output, by name."""
        tf = tensorflow()
        logits = self.logits(weights, inputs)
        ends = tf.sigmoid if int(logits.shape[1]) == 1 else tf.nn.softmax
        return {self.schema.output.name: self.rules.shown(ends(logits))}

    def evaluated(self, weights, inputs: Mapping, labels) -> dict:
        """``loss``, mean over the rows, and how many of them are ``correct``."""
        logits = self.logits(weights, inputs)
        seen = self.rules.seen(labels, int(logits.shape[1]))
        loss = operators.cross_entropy(logits, seen)
        return {"loss": loss, "correct": operators.correct(logits, seen)}

    def stepped(self, state: Mapping, inputs: Mapping, labels, learning_rate) -> tuple[dict, dict]:
        """The state after one step, and ``loss`` and ``correct`` of the rows before it."""
        tf = tensorflow()
        parts = self._parts(state[WEIGHTS])
        with tf.GradientTape() as tape:
            tape.watch(parts)
            logits = self._logits(parts, inputs)
            seen = self.rules.seen(labels, int(logits.shape[1]))
            loss = operators.cross_entropy(logits, seen)
        gradients = tape.gradient(loss, parts)
        gradient = tf.concat([tf.reshape(each, [-1]) for each in gradients], 0)
        step = state[STEP] + 1.0
        slots = tuple(state[name] for name in self.optimiser.slots)
        weights, slots = self.optimiser.update(state[WEIGHTS], slots, gradient, step, learning_rate)
        after = {WEIGHTS: weights, **dict(zip(self.optimiser.slots, slots, strict=True))}
        found = {"loss": loss, "correct": operators.correct(logits, seen)}
        return {**after, STEP: step}, found

    def restored(self, state: Mapping) -> dict:
        """What a state becomes that was saved before: the same."""
        return dict(state)

    def specs(self, *, labels: bool = False) -> dict:
        """Shapes and types of a batch, by name; any number of rows."""
        tf = tensorflow()
        batch = self.schema.batch
        found = {t.name: tf.TensorSpec([batch, *t.shape], t.dtype) for t in self.schema.inputs}
        if labels:
            found["labels"] = tf.TensorSpec([batch], tf.int32)
        return found

    def _logits(self, parts, inputs: Mapping):
        rest = [tensorflow().constant(value) for value in self._constants]
        given = structured(self.model, inputs)
        return self._twin.stateless_call(parts, rest, given, training=True)[0]

    def _parts(self, weights) -> list:
        tf, result, place = tensorflow(), [], 0
        for _, shape in self.layout:
            size = int(np.prod(shape))
            result.append(tf.reshape(tf.slice(weights, [place], [size]), shape))
            place += size
        return result


def _seeded(config, rng: random.Random):
    """A layer's configuration in which whatever has no seed is given the one Keras would draw."""
    if isinstance(config, list):
        return [_seeded(each, rng) for each in config]
    if not isinstance(config, dict):
        return config
    return {
        key: rng.randint(1, 10**9) if (key, value) == ("seed", None) else _seeded(value, rng)
        for key, value in config.items()
    }


def _keras():
    tensorflow()
    import keras

    return keras


def vector(arrays) -> np.ndarray:
    """Arrays as one float32 vector."""
    return np.concatenate([np.ravel(each) for each in arrays]).astype(np.float32)


def arrays(program: Program, weights: np.ndarray) -> list[np.ndarray]:
    """A vector of weights as the arrays that Keras has."""
    shapes = [shape for _, shape in program.layout]
    places = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])
    ends = zip(places, places[1:], shapes, strict=False)
    return [weights[first:last].reshape(shape) for first, last, shape in ends]
