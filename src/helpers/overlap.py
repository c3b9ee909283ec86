"""Rows and requests that two splits share: what a model has seen proves nothing of it.

What is surely wrong is refused, what may be is warned of. That the check passes proves
little; it says what not.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from helpers.errors import BadInput

Inputs = Mapping[str, np.ndarray]
Split = tuple[Inputs, np.ndarray, np.ndarray]
"""Inputs by name ``(n_rows, *shape)``, labels ``(n_rows,)`` of 0 and 1, requests ``(n_rows,)``."""
HARMLESS = 0.01
"""Share of a split's rows or requests that may be training's too: it moves no figure visibly."""
LENIENCE = 2.0
"""How far chance may be above its estimate, which takes columns to be independent of each other."""
STRONG = 5
"""How much less often the labels of equal rows may differ than those of any two rows."""
FEW = 200
"""Training rows below which none of them need repeat, however coarse they are."""
_HASHED = 64 << 20
"""Bytes of rows that are hashed at a time: they take eight times as much meanwhile."""
_BLOCKS = 32
"""Blocks of columns that an input is cut into at most; up to this width each is one column."""


def check_separate(splits: Mapping[str, Inputs | Split]) -> None:
    """Refuse splits that share rows or whole requests with the first one, training.

    Coarse rows repeat by chance, which is let through. How often cannot be seen from equal rows of
    training: they may be copies as well. It is estimated from what copies never show:

    - pairs of different rows that agree in one part of their columns only, and pairs that agree in
      all others only: by chance, the more there are of both, the more agree in all;
    - equal rows of training with different labels.

    Passing proves that at most 1 % of a split was copied whole, where rows are fine enough to be
    told apart. It says nothing of copies among rows that repeat by chance as well, of rows changed
    in a digit, of users or items that are in both splits, or of what a feature gives away.

    Parameters
    ----------
    splits : by name, training first: inputs, labels and requests, or inputs alone. Requests are
        compared as sets of rows, whatever their numbers. Of inputs alone only rows are compared,
        and labels cannot speak for chance.

    Raises
    ------
    BadInput : names the split and how many of its rows or requests are training's too. Where
        nothing tells copies from chance, a UserWarning says so instead.
    """
    (first, training), *others = ((name, _hashed(split)) for name, split in splits.items())
    for name, other in others:
        for unit in ("rows", "requests"):
            if unit == "rows" or training[2] is not None is not other[2]:
                _compare(unit, (first, _Units(unit, *training)), (name, _Units(unit, *other)))


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
        raise BadInput(
            f"{said}: split the data anew, by request, before anything is learned from it"
        )
    if common > likely:
        warnings.warn(
            f"{said}, and nothing tells copies from chance: look where they come from", stacklevel=3
        )


class _Units:
    """The rows of a split, or its requests as sets of rows, by 64-bit hashes.

    Attributes
    ----------
    whole : of every unit, all columns.
    distinct : of every different unit, where it first stands.
    """

    def __init__(
        self, unit: str, columns: Mapping, labels: np.ndarray | None, requests: np.ndarray | None
    ):
        self.columns, self.labels, self._whole_requests = columns, labels, unit == "requests"
        self._request = None if requests is None else np.unique(requests, return_inverse=True)[1]
        self._row = sum(columns.values())
        self.whole = self._of(self._row)
        self.distinct = np.unique(self.whole, return_index=True)[1]
        self.rows_a_unit = len(self._row) / len(self.whole)

    def parts(self) -> list[set]:
        """Sets of columns a unit may be put together of: each, an input's, a request's."""
        names = {name for name, _ in self.columns}
        inputs = [{column for column in self.columns if column[0] == name} for name in names]
        shared = set()
        if self._request is not None:
            first = np.unique(self._request, return_index=True)[1][self._request]
            shared = {
                column for column, hashes in self.columns.items() if (hashes == hashes[first]).all()
            }
        parts = {
            frozenset(part) for part in [*({column} for column in self.columns), *inputs, shared]
        }
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
    """How many different units both splits would share if parts of a unit were independent.

    Among pairs of different units, ``in this part only x in all others only / in neither`` agree in
    both by chance. For each part, likely and at most; nothing where there is a single column.
    """
    pairs, result = len(seen.distinct) * len(found.distinct), []
    for part in seen.parts():
        within, beyond = (
            _agreeing(*sides) - common
            for sides in zip(seen.cut(part), found.cut(part), strict=True)
        )
        expected = LENIENCE * within * beyond / max(pairs - within - beyond - common, 1)
        result.append((poisson_high(expected) if expected else 0.0, poisson_high(expected)))
    return result


def _chance_by_labels(seen: _Units, found: _Units) -> list[tuple[float, float]]:
    """How many different units both splits would share by what training shows: likely, at most.

    Equal units of training with different labels are no copies; with the same labels they may be.
    If no labels differ, the parts decide, unless there are too few rows or there is one column.
    """
    if seen.labels is None:
        return []
    equal = len(seen.whole) - len(seen.distinct)
    differ = len(np.unique(seen.labelled())) - len(seen.distinct)
    if not differ and len(seen.labels) >= FEW and seen.parts():
        return []
    positive = float(np.mean(seen.labels))
    rate = (
        1 - (1 - 2 * positive * (1 - positive)) ** seen.rows_a_unit
    )  # of different labels, if drawn anew
    scale = LENIENCE * 2 * len(found.distinct) / max(len(seen.distinct) - 1, 1)
    known = STRONG * differ  # labels that follow the features differ less often
    ends = ((known, equal), (max(known, poisson_high(differ)), poisson_high(equal)))
    return [tuple(min(count / max(rate, 1e-9), limit) * scale for count, limit in ends)]


def poisson_high(count: float) -> float:
    """Upper end of the 95 % interval of a Poisson mean, nearly: four where nothing was counted."""
    return count + 2 + 2 * np.sqrt(count + 1)


def _agreeing(seen: np.ndarray, found: np.ndarray) -> int:
    """Pairs of equal values."""
    (a, n), (b, m) = (np.unique(values, return_counts=True) for values in (seen, found))
    _, i, j = np.intersect1d(a, b, assume_unique=True, return_indices=True)
    return int((n[i] * m[j]).sum())


def _hashed(split: Inputs | tuple) -> tuple[dict, np.ndarray | None, np.ndarray | None]:
    """Hashes ``(n_rows,)`` by input and block of columns; labels and requests if there are any."""
    inputs, labels, requests = (split, None, None) if isinstance(split, Mapping) else split
    return _column_hashes(inputs), labels, requests


def _column_hashes(inputs: Inputs) -> dict[tuple, np.ndarray]:
    """A 64-bit hash of each row in each block of columns, which add up to that of the row.

    Multilinear in the bytes, with fixed random odd factors.
    """
    rng, hashes = np.random.default_rng(0), {}
    for name in sorted(inputs):
        array = inputs[name]
        width = int(np.prod(array.shape[1:]))
        octets = width * array.itemsize
        factors = rng.integers(0, 2**63, octets, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        blocks = np.array_split(np.arange(octets), min(width, _BLOCKS))
        step = max(1, _HASHED // octets)  # rows at a time
        parts = [
            _block_hashes(array[i : i + step], blocks, factors) for i in range(0, len(array), step)
        ]
        hashes |= {(name, i): column for i, column in enumerate(np.concatenate(parts, axis=1))}
    return hashes


def _block_hashes(rows: np.ndarray, blocks: list[np.ndarray], factors: np.ndarray) -> np.ndarray:
    """Hashes ``(blocks, n_rows)`` of rows of one input."""
    rows = np.ascontiguousarray(rows) + np.zeros((), rows.dtype)  # -0.0 is 0.0
    octets = rows.reshape(len(rows), -1).view(np.uint8)
    return np.stack([octets[:, block].astype(np.uint64) @ factors[block] for block in blocks])


def _mixed(values: np.ndarray) -> np.ndarray:
    """Spread the bits of 64-bit values, so that sums of them are as good as hashes (splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
