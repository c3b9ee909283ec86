"""How long an epoch takes and how much memory, in Keras, LiteRT and MNN, in one go."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from helpers import child
from helpers.ondevice import keras, mnn
from helpers.ondevice.program import Program
from helpers.ondevice.rows import Rows, at, joined
from helpers.ondevice.trainer import Trainer, batches

ROUNDS = 5
_STEPS = 20
"""That a turn is timed over."""


def table(
    program: Program,
    path: Path,
    rows: Rows,
    *,
    batch_size: int = 32,
    learning_rate: float = 0.001,
    rounds: int = ROUNDS,
):
    """Time and memory of training, each way in turns, so that a drift of the machine cancels.

    Parameters
    ----------
    path : the training file of the program.
    rows : an epoch is this many.

    Returns
    -------
    DataFrame by way: ``seconds an epoch``, median over the turns; ``times Keras``, median of the
    ratios turn by turn, with their ``lowest`` and ``highest``; ``MB``, the most that a process that
    only trains holds, beyond what it holds before it opens the file.
    """
    import pandas as pd

    places = [each for _, each in batches(len(rows[1]), batch_size, 1, 0)][:_STEPS]
    chosen = [at(rows, each) for each in places]
    learner = keras.Trainer(program)
    whole = joined(*chosen)
    ways = {
        "Keras": lambda: learner.epoch(*whole, batch_size),
        "LiteRT, 1 thread": _steps(Trainer(path), chosen, learning_rate),
        "LiteRT, 2 threads": _steps(Trainer(path, threads=2), chosen, learning_rate),
        "MNN": _steps(mnn.Trainer(program), chosen, learning_rate),
    }
    for way in ways.values():  # the first time is that of compiling and allocating
        way()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            found[name].append(time.perf_counter() - start)
    part = len(whole[1]) / len(rows[1])
    result = {}
    for name, seconds in found.items():
        ratios = np.array(seconds) / found["Keras"]
        ends = [np.median(ratios), ratios.min(), ratios.max()]
        held = memory(path, chosen[0], learning_rate) if name == "LiteRT, 1 thread" else np.nan
        result[name] = [np.median(seconds) / part, *ends, held]
    columns = ["seconds an epoch", "times Keras", "lowest", "highest", "MB"]
    return pd.DataFrame(result, index=columns).T.round(2)


def _steps(trainer, chosen: list[Rows], learning_rate: float) -> Callable[[], None]:
    def run() -> None:
        for inputs, labels in chosen:
            trainer.train(inputs, labels, learning_rate)

    return run


def memory(path: Path, rows: Rows, learning_rate: float = 0.001) -> float:
    """Megabytes that a process grows by when it opens a training file and makes five steps."""
    inputs, labels = rows
    folder = path.parent
    np.savez(folder / "batch.npz", labels=labels, **{f"input {n}": a for n, a in inputs.items()})
    try:
        return child.run(
            f"train with {path.name}",
            f"{__name__}:_memory_here",
            path=str(path),
            batch=str(folder / "batch.npz"),
            learning_rate=learning_rate,
        )
    finally:
        (folder / "batch.npz").unlink()


def _memory_here(path: str, batch: str, learning_rate: float) -> float:
    import ai_edge_litert.interpreter  # noqa: F401 (not what the training takes)

    with np.load(batch, allow_pickle=False) as file:
        labels = file["labels"]
        inputs = {n.removeprefix("input "): file[n] for n in file.files if n != "labels"}
    before = _held()
    trainer = Trainer(Path(path))
    for _ in range(5):
        trainer.train(inputs, labels, learning_rate)
    return (_held() - before) / 1e6


def _held() -> float:
    """Resident bytes of this process."""
    import psutil

    return float(psutil.Process().memory_info().rss)
