"""Rows of arrays that somebody already has: loaded, checked, split by what is in them.

What is loaded stays in memory until it is stored, and its values are what a data set is known by,
wherever they come from; `helpers.datasets` stores what comes out.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from helpers import files, tables, tasks
from helpers.errors import BadInput, WorkbenchError
from helpers.schema import Tensor
from helpers.studies import Arrays, Study
from helpers.tables import CHUNK_BYTES, CHUNK_ROWS, LABEL, REQUEST, SPLITS

_Made = TypeVar("_Made")
_FORM = "it returns inputs by name and labels, or a dict of these by split"


@dataclass
class Rows:
    """Rows of all splits, as `helpers.datasets` stores them.

    `sizes` are most rows by split, 0 for all there are. `seed` says which rows are in which split,
    and in which order.
    """

    study: Study
    source: Arrays
    sizes: Mapping[str, int]
    seed: int
    workers: int = 1

    def __post_init__(self):
        self._files = found(self.study, self.source)
        self._said: list[str] = []

    def origin(self) -> tuple[list[str], list]:
        """What makes the rows: modules of the package, and values, the SHA-256 of what is loaded
        among them.

        Raises
        ------
        BadInput : what is loaded is not what the schema says, with the row.
        """
        columns = [tensor.identity for tensor in self.study.schema.inputs]
        digests = {split: block.digest() for split, block in self._loaded.items()}
        return [__name__], [self.source.shares, columns, digests]

    def facts(self) -> dict:
        """What is known of the rows when all are made, as plain values; `said` are lines on rows
        that were left out.
        """
        return {"candidates": 1, "threshold": dict.fromkeys(SPLITS), "said": self._said}

    def each(self, work: Callable[[str, int, object], _Made]) -> Iterator[_Made]:
        """Call ``work(split, number, table)`` for every chunk of every split; results in that
        order.

        Raises
        ------
        BadInput : what is loaded is not what the schema says, with the row, or a split is empty.
        """
        import pyarrow as pa

        schema = self.study.schema
        chunk = min(CHUNK_ROWS, max(1, CHUNK_BYTES // schema.row_bytes))
        places = self._places()
        for split in SPLITS:
            block = self._loaded.get(split, self._loaded[SPLITS[0]])
            for number, first in enumerate(range(0, len(places[split]), chunk)):
                rows = places[split][first : first + chunk]
                inputs = {name: values[rows] for name, values in block.inputs.items()}
                columns = tables.columns(schema, inputs)
                if block.labels is not None:
                    columns[LABEL] = block.labels[rows]
                yield work(split, number, pa.table({**columns, REQUEST: block.first + rows}))

    @functools.cached_property
    def _loaded(self) -> dict[str, _Block]:
        """What the source loads, by split; all of it under the first one where it says none."""
        try:
            loaded = self.source.load(*self._files)
        except WorkbenchError:
            raise
        except Exception as error:  # whatever somebody's own code raises
            said = " ".join(str(error).split())
            raise BadInput(
                f"{self._name} cannot be loaded: {type(error).__name__}: {said}"
            ) from error
        by_split = loaded if isinstance(loaded, Mapping) else {SPLITS[0]: loaded}
        if unknown := [split for split in by_split if split not in SPLITS]:
            raise BadInput(
                f"{self._name} has the split {unknown[0]!r}; there is: {', '.join(SPLITS)}. What "
                f"loads: {_FORM}"
            )
        if SPLITS[0] not in by_split:
            raise BadInput(f"{self._name} has no split {SPLITS[0]}: there is nothing to learn from")
        result, first = {}, 0
        for split, block in by_split.items():
            where = f"{self._name}, {split}" if len(by_split) > 1 else self._name
            result[split] = _Block.of(self.study, where, block, first)
            first += len(result[split])
        return result

    @property
    def _name(self) -> str:
        """What messages call the source."""
        return ", ".join(path.name for path in self._files) or self.source.name

    def _places(self) -> dict[str, np.ndarray]:
        """Rows of each split in an order of chance, as places in the block that it is of.

        Rows that a later split has, too, are left out of the earlier one, and that is `_said`.
        """
        digests = {split: block.digests() for split, block in self._loaded.items()}
        shares = [
            0.0 if split in digests else share
            for split, share in zip(SPLITS[1:], self.source.shares, strict=True)
        ]
        result: dict[str, np.ndarray] = {}
        seen: set[str] = set()
        for number, split in reversed(list(enumerate(SPLITS))):
            block = split if split in digests else SPLITS[0]
            order, of = tables.divided(digests[block], self.seed, tuple(shares))
            of = of if block == SPLITS[0] else np.full(len(of), number)
            rows = np.flatnonzero(of == number)
            rows = rows[np.argsort(order[rows], kind="stable")]
            fresh = np.array([digests[block][row] not in seen for row in rows], bool)
            if left_out := np.count_nonzero(~fresh):
                self._said.append(
                    f"left out: {left_out:,} rows of the {split} split that a later one has, too"
                )
            result[split] = rows[fresh]
            seen.update(digests[block][row] for row in result[split])
            if not len(result[split]):
                raise BadInput(
                    f"no row of {self._name} is left for the {split} split: its shares are "
                    "{:g} for validation and {:g} for test; give more rows".format(*shares)
                )
            result[split] = result[split][: self.sizes[split] or None]
        return result


@dataclass(frozen=True)
class _Block:
    """Rows that are loaded together, as the schema has them; `first` is the number of the first of
    them among all.
    """

    inputs: dict[str, np.ndarray]
    labels: np.ndarray | None
    first: int

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    @classmethod
    def of(cls, study: Study, where: str, loaded: object, first: int) -> _Block:
        """Check what was loaded; `where` is what messages call it."""
        if not (isinstance(loaded, tuple) and len(loaded) == 2 and isinstance(loaded[0], Mapping)):
            raise BadInput(f"{where}: what loads gave a {type(loaded).__name__}: {_FORM}")
        inputs, labels = loaded
        names = study.schema.input_names
        if set(inputs) != set(names):
            raise BadInput(
                f"{where} has the inputs {', '.join(inputs) or 'none'}; the schema has: "
                f"{', '.join(names)}"
            )
        arrays = {t.name: _values(t, inputs[t.name], where) for t in study.schema.inputs}
        rows = {f"{len(values):,}": name for name, values in arrays.items()}
        if labels is not None:
            labels = _labels(study, labels, where)
            rows[f"{len(labels):,}"] = "labels"
        elif tasks.get(study.task).training_loss is not None:
            raise BadInput(f"{where} has no labels: a {study.task} learns from them")
        if len(rows) > 1:
            said = ", ".join(f"{count} rows of {name}" for count, name in rows.items())
            raise BadInput(f"{where} has {said}: a row of each belongs together")
        if "0" in rows:
            raise BadInput(f"{where} has no rows")
        return cls(arrays, labels, first)

    def digest(self) -> str:
        """SHA-256 of all inputs and labels, in hexadecimal."""
        digest = hashlib.sha256()
        for values in (*self.inputs.values(), self.labels):
            if values is not None:
                digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def digests(self) -> list[str]:
        """SHA-256 of each row's inputs, in hexadecimal."""
        columns = [np.ascontiguousarray(values) for values in self.inputs.values()]
        result = []
        for row in range(len(self)):
            digest = hashlib.sha256()
            for values in columns:
                digest.update(values[row].data)
            result.append(digest.hexdigest())
        return result


