"""Ranking metrics over scores, labels and requests, in NumPy.

They are written here, and held against scikit-learn and scipy in the tests, because every
comparison needs them by request. All take float scores ``(n_rows,)``, labels ``(n_rows,)`` of 0 and
1 and, where they are taken by request, request ids ``(n_rows,)``. Tied scores count half or share
their places, so that nothing depends on the order of the rows; what is undefined is NaN: AUC with
one class, NDCG without a relevant item.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from helpers.errors import BadInput

CHANCE_AUC = 0.55
"""What counts as chance: every ranking problem worth a model passes this AUC."""
_MOST_PAIRED = 128
"""Items of a request whose pairs are looked at one by one, many requests at a time."""
_EIGHT_BITS = 1 / 512
"""Half a step of a score of eight bits."""


def _paired(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.shape == (len(labels), 1):
        scores = scores[:, 0]
    if scores.shape != labels.shape or labels.ndim != 1 or not len(labels):
        raise BadInput(
            f"metrics take one score a label, not scores {scores.shape} for labels {labels.shape}"
        )
    return scores, labels


def _columns(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels as ``(n_rows,)``; refuses what NumPy would silently broadcast, and labels
    but 0 and 1.
    """
    scores, labels = _paired(scores, labels)
    if not np.isin(labels, (0, 1)).all():
        raise BadInput(f"labels must be 0 or 1, not {labels[~np.isin(labels, (0, 1))][0]!r}")
    return scores, labels


