"""Rows of a simulated study, in memory."""

import dataclasses
import json

import numpy as np
import pytest

from helpers import simulation
from helpers.schema import Dimension, Tensor
from helpers.studies import Simulated


def test_best_possible_is_label_noise_and_the_distance_of_the_medians(ranking):
    train, validation = (
        simulation.sample(ranking, "simple", rows=n, seed=5, split=s)
        for s, n in (("train", 5000), ("validation", 1000))
    )
    total = {}
    for split, frame in (("train", train), ("validation", validation)):
        parts = [
            frame.filter(regex=f"^{role}_").to_numpy(np.float64).mean(axis=1)
            for role in ("user", "item", "context")
        ]
        total[split] = sum(parts)
    expected = ((total["validation"] > np.median(total["train"])) == validation["label"]).mean()
    assert (
        simulation.best_possible(ranking, "simple", rows=5000, validation_rows=1000, seed=5)
        == expected
        < 1
    )


def test_one_bound_of_many_is_of_the_fingerprint(ranking):
    origins = []
    for high in (1, 1, 1.5):
        wide = tuple(Dimension(f"x{i}", "", 0, high if i == 600 else 1) for i in range(1200))
        schema = dataclasses.replace(ranking.schema, inputs=(Tensor("wide", dimensions=wide),))
        study = dataclasses.replace(ranking, schema=schema)
        rows = simulation.Rows(study, study.source("simple"), {}, seed=1)
        origins.append(json.dumps(rows.origin()))
    assert origins[0] == origins[1] != origins[2]


def test_possible_table_counts_the_seeds_that_can_pass(ranking):
    table = simulation.possible_table(ranking, {"few": (200, 100)}, 0.973, seeds=5)
    best = [
        simulation.best_possible(ranking, "simple", rows=200, validation_rows=100, seed=s)
        for s in range(5)
    ]
    assert table.loc["few"].tolist() == [
        f"{min(best):.3f}",
        f"{sum(b >= 0.973 for b in best)} of 5",
    ]


def test_classes_are_drawn_with_the_chances_that_are_stored():
    """The label is the class with the largest utility + noise x Gumbel; its chances are the softmax
    of utility / noise.
    """
    utilities, noise = np.array([[0.0, 1.0, -0.5]]), 0.7
    source = Simulated("s", "", None, None, None, noise, 1)
    rng = np.random.default_rng(4)
    drawn = (utilities + noise * rng.gumbel(size=(200_000, 3))).argmax(axis=1)
    chances = source.class_probabilities(utilities)
    np.testing.assert_allclose(
        np.bincount(drawn) / len(drawn), chances[0], atol=0.005
    )  # 4.5 standard errors
    assert chances.sum() == pytest.approx(1)
    exact = dataclasses.replace(source, noise=0.0)
    assert exact.class_probabilities(utilities).tolist() == [[0.0, 1.0, 0.0]]
