"""Figures of a list that is put in order again."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from helpers.plots import COLOURS, axes_of, shows


@shows("A list before and after it was put in order by score: blue lines rise, red ones fall.")
def reordered(
    delivered: list[str],
    order: np.ndarray,
    scores: np.ndarray,
    title: str = "as delivered, and by score",
) -> Figure:
    """A list before and after: a line from each post's old place to its new one; `order` holds old
    places.
    """
    figure, axes = axes_of(size=(4.9, 0.19 * len(order) + 0.4))
    ax = axes[0, 0]
    for new, old in enumerate(order):
        colour = COLOURS[0] if new < old else COLOURS[1] if new > old else COLOURS[5]
        ax.plot([0, 1], [old, new], "-o", color=colour, linewidth=1.2, markersize=3)
        ax.annotate(f"{delivered[old]}  ", (0, old), ha="right", va="center", fontsize=7)
        ax.annotate(f"  {scores[old]:.3f}", (1, new), ha="left", va="center", fontsize=7)
    ax.set_xlim(-0.9, 1.4)
    ax.invert_yaxis()
    ax.set_axis_off()
    ax.set_title(f"{title}: blue rises, red falls", loc="center")
    return figure


@shows(
    "Gain in click rates of each order over the order as delivered, with 95 % intervals: an "
    "interval that crosses zero proves nothing."
)
def gains(rates) -> Figure:
    """Gain in CTR and UV-CTR of each order over the baseline, with 95 % intervals;
    `replay.click_rates`'s table.
    """
    figure, axes = axes_of(1, 2, size=(9, 0.4 * len(rates) + 0.9), sharey=True)
    place = np.arange(len(rates))
    for ax, rate, name in zip(axes[0], ("ctr", "uv_ctr"), ("CTR", "UV-CTR"), strict=True):
        gain = rates[f"{rate}_gain"].to_numpy(float)
        ends = np.abs(rates[[f"{rate}_low", f"{rate}_high"]].to_numpy(float).T - gain)
        ax.errorbar(100 * gain, place, xerr=100 * ends, fmt="o", color=COLOURS[0], capsize=3)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set_xlabel(f"gain in {name}, per cent")
    axes[0, 0].set_yticks(place, list(rates.index))
    axes[0, 0].invert_yaxis()
    return figure


@shows("Size of the model files by how often an id must occur to be known: rarer ids cost bytes.")
def sizes(table) -> Figure:
    """Bytes of model files against the vocabularies' floor: DataFrame by floor, a column a file.

    The first line is wide and the others are dashed, so that one shows below what lies upon it.
    """
    figure, axes = axes_of(size=(6.5, 3.4))
    ax = axes[0, 0]
    for colour, column in zip(COLOURS, table, strict=False):
        below = column == table.columns[0]
        style = {"linewidth": 3.5, "markersize": 9} if below else {"linestyle": "--"}
        ax.plot(table.index, table[column] / 1e3, marker="o", color=colour, label=column, **style)
    ax.set_xscale("log")
    ax.set_xticks(list(table.index), [str(floor) for floor in table.index])
    ax.minorticks_off()
    ax.set_ylim(0)
    ax.set_xlabel("an id counts from this many training rows on")
    ax.set_ylabel("kB")
    ax.legend()
    return figure
