"""What all runtimes have in common: named inputs in, named outputs out, and the timed calls."""

from __future__ import annotations

import timeit
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from helpers.errors import DamagedFile
from helpers.schema import Schema

CALL_VALUES = 1 << 20
"""Most input values that are given to a runtime in one call: its activations take several times as
much memory, and beyond the processor's caches twice the time."""


class Steps(NamedTuple):
    """Timers over the bare runtime calls for one batch; ``.timeit(calls)`` makes them and returns
    the seconds.

    `timeit` compiles the calls into the loop itself, so that no function call of ours is timed with
    them. `outputs` makes the calls of `copy_and_run` once, the same lines, and returns what they
    gave, as `Runtime.predict`.
    """

    copy_and_run: timeit.Timer
    run: timeit.Timer
    outputs: Callable[[], dict[str, np.ndarray]]


def steps_of(
    calls: Sequence[str], results: Mapping[str, str], run: str, names: dict[str, object]
) -> Steps:
    """Compile the calls of a runtime: lines of code over `names`, then an expression an output."""

    def outputs() -> dict[str, np.ndarray]:
        exec("\n".join(calls), names)
        return {name: np.asarray(eval(result, names)) for name, result in results.items()}

    outputs()
    every = "\n".join([*calls, *results.values()])
    return Steps(timeit.Timer(every, globals=names), timeit.Timer(run, globals=names), outputs)


class Computed(NamedTuple):
    """What a layer of a trained model computed; a ``Graph`` of a runtime runs them.

    Attributes
    ----------
    values : ``(n_rows, ...) float32``, of several outputs the first; None if it is no float tensor.
    takes : places of the layers whose outputs it takes, among all.
    """

    name: str
    operator: str
    values: np.ndarray | None
    takes: tuple[int, ...]


class Runtime:
    """An open model file. Not safe to call from two threads at once.

    Raises
    ------
    BadInput : for inputs that `Schema.check` refuses.
    """

    path: Path
    schema: Schema

    def predict(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute all outputs ``(n_rows, *shape)``, by name, of named inputs ``(n_rows, *shape)``.

        A file with a fixed batch is called with as many rows as it takes; the last call is filled
        up with copies of the last row.
        """
        rows, step = self.schema.check(inputs), self._rows_a_call()
        fills = self.schema.batch == step
        if rows == step or (rows < step and not fills):
            return self._predict(inputs, rows)
        parts = []
        for start in range(0, rows, step):
            left = rows - start
            if left >= step or not fills:
                part = {name: array[start : start + step] for name, array in inputs.items()}
            else:
                places = np.minimum(np.arange(start, start + step), rows - 1)
                part = {name: array[places] for name, array in inputs.items()}
            count = len(next(iter(part.values())))
            parts.append({name: array[:left] for name, array in self._predict(part, count).items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def predict_at_once(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute as `predict`, all rows in one call where the batch is free, however wide they
        are.
        """
        rows = self.schema.check(inputs)
        return self._predict(inputs, rows) if self.schema.batch is None else self.predict(inputs)

    def score(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Compute the output that a task decides by, ``(n_rows, *shape)``."""
        return self.predict(inputs)[self.schema.output.name]

    def steps(self, inputs: Mapping[str, np.ndarray]) -> Steps:
        """The bare runtime calls for this batch, without validation: copy in, run, copy out; and
        the run alone.

        Good until the next `predict`. The arrays are read at each call.
        """
        raise NotImplementedError

    def _predict(self, inputs: Mapping[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
        raise NotImplementedError

    def _rows_a_call(self) -> int:
        return self.schema.batch or rows_a_call(self.schema)


def rows_a_call(schema: Schema, values: int = CALL_VALUES) -> int:
    """Most rows that are computed at a time, where the batch is free."""
    return max(1, values // sum(tensor.size for tensor in schema.inputs))


Interface = Mapping[str, tuple[Sequence[int], str | None]]
"""By tensor name, the shape with -1 for what is free, and the dtype where a runtime tells it."""


def check_interface(path: Path, schema: Schema, inputs: Interface, outputs: Interface) -> None:
    """Refuse a file whose inputs or outputs are not the schema's.

    Outputs are held to their names and dtypes here, and to their shapes when there are some. What
    is free in the file is any number. A file that was given may have more outputs.
    """
    inputs, outputs = schema.by_name(inputs), schema.by_name(outputs)
    if schema.given:
        outputs = {name: outputs[name] for name in outputs if name in schema.output_names}
    if set(inputs) != set(schema.input_names):
        raise DamagedFile(
            f"{path.name} takes inputs {sorted(inputs)}, the model takes {schema.input_names}"
        )
    if set(outputs) != set(schema.output_names):
        raise DamagedFile(
            f"{path.name} gives {sorted(outputs)}, the model gives {schema.output_names}"
        )
    batch = -1 if schema.batch is None else schema.batch
    for tensor in (*schema.inputs, *schema.outputs):
        shape, dtype = inputs.get(tensor.name) or outputs[tensor.name]
        if tensor.name in inputs and not fits(shape, tensor.shape):
            raise DamagedFile(
                f"{path.name}: {tensor.name} has shape {list(shape)}, the model takes "
                f"{[batch, *tensor.shape]}"
            )
        if dtype not in (None, tensor.dtype):
            raise DamagedFile(
                f"{path.name}: {tensor.name} is {dtype}, the model says {tensor.dtype}"
            )


def fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether a shape with its batch can be `wanted`."""
    return len(shape) == 1 + len(wanted) and all(
        n in (-1, w) for n, w in zip(shape[1:], wanted, strict=True)
    )


def check_outputs(
    path: Path, schema: Schema, rows: int, shapes: Mapping[str, Sequence[int]]
) -> None:
    """Refuse outputs that are not one a row: a file with a static batch answers 1 row for 1000."""
    for tensor in schema.outputs:
        which = f" of {tensor.name}" if len(schema.outputs) > 1 else ""
        if tuple(shapes[tensor.name]) != (rows, *tensor.shape):
            raise DamagedFile(
                f"static batch: {path.name} answers shape {tuple(shapes[tensor.name])}{which} for "
                f"{rows} rows; convert it with a dynamic one"
                if tuple(shapes[tensor.name][1:]) == tensor.shape
                else (
                    f"{path.name}: {tensor.name} has shape {tuple(shapes[tensor.name])} for {rows} "
                    f"rows, the model says {(rows, *tensor.shape)}"
                )
            )
