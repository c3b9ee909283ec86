"""How long an epoch takes and how much memory, in Keras, LiteRT and MNN, in one go."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from helpers import child
from helpers.ondevice import keras, mnn, optimisers
from helpers.ondevice.program import Program
from helpers.ondevice.rows import Rows, at, joined
from helpers.ondevice.trainer import Trainer, batches
from helpers.quiet import tensorflow
from helpers.schema import Schema

_THREADS = {"LiteRT, 1 thread": 1, "LiteRT, 2 threads": 2}
WAYS = ("Keras", *_THREADS, "MNN")
ROUNDS = 5
_STEPS = 20
"""That a turn is timed over; of an epoch they are a part."""
_KERAS_STEPS = 400
"""The same of Keras, whose ``fit`` takes as long to begin as many small steps: a whole epoch, where
it has no more steps."""


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
    ratios turn by turn, with their ``lowest`` and ``highest``; ``MB``, see `memory`.
    """
    import pandas as pd

    places = [each for _, each in batches(len(rows[1]), batch_size, 1, 0)][:_KERAS_STEPS]
    epoch = [at(rows, each) for each in places]
    chosen = epoch[:_STEPS]
    learner = keras.Trainer(program)
    whole = joined(*epoch)
    turns = (
        lambda: learner.epoch(*whole, batch_size),
        *(_steps(Trainer(path, count), chosen, learning_rate) for count in _THREADS.values()),
        _steps(mnn.Trainer(program), chosen, learning_rate),
    )
    ways = dict(zip(WAYS, turns, strict=True))
    parts = {name: sum(len(each[1]) for each in chosen) / len(rows[1]) for name in ways}
    parts["Keras"] = len(whole[1]) / len(rows[1])
    for way in ways.values():  # the first time is that of compiling and allocating
        way()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            found[name].append((time.perf_counter() - start) / parts[name])
    result, held = {}, memory(program, path, chosen[0], learning_rate)
    for name, seconds in found.items():
        ratios = np.array(seconds) / found["Keras"]
        ends = [np.median(ratios), ratios.min(), ratios.max()]
        result[name] = [np.median(seconds), *ends, held[name]]
    columns = ["seconds an epoch", "times Keras", "lowest", "highest", "MB"]
    return pd.DataFrame(result, index=columns).T.round(2)


def _steps(trainer, chosen: list[Rows], learning_rate: float) -> Callable[[], None]:
    def run() -> None:
        for inputs, labels in chosen:
            trainer.train(inputs, labels, learning_rate)

    return run


def memory(
    program: Program, path: Path, rows: Rows, learning_rate: float = 0.001
) -> dict[str, float]:
    """Megabytes that a process of its own grows by when it opens a training and makes five steps,
    by way; what it has imported, and the model that Keras and MNN begin with, were there before.
    """
    inputs, labels = rows
    with tempfile.TemporaryDirectory() as folder:
        model, batch = Path(folder) / "model.keras", Path(folder) / "batch.npz"
        program.model.save(model)
        np.savez(batch, labels=labels, **{f"input {n}": a for n, a in inputs.items()})
        given = {"path": str(path), "model": str(model), "batch": str(batch)}
        given |= {"schema": program.schema.to_json(), "learning_rate": learning_rate}
        given |= {"optimiser": [type(program.optimiser).__name__, vars(program.optimiser)]}
        return {
            way: child.run(f"train with {way}", f"{__name__}:_memory_here", way=way, **given)
            for way in WAYS
        }


def _memory_here(way, path, model, batch, schema, optimiser, learning_rate) -> float:
    with np.load(batch, allow_pickle=False) as file:
        labels = file["labels"]
        inputs = {n.removeprefix("input "): file[n] for n in file.files if n != "labels"}
    if way in _THREADS:
        import ai_edge_litert.interpreter  # noqa: F401 (not what the training takes)

        opened = functools.partial(Trainer, Path(path), _THREADS[way])
    else:
        if way == "MNN":
            import MNN.nn  # noqa: F401 (as above)
        net = tensorflow().keras.models.load_model(model, compile=False)
        kind, values = optimiser
        program = Program(net, Schema.from_json(schema), getattr(optimisers, kind)(**values))
        opened = functools.partial((mnn if way == "MNN" else keras).Trainer, program)
    before = _held()
    trainer = opened()
    for _ in range(5):
        trainer.train(inputs, labels, learning_rate)
    return (_held() - before) / 1e6


def _held() -> float:
    """Resident bytes of this process."""
    import psutil

    return float(psutil.Process().memory_info().rss)
