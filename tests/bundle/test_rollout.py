"""Who gets which version: shares follow the weights, and nobody moves who need not."""

import numpy as np
import pytest
from scipy import stats

from helpers.bundle import rollout
from helpers.errors import BadInput

USERS = [f"user-{i}" for i in range(20_000)]


def _shares(weights, test="", users=USERS):
    return [rollout.assign(user, weights, test=test) for user in users]


@pytest.mark.parametrize(
    "weights", [{"a": 1, "b": 1}, {"a": 0.9, "b": 0.1}, {"a": 5, "b": 3, "c": 2}, {"a": 1, "b": 0}]
)
def test_shares_follow_the_weights(weights):
    got = _shares(weights)
    versions = [version for version in weights if weights[version]]
    counts = np.array([got.count(version) for version in versions])
    expected = (
        np.array([weights[version] for version in versions]) / sum(weights.values()) * len(USERS)
    )
    assert counts.sum() == len(USERS)
    assert len(versions) == 1 or stats.chisquare(counts, expected).pvalue > 0.001


def test_ids_that_follow_one_another_are_no_less_uniform_and_tests_are_independent():
    weights = {"a": 1, "b": 1}
    one, other = _shares(weights, "first"), _shares(weights, "second")
    table = np.array(
        [
            [sum(x == p and y == q for x, y in zip(one, other, strict=True)) for p in "ab"]
            for q in "ab"
        ]
    )
    assert stats.chi2_contingency(table).pvalue > 0.001
    parity = np.array([[one[start::2].count(version) for version in "ab"] for start in (0, 1)])
    assert stats.chi2_contingency(parity).pvalue > 0.001


def test_it_is_stable_across_processes_and_order():
    weights = {"a": 0.2, "b": 0.3, "c": 0.5}
    assert [rollout.assign(f"u{i}", weights) for i in range(12)] == [
        rollout.assign(f"u{i}", dict(reversed(weights.items()))) for i in range(12)
    ]
    assert _shares({"a": 2, "b": 3, "c": 5}) == _shares(weights), "only the ratios count"


@pytest.mark.parametrize(
    "after",
    [
        {"a": 1, "b": 1, "c": 2},
        {"a": 1, "b": 1, "c": 0.1},
        {"a": 1, "b": 1},
        {"a": 1, "b": 1, "c": 1, "d": 1},
    ],
)
def test_nobody_moves_between_versions_whose_weights_stay(after):
    before = {"a": 1, "b": 1, "c": 1}
    old, new = _shares(before), _shares(after)
    changed = {v for v in {*before, *after} if before.get(v) != after.get(v)}
    moved = [(x, y) for x, y in zip(old, new, strict=True) if x != y]
    assert moved and all(x in changed or y in changed for x, y in moved)
    share = {
        v: abs(after.get(v, 0) / sum(after.values()) - before.get(v, 0) / sum(before.values()))
        for v in changed
    }
    assert abs(len(moved) / len(USERS) - sum(share.values())) < 0.015, (
        "no more than the change of shares"
    )


@pytest.mark.parametrize(
    "weights", [{}, {"a": 0}, {"a": -1, "b": 2}, {"a": float("nan")}, {"a": float("inf")}]
)
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(BadInput, match="weights must be finite"):
        rollout.assign("u", weights)


def test_the_table_counts_who_moved():
    table = rollout.table([{"old": 1, "new": 1}, {"old": 1, "new": 1}, {"old": 1}], users=2000)
    assert (
        list(table["moved"][:2]) == ["0.0%", "0.0%"]
        and table["moved"].iloc[2] == table["new"].iloc[1]
    )
    assert (table["moved needlessly"] == 0).all() and table["old"].iloc[2] == "100.0%"
