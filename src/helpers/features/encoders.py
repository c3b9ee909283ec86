"""The encoders: how one input of the model is made of one or two fields. The rules are in the
package's docstring.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from helpers.errors import BadInput
from helpers.features.values import MISSING, shown

MODES = ("separate", "published")
SOURCES = ("last_click", "candidate")
MOST_IDS = 2**31 - 1
"""Largest `size`: every id fits int32, which MNN is fed with."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


def bucketize(x, boundaries: Sequence[float], mode: str = "separate") -> np.ndarray:
    """Ids of the left-closed buckets that values fall into.

    Parameters
    ----------
    x : ``(n,)`` numbers, compared as float64; `MISSING` and NaN are missing.
    boundaries : at least two finite numbers, each larger than the one before.
    mode : one of `MODES`.

    Returns
    -------
    ``(n,) int64``. With j the first index with ``x < boundaries[j]``, ``len(boundaries)`` if there
    is none: ``published`` j, missing 0; ``separate`` 1 + j, missing 0.

    Raises
    ------
    BadInput : no values; boundaries too few, unsorted, repeated or not finite; an unknown mode.
    """
    limits = np.array(_boundaries(boundaries, "bucketize"))
    values = _given(x, "bucketize", "iuf").astype(np.float64)
    return _bucket_ids(np.where(np.isnan(values), MISSING, values), limits, _mode(mode))


def label_encode(x, vocabulary: Sequence[int], mode: str = "separate") -> np.ndarray:
    """Ids of whole numbers by where they first occur in a vocabulary.

    Parameters
    ----------
    x : ``(n,)`` integers; `MISSING` is missing.
    vocabulary : at least one integer within int64; of a repeated one the first counts.
    mode : one of `MODES`.

    Returns
    -------
    ``(n,) int64``: ``published`` the index, missing and unknown 0; ``separate`` 2 + index, missing
    0, unknown 1.

    Raises
    ------
    BadInput : no values; an empty vocabulary, or one with an entry that is no int64 or is
        `MISSING`; an unknown mode.
    """
    lookup = _lookup(_vocabulary(vocabulary, "label_encode"))
    values = _given(x, "label_encode", "iu")
    if values.dtype == np.uint64 and (values > np.uint64(2**63 - 1)).any():
        raise BadInput(
            "label_encode: values beyond int64 (9223372036854775807): they cannot be ids"
        )
    return _label_ids(values.astype(np.int64), *lookup, _mode(mode))


@dataclass(frozen=True)
class Bucketize:
    """The bucket of a number. ``boundaries``: at least two, finite, increasing."""

    name: str
    source: str
    field: str
    boundaries: tuple[float, ...]
    kind: ClassVar[str] = "bucketize"
    exact: ClassVar[bool] = False
    """Whether the encoder takes int64 (`values.whole_numbers`) or float64 (`values.numbers`)."""

    def __post_init__(self):
        _check_field(self)
        object.__setattr__(self, "boundaries", _boundaries(self.boundaries, f"encoder {self.name}"))

    @property
    def reads(self) -> tuple[tuple[str, str], ...]:
        return ((self.source, self.field),)

    def size(self, mode: str) -> int:
        """Number of distinct ids, 0 to size - 1."""
        return len(self.boundaries) + (2 if _mode(mode) == "separate" else 1)

    def ids(self, mode: str, x: np.ndarray) -> np.ndarray:
        return _bucket_ids(x, self._limits, mode)

    @cached_property
    def _limits(self) -> np.ndarray:
        return np.array(self.boundaries)


@dataclass(frozen=True)
class LabelEncode:
    """The place of a whole number in ``vocabulary``; of a repeated entry the first counts."""

    name: str
    source: str
    field: str
    vocabulary: tuple[int, ...]
    kind: ClassVar[str] = "label_encode"
    exact: ClassVar[bool] = True

    def __post_init__(self):
        _check_field(self)
        object.__setattr__(self, "vocabulary", _vocabulary(self.vocabulary, f"encoder {self.name}"))

    @property
    def reads(self) -> tuple[tuple[str, str], ...]:
        return ((self.source, self.field),)

    def size(self, mode: str) -> int:
        """Number of distinct ids, 0 to size - 1."""
        return len(self.vocabulary) + (2 if _mode(mode) == "separate" else 0)

    def ids(self, mode: str, x: np.ndarray) -> np.ndarray:
        return _label_ids(x, *self._entries, mode)

    @cached_property
    def _entries(self) -> tuple[np.ndarray, np.ndarray]:
        return _lookup(self.vocabulary)


@dataclass(frozen=True)
class Plain:
    """A whole number that already is an id from 0 to ``count`` - 1: `LabelEncode` with just those
    as its vocabulary.
    """

    name: str
    source: str
    field: str
    count: int
    kind: ClassVar[str] = "plain"
    exact: ClassVar[bool] = True

    def __post_init__(self):
        _check_field(self)
        if type(self.count) is not int or not 1 <= self.count <= MOST_IDS - 2:
            raise BadInput(
                f"encoder {self.name}: count must be a whole number from 1 to {MOST_IDS - 2:,}, "
                f"not {shown(self.count)}: label-encode ids that are larger"
            )

    @property
    def reads(self) -> tuple[tuple[str, str], ...]:
        return ((self.source, self.field),)

    def size(self, mode: str) -> int:
        """Number of distinct ids, 0 to size - 1."""
        return self.count + (2 if _mode(mode) == "separate" else 0)

    def ids(self, mode: str, x: np.ndarray) -> np.ndarray:
        known = (x >= 0) & (x < self.count)
        if mode == "published":
            return np.where(known, x, 0)
        return np.where(known, x + np.int64(2), x != MISSING)


