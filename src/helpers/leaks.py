"""What gives a test away: rows that training has seen."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from helpers.errors import BadInput


def check_separate(splits: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Refuse splits that share rows with the first one, training: what a model has seen proves nothing of it.

    Parameters
    ----------
    splits : named inputs by split, training first. Rows may repeat by chance where features are coarse: as often as
        they repeat within training, 1 % and five standard errors more is let through.

    Raises
    ------
    BadInput : names the split and how many of its rows are in training too.
    """
    (first, inputs), *others = splits.items()
    seen, counts = np.unique(_row_hashes(inputs), return_counts=True)
    by_chance = counts[counts > 1].sum() / counts.sum()
    for name, other in others:
        hashes = _row_hashes(other)
        shared = np.isin(hashes, seen)
        error = np.sqrt(by_chance * (1 - by_chance) * (1 / len(hashes) + 1 / counts.sum()))
        if shared.mean() > by_chance + 0.01 + 5 * error:
            raise BadInput(
                f"{shared.sum():,} of the {len(hashes):,} {name} rows are {first} rows too: split the data "
                "anew, by request, before anything is learned from it"
            )


def _row_hashes(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """A 64-bit hash of each row over all inputs: multilinear in its bytes, with fixed random odd factors."""
    rng, total = np.random.default_rng(0), np.uint64(0)
    for name in sorted(inputs):
        rows = np.ascontiguousarray(inputs[name]) + np.zeros((), inputs[name].dtype)  # -0.0 is 0.0
        octets = rows.view(np.uint8).reshape(len(rows), -1)
        factors = rng.integers(0, 2**63, octets.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        total = total + octets.astype(np.uint64) @ factors
    return total
