"""Tables of somebody's own, ``.csv`` and ``.parquet``, read some rows at a time: values become
the arrays that a schema's tensors take, or an error that names column and row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.errors import BadInput, meant
from helpers.schema import Schema, Tensor
from helpers.studies import Files
from helpers.tables import SPLITS

_BATCH, _BLOCK_BYTES = 65_536, 4 << 20
"""Rows of Parquet, and bytes of CSV, that are read at a time."""
_CSV_ERROR = re.compile(
    r"column #(\d+): (?:Row #(\d+): )?CSV conversion error to [\w\[\]]+: invalid value '(.*)'"
)


def check_table(path: Path) -> None:
    """Refuse what is no file, or not of a kind that is read."""
    if not path.is_file():
        raise BadInput(f"there is no file {path}")
    if path.suffix not in (".csv", ".parquet"):
        raise BadInput(f"{path.name} is neither .csv nor .parquet")


def header(path: Path) -> list[str]:
    """Names of the columns of a table.

    Raises
    ------
    BadInput : it is not there, is no table, or has two columns of one name.
    """
    import pyarrow.csv
    import pyarrow.parquet as pq

    check_table(path)
    with _reading(path):
        if path.suffix == ".parquet":
            return pq.read_schema(path).names
        with pyarrow.csv.open_csv(path) as reader:
            names = reader.schema.names
    if len(names) == 1 and (found := re.search(r"[;\t|]", names[0])):
        raise BadInput(
            f"{path.name} has one column, {names[0]!r}: it seems to be separated by {found[0]!r}; "
            "save it with commas, or as .parquet"
        )
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(f"{path.name}: column {twice[0]} is there more than once")
    return names


def require(path: Path, names: Iterable[str], there: Sequence[str]) -> None:
    """Refuse columns that a table has not; `there` are those it has.

    Raises
    ------
    BadInput : the first that is not there.
    """
    for name in names:
        if name not in there:
            raise BadInput(
                f"{path.name} has no column {name}{meant(name, there)}; it has: {', '.join(there)}"
            )


def head(path: Path, rows: int):
    """The first rows of a table, as a DataFrame."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    header(path)
    parts, found = [], 0
    with _reading(path):
        if path.suffix == ".parquet":
            batches = pq.ParquetFile(path).iter_batches(_BATCH)
        else:
            read = pyarrow.csv.ReadOptions(use_threads=False, block_size=8 * _BLOCK_BYTES)
            batches = pyarrow.csv.open_csv(path, read)
        for batch in batches:
            parts.append(batch)
            found += len(batch)
            if found >= rows:
                break
    if not found:
        raise BadInput(f"{path.name} has no rows")
    return pa.Table.from_batches(parts).slice(0, rows).to_pandas()


def ranges(paths: Sequence[Path], schema: Schema) -> dict[str, tuple[float, float]]:
    """Least and largest value of every column that a schema takes, over whole tables.

    Raises
    ------
    BadInput : see `Rows.each`.
    """
    found: dict[str, tuple[float, float]] = {}
    for batch in Columns(schema, Files("", "", ())).batches(paths):
        for tensor in schema.inputs:
            values = batch.tensor(tensor).reshape(len(batch), -1)
            whole = not tensor.dimensions
            names = [tensor.name] if whole else [d.name for d in tensor.dimensions]
            for i, name in enumerate(names):
                part = values if whole else values[:, i]
                low, high = found.get(name, (np.inf, -np.inf))
                found[name] = (min(low, float(part.min())), max(high, float(part.max())))
    return found


