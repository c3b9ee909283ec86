"""Figures of a model file's layers."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from helpers.plots import COLOURS, axes_of

_LEAST = 1e-8


def departures(layers, headline: str, trained: float, found: float) -> Figure:
    """How far each layer is from the float32 file's, and what it costs alone and brings back if it
    is spared; the table of `helpers.explain.Explanation`.
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
