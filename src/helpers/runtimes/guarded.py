"""Model files in a process of their own: a crash, a hang or a hunger for memory ends that process
only.

Native code that opens a damaged file, or a converter's bad one, may read beyond its memory; whether
that kills the process is chance, at any call. So a file is scored here until it has been judged,
and what happens to it is an error with the file's name.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from helpers.child import Child
from helpers.errors import BadInput, DamagedFile, WorkbenchError
from helpers.runtimes.runtime import Runtime, rows_a_call
from helpers.schema import Schema

SECONDS, SECONDS_PER_ROW, SECONDS_PER_VALUE = 120.0, 0.001, 4e-6
"""How long a call may take: far more than any of these runtimes needs on a slow machine."""
MEMORY_BYTES = 8 << 30
"""By how much the process may grow; a file that asks for more is broken, and must not take the
machine along.
"""
CALL_VALUES = 8 << 20
"""Most input values that the process is handed at once."""
_OUTPUTS = "outputs.npz"


class Guarded(Runtime):
    """A model file that is open in a child process; computes like any `Runtime`, and is not timed.

    Raises
    ------
    DamagedFile : from any method, where the file is not usable, or where its process crashed (the
        message names the signal), hung, or ran out of `MEMORY_BYTES`.
    """

    def __init__(self, path: Path, schema: Schema, threads: int, imports: str):
        self.path, self.schema = path, schema
        self._child = Child(f"open {path.name}", imports=imports)
        self._end = weakref.finalize(self, self._child.close)
        try:
            request = {"path": str(path), "schema": schema.to_json(), "threads": threads}
            self._call("_open_here", SECONDS, memory_bytes=MEMORY_BYTES, **request)
        except BaseException:
            self.close()
            raise
        self._child.purpose = f"score {path.name}"

    def _predict(self, inputs, rows):
        with tempfile.TemporaryDirectory() as folder:
            names = _put(inputs, folder)
            self._call("_predict_here", self._seconds(rows), folder=folder, names=names)
            with np.load(Path(folder) / _OUTPUTS, allow_pickle=False) as file:
                return dict(file)

    def _rows_a_call(self) -> int:
        """Many batches, because each call costs milliseconds; the process fills up the last one."""
        rows, batch = rows_a_call(self.schema, CALL_VALUES), self.schema.batch or 1
        return max(2 * batch, rows - rows % batch)

    def _seconds(self, rows: int) -> float:
        values = sum(tensor.size for tensor in self.schema.inputs)
        return round(SECONDS + rows * (SECONDS_PER_ROW + SECONDS_PER_VALUE * values), 1)

    def batch_differences(
        self, inputs: Mapping[str, np.ndarray], batches: Sequence[int]
    ) -> list[float]:
        """Compare batch sizes, see `helpers.runtimes.batch_differences`."""
        seconds = self._seconds(self.schema.check(inputs) + 2 * sum(batches))
        with tempfile.TemporaryDirectory() as folder:
            given = {"folder": folder, "names": _put(inputs, folder), "batches": list(batches)}
            return self._call("_differences_here", seconds, **given)

    def close(self) -> None:
        """End the process; safe to call twice. A model that is dropped closes itself."""
        self._end()

    def __enter__(self) -> Guarded:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _call(self, function: str, seconds: float, **arguments):
        with _named(self.path):
            return self._child.call(f"{__name__}:{function}", timeout=seconds, **arguments)


def ask(path: Path, function: str, imports: str):
    """Call a function of a file's path in a process of its own.

    Raises
    ------
    DamagedFile : what the function raised, or that its process ended.
    """
    with Child(f"open {path.name}", imports=imports) as process, _named(path):
        return process.call(function, timeout=SECONDS, path=str(path))


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn what happened to the process of a file into an error with the file's name."""
    try:
        yield
    except (DamagedFile, BadInput):
        raise
    except WorkbenchError as error:
        raise DamagedFile(f"{path.name} is not a usable model file: {error}") from error


_model = None
"""In the child process, the file that is open."""


def _open_here(path: str, schema: dict, threads: int, memory_bytes: int) -> None:
    """Open a file and score 1 and 3 rows of zeros; runs in a child process."""
    global _model
    from helpers.runtimes import open_model

    _limit_memory(memory_bytes)
    declared = Schema.from_json(schema)
    _model = open_model(Path(path), declared, threads=threads, trusted=True)
    for rows in (1, 3):
        _model.predict({tensor.name: tensor.zeros(rows) for tensor in declared.inputs})


def _limit_memory(more: int) -> None:
    """Let this process grow by `more` bytes of address space, where the system can see to that."""
    import resource
    import sys

    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most, hard = (
            pages * resource.getpagesize() + more,
            resource.getrlimit(resource.RLIMIT_AS)[1],
        )
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _put(inputs: Mapping[str, np.ndarray], folder: str) -> list[str]:
    """Write inputs for `_taken`, which need not copy them; returns their names."""
    for i, array in enumerate(inputs.values()):
        np.save(f"{folder}/{i}.npy", array)
    return list(inputs)


def _taken(folder: str, names: Sequence[str]) -> dict[str, np.ndarray]:
    mapped = (np.load(f"{folder}/{i}.npy", mmap_mode="r") for i in range(len(names)))
    return {name: np.asarray(array) for name, array in zip(names, mapped, strict=True)}


def _predict_here(folder: str, names: list[str]) -> None:
    """Compute the outputs of inputs in a folder, and leave them there; runs in a child process."""
    np.savez(Path(folder) / _OUTPUTS, **_model.predict(_taken(folder, names)))


def _differences_here(folder: str, names: list[str], batches: list[int]) -> list[float]:
    """Compare batch sizes on the inputs in a folder; runs in a child process."""
    from helpers.runtimes import batch_differences

    return batch_differences(_model, _taken(folder, names), batches)
