"""Ranking metrics over scores, labels and requests, in NumPy.

They are written here, and held against scikit-learn and scipy in the tests, because every comparison needs them
many thousand times (paired bootstrap) and by request. All take float scores ``(n_rows,)``, labels
``(n_rows,)`` of 0 and 1 and, where they are taken by request, request ids ``(n_rows,)``. Tied scores count half
or share their places; what is undefined is NaN: AUC with one class, NDCG without a relevant item.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from helpers.errors import BadInput

CHANCE_AUC = 0.55
"""What counts as chance: every ranking problem worth a model passes this AUC."""
_EIGHT_BITS = 1 / 512
"""Half a step of a score of eight bits."""


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


def auc(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Area under the ROC curve: the chance that a positive row scores above a negative one, ties half.

    `weights` counts each row that many times, for the bootstrap. NaN if one class has no weight, or a score is NaN.
    """
    scores, labels = _columns(scores, labels)
    if np.isnan(scores).any():
        return float("nan")
    order = np.argsort(scores, kind="stable")
    return _auc_sorted(_tie_starts(np.asarray(scores)[order]), np.asarray(labels)[order] == 1, order, weights)


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


def _auc_sorted(starts: np.ndarray, positive: np.ndarray, order: np.ndarray, weights: np.ndarray | None) -> float:
    weight = np.ones(len(order)) if weights is None else np.asarray(weights, np.float64)[order]
    return _area(np.where(positive, weight, 0.0), np.where(positive, 0.0, weight), starts)


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


def ndcg(scores: np.ndarray, labels: np.ndarray, requests: np.ndarray, k: int = 10) -> np.ndarray:
    """NDCG@k of each request ``(n_requests,)``, NaN where no item is relevant.

    Gain is the label, discount ``1 / log2(1 + place)``; tied items share the mean of their places' discounts
    (McSherry and Najork 2008), so that a constant score earns what a random order would on average.
    """

    def metric(score: np.ndarray, label: np.ndarray) -> np.ndarray:
        size = score.shape[1]
        discount = np.where(np.arange(size) < k, 1.0 / np.log2(np.arange(size) + 2.0), 0.0)
        order = np.argsort(-score, axis=1, kind="stable")
        ranked = np.take_along_axis(score, order, axis=1)
        gains = np.take_along_axis(label.astype(np.float64), order, axis=1)
        fresh = np.concatenate([np.ones((len(score), 1), bool), ranked[:, 1:] != ranked[:, :-1]], axis=1)
        group = np.cumsum(fresh.ravel()) - 1  # groups of tied items, never across requests
        shared = np.bincount(group, np.tile(discount, len(score))) / np.bincount(group)
        dcg = (gains * shared[group].reshape(gains.shape)).sum(axis=1)
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
    """Kendall's tau-b between two scores within each request ``(n_requests,)``, NaN where one is constant."""

    def metric(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        i, j = np.triu_indices(a.shape[1], 1)
        x, y = np.sign(a[:, i] - a[:, j]), np.sign(b[:, i] - b[:, j])
        scale = np.sqrt(np.abs(x).sum(axis=1) * np.abs(y).sum(axis=1))
        return np.divide((x * y).sum(axis=1), scale, out=np.full(len(a), np.nan), where=scale > 0)

    return _per_request(requests, metric, np.asarray(first, np.float64), np.asarray(second, np.float64))


def mean_agreement(utilities: np.ndarray) -> float:
    """Mean Kendall's tau-b over all pairs of rows of ``(n_users, n_items)``: 1 if all users rank alike."""
    users, items = utilities.shape
    i, j = np.triu_indices(users, 1)
    requests = np.repeat(np.arange(len(i)), items)
    return mean_defined(kendall_tau(utilities[i].ravel(), utilities[j].ravel(), requests))


def top_overlap(first: np.ndarray, second: np.ndarray, requests: np.ndarray, k: int = 10) -> np.ndarray:
    """Share of each request's top k items that two scores have in common ``(n_requests,)``.

    k is at most the size of the request; ties keep the order of the rows, as an app's stable sort does.
    """

    def metric(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        top = min(k, a.shape[1])
        chosen = [np.zeros(a.shape, bool) for _ in range(2)]
        for mask, score in zip(chosen, (a, b), strict=True):
            np.put_along_axis(mask, np.argsort(-score, axis=1, kind="stable")[:, :top], True, axis=1)
        return (chosen[0] & chosen[1]).sum(axis=1) / top

    return _per_request(requests, metric, first, second)


def calibration(scores: np.ndarray, labels: np.ndarray, bins: int = 10):
    """Reliability table of equally filled bins: DataFrame of mean score, observed rate and rows."""
    import pandas as pd

    order = np.argsort(scores, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return pd.DataFrame(
        {
            "score": [float(np.mean(scores[part], dtype=np.float64)) for part in parts],
            "observed": [float(np.mean(labels[part], dtype=np.float64)) for part in parts],
            "rows": [len(part) for part in parts],
        }
    )


def calibration_error(scores: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error: mean distance of score and observed rate over equally filled bins."""
    table = calibration(scores, labels, bins)
    return float(np.average((table["score"] - table["observed"]).abs(), weights=table["rows"]))


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


def bootstrap_aucs(
    scores: np.ndarray, labels: np.ndarray, requests: np.ndarray, *, draws: int = 1000, seed: int = 0
) -> np.ndarray:
    """AUC of `draws` samples of whole requests, drawn with replacement: ``(draws,)``, the same samples for one seed."""
    _, group = np.unique(requests, return_inverse=True)
    order = np.argsort(scores, kind="stable")
    starts, positive = _tie_starts(np.asarray(scores)[order]), labels[order] == 1
    rng = np.random.default_rng(seed)
    count = group.max() + 1
    result = np.empty(draws)
    for i in range(draws):
        weights = np.bincount(rng.integers(0, count, count), minlength=count)[group]
        result[i] = _auc_sorted(starts, positive, order, weights)
    return result


def bootstrap_auc_delta(
    scores: np.ndarray,
    reference: np.ndarray,
    labels: np.ndarray,
    requests: np.ndarray,
    *,
    draws: int = 1000,
    seed: int = 0,
    reference_aucs: np.ndarray | None = None,
) -> tuple[float, float]:
    """95 % interval of ``auc(scores) - auc(reference)``: paired percentile bootstrap over whole requests.

    Requests are drawn with replacement and both scores are judged on the same draw, so that what they share
    cancels (Efron and Tibshirani 1993, chapter 13). `reference_aucs` are the reference's `bootstrap_aucs`, for
    those who judge many scores against it.
    """
    drawn = {"draws": draws, "seed": seed}
    if reference_aucs is None:
        reference_aucs = bootstrap_aucs(reference, labels, requests, **drawn)
    deltas = bootstrap_aucs(scores, labels, requests, **drawn) - reference_aucs
    deltas = deltas[~np.isnan(deltas)]
    if not len(deltas):
        return float("nan"), float("nan")
    low, high = np.quantile(deltas, [0.025, 0.975])
    return float(low), float(high)


def bootstrap_mean_delta(
    values: np.ndarray, reference: np.ndarray, *, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the mean of ``values - reference``, metrics by request ``(n_requests,)``, NDCG for example.

    Paired percentile bootstrap over requests, as `bootstrap_auc_delta`; requests where either is NaN are left out.
    """
    difference = np.asarray(values, np.float64) - reference
    difference = difference[~np.isnan(difference)]
    if not len(difference):
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = [difference[rng.integers(0, len(difference), len(difference))].mean() for _ in range(draws)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
