"""Ranking: what a model has to beat, and whether there is anything to learn at all."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from helpers import leaks
from helpers.errors import BadInput
from helpers.learning import need_and_published
from helpers.metrics import intervals, ranking
from helpers.schema import Schema
from helpers.studies import Inputs

LABELLED, CHANCE = True, 0.5
BEST = "best possible (Bayes)"
"""The scorer that is the true probability, where it is known."""
_ANY_AUC = (0.0, 1.0)


def possible(best) -> float:
    """The AUC that no model can be expected to pass, of P(label = 1) by row."""
    return ranking.bayes_auc(np.asarray(best))


def table(scores: Mapping[str, np.ndarray], labels: np.ndarray, requests: np.ndarray):
    """Metrics by scorer: DataFrame with the columns of `metrics.ranking.summary`."""
    import pandas as pd

    return pd.DataFrame(
        {name: ranking.summary(score, labels, requests) for name, score in scores.items()}
    ).T


def figure(scores: Mapping[str, np.ndarray], labels: np.ndarray):
    """Observed rate against mean score, of the model and the strongest baseline."""
    from helpers.plots import ranking as plots

    shown = ("logistic regression", "this model")
    return plots.calibration(
        {name: ranking.calibration(scores[name], labels) for name in shown if name in scores}
    )


def check_learnable(
    schema: Schema,
    training: tuple[Inputs, np.ndarray, np.ndarray],
    scores: Mapping[str, np.ndarray],
    test: tuple[Inputs, np.ndarray, np.ndarray],
    best: np.ndarray | None = None,
) -> None:
    """Refuse labels that nothing can be learned from, and inputs that hold them: the two ends of
    what can be learned.

    Labels that nothing relates to are shuffled, or belong to other rows. Too much is told by
    `helpers.leaks`. Whether scores tell labels is judged by the 95 % interval of their AUC, see
    `_auc_interval`: they surely do if it lies above one half, and surely do not if it lies below
    `ranking.CHANCE_AUC`. Where rows are too few for either a UserWarning says so (of 1 % positives
    a thousand test rows may be), and where baselines rank the test rows, but learned from one half
    of the training rows not the other: a model of shuffled labels ranks, too, if few features
    decide.

    Passing proves that some scorer tells test labels, not that all labels are right: where half of
    them were shuffled, half of the relation is left. Of training labels it proves little: a model
    of shuffled ones may rank by luck, in either direction. Nor does it prove that the model learned
    what can be learned.

    Parameters
    ----------
    training, test : named inputs, labels and requests.
    scores : of the model and of its baselines on the test rows, by scorer; the model is called
        ``this model``. What was not learned, as the true probability, says nothing of what can be.
    best : that true probability ``(n_rows,)`` of the test rows, where it is known.

    Raises
    ------
    BadInput : an input tells the label alone, or a scorer ranks better than the best possible; on
        the test rows every scorer is surely at chance; or the model is, and so are baselines
        learned from one half of the training rows on the other half.
    """
    leaks.check_inputs(schema, training, test)
    if best is not None:
        leaks.check_possible(schema, test, scores, best)
    why = "the labels were shuffled, or belong to other rows"
    found = {name: _auc_interval(score, *test[1:]) for name, score in scores.items()}
    highest, (low, high) = max(found.items(), key=lambda item: item[1][1])
    if high < ranking.CHANCE_AUC:
        raise BadInput(
            f"nothing relates features to labels: on {len(test[1]):,} test rows the best scorer "
            f"({highest}) has an AUC of at most {high:.3f}; {why}"
        )
    doubts = []
    if not any(low > 0.5 for low, _ in found.values()):
        doubts.append(
            f"on {len(test[1]):,} test rows the best scorer ({highest}) has an AUC of {low:.3f} to "
            f"{high:.3f}"
        )
    halves = _told_by_halves(schema, training)
    low, high = max(halves.values(), key=lambda interval: interval[1])
    learned = (
        f"learned from half of the {len(training[1]):,} training rows, the best baseline has an AUC"
    )
    if high < ranking.CHANCE_AUC:
        said = f"{learned} of at most {high:.3f} on the other half"
        if found["this model"][1] < ranking.CHANCE_AUC:
            raise BadInput(f"nothing relates features to labels: {said}; {why}")
        off = [name for name in halves if name in found and not _near_chance(found[name])]
        doubts += [f"{said}, but {' and '.join(off)} tell test labels"] if off else []
    elif found["this model"][0] <= 0.5 and not any(low > 0.5 for low, _ in halves.values()):
        doubts.append(f"{learned} of {low:.3f} to {high:.3f} on the other half")
    if doubts:
        warnings.warn(
            f"it cannot be told whether features relate to labels: {'; '.join(doubts)}. The labels "
            "may be right, or shuffled: give more rows, of the rarer label above all, or look "
            "where the labels come from",
            stacklevel=2,
        )


def _near_chance(interval: tuple[float, float]) -> bool:
    """Whether an AUC may be that of chance, in either direction."""
    return interval[0] <= ranking.CHANCE_AUC and interval[1] >= 1 - ranking.CHANCE_AUC


def _told_by_halves(
    schema: Schema, training: tuple[Inputs, np.ndarray, np.ndarray]
) -> dict[str, tuple[float, float]]:
    """Intervals of the AUC of baselines learned from one half of the training rows, on the other
    half, by baseline.
    """
    half = len(training[1]) // 2
    learn, tell = (
        (
            {name: array[part] for name, array in training[0].items()},
            training[1][part],
            training[2][part],
        )
        for part in (slice(half), slice(half, None))
    )
    if len(np.unique(learn[1])) < 2:
        return {"none": _ANY_AUC}
    found = baseline_scores(schema, learn[:2], tell[0])
    return {name: _auc_interval(score, *tell[1:]) for name, score in found.items()}


def conclusion(table, history, published: Sequence[float] | None) -> str:
    """Say in words whether a model beats what is simple, and whether it reaches what was published.

    Parameters
    ----------
    table : metrics by scorer (`ranking.summary`), with ``this model``, its baselines and what is
        best possible.
    history : of `train`.
    published : validation accuracy by epoch, or None.
    """
    baselines = table.drop(index=["this model", BEST], errors="ignore")
    simple = baselines["auc"].idxmax()
    ours, theirs = table.loc["this model"], baselines.loc[simple]
    gain = round(ours["auc"], 3) - round(theirs["auc"], 3)
    comparison = (
        "ranks better than" if gain > 0 else "ranks worse than" if gain < 0 else "ranks as well as"
    )
    pairs = {"AUC": "auc", "accuracy": "accuracy"}
    figures = ", ".join(
        f"{name} {ours[key]:.3f} against {theirs[key]:.3f}" for name, key in pairs.items()
    )
    lines = [f"The model {comparison} {simple}: {figures}."]
    return "\n".join([*lines, *need_and_published(simple, gain, history, published)])


def _auc_interval(
    scores: np.ndarray, labels: np.ndarray, requests: np.ndarray
) -> tuple[float, float]:
    """95 % interval of an AUC over requests; 0 to 1 where nothing can be told.

    The error is at least that of labels at random: few positives may all have won by luck.
    """
    scores = np.asarray(scores, np.float64).reshape(-1)
    ones = np.count_nonzero(labels)
    if np.isnan(scores).any() or not 0 < ones < len(labels):
        return _ANY_AUC
    at_random = np.sqrt((len(labels) + 1) / (12 * ones * (len(labels) - ones)))
    interval = intervals.auc_interval(
        intervals.placements(scores, labels), labels, requests, least_error=at_random
    )
    return _ANY_AUC if np.isnan(interval).any() else interval


def baseline_scores(
    schema: Schema, training: tuple[Inputs, np.ndarray], inputs: Inputs
) -> dict[str, np.ndarray]:
    """Scores ``(n_rows,)`` of what any ranking model has to beat.

    ``popularity only`` is a logistic regression on the item features alone: the same order for
    every user (left out if the schema has no item input). ``logistic regression`` sees all
    features, but no interactions.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(training[1])) < 2:
        raise BadInput(
            f"all {len(training[1])} training labels are {training[1][0]}: give more rows"
        )
    every = schema.input_names
    items = [tensor.name for tensor in schema.inputs if tensor.role == "item"]
    result = {}
    looks_at = {"popularity only": items} if items else {}

    def columns(rows: Inputs, names: Sequence[str]) -> np.ndarray:
        return np.hstack([rows[name].reshape(len(rows[name]), -1) for name in names])

    for name, used in {**looks_at, "logistic regression": every}.items():
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(columns(training[0], used), training[1])
        result[name] = model.predict_proba(columns(inputs, used))[:, 1]
    return result
