"""Rows as Arrow tables: one column a tensor, and what is known of them.

A row of it is a fixed-size list of values; of a picture, its bytes. Parquet keeps them so; shapes,
dtypes and meanings are the schema's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from helpers.schema import Schema, Tensor

SPLITS = ("train", "validation", "test")
LABEL, REQUEST, BAYES, USER = "label", "request", "bayes_probability", "user"
PICTURE = "picture_file"
"""Columns beside the inputs: 0 or 1, or a class; which rows are ranked together; P(label = 1) or of
each class, never a feature; where users have several requests, whose each is; and of which file a
picture is."""
CHUNK_ROWS = 100_000
"""Most rows a chunk: whole requests of 20, about 10 MB, some 40 MB while it is being made."""
CHUNK_BYTES = 64 << 20
"""Most bytes of a chunk's inputs: of wide ones it has fewer rows."""
_WIDE = 256
"""Values without names from which on a tensor is kept as bytes: Parquet counts every value of a
list, and reads pictures twenty times as slowly."""


def divided(
    digests: Sequence[str], seed: int, shares: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Give rows to splits by what is in them: equal ones to the same, whatever their order.

    Parameters
    ----------
    digests : of each row, or of rows that stay together, in hexadecimal.
    seed : another one is another order.
    shares : of the validation and the test split.

    Returns
    -------
    Places from 0 to 1 in an order of chance, ``(n_rows,) float64``, and the splits, indices of
    `SPLITS`, ``(n_rows,) int8``.
    """
    mixed = [hashlib.sha256(f"{seed} {digest}".encode()).digest()[:8] for digest in digests]
    order = np.array([int.from_bytes(start, "big") for start in mixed], np.float64) / 2.0**64
    validation, test = shares
    return order, np.select([order < validation, order < validation + test], [1, 2], 0).astype(
        np.int8
    )


def columns(schema: Schema, inputs: Mapping[str, np.ndarray]) -> dict[str, object]:
    """Arrow columns of named inputs ``(n_rows, *shape)``, by tensor in declared order."""
    import pyarrow as pa

    def listed(tensor: Tensor):
        values = np.ascontiguousarray(inputs[tensor.name], tensor.dtype)
        if _is_wide(tensor):
            kept = [None, pa.py_buffer(values)]
            return pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(tensor.row_bytes), len(values), kept
            )
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), tensor.size)

    return {tensor.name: listed(tensor) for tensor in schema.inputs}


def compression(schema: Schema) -> str:
    """How Parquet packs the rows of a schema: quick to read where they are bytes."""
    return "lz4" if any(map(_is_wide, schema.inputs)) else "zstd"


def _is_wide(tensor: Tensor) -> bool:
    return not tensor.dimensions and tensor.size >= _WIDE


def column(values: np.ndarray):
    """Return ``(n_rows,)`` values as they are, ``(n_rows, width)`` as an Arrow column of lists."""
    import pyarrow as pa

    if values.ndim == 1:
        return values
    return pa.FixedSizeListArray.from_arrays(
        pa.array(np.ascontiguousarray(values).reshape(-1)), values.shape[1]
    )


def arrays(schema: Schema, table) -> dict[str, np.ndarray]:
    """Named inputs ``(n_rows, *shape)`` of an Arrow table with the schema's columns."""
    return {tensor.name: _array(tensor, table) for tensor in schema.inputs}


def described(tensors: Sequence[Tensor]):
    """What each value of tensors means: DataFrame of input, dimension, meaning; a tensor without
    names in one row.
    """
    import pandas as pd

    rows = [
        (tensor.name, name, meaning)
        for tensor in tensors
        for name, meaning in [(d.name, d.meaning) for d in tensor.dimensions]
        or [(" x ".join(map(str, tensor.shape)), tensor.meaning)]
    ]
    return pd.DataFrame(rows, columns=["input", "dimension", "meaning"])


def frame(schema: Schema, table, names: Sequence[str] | None = None):
    """An Arrow table as a DataFrame to look at.

    A tensor is spread over a column a value where its values have names, and is one column of
    arrays where not. Other columns are as they are.

    Parameters
    ----------
    names : columns of the DataFrame in order, default all.
    """
    import pandas as pd

    tensors = {tensor.name: tensor for tensor in schema.inputs}
    columns: dict[str, object] = {}
    for name in table.column_names:
        if name not in tensors:
            columns[name] = table[name].to_pandas()
            continue
        tensor, values = tensors[name], _array(tensors[name], table)
        if tensor.dimensions:
            columns |= {column: values[:, j] for j, column in enumerate(tensor.columns)}
        else:
            columns[name] = pd.Series(list(values), dtype=object)
    return pd.DataFrame(columns if names is None else {name: columns[name] for name in names})


def _array(tensor: Tensor, table) -> np.ndarray:
    values = _packed(tensor, table) if _is_wide(tensor) else lists(table[tensor.name])
    return np.ascontiguousarray(values, tensor.dtype).reshape(-1, *tensor.shape)


def _packed(tensor: Tensor, table) -> np.ndarray:
    """Return the values of a column of bytes, without copying them where it is in one piece."""
    parts = [
        np.frombuffer(
            chunk.buffers()[1],
            tensor.dtype,
            len(chunk) * tensor.size,
            chunk.offset * tensor.row_bytes,
        )
        for chunk in table[tensor.name].chunks
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0)


def lists(column) -> np.ndarray:
    """Return the values of an Arrow column of fixed-size lists, one after the other."""
    parts = [chunk.flatten().to_numpy() for chunk in column.chunks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0)
