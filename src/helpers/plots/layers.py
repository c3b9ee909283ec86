"""Figures of a model file's layers."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from helpers.plots import COLOURS, axes_of, shows

_LEAST = 1e-8
_ACROSS = 8
"""Layers side by side, at most."""


@shows(
    "The model from its inputs at the left to its output at the right: each box is a layer "
    "with the shape that it gives; blue are those that learn."
)
def architecture(layers) -> Figure:
    """Layers from left to right, each with what it gives and how many parameters it has; the table
    of a framework's ``layers``. A long model goes on in the next row.
    """
    depth: dict[str, int] = {}
    for name, row in layers.iterrows():
        depth[name] = 1 + max((depth[before] for before in row["takes"]), default=-1)
    columns: dict[int, list[str]] = {}
    for name, place in depth.items():
        columns.setdefault(place, []).append(name)
    rows, across = max(map(len, columns.values())), min(len(columns), _ACROSS)
    height = rows * (max(columns) // _ACROSS + 1)
    figure, axes = axes_of(size=(max(4, 1.75 * across), 0.75 * height + 0.3))
    ax, places = axes[0, 0], {}
    for x, names in columns.items():
        for y, name in enumerate(names):
            places[name] = x % _ACROSS, (len(names) - 1) / 2 - y - rows * (x // _ACROSS)
    for name, row in layers.iterrows():
        parameters = f", {row['parameters']:,} weights" if row["parameters"] else ""
        text = f"{name}\n{row['type']}\n{row['gives']}{parameters}"
        colour = COLOURS[0] if row["parameters"] else COLOURS[5]
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": colour}
        ax.annotate(text, places[name], ha="center", va="center", fontsize=6.5, bbox=box, zorder=2)
        for before in row["takes"]:
            path = [places[before], places[name]]
            if depth[before] // _ACROSS != depth[name] // _ACROSS:  # between the rows
                between = rows / 2 - rows * (depth[name] // _ACROSS)
                path[1:1] = [(path[0][0], between), (path[1][0], between)]
            ax.plot(*zip(*path, strict=True), color=COLOURS[5], linewidth=0.9, zorder=1)
    ax.set_xlim(-0.5, across - 0.5)
    ax.set_ylim(rows / 2 - height, rows / 2)
    ax.set_axis_off()
    return figure


@shows(
    "How far each layer's values are from those of the file that this one is held to; where there "
    "are two panels, what it costs to reduce a layer alone and what it brings to spare it."
)
def departures(layers, headline: str, trained: float, found: float) -> Figure:
    """How far each layer is from what the file is held to, and what it costs alone and brings back
    if it is spared; the table of `helpers.explain.Explanation`.
    """
    costs = layers["spared"].notna().any()
    size = (5.5 + 4 * costs, 0.2 * len(layers) + 1.2)
    figure, axes = axes_of(1, 1 + costs, size=size, sharey=True)
    place, left = np.arange(len(layers)), axes[0, 0]
    left.barh(place, layers["error"].clip(lower=_LEAST), color=COLOURS[0], height=0.65)
    left.set_xscale("log")
    left.set_xlim(_LEAST, max(1.0, 2 * layers["error"].max()))
    names = [f"{number}  {name}" for number, name in layers["layer"].items()]
    left.set_yticks(place, names, fontsize=7)
    left.invert_yaxis()
    left.set_title("error, as a part of the values", loc="left")
    if costs:
        right = axes[0, 1]
        for column, label, colour in (
            ("alone", "alone reduced", 1),
            ("spared", "left in float", 2),
        ):
            style = {"color": COLOURS[colour], "markersize": 4, "label": label}
            right.plot(layers[column], place, "os"[colour - 1], **style)
        for value, label, style in ((trained, "trained model", "-"), (found, "this file", "--")):
            right.axvline(value, color="black", linewidth=0.9, linestyle=style, label=label)
        right.set_title(headline, loc="left")
        figure.legend(loc="outside lower center", ncols=4)
    return figure
