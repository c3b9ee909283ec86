"""Optimisers as plain arithmetic on one vector of all weights, as Keras computes them.

Source: Keras 3, ``keras.optimizers``; Adam after Kingma and Ba (2015), with the epsilon outside of
the root and both corrections in the step size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from helpers.errors import BadInput
from helpers.quiet import tensorflow


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent, with momentum if it is above 0."""

    momentum: float = 0.0
    name: ClassVar[str] = "sgd"

    @property
    def slots(self) -> tuple[str, ...]:
        """Vectors that it keeps beside the weights, as long as these; zero at first."""
        return ("velocity",) if self.momentum else ()

    def update(self, weights, slots, gradient, step, learning_rate):
        """The weights and slots after a step; `step` counts from 1."""
        if not self.momentum:
            return weights - learning_rate * gradient, ()
        velocity = slots[0] * self.momentum - learning_rate * gradient
        return weights + velocity, (velocity,)

    def keras(self, learning_rate: float):
        """The same of Keras."""
        import keras

        return keras.optimizers.SGD(learning_rate, momentum=self.momentum)


@dataclass(frozen=True)
class Adam:
    """Adam; see the module for its source."""

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    name: ClassVar[str] = "adam"
    slots: ClassVar[tuple[str, ...]] = ("first_moment", "second_moment")

    def update(self, weights, slots, gradient, step, learning_rate):
        """The weights and slots after a step; `step` counts from 1."""
        first, second = self.moments(slots, gradient)
        size = learning_rate * self.correction(step)
        return weights - first * size / self.root(second), (first, second)

    def moments(self, slots, gradient):
        """Running means of the gradient and of its square."""
        first, second = slots
        first = first + (gradient - first) * (1 - self.beta_1)
        return first, second + (gradient * gradient - second) * (1 - self.beta_2)

    def correction(self, step):
        """What makes up for moments that began at zero."""
        tf = tensorflow()
        return tf.sqrt(1.0 - tf.pow(self.beta_2, step)) / (1.0 - tf.pow(self.beta_1, step))

    def root(self, second):
        """What the first moment is divided by."""
        return tensorflow().sqrt(second) + self.epsilon

    def keras(self, learning_rate: float):
        """The same of Keras."""
        import keras

        return keras.optimizers.Adam(learning_rate, self.beta_1, self.beta_2, self.epsilon)


OPTIMISERS = {kind.name: kind for kind in (SGD, Adam)}


def get(name: str):
    """The optimiser of that name with its usual settings.

    Raises
    ------
    BadInput : there is none.
    """
    if name not in OPTIMISERS:
        raise BadInput(f"there is no optimiser {name!r}; there is: {', '.join(OPTIMISERS)}")
    return OPTIMISERS[name]()
