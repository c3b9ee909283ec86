"""Figures of training on the device."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from helpers.plots import COLOURS, axes_of, shows

_MARKS = "osD^v"
_LEAST = 1e-9


@shows(
    "How far the weights of each file are from Keras' after each step on the device; dashed "
    "is what is allowed."
)
def followed(found: Mapping[str, object]) -> Figure:
    """How far each file's weights are from Keras', step by step, and what is allowed.

    Parameters
    ----------
    found : by name, as ``LiteRT, Adam``, the table `steps` of a `helpers.ondevice.parity.Found`.
    """
    figure, axes = axes_of(size=(7.5, 2.9))
    ax = axes[0, 0]
    for (name, steps), colour in zip(found.items(), COLOURS, strict=False):
        far = steps["difference"].clip(lower=_LEAST)
        ax.plot(steps.index, far, color=colour, marker=".", label=name)
    limits = {tuple(steps["limit"]): name.rpartition(", ")[2] for name, steps in found.items()}
    for (limit, optimiser), dash in zip(limits.items(), ("--", ":", "-."), strict=False):
        label = f"allowed, {optimiser}"
        ax.plot(np.arange(1, len(limit) + 1), limit, color="black", linestyle=dash, label=label)
    ax.set_yscale("log")
    ax.set_xlabel("step")
    ax.set_ylabel("largest difference of a weight")
    figure.legend(loc="outside upper right", ncols=3)
    return figure


@shows(
    "Change of accuracy by how many samples the device trained on, for its owner and for "
    "everybody else, with 95 % intervals."
)
def gains(owner, everyone) -> Figure:
    """What the owner gains and everybody else loses by training on so many samples; tables of
    `helpers.ondevice.personal.spread`.
    """
    figure, axes = axes_of(1, 2, size=(7.5, 2.9), sharex=True)
    titles = ("the owner", "everybody else")
    for ax, table, title in zip(axes[0], (owner, everyone), titles, strict=True):
        ways = table.index.get_level_values("way").unique()
        for place, way in enumerate(ways):
            line = table.loc[way]
            spots = np.arange(len(line)) + 0.08 * (place - (len(ways) - 1) / 2)
            reach = np.abs(line[["low", "high"]].to_numpy().T - line["mean"].to_numpy())
            style = {"color": COLOURS[place], "marker": _MARKS[place], "capsize": 3}
            label = way if ax is axes[0, 0] else None
            ax.errorbar(spots, line["mean"], yerr=reach, label=label, **style)
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set_xticks(np.arange(len(line)), list(line.index))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        ax.set_title(title, loc="left")
        ax.set_xlabel("samples of the owner's")
    axes[0, 0].set_ylabel("change of accuracy")
    figure.legend(loc="outside upper right", ncols=len(ways))
    return figure


@shows("Series over rounds or days; black lines are levels to hold them against.")
def curves(lines: Mapping[str, object], xlabel: str, ylabel: str, limits=()) -> Figure:
    """Series over rounds or days, and levels that are lines: ``(name, value)``."""
    figure, axes = axes_of(size=(7.5, 2.8))
    ax = axes[0, 0]
    for place, (name, line) in enumerate(lines.items()):
        style = {"color": COLOURS[place], "marker": _MARKS[place], "markersize": 4}
        ax.plot(line.index, line, label=name, **style)
    for (name, value), dash in zip(limits, ("--", ":", "-."), strict=False):
        ax.axhline(value, color="black", linestyle=dash, linewidth=1.2, label=name)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    figure.legend(loc="outside upper right", ncols=4)
    return figure
