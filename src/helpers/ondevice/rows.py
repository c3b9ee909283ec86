"""Rows to train on: inputs by name and a label each."""

from __future__ import annotations

import numpy as np

from helpers.studies import Inputs

Rows = tuple[Inputs, np.ndarray]
"""Inputs ``(n, ...)`` by name and labels ``(n,)``."""


def at(rows: Rows, places: np.ndarray | slice) -> Rows:
    """The rows at these places, in their order."""
    inputs, labels = rows
    return {name: array[places] for name, array in inputs.items()}, labels[places]


def joined(*parts: Rows) -> Rows:
    """Rows one after another."""
    names = parts[0][0]
    inputs = {name: np.concatenate([each[name] for each, _ in parts]) for name in names}
    return inputs, np.concatenate([labels for _, labels in parts])


def drawn(rows: Rows, count: int, size: int = 32, seed: int = 42) -> list[Rows]:
    """`count` batches of `size` rows each, drawn at random."""
    rng = np.random.default_rng(seed)
    return [at(rows, rng.integers(0, len(rows[1]), size)) for _ in range(count)]
