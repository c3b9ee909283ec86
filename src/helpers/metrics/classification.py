"""Metrics of class probabilities, in NumPy.

They are held against scikit-learn in the tests. Probabilities are ``(n_rows, n_classes)``, labels
``(n_rows,)`` whole numbers from 0 to ``n_classes - 1``. Classes with equal probabilities share
their places, so that nothing depends on the order of the classes.
"""

from __future__ import annotations

import numpy as np

from helpers.errors import BadInput
from helpers.metrics.ranking import calibration_error, top_shares


def check(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities as float64 and labels as whole numbers, or refuse them.

    Raises
    ------
    BadInput : not one row of probabilities a label, a single class, or a label that is no class.
    """
    probabilities, labels = np.asarray(probabilities, np.float64), np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise BadInput(
            f"metrics take a row of probabilities a label, not {probabilities.shape} for "
            f"{labels.shape}"
        )
    classes = probabilities.shape[1]
    if classes < 2:
        raise BadInput("there must be two classes at least")
    unknown = ~np.isin(labels, np.arange(classes))
    if unknown.any():
        row = int(np.flatnonzero(unknown)[0])
        raise BadInput(f"row {row}: label {labels[row]!r} is none of the {classes} classes")
    return probabilities, labels.astype(np.int64)


def top_k(probabilities: np.ndarray, labels: np.ndarray, k: int = 1) -> np.ndarray:
    """Whether the label is among the k most probable classes, ``(n_rows,)`` from 0 to 1."""
    probabilities, labels = check(probabilities, labels)
    return top_shares(probabilities, k)[np.arange(len(labels)), labels]


def log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log likelihood in nats; rows are made to add up to 1, as scikit-learn does."""
    probabilities, labels = check(probabilities, labels)
    epsilon = np.finfo(np.float64).eps
    p = np.clip(probabilities, epsilon, 1 - epsilon)
    p /= p.sum(axis=1, keepdims=True)
    return float(-np.log(p[np.arange(len(labels)), labels]).mean())


def confidence_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error of the most probable class (Guo et al. 2017).

    Mean distance of its probability and of how often it is right, over about equally filled bins.
    """
    probabilities, labels = check(probabilities, labels)
    return calibration_error(probabilities.max(axis=1), top_k(probabilities, labels), bins)


def recalls(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Share of each class's rows whose most probable class it is, ``(n_classes,)``.

    NaN for a class without rows.
    """
    probabilities, labels = check(probabilities, labels)
    classes = probabilities.shape[1]
    right = np.bincount(labels, top_k(probabilities, labels), classes)
    rows = np.bincount(labels, minlength=classes)
    return np.divide(right, rows, out=np.full(classes, np.nan), where=rows > 0)


def agreement(first: np.ndarray, second: np.ndarray, k: int = 1) -> np.ndarray:
    """Share of the k most probable classes that two predictions have in common, ``(n_rows,)``."""
    k = min(k, first.shape[1])
    return (top_shares(first, k) * top_shares(second, k)).sum(axis=1) / k


def summary(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The metrics by name: accuracy, top3_accuracy, log_loss, lowest_recall, calibration_error."""
    found = recalls(probabilities, labels)
    return {
        "accuracy": float(top_k(probabilities, labels).mean()),
        "top3_accuracy": float(top_k(probabilities, labels, 3).mean()),
        "log_loss": log_loss(probabilities, labels),
        "lowest_recall": float(np.nanmin(found)),
        "calibration_error": confidence_error(probabilities, labels),
    }
