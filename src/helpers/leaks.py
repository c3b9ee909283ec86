"""What gives a test away: rows that training has seen, inputs that hold the label.

What is surely wrong is refused, what may be is warned of. That a check passes proves little; each says what not.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping

import numpy as np

from helpers.errors import BadInput
from helpers.evaluation import metrics
from helpers.schema import Schema

Inputs = Mapping[str, np.ndarray]
Split = tuple[Inputs, np.ndarray, np.ndarray]
"""Inputs by name ``(n_rows, width)``, labels ``(n_rows,)`` of 0 and 1, and requests ``(n_rows,)``."""
HARMLESS = 0.01
"""Share of the rows or requests of a split that may be training's too: it moves no figure that anybody reads."""
LENIENCE = 2.0
"""How far chance may be above its estimate, which takes the columns of a row to be independent of each other."""
STRONG = 5
"""How much rarer equal rows with different labels may be than labels that have nothing to do with the rows."""
FEW = 200
"""Training rows below which none of them need repeat, however coarse they are."""
LEAK_AUC, SURE_AUC = 0.99, 0.95
"""An input whose AUC alone is at least the first, and surely (lower end of its interval) above the second, is no
feature: nothing that is known before the label tells so much of it."""
LEAK_ROWS = 20_000
"""Rows of a split that inputs are looked at in: a leak shows in a few hundred."""
_BINS = 256
_REDRAWS = 999
_BLOCKS = 32
"""Blocks of columns that an input is cut into at most; up to this width each is one column."""


def check_separate(splits: Mapping[str, Inputs | Split]) -> None:
    """Refuse splits that share rows or whole requests with the first one, training.

    Coarse rows repeat by chance, which is let through. Equal rows of training may be copies themselves, so they do not
    say how often chance repeats a row; what copies never show does: rows that agree in one column only and rows
    that agree in all others only, which together tell how many agree in all, and equal rows of training that have
    different labels.

    Passing proves that at most 1 % of a split was copied whole, where rows are fine enough to be told apart. It says
    nothing of copies among rows that repeat by chance as well, of rows that were changed in a digit, of users or items
    that are in both splits, or of what a feature gives away.

    Parameters
    ----------
    splits : by name, training first: inputs, labels and requests, or inputs alone. Requests are compared as sets of
        rows, whatever their numbers. Of inputs alone only rows are compared, and labels cannot speak for chance.

    Raises
    ------
    BadInput : names the split and how many of its rows or requests are training's too. Where they are too few to tell
        copies from chance, a UserWarning says so instead.
    """
    (first, training), *others = ((name, _hashed(split)) for name, split in splits.items())
    for name, other in others:
        for unit in ("rows", "requests"):
            if unit == "rows" or training[2] is not None is not other[2]:
                _compare(unit, (first, _Units(unit, *training)), (name, _Units(unit, *other)))


def check_inputs(schema: Schema, training: Split, test: Split) -> None:
    """Refuse an input that tells the label alone: the label itself, or what was written down after it.

    Each column is a score in either direction, and by the mean label of its values (bins of them where they are many)
    in the first half of the training rows. What it tells of the other half and of the test rows is judged.

    Passing proves nothing of inputs that tell the label together, nor of one that tells it a little better than it
    could: where the best possible is known, `check_possible` sees more.

    Raises
    ------
    BadInput : names the columns and their AUC.
    """
    half = min(len(training[1]), LEAK_ROWS) // 2
    known, labels = training[1][:half], np.concatenate([training[1][half : 2 * half], test[1][:LEAK_ROWS]])
    rest, others = (np.unique(requests, return_inverse=True)[1] for requests in (training[2][half : 2 * half], test[2]))
    requests = np.concatenate([rest, others[:LEAK_ROWS] + len(rest)])
    found = []
    for name, column, other in _columns(schema, training[0], test[0]):
        told = np.concatenate([column[half : 2 * half], other[:LEAK_ROWS]])
        auc = metrics.auc(told, labels)
        auc = max(auc, 1 - auc, metrics.auc(_mean_labels(column[:half], known, told), labels))
        n = _independent(told, labels, requests)
        if auc >= LEAK_AUC and 1 - _most(n * (1 - auc)) / max(n, 1) > SURE_AUC:
            found.append(f"{name} (AUC {auc:.3f})")
    if found:
        raise BadInput(f"the label is told by {', '.join(found)} alone: leave out what is known only after the label")


