"""Metrics of classes against scikit-learn and plain loops, on random, tied and degenerate input."""

import itertools

import numpy as np
import pytest
from sklearn import metrics as sk

from helpers.errors import BadInput
from helpers.metrics import classification as metrics
from helpers.metrics import intervals

TIGHT = {"rtol": 0, "atol": 1e-12}


@pytest.fixture(params=itertools.product((2, 4, 10), (0, 1)), ids=str)
def case(request):
    classes, seed = request.param
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, 500)
    labels[:classes] = np.arange(classes)
    logits = rng.normal(size=(500, classes)) + 2 * np.eye(classes)[labels]
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), labels


def test_accuracies_log_loss_and_recalls(case):
    p, labels = case
    classes = p.shape[1]
    assert metrics.top_k(p, labels).mean() == sk.accuracy_score(labels, p.argmax(axis=1))
    if classes > 3:
        expected = sk.top_k_accuracy_score(labels, p, k=3)
        np.testing.assert_allclose(metrics.top_k(p, labels, 3).mean(), expected, **TIGHT)
    np.testing.assert_allclose(metrics.log_loss(p, labels), sk.log_loss(labels, p), **TIGHT)
    expected = sk.recall_score(labels, p.argmax(axis=1), average=None)
    np.testing.assert_allclose(metrics.recalls(p, labels), expected, **TIGHT)
    found = metrics.summary(p, labels)
    assert found["lowest_recall"] == expected.min() and found["accuracy"] <= found["top3_accuracy"]


@pytest.mark.parametrize("k", [1, 2, 3])
def test_ties_are_broken_at_random(k):
    """Top k of tied rows is the mean over many orders of the classes."""
    rng = np.random.default_rng(0)
    p = rng.integers(0, 3, (40, 5)) / 4
    other = rng.integers(0, 3, (40, 5)) / 4
    labels = rng.integers(0, 5, 40)
    right, common, draws = np.zeros(40), np.zeros(40), 4000
    for _ in range(draws):
        tops = [np.argsort(-(a + 1e-6 * rng.random(a.shape)), axis=1)[:, :k] for a in (p, other)]
        right += (tops[0] == labels[:, None]).any(axis=1)
        common += [len(set(a) & set(b)) / k for a, b in zip(*tops, strict=True)]
    np.testing.assert_allclose(metrics.top_k(p, labels, k), right / draws, rtol=0, atol=0.04)
    np.testing.assert_allclose(metrics.agreement(p, other, k), common / draws, rtol=0, atol=0.04)


def test_nothing_depends_on_the_order_of_classes_or_rows(case):
    p, labels = case
    rng = np.random.default_rng(3)
    rows, classes = rng.permutation(len(labels)), rng.permutation(p.shape[1])
    moved, there = p[rows][:, classes], np.argsort(classes)[labels[rows]]
    for name, value in metrics.summary(p, labels).items():
        assert metrics.summary(moved, there)[name] == pytest.approx(value, abs=1e-12), name


def test_a_prediction_agrees_with_itself_and_a_constant_one_by_chance(case):
    p, labels = case
    classes = p.shape[1]
    constant = np.full_like(p, 1 / classes)
    assert (metrics.agreement(p, p) == 1).all() and (metrics.agreement(p, p, 3) == 1).all()
    np.testing.assert_allclose(metrics.agreement(p, constant), 1 / classes, **TIGHT)
    np.testing.assert_allclose(metrics.top_k(constant, labels), 1 / classes, **TIGHT)


def test_confidence_error_of_known_rows():
    p = np.repeat([[0.8, 0.2], [0.6, 0.4]], 50, axis=0)
    labels = np.r_[np.zeros(40), np.ones(10), np.zeros(20), np.ones(30)].astype(int)
    assert metrics.confidence_error(p, labels) == pytest.approx((0.0 + 0.2) / 2, abs=1e-12)


@pytest.mark.parametrize(
    ("p", "labels", "message"),
    [
        (np.ones((3, 2)), np.zeros(2), "a row of probabilities a label"),
        (np.ones((3, 1)), np.zeros(3), "two classes at least"),
        (np.ones((3, 2)), np.array([0, 1, 2]), "row 2: label .*2.* is none of the 2 classes"),
        (np.ones((3, 2)), np.array([0, -1, 1]), "row 1: label .*-1"),
        (np.ones((3, 2)), np.array([0.5, 0, 1]), "row 0: label"),
        (np.ones((0, 2)), np.zeros(0), "a row of probabilities a label"),
    ],
)
def test_what_is_no_classification_is_refused(p, labels, message):
    with pytest.raises(BadInput, match=message):
        metrics.summary(p, labels)


def test_a_class_without_rows_has_no_recall():
    found = metrics.recalls(np.eye(3)[[0, 1]], np.array([0, 0]))
    assert found[0] == 0.5 and np.isnan(found[1:]).all()


def test_paired_interval_by_the_published_formula():
    """Bonett and Price (2012), with a row more in each discordant cell."""
    gained, lost, rows = 12, 30, 400
    differences = np.r_[np.ones(gained), -np.ones(lost), np.zeros(rows - gained - lost)]
    a, b = (gained + 1) / (rows + 2), (lost + 1) / (rows + 2)
    half = 1.9659 * np.sqrt((a + b - (a - b) ** 2) / (rows + 2))  # Student's t of 399
    found = intervals.paired_interval(differences, np.arange(rows))
    np.testing.assert_allclose(found, (a - b - half, a - b + half), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "gain", "loss"), [(200, 0.01, 0.02), (1000, 0.0, 0.01), (5000, 0.005, 0.01)]
)
def test_paired_intervals_cover_the_truth(rows, gain, loss):
    rng, inside = np.random.default_rng(1), 0
    for _ in range(400):
        u = rng.random(rows)
        differences = np.where(u < gain, 1.0, np.where(u < gain + loss, -1.0, 0.0))
        low, high = intervals.paired_interval(differences, np.arange(rows))
        inside += low <= gain - loss <= high
    assert inside / 400 >= 0.93


def test_a_paired_interval_knows_clusters_and_never_shrinks_to_nothing():
    rng = np.random.default_rng(2)
    cluster = np.repeat(np.arange(40), 25)
    together = rng.choice([-1.0, 0.0, 1.0], 40, p=[0.1, 0.8, 0.1])[cluster]
    apart = intervals.paired_interval(together, np.arange(1000))
    found = intervals.paired_interval(together, cluster)
    assert found[1] - found[0] > 3 * (apart[1] - apart[0])
    low, high = intervals.paired_interval(np.zeros(200), np.arange(200))
    assert -0.02 < low < -0.01 and 0.01 < high < 0.02
    assert np.isnan(intervals.paired_interval(np.zeros(8), np.repeat(np.arange(4), 2))).all()
