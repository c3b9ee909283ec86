"""Inputs that hold the label are named; sound ones pass."""

import numpy as np
import pytest
from benchmarks.sense_checks import split

from helpers import leaks, overlap, simulation
from helpers.errors import BadInput
from helpers.learning import ranking as learning
from helpers.schema import Dimension, Schema, Tensor

SCORE = Tensor("score", "score", (Dimension("score", ""),))


def _schema(columns: int, dtype: str = "float32") -> Schema:
    return Schema(
        "m",
        (Tensor("x", "item", tuple(Dimension(f"c{i}", "") for i in range(columns)), dtype),),
        (SCORE,),
    )


LEAKS = {
    "the label": lambda y, rng: y,
    "its opposite": lambda y, rng: 1 - y,
    "a little noise": lambda y, rng: y + rng.normal(0, 0.2, len(y)),
    "far from the middle": lambda y, rng: (
        (1 + 2 * y) * rng.choice([-1, 1], len(y)) + rng.normal(0, 0.2, len(y))
    ),
    "which of 20 ids": lambda y, rng: np.random.default_rng(7).permutation(20)[
        2 * rng.integers(0, 10, len(y)) + y
    ],
}


@pytest.mark.parametrize("kind", LEAKS)
@pytest.mark.parametrize("positives", [0.5, 0.05])
def test_an_input_that_tells_the_label_is_named(kind, positives):
    for seed in range(3):
        rng, splits = np.random.default_rng(seed), []
        for _ in range(2):
            rows = split(rng.normal(size=(5000, 6)).astype(np.float32), rng, positives)
            rows[0]["x"][:, 3] = LEAKS[kind](rows[1], rng)
            splits.append(rows)
        with pytest.raises(
            BadInput, match=r"the label is told by item_c3 \(AUC (1.000|0.99\d)\) alone"
        ):
            leaks.check_inputs(_schema(6), *splits)


@pytest.mark.parametrize(
    ("rows", "test_rows", "positives"), [(20, 200, 0.5), (200, 200, 0.01), (5000, 5000, 0.3)]
)
def test_good_inputs_and_few_rows_are_no_leak(rows, test_rows, positives):
    """A column of AUC .95, one of the request; with two positives anything is perfect by luck."""
    for seed in range(20):
        rng, splits = np.random.default_rng(seed), []
        for size in (rows, test_rows):
            inputs, labels, requests = split(
                rng.normal(size=(size, 25)).astype(np.float32), rng, positives
            )
            inputs["x"][:, 0] += 2.3 * labels
            inputs["x"][:, 1] = rng.normal(size=size)[requests]
            splits.append((inputs, labels, requests))
        leaks.check_inputs(_schema(25), *splits)


def test_what_is_best_possible_is_passed_by_luck_once_in_a_thousand():
    """With few positives, half of the scores as good as the truth are better than it."""
    schema, better = _schema(2), 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        best = 1 / (1 + np.exp(-rng.normal(-3.5, 1.0, 200)))
        test = split(
            rng.normal(size=(200, 2)), rng, labels=(rng.random(200) < best).astype(np.int8)
        )
        near = np.log(best / (1 - best)) + rng.normal(0, 0.1, 200)
        better += leaks.ranking.auc(near, test[1]) > leaks.ranking.auc(best, test[1])
        leaks.check_possible(schema, test, {"near": near, "chance": rng.random(200)}, best)
    assert better > 6


@pytest.mark.parametrize("source", ["simple", "personalised"])
def test_sound_studies_pass_and_more_than_is_possible_does_not(ranking, source):
    frames = {
        s: simulation.sample(ranking, source, rows=5000, seed=3, split=s) for s in ("train", "test")
    }
    train, test = (
        (ranking.schema.arrays(f), f["label"].to_numpy(), f["request"].to_numpy())
        for f in frames.values()
    )
    best = frames["test"]["bayes_probability"].to_numpy()
    scores = learning.baseline_scores(ranking.schema, train[:2], test[0])
    scores["this model"] = best + np.random.default_rng(0).normal(0, 0.01, len(best))
    learning.check_learnable(ranking.schema, train, scores, test, best)
    overlap.check_separate({"train": train, "test": test})
    if source == "personalised":
        scores["this model"] = (
            best + 0.3 * test[1]
        )  # .96 where .907 is possible, and no input tells it alone
        with pytest.raises(
            BadInput, match=r"this model .AUC 0.9\d\d. rank better than the best possible"
        ):
            learning.check_learnable(ranking.schema, train, scores, test, best)
