"""What figures are made of in which a reader can point at a file, a row or a run: plain lists, as
JSON has them.
"""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

from helpers import runs, trained
from helpers.colours import colour_of
from helpers.errors import WorkbenchError
from helpers.evaluation import choice, latency, parity
from helpers.evaluation.comparison import latency_label

_LATENCY = "latency.csv"
_MOST_VALUES, _FARTHEST = 300, 5
"""Scores of a file that can be pointed at: spread evenly, and those that differ most."""


def number(value) -> float | int | str | None:
    """A cell of a table as JSON has it; None where there is nothing."""
    import pandas as pd

    if value is None or value is pd.NA or value != value:
        return None
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def of(run: runs.Run, model: trained.Trained, table, file: str | None) -> dict:
    """What can be pointed at in a run: ``files``, and where they count ``latency`` and ``scores``.

    Parameters
    ----------
    table : the run's comparison.
    file : the recommended one.
    """
    found = {"files": _files(model, table, file)}
    with suppress(WorkbenchError):
        if path := run.recorded(_LATENCY):
            found["latency"] = _latency(path)
    with suppress(WorkbenchError):
        kept = [run.recorded(file) for file in run.files("judged.npz")]
        if kept and (reference := run.recorded(parity.FILE)):
            found["scores"] = _scores(*parity.kept_scores(model.task, reference, kept))
    return found


def _files(model: trained.Trained, table, file: str | None) -> dict:
    """The converted files as points: their names, and what each of them costs and gives."""
    weighed = choice.candidates(model.task, table, choice.Budget())
    measures = {
        "bytes": "bytes of the file",
        "loss": f"{model.task.lost} at most",
        "agreement": model.task.agreement_name,
        "latency_ratio": f"latency, as a multiple of {latency_label(table)}'s",
    }
    return {
        "names": list(weighed.index),
        "notes": [
            f"{verdict}, recommended" if name == file else verdict
            for name, verdict in zip(weighed["file"], weighed["verdict"], strict=True)
        ],
        "colours": [colour_of(name) for name in weighed.index],
        "markers": [
            "star" if name == file else "x" if left_out else "circle"
            for name, left_out in zip(weighed["file"], weighed["left_out"], strict=True)
        ],
        "columns": [
            {"title": title, "values": list(map(number, weighed[name]))}
            for name, title in measures.items()
        ],
        "chosen": [0, 1],
    }


def _latency(path: Path) -> list[dict]:
    """Median time of a call of each file by the rows in it, with the quartiles of its blocks."""
    import pandas as pd

    blocks = pd.read_csv(path)
    counted = blocks[
        (blocks["mode"] == latency.MODES[0])
        & (blocks["threads"] == blocks["threads"].min())
        & (blocks["round"] > 0)
        & ~blocks["variant"].isin(latency.AGAIN)
    ]
    spread = counted.groupby(["variant", "batch"])["microseconds"].quantile([0.25, 0.5, 0.75])
    return [
        {
            "name": name,
            "colour": colour_of(name),
            "batch": list(map(int, times.index.get_level_values("batch"))),
            "low": times[0.25].tolist(),
            "median": times[0.5].tolist(),
            "high": times[0.75].tolist(),
        }
        for name, times in spread.unstack().groupby(level="variant", sort=False)
    ]


def _scores(reference, scores: dict) -> dict:
    """Some scores of the trained model and of each file: spread evenly over the trained model's,
    and those farthest from it.
    """
    import numpy as np

    each = reference.shape[-1] if reference.ndim > 1 else 1
    flat = reference.reshape(-1).astype(np.float64)
    found = {
        name: values.reshape(-1).astype(np.float64)
        for name, values in scores.items()
        if values.shape == reference.shape
    }
    order = np.argsort(flat, kind="stable")
    places = {*order[:: max(1, len(order) // _MOST_VALUES)].tolist()}
    for values in found.values():
        places.update(np.argsort(-np.abs(values - flat), kind="stable")[:_FARTHEST].tolist())
    chosen = sorted(places)

    def shortened(values) -> list:
        return [number(float(f"{value:.6g}")) for value in values[chosen]]

    return {
        "rows": [
            f"row {place // each}" + (f", value {place % each}" if each > 1 else "")
            for place in chosen
        ],
        "reference": shortened(flat),
        "files": [
            {"name": name, "colour": colour_of(name), "scores": shortened(values)}
            for name, values in found.items()
        ],
    }
