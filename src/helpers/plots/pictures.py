"""Figures of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from helpers.datasets import Dataset
from helpers.evaluation.parity import Reference
from helpers.plots import axes_of, shows
from helpers.tables import SPLITS

_EACH = 12
"""Pictures of a class, or that a file decides otherwise, that are shown at most."""
_MOST_CLASSES, _MOST_FILES = 30, 6
_LEVELS = 24
"""Of a colour that are shown: noise of more makes a figure large."""
_SHOWN_SIDE, _GAP = 64, 2
"""Pixels of a side from which on only some of them are drawn, and between two pictures."""


@shows("Training pictures of each class, a row a class, as the model gets them.")
def by_class(data: Dataset, each: int = _EACH) -> Figure:
    """The first `each` training pictures of each class, a row a class, as the model gets them, in
    fewer colours; of more than `_MOST_CLASSES` the first ones.
    """
    names = _classes(data)[:_MOST_CLASSES]
    inputs, labels, _ = data.arrays(SPLITS[0], limit=3 * each * data.schema.output.size)
    values = inputs[data.schema.picture.name]
    rows = [values[labels == label][:each] for label in range(len(names))]
    sheet, side = _sheet(data, rows, each)
    figure, axes = axes_of(size=(0.56 * each + 1.4, 0.56 * len(names) + 0.2))
    _show(axes[0, 0], sheet)
    axes[0, 0].set_yticks(np.arange(len(names)) * (side + _GAP) + side / 2, names)
    return figure


@shows(
    "Test pictures that the trained model takes for another class, and those that a file "
    "decides otherwise than the model, the surest first."
)
def otherwise(
    data: Dataset, reference: Reference, scores: Mapping[str, np.ndarray]
) -> Figure | None:
    """Test pictures that the trained model takes for another class, and those for which a file has
    another first class than the model, a row each, the surest first; None if there are none.

    Parameters
    ----------
    reference : of a classification of pictures.
    scores : probabilities ``(n_rows, n_classes)`` by file. Of more than `_MOST_FILES` those are
        shown that decide otherwise most often.
    """
    values, names = reference.inputs[data.schema.picture.name], _classes(data)
    model, labels, count = reference.scores.argmax(axis=1), reference.truth.labels, len(values)
    others = {
        name: np.flatnonzero(found.argmax(axis=1) != model)
        for name, found in scores.items()
        if found.shape == reference.scores.shape
    }
    most = sorted(filter(lambda name: len(others[name]), others), key=lambda n: -len(others[n]))
    wrong = np.flatnonzero(model != labels)
    rows = [("trained model: wrong", "class", wrong, labels, reference.scores)] * bool(len(wrong))
    rows += [(f"{n}: otherwise", "model", others[n], model, scores[n]) for n in most[:_MOST_FILES]]
    if not rows:
        return None
    figure, axes = axes_of(len(rows), 1, size=(0.62 * _EACH, 1.15 * len(rows)))
    for ax, (title, first, places, before, found) in zip(axes[:, 0], rows, strict=True):
        shown = places[places < count]
        shown = shown[np.argsort(-found[shown].max(axis=1), kind="stable")][:_EACH]
        sheet, side = _sheet(data, [values[shown]], _EACH)
        _show(ax, sheet)
        said = [f"{names[before[i]]} → {names[found[i].argmax()]}" for i in shown]
        ax.set_xticks(np.arange(len(said)) * (side + _GAP) + side / 2, said, fontsize=7)
        second = "model" if first == "class" else "file"
        counted = f"in {len(places):,} of {len(model):,} ({first} → {second})"
        ax.set_title(f"{title} {counted}", loc="left", fontsize=8)
    return figure


@shows("Pictures whose label the model doubts, the surest doubt first: label → what it looks like.")
def doubted(data: Dataset, splits: Mapping[str, tuple], doubts) -> Figure | None:
    """The first rows of a table of `learning.classification.doubted` as pictures; None if it has
    none.
    """
    shown = doubts.head(_EACH)
    if not len(shown):
        return None
    name = data.schema.picture.name
    values = [splits[s][0][name][row] for s, row in zip(shown["split"], shown["row"], strict=True)]
    figure, axes = axes_of(size=(0.62 * _EACH, 1.15))
    sheet, side = _sheet(data, [np.stack(values)], _EACH)
    _show(axes[0, 0], sheet)
    said = [f"{a} →\n{b}" for a, b in zip(shown["label"], shown["looks like"], strict=True)]
    axes[0, 0].set_xticks(np.arange(len(said)) * (side + _GAP) + side / 2, said, fontsize=7)
    return figure


def _classes(data: Dataset) -> list[str]:
    """Names of the classes; their numbers where they have none."""
    output = data.schema.output
    return [d.name for d in output.dimensions] or list(map(str, range(output.size)))


def _sheet(data: Dataset, rows: Sequence[np.ndarray], across: int) -> tuple[np.ndarray, int]:
    """Pictures side by side on white, `across` a row, as colours from 0 to 1, and the side of one
    in pixels.
    """
    prepared, tensor = data.preparation, data.schema.picture
    low, high = (prepared.low, prepared.high) if prepared else (tensor.low, tensor.high)
    step = -(-max(tensor.shape[:2]) // _SHOWN_SIDE)
    side = len(range(0, max(tensor.shape[:2]), step))
    sheet = np.ones((len(rows) * (side + _GAP) - _GAP, across * (side + _GAP) - _GAP, 3))
    for row, values in enumerate(rows):
        for column, value in enumerate(values[:, ::step, ::step]):
            shown = (value.astype(np.float32) - low) / (high - low)
            shown = shown[..., ::-1] if prepared and prepared.colours == "BGR" else shown
            top, left = row * (side + _GAP), column * (side + _GAP)
            height, width = shown.shape[:2]
            sheet[top : top + height, left : left + width] = np.rint(shown * _LEVELS) / _LEVELS
    return np.clip(sheet, 0, 1), side


def _show(ax, sheet: np.ndarray) -> None:
    ax.imshow(sheet, interpolation="nearest")
    ax.grid(False)
    ax.spines[:].set_visible(False)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.tick_params(length=0)
