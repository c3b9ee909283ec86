"""Rows of somebody's own tables: read, checked, split by group, chunk by chunk.

A table is read from beginning to end once; no more than a chunk a split is in memory.
`helpers.datasets` stores what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from helpers import files, tables
from helpers.errors import BadInput
from helpers.schema import Tensor
from helpers.studies import Files, Study
from helpers.tables import CHUNK_BYTES, CHUNK_ROWS, LABEL, REQUEST, SPLITS

_Made = TypeVar("_Made")
_BATCH = 65_536
"""Rows that are read at a time."""


@dataclass
class Rows:
    """Rows of all splits, as `helpers.datasets` stores them.

    `sizes` are most rows by split, 0 for all there are: groups are taken whole while there is room,
    so that there may be some rows more. `seed` says which groups are in which split.
    """

    study: Study
    source: Files
    sizes: Mapping[str, int]
    seed: int
    workers: int = 1

    def __post_init__(self):
        self._taken: dict[str, set] = {split: set() for split in SPLITS}
        self._rows = dict.fromkeys(SPLITS, 0)

    def origin(self) -> tuple[list[str], list]:
        """What makes the rows: modules of the package, and values, the SHA-256 of the tables among
        them.
        """
        columns = [
            (t.name, t.dtype, t.shape, t.columns, *map(str, t.bounds))
            for t in self.study.schema.inputs
        ]
        source = [self.source.label, self.source.group, self.source.shares]
        return [__name__], [source, columns, [files.sha256(path) for path in self._paths()]]

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

        def whole(split: str, least: int) -> Iterator[_Made]:
            table = pa.concat_tables(waiting[split])
            while len(table) >= least and len(table):
                yield work(split, numbers[split], table.slice(0, chunk))
                numbers[split] += 1
                table = table.slice(chunk)
            waiting[split] = [table] if len(table) else []

        for path in self._paths():
            first = 0
            for batch in _batches(path):
                for split, table in self._split(path, first, batch):
                    waiting[split].append(table)
                    self._rows[split] += len(table)
                    if sum(map(len, waiting[split])) >= chunk:
                        yield from whole(split, chunk)
                first += len(batch)
        for split in SPLITS:
            if not self._rows[split]:
                raise BadInput(
                    f"no rows are left for the {split} split of {self.source.name!r}: its shares "
                    f"are {self.source.shares[0]:g} for validation and {self.source.shares[1]:g} "
                    "for test; give more groups"
                )
            if waiting[split]:
                yield from whole(split, 1)

    def _paths(self) -> list[Path]:
        raw = files.home() / "data" / self.study.name / "raw"
        found = [raw / path for path in self.source.paths]  # an absolute one stays what it is
        for path in found:
            if not path.is_file():
                raise BadInput(
                    f"there is no file {path}: put it there, or say in the study where it is"
                )
        return found

    def _split(self, path: Path, first: int, batch) -> Iterator[tuple[str, object]]:
        """The rows of a batch by split, with the schema's tensors; `first` is the number of its
        first row.
        """
        import pyarrow as pa

        columns = dict(tables.columns(self.study.schema, self._inputs(path, first, batch)))
        if self.source.label is not None:
            columns[LABEL] = self._labels(path, first, batch)
        groups = self._groups(path, first, batch)
        columns[REQUEST] = groups
        table, place = pa.table(columns), _uniform(groups, self.seed)
        validation, test = self.source.shares
        inside = {
            "train": place >= validation + test,
            "validation": place < validation,
            "test": (place >= validation) & (place < validation + test),
        }
        for split, rows in inside.items():
            rows = self._admitted(split, groups, rows)
            if rows.any():
                yield split, table.filter(pa.array(rows))

    def _admitted(self, split: str, groups: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Of `rows`, those of groups that began while there was room for them."""
        most = self.sizes[split]
        if not most:
            return rows
        taken = self._taken[split]
        there = np.flatnonzero(rows)
        fresh = [int(i) for i in there if int(groups[i]) not in taken]
        room = most - self._rows[split] - (len(there) - len(fresh))
        for i in fresh:
            if room <= 0 and int(groups[i]) not in taken:
                continue
            taken.add(int(groups[i]))
            room -= 1
        return rows & np.isin(groups, np.fromiter(taken, np.int64, len(taken)))

    def _inputs(self, path: Path, first: int, batch) -> dict[str, np.ndarray]:
        return {
            tensor.name: self._tensor(tensor, path, first, batch)
            for tensor in self.study.schema.inputs
        }

    def _tensor(self, tensor: Tensor, path: Path, first: int, batch) -> np.ndarray:
        if tensor.dimensions:
            names = zip((d.name for d in tensor.dimensions), tensor.columns, strict=True)
            chosen = [name if name in batch.column_names else column for name, column in names]
            values = [_numbers(path, first, batch, name, tensor.dtype) for name in chosen]
            return np.stack(values, axis=1).reshape(-1, *tensor.shape)
        column = _column(path, batch, tensor.name)
        rows = [np.asarray(row.as_py()).reshape(-1) for row in column]
        for number, row in enumerate(rows, start=first):
            if row.shape != (tensor.size,):
                raise BadInput(
                    f"{path.name}, row {number + 1}: {tensor.name} has {row.size} values, not "
                    f"{tensor.size}"
                )
        return np.stack(rows).astype(tensor.dtype).reshape(-1, *tensor.shape)

    def _labels(self, path: Path, first: int, batch) -> np.ndarray:
        labels = _numbers(path, first, batch, self.source.label, "int16")
        classes = max(2, self.study.schema.output.size)
        if len(wrong := np.flatnonzero((labels < 0) | (labels >= classes))):
            row = int(wrong[0])
            raise BadInput(
                f"{path.name}, row {first + row + 1}: {self.source.label} is {labels[row]}, a label"
                f" is 0 to {classes - 1}"
            )
        return labels.astype(np.int8) if classes <= 127 else labels

    def _groups(self, path: Path, first: int, batch) -> np.ndarray:
        """A number a group, ``(n_rows,) int64``, the same for the same value each time."""
        import pandas as pd

        if self.source.group is None:
            return np.arange(first, first + len(batch))
        column = _column(path, batch, self.source.group)
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise BadInput(
                f"{path.name}, row {first + row + 1}: {self.source.group} is empty: give every row "
                "a group"
            )
        values = pd.Series(column.to_pandas()).astype(str)
        return (pd.util.hash_array(values.to_numpy(dtype=object)) >> np.uint64(1)).astype(np.int64)


