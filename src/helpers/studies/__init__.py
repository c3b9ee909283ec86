"""Studies: a model with its data and its task. Every module in this package is one.

A study is a module that defines ``STUDY = Study(...)``, here or in a file of one's own: the stages,
runtimes and reports find it by its name (`helpers.registry`) and learn everything else from its
fields. Nothing here knows files or runtimes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.errors import BadInput
from helpers.schema import Schema

if TYPE_CHECKING:  # a study of tables does not change with how pictures are prepared
    from helpers.pictures import Preparation

Inputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Simulated:
    """A source that draws rows, so that what is best possible is known.

    The task says what `utility` means. Ranking: a row is one user, one context and one candidate
    item; the label is 1 where ``utility + noise * e > threshold`` with e standard logistic, so that
    ``P(label = 1) = sigmoid((utility - threshold) / noise)``. Classification: a utility a class;
    the label is the class with the largest ``utility + noise * g`` with g standard Gumbel, so that
    ``P(label) = softmax(utility / noise)``. Without a utility there are no labels.

    Attributes
    ----------
    summary : one sentence for tables and help.
    draw : ``(rng, n_rows) -> named inputs``, `n_rows` a multiple of `candidates` or the tail of a
        set. In a study with `Study.features`, raw columns ``(n_rows,)`` named by `features.column`;
        those that begin with ``_`` are hidden.
    utility : what `draw` returned ``-> (n_rows,)`` or ``(n_rows, n_classes)``, float64.
    threshold : where the label flips; None is the median of the set that is made (train, validation
        and test each have their own).
    noise : scale of the noise; 0 makes the label a function of the features.
    candidates : rows in a row that form a request.
    requests_a_user : requests in a row that are one user's. Above 1 the data has a column of users,
        and intervals are taken over users: what a model gets wrong for one of them it gets wrong
        again.
    """

    name: str
    summary: str
    draw: Callable[[np.random.Generator, int], dict[str, np.ndarray]]
    utility: Callable[[Inputs], np.ndarray] | None
    threshold: float | None = 0.0
    noise: float = 1.0
    candidates: int = 20
    requests_a_user: int = 1

    def probability(self, utility: np.ndarray, threshold: float) -> np.ndarray:
        """P(label = 1) of each utility, float64: the score that no ranking can beat."""
        if self.noise == 0:
            return (utility > threshold).astype(np.float64)
        return 1.0 / (1.0 + np.exp((threshold - utility) / self.noise))

    def class_probabilities(self, utilities: np.ndarray) -> np.ndarray:
        """P of each class ``(n_rows, n_classes)``, float64: what no classifier can beat."""
        highest = utilities.max(axis=1, keepdims=True)
        if self.noise == 0:
            return (utilities == highest).astype(np.float64)
        odds = np.exp((utilities - highest) / self.noise)
        return odds / odds.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Files:
    """A source that reads rows from tables: somebody's own data.

    Columns are found by name: a value of a tensor by its dimension's, a tensor whose values have no
    names as one column of lists. A group is never cut. Rows are split by a hash of their group, the
    same way each time; where there is a `time`, by when a group begins, the last ones being the
    test; where there is a `split`, as that column says.

    Attributes
    ----------
    summary : one sentence for tables and help.
    paths : ``.csv`` or ``.parquet`` files of the same columns: absolute, beside the study's file,
        or below ``data/<study>/raw``.
    label : column of 0 and 1 or of classes from 0 on; None if there is none.
    group : column of what competes with each other (a request, a session); None if each row stands
        alone.
    time : column of numbers or dates.
    split : column of ``train``, ``validation`` and ``test``.
    lone : what a ranking does with groups of one row, in which there is nothing to rank:
        ``refuse``, ``drop`` or ``keep``.
    shares : of groups in the validation and the test split, where no column says.
    """

    name: str
    summary: str
    paths: tuple[str, ...]
    label: str | None = None
    group: str | None = None
    time: str | None = None
    split: str | None = None
    lone: str = "refuse"
    shares: tuple[float, float] = (0.1, 0.1)

    def __post_init__(self):
        if self.lone not in ("refuse", "drop", "keep"):
            raise BadInput(f"lone is refuse, drop or keep, not {self.lone!r}")
        _check_shares(self.shares)


@dataclass(frozen=True)
class Rated:
    """A source of ratings: each row is a user and a film at the moment of a rating.

    Attributes
    ----------
    summary : one sentence for tables and help.
    inputs : ``(columns, ids) -> named inputs`` of what `helpers.ratings.as_of` knew of the rows,
        and a `helpers.ratings.Ids`.
    draw : ``(rng, n_ratings) -> helpers.ratings.Pack``; without it a MovieLens pack is read, which
        the user has put below ``data/<study>/raw``.
    split : ``time``: the last ratings are the test; ``user``: whole users; ``chance``: any ratings.
    film_totals : the figures of films are over all ratings, as they were published: they know the
        future and the test.
    most_users, most_films : how many have a place in a model's tables.
    """

    name: str
    summary: str
    inputs: Callable[[Mapping[str, np.ndarray], object], dict[str, np.ndarray]]
    draw: Callable | None = None
    split: str = "time"
    film_totals: bool = False
    most_users: int = 30_000
    most_films: int = 4_000

    def __post_init__(self):
        if self.split not in ("time", "user", "chance"):
            raise BadInput(f"split is time, user or chance, not {self.split!r}")


@dataclass(frozen=True)
class Pictures:
    """A source of picture files: each row is one, prepared for the model; its label is a class.

    The files are drawn, or `given`, or those of a folder: one folder a class, named as the value of
    the study's output is. The same picture is never in two splits.

    Attributes
    ----------
    summary : one sentence for tables and help.
    preparation : what is done with a file before the model takes it.
    draw : ``(rng, label) -> `` the bytes of a picture file of this class, and the end of its name.
    given : `` () -> `` bytes, name and label of every file, the same each time.
    folder : of the classes' folders: absolute, beside the study's file, or below
        ``data/<study>/raw``; default that.
    shares : of pictures in the validation and the test split, where they are not drawn.
    """

    name: str
    summary: str
    preparation: Preparation
    draw: Callable[[np.random.Generator, int], tuple[bytes, str]] | None = None
    given: Callable[[], Sequence[tuple[bytes, str, int]]] | None = None
    folder: str = ""
    shares: tuple[float, float] = (0.1, 0.1)

    def __post_init__(self):
        if self.draw is not None and self.given is not None:
            raise BadInput("pictures are drawn or given, not both")
        _check_shares(self.shares)


@dataclass(frozen=True)
class Arrays:
    """A source of arrays that somebody already has: of a ``.npz`` file, of a package.

    Each row stands alone. Rows are split by a hash of their values, the same way each time, or as
    they are loaded; equal rows are never in two splits.

    Attributes
    ----------
    summary : one sentence for tables and help.
    load : ``(*paths) -> inputs, labels``: arrays ``(n_rows, *shape)`` by the names of the schema,
        and classes ``(n_rows,)``, or None where the task needs none. Or these by split, of which
        there must be ``train``; the others get shares of it where they are not there.
    paths : of the files that it reads: absolute, beside the study's file, or below
        ``data/<study>/raw``; ``*`` and ``?`` stand for what may differ in a name.
    cure : what to do where one is not there.
    shares : of rows in the validation and the test split, where they are not loaded so.
    """

    name: str
    summary: str
    load: Callable[..., tuple[Inputs, np.ndarray | None] | Mapping[str, tuple]]
    paths: tuple[str, ...] = ()
    cure: str = "put it there, or say in the study where it is"
    shares: tuple[float, float] = (0.1, 0.1)

    def __post_init__(self):
        _check_shares(self.shares)


def _check_shares(shares: tuple[float, float]) -> None:
    if min(shares) <= 0 or sum(shares) >= 1:
        raise BadInput(f"shares {shares} of validation and test leave a split empty")


Source = Simulated | Files | Rated | Pictures | Arrays
KINDS = {
    "ranking",
    "classification",
    "tensors",
    "labelled",
    "simulated",
    "files",
    "pictures",
    "table",
    "keras",
    "pytorch",
}
"""Tags of notebook cells that are shown in some runs only, see `Study.kinds`."""


@dataclass(frozen=True)
class Published:
    """Figures that somebody printed for this model, to be held against what is measured."""

    source: str
    rows: int
    validation_rows: int
    validation_accuracy: tuple[float, ...]


@dataclass(frozen=True)
class Model:
    """One architecture of a study, or a trained file that somebody brings.

    Attributes
    ----------
    summary : one sentence for tables and help.
    build : ``(hidden_units=...) -> `` the model, untrained, whose inputs and outputs have the
        names, order and shapes of `Study.schema_of`. It imports its framework itself, so that
        knowing a study costs nothing. None where there is a `file`.
    inputs : names of the inputs that it takes; default all of the schema.
    framework : what it is built with, a module of `helpers.frameworks`.
    file : a trained model, absolute or beside the study's file; it is not trained again.
    tensors : by the schema's name, what the file calls an input or output; default the same.
    split : ``(trained model) -> (reader, schema), (candidate, schema)``: two models that score as
        the whole one. The first takes what is of the user alone and gives one float32 vector; the
        second takes that vector, by its name, and the other inputs. A bundle then has both as
        files, see `helpers.bundle.halves`. None where the model has no such form.
    """

    summary: str = "a trained file"
    build: Callable | None = None
    inputs: tuple[str, ...] = ()
    framework: str = "keras"
    file: str = ""
    tensors: Mapping[str, str] = field(default_factory=dict)
    split: Callable | None = None

    def __post_init__(self):
        if self.file and self.build is not None:
            raise BadInput("a model has a build function or a file, not both")


@dataclass(frozen=True)
class Study:
    """Everything the stages need to know of a decision: its data, and models that learn it.

    Where `features` is given, the data is raw: the encoding that `helpers.features.fit` makes of it
    on training rows turns it into the inputs of the schema, here and on the phone; `id_field` is
    the raw field that names an item. `defaults` are parameters for which this study needs other
    values than the notebooks declare; `task` is what kind of decision is made, by the name that
    `helpers.tasks` has for it, and `limits` are those of its verdict, where it takes any.
    `augment` is ``(rng, inputs) -> inputs``: models learn from what it makes of training rows, anew
    in each epoch, and nothing else sees that.
    `untrained` are scores ``(n_rows,)`` of the schema's inputs that nothing was learnt for, by
    name: what a model has to beat beside the baselines of its task.
    `folder` is that of its file, where it is not of this package; the registry sets it.

    The first source and the first model are the default ones.
    """

    name: str
    title: str
    schema: Schema
    sources: Mapping[str, Source]
    models: Mapping[str, Model]
    published: Published | None = None
    features: tuple = ()
    id_field: str = ""
    defaults: Mapping[str, object] = field(default_factory=dict)
    task: str = "ranking"
    limits: Mapping[str, object] = field(default_factory=dict)
    untrained: Mapping[str, Callable[[Inputs], np.ndarray]] = field(default_factory=dict)
    augment: Callable[[np.random.Generator, Inputs], Inputs] | None = None
    folder: str = ""

    def source(self, name: str) -> Source:
        """The source of that name, the first for ``"default"``, or a BadInput that lists those
        there are.
        """
        return self.sources[self._known("source", name, self.sources)]

    def beside(self, file: str) -> Study:
        """The study whose tables and model files lie beside a file."""
        return replace(self, folder=str(Path(file).resolve().parent))

    def is_simulated(self, name: str) -> bool:
        """Whether a source draws rows that are independent of each other."""
        return isinstance(self.sources[name], Simulated)

    def is_drawn(self, name: str) -> bool:
        """Whether as many rows as are asked for are drawn."""
        return self.is_simulated(name) or getattr(self.sources[name], "draw", None) is not None

    def kinds(self, source: str, model: str = "default") -> set[str]:
        """What cells of a notebook may be of, by their tags: the task, whether there are labels,
        the source, whether rows are pictures or of a table, and the framework of the model.
        """
        chosen = self.models[self.model_name(model)]
        by_form = {".keras": "keras", ".pt2": "pytorch"}
        made_by = by_form.get(Path(chosen.file).suffix) if chosen.file else chosen.framework
        framework = {"keras", "pytorch"} & {made_by}
        rows = self.source(source)
        of_pictures = isinstance(rows, Arrays) and self.schema.picture is not None
        labelled = {"labelled"} if self.task != "tensors" else set()
        return {
            self.task,
            *labelled,
            *framework,
            "pictures" if isinstance(rows, Pictures) or of_pictures else "table",
            "simulated" if self.is_simulated(rows.name) else "files",
        }

    def model_name(self, name: str) -> str:
        """Name of a model: the first for ``"default"``; a BadInput lists those there are."""
        return self._known("model", name, self.models)

    def schema_of(self, model: str) -> Schema:
        """The schema of one model: that of the study with the inputs that the model takes."""
        names = self.models[model].inputs or self.schema.input_names
        in_file = self.models[model].tensors
        tensors = {
            tensor.name: replace(tensor, in_file=in_file.get(tensor.name, tensor.in_file))
            for tensor in (*self.schema.inputs, *self.schema.outputs)
        }
        ends = names, self.schema.output_names
        inputs, outputs = (tuple(tensors[name] for name in chosen) for chosen in ends)
        return replace(self.schema, inputs=inputs, outputs=outputs)

    def _known(self, kind: str, name: str, there: Mapping[str, object]) -> str:
        if name == "default":
            return next(iter(there))
        if name not in there:
            raise BadInput(
                f"study {self.name!r} has no {kind} {name!r}; it has: {', '.join(there)}"
            )
        return name


def drawn(schema: Schema) -> Simulated:
    """A source of rows without labels, drawn evenly within the ranges that a schema says."""

    def draw(rng: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
        result = {}
        for tensor in schema.inputs:
            low, high = (np.resize(end, tensor.shape) for end in tensor.bounds)
            shape = (rows, *tensor.shape)
            if np.dtype(tensor.dtype).kind == "f":
                result[tensor.name] = rng.uniform(low, high, shape).astype(tensor.dtype)
            else:
                result[tensor.name] = rng.integers(low, high, shape, tensor.dtype, endpoint=True)
        return result

    return Simulated("drawn", "rows drawn within the ranges of the schema", draw, None)


def cross_utility(study: Study, source: str, *, users: int, items: int, seed: int) -> np.ndarray:
    """Utility of the same items for different users in one context, ``(users, items) float64``.

    If its rows sort alike, the source is not personal: one popularity list serves everybody.
    """
    chosen = study.source(source)
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
    """Whose property something is that a source draws: an input, or a raw column."""
    if study.features:
        return "item" if name.removeprefix("_").startswith("candidate") else "user"
    return next(tensor.role for tensor in study.schema.inputs if tensor.name == name)
