"""Tasks: the kinds of decision that a model makes, and when a file still decides the same.

A task is a value: `Task` says what is read of an output, how a file is judged by it, and what of
that people see. Each module here holds one:

- ``ranking``: a score a row; rows of a group (a request) compete with each other
- ``classification``: a probability a class
- ``tensors``: any outputs, without labels

Nothing here knows files, runtimes or frameworks.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from helpers.errors import BadInput
from helpers.tasks.judgement import Judgement

Outputs = Mapping[str, np.ndarray]
"""By name ``(n_rows, *shape)``; the first is what is decided by."""


@dataclass(frozen=True)
class Truth:
    """What a split's rows are known to be, each ``(n_rows,)``; None where nobody knows.

    Attributes
    ----------
    groups : which rows compete with each other.
    clusters : what was drawn independently, of whole groups; default the groups, or else the rows.
    """

    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    clusters: np.ndarray | None = None


@dataclass(frozen=True)
class Shown:
    """A column of ``comparison.csv`` for people: its heading, and how a figure is written.

    Attributes
    ----------
    change : the figure that is its change from the reference's, which has an interval; if any.
    alike : whether it says how alike two decide, and nothing of one alone.
    """

    heading: str
    form: str
    change: str = ""
    alike: bool = False


@dataclass(frozen=True)
class Task:
    """One kind of decision.

    Attributes
    ----------
    training_loss : what a model is trained on, by the name that frameworks have for it; None where
        there is nothing to train on.
    columns, more_columns : what a judgement adds to ``comparison.csv``, beside the verdict and
        before and after the latency.
    shown : those that people read first.
    headline : the figure that says how good the trained model is.
    loss, loss_sign : figure with what a file loses at worst, and 1 or -1, times which a loss is
        positive.
    lost : what that figure is, in words, behind a number: ``AUC lost``.
    agreement, agreement_name : figure up to 1 that says how alike the trained model a file decides.
    verbs : what a model does, as in "ranks most like the trained model", and what several do.
    gives : what it gives, as in "its scores are the model's".
    judge : of a file's output, the reference's, and the truth.
    tables : of judgements by variant, two DataFrames of text: how alike it decides, and what its
        values are worth.
    activation : what turns the output that is decided by into probabilities, where it is of logits:
        ``sigmoid``, ``softmax``, or nothing. Files give what they give; judging applies it.
    chance : of a comparison's row of the trained model, why it decides no better than chance; empty
        if it does.
    """

    name: str
    training_loss: str | None
    columns: tuple[str, ...]
    more_columns: tuple[str, ...]
    shown: Mapping[str, Shown]
    headline: str
    loss: str
    loss_sign: int
    lost: str
    agreement: str
    agreement_name: str
    verbs: tuple[str, str]
    gives: str
    judge: Callable[[Outputs, Outputs, Truth], Judgement]
    tables: Callable[[Mapping[str, Judgement]], tuple]
    chance: Callable[[object], str]
    limits: Mapping[str, float] = field(default_factory=dict)
    activation: str = ""

    def to_json(self) -> dict:
        """Plain values for a config file; `get` takes them."""
        more = {"activation": self.activation} if self.activation else {}
        return {"name": self.name, **self.limits, **more}

    def decided(self, values: np.ndarray) -> np.ndarray:
        """What is decided by, of the values ``(n_rows, *shape)`` of an output."""
        if not self.activation:
            return values
        wide, dtype = values.astype(np.float64), np.result_type(values.dtype, np.float32)
        if self.activation == "sigmoid":
            return (0.5 * (1 + np.tanh(wide / 2))).astype(dtype)
        odds = np.exp(wide - wide.max(axis=-1, keepdims=True))
        return (odds / odds.sum(axis=-1, keepdims=True)).astype(dtype)


NAMES = ("ranking", "classification", "tensors")
ACTIVATIONS = ("sigmoid", "softmax")


def get(name: str, *, activation: str = "", **limits: float) -> Task:
    """Return the task of that name, with `limits` in the place of its own where it takes any.

    Raises
    ------
    BadInput : there is no such task, or no such activation, or the task takes no such limit.
    """
    if name not in NAMES:
        raise BadInput(f"there is no task {name!r}; there is: {', '.join(NAMES)}")
    module = importlib.import_module(f"{__name__}.{name}")
    limited = getattr(module, "limited", None)
    takes = [*inspect.signature(limited).parameters] if limited else []
    if unknown := [limit for limit in limits if limit not in takes]:
        raise BadInput(
            f"the task {name} takes no limit {unknown[0]!r}; it takes: "
            f"{', '.join([*takes, 'activation'])}"
        )
    task = limited(**limits) if limits else getattr(module, name.upper())
    if activation and activation not in ACTIVATIONS:
        raise BadInput(f"activation is {' or '.join(ACTIVATIONS)}, not {activation!r}")
    return replace(task, activation=activation) if activation else task
