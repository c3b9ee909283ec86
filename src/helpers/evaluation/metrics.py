"""Ranking metrics over scores, labels and requests, in NumPy, and the intervals of what changes in them.

They are written here, and held against scikit-learn and scipy in the tests, because every comparison needs them by
request. All take float scores ``(n_rows,)``, labels ``(n_rows,)`` of 0 and 1 and, where they are taken by request,
request ids ``(n_rows,)``. Tied scores count half or share their places, so that nothing depends on the order of
the rows; what is undefined is NaN: AUC with one class, NDCG without a relevant item.

Intervals hold the true value in about 95 % of samples; ``tests/benchmarks/coverage.py`` measures how often they do.
They know of two kinds of rows that belong together: those of a request, and those of a cluster of requests (a user),
which are drawn together and err together.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from helpers.errors import BadInput

CHANCE_AUC = 0.55
"""What counts as chance: every ranking problem worth a model passes this AUC."""
LEAST_CLUSTERS = 5
"""With fewer clusters that tell anything an interval is undefined: Student's t would be wider than any limit."""
_EIGHT_BITS = 1 / 512
"""Half a step of a score of eight bits."""
_LEVEL = 0.975
"""Upper end of a two-sided interval of 95 %."""


def _columns(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels as ``(n_rows,)``; refuses what NumPy would silently broadcast, and labels but 0 and 1."""
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.shape == (len(labels), 1):
        scores = scores[:, 0]
    if scores.shape != labels.shape or labels.ndim != 1 or not len(labels):
        raise BadInput(f"metrics take one score a label, not scores {scores.shape} for labels {labels.shape}")
    if not np.isin(labels, (0, 1)).all():
        raise BadInput(f"labels must be 0 or 1, not {labels[~np.isin(labels, (0, 1))][0]!r}")
    return scores, labels


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows on the right side of 0.5 (a score of exactly 0.5 counts as 0, as in Keras)."""
    scores, labels = _columns(scores, labels)
    return float(((scores > 0.5) == (labels == 1)).mean())


def log_loss(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log likelihood in nats; scores are clipped by the float64 epsilon, as scikit-learn does."""
    scores, labels = _columns(scores, labels)
    epsilon = np.finfo(np.float64).eps
    p = np.clip(np.asarray(scores, np.float64), epsilon, 1 - epsilon)
    return float(-np.mean(np.where(labels == 1, np.log(p), np.log1p(-p))))


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive row scores above a negative one, ties half.

    NaN if there is one class only, or a score is NaN.
    """
    scores, labels = _columns(scores, labels)
    if np.isnan(scores).any():
        return float("nan")
    order = np.argsort(scores, kind="stable")
    positive = np.where(labels[order] == 1, 1.0, 0.0)
    return _area(positive, 1 - positive, _tie_starts(scores[order]))


def bayes_auc(probability: np.ndarray) -> float:
    """Expected AUC of the true P(label = 1) ``(n_rows,)`` over all labels that may be drawn from it.

    Each row counts as a positive with its probability and as a negative with the rest. No score can do better.
    """
    order = np.argsort(probability, kind="stable")
    p = np.asarray(probability, np.float64)[order]
    return _area(p, 1 - p, _tie_starts(p))


def _tie_starts(sorted_scores: np.ndarray) -> np.ndarray:
    """Where each group of equal scores begins."""
    return np.flatnonzero(np.r_[True, sorted_scores[1:] != sorted_scores[:-1]])


def _area(positive: np.ndarray, negative: np.ndarray, starts: np.ndarray) -> float:
    """AUC from the positive and negative weight of each row in ascending order of score."""
    positives, negatives = np.add.reduceat(positive, starts), np.add.reduceat(negative, starts)
    below = np.cumsum(negatives) - negatives
    pairs = positives.sum() * negatives.sum()
    return float((positives * (below + 0.5 * negatives)).sum() / pairs) if pairs else float("nan")


def by_request(requests: np.ndarray, *columns: np.ndarray) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Rows grouped by request, requests of one size together, so that metrics are taken over matrices.

    Yields
    ------
    which : positions of these requests among the sorted unique request ids.
    tables : each of `columns` as ``(n_requests, size)``.
    """
    order = np.argsort(requests, kind="stable")
    _, starts, sizes = np.unique(requests[order], return_index=True, return_counts=True)
    for size in np.unique(sizes):
        which = np.flatnonzero(sizes == size)
        rows = order[starts[which][:, None] + np.arange(size)]
        yield which, [np.asarray(column)[rows] for column in columns]


def _per_request(requests: np.ndarray, metric, *columns: np.ndarray) -> np.ndarray:
    values = np.full(len(np.unique(requests)), np.nan)
    for which, tables in by_request(requests, *columns):
        values[which] = metric(*tables)
    return values


def _worth_of_places(score: np.ndarray, worth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order of each request's items, best first, and what their places are worth; tied items share the mean.

    `score` is ``(n_requests, size)``, `worth` ``(size,)`` by place; both results are ``(n_requests, size)`` by place.
    """
    order = np.argsort(-score, axis=1, kind="stable")
    ranked = np.take_along_axis(score, order, axis=1)
    fresh = np.concatenate([np.ones((len(score), 1), bool), ranked[:, 1:] != ranked[:, :-1]], axis=1)
    group = np.cumsum(fresh.ravel()) - 1  # groups of tied items, never across requests
    shared = np.bincount(group, np.tile(worth, len(score))) / np.bincount(group)
    return order, shared[group].reshape(score.shape)


def ndcg(scores: np.ndarray, labels: np.ndarray, requests: np.ndarray, k: int = 10) -> np.ndarray:
    """NDCG@k of each request ``(n_requests,)``, NaN where no item is relevant.

    Gain is the label, discount ``1 / log2(1 + place)``; tied items share the mean of their places' discounts
    (McSherry and Najork 2008), so that a constant score earns what a random order would on average.
    """

    def metric(score: np.ndarray, label: np.ndarray) -> np.ndarray:
        discount = np.where(np.arange(score.shape[1]) < k, 1.0 / np.log2(np.arange(score.shape[1]) + 2.0), 0.0)
        order, worth = _worth_of_places(score, discount)
        gains = np.take_along_axis(label.astype(np.float64), order, axis=1)
        dcg = (gains * worth).sum(axis=1)
        ideal = (-np.sort(-label.astype(np.float64), axis=1) * discount).sum(axis=1)
        return np.divide(dcg, ideal, out=np.full(len(score), np.nan), where=ideal > 0)

    return _per_request(requests, metric, scores, labels)


def auc_by_request(scores: np.ndarray, labels: np.ndarray, requests: np.ndarray) -> np.ndarray:
    """AUC within each request ``(n_requests,)``, NaN where all its labels are equal."""

    def metric(score: np.ndarray, label: np.ndarray) -> np.ndarray:
        above = np.sign(score[:, :, None] - score[:, None, :])
        pair = (label[:, :, None] == 1) & (label[:, None, :] != 1)
        pairs = pair.sum(axis=(1, 2))
        wins = (pair * (above + 1) / 2).sum(axis=(1, 2))
        return np.divide(wins, pairs, out=np.full(len(score), np.nan), where=pairs > 0)

    return _per_request(requests, metric, scores, labels)


def kendall_tau(first: np.ndarray, second: np.ndarray, requests: np.ndarray) -> np.ndarray:
    """Kendall's tau-b between two scores within each request ``(n_requests,)``.

    0 where one of the two is constant, since it orders nothing of what the other orders; NaN where both are.
    """

    def metric(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        i, j = np.triu_indices(a.shape[1], 1)
        x, y = np.sign(a[:, i] - a[:, j]), np.sign(b[:, i] - b[:, j])
        ordered = np.abs(x).sum(axis=1), np.abs(y).sum(axis=1)
        scale = np.sqrt(ordered[0] * ordered[1])
        undefined = np.where(ordered[0] + ordered[1] > 0, 0.0, np.nan)
        return np.divide((x * y).sum(axis=1), scale, out=undefined, where=scale > 0)

    return _per_request(requests, metric, np.asarray(first, np.float64), np.asarray(second, np.float64))


def mean_agreement(utilities: np.ndarray) -> float:
    """Mean Kendall's tau-b over all pairs of rows of ``(n_users, n_items)``: 1 if all users rank alike."""
    users, items = utilities.shape
    i, j = np.triu_indices(users, 1)
    requests = np.repeat(np.arange(len(i)), items)
    return mean_defined(kendall_tau(utilities[i].ravel(), utilities[j].ravel(), requests))


def top_overlap(first: np.ndarray, second: np.ndarray, requests: np.ndarray, k: int = 10) -> np.ndarray:
    """Share of each request's top k items that two scores have in common ``(n_requests,)``; k=1 is the first item.

    k is at most the size of the request. Tied items are in the top k with the probability that a random order gives
    them, of either score by itself: a constant score has in common with any other what chance would have.
    """

    def metric(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        top = min(k, a.shape[1])
        among = []
        for score in (a, b):
            order, worth = _worth_of_places(score, (np.arange(a.shape[1]) < top).astype(np.float64))
            among.append(np.empty(a.shape))
            np.put_along_axis(among[-1], order, worth, axis=1)
        return (among[0] * among[1]).sum(axis=1) / top

    return _per_request(requests, metric, first, second)


def _equal_parts(scores: np.ndarray, bins: int) -> list[np.ndarray]:
    """Rows in `bins` parts of about equal size, by ascending score; tied rows are in one part, empty parts left out."""
    order = np.argsort(scores, kind="stable")
    sizes = [len(part) for part in np.array_split(order, bins)]
    starts = _tie_starts(np.asarray(scores)[order])
    first = np.repeat(starts, np.diff(np.r_[starts, len(order)]))  # place of the first row that is tied with each
    part = np.repeat(np.arange(bins), sizes)[first]
    return np.split(order, np.flatnonzero(np.diff(part)) + 1)


def calibration(scores: np.ndarray, labels: np.ndarray, bins: int = 10):
    """Reliability table of about equally filled bins: DataFrame of mean score, observed rate and rows."""
    import pandas as pd

    parts = _equal_parts(scores, bins)
    return pd.DataFrame(
        {
            "score": [float(np.mean(scores[part], dtype=np.float64)) for part in parts],
            "observed": [float(np.mean(labels[part], dtype=np.float64)) for part in parts],
            "rows": [len(part) for part in parts],
        }
    )


def calibration_error(scores: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: mean distance of score and observed rate over about equally filled bins."""
    table = calibration(scores, labels, bins)
    return float(np.average((table["score"] - table["observed"]).abs(), weights=table["rows"]))


def calibration_shift(scores: np.ndarray, reference: np.ndarray, bins: int = 10) -> float:
    """By how much probabilities move: mean distance of mean score and mean reference, in bins of the reference.

    The paired form of a change of calibration: no label is needed, so that none adds its noise. In the same bins the
    calibration errors of the two cannot differ by more.
    """
    parts = _equal_parts(reference, bins)
    moved = [abs(float(np.mean(scores[part]) - np.mean(reference[part]))) for part in parts]
    return float(np.average(moved, weights=[len(part) for part in parts]))


def logit_slope(scores: np.ndarray, reference: np.ndarray) -> float:
    """By how much the logits of `scores` grow where those of `reference` grow by 1 (least squares).

    Both are clipped to what eight bits can tell from 0 and 1, which keeps a saturated score from deciding it alone. NaN
    if the reference's logits are all alike.
    """
    pair = (np.asarray(s, np.float64).reshape(-1).clip(_EIGHT_BITS, 1 - _EIGHT_BITS) for s in (scores, reference))
    y, x = (np.log(p / (1 - p)) for p in pair)
    x = x - x.mean()
    return float(x @ y / (x @ x)) if x.any() else float("nan")


def summary(scores: np.ndarray, labels: np.ndarray, requests: np.ndarray) -> dict[str, float]:
    """The metrics of one score by name: accuracy, auc, log_loss, request_auc, ndcg_at_10, calibration_error."""
    return {
        "accuracy": accuracy(scores, labels),
        "auc": auc(scores, labels),
        "log_loss": log_loss(scores, labels),
        "request_auc": mean_defined(auc_by_request(scores, labels, requests)),
        "ndcg_at_10": mean_defined(ndcg(scores, labels, requests)),
        "calibration_error": calibration_error(scores, labels),
    }


def mean_defined(values: np.ndarray) -> float:
    """Mean over the requests for which a metric is defined; NaN if there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def placements(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Share of the rows of the other class that each row is on the right side of, ties half: ``(n_rows,) float64``.

    The mean over the rows of either class is the AUC (DeLong, DeLong and Clarke-Pearson 1988). NaN with one class.
    """
    order = np.argsort(scores, kind="stable")
    starts, positive = _tie_starts(np.asarray(scores)[order]), np.asarray(labels)[order] == 1
    positives, negatives = (np.add.reduceat(np.where(part, 1.0, 0.0), starts) for part in (positive, ~positive))
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

    Rows of one cluster are added up before their variance is taken (Obuchowski 1997); Student's t has as many degrees
    of freedom as there are clusters with the rarer label, less one.

    Parameters
    ----------
    placed : `placements` of a score, or the difference of those of two scores of the same rows, ``(n_rows,)``.
    clusters : ids ``(n_rows,)`` of what was drawn independently: requests, or users where they have several.
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
    each = (placed - estimate) * np.where(positive, count / positive.sum(), count / (~positive).sum())
    sums = np.bincount(cluster, each)
    error = np.sqrt((sums**2).sum() / (count * (count - 1)))
    half = _student(telling - 1) * max(error, least_error)
    return float(estimate - half), float(estimate + half)


def mean_interval(values: np.ndarray, clusters: np.ndarray, *, skewed: bool = False) -> tuple[float, float]:
    """95 % interval of the mean of what is defined of `values`, metrics by request or their differences.

    Parameters
    ----------
    values : ``(n_requests,)``, NaN where undefined.
    clusters : ids ``(n_requests,)`` of what was drawn independently.
    skewed : the values lean to one side, as agreements below 1 do: Student's t is corrected for that (Hall 1992). For
        differences around 0, which have heavy tails on both sides, the correction does harm.

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


def share_interval(values: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """95 % interval of a mean of shares between 0 and 1, by request: Wilson's (1927), which does not shrink to nothing.

    Parameters are those of `mean_interval`. Where requests of one cluster go together, they count as fewer.
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
    """The cluster of each request, ``(n_requests,)`` in the order of the sorted request ids, of clusters by row.

    Raises
    ------
    BadInput : rows of one request are in several clusters.
    """
    _, first, request = np.unique(requests, return_index=True, return_inverse=True)
    cluster = np.asarray(clusters)[first]
    if len(wrong := np.flatnonzero(cluster[request] != clusters)):
        raise BadInput(f"request {requests[wrong[0]]} is in several clusters: a cluster holds whole requests")
    return cluster


def _units(values: np.ndarray, clusters: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean of the defined values, and one value a cluster whose mean is that and whose spread tells its error."""
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
