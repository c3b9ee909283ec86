"""Federated averaging over the same training file: phones train, weights are averaged.

Source: McMahan, Moore, Ramage, Hampson, Agueera y Arcas, "Communication-Efficient Learning of Deep
Networks from Decentralized Data" (2017), FedAvg.

A phone's part is one call, `trained`: weights in, weights and a number of rows out, which is what a
client of Flower (``NumPyClient.fit``) returns. No row leaves its phone.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from helpers.ondevice.personal import learn
from helpers.ondevice.program import WEIGHTS
from helpers.ondevice.rows import Rows, at
from helpers.ondevice.trainer import Trainer, with_weights


def trained(
    file: bytes,
    weights: np.ndarray,
    rows: Rows,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
) -> tuple[np.ndarray, int]:
    """What one phone does in a round: the weights that it learns, and from how many rows.

    Parameters
    ----------
    file : content of the training file; a phone is a machine of its own.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "training.tflite"
        path.write_bytes(file)
        trainer = Trainer(path)
    state = with_weights(trainer.save(), weights)
    settings = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    return learn(trainer, state, rows, seed=seed, **settings)[WEIGHTS], len(rows[1])


def average(found: Iterable[tuple[np.ndarray, int]]) -> np.ndarray:
    """Mean of the phones' weights, each counted by its rows."""
    weights, rows = zip(*found, strict=True)
    return np.average(np.array(weights, float), axis=0, weights=rows).astype(np.float32)


def rounds(
    path: Path,
    weights: np.ndarray,
    phones: Sequence[Rows],
    test: Rows,
    *,
    count: int = 10,
    epochs: int = 1,
    batch_size: int = 16,
    learning_rate: float = 0.001,
    seed: int = 42,
    over: Callable = map,
    progress: bool = True,
):
    """Train in rounds; each begins with the average of the one before.

    Parameters
    ----------
    phones : what lies on each.
    over : ``(function, *lists) -> results`` that runs the phones: `map` here, one after another;
        `cluster` for those of a Dask cluster.

    Returns
    -------
    DataFrame by round, 0 before any: ``accuracy`` and ``loss`` on the test rows.
    """
    import pandas as pd
    from tqdm import tqdm

    judge, table = Trainer(path), []
    start = judge.save()
    for number in tqdm(
        range(count + 1), desc="rounds", delay=2, leave=False, disable=not progress or None
    ):
        if number:
            each = len(phones)
            lists = [[path.read_bytes()] * each, [weights] * each, phones]
            fixed = [[value] * each for value in (epochs, batch_size, learning_rate)]
            seeds = [[seed * 1000 + number, phone] for phone in range(each)]
            seeds = [int(np.random.SeedSequence(s).generate_state(1)[0]) for s in seeds]
            weights = average(over(trained, *lists, *fixed, seeds))
        judge.restore(with_weights(start, weights))
        said = judge.evaluate(*test)
        table.append([said["correct"], said["loss"]])
    index = pd.RangeIndex(count + 1, name="round")
    return pd.DataFrame(table, columns=["accuracy", "loss"], index=index)


@contextlib.contextmanager
def cluster(address: str) -> Iterator[Callable]:
    """Runs phones on a Dask cluster, as ``tcp://host:8786``: ``over`` of `rounds`, for the body."""
    import distributed

    with distributed.Client(address, timeout=5, set_as_default=False) as client:
        yield lambda function, *lists: client.gather(client.map(function, *lists, pure=False))


def divided(rows: Rows, phones: int, *, classes: int = 0, seed: int = 42) -> list[Rows]:
    """Rows on phones: evenly, or each phone with `classes` classes only, as people are."""
    labels = rows[1]
    rng = np.random.default_rng(seed)
    if classes:  # sorted by class, cut into shards, some shards a phone
        order = np.argsort(labels + rng.random(len(labels)), kind="stable")
        shards = np.array_split(order, phones * classes)
        dealt = rng.permutation(len(shards)).reshape(phones, classes)
        parts = [np.concatenate([shards[i] for i in mine]) for mine in dealt]
    else:
        parts = np.array_split(rng.permutation(len(labels)), phones)
    return [at(rows, part) for part in parts]
