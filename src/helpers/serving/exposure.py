"""Who was shown what by which model, what they rated, and an A/B result read from both.

Logs are JSON lines that are only added to, ``exposures.jsonl`` and ``ratings.jsonl``. A line that a
killed process left half-written is passed over.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.errors import BadInput
from helpers.ratings.statistics import LIKED

_LEAST_USERS = 5
"""Users of each model, below which there is no interval."""
_DAY = 86_400
_ENDING_BYTES = 1 << 16


class Log:
    """A file of JSON lines. Lines of several processes never mix: each is one write to its end."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._mend()

    def add(self, **values) -> None:
        """Add a line; ``time`` is set, in seconds."""
        line = json.dumps({"time": round(time.time(), 3), **values}, allow_nan=False) + "\n"
        with self._lock:
            os.write(self._file, line.encode())

    def close(self) -> None:
        os.close(self._file)

    def _mend(self) -> None:
        """End a line that a killed process left open, so that the next one stands alone."""
        with open(self.path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _ENDING_BYTES))
            if size and not file.read().endswith(b"\n"):
                os.write(self._file, b"\n")


def lines(path: Path) -> Iterator[dict]:
    """Lines of a log that are whole."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                value = json.loads(line)
            except ValueError:
                continue
            if isinstance(value, dict):
                yield value


@dataclass(frozen=True)
class Result:
    """What two models were worth to their users.

    Attributes
    ----------
    users : by model, how many saw its lists.
    rate : by model, the mean over users of the part of the films shown that they liked.
    difference, low, high : of the second model's rate less the first's, with its 95 % interval;
        NaN with fewer than five users of either.
    both : users who saw lists of both models; they are left out.
    """

    users: dict[str, int]
    rate: dict[str, float]
    difference: float
    low: float
    high: float
    both: int


def result(exposures: Path, ratings: Path, models: tuple[str, str], *, days: float = 7) -> Result:
    """Read what the second of two models changed, from the logs of a service.

    Only lists count that were shown while these two were served side by side, to whom their hash
    gave them, and not because somebody asked for a model by name. A film that was shown counts as
    liked if the user gave it 3.5 stars or more within so many days after it was shown first. A user
    is one unit, however many lists they saw (Welch's t over users): lists of one user are alike,
    and would make an interval too narrow if they counted alone.

    Raises
    ------
    BadInput : a model that no list was of.
    """
    shown: dict[int, dict[str, dict[int, float]]] = {}
    for line in lines(exposures):
        if set(line.get("among", ())) != set(models):
            continue
        of_model = shown.setdefault(line["user"], {}).setdefault(line["model"], {})
        for film in line["films"]:
            of_model.setdefault(film, line["time"])
    liked: dict[tuple[int, int], list[float]] = {}
    for line in lines(ratings):
        if line["rating"] >= LIKED:
            liked.setdefault((line["user"], line["film"]), []).append(line["time"])
    of_users: dict[str, list[float]] = {model: [] for model in models}
    both = 0
    for user, by_model in shown.items():
        seen = [model for model in models if by_model.get(model)]
        both += len(seen) == 2
        if len(seen) == 1:
            films = by_model[seen[0]]
            good = sum(
                any(0 <= at - since <= days * _DAY for at in liked.get((user, film), ()))
                for film, since in films.items()
            )
            of_users[seen[0]].append(good / len(films))
    if empty := [model for model, values in of_users.items() if not values]:
        raise BadInput(
            f"no user saw lists of {empty[0]} alone while {' and '.join(models)} were served side "
            f"by side, in {exposures.name}"
        )
    counts = {model: len(values) for model, values in of_users.items()}
    rates = {model: float(np.mean(values)) for model, values in of_users.items()}
    first, second = (np.array(of_users[model]) for model in models)
    return Result(counts, rates, rates[models[1]] - rates[models[0]], *_welch(first, second), both)


def _welch(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """95 % interval of the second's mean less the first's."""
    if min(len(first), len(second)) < _LEAST_USERS:
        return float("nan"), float("nan")
    difference = float(second.mean() - first.mean())
    if first.std() == second.std() == 0:
        return difference, difference
    from scipy import stats

    low, high = stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    return float(low), float(high)
