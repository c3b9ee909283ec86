"""A model's inputs as Arrow tables: one column a tensor, a fixed-size list of its values a row.

Parquet keeps them so; shapes and meanings are the schema's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from helpers.schema import Schema, Tensor


def columns(schema: Schema, inputs: Mapping[str, np.ndarray]) -> dict[str, object]:
    """Arrow columns of named inputs ``(n_rows, *shape)``, by the tensors' names in declared order."""
    import pyarrow as pa

    def column(tensor: Tensor):
        values = np.ascontiguousarray(inputs[tensor.name], tensor.dtype)
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), tensor.size)

    return {tensor.name: column(tensor) for tensor in schema.inputs}


def arrays(schema: Schema, table) -> dict[str, np.ndarray]:
    """Named inputs ``(n_rows, *shape)`` of an Arrow table with the schema's columns."""
    return {tensor.name: _array(tensor, table) for tensor in schema.inputs}


def frame(schema: Schema, table, names: Sequence[str] | None = None):
    """An Arrow table as a DataFrame to look at.

    A tensor is spread over a column a value where its values have names, and is one column of arrays where not. Other
    columns are as they are.

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
    parts = [chunk.flatten().to_numpy() for chunk in table[tensor.name].chunks]
    values = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.empty(0)
    return np.ascontiguousarray(values, tensor.dtype).reshape(-1, *tensor.shape)