def _batches(path: Path) -> Iterator:
    """Tables of some rows of a file, in order."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            for batch in pq.ParquetFile(path).iter_batches(_BATCH):
                yield pa.Table.from_batches([batch]).combine_chunks()
        elif path.suffix == ".csv":
            with pyarrow.csv.open_csv(path) as reader:
                for batch in reader:
                    yield pa.Table.from_batches([batch]).combine_chunks()
        else:
            raise BadInput(f"{path.name} is neither .csv nor .parquet")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise BadInput(f"{path.name} cannot be read: {' '.join(str(error).split())}") from error


def _column(path: Path, batch, name: str):
    if name not in batch.column_names:
        raise BadInput(f"{path.name} has no column {name}; it has: {', '.join(batch.column_names)}")
    return batch[name].combine_chunks()


def _numbers(path: Path, first: int, batch, name: str, dtype: str) -> np.ndarray:
    """A column as numbers of a type that holds every one of them."""
    import pyarrow as pa

    column = _column(path, batch, name)
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    if not any(kind(column.type) for kind in kinds):
        value = next((v for v in column.to_pylist() if not isinstance(v, (int, float))), None)
        raise BadInput(f"{path.name}: {name} holds text (as {value!r}), the model takes {dtype}")
    values = column.to_numpy(zero_copy_only=False)
    with np.errstate(invalid="ignore", over="ignore"):
        bad = ~np.isfinite(values.astype(np.float64))
        result = values.astype(dtype)
    if np.dtype(dtype).kind != "f":
        bad |= result.astype(np.float64) != values.astype(np.float64)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise BadInput(
            f"{path.name}, row {first + row + 1}: {name} is {values[row]}, the model takes {dtype}:"
            " fill or leave out such rows"
        )
    return result


def _uniform(groups: np.ndarray, seed: int) -> np.ndarray:
    """A number from 0 to 1 a group that says nothing of the group, the same each time."""
    import pandas as pd

    mixed = pd.util.hash_array(
        groups.astype(np.uint64) ^ np.uint64(0x9E3779B97F4A7C15 * (seed + 1) % 2**64)
    )
    return mixed / 2.0**64
