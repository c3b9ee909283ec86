"""Model files in a process of their own: a crash, a hang or a hunger for memory ends that process only.

Native code that opens a damaged file, or a converter's bad one, may read beyond its memory; whether that kills the
process is chance, at any call. So a file is scored here until it has been judged, and what happens to it is an error
with the file's name.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from helpers.child import Child
from helpers.errors import BadInput, DamagedFile, WorkbenchError
from helpers.schema import Schema

SECONDS, SECONDS_PER_ROW = 120.0, 0.001
"""How long a call may take: far more than any of these runtimes needs on a slow machine."""
MEMORY_BYTES = 8 << 30
"""By how much the process may grow; a file that asks for more is broken, and must not take the machine along."""
_INPUTS, _SCORES = "inputs.npz", "scores.npy"


class Guarded:
    """A model file that is open in a child process; scores like any `helpers.runtimes.Runtime`, and is not timed.

    Raises
    ------
    DamagedFile : from any method, where the file is not usable, or where its process crashed (the message names the
        signal), hung, or ran out of `MEMORY_BYTES`.
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

    def score(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Score named inputs: ``(n_rows, 1) float32``."""
        rows = self.schema.check(inputs)
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / _INPUTS, **inputs)
            self._call("_score_here", SECONDS + SECONDS_PER_ROW * rows, folder=folder)
            return np.load(Path(folder) / _SCORES, allow_pickle=False)

    def batch_differences(self, inputs: Mapping[str, np.ndarray], batches: Sequence[int]) -> list[float]:
        """Compare batch sizes, see `helpers.runtimes.batch_differences`."""
        rows = self.schema.check(inputs) + 2 * sum(batches)
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / _INPUTS, **inputs)
            seconds = SECONDS + SECONDS_PER_ROW * rows
            return self._call("_differences_here", seconds, folder=folder, batches=list(batches))

    def close(self) -> None:
        """End the process; safe to call twice. A model that is dropped closes itself."""
        self._end()

    def __enter__(self) -> Guarded:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _call(self, function: str, seconds: float, **arguments):
        try:
            return self._child.call(f"{__name__}:{function}", timeout=seconds, **arguments)
        except (DamagedFile, BadInput):
            raise
        except WorkbenchError as error:
            raise DamagedFile(f"{self.path.name} is not a usable model file: {error}") from error


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
        _model.score({t.name: np.zeros((rows, t.width), t.dtype) for t in declared.inputs})


def _limit_memory(more: int) -> None:
    """Let this process grow by `more` bytes of address space, where the system can hold it to that."""
    import resource
    import sys

    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most, hard = pages * resource.getpagesize() + more, resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _inputs(folder: str) -> dict[str, np.ndarray]:
    with np.load(Path(folder) / _INPUTS, allow_pickle=False) as file:
        return dict(file)


def _score_here(folder: str) -> None:
    """Score the inputs in a folder, and leave the scores there; runs in a child process."""
    np.save(Path(folder) / _SCORES, _model.score(_inputs(folder)))


def _differences_here(folder: str, batches: list[int]) -> list[float]:
    """Compare batch sizes on the inputs in a folder; runs in a child process."""
    from helpers.runtimes import batch_differences

    return batch_differences(_model, _inputs(folder), batches)
