"""95 % intervals of metrics and of their changes.

Intervals hold the true value in about 95 % of samples; ``tests/benchmarks/coverage.py`` measures
how often they do. They know of two kinds of rows that belong together: those of a request, and
those of a cluster of requests (a user), which are drawn together and err together.
"""

from __future__ import annotations

import numpy as np

from helpers.errors import BadInput
from helpers.metrics.ranking import tie_starts

LEAST_CLUSTERS = 5
"""With fewer clusters that tell anything an interval is undefined: Student's t would be wider than
any limit.
"""
_LEVEL = 0.975
"""Upper end of a two-sided interval of 95 %."""


def placements(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Share of the rows of the other class that each row is on the right side of, ties half:
    ``(n_rows,) float64``.

    The mean over the rows of either class is the AUC (DeLong, DeLong and Clarke-Pearson 1988). NaN
    with one class.
    """
    order = np.argsort(scores, kind="stable")
    starts, positive = tie_starts(np.asarray(scores)[order]), np.asarray(labels)[order] == 1
    positives, negatives = (
        np.add.reduceat(np.where(part, 1.0, 0.0), starts) for part in (positive, ~positive)
    )
    with np.errstate(invalid="ignore"):
        below = (np.cumsum(negatives) - 0.5 * negatives) / negatives.sum()
        above = 1 - (np.cumsum(positives) - 0.5 * positives) / positives.sum()
    group = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(order)]))
    result = np.empty(len(order))
    result[order] = np.where(positive, below[group], above[group])
    return result


def auc_interval(
    placed: np.ndarray, labels: np.ndarray, clusters: np.ndarray, *, least_error: float = 0.0
) -> tuple[float, float]:
    """95 % interval of an AUC, or of the difference of two, around the estimate.

    Rows of one cluster are added up before their variance is taken (Obuchowski 1997); Student's t
    has as many degrees of freedom as there are clusters with the rarer label, less one.

    Parameters
    ----------
    placed : `placements` of a score, or the difference of those of two scores of the same rows,
        ``(n_rows,)``.
    clusters : ids ``(n_rows,)`` of what was drawn independently: requests, or users where they have
        several.
    least_error : standard error that is assumed at least.

    Returns
    -------
    Lower and upper end; NaN with fewer than `LEAST_CLUSTERS` clusters of either label.
    """
    positive = np.asarray(labels) == 1
    cluster = np.unique(clusters, return_inverse=True)[1]
    telling = min(len(np.unique(cluster[positive])), len(np.unique(cluster[~positive])))
    if telling < LEAST_CLUSTERS:
        return float("nan"), float("nan")
    estimate, count = placed[positive].mean(), cluster.max() + 1
    each = (placed - estimate) * np.where(
        positive, count / positive.sum(), count / (~positive).sum()
    )
    sums = np.bincount(cluster, each)
    error = np.sqrt((sums**2).sum() / (count * (count - 1)))
    half = _student(telling - 1) * max(error, least_error)
    return float(estimate - half), float(estimate + half)


def mean_interval(
    values: np.ndarray, clusters: np.ndarray, *, skewed: bool = False
) -> tuple[float, float]:
    """95 % interval of the mean of what is defined of `values`, metrics by request or their
    differences.

    Parameters
    ----------
    values : ``(n_requests,)``, NaN where undefined.
    clusters : ids ``(n_requests,)`` of what was drawn independently.
    skewed : the values lean to one side, as agreements below 1 do: Student's t is corrected for
        that (Hall 1992). For differences around 0, which have heavy tails on both sides, the
        correction does harm.

    Returns
    -------
    Lower and upper end; NaN with fewer than `LEAST_CLUSTERS` clusters.
    """
    mean, units = _units(values, clusters)
    count = len(units)
    if count < LEAST_CLUSTERS:
        return float("nan"), float("nan")
    spread = float(units.std(ddof=1))
    if spread == 0:
        return mean, mean
    ends = np.array([_student(count - 1), -_student(count - 1)]) / np.sqrt(count)
    skewness = float(((units - units.mean()) ** 3).mean() / units.std() ** 3)
    if skewed and abs(skewness) > 1e-9:
        third = skewness / 3
        ends = (np.cbrt(1 + 3 * third * (ends - skewness / (6 * count))) - 1) / third
    low, high = mean - spread * ends
    return float(low), float(high)


def paired_interval(differences: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of differences between -1 and 1, as of being right, by row.

    Bonett and Price (2012): a row more on either side, so that equal answers in all of few rows
    prove little. Where rows of one cluster go together, it is that of their sums, if that is wider.

    Parameters
    ----------
    differences : ``(n_rows,)``.
    clusters : ids ``(n_rows,)`` of what was drawn independently.

    Returns
    -------
    Lower and upper end; NaN with fewer than `LEAST_CLUSTERS` clusters.
    """
    differences = np.asarray(differences, np.float64)
    mean, units = _units(differences, clusters)
    if len(units) < LEAST_CLUSTERS:
        return float("nan"), float("nan")
    rows = len(differences) + 2
    gained, lost = ((np.maximum(sign * differences, 0).sum() + 1) / rows for sign in (1, -1))
    centre = gained - lost
    error = np.sqrt((gained + lost - centre**2) / rows)
    by_cluster = float(units.std(ddof=1)) / np.sqrt(len(units))
    half = _student(len(units) - 1) * max(error, by_cluster)
    return max(-1.0, float(centre - half)), min(1.0, float(centre + half))


def share_interval(values: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """95 % interval of a mean of shares between 0 and 1, by request: Wilson's (1927), which does
    not shrink to nothing.

    Parameters are those of `mean_interval`. Where requests of one cluster go together, they count
    as fewer.
    """
    mean, units = _units(values, clusters)
    count = len(units)
    if count < LEAST_CLUSTERS:
        return float("nan"), float("nan")
    defined = np.count_nonzero(~np.isnan(values))
    variance, error = mean * (1 - mean), float(units.var(ddof=1)) / count
    count = min(defined, variance / error) if variance > 0 and error > 0 else count
    z = _student(len(units) - 1)
    centre, scale = mean + z * z / (2 * count), 1 + z * z / count
    half = z * np.sqrt(variance / count + (z / (2 * count)) ** 2)
    return float(max(0.0, (centre - half) / scale)), float(min(1.0, (centre + half) / scale))


def clusters_of_requests(requests: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """The cluster of each request, ``(n_requests,)`` in the order of the sorted request ids, of
    clusters by row.

    Raises
    ------
    BadInput : rows of one request are in several clusters.
    """
    _, first, request = np.unique(requests, return_index=True, return_inverse=True)
    cluster = np.asarray(clusters)[first]
    if len(wrong := np.flatnonzero(cluster[request] != clusters)):
        raise BadInput(
            f"request {requests[wrong[0]]} is in several clusters: a cluster holds whole requests"
        )
    return cluster


def _units(values: np.ndarray, clusters: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean of the defined values, and one value a cluster whose mean is that and whose spread tells
    its error.
    """
    values = np.asarray(values, np.float64)
    defined = ~np.isnan(values)
    values = values[defined]
    mean = float(values.mean()) if len(values) else float("nan")
    cluster = np.unique(np.asarray(clusters)[defined], return_inverse=True)[1]
    if len(values) == 0 or cluster.max() + 1 == len(values):
        return mean, values
    sums = np.bincount(cluster, values - mean)
    return mean, mean + sums * (len(sums) / len(values))


def _student(freedom: int) -> float:
    """Upper end of 95 % of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, _LEVEL))
