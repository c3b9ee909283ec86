"""Splits that share rows with training are refused; rows that repeat by chance are not."""

import numpy as np
import pytest
from benchmarks.sense_checks import outcome, sessions, split

from helpers import overlap, simulation
from helpers.errors import BadInput


def _outcome(splits) -> str:
    return outcome(lambda: overlap.check_separate(splits))


def _with_replacement(
    rng, table: np.ndarray, share: float, sizes=(5000, 5000), positives=0.3
) -> dict:
    """Two samples with replacement from one table; a share of the second is in the first."""
    rows = int(-sizes[0] / np.log(1 - share))
    labels = (rng.random(rows) < positives).astype(np.int8)
    drawn = [rng.integers(0, rows, size) for size in sizes]
    return {
        n: split(table[i], rng, labels=labels[i])
        for n, i in zip(("train", "test"), drawn, strict=True)
    }


@pytest.mark.parametrize("share", [0.5, 0.2, 0.05])
@pytest.mark.parametrize("kind", ["fine", "a fine column and a flag", "three digits"])
def test_samples_with_replacement_from_one_table_are_refused(share, kind):
    """Training repeats rows as often as the test repeats training's: that is no chance."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        table = rng.normal(size=(100_000, 2 if "flag" in kind else 6)).astype(np.float32)
        if "flag" in kind:
            table[:, 1] = table[:, 1] > 0
        for positives in (0.3, 0.02):
            drawn = _with_replacement(
                rng, table.round(3) if "digits" in kind else table, share, positives=positives
            )
            assert _outcome(drawn) == "refuses"
            assert _outcome({name: inputs for name, (inputs, *_) in drawn.items()}) == "refuses"


@pytest.mark.parametrize("by", ["row", "request"])
def test_sessions_drawn_with_replacement_are_refused(ranking, by):
    """Rows of one request share user and context, which is no coincidence either."""
    frame = simulation.sample(ranking, "personalised", rows=10_000, seed=1)
    inputs, rng = ranking.schema.arrays(frame), np.random.default_rng(0)
    splits = {}
    for name in ("train", "test"):
        rows = rng.integers(0, 10_000, 3000)
        if by == "request":
            rows = (rng.integers(0, 500, 150)[:, None] * 20 + np.arange(20)).ravel()
        splits[name] = (
            {n: a[rows] for n, a in inputs.items()},
            frame["label"].to_numpy()[rows],
            rows // 20,
        )
    assert _outcome(splits) == "refuses"


@pytest.mark.parametrize("kind", ["ids", "two inputs", "one input"])
@pytest.mark.parametrize(
    ("users", "items", "requests"), [(5, 20, 10), (20, 50, 10), (20, 50, 50), (100, 100, 10)]
)
def test_users_who_meet_items_again_are_sound(users, items, requests, kind):
    said = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        said.append(
            _outcome(
                {name: sessions(rng, users, items, requests, kind) for name in ("train", "test")}
            )
        )
    assert "refuses" not in said and said.count("warns") <= 2, said


def test_whole_requests_are_compared_where_single_rows_repeat_by_chance():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        splits = {name: sessions(rng, 20, 50, 250, "ids") for name in ("train", "test")}
        assert _outcome(splits) == "passes"
        (seen, train_labels, _), (found, test_labels, _) = splits.values()
        for train, test in ((seen["x"], found["x"]), (train_labels, test_labels)):
            test[: 20 * 13] = train[-20 * 13 :]  # 5 % of the requests
        with pytest.raises(
            BadInput,
            match="13 of the 250 test requests are train requests too: split the data anew",
        ):
            overlap.check_separate(splits)


COARSE = [(10, 3), (32, 2), (100, 2), (10, 4), (2, 10), (2, 13)]
"""Values a column and columns: 1,000 to 10,000 patterns."""


@pytest.mark.parametrize(("values", "columns"), COARSE)
@pytest.mark.parametrize("sizes", [(20, 200), (100, 1000), (100, 5000), (5000, 500)])
def test_coarse_rows_may_repeat_by_chance(values, columns, sizes):
    """Few possible rows: many a test row is a training row too, and means nothing."""
    said = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        drawn = {
            n: rng.integers(0, values, (s, columns))
            for n, s in zip(("train", "test"), sizes, strict=True)
        }
        said.append(_outcome({name: {"x": x.astype(np.float32)} for name, x in drawn.items()}))
        said.append(_outcome({name: split(x, rng) for name, x in drawn.items()}))
    assert said.count("passes") >= 19 and "refuses" not in said, said


@pytest.mark.parametrize("patterns", [1000, 10_000])
@pytest.mark.parametrize("columns", [1, 5])
@pytest.mark.parametrize("sizes", [(20, 200), (100, 5000), (5000, 1000)])
def test_a_catalogue_that_is_seen_again_is_at_most_warned_of(patterns, columns, sizes):
    """Rows of a table of any vectors: nothing but their labels tells them from copies."""
    table = np.random.default_rng(99).normal(size=(patterns, columns)).astype(np.float32)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        drawn = {
            name: rng.integers(0, patterns, size)
            for name, size in zip(("train", "test"), sizes, strict=True)
        }
        assert _outcome({name: split(table[i], rng) for name, i in drawn.items()}) != "refuses"
        if columns == 1:
            assert _outcome({name: {"x": table[i]} for name, i in drawn.items()}) != "refuses"


def test_rows_are_told_apart_by_every_input_and_column():
    base = {"a": np.zeros((3, 2), np.float32), "b": np.zeros((3, 2), np.int64)}
    base["a"][1, 1], base["b"][2, 0] = 1, 1
    small = {
        "a": np.eye(4, 3, dtype=np.float16),
        "b": np.eye(4, 1, dtype=bool),
        "c": np.eye(4, 3, dtype=np.int8),
    }
    zeros = {"a": np.array([[0.0], [-0.0]], np.float32)}
    wide = {"picture": np.eye(100, dtype=np.uint8).reshape(100, 10, 10)}
    for inputs, different in ((base, 3), (small, 4), (zeros, 1), (wide, 100)):
        assert len(np.unique(sum(overlap._column_hashes(inputs).values()))) == different
