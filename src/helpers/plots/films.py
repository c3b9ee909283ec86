"""Figures of ratings, candidates and lists of films."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from helpers.evaluation import lists
from helpers.plots import COLOURS, axes_of, shows


@shows("Ratings of each user and of each film, the most first: a few have most of them.")
def long_tail(user: np.ndarray, film: np.ndarray) -> Figure:
    """Ratings of each user and of each film, the most first; ids ``(n_ratings,)``."""
    figure, axes = axes_of(1, 2, size=(9, 2.8))
    for ax, colour, name, ids in zip(
        axes[0], COLOURS, ("user", "film"), (user, film), strict=False
    ):
        counts = np.sort(np.unique(ids, return_counts=True)[1])[::-1]
        ax.fill_between(np.arange(1, len(counts) + 1), counts, color=colour, alpha=0.8)
        tenth = counts[: -(-len(counts) // 10)].sum() / counts.sum()
        title = f"{len(counts):,} {name}s; a tenth of them has {tenth:.0%} of the ratings"
        ax.set_title(title, loc="left")
        ax.set_xlabel(f"{name}s, the most ratings first")
        ax.set_ylim(0)
        ax.set_xlim(1)
    axes[0, 0].set_ylabel("ratings")
    return figure


@shows(
    "How often the list holds the film that was liked, by the length of the list, a line a "
    "way of finding films."
)
def recall(places: Mapping[str, np.ndarray], most: int) -> Figure:
    """Recall of each way by the length of its list; `helpers.evaluation.lists.places` by way."""
    figure, axes = axes_of(size=(7, 3.6))
    ax, sizes = axes[0, 0], np.unique(np.geomspace(5, most, 60).astype(int))
    colours = itertools.cycle((*COLOURS, "black"))
    for colour, (way, found) in zip(colours, places.items(), strict=False):
        wide = 2.4 if way == "together" else 1.3
        curve = [lists.hits(found, size).mean() for size in sizes]
        ax.plot(sizes, curve, color=colour, linewidth=wide, label=way)
    ax.set_xscale("log")
    ticks = [size for size in (10, 50, 100, 200, 400, 800) if size <= most]
    ax.set_xticks(ticks, [str(size) for size in ticks])
    ax.minorticks_off()
    ax.set_ylim(0)
    ax.set_xlabel("candidates")
    ax.set_ylabel("share of users whose film is found")
    ax.legend()
    return figure


@shows(
    "How often each list holds the film that was liked last, with its 95 % interval, and how "
    "much of the list would be liked."
)
def hits_and_likes(table, hit: str, liked: str) -> Figure:
    """How often each list holds the film that was liked last, with its 95 % interval, and how much
    of it would be liked, where that is known.

    `table` is that of `helpers.evaluation.lists.figures`, with a column more.
    """
    known = table[liked].notna().any()
    figure, axes = axes_of(1, 1 + known, size=(5 + 4 * known, 0.3 * len(table) + 1.0), sharey=True)
    place, left = np.arange(len(table)), axes[0, 0]
    ends = np.abs(table[[f"{hit} low", f"{hit} high"]].to_numpy(float).T - table[hit].to_numpy())
    left.errorbar(table[hit], place, xerr=ends, fmt="o", color=COLOURS[0], capsize=3)
    left.set_xlim(0)
    left.set_yticks(place, list(table.index))
    left.invert_yaxis()
    left.set_title("lists with the film that was liked last", loc="left")
    if known:
        right = axes[0, 1]
        right.barh(place, table[liked], color=COLOURS[2], height=0.6)
        right.set_xlim(0, 1)
        right.set_title("share of the list that would be liked", loc="left")
    return figure