@dataclass(frozen=True)
class Equal:
    """Whether a field of the last click and a field of the candidate hold the same whole number."""

    name: str
    last_click: str
    candidate: str
    source: str = "cross"
    kind: ClassVar[str] = "equal"
    exact: ClassVar[bool] = True

    def __post_init__(self):
        _check_name(self.name)
        if self.source != "cross":
            raise BadInput(
                f"encoder {self.name}: source must be cross, not {shown(self.source)}: equal reads "
                "both"
            )
        for field in (self.last_click, self.candidate):
            _check_text(field, self.name)

    @property
    def reads(self) -> tuple[tuple[str, str], ...]:
        return (("last_click", self.last_click), ("candidate", self.candidate))

    def size(self, mode: str) -> int:
        """Number of distinct ids, 0 to size - 1."""
        return 3 if _mode(mode) == "separate" else 2

    def ids(self, mode: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        ids = (x == y).astype(np.int64)
        if mode == "separate":
            ids += 1
        ids[(x == MISSING) | (y == MISSING)] = 0
        return ids


Encoder = Bucketize | LabelEncode | Plain | Equal


def _bucket_ids(x: np.ndarray, limits: np.ndarray, mode: str) -> np.ndarray:
    # side="right" counts the boundaries <= x, which is the first index whose boundary is larger
    ids = np.searchsorted(limits, x, side="right")
    if mode == "separate":
        ids += 1
    ids[x == MISSING] = 0
    return ids


def _label_ids(x: np.ndarray, entries: np.ndarray, places: np.ndarray, mode: str) -> np.ndarray:
    at = np.searchsorted(entries, x)
    at[at == len(entries)] = 0
    known = entries[at] == x
    if mode == "published":
        return np.where(known, places[at], 0)
    return np.where(known, places[at] + 2, x != MISSING)


def _lookup(vocabulary: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Distinct entries in ascending order, and where each first occurs."""
    return np.unique(np.array(vocabulary, np.int64), return_index=True)


def _given(x, name: str, kinds: str) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim != 1 or not x.size:
        raise BadInput(
            f"{name}: no values (shape {x.shape}): give a one-dimensional array with at least one"
        )
    if x.dtype.kind not in kinds:
        what = "integers" if kinds == "iu" else "numbers"
        raise BadInput(
            f"{name}: values are {x.dtype}, not {what}: convert them without passing 64-bit ids "
            "through float"
        )
    return x


def _mode(mode: str) -> str:
    if mode not in MODES:
        raise BadInput(f"mode must be one of {', '.join(MODES)}, not {shown(mode)}")
    return mode


def _boundaries(boundaries: object, where: str) -> tuple[float, ...]:
    """Boundaries as floats, or a BadInput that says what is wrong with them."""
    result = []
    for boundary in _listed(boundaries, f"{where}: boundaries must be a list of numbers"):
        if isinstance(boundary, bool) or not isinstance(boundary, int | float):
            raise BadInput(f"{where}: boundary {shown(boundary)} is not a number")
        try:
            result.append(float(boundary))
        except OverflowError:
            result.append(np.inf)
        if not np.isfinite(result[-1]):
            raise BadInput(
                f"{where}: boundary {shown(boundary)} is not finite: leave it out, the outer "
                "buckets are open"
            )
    if len(result) < 2:
        raise BadInput(
            f"{where}: at least two boundaries are needed, there are {len(result)}: label-encode "
            "instead"
        )
    for low, high in zip(result, result[1:], strict=False):
        if not low < high:
            raise BadInput(
                f"{where}: boundary {high!r} follows {low!r}: sort them and leave out repeated ones"
            )
    return tuple(result)


def _vocabulary(vocabulary: object, where: str) -> tuple[int, ...]:
    """Entries as int, or a BadInput that says what is wrong with them."""
    entries = tuple(_listed(vocabulary, f"{where}: the vocabulary must be a list of whole numbers"))
    for entry in entries:
        if type(entry) is not int:
            raise BadInput(f"{where}: vocabulary entry {shown(entry)} is not a whole number")
        if entry == MISSING or not -(2**63) <= entry < 2**63:
            why = "means missing" if entry == MISSING else "is beyond int64"
            raise BadInput(f"{where}: vocabulary entry {shown(entry)} {why}: leave it out")
    if not 1 <= len(entries) <= MOST_IDS - 2:
        raise BadInput(
            f"{where}: the vocabulary has {len(entries):,} entries, it needs 1 to {MOST_IDS - 2:,}"
        )
    return entries


def _listed(values: object, wanted: str) -> list:
    """A list, tuple or one-dimensional array as a list whose numbers are Python's."""
    if isinstance(values, np.ndarray) and values.ndim == 1:
        return values.tolist()
    if not isinstance(values, list | tuple):
        raise BadInput(f"{wanted}, not {shown(values)}")
    return [value.item() if isinstance(value, np.generic) else value for value in values]


def _check_field(encoder) -> None:
    _check_name(encoder.name)
    if encoder.source not in SOURCES:
        raise BadInput(
            f"encoder {encoder.name}: source must be one of {', '.join(SOURCES)}, not "
            f"{shown(encoder.source)}"
        )
    _check_text(encoder.field, encoder.name)


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadInput(
            f"encoder name {shown(name)} cannot name a tensor: a letter, then letters, digits, _ "
            "(at most 64)"
        )


def _check_text(field: object, name: str) -> None:
    if not isinstance(field, str) or not 1 <= len(field) <= 100:
        raise BadInput(
            f"encoder {name}: a field id is text of 1 to 100 characters, not {shown(field)}"
        )