class Columns:
    """Which columns of a table a study takes, and as what."""

    def __init__(self, schema: Schema, source: Files):
        self._schema, self._source = schema, source

    def batches(self, paths: Sequence[Path], names: Sequence[str] | None = None) -> Iterator[Batch]:
        """Rows of tables, some at a time; default all columns that are needed, else `names`."""
        first = 0
        for path in paths:
            there = header(path)
            wanted = self._wanted(path, there) if names is None else list(names)
            require(path, wanted, there)
            start = first
            for table in _read(path, wanted, self._kinds(there), there):
                yield Batch(self._source, path, table, first, first - start)
                first += len(table)

    def _wanted(self, path: Path, there: Sequence[str]) -> list[str]:
        names = [name for tensor in self._schema.inputs for name in columns_of(tensor, there)]
        names += [name for name in (self._source.label, self._source.group) if name]
        return list(dict.fromkeys(names))

    def _kinds(self, there: Sequence[str]) -> dict[str, str]:
        """What the columns of a CSV hold, by name: it does not say, and its first rows may lie."""
        kinds = {}
        for tensor in self._schema.inputs:
            for name in columns_of(tensor, there):
                kinds[name] = "int64" if tensor.dtype == "int64" else "float64"
        if self._source.label:
            kinds[self._source.label] = "float64"
        kinds |= dict.fromkeys(filter(None, (self._source.group, self._source.split)), "string")
        return kinds


def columns_of(tensor: Tensor, there: Sequence[str]) -> list[str]:
    """Columns of a table that hold a tensor: one a value, by the dimension's name or else with the
    role before it; or one of lists.
    """
    if not tensor.dimensions:
        return [tensor.name]
    names = zip((d.name for d in tensor.dimensions), tensor.columns, strict=True)
    return [c if c in there and name not in there else name for name, c in names]


