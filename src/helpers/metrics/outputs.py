"""How far two sets of outputs are apart, row by row, whatever they mean."""

from __future__ import annotations

import numpy as np

from helpers.errors import BadInput


def differences(found: np.ndarray, reference: np.ndarray) -> dict[str, np.ndarray]:
    """Compare the rows of an output with those of a reference.

    Parameters
    ----------
    found, reference : ``(n_rows, *shape)``, finite.

    Returns
    -------
    By measure, ``(n_rows,) float64``: ``largest`` and ``mean`` absolute difference of a row's
    values; ``relative``, the Euclidean length of the difference by that of the reference;
    ``cosine`` of the angle between the two. Two rows of zeros are equal: relative 0, cosine 1.
    Where the reference alone is zero, relative is infinite and cosine 0.
    """
    if np.shape(found) != np.shape(reference) or np.ndim(found) < 1 or not len(found):
        raise BadInput(f"outputs {np.shape(found)} cannot be compared with {np.shape(reference)}")
    a, b = (np.asarray(array, np.float64).reshape(len(array), -1) for array in (found, reference))
    error = np.abs(a - b)
    moved, first, second = (np.linalg.norm(array, axis=1) for array in (error, a, b))
    relative = np.divide(moved, second, out=np.where(moved > 0, np.inf, 0.0), where=second > 0)
    product = first * second
    both_zero = (first == 0) & (second == 0)
    cosine = np.divide(
        (a * b).sum(axis=1), product, out=both_zero.astype(np.float64), where=product > 0
    )
    return {
        "largest": error.max(axis=1),
        "mean": error.mean(axis=1),
        "relative": relative,
        "cosine": np.clip(cosine, -1.0, 1.0),
    }
