"""Every metric against scikit-learn, scipy or a plain loop, to 1e-12, on random, tied and
degenerate input.
"""

import itertools

import numpy as np
import pytest
import scipy.stats
from scipy.stats import kendalltau
from sklearn.metrics import accuracy_score, log_loss, ndcg_score, roc_auc_score

from helpers.errors import BadInput
from helpers.metrics import intervals
from helpers.metrics import ranking as metrics

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
    np.testing.assert_allclose(
        metrics.accuracy(scores, labels), accuracy_score(labels, scores > 0.5), **TIGHT
    )
    np.testing.assert_allclose(metrics.auc(scores, labels), roc_auc_score(labels, scores), **TIGHT)
    np.testing.assert_allclose(
        metrics.log_loss(scores, labels), log_loss(labels, scores.astype(np.float64)), **TIGHT
    )


def test_bayes_auc_is_the_mean_over_all_labels():
    probability = np.array([0.1, 0.1, 0.5, 0.8, 0.95])
    wins = pairs = 0.0
    for i, j in itertools.product(range(5), repeat=2):
        weight = probability[i] * (1 - probability[j])
        pairs += weight
        wins += weight * (
            (probability[i] > probability[j]) + 0.5 * (probability[i] == probability[j])
        )
    np.testing.assert_allclose(metrics.bayes_auc(probability), wins / pairs, **TIGHT)


@pytest.mark.parametrize("k", [1, 3, 10, 100])
def test_ndcg(case, k):
    scores, labels, requests, _ = case
    for value, request in zip(
        metrics.ndcg(scores, labels, requests, k), np.unique(requests), strict=True
    ):
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
    for value, request in zip(
        metrics.auc_by_request(scores, labels, requests), np.unique(requests), strict=True
    ):
        mask = requests == request
        if len(set(labels[mask])) < 2:
            assert np.isnan(value)
        else:
            np.testing.assert_allclose(value, roc_auc_score(labels[mask], scores[mask]), **TIGHT)


def test_kendall_tau(case):
    scores, _, requests, rng = case
    other = np.where(rng.random(len(scores)) < 0.7, scores, rng.integers(0, 4, len(scores)) / 4)
    for value, request in zip(
        metrics.kendall_tau(scores, other, requests), np.unique(requests), strict=True
    ):
        mask = requests == request
        constant = [len(set(score[mask])) == 1 for score in (scores, other)]
        expected = (
            kendalltau(scores[mask], other[mask], variant="b").statistic
            if not any(constant)
            else 0.0
        )
        expected = np.nan if all(constant) else expected
        np.testing.assert_allclose(value, expected, **TIGHT)


@pytest.mark.parametrize("k", [1, 10])
def test_top_overlap(case, k):
    scores, _, requests, rng = case
    scores = scores + 1e-9 * rng.permutation(len(scores))  # no ties
    other = rng.permutation(scores)
    for value, request in zip(
        metrics.top_overlap(scores, other, requests, k), np.unique(requests), strict=True
    ):
        rows = np.flatnonzero(requests == request)
        tops = [set(sorted(rows, key=lambda row: -s[row])[:k]) for s in (scores, other)]  # noqa: B023
        assert value == len(tops[0] & tops[1]) / min(k, len(rows))


def test_top_overlap_of_ties_is_what_random_orders_have_on_average():
    rng = np.random.default_rng(0)
    scores, other = np.array([3.0, 2, 2, 2, 1, 1]), np.array([1.0, 5, 5, 0, 0, 2])
    found = []
    for _ in range(4000):
        tops = [set(np.lexsort((rng.random(6), -score))[:3]) for score in (scores, other)]
        found.append(len(tops[0] & tops[1]) / 3)
    deviation = np.std(found) / np.sqrt(len(found))
    (value,) = metrics.top_overlap(scores, other, np.zeros(6, int), 3)
    assert abs(value - np.mean(found)) < 4 * deviation


def test_a_constant_score_agrees_by_chance_whatever_the_order_of_rows():
    order = np.tile(np.arange(20.0)[::-1], 30)  # rows stand in the reference's order
    requests = np.repeat(np.arange(30), 20)
    assert metrics.top_overlap(np.zeros(600), order, requests).mean() == pytest.approx(0.5)
    assert metrics.top_overlap(np.zeros(600), order, requests, 1).mean() == pytest.approx(1 / 20)
    mostly = np.where(requests < 28, 0.0, order)
    assert metrics.mean_defined(metrics.kendall_tau(mostly, order, requests)) == pytest.approx(
        2 / 30
    )
    assert np.isnan(metrics.kendall_tau(np.zeros(600), np.zeros(600), requests)).all()


