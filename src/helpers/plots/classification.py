"""Figures of classes."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from helpers.metrics import ranking
from helpers.plots import COLOURS, axes_of, shows

MOST_CLASSES = 30
"""Of more classes the table of which is taken for which cannot be read, and is left out."""


@shows(
    "How often the first class is right by the probability that the model gives it, which is as "
    "often as it says on the dotted line; and which class is taken for which."
)
def confusion(probabilities: np.ndarray, labels: np.ndarray) -> Figure:
    """Which class is taken for which, and how often the first class is right by its probability.

    Parameters
    ----------
    probabilities : ``(n_rows, n_classes)``.
    labels : ``(n_rows,)``.
    """
    classes, first = probabilities.shape[1], probabilities.argmax(axis=1)
    few = classes <= MOST_CLASSES
    figure, axes = axes_of(1, 2 if few else 1, size=(8 if few else 4.4, 3.8))
    if few:
        counts = np.zeros((classes, classes))
        np.add.at(counts, (labels, first), 1)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        ax = axes[0, 1]
        drawn = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        ax.grid(False)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("first class of the model")
        ax.set_ylabel("class")
        figure.colorbar(drawn, ax=ax, label="share of the class's rows")
        for i, j in zip(*np.nonzero(shares >= 0.005), strict=True) if classes <= 12 else ():
            colour = "white" if shares[i, j] > 0.5 else "black"
            ax.annotate(
                f"{shares[i, j]:.2f}", (j, i), ha="center", va="center", color=colour, fontsize=7
            )
    ax, table = (
        axes[0, 0],
        ranking.calibration(probabilities.max(axis=1), (first == labels).astype(np.int8)),
    )
    ax.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
    ax.plot(table["score"], table["observed"], "o-", color=COLOURS[0], markersize=4)
    ax.set_xlabel("probability of the first class")
    ax.set_ylabel("how often it is right")
    ax.set_aspect("equal")
    return figure
