"""Classification: a probability a class; the most probable class is the answer.

A reduced file ships with loss while it loses at most 0.01 of the accuracy and its first class is
the trained model's in at least 98 % of the rows, each with the whole of its 95 % interval, and the
probability of that class moves by at most 0.05 on average. If the whole interval is beyond a limit,
or the probabilities move further, it is broken; if an interval only reaches beyond a limit, there
are too few rows to tell.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from helpers.errors import ParityError
from helpers.metrics import classification as metrics
from helpers.metrics import intervals
from helpers.tasks import Outputs, Shown, Task, Truth
from helpers.tasks.judgement import (
    BROKEN,
    LOSS,
    SAME,
    TOO_FEW,
    Judgement,
    agreement_text,
    change_text,
    distinct_text,
    error_text,
    missed,
    same_error,
    too_few,
    with_ends,
)

SHIP_LOSS = 0.01
SHIP_AGREEMENT = 0.98
SHIP_SHIFT = 0.05
SUM_ERROR = 0.05
"""How far a row's probabilities may add up to something else than 1: int8 outputs are rounded."""
LIMITS = {"top1_agreement": SHIP_AGREEMENT, "accuracy_delta": -SHIP_LOSS}
_NAMES = {"top1_agreement": "agreement of the first class", "accuracy_delta": "change of accuracy"}


def compare(
    found: np.ndarray,
    reference: np.ndarray,
    labels: np.ndarray,
    clusters: np.ndarray | None = None,
) -> Judgement:
    """Hold probabilities against the reference's, both ``(n_rows, n_classes)``, and give a verdict.

    Parameters
    ----------
    labels : ``(n_rows,)`` from 0 to ``n_classes - 1``.
    clusters : ids ``(n_rows,)`` of what was drawn independently; default the rows.

    Returns
    -------
    Figures: max_abs_error and mean_abs_error (of probabilities); accuracy, top3_accuracy, log_loss,
    lowest_recall (of all classes) and calibration_error (of the first class); accuracy_delta and
    top3_delta (file minus reference); top1_agreement and top3_agreement (shares of rows, of the
    first class and of the first three in common); of these four ``_low`` and ``_high``, 95 %
    intervals over clusters; shift (by how much the probability of the reference's first class moves
    on average); distinct_scores (different rows of probabilities).

    Raises
    ------
    ParityError : not one row of probabilities a row.
    """
    found, reference = (np.asarray(p, np.float64) for p in (found, reference))
    if found.shape != reference.shape:
        raise ParityError(f"static batch: probabilities {found.shape} for {reference.shape}")
    if not np.isfinite(reference).all():
        raise ParityError(
            "the reference itself has values that are not finite: train the model again"
        )
    if not (finite := np.isfinite(found)).all():
        return Judgement.broken(f"non-finite: {np.count_nonzero(~finite)} probabilities")
    clusters = np.arange(len(labels)) if clusters is None else clusters
    error = np.abs(found - reference)
    top = {k: metrics.agreement(found, reference, k) for k in (1, 3)}
    gained = {
        k: metrics.top_k(found, labels, k) - metrics.top_k(reference, labels, k) for k in (1, 3)
    }
    first = reference.argmax(axis=1)[:, None]
    figures = {
        **metrics.summary(found, labels),
        "max_abs_error": float(error.max()),
        "mean_abs_error": float(error.mean()),
        "accuracy_delta": float(gained[1].mean()),
        "top3_delta": float(gained[3].mean()),
        "top1_agreement": float(top[1].mean()),
        "top3_agreement": float(top[3].mean()),
        **with_ends(
            {
                "accuracy_delta": intervals.paired_interval(gained[1], clusters),
                "top3_delta": intervals.paired_interval(gained[3], clusters),
                "top1_agreement": intervals.share_interval(top[1], clusters),
                "top3_agreement": intervals.mean_interval(top[3], clusters, skewed=True),
            }
        ),
        "shift": float(np.take_along_axis(error, first, axis=1).mean()),
        "distinct_scores": len(np.unique(found, axis=0)),
    }
    units = len(np.unique(clusters))
    verdict, reason = _verdict(figures, same_error(reference), units)
    if verdict == BROKEN and _adds_up(reference) and not _adds_up(found):
        reason += "; its values are no probabilities, as if the last softmax were missing"
    return Judgement(verdict, reason, figures)


def _adds_up(probabilities: np.ndarray) -> bool:
    """Whether these are probabilities, as near as eight bits can tell."""
    inside = probabilities.min() >= 0 and probabilities.max() <= 1
    return bool(inside and np.abs(probabilities.sum(axis=1) - 1).max() <= SUM_ERROR)


