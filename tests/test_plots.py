"""Figures are tested through the data they draw."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers import datasets, plots, studies
from helpers.evaluation import latency, metrics


@pytest.fixture(autouse=True)
def nothing_left_open():
    yield
    assert plt.get_fignums() == [], "an open figure is shown twice in a notebook"


def _points(line):
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


def test_distributions_count_every_row_of_every_feature(ranking):
    frame = datasets.sample(ranking, "personalised", rows=500, seed=0)
    axes = [ax for ax in plots.distributions(frame, ranking.schema, "title").axes if ax.axison]
    assert [ax.get_title(loc="left") for ax in axes] == ranking.schema.columns
    assert all(sum(patch.get_height() for patch in ax.patches) == 500 for ax in axes)


def test_label_correlations_draw_the_table():
    table = pd.DataFrame({"simple": [0.1, -0.2], "personalised": [0.0, 0.3]}, index=["a", "b"])
    axes = plots.label_correlations(table).axes
    assert [[bar.get_width() for bar in ax.patches] for ax in axes] == [[0.1, -0.2], [0.0, 0.3]]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["a", "b"]


def test_personal_ranks_are_level_where_all_agree_and_cross_where_not(ranking):
    utilities = {name: studies.cross_utility(ranking, name, users=6, items=5, seed=0) for name in ranking.scenarios}
    simple, personalised = plots.personal_ranks(utilities).axes
    assert all(len(set(_points(line)[1])) == 1 for line in simple.lines)
    assert any(len(set(_points(line)[1])) > 1 for line in personalised.lines)
    for user in range(6):
        drawn = [_points(line)[1][user] for line in personalised.lines]
        expected = [1 + (utilities["personalised"][user] > u).sum() for u in utilities["personalised"][user]]
        assert drawn == expected


def test_auc_ladder_draws_the_table():
    table = pd.DataFrame({"s": [0.6, 0.9], "p": [0.7, 0.8]}, index=["popularity", "best"])
    widths = [bar.get_width() for bar in plots.auc_ladder(table).axes[0].patches]
    assert widths == [0.6, 0.9, 0.7, 0.8]


def test_learning_curves_draw_history_and_published(trained):
    loss, accuracy = plots.learning_curves(trained.history, (0.7, 0.8, 0.9)).axes
    drawn = {line.get_label(): _points(line)[1].tolist() for line in accuracy.lines}
    assert drawn["validation"] == trained.history["val_accuracy"].tolist()
    assert drawn["training"] == trained.history["accuracy"].tolist()
    assert drawn["published validation"] == [0.7, 0.8, 0.9]
    assert _points(loss.lines[1])[1].tolist() == trained.history["val_loss"].tolist()
    assert len(plots.learning_curves(trained.history).axes[1].lines) == 2


def test_seed_spread_draws_every_seed_its_mean_and_the_target():
    values = np.array([[0.7, 0.9], [0.8, 0.95]])
    (ax,) = plots.seed_spread({"published": values}, 0.973).axes
    drawn = [_points(line)[1].tolist() for line in ax.lines]
    assert drawn == [[0.7, 0.9], [0.8, 0.95], values.mean(axis=0).tolist(), [0.973, 0.973]]
    assert ax.get_ylim()[0] < 0.7


def test_calibration_draws_the_bins(trained):
    table = metrics.calibration(trained.reference.scores[:, 0], trained.reference.labels)
    (ax,) = plots.calibration({"model": table}).axes
    x, y = _points(ax.lines[1])
    assert x.tolist() == table["score"].tolist() and y.tolist() == table["observed"].tolist()


def test_score_agreement_draws_every_row_and_its_difference():
    reference, other = np.array([[0.1], [0.5]]), np.array([[0.1], [0.7]])
    above, below = plots.score_agreement(reference, {"mnn fp32": other}, {"mnn fp32": "mnn"}).axes
    assert _points(above.lines[1])[1].tolist() == [0.1, 0.7]
    np.testing.assert_allclose(_points(below.lines[0])[1], [1e-9, 0.2])
    many = np.linspace(0, 1, 5000)
    (above, _) = plots.score_agreement(many, {"mnn fp32": many}, {"mnn fp32": "mnn"}).axes
    assert _points(above.lines[1])[0].tolist() == many[::3].tolist()


def test_latency_draws_medians_up_to_p90():
    index = pd.MultiIndex.from_product(
        [["litert fp32", latency.AGAIN], [1, 64], ["copy_and_run"]], names=["variant", "batch", "mode"]
    )
    table = pd.DataFrame({"microseconds": [2.0, 3.0, 9, 9], "p90": [2.5, 3.5, 9, 9]}, index=index)
    axes = plots.latency(table).axes
    assert [ax.get_title(loc="left") for ax in axes] == ["batch 1", "batch 64"]
    assert [[_points(line)[0].tolist() for line in ax.lines] for ax in axes] == [
        [[2.0, 2.5], [2.0]],
        [[3.0, 3.5], [3.0]],
    ]
