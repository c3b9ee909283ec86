"""Figures of pictures."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from helpers.datasets import Dataset
from helpers.plots import axes_of
from helpers.tables import SPLITS

_EACH = 12
"""Pictures of a class that are shown at most."""
_MOST_CLASSES = 30
_LEVELS = 24
"""Of a colour that are shown: noise of more makes a figure large."""
_SHOWN_SIDE = 64
"""Pixels of a side from which on only some of them are drawn."""


def by_class(data: Dataset, each: int = _EACH) -> Figure:
    """The first `each` training pictures of each class, a row a class, as the model gets them, in
    fewer colours; of more than `_MOST_CLASSES` the first ones.
    """
    prepared, output = data.preparation, data.schema.output
    inputs, labels, _ = data.arrays(SPLITS[0], limit=3 * each * output.size)
    values, names = inputs[prepared.input], [dimension.name for dimension in output.dimensions]
    drawn = names[:_MOST_CLASSES]
    step = -(-prepared.size // _SHOWN_SIDE)
    side, gap = len(range(0, prepared.size, step)), 2
    sheet = np.ones((len(drawn) * (side + gap) - gap, each * (side + gap) - gap, 3))
    for row in range(len(drawn)):
        for column, value in enumerate(values[labels == row][:each, ::step, ::step]):
            top, left = row * (side + gap), column * (side + gap)
            shown = (value - prepared.low) / (prepared.high - prepared.low)
            shown = shown[..., ::-1] if prepared.colours == "BGR" else shown
            sheet[top : top + side, left : left + side] = np.rint(shown * _LEVELS) / _LEVELS
    figure, axes = axes_of(size=(0.56 * each + 1.4, 0.56 * len(drawn) + 0.2))
    ax = axes[0, 0]
    ax.imshow(np.clip(sheet, 0, 1), interpolation="nearest")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_xticks([])
    ax.set_yticks(np.arange(len(drawn)) * (side + gap) + side / 2, drawn)
    ax.tick_params(length=0)
    return figure