def _values(tensor: Tensor, values: object, where: str) -> np.ndarray:
    """An input as the schema has it, ``(n_rows, *shape)``."""
    array = np.asarray(values)
    if array.ndim == 0 or array.shape[1:] != tensor.shape:
        raise BadInput(
            f"{where}: {tensor.name} is {list(array.shape)}, the schema has "
            f"{['n', *tensor.shape]}: reshape what is loaded".replace("'", "")
        )
    if array.dtype.kind not in "biuf":
        raise BadInput(f"{where}: {tensor.name} is {array.dtype}: make numbers of it")
    low, high = (end.reshape(tensor.shape if end.ndim else ()) for end in tensor.bounds)
    with np.errstate(invalid="ignore", over="ignore"):
        result = array.astype(tensor.dtype, copy=False)
        wrong = ~((result >= low) & (result <= high))
        if result.dtype.kind != "f":
            wrong |= result != array
    if wrong.any():
        place = np.unravel_index(int(wrong.argmax()), wrong.shape)
        index = int(np.ravel_multi_index(place[1:], tensor.shape))
        value = float(array[place])
        low, high = (np.broadcast_to(end, tensor.shape)[place[1:]] for end in (low, high))
        cure = "scale what is loaded, or give the schema its range"
        if not np.isfinite(value):
            cure = "fill or leave out such rows"
        raise BadInput(
            f"{where}, row {place[0] + 1:,}: {tensor.value_name(index)} is {value:g}, the schema "
            f"has {tensor.dtype} from {low:g} to {high:g}: {cure}"
        )
    return result


def _labels(study: Study, values: object, where: str) -> np.ndarray:
    """Classes ``(n_rows,)``, counted from 0."""
    array, classes = np.asarray(values), max(2, study.schema.output.size)
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        raise BadInput(
            f"{where}: labels are {array.dtype} {list(array.shape)}, and must be a class a row: of "
            "probabilities take argmax(axis=1)"
        )
    array = array.astype(np.float64)
    wrong = ~((array >= 0) & (array < classes) & (array == np.floor(array)))
    if wrong.any():
        row = int(wrong.argmax())
        raise BadInput(
            f"{where}, row {row + 1:,}: the label is {array[row]:g}, and must be one of 0 to "
            f"{classes - 1}"
        )
    return array.astype(np.int32)


def found(study: Study, source: Arrays) -> list[Path]:
    """Files that a source reads, in its order.

    Raises
    ------
    BadInput : one is not there, or there are several of which it takes one.
    """
    result = []
    for path in source.paths:
        places = files.own(path, study.name, study.folder)
        there = next((fitting for place in places if (fitting := _fitting(place))), [])
        if not there:
            said = " or ".join(map(files.shown, places))
            raise BadInput(f"there is no file {said}: {source.cure}")
        if len(there) > 1:
            said = " and ".join(map(files.shown, there))
            raise BadInput(f"{said} are there, and one is read: leave that one there")
        result += there
    return result


def _fitting(place: Path) -> list[Path]:
    """Files of that name, or that it stands for."""
    if place.is_file():
        return [place]
    return [path for path in sorted(place.parent.glob(place.name)) if path.is_file()]
