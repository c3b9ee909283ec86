"""What training on a device gets wrong, to be planted in a file, and to be told by name when found.

A fault is another rule or another optimiser of a `Program`. So the same fault can be computed
beside a file: the one that gives the file's weights is the one that the file has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from helpers.ondevice import operators, optimisers
from helpers.ondevice.program import STEP, WEIGHTS, Program
from helpers.quiet import tensorflow


def relu_of_maximum(x):
    """relu, whose gradient passes where the unit is exactly zero."""
    tf = tensorflow()

    @tf.custom_gradient
    def bent(x):
        return tf.nn.relu(x), lambda dy: dy * tf.cast(x >= 0, tf.float32)

    return bent(x)


def shared_pooling(x, size: tuple[int, int]):
    """Maximum pooling, whose gradient is shared evenly among equal values."""
    return operators.pooled(x, size, "max", _shared)


def _shared(places, y, dy):
    tf = tensorflow()
    hits = [tf.cast(tf.equal(place, y), tf.float32) for place in places]
    each = dy / tf.add_n(hits)
    return [hit * each for hit in hits]


def repeated_pooling(x, size: tuple[int, int]):
    """Maximum pooling, whose gradient goes whole to each of equal values."""
    return operators.pooled(x, size, "max", _repeated)


def _repeated(places, y, dy):
    tf = tensorflow()
    return [tf.cast(tf.equal(place, y), tf.float32) * dy for place in places]


class _Uncorrected(optimisers.Adam):
    def correction(self, step):
        return 1.0


class _InsideRoot(optimisers.Adam):
    def root(self, second):
        return tensorflow().sqrt(second + self.epsilon)


class _Late(optimisers.Adam):
    def update(self, weights, slots, gradient, step, learning_rate):
        after = self.moments(slots, gradient)
        size = learning_rate * self.correction(step)
        return weights - slots[0] * size / self.root(after[1]), after


class _LateVelocity(optimisers.SGD):
    def update(self, weights, slots, gradient, step, learning_rate):
        velocity = slots[0] * self.momentum - learning_rate * gradient
        return weights + slots[0], (velocity,)


class _Forgetful(Program):
    def restored(self, state: Mapping) -> dict:
        held = {WEIGHTS, STEP}
        return {n: v if n in held else 0.0 * v for n, v in state.items()}


class _Summed(Program):
    def evaluated(self, weights, inputs: Mapping, labels) -> dict:
        return _summed(super().evaluated(weights, inputs, labels), labels)

    def stepped(self, state: Mapping, inputs: Mapping, labels, learning_rate) -> tuple[dict, dict]:
        after, found = super().stepped(state, inputs, labels, learning_rate)
        return after, _summed(found, labels)


def _summed(found: dict, labels) -> dict:
    tf = tensorflow()
    return {**found, "loss": found["loss"] * tf.cast(tf.shape(labels)[0], tf.float32)}


def _dropped(outputs):
    """Every other class of every row set to zero, as a mask that is left on does."""
    tf = tensorflow()
    width = int(outputs.shape[1])
    mask = [2.0 * (place % 2) for place in range(max(width, 2))][-width:]
    return outputs * tf.constant(mask)


def _shifted(labels, classes: int):
    return 1 - labels if classes == 1 else tensorflow().math.floormod(labels + 1, classes)


@dataclass(frozen=True)
class Fault:
    """One of `FAULTS`.

    Attributes
    ----------
    says : what is wrong, for people.
    plant : a `Program` ``->`` the same with the fault; None where it makes no difference to it, as
        Adam's to SGD.
    """

    says: str
    plant: Callable[[Program], Program | None]


def _rules(**changed) -> Callable[[Program], Program]:
    return lambda program: replace(program, rules=replace(program.rules, **changed))


def _adam(kind: type) -> Callable[[Program], Program | None]:
    def plant(program: Program) -> Program | None:
        used = program.optimiser
        if not isinstance(used, optimisers.Adam):
            return None
        return replace(program, optimiser=kind(used.beta_1, used.beta_2, used.epsilon))

    return plant


def _late(program: Program) -> Program | None:
    if isinstance(program.optimiser, optimisers.SGD):
        if not program.optimiser.momentum:
            return None
        return replace(program, optimiser=_LateVelocity(program.optimiser.momentum))
    return _adam(_Late)(program)


def _as(kind: type[Program], program: Program) -> Program:
    return kind(program.model, program.schema, program.optimiser, program.rules)


def _forgetful(program: Program) -> Program | None:
    return _as(_Forgetful, program) if program.optimiser.slots else None


FAULTS = {
    "relu as a maximum": Fault(
        "relu passes the gradient where a unit is exactly zero", _rules(relu=relu_of_maximum)
    ),
    "pooling shared": Fault(
        "equal values of a pooling window share the gradient", _rules(pool=shared_pooling)
    ),
    "pooling repeated": Fault(
        "each of equal values of a pooling window takes the whole gradient",
        _rules(pool=repeated_pooling),
    ),
    "no bias correction": Fault(
        "Adam's moments, which begin at zero, are not corrected", _adam(_Uncorrected)
    ),
    "epsilon inside the root": Fault("epsilon is added before the root", _adam(_InsideRoot)),
    "momentum of another step": Fault("the step is that of the gradient before", _late),
    "labels shifted": Fault("labels are one too high", _rules(seen=_shifted)),
    "dropout in infer": Fault("infer leaves units out, as in training", _rules(shown=_dropped)),
    "loss summed": Fault(
        "the loss that is said is the sum over the batch", lambda program: _as(_Summed, program)
    ),
    "optimiser not restored": Fault(
        "restore brings back the weights and not the optimiser's state", _forgetful
    ),
}
"""By name."""
