"""Every metric against scikit-learn, scipy or a plain loop, to 1e-12, on random, tied and degenerate input."""

import itertools

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.metrics import accuracy_score, log_loss, ndcg_score, roc_auc_score

from helpers.errors import BadInput
from helpers.evaluation import metrics

TIGHT = {"rtol": 0, "atol": 1e-12}


def _case(kind: str, seed: int):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 30, 60)
    requests = rng.permutation(np.repeat(rng.permutation(1000)[:60], sizes))
    rows = len(requests)
    scores = {
        "random": rng.random(rows),
        "tied": rng.integers(0, 4, rows) / 4,
        "constant": np.full(rows, 0.3),
        "float32": rng.random(rows, dtype=np.float32),
        "extreme": rng.choice([0.0, 1.0, 1e-300, 0.5], rows),
    }[kind]
    return scores, rng.integers(0, 2, rows), requests, rng


CASES = list(itertools.product(["random", "tied", "constant", "float32", "extreme"], range(4)))


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def case(request):
    return _case(*request.param)


def test_accuracy_auc_log_loss(case):
    scores, labels, _, _ = case
    np.testing.assert_allclose(metrics.accuracy(scores, labels), accuracy_score(labels, scores > 0.5), **TIGHT)
    np.testing.assert_allclose(metrics.auc(scores, labels), roc_auc_score(labels, scores), **TIGHT)
    np.testing.assert_allclose(metrics.log_loss(scores, labels), log_loss(labels, scores.astype(np.float64)), **TIGHT)


def test_auc_with_weights_is_auc_of_repeated_rows(case):
    scores, labels, _, rng = case
    weights = rng.integers(0, 4, len(scores))
    repeated = roc_auc_score(np.repeat(labels, weights), np.repeat(scores, weights))
    np.testing.assert_allclose(metrics.auc(scores, labels, weights), repeated, **TIGHT)


def test_bayes_auc_is_the_mean_over_all_labels():
    probability = np.array([0.1, 0.1, 0.5, 0.8, 0.95])
    wins = pairs = 0.0
    for i, j in itertools.product(range(5), repeat=2):
        weight = probability[i] * (1 - probability[j])
        pairs += weight
        wins += weight * ((probability[i] > probability[j]) + 0.5 * (probability[i] == probability[j]))
    np.testing.assert_allclose(metrics.bayes_auc(probability), wins / pairs, **TIGHT)


@pytest.mark.parametrize("k", [1, 3, 10, 100])
def test_ndcg(case, k):
    scores, labels, requests, _ = case
    for value, request in zip(metrics.ndcg(scores, labels, requests, k), np.unique(requests), strict=True):
        mask = requests == request
        if not labels[mask].any():
            assert np.isnan(value), "scikit-learn calls this 0; it is undefined"
        elif mask.sum() == 1:
            assert value == 1.0  # scikit-learn refuses a single item
        else:
            expected = ndcg_score([labels[mask]], [scores[mask].astype(np.float64)], k=k)
            np.testing.assert_allclose(value, expected, **TIGHT)


def test_auc_by_request(case):
    scores, labels, requests, _ = case
    for value, request in zip(metrics.auc_by_request(scores, labels, requests), np.unique(requests), strict=True):
        mask = requests == request
        if len(set(labels[mask])) < 2:
            assert np.isnan(value)
        else:
            np.testing.assert_allclose(value, roc_auc_score(labels[mask], scores[mask]), **TIGHT)


def test_kendall_tau(case):
    scores, _, requests, rng = case
    other = np.where(rng.random(len(scores)) < 0.7, scores, rng.integers(0, 4, len(scores)) / 4)
    for value, request in zip(metrics.kendall_tau(scores, other, requests), np.unique(requests), strict=True):
        mask = requests == request
        expected = kendalltau(scores[mask], other[mask], variant="b").statistic if mask.sum() > 1 else np.nan
        np.testing.assert_allclose(value, expected, **TIGHT)


@pytest.mark.parametrize("k", [1, 10])
def test_top_overlap(case, k):
    scores, _, requests, rng = case
    other = rng.permutation(scores)
    for value, request in zip(metrics.top_overlap(scores, other, requests, k), np.unique(requests), strict=True):
        rows = np.flatnonzero(requests == request)
        tops = [set(sorted(rows, key=lambda row: -s[row])[:k]) for s in (scores, other)]  # noqa: B023
        assert value == len(tops[0] & tops[1]) / min(k, len(rows))