@dataclass
class Batch:
    """Rows of a table; `first` is the number of the first among all, `here` that in its file."""

    source: Files
    path: Path
    table: object
    first: int
    here: int

    def __len__(self) -> int:
        return len(self.table)

    def groups(self) -> np.ndarray:
        """A number a group, ``(n_rows,) int64``, the same for the same value each time."""
        if self.source.group is None:
            return np.arange(self.first, self.first + len(self))
        import pandas as pd

        name = self.source.group
        cure = "give every row a group"
        coded = self._column(name, cure).dictionary_encode()
        values, places = coded.dictionary.to_pandas(), coded.indices.to_numpy()
        blank = (values.isna() | (values == "")).to_numpy()[places]
        if blank.any():
            raise self._wrong(name, int(blank.argmax()), None, cure)
        hashed = pd.util.hash_array(values.astype(str).to_numpy(dtype=object))
        return (hashed >> np.uint64(1)).astype(np.int64)[places]

    def times(self, name: str) -> np.ndarray:
        """A number a row that grows with time: microseconds of dates, other times as they are."""
        import pyarrow as pa

        column = self._column(name, "give every row a time")
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            return column.cast(pa.timestamp("us"), safe=False).cast(pa.int64()).to_numpy()
        cure = "a time is a number, or a date as 2026-11-22"
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            raise self._wrong(name, 0, column[0].as_py(), cure)
        values = column.to_numpy()
        if len(wrong := np.flatnonzero(~np.isfinite(values))):
            raise self._wrong(name, int(wrong[0]), values[wrong[0]], cure)
        return values

    def splits(self, name: str) -> np.ndarray:
        """Index of `SPLITS` a row, int8."""
        values = self._column(name, "give every row a split").to_numpy(zero_copy_only=False)
        place = np.full(len(values), -1, np.int8)
        for number, split in enumerate(SPLITS):
            place[values == split] = number
        if len(wrong := np.flatnonzero(place < 0)):
            row = int(wrong[0])
            raise self._wrong(name, row, values[row], f"a split is one of {', '.join(SPLITS)}")
        return place

    def labels(self, name: str, classes: int) -> np.ndarray:
        values = self._numbers(name, "float64")
        wrong = (values < 0) | (values >= classes) | (values != np.floor(values))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            is_class = f"a label is 0 to {classes - 1}" if classes > 2 else "a label is 0 or 1"
            raise self._wrong(name, row, f"{values[row]:g}", is_class)
        return values.astype(np.int8 if classes <= 127 else np.int16)

    def tensor(self, tensor: Tensor) -> np.ndarray:
        """A tensor's values, ``(n_rows, *shape)``."""
        if tensor.dimensions:
            names = columns_of(tensor, self.table.column_names)
            values = np.stack([self._numbers(name, tensor.dtype) for name in names], axis=1)
            return values.reshape(-1, *tensor.shape)
        import pyarrow as pa
        import pyarrow.compute as pc

        column = self._column(tensor.name, f"give every row its {tensor.size} values")
        kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
        if not any(kind(column.type) for kind in kinds):
            return self._numbers(tensor.name, tensor.dtype, tensor.size).reshape(-1, *tensor.shape)
        lengths = pc.list_value_length(column).to_numpy()
        if len(wrong := np.flatnonzero(lengths != tensor.size)):
            row = int(wrong[0])
            raise self._wrong(tensor.name, row, f"{lengths[row]} values", f"it takes {tensor.size}")
        flat = column.flatten()
        values = self._as(tensor.name, flat, tensor.dtype, tensor.size)
        return values.reshape(-1, *tensor.shape)

    def _column(self, name: str, cure: str):
        """A column in which nothing is missing."""
        column = self.table[name].combine_chunks()
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise self._wrong(name, row, None, cure)
        return column

    def _numbers(self, name: str, dtype: str, size: int = 1) -> np.ndarray:
        column = self._column(name, "fill or leave out such rows")
        if size != 1:
            raise self._wrong(
                name, 0, column[0].as_py(), f"it takes {size} values a row, as a list"
            )
        return self._as(name, column, dtype)

    def _as(self, name: str, column, dtype: str, size: int = 1) -> np.ndarray:
        """Values as numbers of a type that holds every one of them; `size` are of a row."""
        import pyarrow as pa

        cure = f"the model takes {dtype}"
        kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise self._wrong(name, row // size, None, cure)
        if not any(kind(column.type) for kind in kinds):
            raise self._wrong(name, 0, column[0].as_py(), f"{cure}: make numbers of it")
        values = column.to_numpy(zero_copy_only=False)
        with np.errstate(invalid="ignore", over="ignore"):
            result = values.astype(dtype)
            bad = ~np.isfinite(result) if result.dtype.kind == "f" else result != values
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            said = f"{cure}: fill or leave out such rows"
            raise self._wrong(name, row // size, values[row], said)
        return result

    def _wrong(self, name: str, row: int, value: object, cure: str) -> BadInput:
        said = "is empty" if value in (None, "") else f"is {value!s}"
        return BadInput(f"{self.path.name}, row {self.here + row + 1}: {name} {said}: {cure}")


def _read(
    path: Path, names: Sequence[str], kinds: Mapping[str, str], there: Sequence[str]
) -> Iterator:
    """Tables of some rows of a file with these columns, in order."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    names = list(names) or list(there[:1])  # of none of them nobody could count rows
    with _reading(path):
        if path.suffix == ".parquet":
            for batch in pq.ParquetFile(path).iter_batches(_BATCH, columns=names):
                yield pa.Table.from_batches([batch])
            return
        with pyarrow.csv.open_csv(path) as reader:
            first = {field.name: field.type for field in reader.schema}
        types = {
            name: pa.type_for_alias(kinds[name])
            for name in names
            if name in kinds and first[name] != pa.bool_()
        }
        convert = pyarrow.csv.ConvertOptions(include_columns=names, column_types=types)
        read = pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
        with pyarrow.csv.open_csv(path, read, convert_options=convert) as reader:
            for batch in reader:
                if len(batch):
                    yield pa.Table.from_batches([batch])


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what Arrow says of a file that it cannot read into one line with column and row."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        raise BadInput(_said(path, error)) from error


def _said(path: Path, error: Exception) -> str:
    text = " ".join(str(error).split())
    if found := _CSV_ERROR.search(text):
        names = header(path)
        row = f", row {int(found[2]) - 1:d}" if found[2] else ""
        return (
            f"{path.name}{row}: {names[int(found[1])]} is {found[3]}, which is no number:"
            " mend or leave out such rows"
        )
    return f"{path.name} cannot be read: {text}"
