"""Inputs and outputs of a model: name, shape, dtype, what each value means, its valid range.

A schema is the one agreement between data, model, converted files and app. Everything binds by the
names in it, never by position. Shapes are those of one row; the batch in front of them is free, or
one fixed number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite as _isfinite
from math import prod

import numpy as np

from helpers.errors import BadInput

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}", re.ASCII)
_TENSOR_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
"""Names that mean the same in a TFLite file, an MNN file, C, Swift, Kotlin and a shell."""
ROLES = ("user", "item", "context", "cross")
DTYPES = ("float32", "int32", "int64", "uint8")
"""What both runtimes take."""
MOST_TENSORS, MOST_SIZE, MOST_AXES = 64, 1 << 22, 6
"""Most inputs or outputs, values in a row of one, and axes of its shape: the golden cases of a
bundle hold no more, and their readers in C have no more room."""
MOST_BATCH = 4096
_ndarray = np.ndarray
_DOT_LIMIT = 8192
"""Elements up to which a dot product is the cheapest finiteness test (one BLAS call, no temporary).
"""


@dataclass(frozen=True)
class Dimension:
    """One column of a tensor: a short name, its meaning, and the range it is normalised to."""

    name: str
    meaning: str
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class Tensor:
    """A named input or output; a batch of it has the shape ``(n_rows, *shape)``.

    Attributes
    ----------
    role : whose property an input is, one of `ROLES`, or empty. It decides what an item-only
        (popularity) baseline may look at and which columns are shared by a request; ``cross`` is of
        both.
    dimensions : what each value of a row means, in order; empty where values have no meaning of
        their own, as pixels.
    shape : of a row; the number of dimensions where those are given.
    low, high : range of every value where there are no dimensions.
    meaning : what the whole tensor is, in words.
    in_file : what a trained file that somebody brought calls it, where that is another name.
    """

    name: str
    role: str = ""
    dimensions: tuple[Dimension, ...] = ()
    dtype: str = "float32"
    shape: tuple[int, ...] = ()
    low: float = 0.0
    high: float = 1.0
    meaning: str = ""
    in_file: str = ""

    def __post_init__(self):
        if self.dimensions:
            shape = self.shape or (len(self.dimensions),)
            object.__setattr__(self, "shape", shape)
            object.__setattr__(self, "low", min(d.low for d in self.dimensions))
            object.__setattr__(self, "high", max(d.high for d in self.dimensions))

    @property
    def size(self) -> int:
        """Values in a row."""
        return prod(self.shape)

    @property
    def row_bytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest value, of the dtype: ``(size,)`` by dimension, or ``()`` for all."""
        if not self.dimensions:
            return np.array(self.low, self.dtype), np.array(self.high, self.dtype)
        ends = ("low", "high")
        return tuple(np.array([getattr(d, e) for d in self.dimensions], self.dtype) for e in ends)

    @property
    def identity(self) -> list:
        """All that rows of it are made and stored by, as plain values, for a fingerprint."""
        ends = (end.tolist() for end in self.bounds)
        return [self.name, self.dtype, self.shape, self.columns, *ends]

    @property
    def columns(self) -> list[str]:
        """Names of the values in a table, unique across the schema: ``<role>_<dimension>``.

        Empty where values have no meaning of their own.
        """
        prefix = f"{self.role}_" if self.role else ""
        return [f"{prefix}{dimension.name}" for dimension in self.dimensions]

    def value_name(self, index: int) -> str:
        """How the value at a place of the flattened row is called: a column, or ``image[0, 3]``."""
        if self.dimensions:
            return self.columns[index]
        return f"{self.name}{[int(i) for i in np.unravel_index(index, self.shape)]}"

    def zeros(self, rows: int) -> np.ndarray:
        """A batch of zeros, ``(rows, *shape)``."""
        return np.zeros((rows, *self.shape), self.dtype)