def check_possible(schema: Schema, test: Split, scores: Mapping[str, np.ndarray], best: np.ndarray) -> None:
    """Refuse scores that rank the test rows better than the true probability does: their inputs hold the label.

    How much better a sound score can be by luck is known: labels are drawn anew from the true probability, and a score
    that did better than in each of 999 draws is refused, one sound one in a thousand.

    Parameters
    ----------
    scores : by scorer, ``(n_rows,)``.
    best : P(label = 1) of the test rows ``(n_rows,)``, which ranks them as well as can be.

    Raises
    ------
    BadInput : names the scorers with their AUC, and the input column that goes with the labels' noise most.
    """
    inputs, labels = {name: array[:LEAK_ROWS] for name, array in test[0].items()}, test[1][:LEAK_ROWS]
    best, possible, found = best[:LEAK_ROWS], metrics.auc(best[:LEAK_ROWS], labels), []
    for name, score in scores.items():
        score = np.asarray(score).reshape(-1)[:LEAK_ROWS]
        gain = metrics.auc(score, labels) - possible
        if gain > 0 and gain > max(_lucky_gains(score, best)):
            found.append(f"{name} (AUC {gain + possible:.3f})")
    if found:
        noise = labels - best
        with np.errstate(invalid="ignore"):  # a constant column
            goes = {name: abs(np.corrcoef(column, noise)[0, 1]) for name, column in _columns(schema, inputs)}
        raise BadInput(
            f"{', '.join(found)} rank better than the best possible (AUC {possible:.3f}): an input holds the label; "
            f"look first at {max(goes, key=lambda name: np.nan_to_num(goes[name]))}, which goes with its noise"
        )


def _columns(schema: Schema, *inputs: Inputs) -> Iterator[tuple]:
    """Name of each column of the schema, and the column in each of the inputs."""
    for tensor in schema.inputs:
        for j, name in enumerate(tensor.columns):
            yield name, *(split[tensor.name][:, j] for split in inputs)