def test_calibration_error_of_known_tables():
    scores = np.repeat([0.1, 0.9], 50)
    assert metrics.calibration_error(scores, (np.arange(100) % 10 == 0).astype(int), bins=2) == pytest.approx(
        0.4, abs=1e-12
    )
    exact = np.concatenate([np.arange(50) < 5, np.arange(50) < 45]).astype(int)
    assert metrics.calibration_error(scores, exact, bins=2) == pytest.approx(0, abs=1e-12)
    assert metrics.calibration(scores, exact, bins=2)["rows"].tolist() == [50, 50]
    assert len(metrics.calibration(scores[:3], exact[:3], bins=10)) == 3, "no empty bins"


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_auc(label):
    labels = np.full(6, label)
    requests = np.zeros(6, int)
    assert np.isnan(metrics.auc(np.arange(6.0), labels))
    assert np.isnan(metrics.summary(np.linspace(0.1, 0.9, 6), labels, requests)["request_auc"])
    assert all(np.isnan(metrics.bootstrap_auc_delta(np.arange(6.0), np.arange(6.0), labels, requests, draws=10)))


def test_perfect_reversed_and_constant_rankings():
    labels = np.tile([1, 1, 0, 0, 0], 3)
    requests = np.repeat([4, 2, 9], 5)
    perfect = np.tile([5.0, 4, 3, 2, 1], 3)
    assert metrics.ndcg(perfect, labels, requests).tolist() == [1, 1, 1]
    assert metrics.auc(perfect, labels) == 1 and metrics.auc(-perfect, labels) == 0
    assert metrics.auc(np.zeros(15), labels) == 0.5
    assert metrics.kendall_tau(perfect, perfect, requests).tolist() == [1, 1, 1]
    assert metrics.kendall_tau(perfect, -perfect, requests).tolist() == [-1, -1, -1]
    assert metrics.mean_agreement(np.array([[3.0, 2, 1], [30.0, 20, 10]])) == 1
    assert metrics.mean_agreement(np.array([[3.0, 2, 1], [1.0, 2, 3]])) == -1


def test_monotone_transform_changes_no_order_metric(case):
    scores, labels, requests, _ = case
    moved = np.sqrt(scores.astype(np.float64))
    assert metrics.auc(moved, labels) == metrics.auc(scores, labels)
    np.testing.assert_array_equal(metrics.ndcg(moved, labels, requests), metrics.ndcg(scores, labels, requests))


def test_bootstrap_of_a_score_against_itself_is_exactly_nothing(case):
    scores, labels, requests, _ = case
    assert metrics.bootstrap_auc_delta(scores, scores, labels, requests, draws=50) == (0, 0)


@pytest.mark.slow
def test_bootstrap_interval_covers_the_difference_as_often_as_it_says():
    """Many samples of one population: the 95 % interval holds the true difference about 95 % of the time."""
    rng = np.random.default_rng(0)

    def draw(requests: int):
        labels = rng.integers(0, 2, requests * 10)
        good = labels + rng.normal(0, 1, len(labels))
        return good + rng.normal(0, 1, len(labels)), good, labels, np.repeat(np.arange(requests), 10)

    worse, good, labels, _ = draw(200_000)
    true = metrics.auc(worse, labels) - metrics.auc(good, labels)
    intervals = [metrics.bootstrap_auc_delta(*draw(60), draws=200, seed=i) for i in range(200)]
    covered = np.mean([low <= true <= high for low, high in intervals])
    assert 0.88 <= covered <= 0.99  # binomial, 200 trials: sd 0.015, and 60 requests are few for a percentile interval


def test_shapes_that_numpy_would_broadcast_are_taken_or_refused():
    labels = np.array([0, 1, 1, 0])
    column = np.array([[0.1], [0.9], [0.8], [0.2]])
    assert metrics.accuracy(column, labels) == metrics.auc(column, labels) == 1.0
    np.testing.assert_allclose(metrics.log_loss(column, labels), log_loss(labels, column[:, 0]), **TIGHT)
    for scores, bad in ((column[:3, 0], labels), (column.T, labels), (column[:0, 0], labels[:0]), (column, labels * 2)):
        for metric in (metrics.accuracy, metrics.log_loss, metrics.auc):
            with pytest.raises(BadInput):
                metric(scores, bad)


def test_auc_of_a_score_that_is_not_a_number_is_none():
    assert np.isnan(metrics.auc(np.array([0.1, np.nan, 0.3]), np.array([0, 1, 1])))
