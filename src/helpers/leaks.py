"""Inputs that hold the label: no model is as good as it looks with one of them.

What is surely wrong is refused. That a check passes proves little; each says what not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from helpers.errors import BadInput
from helpers.metrics import ranking
from helpers.overlap import Inputs, Split, poisson_high
from helpers.schema import Schema

LEAK_AUC, SURE_AUC = 0.99, 0.95
"""An input whose AUC alone is at least the first, and surely (lower end of its interval) above the
second, is no feature: nothing that is known before the label tells so much of it."""
LEAK_COLUMNS = 512
"""Values of an input that are looked at one by one."""
LEAK_ROWS = 20_000
"""Rows of a split that inputs are looked at in: a leak shows in a few hundred."""
_BINS = 256
_REDRAWS = 999


def check_inputs(schema: Schema, training: Split, test: Split) -> None:
    """Refuse an input that tells the label alone: the label itself, or what is known only after it.

    Each column is a score in either direction, and by the mean label of its values (of floats that
    hardly repeat, of quantile bins) in the first half of the training rows. What it tells of the
    other half and of the test rows is judged.

    Passing says nothing of inputs that tell the label together, or that tell it a little better
    than they could: where the best possible is known, `check_possible` sees more. With fewer than
    about 80 rows of the rarer label nothing can be told.

    Raises
    ------
    BadInput : names the columns and their AUC.
    """
    half = min(len(training[1]), LEAK_ROWS) // 2
    known, labels = (
        training[1][:half],
        np.concatenate([training[1][half : 2 * half], test[1][:LEAK_ROWS]]),
    )
    rest, others = (
        np.unique(requests, return_inverse=True)[1]
        for requests in (training[2][half : 2 * half], test[2])
    )
    requests = np.concatenate([rest, others[:LEAK_ROWS] + len(rest)])
    found = []
    for name, column, other in _columns(schema, known, training[0], test[0]):
        values = np.concatenate([column[half : 2 * half], other[:LEAK_ROWS]])
        auc = ranking.auc(values, labels)
        auc = max(auc, 1 - auc, ranking.auc(_mean_labels(column[:half], known, values), labels))
        n = _independent(values, labels, requests)
        if auc >= LEAK_AUC and 1 - poisson_high(n * (1 - auc)) / max(n, 1) > SURE_AUC:
            found.append(f"{name} (AUC {auc:.3f})")
    if found:
        raise BadInput(
            f"the label is told by {', '.join(found)} alone: leave out what is known only after the"
            " label"
        )


def check_possible(
    schema: Schema, test: Split, scores: Mapping[str, np.ndarray], best: np.ndarray
) -> None:
    """Refuse scores that rank test rows better than the true probability: inputs hold the label.

    How much better a sound score can be by luck is known: labels are drawn anew from the true
    probability. A score that gains more than in each of 999 draws is refused, of sound ones at most
    one in a thousand. Passing says nothing of leaks that stay below the best possible.

    Parameters
    ----------
    scores : by scorer, ``(n_rows,)``, of the test rows.
    best : P(label = 1) of the test rows ``(n_rows,)``, which ranks them as well as can be.

    Raises
    ------
    BadInput : names the scorers with their AUC, and the column that goes with the labels' noise.
    """
    inputs, labels = (
        {name: array[:LEAK_ROWS] for name, array in test[0].items()},
        test[1][:LEAK_ROWS],
    )
    best, possible, found = best[:LEAK_ROWS], ranking.auc(best[:LEAK_ROWS], labels), []
    for name, score in scores.items():
        score = np.asarray(score).reshape(-1)[:LEAK_ROWS]
        gain = ranking.auc(score, labels) - possible
        if gain > 0 and gain > max(_lucky_gains(score, best)):
            found.append(f"{name} (AUC {gain + possible:.3f})")
    if found:
        noise = labels - best
        with np.errstate(invalid="ignore"):  # a constant column
            goes = {
                name: abs(np.corrcoef(column, noise)[0, 1])
                for name, column in _columns(schema, noise, inputs)
            }
        first = max(goes, key=lambda name: np.nan_to_num(goes[name]))
        raise BadInput(
            f"{', '.join(found)} rank better than the best possible (AUC {possible:.3f}): an input "
            f"holds the label; look first at {first}, which goes with its noise"
        )


def _columns(schema: Schema, labels: np.ndarray, *inputs: Inputs) -> Iterator[tuple]:
    """Name of each value of the schema's rows, and its column in each of the inputs.

    Of a tensor of more than `LEAK_COLUMNS` values, as a picture, those that go with the labels
    most.
    """
    for tensor in schema.inputs:
        flat = [split[tensor.name].reshape(len(split[tensor.name]), -1) for split in inputs]
        for j in _telling(flat[0], labels) if tensor.size > LEAK_COLUMNS else range(tensor.size):
            yield tensor.value_name(j), *(rows[:, j] for rows in flat)


def _telling(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The `LEAK_COLUMNS` columns of ``(n_rows, size)`` with the largest correlation to
    ``(n_rows,)`` labels.
    """
    rows, centred = rows[: len(labels)], labels[: len(rows)] - labels[: len(rows)].mean()
    product, square, total = (
        np.zeros(rows.shape[1]),
        np.zeros(rows.shape[1]),
        np.zeros(rows.shape[1]),
    )
    for i in range(0, len(rows), 64):
        part = rows[i : i + 64].astype(np.float64)
        product += centred[i : i + 64] @ part
        square += (part**2).sum(axis=0)
        total += part.sum(axis=0)
    spread = np.sqrt(np.maximum(square - total**2 / len(rows), 0.0))
    related = np.divide(np.abs(product), spread, out=np.zeros_like(product), where=spread > 0)
    return np.sort(np.argsort(-related, kind="stable")[:LEAK_COLUMNS])


def _mean_labels(column: np.ndarray, labels: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Mean label that values of `other` had in `column`; bins, if they are floats that rarely
    repeat.
    """
    values = np.unique(column)
    if len(values) > len(column) / 2 and column.dtype.kind == "f":
        values = np.unique(np.quantile(column, np.arange(_BINS) / _BINS))
    places, wanted = (np.searchsorted(values, x, side="right") for x in (column, other))
    rows = np.bincount(places, minlength=len(values) + 1)
    ones = np.bincount(places, labels, minlength=len(values) + 1)
    return ((ones + labels.mean()) / (rows + 1))[wanted]


def _independent(column: np.ndarray, labels: np.ndarray, requests: np.ndarray) -> int:
    """Rows of the rarer label, or requests that have it where the column is the request's."""
    _, first, request = np.unique(requests, return_index=True, return_inverse=True)
    unit = request if (column == column[first][request]).all() else np.arange(len(labels))
    return min(len(np.unique(unit[labels == label])) for label in (0, 1))


def _lucky_gains(score: np.ndarray, best: np.ndarray) -> list[float]:
    """How much better than `best` a score is on labels drawn from `best` as their probability."""
    rng, gains = np.random.default_rng(0), []
    for _ in range(_REDRAWS):
        labels = (rng.random(len(best)) < best).astype(np.int8)
        gains.append(ranking.auc(score, labels) - ranking.auc(best, labels))
    return [gain for gain in gains if not np.isnan(gain)] or [np.inf]
