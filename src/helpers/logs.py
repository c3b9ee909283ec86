"""Rows of somebody's own tables: read, checked, split by group or time, chunk by chunk.

A table is read from beginning to end twice: which groups there are and where each belongs is found
first, from their columns alone, and then rows go to their splits. What is in memory is a chunk a
split, and some bytes a group. `helpers.datasets` stores what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from helpers import files, log_files, tables
from helpers.errors import BadInput
from helpers.studies import Files, Study
from helpers.tables import CHUNK_BYTES, CHUNK_ROWS, LABEL, REQUEST, SPLITS

_Made = TypeVar("_Made")
_LEFT_OUT = -1


@dataclass
class Rows:
    """Rows of all splits, as `helpers.datasets` stores them.

    `sizes` are most rows by split, 0 for all there are: groups are taken whole, in an order of
    chance, until there are so many. `seed` says which groups are in which split.
    """

    study: Study
    source: Files
    sizes: Mapping[str, int]
    seed: int
    workers: int = 1

    def __post_init__(self):
        self._files = found(self.study, self.source)
        self._reads = log_files.Columns(self.study.schema, self.source)

    def origin(self) -> tuple[list[str], list]:
        """What makes the rows: modules of the package, and values, the SHA-256 of the tables among
        them.
        """
        columns = [tensor.identity for tensor in self.study.schema.inputs]
        source = self.source
        values = [source.label, source.group, source.time, source.split, source.lone, source.shares]
        digests = [files.sha256(path) for path in self._files]
        return [__name__, log_files.__name__], [values, self.study.task, columns, digests]

    def facts(self) -> dict:
        """What is known of the rows when all are made, as plain values."""
        return {"candidates": 1, "threshold": dict.fromkeys(SPLITS)}

    def each(self, work: Callable[[str, int, object], _Made]) -> Iterator[_Made]:
        """Call ``work(split, number, table)`` for every chunk; results as they come.

        Raises
        ------
        BadInput : what a table lacks, or holds, with the column, the row and the way out.
        """
        import pyarrow as pa

        chunk = min(CHUNK_ROWS, max(1, CHUNK_BYTES // self.study.schema.row_bytes))
        waiting: dict[str, list] = {split: [] for split in SPLITS}
        numbers = dict.fromkeys(SPLITS, 0)
        places = _Places.of(self)

        def whole(split: str, least: int) -> Iterator[_Made]:
            table = pa.concat_tables(waiting[split])
            while len(table) >= least and len(table):
                yield work(split, numbers[split], table.slice(0, chunk))
                numbers[split] += 1
                table = table.slice(chunk)
            waiting[split] = [table] if len(table) else []

        for batch in self._reads.batches(self._files):
            groups = batch.groups()
            place = places.look(groups)
            table = pa.table({**self._stored(batch), REQUEST: groups})
            for number, split in enumerate(SPLITS):
                if (inside := place == number).any():
                    waiting[split].append(table.filter(pa.array(inside)))
                    if sum(map(len, waiting[split])) >= chunk:
                        yield from whole(split, chunk)
        for split in SPLITS:
            if waiting[split]:
                yield from whole(split, 1)

    def _stored(self, batch: log_files.Batch) -> dict[str, object]:
        """Columns of a batch with the schema's tensors and the label."""
        inputs = {tensor.name: batch.tensor(tensor) for tensor in self.study.schema.inputs}
        columns = dict(tables.columns(self.study.schema, inputs))
        if self.source.label is not None:
            classes = max(2, self.study.schema.output.size)
            columns[LABEL] = batch.labels(self.source.label, classes)
        return columns


@dataclass(frozen=True)
class _Places:
    """Which split each group is in: an index of `SPLITS`, or `_LEFT_OUT`."""

    keys: np.ndarray
    split: np.ndarray

    def look(self, groups: np.ndarray) -> np.ndarray:
        return self.split[np.searchsorted(self.keys, groups)]

    @classmethod
    def of(cls, rows: Rows) -> _Places:
        """Read the tables once for it, of which only the columns that it needs."""
        source, survey = rows.source, _Survey()
        needed = [name for name in (source.group, source.time, source.split) if name]
        for batch in rows._reads.batches(rows._files, needed):
            times = None if source.time is None else batch.times(source.time)
            splits = None if source.split is None else batch.splits(source.split)
            survey.add(batch, times, splits)
        keys, counts, first, begins, splits = survey.groups()
        _check_lone(rows, counts, first)
        chance = _uniform(keys, rows.seed)
        if source.split is not None:
            place = splits
        else:
            order = chance if source.time is None else _ranks(begins, chance)
            place = np.zeros(len(keys), np.int8)
            validation, test = source.shares
            if source.time is None:  # the order of splits along the line is of no meaning
                place[order < validation] = 1
                place[(order >= validation) & (order < validation + test)] = 2
            else:
                place[order >= 1 - validation - test] = 1
                place[order >= 1 - test] = 2
        if source.lone == "drop" and source.group is not None:
            place[counts == 1] = _LEFT_OUT
        for number, (split, most) in enumerate(rows.sizes.items()):
            inside = np.flatnonzero(place == number)
            if not len(inside):
                raise BadInput(_empty(rows, split))
            if most:
                inside = inside[np.argsort(chance[inside], kind="stable")]
                before = np.cumsum(counts[inside]) - counts[inside]
                place[inside[before >= most]] = _LEFT_OUT
        return cls(keys, place)


