"""Studies: a model with its data and its task. Every module in this package is one.

Adding a study is adding a module here that defines ``STUDY = Study(...)``: the stages, runtimes and reports
find it by its name and learn everything else from its fields. Nothing here knows files or runtimes.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from helpers.errors import BadInput
from helpers.schema import Schema
from helpers.tasks import Task
from helpers.tasks.ranking import RANKING

Inputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Scenario:
    """One way to make the study's data: how features are drawn and what a user then prefers.

    A row is one user, one context and one candidate item; `candidates` rows in a row form a request. The
    label is 1 where ``utility + noise * e > threshold`` with e standard logistic, so that
    ``P(label = 1) = sigmoid((utility - threshold) / noise)`` is known exactly for every row.

    Attributes
    ----------
    summary : one sentence for tables and help.
    draw : ``(rng, n_rows) -> named inputs``, `n_rows` a multiple of `candidates` or the tail of a set. In a study with
        `Study.features`, raw columns ``(n_rows,)`` named by `features.column`; those that begin with ``_`` are hidden.
    utility : what `draw` returned ``-> (n_rows,) float64``.
    threshold : where the label flips; None is the median of the set that is made (train, validation and
        test each have their own).
    noise : scale of the logistic noise; 0 makes the label a function of the features.
    candidates : rows a request.
    requests_a_user : requests in a row that are one user's. Above 1 the data has a column of users, and intervals are
        taken over users: what a model gets wrong for one of them it gets wrong again.
    """

    name: str
    summary: str
    draw: Callable[[np.random.Generator, int], dict[str, np.ndarray]]
    utility: Callable[[Inputs], np.ndarray]
    threshold: float | None
    noise: float
    candidates: int = 20
    requests_a_user: int = 1

    def probability(self, utility: np.ndarray, threshold: float) -> np.ndarray:
        """P(label = 1) of rows with this utility, ``(n_rows,) float64``: the score no model can beat."""
        if self.noise == 0:
            return (utility > threshold).astype(np.float64)
        return 1.0 / (1.0 + np.exp((threshold - utility) / self.noise))


@dataclass(frozen=True)
class Published:
    """Figures that somebody printed for this model, to be held against what is measured."""

    scenario: str
    rows: int
    validation_rows: int
    validation_accuracy: tuple[float, ...]


@dataclass(frozen=True)
class Study:
    """Everything the stages need to know of a model and its data.

    Where `features` is given, the data is raw: the encoding that `helpers.features.fit` makes of it on training rows
    turns it into the inputs of the schema, here and on the phone; `id_field` is the raw field that names an item.
    `defaults` are parameters for which this study needs other values than the notebooks declare; `task` is what kind
    of decision is made, see `helpers.tasks`.

    The first scenario is the default one. `build_model` takes ``hidden_units`` and returns an uncompiled Keras
    model whose inputs and output have the names, order and shapes of `schema`; it imports Keras itself, so that
    knowing a study costs nothing.
    """

    name: str
    title: str
    schema: Schema
    scenarios: Mapping[str, Scenario]
    build_model: Callable
    published: Published | None = None
    features: tuple = ()
    id_field: str = ""
    defaults: Mapping[str, object] = field(default_factory=dict)
    task: Task = RANKING

    def scenario(self, name: str) -> Scenario:
        """The scenario of that name, the first for ``"default"``, or a BadInput that lists those there are."""
        if name == "default":
            return next(iter(self.scenarios.values()))
        if name not in self.scenarios:
            raise BadInput(f"study {self.name!r} has no scenario {name!r}; it has: {', '.join(self.scenarios)}")
        return self.scenarios[name]


def cross_utility(study: Study, scenario: str, *, users: int, items: int, seed: int) -> np.ndarray:
    """Utility of the same items for different users in one context, ``(users, items) float64``.

    If its rows sort alike, the scenario is not personal: one popularity list serves everybody.
    """
    chosen = study.scenario(scenario)
    rng = np.random.default_rng(seed)
    people = chosen.draw(rng, users * chosen.candidates)
    things = chosen.draw(rng, items)
    crossed = {}
    for name in people:
        role = _role(study, name)
        if role == "user":
            crossed[name] = np.repeat(people[name][:: chosen.candidates], items, axis=0)
        elif role == "item":
            crossed[name] = np.concatenate([things[name]] * users)
        else:
            crossed[name] = np.repeat(things[name][:1], users * items, axis=0)
    return chosen.utility(crossed).reshape(users, items)


def _role(study: Study, name: str) -> str:
    """Whose property something is that a scenario draws: an input, or a raw column."""
    if study.features:
        return "item" if name.removeprefix("_").startswith("candidate") else "user"
    return next(tensor.role for tensor in study.schema.inputs if tensor.name == name)


def names() -> list[str]:
    """Names of all studies, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Study:
    """The study of that name, or a BadInput that lists those there are."""
    if name not in names():
        raise BadInput(f"there is no study {name!r}; there is: {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}").STUDY
