"""Inputs and output of a model: name, shape, dtype, what each dimension means, its valid range.

A schema is the one agreement between data, model, converted files and app. Everything binds by the
names in it, never by position; batch (the first dimension) is always free.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite as _isfinite

import numpy as np

from helpers.errors import BadInput

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,99}", re.ASCII)
_TENSOR_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)
"""Names that mean the same in a TFLite file, an MNN file, C, Swift, Kotlin and a shell."""
ROLES = ("user", "item", "context", "cross")
DTYPES = ("float32", "int32", "int64")
"""What both runtimes take."""
MOST_INPUTS, MOST_WIDTH = 64, 1 << 16
"""Most inputs, and the widest: the golden cases of a bundle hold no more, and their readers in C have no more room."""
_ndarray = np.ndarray
_DOT_LIMIT = 8192
"""Elements up to which a dot product is the cheapest finiteness test (one BLAS call, no temporary)."""


@dataclass(frozen=True)
class Dimension:
    """One column of a tensor: a short name, its meaning, and the range it is normalised to."""

    name: str
    meaning: str
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class Tensor:
    """A named input or output of shape ``(n_rows, width)``.

    `role` says whose property an input is, one of `ROLES` (the output's is ``score``). It decides what an
    item-only (popularity) baseline may look at and which columns are shared by a request; ``cross`` is of both.
    """

    name: str
    role: str
    dimensions: tuple[Dimension, ...]
    dtype: str = "float32"

    @property
    def width(self) -> int:
        return len(self.dimensions)

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest value of each dimension, ``(width,)`` of the dtype."""
        return tuple(np.array([getattr(d, end) for d in self.dimensions], self.dtype) for end in ("low", "high"))

    @property
    def columns(self) -> list[str]:
        """Column names in a data set, unique across the schema: ``<role>_<dimension>``."""
        return [f"{self.role}_{dimension.name}" for dimension in self.dimensions]


@dataclass(frozen=True)
class Schema:
    """The inputs in declared order, and the output, of one model."""

    model_name: str
    inputs: tuple[Tensor, ...]
    output: Tensor

    def __post_init__(self):
        if not 1 <= len(self.inputs) <= MOST_INPUTS:
            raise BadInput(
                f"schema of {self.model_name}: {len(self.inputs)} inputs, 1 to {MOST_INPUTS} can be shipped: "
                f"join columns of one role to a wider input"
            )
        for kind, names in (("input", self.input_names), ("column", self.columns)):
            twice = sorted(name for name, times in Counter(names).items() if times > 1)
            if twice:
                raise BadInput(f"schema of {self.model_name}: {kind} {', '.join(twice)} is there more than once")
        if not _MODEL_NAME.fullmatch(self.model_name):
            raise BadInput(f"model name {self.model_name!r} must be letters, digits, blanks and . _ - (at most 100)")
        if wrong := [name for name in (*self.input_names, self.output.name) if not _TENSOR_NAME.fullmatch(name)]:
            raise BadInput(f"schema of {self.model_name}: {wrong[0]!r} must be a letter, then letters, digits and _")
        if wrong := sorted({tensor.role for tensor in self.inputs} - set(ROLES)):
            raise BadInput(f"schema of {self.model_name}: role {', '.join(wrong)} is none of {', '.join(ROLES)}")
        for tensor in (*self.inputs, self.output):
            self._check_tensor(tensor)

    def _check_tensor(self, tensor: Tensor) -> None:
        where = f"schema of {self.model_name}: {tensor.name}"
        if tensor.dtype not in DTYPES:
            raise BadInput(f"{where} is of {tensor.dtype!r}, a device takes {', '.join(DTYPES)}")
        if not 1 <= tensor.width <= MOST_WIDTH:
            raise BadInput(f"{where} has {tensor.width:,} dimensions, 1 to {MOST_WIDTH:,} can be shipped")
        for dimension in tensor.dimensions:
            if not (_isfinite(dimension.low) and _isfinite(dimension.high) and dimension.low <= dimension.high):
                ends = f"from {dimension.low} to {dimension.high}"
                raise BadInput(f"{where}: {dimension.name} goes {ends}, which is no range")

    @property
    def columns(self) -> list[str]:
        """All feature columns in declared order."""
        return [column for tensor in self.inputs for column in tensor.columns]

    @property
    def input_names(self) -> list[str]:
        return [tensor.name for tensor in self.inputs]

    def arrays(self, frame) -> dict[str, np.ndarray]:
        """The model's named inputs, each ``(n_rows, width)`` and contiguous, from a table with `columns`."""
        return {
            tensor.name: np.ascontiguousarray(frame[tensor.columns].to_numpy(dtype=tensor.dtype))
            for tensor in self.inputs
        }

    @cached_property
    def _expected(self) -> tuple[tuple[str, np.dtype, int, bool, np.ndarray, np.ndarray], ...]:
        return tuple(
            (t.name, np.dtype(t.dtype), t.width, np.dtype(t.dtype).kind == "f", *t.bounds) for t in self.inputs
        )

    def check(self, inputs: Mapping[str, np.ndarray]) -> int:
        """Refuse inputs that a runtime would score wrongly and in silence; return the number of rows.

        Written to cost about a microsecond at batch 64, because it stands before every scored batch:
        the common case is straight-line comparisons, and the reason is only worked out on failure.

        Parameters
        ----------
        inputs : one array ``(n_rows, width)`` of exactly the declared dtype for each declared name.

        Raises
        ------
        BadInput : a name is missing or unknown; a shape, a dtype, or the number of rows is wrong; there
            are no rows; a value is NaN or infinite (MNN scores NaN as 1.0, LiteRT as NaN); an integer is out of its
            range (as an index of a table, MNN would read what lies beside it).
        """
        expected = self._expected
        rows = 0
        if len(inputs) != len(expected):
            self._explain(inputs)
        for name, dtype, width, is_float, low, high in expected:
            array = inputs.get(name)
            if type(array) is not _ndarray or array.dtype != dtype:
                self._explain(inputs)
            shape = array.shape
            if len(shape) != 2 or shape[1] != width or not shape[0] or shape[0] != (rows or shape[0]):
                self._explain(inputs)
            rows = shape[0]
            if is_float:
                if rows * width <= _DOT_LIMIT:
                    flat = array.ravel()
                    finite = _isfinite(flat.dot(flat))  # overflow of finite values is told apart in _explain
                else:
                    finite = np.isfinite(array).all()
                if not finite:
                    self._explain(inputs)
            elif width == 1 and not low[0]:  # an id: one comparison does for both ends
                if array.view(f"u{array.itemsize}").max() > high[0]:
                    self._explain(inputs)
            elif (array < low).any() or (array > high).any():
                self._explain(inputs)
        return rows

    def _explain(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Raise `BadInput` for the first thing that is wrong; return if nothing is (a finite overflow)."""
        wanted = self.input_names
        missing = [name for name in wanted if name not in inputs]
        unknown = [name for name in inputs if name not in wanted]
        if missing or unknown:
            said = [f"missing {', '.join(missing)}"] * bool(missing) + [
                f"unknown {', '.join(map(str, unknown))}"
            ] * bool(unknown)
            raise BadInput(f"inputs do not fit {self.model_name}: {'; '.join(said)} (it takes {', '.join(wanted)})")
        rows = None
        for tensor in self.inputs:
            array = inputs[tensor.name]
            if type(array) is not np.ndarray:  # a masked array hides what it masks
                raise BadInput(f"{tensor.name} must be a plain NumPy array, not {type(array).__name__}")
            if array.dtype != tensor.dtype:
                raise BadInput(
                    f"{tensor.name} is {array.dtype}, the model takes {tensor.dtype}: convert it with "
                    f".astype('{tensor.dtype}'); a runtime would read the bytes as they are and score garbage"
                )
            if array.ndim != 2 or array.shape[1] != tensor.width:
                raise BadInput(f"{tensor.name} has shape {array.shape}, the model takes (n_rows, {tensor.width})")
            if array.shape[0] == 0:
                raise BadInput(f"{tensor.name} has no rows")
            if rows is not None and array.shape[0] != rows:
                raise BadInput(f"{tensor.name} has {array.shape[0]} rows, {self.inputs[0].name} has {rows}")
            rows = array.shape[0]
            if array.dtype.kind == "f":
                bad = np.argwhere(~np.isfinite(array))
                if len(bad):
                    row, column = (int(i) for i in bad[0])
                    raise BadInput(
                        f"{tensor.name} has {len(bad)} values that are not finite, first {array[row, column]} at "
                        f"row {row}, {tensor.dimensions[column].name}: clean or impute them before scoring"
                    )
            else:
                low, high = tensor.bounds
                bad = np.argwhere((array < low) | (array > high))
                if len(bad):
                    row, column = (int(i) for i in bad[0])
                    raise BadInput(
                        f"{tensor.name} has {len(bad)} values out of range, first {array[row, column]} at row {row}: "
                        f"{tensor.dimensions[column].name} goes from {low[column]} to {high[column]}"
                    )

    def to_json(self) -> dict:
        """Plain values for a config file; `from_json` reads them back."""

        def tensor(t: Tensor) -> dict:
            dimensions = [{"name": d.name, "meaning": d.meaning, "low": d.low, "high": d.high} for d in t.dimensions]
            return {"name": t.name, "role": t.role, "shape": [-1, t.width], "dtype": t.dtype, "dimensions": dimensions}

        return {
            "model_name": self.model_name,
            "inputs": [tensor(t) for t in self.inputs],
            "output": tensor(self.output),
        }

    @classmethod
    def from_json(cls, value: Mapping) -> Schema:
        """The schema that `to_json` wrote."""

        def tensor(t: Mapping) -> Tensor:
            return Tensor(t["name"], t["role"], tuple(Dimension(**d) for d in t["dimensions"]), t["dtype"])

        return cls(value["model_name"], tuple(tensor(t) for t in value["inputs"]), tensor(value["output"]))
