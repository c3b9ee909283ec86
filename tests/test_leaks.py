"""What a test may not be given: training's rows, and inputs that hold the label. Sound data passes."""

import warnings

import numpy as np
import pytest

from helpers import leaks, simulation, training
from helpers.errors import BadInput
from helpers.schema import Dimension, Schema, Tensor

SCORE = Tensor("score", "score", (Dimension("score", ""),))


def _split(x, rng, positives=0.3, labels=None) -> leaks.Split:
    """Rows with labels that are noise, in requests of 20."""
    inputs = x if isinstance(x, dict) else {"x": x}
    rows = len(next(iter(inputs.values())))
    return inputs, (rng.random(rows) < positives).astype(np.int8) if labels is None else labels, np.arange(rows) // 20


def _outcome(splits) -> str:
    """What the check says: passes, warns or refuses."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            leaks.check_separate(splits)
        except BadInput:
            return "refuses"
    return "warns" if caught else "passes"


def _with_replacement(rng, table: np.ndarray, share: float, sizes=(5000, 5000), positives=0.3) -> dict:
    """Two samples with replacement from the start of one table, so that this share of the second is in the first."""
    rows = int(-sizes[0] / np.log(1 - share))
    labels = (rng.random(rows) < positives).astype(np.int8)
    drawn = [rng.integers(0, rows, size) for size in sizes]
    return {n: _split(table[i], rng, labels=labels[i]) for n, i in zip(("train", "test"), drawn, strict=True)}


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
            drawn = _with_replacement(rng, table.round(3) if "digits" in kind else table, share, positives=positives)
            assert _outcome(drawn) == "refuses"
            assert _outcome({name: inputs for name, (inputs, *_) in drawn.items()}) == "refuses"


@pytest.mark.parametrize("by", ["row", "request"])
def test_sessions_drawn_with_replacement_are_refused(ranking, by):
    """Rows of one request share user and context, which is no coincidence of coarse features either."""
    frame = simulation.sample(ranking, "personalised", rows=10_000, seed=1)
    inputs, rng = ranking.schema.arrays(frame), np.random.default_rng(0)
    splits = {}
    for name in ("train", "test"):
        rows = rng.integers(0, 10_000, 3000)
        if by == "request":
            rows = (rng.integers(0, 500, 150)[:, None] * 20 + np.arange(20)).ravel()
        splits[name] = {n: a[rows] for n, a in inputs.items()}, frame["label"].to_numpy()[rows], rows // 20
    assert _outcome(splits) == "refuses"


def _sessions(rng, users: int, items: int, requests: int, kind: str) -> leaks.Split:
    """A user and 20 items each: as ids, as what is known of them in two inputs, or in one."""
    world = np.random.default_rng(99)
    of_user, of_item = (world.normal(size=(n, 4)).astype(np.float32) for n in (users, items))
    user = np.repeat(rng.integers(0, users, requests), 20)
    item = np.concatenate([rng.permutation(items)[:20] for _ in range(requests)])
    if kind == "ids":
        return _split(np.stack([user, item], 1), rng, 0.2)
    if kind == "one input":
        return _split(np.hstack([of_user[user], of_item[item]]), rng, 0.2)
    return _split({"user": of_user[user], "item": of_item[item]}, rng, 0.2)


@pytest.mark.parametrize("kind", ["ids", "two inputs", "one input"])
@pytest.mark.parametrize(("users", "items", "requests"), [(5, 20, 10), (20, 50, 10), (20, 50, 50), (100, 100, 10)])
def test_users_who_meet_items_again_are_sound(users, items, requests, kind):
    said = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        said.append(_outcome({name: _sessions(rng, users, items, requests, kind) for name in ("train", "test")}))
    assert "refuses" not in said and said.count("warns") <= 2, said


def test_whole_requests_are_compared_where_single_rows_repeat_by_chance():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        splits = {name: _sessions(rng, 20, 50, 250, "ids") for name in ("train", "test")}
        assert _outcome(splits) == "passes"
        (seen, train_labels, _), (found, test_labels, _) = splits.values()
        for train, test in ((seen["x"], found["x"]), (train_labels, test_labels)):
            test[: 20 * 13] = train[-20 * 13 :]  # 5 % of the requests
        with pytest.raises(BadInput, match="13 of the 250 test requests are train requests too: split the data anew"):
            leaks.check_separate(splits)


COARSE = [(10, 3), (32, 2), (100, 2), (10, 4), (2, 10), (2, 13)]
"""Values a column and columns: 1,000 to 10,000 patterns."""


@pytest.mark.parametrize(("values", "columns"), COARSE)
@pytest.mark.parametrize("sizes", [(20, 200), (100, 1000), (100, 5000), (5000, 500)])
def test_coarse_rows_may_repeat_by_chance(values, columns, sizes):
    """Few possible rows: many a test row is a training row too, and means nothing."""
    said = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        drawn = {n: rng.integers(0, values, (s, columns)) for n, s in zip(("train", "test"), sizes, strict=True)}
        said.append(_outcome({name: {"x": x.astype(np.float32)} for name, x in drawn.items()}))
        said.append(_outcome({name: _split(x, rng) for name, x in drawn.items()}))
    assert said.count("passes") >= 19 and "refuses" not in said, said


@pytest.mark.parametrize("patterns", [1000, 10_000])
@pytest.mark.parametrize("columns", [1, 5])
@pytest.mark.parametrize("sizes", [(20, 200), (100, 5000), (5000, 1000)])
def test_a_catalogue_that_is_seen_again_is_at_most_warned_of(patterns, columns, sizes):
    """Rows of a table of any vectors, drawn again and again: nothing but their labels tells them from copies."""
    table = np.random.default_rng(99).normal(size=(patterns, columns)).astype(np.float32)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        drawn = {name: rng.integers(0, patterns, size) for name, size in zip(("train", "test"), sizes, strict=True)}
        assert _outcome({name: _split(table[i], rng) for name, i in drawn.items()}) != "refuses"
        if columns == 1:
            assert _outcome({name: {"x": table[i]} for name, i in drawn.items()}) != "refuses"


def test_rows_are_told_apart_by_every_input_and_column():
    base = {"a": np.zeros((3, 2), np.float32), "b": np.zeros((3, 2), np.int64)}
    base["a"][1, 1], base["b"][2, 0] = 1, 1
    small = {"a": np.eye(4, 3, dtype=np.float16), "b": np.eye(4, 1, dtype=bool), "c": np.eye(4, 3, dtype=np.int8)}
    zeros = {"a": np.array([[0.0], [-0.0]], np.float32)}
    wide = {"picture": np.eye(100, dtype=np.uint8).reshape(100, 10, 10)}
    for inputs, different in ((base, 3), (small, 4), (zeros, 1), (wide, 100)):
        assert len(np.unique(sum(leaks._column_hashes(inputs).values()))) == different


def _schema(columns: int, dtype: str = "float32") -> Schema:
    return Schema("m", (Tensor("x", "item", tuple(Dimension(f"c{i}", "") for i in range(columns)), dtype),), SCORE)


LEAKS = {
    "the label": lambda y, rng: y,
    "its opposite": lambda y, rng: 1 - y,
    "a little noise": lambda y, rng: y + rng.normal(0, 0.2, len(y)),
    "far from the middle": lambda y, rng: (1 + 2 * y) * rng.choice([-1, 1], len(y)) + rng.normal(0, 0.2, len(y)),
    "which of 20 ids": lambda y, rng: np.random.default_rng(7).permutation(20)[2 * rng.integers(0, 10, len(y)) + y],
}


@pytest.mark.parametrize("kind", LEAKS)
@pytest.mark.parametrize("positives", [0.5, 0.05])
def test_an_input_that_tells_the_label_is_named(kind, positives):
    for seed in range(3):
        rng, splits = np.random.default_rng(seed), []
        for _ in range(2):
            split = _split(rng.normal(size=(5000, 6)).astype(np.float32), rng, positives)
            split[0]["x"][:, 3] = LEAKS[kind](split[1], rng)
            splits.append(split)
        with pytest.raises(BadInput, match=r"the label is told by item_c3 \(AUC (1.000|0.99\d)\) alone"):
            leaks.check_inputs(_schema(6), *splits)


@pytest.mark.parametrize(("rows", "test_rows", "positives"), [(20, 200, 0.5), (200, 200, 0.01), (5000, 5000, 0.3)])
def test_good_inputs_and_few_rows_are_no_leak(rows, test_rows, positives):
    """Columns of AUC up to .95, one of each request; with two positives among 200 rows anything is perfect by luck."""
    for seed in range(20):
        rng, splits = np.random.default_rng(seed), []
        for size in (rows, test_rows):
            inputs, labels, requests = _split(rng.normal(size=(size, 25)).astype(np.float32), rng, positives)
            inputs["x"][:, 0] += 2.3 * labels
            inputs["x"][:, 1] = rng.normal(size=size)[requests]
            splits.append((inputs, labels, requests))
        leaks.check_inputs(_schema(25), *splits)


def test_what_is_best_possible_is_passed_by_luck_once_in_a_thousand():
    """Scores as good as the truth, and few positives: half of them are better than it on the labels there are."""
    schema, better = _schema(2), 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        best = 1 / (1 + np.exp(-rng.normal(-3.5, 1.0, 200)))
        test = _split(rng.normal(size=(200, 2)), rng, labels=(rng.random(200) < best).astype(np.int8))
        near = np.log(best / (1 - best)) + rng.normal(0, 0.1, 200)
        better += leaks.metrics.auc(near, test[1]) > leaks.metrics.auc(best, test[1])
        leaks.check_possible(schema, test, {"near": near, "chance": rng.random(200)}, best)
    assert better > 6


@pytest.mark.parametrize("scenario", ["simple", "personalised"])
def test_sound_studies_pass_and_more_than_is_possible_does_not(ranking, scenario):
    frames = {s: simulation.sample(ranking, scenario, rows=5000, seed=3, split=s) for s in ("train", "test")}
    train, test = ((ranking.schema.arrays(f), f["label"].to_numpy(), f["request"].to_numpy()) for f in frames.values())
    best = frames["test"]["bayes_probability"].to_numpy()
    scores = training.baseline_scores(ranking.schema, train[:2], test[0])
    scores["this model"] = best + np.random.default_rng(0).normal(0, 0.01, len(best))
    training.check_learnable(ranking.schema, train, scores, test, best)
    leaks.check_separate({"train": train, "test": test})
    if scenario == "personalised":
        scores["this model"] = best + 0.3 * test[1]  # .96 where .907 is possible, and no input tells it alone
        with pytest.raises(BadInput, match=r"this model .AUC 0.9\d\d. rank better than the best possible"):
            training.check_learnable(ranking.schema, train, scores, test, best)