def _mean_labels(column: np.ndarray, labels: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The mean label that each value of `other` had in `column`; of floats that hardly repeat, its quantile had."""
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
        gains.append(metrics.auc(score, labels) - metrics.auc(best, labels))
    return [gain for gain in gains if not np.isnan(gain)] or [np.inf]


def _compare(unit: str, training: tuple[str, _Units], other: tuple[str, _Units]) -> None:
    (first, seen), (name, found) = training, other
    shared = np.isin(found.whole, seen.whole)
    if shared.mean() <= HARMLESS:
        return
    common = len(np.intersect1d(seen.whole, found.whole))
    chance = [*_chance_of_parts(seen, found, common), *_chance_by_labels(seen, found)]
    likely, most = (max((c[end] for c in chance), default=end and np.inf) for end in (0, 1))
    said = f"{shared.sum():,} of the {len(shared):,} {name} {unit} are {first} {unit} too"
    if common > most:
        raise BadInput(f"{said}: split the data anew, by request, before anything is learned from it")
    if common > likely:
        warnings.warn(f"{said}, and nothing tells copies from chance: look where they come from", stacklevel=3)


class _Units:
    """The rows of a split, or its requests as sets of rows, by 64-bit hashes.

    Attributes
    ----------
    whole : of every unit, all columns.
    distinct : of every different unit, where it first stands.
    """

    def __init__(self, unit: str, columns: Mapping, labels: np.ndarray | None, requests: np.ndarray | None):
        self.columns, self.labels, self._whole_requests = columns, labels, unit == "requests"
        self._request = None if requests is None else np.unique(requests, return_inverse=True)[1]
        self._row = sum(columns.values())
        self.whole = self._of(self._row)
        self.distinct = np.unique(self.whole, return_index=True)[1]
        self.rows_a_unit = len(self._row) / len(self.whole)

    def parts(self) -> list[set]:
        """Sets of columns that a unit may be put together of: each, those of an input, those a request shares."""
        names = {name for name, _ in self.columns}
        inputs = [{column for column in self.columns if column[0] == name} for name in names]
        shared = set()
        if self._request is not None:
            first = np.unique(self._request, return_index=True)[1][self._request]
            shared = {column for column, hashes in self.columns.items() if (hashes == hashes[first]).all()}
        parts = {frozenset(part) for part in [*({column} for column in self.columns), *inputs, shared]}
        return [part for part in parts if 0 < len(part) < len(self.columns)]

    def cut(self, part: set) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of the different units in some of their columns, and in all others."""
        within = sum(self.columns[column] for column in part)
        return self._of(within)[self.distinct], self._of(self._row - within)[self.distinct]

    def labelled(self) -> np.ndarray:
        """Hashes of every unit with its labels."""
        return self._of(self._row + _mixed(self.labels.astype(np.uint64)))

    def _of(self, rows: np.ndarray) -> np.ndarray:
        if not self._whole_requests:
            return rows
        order = np.lexsort((rows, self._request))
        rows, request = rows[order], self._request[order]
        fresh = np.r_[True, (rows[1:] != rows[:-1]) | (request[1:] != request[:-1])]
        total = np.zeros(request[-1] + 1, np.uint64)
        np.add.at(total, request[fresh], _mixed(rows[fresh]))
        return total


def _chance_of_parts(seen: _Units, found: _Units, common: int) -> list[tuple[float, float]]:
    """How many different units would be in both splits if a part of a unit were independent of all others.

    Among pairs of different units, ``in this part only x in the others only / in neither`` agree in both by chance.
    For each part, likely and at most; nothing where there is a single column.
    """
    pairs, result = len(seen.distinct) * len(found.distinct), []
    for part in seen.parts():
        within, beyond = (_agreeing(*sides) - common for sides in zip(seen.cut(part), found.cut(part), strict=True))
        expected = LENIENCE * within * beyond / max(pairs - within - beyond - common, 1)
        result.append((_most(expected) if expected else 0.0, _most(expected)))
    return result


def _chance_by_labels(seen: _Units, found: _Units) -> list[tuple[float, float]]:
    """How many different units would be in both splits by what training shows of itself: likely, and at most.

    Equal units of training with different labels are no copies; equal ones with the same labels may be. That no labels
    differ leaves the parts to decide, unless there are too few rows for that, or a single column and no parts.
    """
    if seen.labels is None:
        return []
    equal = len(seen.whole) - len(seen.distinct)
    differ = len(np.unique(seen.labelled())) - len(seen.distinct)
    if not differ and len(seen.labels) >= FEW and seen.parts():
        return []
    positive = float(np.mean(seen.labels))
    rate = 1 - (1 - 2 * positive * (1 - positive)) ** seen.rows_a_unit  # of different labels, if drawn anew
    scale = LENIENCE * 2 * len(found.distinct) / max(len(seen.distinct) - 1, 1)
    known = STRONG * differ  # labels that follow the features differ less often
    ends = ((known, equal), (max(known, _most(differ)), _most(equal)))
    return [tuple(min(count / max(rate, 1e-9), limit) * scale for count, limit in ends)]


def _most(count: float) -> float:
    """Upper end of the 95 % interval of a Poisson mean, nearly: four where nothing was counted."""
    return count + 2 + 2 * np.sqrt(count + 1)


def _agreeing(seen: np.ndarray, found: np.ndarray) -> int:
    """Pairs of equal values."""
    (a, n), (b, m) = (np.unique(values, return_counts=True) for values in (seen, found))
    _, i, j = np.intersect1d(a, b, assume_unique=True, return_indices=True)
    return int((n[i] * m[j]).sum())


def _hashed(split: Inputs | tuple) -> tuple[dict, np.ndarray | None, np.ndarray | None]:
    """Hashes ``(n_rows,)`` by input and block of columns; labels and requests where there are any."""
    inputs, labels, requests = (split, None, None) if isinstance(split, Mapping) else split
    return _column_hashes(inputs), labels, requests


def _column_hashes(inputs: Inputs) -> dict[tuple, np.ndarray]:
    """A 64-bit hash of each row in each block of columns, which add up to that of the row.

    Multilinear in the bytes, with fixed random odd factors.
    """
    rng, hashes = np.random.default_rng(0), {}
    for name in sorted(inputs):
        rows = np.ascontiguousarray(inputs[name]) + np.zeros((), inputs[name].dtype)  # -0.0 is 0.0
        octets = rows.view(np.uint8).reshape(len(rows), -1)
        factors = rng.integers(0, 2**63, octets.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        width = octets.shape[1] // rows.itemsize
        for i, block in enumerate(np.array_split(np.arange(octets.shape[1]), min(width, _BLOCKS))):
            hashes[name, i] = octets[:, block].astype(np.uint64) @ factors[block]
    return hashes


def _mixed(values: np.ndarray) -> np.ndarray:
    """Spread the bits of 64-bit values, so that sums of them are as good as hashes (splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