class _Survey:
    """What there is to know of groups: how many rows, the first of them, when they begin, and the
    split that they say.
    """

    _MOST = 4_000_000
    """Entries that wait to be brought together."""

    def __init__(self):
        self._parts: list[tuple[np.ndarray, ...]] = []
        self._waiting = 0

    def add(
        self, batch: log_files.Batch, times: np.ndarray | None, splits: np.ndarray | None
    ) -> None:
        keys = batch.groups()
        none = np.zeros(len(keys), np.int8)
        rows = np.arange(batch.first, batch.first + len(keys))
        times, splits = (none if values is None else values for values in (times, splits))
        part = (keys, np.ones(len(keys), np.int64), rows, times, splits)
        self._parts.append(self._together([part]))
        self._waiting += len(self._parts[-1][0])
        if self._waiting > self._MOST:
            self._parts = [self._together(self._parts)]
            self._waiting = 0

    def groups(self) -> tuple[np.ndarray, ...]:
        """By key, sorted: keys, numbers of rows, first rows, first times, splits."""
        if not self._parts:
            raise BadInput("the tables have no rows")
        return self._together(self._parts)

    @staticmethod
    def _together(parts: Sequence[tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
        keys, counts, rows, times, splits = (
            np.concatenate([part[i] for part in parts]) for i in range(5)
        )
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        splits = splits[order]
        lowest, highest = (f.reduceat(splits, starts) for f in (np.minimum, np.maximum))
        if len(leaks := np.flatnonzero(lowest != highest)):
            begin = starts[leaks[0]]
            end = starts[leaks[0] + 1] if leaks[0] + 1 < len(starts) else len(keys)
            raise _Leak(rows[order][begin:end], splits[begin:end])
        return (
            keys[starts],
            np.add.reduceat(counts[order], starts),
            np.minimum.reduceat(rows[order], starts),
            np.minimum.reduceat(times[order], starts),
            lowest,
        )


class _Leak(BadInput):
    """A group that is in two splits."""

    def __init__(self, rows: np.ndarray, splits: np.ndarray):
        told = {int(split): int(row) for row, split in zip(rows[::-1], splits[::-1], strict=True)}
        where = " and ".join(
            f"{SPLITS[split]} (row {row + 1})" for split, row in sorted(told.items())
        )
        super().__init__(
            f"a group is in two splits, in {where}: what is learnt of it there would be asked here;"
            " give all its rows one split, or leave the split to the workbench"
        )


def _check_lone(rows: Rows, counts: np.ndarray, first: np.ndarray) -> None:
    """Refuse groups of one row where rows of a group are to be ranked."""
    source = rows.source
    if source.group is None or rows.study.task != "ranking" or source.lone != "refuse":
        return
    if len(alone := np.flatnonzero(counts == 1)):
        row = int(first[alone].min()) + 1
        more = f", and {len(alone) - 1:,} more groups are so" if len(alone) > 1 else ""
        raise BadInput(
            f"row {row}: its {source.group} has no other row, so that there is nothing to rank"
            f'{more}: say Files(..., lone="drop") to leave them out, or "keep", or no group'
        )


def _empty(rows: Rows, split: str) -> str:
    said = (
        f"no row of column {rows.source.split} says so"
        if rows.source.split is not None
        else f"its shares are {rows.source.shares[0]:g} for validation and "
        f"{rows.source.shares[1]:g} for test; give more groups"
    )
    return f"no rows are left for the {split} split of {rows.source.name!r}: {said}"


def _ranks(values: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """Places from 0 to 1 in the order of values."""
    places = np.empty(len(values))
    places[np.lexsort((ties, values))] = np.arange(len(values)) / len(values)
    return places


def found(study: Study, source: Files) -> list[Path]:
    """Where the tables of a source are.

    Raises
    ------
    BadInput : one is not there, or no table.
    """
    places_found = []
    for path in source.paths:
        places = files.own(path, study.name, study.folder)
        there = next((place for place in places if place.is_file()), None)
        if there is None:
            raise BadInput(
                f"there is no file {' or '.join(map(str, places))}: put it there, or say in the "
                "study where it is"
            )
        log_files.check_table(there)
        places_found.append(there)
    return places_found


def _uniform(groups: np.ndarray, seed: int) -> np.ndarray:
    """A number from 0 to 1 a group that says nothing of the group, the same each time."""
    import pandas as pd

    mixed = pd.util.hash_array(
        groups.astype(np.uint64) ^ np.uint64(0x9E3779B97F4A7C15 * (seed + 1) % 2**64)
    )
    return mixed / 2.0**64