def test_nothing_depends_on_the_order_of_rows():
    rng = np.random.default_rng(1)
    scores, reference = (rng.integers(0, 5, 400) / 5 for _ in range(2))
    labels, requests = (rng.random(400) < 0.3).astype(int), np.repeat(np.arange(20), 20)
    turned = rng.permutation(400)
    for metric in (
        lambda p: metrics.calibration_error(scores[p], labels[p]),
        lambda p: metrics.calibration_shift(scores[p], reference[p]),
        lambda p: metrics.mean_defined(metrics.ndcg(scores[p], labels[p], requests[p])),
        lambda p: metrics.mean_defined(metrics.kendall_tau(scores[p], reference[p], requests[p])),
        lambda p: metrics.mean_defined(metrics.top_overlap(scores[p], reference[p], requests[p])),
        lambda p: intervals.auc_interval(
            intervals.placements(scores[p], labels[p]), labels[p], requests[p]
        )[0],
    ):
        assert metric(np.arange(400)) == pytest.approx(metric(turned), abs=1e-12)


def test_calibration_shift_by_a_loop():
    rng = np.random.default_rng(2)
    reference = rng.random(1000)
    scores = reference + 0.06 + 0.2 * (reference > 0.5) * (rng.random(1000) - 0.5)
    ranked = sorted(range(1000), key=lambda row: reference[row])
    parts = [ranked[i : i + 100] for i in range(0, 1000, 100)]
    expected = (
        sum(abs(sum(scores[row] - reference[row] for row in part) / 100) for part in parts) / 10
    )
    assert metrics.calibration_shift(scores, reference) == pytest.approx(expected, abs=1e-12)
    assert metrics.calibration_shift(reference, reference) == 0


def test_calibration_error_of_known_tables():
    scores = np.repeat([0.1, 0.9], 50)
    assert metrics.calibration_error(
        scores, (np.arange(100) % 10 == 0).astype(int), bins=2
    ) == pytest.approx(0.4, abs=1e-12)
    exact = np.concatenate([np.arange(50) < 5, np.arange(50) < 45]).astype(int)
    assert metrics.calibration_error(scores, exact, bins=2) == pytest.approx(0, abs=1e-12)
    assert metrics.calibration(scores, exact, bins=2)["rows"].tolist() == [50, 50]
    assert len(metrics.calibration(np.arange(3), exact[:3], bins=10)) == 3, "no empty bins"
    assert len(metrics.calibration(scores, exact, bins=10)) == 2, "tied rows are in one bin"


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_auc(label):
    labels = np.full(6, label)
    requests = np.zeros(6, int)
    assert np.isnan(metrics.auc(np.arange(6.0), labels))
    assert np.isnan(metrics.summary(np.linspace(0.1, 0.9, 6), labels, requests)["request_auc"])
    assert all(
        np.isnan(
            intervals.auc_interval(
                intervals.placements(np.arange(6.0), labels), labels, np.arange(6)
            )
        )
    )


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
    np.testing.assert_array_equal(
        metrics.ndcg(moved, labels, requests), metrics.ndcg(scores, labels, requests)
    )


def test_placements_are_shares_of_the_other_class(case):
    scores, labels, _, _ = case
    placed = intervals.placements(scores, labels)
    for row in range(0, len(scores), 7):
        others = scores[labels != labels[row]]
        above = others < scores[row] if labels[row] == 1 else others > scores[row]
        np.testing.assert_allclose(
            placed[row], above.mean() + 0.5 * (others == scores[row]).mean(), **TIGHT
        )
    for label in (0, 1):
        np.testing.assert_allclose(
            placed[labels == label].mean(), roc_auc_score(labels, scores), **TIGHT
        )


def test_auc_interval_of_rows_by_themselves_is_that_of_delong():
    """Their covariance matrix, by scipy, of a paired difference; it divides by class, ours by
    cluster.
    """
    rng = np.random.default_rng(3)
    labels = (rng.random(3000) < 0.4).astype(int)
    first = labels + rng.normal(0, 1, 3000)
    second = first + rng.normal(0, 0.5, 3000)
    placed = intervals.placements(second, labels) - intervals.placements(first, labels)
    low, high = intervals.auc_interval(placed, labels, np.arange(3000))
    error = np.sqrt(
        sum(placed[labels == label].var(ddof=1) / (labels == label).sum() for label in (0, 1))
    )
    assert (high - low) / 2 == pytest.approx(
        scipy.stats.t.ppf(0.975, labels.sum() - 1) * error, rel=2e-3
    )