def right(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which rows are on the right side of 0.5 (a score of exactly 0.5 counts as 0, as in Keras)."""
    scores, labels = _columns(scores, labels)
    return (scores > 0.5) == (labels == 1)


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows on the right side of 0.5."""
    return float(right(scores, labels).mean())


def log_loss(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log likelihood in nats; scores are clipped by the float64 epsilon, as
    scikit-learn does.
    """
    scores, labels = _columns(scores, labels)
    epsilon = np.finfo(np.float64).eps
    p = np.clip(np.asarray(scores, np.float64), epsilon, 1 - epsilon)
    return float(-np.mean(np.where(labels == 1, np.log(p), np.log1p(-p))))


def auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve: the chance that a positive row scores above a negative one, ties
    half.

    NaN if there is one class only, or a score is NaN.
    """
    scores, labels = _columns(scores, labels)
    if np.isnan(scores).any():
        return float("nan")
    order = np.argsort(scores, kind="stable")
    positive = np.where(labels[order] == 1, 1.0, 0.0)
    return _area(positive, 1 - positive, tie_starts(scores[order]))


def bayes_auc(probability: np.ndarray) -> float:
    """Expected AUC of the true P(label = 1) ``(n_rows,)`` over all labels that may be drawn from
    it.

    Each row counts as a positive with its probability and as a negative with the rest. No score can
    do better.
    """
    order = np.argsort(probability, kind="stable")
    p = np.asarray(probability, np.float64)[order]
    return _area(p, 1 - p, tie_starts(p))


def tie_starts(sorted_scores: np.ndarray) -> np.ndarray:
    """Where each group of equal scores begins."""
    return np.flatnonzero(np.r_[True, sorted_scores[1:] != sorted_scores[:-1]])


def _area(positive: np.ndarray, negative: np.ndarray, starts: np.ndarray) -> float:
    """AUC from the positive and negative weight of each row in ascending order of score."""
    positives, negatives = np.add.reduceat(positive, starts), np.add.reduceat(negative, starts)
    below = np.cumsum(negatives) - negatives
    pairs = positives.sum() * negatives.sum()
    return float((positives * (below + 0.5 * negatives)).sum() / pairs) if pairs else float("nan")


def by_request(
    requests: np.ndarray, *columns: np.ndarray
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Rows grouped by request, requests of one size together, so that metrics are taken over
    matrices.

    Yields
    ------
    which : positions of these requests among the sorted unique request ids.
    tables : each of `columns` as ``(n_requests, size)``.
    """
    columns = tuple(np.asarray(column) for column in columns)
    if wrong := [column.shape for column in columns if column.shape != requests.shape]:
        raise BadInput(
            f"metrics by request take one value a row, not {wrong[0]} for requests {requests.shape}"
        )
    order = np.argsort(requests, kind="stable")
    _, starts, sizes = np.unique(requests[order], return_index=True, return_counts=True)
    for size in np.unique(sizes):
        which = np.flatnonzero(sizes == size)
        rows = order[starts[which][:, None] + np.arange(size)]
        yield which, [column[rows] for column in columns]


def _per_request(requests: np.ndarray, metric, *columns: np.ndarray) -> np.ndarray:
    values = np.full(len(np.unique(requests)), np.nan)
    for which, tables in by_request(requests, *columns):
        values[which] = metric(*tables)
    return values


def _worth_of_places(score: np.ndarray, worth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order of each request's items, best first, and what their places are worth; tied items share
    the mean.

    `score` is ``(n_requests, size)``, `worth` ``(size,)`` by place; both results are ``(n_requests,
    size)`` by place.
    """
    order = np.argsort(-score, axis=1, kind="stable")
    ranked = np.take_along_axis(score, order, axis=1)
    fresh = np.concatenate(
        [np.ones((len(score), 1), bool), ranked[:, 1:] != ranked[:, :-1]], axis=1
    )
    group = np.cumsum(fresh.ravel()) - 1  # groups of tied items, never across requests
    shared = np.bincount(group, np.tile(worth, len(score))) / np.bincount(group)
    return order, shared[group].reshape(score.shape)


def ndcg(scores: np.ndarray, labels: np.ndarray, requests: np.ndarray, k: int = 10) -> np.ndarray:
    """NDCG@k of each request ``(n_requests,)``, NaN where no item is relevant.

    Gain is the label, discount ``1 / log2(1 + place)``; tied items share the mean of their places'
    discounts (McSherry and Najork 2008), so that a constant score earns what a random order would
    on average.
    """

    def metric(score: np.ndarray, label: np.ndarray) -> np.ndarray:
        discount = np.where(
            np.arange(score.shape[1]) < k, 1.0 / np.log2(np.arange(score.shape[1]) + 2.0), 0.0
        )
        order, worth = _worth_of_places(score, discount)
        gains = np.take_along_axis(label.astype(np.float64), order, axis=1)
        dcg = (gains * worth).sum(axis=1)
        ideal = (-np.sort(-label.astype(np.float64), axis=1) * discount).sum(axis=1)
        return np.divide(dcg, ideal, out=np.full(len(score), np.nan), where=ideal > 0)

    return _per_request(requests, metric, scores, labels)


def auc_by_request(scores: np.ndarray, labels: np.ndarray, requests: np.ndarray) -> np.ndarray:
    """AUC within each request ``(n_requests,)``, NaN where all its labels are equal."""

    def metric(score: np.ndarray, label: np.ndarray) -> np.ndarray:
        from scipy.stats import rankdata

        positive = label == 1
        count = positive.sum(axis=1)
        pairs = count * (label.shape[1] - count)
        places = (rankdata(score, axis=1) * positive).sum(axis=1)  # tied items share theirs
        wins = places - count * (count + 1) / 2
        return np.divide(wins, pairs, out=np.full(len(score), np.nan), where=pairs > 0)

    return _per_request(requests, metric, scores, labels)


def kendall_tau(first: np.ndarray, second: np.ndarray, requests: np.ndarray) -> np.ndarray:
    """Kendall's tau-b between two scores within each request ``(n_requests,)``.

    0 where one of the two is constant, since it orders nothing of what the other orders; NaN where
    both are.
    """

    def metric(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        if a.shape[1] > _MOST_PAIRED:
            return np.array([_long_tau(*pair) for pair in zip(a, b, strict=True)])
        i, j = np.triu_indices(a.shape[1], 1)
        x, y = np.sign(a[:, i] - a[:, j]), np.sign(b[:, i] - b[:, j])
        ordered = np.abs(x).sum(axis=1), np.abs(y).sum(axis=1)
        scale = np.sqrt(ordered[0] * ordered[1])
        undefined = np.where(ordered[0] + ordered[1] > 0, 0.0, np.nan)
        return np.divide((x * y).sum(axis=1), scale, out=undefined, where=scale > 0)

    return _per_request(
        requests, metric, np.asarray(first, np.float64), np.asarray(second, np.float64)
    )


def _long_tau(a: np.ndarray, b: np.ndarray) -> float:
    """Tau-b of two scores of many items, in the time that sorting takes."""
    from scipy.stats import kendalltau

    constant = [bool((score == score[0]).all()) for score in (a, b)]
    if any(constant):
        return float("nan") if all(constant) else 0.0
    return float(kendalltau(a, b, method="asymptotic").statistic)


def mean_agreement(utilities: np.ndarray) -> float:
    """Mean Kendall's tau-b over all pairs of rows of ``(n_users, n_items)``: 1 if all users rank
    alike.
    """
    users, items = utilities.shape
    i, j = np.triu_indices(users, 1)
    requests = np.repeat(np.arange(len(i)), items)
    return mean_defined(kendall_tau(utilities[i].ravel(), utilities[j].ravel(), requests))


def top_overlap(
    first: np.ndarray, second: np.ndarray, requests: np.ndarray, k: int = 10
) -> np.ndarray:
    """Share of each request's top k items that two scores have in common ``(n_requests,)``; k=1 is
    the first item.

    k is at most the size of the request. Tied items are in the top k with the probability that a
    random order gives them, of either score by itself: a constant score has in common with any
    other what chance would have.
    """

    def metric(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (top_shares(a, k) * top_shares(b, k)).sum(axis=1) / min(k, a.shape[1])

    return _per_request(requests, metric, first, second)


def top_shares(scores: np.ndarray, k: int) -> np.ndarray:
    """How probably each item of a row is among its k highest, if ties are broken at random.

    `scores` and the result are ``(n_rows, n_items)``; k is at most the number of items.
    """
    order, worth = _worth_of_places(scores, (np.arange(scores.shape[1]) < k).astype(np.float64))
    shares = np.empty(scores.shape)
    np.put_along_axis(shares, order, worth, axis=1)
    return shares


def _equal_parts(scores: np.ndarray, bins: int) -> list[np.ndarray]:
    """Rows in `bins` parts of about equal size, by ascending score; tied rows are in one part,
    empty parts left out.
    """
    order = np.argsort(scores, kind="stable")
    sizes = [len(part) for part in np.array_split(order, bins)]
    starts = tie_starts(np.asarray(scores)[order])
    first = np.repeat(
        starts, np.diff(np.r_[starts, len(order)])
    )  # place of the first row that is tied with each
    part = np.repeat(np.arange(bins), sizes)[first]
    return np.split(order, np.flatnonzero(np.diff(part)) + 1)


def calibration(scores: np.ndarray, labels: np.ndarray, bins: int = 10):
    """Reliability table of about equally filled bins: DataFrame of mean score, observed rate and
    rows.

    A label may be a chance, too: of what is tied.
    """
    import pandas as pd

    scores, labels = _paired(scores, labels)
    parts = _equal_parts(scores, bins)
    return pd.DataFrame(
        {
            "score": [float(np.mean(scores[part], dtype=np.float64)) for part in parts],
            "observed": [float(np.mean(labels[part], dtype=np.float64)) for part in parts],
            "rows": [len(part) for part in parts],
        }
    )


def calibration_error(scores: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: mean distance of score and observed rate over about equally
    filled bins.
    """
    table = calibration(scores, labels, bins)
    return float(np.average((table["score"] - table["observed"]).abs(), weights=table["rows"]))


def calibration_shift(scores: np.ndarray, reference: np.ndarray, bins: int = 10) -> float:
    """By how much probabilities move: mean distance of mean score and mean reference, in bins of
    the reference.

    The paired form of a change of calibration: no label is needed, so that none adds its noise. In
    the same bins the calibration errors of the two cannot differ by more.
    """
    parts = _equal_parts(reference, bins)
    moved = [abs(float(np.mean(scores[part]) - np.mean(reference[part]))) for part in parts]
    return float(np.average(moved, weights=[len(part) for part in parts]))


def logit_slope(scores: np.ndarray, reference: np.ndarray) -> float:
    """By how much the logits of `scores` grow where those of `reference` grow by 1 (least squares).

    Both are clipped to what eight bits can tell from 0 and 1, which keeps a saturated score from
    deciding it alone. NaN if the reference's logits are all alike.
    """
    pair = (
        np.asarray(s, np.float64).reshape(-1).clip(_EIGHT_BITS, 1 - _EIGHT_BITS)
        for s in (scores, reference)
    )
    y, x = (np.log(p / (1 - p)) for p in pair)
    x = x - x.mean()
    return float(x @ y / (x @ x)) if x.any() else float("nan")


def summary(scores: np.ndarray, labels: np.ndarray, requests: np.ndarray) -> dict[str, float]:
    """The metrics of one score by name: accuracy, auc, log_loss, request_auc, ndcg_at_10,
    calibration_error.
    """
    scores, labels = _columns(scores, labels)
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
