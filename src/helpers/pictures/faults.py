"""Faults in the preparation of pictures, as apps have them: to plant, and see who notices and what
they cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from helpers.pictures.preparation import Preparation

_LARGEST = 1e15
"""Of numbers that bytes are read as, so that their squares are numbers, too."""


@dataclass(frozen=True)
class Faulty:
    """A preparation whose last step is another; it is called as a `Preparation` is."""

    preparation: Preparation
    change: Callable[[np.ndarray], np.ndarray]

    @property
    def input(self) -> str:
        return self.preparation.input

    def decode(self, content: bytes, name: str) -> np.ndarray:
        return self.preparation.decode(content, name)

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        return self.preparation.prepare(pixels)

    def values(self, prepared: np.ndarray) -> np.ndarray:
        """What is fed, ``(..., size, size, 3) float32``."""
        right = self.preparation.values(prepared)
        return np.ascontiguousarray(self.change(right), np.float32).reshape(right.shape)

    def tensor(self, content: bytes, name: str) -> np.ndarray:
        return self.values(self.prepare(self.decode(content, name)))


def planted(
    preparation: Preparation, mean: Sequence[float], deviation: Sequence[float]
) -> dict[str, Preparation | Faulty]:
    """Faulty preparations by what is wrong.

    Parameters
    ----------
    mean, deviation : of red, green and blue, that the model takes off inside.
    """
    other = {"RGB": "BGR", "BGR": "RGB"}[preparation.colours]
    low, span = preparation.low, preparation.high - preparation.low

    def levels(values: np.ndarray) -> np.ndarray:
        return np.rint((values - low) / span * 255)

    def as_read(values: np.ndarray) -> np.ndarray:
        """Bytes in a float tensor: they fill a quarter of it, four to a number."""
        content = np.zeros(4 * values.size, np.uint8)
        content[: values.size] = levels(values).astype(np.uint8).reshape(-1)
        return np.clip(np.nan_to_num(content.view("<f4")), -_LARGEST, _LARGEST)

    return {
        f"{other} for {preparation.colours}": replace(preparation, colours=other),
        "levels 0 to 255, not 0 to 1": Faulty(preparation, levels),
        "normalised twice": Faulty(
            preparation, lambda values: (values - np.float32(mean)) / np.float32(deviation)
        ),
        "resized without a filter": replace(preparation, filter="nearest"),
        "channels first in a tensor of channels last": Faulty(
            preparation, lambda values: np.moveaxis(values, -1, -3)
        ),
        "EXIF orientation ignored": replace(preparation, orientation=False),
        "bytes in a float tensor": Faulty(preparation, as_read),
    }
