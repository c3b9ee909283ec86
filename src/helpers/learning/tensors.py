"""Tensors: there are no labels, so there is nothing to beat; what the model gives is described."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from helpers.schema import Schema
from helpers.studies import Inputs

LABELLED = False
BEST = ""


def baseline_scores(
    schema: Schema, training: tuple[Inputs, np.ndarray], inputs: Inputs
) -> dict[str, np.ndarray]:
    """Nothing: no simple model could be better or worse."""
    return {}


def check_learnable(
    schema: Schema, training, scores: Mapping[str, np.ndarray], test, best=None
) -> None:
    """Nothing is refused: there are no labels."""


def table(scores: Mapping[str, np.ndarray], labels: np.ndarray, groups: np.ndarray):
    """What the values of the first output are: DataFrame of least, mean, most and spread, a row a
    scorer.
    """
    import pandas as pd

    def row(values: np.ndarray) -> dict[str, float]:
        return {
            "least": float(values.min()),
            "mean": float(values.mean()),
            "most": float(values.max()),
            "spread": float(values.std()),
        }

    return pd.DataFrame(
        {name: row(np.asarray(score, np.float64)) for name, score in scores.items()}
    ).T


def conclusion(table, history, published) -> str:
    """Say what the model is."""
    return "There are no labels: the model is taken as it is, and files are held to what it gives."


def figure(scores: Mapping[str, np.ndarray], labels: np.ndarray):
    """How often which value is given by the first output."""
    from helpers.plots import values

    return values(scores["this model"])