def test_auc_interval_of_clusters_is_that_of_leaving_each_out():
    """The jackknife takes a cluster away for real; the closed form is its linear part."""
    rng = np.random.default_rng(4)
    user = np.repeat(np.arange(60), 30)
    labels = (rng.random(1800) < 0.3).astype(int)
    first = labels + rng.normal(0, 1, 1800)
    second = first + rng.normal(0, 1, 60)[user] + rng.normal(0, 0.3, 1800)
    placed = intervals.placements(second, labels) - intervals.placements(first, labels)
    low, high = intervals.auc_interval(placed, labels, user)
    without = [
        metrics.auc(second[user != u], labels[user != u])
        - metrics.auc(first[user != u], labels[user != u])
        for u in range(60)
    ]
    error = np.sqrt(59 / 60 * ((without - np.mean(without)) ** 2).sum())
    assert (high - low) / 2 == pytest.approx(scipy.stats.t.ppf(0.975, 59) * error, rel=0.02)
    alone = intervals.auc_interval(placed, labels, np.arange(1800))
    assert high - low > 1.4 * (alone[1] - alone[0]), (
        "rows of one user that err together count as fewer"
    )


def test_mean_interval_is_students_and_hall_moves_it_to_the_longer_side():
    rng = np.random.default_rng(5)
    values = 1 - rng.exponential(0.1, 40)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose(intervals.mean_interval(values, np.arange(40)), expected, **TIGHT)
    with_undefined = np.r_[values, np.nan]
    assert intervals.mean_interval(with_undefined, np.arange(41)) == intervals.mean_interval(
        values, np.arange(40)
    )
    low, high = intervals.mean_interval(values, np.arange(40), skewed=True)
    assert low < expected.low and high < expected.high
    by_user = intervals.mean_interval(values.repeat(4), np.arange(40).repeat(4))
    np.testing.assert_allclose(
        by_user, expected, **TIGHT, err_msg="a value given four times tells no more"
    )
    assert intervals.mean_interval(np.zeros(9), np.arange(9)) == (0, 0)
    assert np.isnan(intervals.mean_interval(values[:4], np.arange(4))).all()


def test_share_interval_is_wilsons():
    values = (np.arange(200) < 170).astype(float)
    expected = scipy.stats.binomtest(170, 200).proportion_ci(method="wilson")
    np.testing.assert_allclose(
        intervals.share_interval(values, np.arange(200)), expected, atol=1e-3
    )
    low, high = intervals.share_interval(np.ones(10), np.arange(10))
    assert high == 1 and 0.6 < low < 0.75, "ten of ten are not certainty"
    users = intervals.share_interval(values, np.arange(200) // 10)
    assert users[1] - users[0] > 2 * (expected.high - expected.low), (
        "users who agree or not as a whole"
    )


def test_a_cluster_holds_whole_requests():
    requests = np.repeat(np.arange(4), 3)
    np.testing.assert_array_equal(
        intervals.clusters_of_requests(requests, requests // 2), [0, 0, 1, 1]
    )
    with pytest.raises(BadInput, match="request 1 is in several clusters"):
        intervals.clusters_of_requests(requests, np.arange(12) // 4)


def test_shapes_that_numpy_would_broadcast_are_taken_or_refused():
    labels = np.array([0, 1, 1, 0])
    column = np.array([[0.1], [0.9], [0.8], [0.2]])
    assert metrics.accuracy(column, labels) == metrics.auc(column, labels) == 1.0
    np.testing.assert_allclose(
        metrics.log_loss(column, labels), log_loss(labels, column[:, 0]), **TIGHT
    )
    for scores, bad in (
        (column[:3, 0], labels),
        (column.T, labels),
        (column[:0, 0], labels[:0]),
        (column, labels * 2),
    ):
        for metric in (metrics.accuracy, metrics.log_loss, metrics.auc):
            with pytest.raises(BadInput):
                metric(scores, bad)


def test_auc_of_a_score_that_is_not_a_number_is_none():
    assert np.isnan(metrics.auc(np.array([0.1, np.nan, 0.3]), np.array([0, 1, 1])))


@pytest.mark.parametrize("ties", [False, True])
def test_long_requests_are_sorted_and_agree_with_all_pairs(monkeypatch, ties):
    rng = np.random.default_rng(5)
    first = rng.random(3000).round(2 if ties else 9)
    second = (first + rng.normal(0, 0.1, 3000)).round(2 if ties else 9)
    requests = np.repeat([0, 1, 2, 3], 750)
    second[requests == 2] = 0.5
    first[requests == 3] = second[requests == 3] = 0.1
    sorted_ = metrics.kendall_tau(first, second, requests)
    monkeypatch.setattr(metrics, "_MOST_PAIRED", 1000)
    pairs = metrics.kendall_tau(first, second, requests)
    np.testing.assert_allclose(sorted_, pairs, rtol=0, atol=1e-12, equal_nan=True)
    assert sorted_[2] == 0 and np.isnan(sorted_[3])
