"""Replayed sessions: the gain of an order is what a plain loop counts, and a perfect order gains
the most.
"""

import numpy as np
import pytest

from helpers.errors import BadInput
from helpers.evaluation import replay


@pytest.fixture
def lists():
    rng = np.random.default_rng(0)
    worth = rng.normal(size=(500, 6))

    def probability(order):
        return 1 / (1 + np.exp(2 - np.take_along_axis(worth, order, axis=1) + 0.2 * np.arange(6)))

    return worth, probability, rng.integers(1, 7, 500)


def test_rates_are_what_a_loop_counts(lists):
    worth, probability, depth = lists
    orders = {"delivered": np.tile(np.arange(6), (500, 1)), "best": replay.order_by(worth)}
    rates = replay.click_rates(orders, probability, depth, baseline="delivered")
    for name, order in orders.items():
        clicks, looked, readers = 0.0, 0, 0.0
        for session in range(500):
            nobody = 1.0
            for place in range(depth[session]):
                p = 1 / (1 + np.exp(2 - worth[session, order[session, place]] + 0.2 * place))
                clicks, looked, nobody = clicks + p, looked + 1, nobody * (1 - p)
            readers += 1 - nobody
        assert rates.loc[name, "ctr"] == pytest.approx(clicks / looked, rel=1e-12)
        assert rates.loc[name, "uv_ctr"] == pytest.approx(readers / 500, rel=1e-12)
    best = rates.loc["best"]
    assert best["ctr_low"] < best["ctr_gain"] < best["ctr_high"] and best["ctr_low"] > 0
    assert (rates.loc["delivered", ["ctr_gain", "ctr_low", "ctr_high"]] == 0).all()
    assert replay.table(rates).loc["delivered", "CTR gained"] == "+0.0% (+0.0% to +0.0%)"


def test_intervals_cover_the_truth_as_often_as_they_say():
    """Two orders that are equally good: 95 % of the intervals hold no gain."""
    held = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        worth = rng.normal(size=(200, 4))
        orders = {"one": rng.permuted(np.tile(np.arange(4), (200, 1)), axis=1)}
        orders["other"] = rng.permuted(orders["one"], axis=1)

        def probability(order, worth=worth):
            return 1 / (1 + np.exp(1 - np.take_along_axis(worth, order, axis=1)))

        rates = replay.click_rates(
            orders, probability, rng.integers(1, 4, 200), baseline="one", seed=seed
        )
        held += rates.loc["other", "ctr_low"] <= 0 <= rates.loc["other", "ctr_high"]
    assert 88 <= held <= 100, "binomial, 95 of 100 expected: fewer than 88 come once in 500 times"


def test_the_best_order_cannot_be_beaten(lists):
    worth, probability, depth = lists
    rng = np.random.default_rng(1)
    orders = {"best": replay.order_by(worth)}
    orders |= {
        f"random {i}": rng.permuted(np.tile(np.arange(6), (500, 1)), axis=1) for i in range(5)
    }
    rates = replay.click_rates(orders, probability, depth, baseline="best")
    assert (rates["ctr_high"].drop("best") < 0).all()


def test_ties_keep_their_order():
    assert replay.order_by([[1.0, 2.0, 1.0, 2.0]]).tolist() == [[1, 3, 0, 2]]


def test_what_is_no_order_is_refused(lists):
    _, probability, depth = lists
    same = np.zeros((500, 6), int)
    with pytest.raises(BadInput, match="'x' is not a permutation"):
        replay.click_rates({"x": same}, probability, depth, baseline="x")
    with pytest.raises(BadInput, match="baseline 'y' is none of the orders: x"):
        replay.click_rates({"x": same}, probability, depth, baseline="y")
