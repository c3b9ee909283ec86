"""Figures of rankings."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from helpers.plots import COLOURS, axes_of, colour_of, shows


@shows(
    "Correlation of each input with the label: the longer the bar, the more this input alone says."
)
def label_correlations(correlations) -> Figure:
    """Correlation of each feature with the label: DataFrame with a row a feature and a column a
    source.
    """
    figure, axes = axes_of(
        1, len(correlations.columns), size=(9, 0.19 * len(correlations) + 0.8), sharey=True
    )
    place = np.arange(len(correlations))
    for ax, colour, source in zip(axes.flat, COLOURS, correlations.columns, strict=False):
        ax.barh(place, correlations[source], color=colour)
        ax.set_title(source, loc="left")
        ax.set_xlabel("correlation with the label")
        ax.axvline(0, color="black", linewidth=0.6)
        ax.set_yticks(place, correlations.index)
        ax.set_ylim(len(correlations) - 0.4, -0.6)
    return figure


@shows(
    "Rank of each item for each user, a line an item: level lines are one order for "
    "everybody, crossing lines are personal taste."
)
def personal_ranks(utilities: Mapping[str, np.ndarray]) -> Figure:
    """Rank of each item for each user, a line an item; `utilities` maps source to ``(n_users,
    n_items)``.

    Level lines: everybody's order is the same. Crossing lines: taste is personal.
    """
    figure, axes = axes_of(1, len(utilities), size=(9, 3.1), sharey=True)
    for ax, (source, utility) in zip(axes.flat, utilities.items(), strict=True):
        ranks = (-utility).argsort(axis=1).argsort(axis=1) + 1
        for item in range(utility.shape[1]):
            colour = plt.get_cmap("viridis")((ranks[0, item] - 1) / max(1, utility.shape[1] - 1))
            ax.plot(
                np.arange(1, len(ranks) + 1),
                ranks[:, item],
                "o-",
                color=colour,
                markersize=5,
                linewidth=1.6,
            )
        ax.set_title(
            f"{source}: {utility.shape[1]} items in the eyes of {len(utility)} users", loc="left"
        )
        ax.set_xlabel("user")
        ax.set_xticks(np.arange(1, len(ranks) + 1))
        ax.set_yticks(np.arange(1, utility.shape[1] + 1))
    axes.flat[0].set_ylabel("place in the user's own order")
    axes.flat[0].invert_yaxis()
    return figure


@shows(
    "How often the label was true where the model gave about that score: on the dotted line a "
    "score is a probability."
)
def calibration(tables: Mapping[str, object]) -> Figure:
    """Observed rate against mean score by bin; `tables` maps a scorer to `metrics.calibration`'s
    table.
    """
    figure, axes = axes_of(size=(4.6, 4))
    ax = axes[0, 0]
    ax.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
    for colour, (name, table) in zip(COLOURS, tables.items(), strict=False):
        ax.plot(table["score"], table["observed"], "o-", color=colour, markersize=4, label=name)
    ax.set_xlabel("mean score of the bin")
    ax.set_ylabel("observed rate of the label")
    ax.set_aspect("equal")
    ax.legend(loc="upper left")
    return figure


@shows(
    "Bytes, agreement and change of AUC of each file from the smallest to the largest, with "
    "95 % intervals of the mean over runs."
)
def precision_by_size(agreement, loss) -> Figure:
    """How files rank against their size, a row a file from the smallest to the largest: bytes, and
    Kendall tau and change of AUC with 95 % intervals of the mean over runs.

    Both are `results.spread` by [file, bytes], of the same files.
    """
    agreement = agreement.sort_index(level="bytes", kind="stable", sort_remaining=False)
    loss = loss.loc[agreement.index]
    figure, axes = axes_of(1, 3, size=(10, 0.24 * len(loss) + 1), sharey=True)
    for place, (name, size) in enumerate(agreement.index):
        axes[0, 0].plot(size, place, "o", color=colour_of(name), markersize=6, clip_on=False)
        for ax, table in zip(axes[0, 1:], (agreement, loss), strict=True):
            row = table.loc[(name, size)]
            bars = [[row["mean"] - row["low"]], [row["high"] - row["mean"]]]
            ax.errorbar(
                row["mean"],
                place,
                xerr=bars,
                fmt="o",
                color=colour_of(name),
                markersize=5,
                capsize=2,
            )
    for ax, title in zip(
        axes.flat, ("bytes of the file", "Kendall tau", "change of AUC"), strict=True
    ):
        ax.set_title(title, loc="left")
    axes[0, 0].set_yticks(range(len(loss)), list(agreement.index.get_level_values("file")))
    axes[0, 0].set_xlim(left=0)
    axes[0, 0].xaxis.set_major_formatter("{x:,.0f}")
    axes[0, 2].axvline(0, color="black", linewidth=0.8, linestyle=":")
    axes[0, 2].xaxis.set_major_locator(MaxNLocator(4))
    axes[0, 0].invert_yaxis()
    return figure
