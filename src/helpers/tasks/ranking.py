"""Ranking: a score a row, and rows of a group that compete with each other.

A reduced file ships with loss while the changes of its AUC and NDCG@10 are above -0.01 and its
order within groups agrees with the reference to a Kendall tau of at least 0.9, each with the whole
of its 95 % interval; its probabilities move by at most 0.05 (a file that lost its sigmoid still
ranks); and its logits grow by 0.5 to 2 where the reference's grow by 1 (scores that lie around 0.66
keep their mean in a second sigmoid, but not their distances: 0.2). If the whole interval is beyond
a limit, or one of the other two is, it is broken; if an interval only reaches beyond a limit, there
are too few rows to tell. Probabilities that move are refused even where they come to lie nearer to
the labels: what an app does with a score was chosen on the reference's, and a model is calibrated
by training, not by converting it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from helpers.errors import ParityError
from helpers.metrics import intervals, ranking
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
SHIP_KENDALL_TAU = 0.9
SHIP_CALIBRATION = 0.05
SHIP_LOGIT_SLOPE = (0.5, 2.0)
LIMITS = {"kendall_tau": SHIP_KENDALL_TAU, "auc_delta": -SHIP_LOSS, "ndcg_delta": -SHIP_LOSS}
_NAMES = {
    "kendall_tau": "Kendall tau",
    "auc_delta": "change of AUC",
    "ndcg_delta": "change of NDCG@10",
}


def compare(
    scores: np.ndarray,
    reference: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    clusters: np.ndarray | None = None,
) -> Judgement:
    """Hold `scores` against `reference`, both ``(n_rows,)`` or ``(n_rows, 1)``, and give a verdict.

    Parameters
    ----------
    clusters : ids ``(n_rows,)`` of what was drawn independently, each of whole groups; default the
        groups.

    Returns
    -------
    Figures: max_abs_error and mean_abs_error (of scores, row by row); accuracy, auc, log_loss,
    request_auc (mean AUC within a group), ndcg_at_10 and calibration_error (mean distance of score
    and observed rate over ten about equally filled bins); accuracy_delta, auc_delta and ndcg_delta
    (file minus reference); kendall_tau, top10_overlap and top1_agreement (means over groups of
    tau-b, of the share of the ten best in common, and of having the same first item); of these six
    ``_low`` and ``_high``, 95 % intervals over clusters, paired where it is a change;
    distinct_scores (few mean ties, which an app breaks in whatever order it has); calibration_shift
    (mean distance of the file's and the reference's mean score over such bins of the reference);
    logit_slope (by how much the file's logits grow where the reference's grow by 1).

    Raises
    ------
    ParityError : not one score a row.
    BadInput : a group is in several clusters.
    """
    scores, reference = (np.asarray(s, np.float64).reshape(-1) for s in (scores, reference))
    if scores.shape != reference.shape:
        raise ParityError(f"static batch: {len(scores)} scores for {len(reference)} rows")
    if not np.isfinite(reference).all():
        raise ParityError(
            "the reference itself has scores that are not finite: train the model again"
        )
    finite = np.isfinite(scores)
    if not finite.all():
        reason = f"non-finite: {np.count_nonzero(~finite)} of {len(scores)} scores"
        return Judgement.broken(reason, distinct_scores=len(np.unique(scores)))
    clusters = groups if clusters is None else clusters
    units = intervals.clusters_of_requests(groups, clusters)
    error = np.abs(scores - reference)
    right, before = (ranking.right(each, labels).astype(float) for each in (scores, reference))
    placed = intervals.placements(scores, labels) - intervals.placements(reference, labels)
    ndcg = ranking.ndcg(scores, labels, groups) - ranking.ndcg(reference, labels, groups)
    tau = ranking.kendall_tau(scores, reference, groups)
    top10, top1 = (ranking.top_overlap(scores, reference, groups, k) for k in (10, 1))
    bounds = {
        "accuracy_delta": intervals.paired_interval(right - before, clusters),
        "auc_delta": intervals.auc_interval(placed, labels, clusters),
        "ndcg_delta": intervals.mean_interval(ndcg, units),
        "kendall_tau": intervals.mean_interval(tau, units, skewed=True),
        "top10_overlap": intervals.mean_interval(top10, units, skewed=True),
        "top1_agreement": intervals.share_interval(top1, units),
    }
    figures = {
        **ranking.summary(scores, labels, groups),
        "max_abs_error": float(error.max()),
        "mean_abs_error": float(error.mean()),
        "accuracy_delta": float((right - before).mean()),
        "auc_delta": ranking.auc(scores, labels) - ranking.auc(reference, labels),
        "ndcg_delta": ranking.mean_defined(ndcg),
        "kendall_tau": ranking.mean_defined(tau),
        "top10_overlap": ranking.mean_defined(top10),
        "top1_agreement": ranking.mean_defined(top1),
        **with_ends(bounds),
        "distinct_scores": len(np.unique(scores)),
        "calibration_shift": ranking.calibration_shift(scores, reference),
        "logit_slope": ranking.logit_slope(scores, reference),
    }
    verdict, reason = _verdict(figures, same_error(reference), len(units))
    outside = scores.min() < 0 <= reference.min() and reference.max() <= 1 < scores.max()
    if verdict == BROKEN and outside:
        reason += "; its scores leave 0 to 1, as if the last sigmoid were missing"
    return Judgement(verdict, reason, figures)


def _verdict(figures: Mapping[str, float], same: float, groups: int) -> tuple[str, str]:
    """Verdict and reason; `same` is what counts as no difference."""
    error, tau = figures["max_abs_error"], figures["kendall_tau"]
    if error <= same:
        return SAME, f"no score moves by more than {same:.0e}"
    if figures["distinct_scores"] == 1:
        return BROKEN, "constant: every row gets the same score"
    auc, ndcg = -figures["auc_delta"], -figures["ndcg_delta"]
    reasons = {
        "kendall_tau": f"wrong order: Kendall tau {tau:.3f} is below {SHIP_KENDALL_TAU}",
        "auc_delta": f"below threshold: it loses {auc:.4f} AUC, more than {SHIP_LOSS}",
        "ndcg_delta": f"below threshold: it loses {ndcg:.4f} NDCG@10, more than {SHIP_LOSS}",
    }
    if name := missed(figures, LIMITS):
        return BROKEN, reasons[name]
    shift = figures["calibration_shift"]
    if not shift <= SHIP_CALIBRATION:
        moved = f"its probabilities move by {shift:.3f} on average, more than {SHIP_CALIBRATION}"
        return BROKEN, f"shifted: {moved}"
    slope, (least, most) = figures["logit_slope"], SHIP_LOGIT_SLOPE
    if not least <= slope <= most:
        change = "squeezed together" if slope < least else "pulled apart"
        grown = f"its logits grow by {slope:.2f} where the model's grow by 1"
        return BROKEN, f"scores are {change}: {grown} ({least:g} to {most:g} is allowed)"
    if reason := too_few(figures, LIMITS, _NAMES, groups, "requests"):
        return TOO_FEW, reason
    return LOSS, f"scores move by up to {error:.0e}, Kendall tau {tau:.3f}"


def agreement_table(judgements: Mapping[str, Judgement]):
    """Order and quality against the reference, and the verdict, by variant: DataFrame of text."""
    import pandas as pd

    def row(f: Judgement) -> dict[str, str]:
        tau = agreement_text(f.kendall_tau, f.kendall_tau_low, f.kendall_tau_high)
        return {
            "largest difference": error_text(f.max_abs_error),
            "accuracy": f"{f.accuracy:.4f}",
            "AUC": f"{f.auc:.4f}",
            "change of AUC": change_text(f.auc_delta, f.auc_delta_low, f.auc_delta_high),
            "NDCG@10": f"{f.ndcg_at_10:.4f}",
            "change of NDCG": change_text(f.ndcg_delta, f.ndcg_delta_low, f.ndcg_delta_high),
            "Kendall tau": tau,
            "top-10 overlap": f"{f.top10_overlap:.3f}",
            "verdict": f.verdict,
        }

    return pd.DataFrame({name: row(found) for name, found in judgements.items()}).T


def score_table(judgements: Mapping[str, Judgement]):
    """What scores are worth as numbers, and the first item, which users see: DataFrame of text."""
    import pandas as pd

    def row(f: Judgement) -> dict[str, str]:
        first = agreement_text(f.top1_agreement, f.top1_agreement_low, f.top1_agreement_high)
        return {
            "mean difference": error_text(f.mean_abs_error),
            "distinct scores": distinct_text(f.distinct_scores),
            "log loss": f"{f.log_loss:.4f}",
            "calibration error": f"{f.calibration_error:.4f}",
            "moved by": f"{f.calibration_shift:.4f}",
            "AUC within a request": f"{f.request_auc:.4f}",
            "same first item": first,
            "why": f.reason,
        }

    return pd.DataFrame({name: row(found) for name, found in judgements.items()}).T


def _judge(outputs: Outputs, reference: Outputs, truth: Truth) -> Judgement:
    name = next(iter(reference))
    return compare(outputs[name], reference[name], truth.labels, truth.groups, truth.clusters)


def _chance(row) -> str:
    """Why the trained model ranks no better than chance; empty if it does."""
    if row["auc"] >= ranking.CHANCE_AUC:
        return ""
    return f"ranks hardly better than chance (AUC {row['auc']:.3f})"


RANKING = Task(
    name="ranking",
    training_loss="binary_crossentropy",
    columns=(
        "accuracy",
        "auc",
        "auc_delta",
        "auc_delta_low",
        "auc_delta_high",
        "ndcg_at_10",
        "kendall_tau",
        "top10_overlap",
        "distinct_scores",
    ),
    more_columns=(
        "mean_abs_error",
        "log_loss",
        "request_auc",
        "ndcg_delta",
        "ndcg_delta_low",
        "ndcg_delta_high",
        "calibration_error",
        "logit_slope",
        "kendall_tau_low",
        "kendall_tau_high",
        "top10_overlap_low",
        "top10_overlap_high",
        "top1_agreement",
        "top1_agreement_low",
        "top1_agreement_high",
        "calibration_shift",
    ),
    shown={
        "accuracy": Shown("accuracy", "{:.4f}", "accuracy_delta"),
        "auc": Shown("AUC", "{:.4f}", "auc_delta"),
        "ndcg_at_10": Shown("NDCG@10", "{:.4f}", "ndcg_delta"),
        "kendall_tau": Shown("Kendall tau", "{:.4f}", alike=True),
        "top10_overlap": Shown("top-10 overlap", "{:.4f}", alike=True),
    },
    headline="auc",
    loss="auc_delta_low",
    loss_sign=-1,
    lost="AUC lost",
    agreement="kendall_tau",
    agreement_name="Kendall tau",
    verbs=("ranks", "rank"),
    gives="scores",
    judge=_judge,
    tables=lambda judgements: (agreement_table(judgements), score_table(judgements)),
    chance=_chance,
)
