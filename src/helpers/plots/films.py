"""Figures of ratings, candidates and lists of films."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from helpers.evaluation import lists
from helpers.plots import COLOURS, axes_of


def long_tail(user: np.ndarray, film: np.ndarray) -> Figure:
    """Ratings of each user and of each film, the most first; ids ``(n_ratings,)``."""
    figure, axes = axes_of(1, 2, size=(9, 2.8))
    for ax, colour, name, ids in zip(
        axes[0], COLOURS, ("user", "film"), (user, film), strict=False
    ):
        counts = np.sort(np.unique(ids, return_counts=True)[1])[::-1]
        ax.fill_between(np.arange(1, len(counts) + 1), counts, color=colour, alpha=0.8)
        tenth = counts[: -(-len(counts) // 10)].sum() / counts.sum()
        ax.set_title(f"{len(counts):,} {name}s; a tenth of them has {tenth:.0%}", loc="left")
        ax.set_xlabel(f"{name}s, the most ratings first")
        ax.set_ylim(0)
        ax.set_xlim(1)
    axes[0, 0].set_ylabel("ratings")
    return figure


def models(spread, lines: Mapping[str, float], xlabel: str) -> Figure:
    """Mean of each model with its 95 % interval, beside figures that need no model, as lines;
    `helpers.results.spread`'s table.
    """
    spread = spread.sort_values("mean")
    figure, axes = axes_of(size=(7.5, 0.34 * len(spread) + 1.2))
    ax, place = axes[0, 0], np.arange(len(spread))
    ends = np.abs(spread[["low", "high"]].to_numpy(float).T - spread["mean"].to_numpy(float))
    ax.errorbar(spread["mean"], place, xerr=ends, fmt="o", color=COLOURS[0], capsize=3)
    ax.set_yticks(place, list(spread.index))
    for colour, (name, value) in zip(COLOURS[1:], lines.items(), strict=False):
        ax.axvline(value, color=colour, linestyle="--", linewidth=1.3, label=name)
    ax.set_xlabel(xlabel)
    figure.legend(loc="outside upper right", ncols=len(lines))
    return figure


def recall(places: Mapping[str, np.ndarray], most: int) -> Figure:
    """Recall of each way by the length of its list; `helpers.evaluation.lists.places` by way."""
    figure, axes = axes_of(size=(7, 3.6))
    ax, sizes = axes[0, 0], np.unique(np.geomspace(5, most, 60).astype(int))
    for colour, (way, found) in zip((*COLOURS, "black"), places.items(), strict=False):
        wide = 2.4 if way == "together" else 1.3
        curve = [lists.hits(found, size).mean() for size in sizes]
        ax.plot(sizes, curve, color=colour, linewidth=wide, label=way)
    ax.set_xscale("log")
    ticks = [size for size in (10, 50, 100, 200, 400, 800) if size <= most]
    ax.set_xticks(ticks, [str(size) for size in ticks])
    ax.minorticks_off()
    ax.set_ylim(0)
    ax.set_xlabel("candidates")
    ax.set_ylabel("users whose next film is among them")
    ax.legend()
    return figure


def seen_and_liked(table, hit: str, liked: str) -> Figure:
    """How often a list holds the film seen next, against how much of it would be liked.

    `table` is a DataFrame by list with these two columns.
    """
    figure, axes = axes_of(size=(7.5, 4.2))
    ax = axes[0, 0]
    ax.plot(table[liked], table[hit], "o", color=COLOURS[0])
    ax.set_xlabel("share of the list that would be liked, true")
    ax.set_ylabel("lists with the film seen next")
    ax.set_ylim(0, 1.15 * table[hit].max())
    ax.set_xlim(table[liked].min() - 0.03, table[liked].max() + 0.15)
    for (name, row), up in zip(table.iterrows(), _apart(ax, table, liked, hit), strict=True):
        at = (row[liked], row[hit])
        ax.annotate(name, at, (5, 3 + up), textcoords="offset points", fontsize=8)
    return figure


def _apart(ax, table, x: str, y: str) -> list[int]:
    """How far up the name of each point goes, in points, so that none lies on another."""
    width, height = (72 * inches for inches in ax.figure.get_size_inches())
    across = 0.85 * width / np.ptp(ax.get_xlim())
    upwards = 0.85 * height / np.ptp(ax.get_ylim())
    boxes: dict[str, tuple[float, float, float]] = {}
    found = {}
    for name, row in table.sort_values(y).iterrows():
        left, low, up = across * row[x], upwards * row[y], 0
        right = left + 4.6 * len(name)
        while any(left < b and a < right and abs(low + up - c) < 9 for a, b, c in boxes.values()):
            up += 1
        boxes[name], found[name] = (left, right, low + up), up
    return [found[name] for name in table.index]