@dataclass(frozen=True)
class Schema:
    """The inputs and outputs of one model in declared order, and its batch.

    Attributes
    ----------
    outputs : one or several; a task decides by the first, a file is held to the model on all.
    batch : rows that the converted files take at a time; None is any number.
    given : whether this is of the trained file itself, with the names `Tensor.in_file`.
    """

    model_name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    batch: int | None = None
    given: bool = False

    def __post_init__(self):
        where = f"schema of {self.model_name}"
        for kind, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            if not 1 <= len(tensors) <= MOST_TENSORS:
                raise BadInput(
                    f"{where}: {len(tensors)} {kind}, 1 to {MOST_TENSORS} can be shipped: "
                    "join columns of one role to a wider tensor"
                )
        names = {"input": self.input_names, "output": self.output_names, "column": self.columns}
        for kind, found in names.items():
            twice = sorted(name for name, times in Counter(found).items() if times > 1)
            if twice:
                raise BadInput(f"{where}: {kind} {', '.join(twice)} is there more than once")
        if both := sorted(set(self.input_names) & set(self.output_names)):
            raise BadInput(f"{where}: {', '.join(both)} is an input and an output")
        if not _MODEL_NAME.fullmatch(self.model_name):
            raise BadInput(
                f"model name {self.model_name!r} must be letters, digits, blanks and . _ - (at most"
                " 100)"
            )
        for name in (*self.input_names, *self.output_names):
            if not _TENSOR_NAME.fullmatch(name):
                raise BadInput(f"{where}: {name!r} must be a letter, then letters, digits and _")
        if wrong := sorted({tensor.role for tensor in self.inputs} - {*ROLES, ""}):
            raise BadInput(f"{where}: role {', '.join(wrong)} is none of {', '.join(ROLES)}")
        if self.batch is not None and not 1 <= self.batch <= MOST_BATCH:
            raise BadInput(f"{where}: a fixed batch has 1 to {MOST_BATCH:,} rows, not {self.batch}")
        for tensor in (*self.inputs, *self.outputs):
            self._check_tensor(tensor)

    def _check_tensor(self, tensor: Tensor) -> None:
        where = f"schema of {self.model_name}: {tensor.name}"
        if tensor.dtype not in DTYPES:
            raise BadInput(f"{where} is of {tensor.dtype!r}, a device takes {', '.join(DTYPES)}")
        positive = all(type(n) is int and n > 0 for n in tensor.shape)
        if not positive or not 1 <= len(tensor.shape) <= MOST_AXES or tensor.size > MOST_SIZE:
            raise BadInput(
                f"{where} has the shape {list(tensor.shape)} without the batch: it takes 1 to "
                f"{MOST_AXES} axes and at most {MOST_SIZE:,} values"
            )
        if tensor.dimensions and tensor.shape != (len(tensor.dimensions),):
            raise BadInput(
                f"{where} names {len(tensor.dimensions)} dimensions of the shape "
                f"{list(tensor.shape)}: each value has a name, or none has"
            )
        for name, low, high in [(d.name, d.low, d.high) for d in tensor.dimensions] or [
            ("each value", tensor.low, tensor.high)
        ]:
            if not (_isfinite(low) and _isfinite(high) and low <= high):
                raise BadInput(f"{where}: {name} goes from {low} to {high}, which is no range")
        if tensor.dtype == "uint8" and not 0 <= tensor.low <= tensor.high <= 255:
            raise BadInput(f"{where} is uint8: its range lies in 0 to 255")

    @property
    def output(self) -> Tensor:
        """The output that a task decides by."""
        return self.outputs[0]

    @property
    def picture(self) -> Tensor | None:
        """The only input, if a row of it is a picture: height, width, and one colour or three."""
        tensor = self.inputs[0]
        is_one = len(tensor.shape) == 3 and tensor.shape[2] in (1, 3) and not tensor.dimensions
        return tensor if is_one and len(self.inputs) == 1 else None

    @property
    def columns(self) -> list[str]:
        """Names of all values that have a meaning of their own, in declared order."""
        return [column for tensor in self.inputs for column in tensor.columns]

    @property
    def input_names(self) -> list[str]:
        return [tensor.name for tensor in self.inputs]

    @property
    def output_names(self) -> list[str]:
        return [tensor.name for tensor in self.outputs]

    def as_converted(self) -> Schema:
        """The schema without what the trained file calls its tensors."""
        ends = (tuple(replace(t, in_file="") for t in ts) for ts in (self.inputs, self.outputs))
        inputs, outputs = ends
        return replace(self, inputs=inputs, outputs=outputs, given=False)

    def as_given(self) -> Schema:
        """The schema of the trained file itself, see `given`."""
        return replace(self, given=True)

    def name_in(self, tensor: Tensor) -> str:
        """What a file of this schema calls a tensor."""
        return tensor.in_file if self.given and tensor.in_file else tensor.name

    def by_name(self, found: Mapping[str, object]) -> dict[str, object]:
        """What a file has of its tensors, by the schema's names; others keep theirs."""
        names = {self.name_in(tensor): tensor.name for tensor in (*self.inputs, *self.outputs)}
        return {names.get(name, name): value for name, value in found.items()}

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of all inputs."""
        return sum(tensor.row_bytes for tensor in self.inputs)

    def batch_sizes(self, sizes: Iterable[int], most_bytes: int) -> tuple[int, ...]:
        """Numbers of rows that the model takes and whose inputs have at most `most_bytes`.

        The fixed batch alone, if there is one. Of sizes that are too large, the largest power of
        two that is not; one row is never too large.
        """
        if self.batch is not None:
            return (self.batch,)
        most = 1 << (max(1, most_bytes // self.row_bytes).bit_length() - 1)
        return tuple(dict.fromkeys(min(size, most) for size in sizes))

    def arrays(self, frame) -> dict[str, np.ndarray]:
        """The named inputs ``(n_rows, *shape)``, contiguous, of a table as `frame` makes it."""

        def values(tensor: Tensor) -> np.ndarray:
            if tensor.dimensions:
                return frame[tensor.columns].to_numpy(dtype=tensor.dtype)
            return np.array(list(frame[tensor.name]), tensor.dtype)

        return {tensor.name: np.ascontiguousarray(values(tensor)) for tensor in self.inputs}

    @cached_property
    def _expected(self) -> tuple[tuple, ...]:
        return tuple(
            (
                t.name,
                np.dtype(t.dtype),
                t.shape,
                t.size,
                np.dtype(t.dtype).kind,
                t.dtype == "uint8" and (t.low, t.high) == (0, 255),
                *t.bounds,
            )
            for t in self.inputs
        )

    def check(self, inputs: Mapping[str, np.ndarray]) -> int:
        """Refuse inputs that a runtime would score wrongly and in silence; return the number of
        rows.

        Written to cost about a microsecond at batch 64, because it stands before every scored
        batch: the common case is straight-line comparisons, and the reason is only worked out on
        failure.

        Parameters
        ----------
        inputs : one array ``(n_rows, *shape)`` of exactly the declared dtype for each declared
            name.

        Raises
        ------
        BadInput : a name is missing or unknown; a shape, a dtype, or the number of rows is wrong;
            there are no rows; a value is NaN or infinite (MNN scores NaN as 1.0, LiteRT as NaN); an
            integer is out of its range (as an index of a table, MNN would read what lies beside
            it).
        """
        expected = self._expected
        rows = 0
        if len(inputs) != len(expected):
            self._explain(inputs)
        for name, dtype, row_shape, size, kind, any_value, low, high in expected:
            array = inputs.get(name)
            if type(array) is not _ndarray or array.dtype != dtype:
                self._explain(inputs)
            shape = array.shape
            if (
                shape[1:] != row_shape
                or not shape
                or not shape[0]
                or shape[0] != (rows or shape[0])
            ):
                self._explain(inputs)
            rows = shape[0]
            if kind == "f":
                if rows * size <= _DOT_LIMIT:
                    flat = array.ravel()
                    finite = _isfinite(
                        flat.dot(flat)
                    )  # overflow of finite values is told apart in _explain
                else:
                    finite = np.isfinite(array).all()
                if not finite:
                    self._explain(inputs)
            elif any_value:
                continue
            elif (
                size == 1 and kind == "i" and low.shape and not low[0]
            ):  # an id: one comparison for both ends
                if array.view(f"u{array.itemsize}").max() > high[0]:
                    self._explain(inputs)
            elif (array < low).any() or (array > high).any():
                self._explain(inputs)
        return rows

    def _explain(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Raise `BadInput` for the first thing that is wrong; return if nothing is (a finite
        overflow).
        """
        wanted = self.input_names
        missing = [name for name in wanted if name not in inputs]
        unknown = [name for name in inputs if name not in wanted]
        if missing or unknown:
            said = [f"missing {', '.join(missing)}"] * bool(missing) + [
                f"unknown {', '.join(map(str, unknown))}"
            ] * bool(unknown)
            raise BadInput(
                f"inputs do not fit {self.model_name}: {'; '.join(said)} (it takes "
                f"{', '.join(wanted)})"
            )
        rows = None
        for tensor in self.inputs:
            array = inputs[tensor.name]
            if type(array) is not np.ndarray:  # a masked array hides what it masks
                raise BadInput(
                    f"{tensor.name} must be a plain NumPy array, not {type(array).__name__}"
                )
            if array.dtype != tensor.dtype:
                raise BadInput(
                    f"{tensor.name} is {array.dtype}, the model takes {tensor.dtype}: convert it "
                    f"with .astype('{tensor.dtype}'); a runtime would read the bytes as they are "
                    "and score garbage"
                )
            if array.shape[1:] != tensor.shape or not array.ndim:
                wanted_shape = ", ".join(["n_rows", *map(str, tensor.shape)])
                raise BadInput(
                    f"{tensor.name} has shape {array.shape}, the model takes ({wanted_shape})"
                )
            if array.shape[0] == 0:
                raise BadInput(f"{tensor.name} has no rows")
            if rows is not None and array.shape[0] != rows:
                raise BadInput(
                    f"{tensor.name} has {array.shape[0]} rows, {self.inputs[0].name} has {rows}"
                )
            rows = array.shape[0]
            if array.dtype.kind == "f":
                bad = np.argwhere(~np.isfinite(array))
                if len(bad):
                    row, place = self._place(tensor, bad[0])
                    raise BadInput(
                        f"{tensor.name} has {len(bad)} values that are not finite, first "
                        f"{array[tuple(bad[0])]} at row {row}, {place}: clean or impute them "
                        "before scoring"
                    )
            else:
                low, high = tensor.bounds
                bad = np.argwhere((array < low) | (array > high))
                if len(bad):
                    row, place = self._place(tensor, bad[0])
                    ends = (end[bad[0][1]] if end.shape else end for end in (low, high))
                    least, most = ends
                    raise BadInput(
                        f"{tensor.name} has {len(bad)} values out of range, first "
                        f"{array[tuple(bad[0])]} at row {row}: {place} goes from {least} to {most}"
                    )

    @staticmethod
    def _place(tensor: Tensor, index: np.ndarray) -> tuple[int, str]:
        """Row of a value, and what the value is called in a message."""
        if tensor.dimensions:
            return int(index[0]), tensor.dimensions[index[1]].name
        return int(index[0]), f"at {[int(i) for i in index[1:]]}"

    def to_json(self) -> dict:
        """Plain values for a config file; `from_json` reads them back."""

        first = -1 if self.batch is None else self.batch

        def tensor(t: Tensor) -> dict:
            plain = {"name": t.name, "role": t.role, "shape": [first, *t.shape], "dtype": t.dtype}
            plain |= {"meaning": t.meaning, "low": t.low, "high": t.high}
            plain |= {"in_file": t.in_file} if t.in_file else {}
            return plain | {"dimensions": [vars(dimension) for dimension in t.dimensions]}

        return {
            "model_name": self.model_name,
            "inputs": [tensor(t) for t in self.inputs],
            "outputs": [tensor(t) for t in self.outputs],
            **({"given": True} if self.given else {}),
        }

    @classmethod
    def from_json(cls, value: Mapping) -> Schema:
        """The schema that `to_json` wrote.

        Raises
        ------
        BadInput : it is of another version, from before outputs had names of their own.
        """
        if "outputs" not in value:
            raise BadInput("this schema was written by an earlier version: run the stages again")

        def tensor(t: Mapping) -> Tensor:
            dimensions = tuple(Dimension(**d) for d in t["dimensions"])
            rest = {name: t[name] for name in ("dtype", "low", "high", "meaning")}
            rest["in_file"] = t.get("in_file", "")
            return Tensor(t["name"], t["role"], dimensions, shape=tuple(t["shape"][1:]), **rest)

        tensors = {key: tuple(tensor(t) for t in value[key]) for key in ("inputs", "outputs")}
        batch = value["inputs"][0]["shape"][0]
        fixed = None if batch == -1 else batch
        return cls(value["model_name"], **tensors, batch=fixed, given=value.get("given", False))