def _verdict(figures: Mapping[str, float], same: float, units: int) -> tuple[str, str]:
    """Verdict and reason; `same` is what counts as no difference."""
    error, agreed = figures["max_abs_error"], figures["top1_agreement"]
    if error <= same:
        return SAME, f"no probability moves by more than {same:.0e}"
    if figures["distinct_scores"] == 1:
        return BROKEN, "constant: every row gets the same probabilities"
    lost = -figures["accuracy_delta"]
    reasons = {
        "top1_agreement": (
            f"other classes: the first agrees in {agreed:.1%}, less than {SHIP_AGREEMENT:.0%}"
        ),
        "accuracy_delta": f"below threshold: it loses {lost:.4f} accuracy, more than {SHIP_LOSS}",
    }
    if name := missed(figures, LIMITS):
        return BROKEN, reasons[name]
    if not figures["shift"] <= SHIP_SHIFT:
        moved = f"the first class's probability moves by {figures['shift']:.3f} on average"
        return BROKEN, f"shifted: {moved}, more than {SHIP_SHIFT}"
    if reason := too_few(figures, LIMITS, _NAMES, units, "rows"):
        return TOO_FEW, reason
    return LOSS, f"probabilities move by up to {error:.0e}, the first class agrees in {agreed:.1%}"


def agreement_table(judgements: Mapping[str, Judgement]):
    """Quality and agreement with the reference, and the verdict, by variant: DataFrame of text."""
    import pandas as pd

    def row(f: Judgement) -> dict[str, str]:
        change = change_text(f.accuracy_delta, f.accuracy_delta_low, f.accuracy_delta_high)
        first = agreement_text(f.top1_agreement, f.top1_agreement_low, f.top1_agreement_high)
        return {
            "largest difference": error_text(f.max_abs_error),
            "accuracy": f"{f.accuracy:.4f}",
            "change of accuracy": change,
            "top-3 accuracy": f"{f.top3_accuracy:.4f}",
            "same first class": first,
            "same first three": f"{f.top3_agreement:.3f}",
            "verdict": f.verdict,
        }

    return pd.DataFrame({name: row(found) for name, found in judgements.items()}).T


def probability_table(judgements: Mapping[str, Judgement]):
    """What probabilities are worth as numbers, by variant: DataFrame of text."""
    import pandas as pd

    def row(f: Judgement) -> dict[str, str]:
        return {
            "mean difference": error_text(f.mean_abs_error),
            "distinct rows": distinct_text(f.distinct_scores),
            "log loss": f"{f.log_loss:.4f}",
            "calibration error": f"{f.calibration_error:.4f}",
            "moved by": f"{f.shift:.4f}",
            "lowest recall": f"{f.lowest_recall:.3f}",
            "why": f.reason,
        }

    return pd.DataFrame({name: row(found) for name, found in judgements.items()}).T


def _judge(outputs: Outputs, reference: Outputs, truth: Truth) -> Judgement:
    name = next(iter(reference))
    clusters = truth.groups if truth.clusters is None else truth.clusters
    return compare(outputs[name], reference[name], truth.labels, clusters)


CLASSIFICATION = Task(
    name="classification",
    training_loss="sparse_categorical_crossentropy",
    columns=(
        "accuracy",
        "accuracy_delta",
        "accuracy_delta_low",
        "accuracy_delta_high",
        "top3_accuracy",
        "top1_agreement",
        "top3_agreement",
        "distinct_scores",
    ),
    more_columns=(
        "mean_abs_error",
        "log_loss",
        "lowest_recall",
        "calibration_error",
        "shift",
        "top3_delta",
        "top3_delta_low",
        "top3_delta_high",
        "top1_agreement_low",
        "top1_agreement_high",
        "top3_agreement_low",
        "top3_agreement_high",
    ),
    shown={
        "accuracy": Shown("accuracy", "{:.4f}", "accuracy_delta"),
        "top3_accuracy": Shown("top-3 accuracy", "{:.4f}", "top3_delta"),
        "top1_agreement": Shown("same first class", "{:.4f}", alike=True),
        "top3_agreement": Shown("same first three", "{:.4f}", alike=True),
    },
    headline="accuracy",
    loss="accuracy_delta_low",
    loss_sign=-1,
    lost="accuracy lost",
    agreement="top1_agreement",
    agreement_name="agreement of the first class",
    verbs=("classifies", "classify"),
    gives="probabilities",
    judge=_judge,
    tables=lambda judgements: (agreement_table(judgements), probability_table(judgements)),
    chance=lambda row: "",
)
