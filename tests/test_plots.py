"""Figures are tested through the data they draw."""

import dataclasses
import importlib
import inspect
import pkgutil

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers import datasets, plots, registry, simulation, studies, tasks
from helpers.bundle import native
from helpers.evaluation import latency, parity
from helpers.metrics import ranking as metrics
from helpers.plots import films as film_plots
from helpers.plots import layers, reranking, training
from helpers.plots import pictures as picture_plots
from helpers.plots import ranking as ranking_plots
from helpers.schema import Dimension, Schema, Tensor
from helpers.studies import Arrays


@pytest.fixture(autouse=True)
def nothing_left_open():
    yield
    assert plt.get_fignums() == [], "an open figure is shown twice in a notebook"


def _points(line):
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


def test_distributions_count_every_row_of_every_feature(ranking):
    frame = simulation.sample(ranking, "personalised", rows=500, seed=0)
    figure = plots.distributions(frame, ranking.schema, "title")
    (ax,) = figure.axes
    assert figure.get_label().endswith("what the model is given to learn from (title).")
    outlines = [path.vertices for path in ax.collections[0].get_paths()]
    names, *ends = (ax.texts[start::3] for start in range(3))
    assert [text.get_text() for text in names] == ranking.schema.columns
    for column, outline, low, high in zip(names, outlines, *ends, strict=True):
        values = frame[column.get_text()]
        counts, _ = np.histogram(values, bins=30)
        heights = outline[0, 1] - outline[1:61:2, 1]
        assert np.allclose(heights / heights.max(), counts / counts.max())
        assert [text.get_text() for text in (low, high)] == [
            f"{end:.4g}" for end in (values.min(), values.max())
        ]


def test_label_correlations_draw_the_table():
    table = pd.DataFrame({"simple": [0.1, -0.2], "personalised": [0.0, 0.3]}, index=["a", "b"])
    axes = ranking_plots.label_correlations(table).axes
    assert [[bar.get_width() for bar in ax.patches] for ax in axes] == [[0.1, -0.2], [0.0, 0.3]]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["a", "b"]


def test_personal_ranks_are_level_where_all_agree_and_cross_where_not(ranking):
    utilities = {
        name: studies.cross_utility(ranking, name, users=6, items=5, seed=0)
        for name in ranking.sources
    }
    simple, personalised = ranking_plots.personal_ranks(utilities).axes
    assert all(len(set(_points(line)[1])) == 1 for line in simple.lines)
    assert any(len(set(_points(line)[1])) > 1 for line in personalised.lines)
    for user in range(6):
        drawn = [_points(line)[1][user] for line in personalised.lines]
        expected = [
            1 + (utilities["personalised"][user] > u).sum() for u in utilities["personalised"][user]
        ]
        assert drawn == expected


def test_auc_ladder_draws_the_table():
    table = pd.DataFrame({"s": [0.6, 0.9], "p": [0.7, 0.8]}, index=["popularity", "best"])
    widths = [bar.get_width() for bar in plots.ladder(table, "AUC", 0.5).axes[0].patches]
    assert widths == [0.6, 0.9, 0.7, 0.8]


def test_learning_curves_draw_history_and_published(trained):
    loss, accuracy = plots.learning_curves(trained.history, (0.7, 0.8, 0.9)).axes
    drawn = {line.get_label(): _points(line)[1].tolist() for line in accuracy.lines}
    assert drawn["validation"] == trained.history["val_accuracy"].tolist()
    assert drawn["training"] == trained.history["accuracy"].tolist()
    assert drawn["published validation"] == [0.7, 0.8, 0.9]
    assert _points(loss.lines[1])[1].tolist() == trained.history["val_loss"].tolist()
    assert len(plots.learning_curves(trained.history).axes[1].lines) == 2


def test_seed_spread_draws_every_run_their_mean_and_the_target():
    rows = [
        ("a", "one", 1, 0.7),
        ("a", "one", 2, 0.9),
        ("a", "two", 1, 0.8),
        ("a", "two", 2, 0.95),
        ("b", "three", 1, 0.6),
    ]
    histories = pd.DataFrame(rows, columns=["setting", "run", "epoch", "val_accuracy"])
    first, second = plots.seed_spread(histories, 0.973).axes
    drawn = [np.round(_points(line)[1], 9).tolist() for line in first.lines]
    assert drawn == [[0.7, 0.9], [0.8, 0.95], [0.75, 0.925], [0.973, 0.973]]
    assert [ax.get_title(loc="left") for ax in (first, second)] == ["a", "b"] and first.get_ylim()[
        0
    ] < 0.6


def test_grid_draws_means_and_intervals_in_order_of_the_parameter():
    index = pd.MultiIndex.from_tuples(
        [(16, 10), (16, 5), (4, 10), (4, 5)], names=["hidden_units", "epochs"]
    )
    table = pd.DataFrame(
        {"mean": [0.9, 0.8, 0.7, 0.6], "low": [0.85, 0.7, 0.6, 0.5], "high": [0.95, 0.9, 0.8, 0.7]},
        index=index,
    )
    (ax,) = plots.grid(table, 0.973, ylabel="accuracy").axes
    assert [text.get_text() for text in ax.get_xticklabels()] == ["5", "10"]
    drawn = {bars.get_label(): bars for bars in ax.containers}
    assert np.allclose(drawn["4 hidden units"].lines[0].get_ydata(), [0.6, 0.7])
    (segments,) = drawn["16 hidden units"].lines[2]
    assert np.allclose(
        [segment[:, 1] for segment in segments.get_segments()], [[0.7, 0.9], [0.85, 0.95]]
    )


def test_precision_by_size_has_a_row_a_file_from_the_smallest():
    index = pd.MultiIndex.from_tuples(
        [("mnn fp32", 900), ("litert int8", 300)], names=["file", "bytes"]
    )
    table = pd.DataFrame({"mean": [1.0, 0.9], "low": [1.0, 0.85], "high": [1.0, 0.95]}, index=index)
    size, tau, loss = ranking_plots.precision_by_size(table, table - 1).axes
    assert [text.get_text() for text in size.get_yticklabels()] == ["litert int8", "mnn fp32"]
    assert [line.get_xdata()[0] for line in size.lines] == [300, 900]
    assert [bars.lines[0].get_xdata()[0] for bars in tau.containers] == [0.9, 1.0]
    assert [bars.lines[0].get_xdata()[0] for bars in loss.containers] == pytest.approx([-0.1, 0.0])


def test_calibration_draws_the_bins(trained):
    table = metrics.calibration(trained.reference.scores[:, 0], trained.reference.truth.labels)
    (ax,) = ranking_plots.calibration({"model": table}).axes
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


def test_score_differences_draw_median_99_of_100_and_farthest():
    reference = np.zeros((1000, 1), np.float32)
    other = np.linspace(0, 0.1, 1000, dtype=np.float32)[:, None]
    (ax,) = plots.score_differences(reference, {"mnn int8": other, "litert fp32": reference}).axes
    lines = [_points(line) for line in ax.lines]
    np.testing.assert_allclose(lines[0][0], np.quantile(other, [0.5, 0.99, 1.0]), rtol=1e-6)
    assert lines[4][0].tolist() == [1e-9] * 3 and lines[4][1].tolist() == [1, 1, 1]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["mnn int8", "litert fp32"]


def _summary() -> pd.DataFrame:
    index = pd.MultiIndex.from_product(
        [["keras fp32", "litert fp32", "mnn int8", *latency.AGAIN], [1, 64], ["copy_and_run"], [1]],
        names=["variant", "batch", "mode", "threads"],
    )
    table = pd.DataFrame(
        {"ratio": 1.0, "ratio_low": 0.9, "ratio_high": 1.1, "floor": 0.25}, index=index
    )
    table["verdict"] = "no difference"
    table.loc[("mnn int8", 64, "copy_and_run", 1)] = [2.0, 1.8, 2.2, 0.25, "slower"]
    return table


def test_latency_draws_ratios_their_intervals_and_the_floor():
    axes = plots.latency(_summary()).axes
    assert [ax.get_title(loc="left") for ax in axes] == ["batch 1", "batch 64"]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["litert fp32", "mnn int8"]
    _, *drawn = axes[1].lines  # the first is the line at 1
    assert [_points(line)[0].tolist() for line in drawn] == [[0.9, 1.1], [1.0], [1.8, 2.2], [2.0]]
    assert [line.get_markerfacecolor() == "white" for line in drawn[1::2]] == [True, False]
    band = axes[0].patches[0].get_extents().transformed(axes[0].transData.inverted())
    np.testing.assert_allclose([band.x0, band.x1], [0.8, 1.25])


def test_warm_up_draws_each_round_by_the_files_own_median():
    rows = [("a", 1, "copy_and_run", 1, 1, r, t) for r, t in enumerate([9.0, 2.0, 4.0, 6.0])]
    rows += [("b", 1, "copy_and_run", 1, 1, r, 1.0) for r in range(4)] + [
        ("a", 64, "copy_and_run", 1, 1, 0, 5.0)
    ]
    blocks = pd.DataFrame(
        rows, columns=["variant", "batch", "mode", "threads", "process", "round", "microseconds"]
    )
    (ax,) = plots.warm_up(blocks).axes
    assert [_points(line)[1].tolist() for line in ax.lines] == [[2.25, 0.5, 1.0, 1.5], [1.0] * 4]


def test_pareto_draws_what_each_file_costs_and_marks_the_recommended():
    table = pd.DataFrame(
        {
            "bytes": [5000, 3000, 4000],
            "loss": [0.0, 0.002, np.nan],
            "latency_ratio": [0.8, 1.0, 1.2],
            "latency_ratio_high": [0.9, 1.0, 1.4],
            "left_out": ["", "", "broken"],
            "file": ["a", "b", "c"],
            "pareto": [True, True, False],
        },
        index=["mnn fp32", "litert int8", "litert int4"],
    )
    size, loss, time = plots.pareto(
        table, "a", {"bytes": 4500, "loss": None, "latency_ratio": None}
    ).axes
    assert [label.get_text() for label in size.get_yticklabels()] == [
        "litert int8",
        "litert int4",
        "mnn fp32",
    ]
    assert [_points(line)[0].tolist() for line in size.lines] == [
        [3000],
        [4000],
        [5000],
        [4500, 4500],
    ]
    assert [line.get_marker() for line in time.lines[1::2]] == ["o", "x", "*"]
    assert [_points(line)[0].tolist() for line in time.lines[1::2]] == [[1.0], [1.2], [0.8]]
    assert [_points(line)[0].tolist() for line in time.lines[::2]] == [
        [1.0, 1.0],
        [1.2, 1.4],
        [0.8, 0.9],
    ]
    assert len(loss.lines) == 3


def test_case_scores_draw_every_score():
    (ax,) = plots.case_scores({"one": np.array([0.5]), "three": np.array([0.1, 0.2, 0.9])}).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "three"]
    np.testing.assert_array_equal(_points(ax.lines[1]), [[0.1, 0.2, 0.9], [1, 1, 1]])


def test_native_latency_gives_python_the_rest():
    timed = pd.DataFrame(
        [("model.tflite", "litert", 1, 0.5, 2.0), ("model.mnn", "mnn", 1, 3.0, 2.0)],
        columns=["file", "runtime", "rows", "native_us", "python_us"],
    )
    (ax,) = plots.native_latency(timed).axes
    assert [bar.get_width() for bar in ax.patches] == [25, 150, 75, 0], (
        "a slower C library leaves Python nothing"
    )
    assert ax.get_xlim()[1] > 150, "and is drawn whole"
    assert {text.get_text().strip() for text in ax.texts} == {
        "0.50 us",
        "3.00 us",
        "2.00 us",
        "2.00 us: C is slower",
    }
    assert native.table(timed)["Python's part"].tolist() == [
        "75%",
        "none, this C library is slower",
    ]


def test_a_reordered_list_leads_each_post_to_its_new_place():
    (ax,) = reranking.reordered(
        ["a", "b", "c"], np.array([2, 0, 1]), np.array([0.2, 0.1, 0.9])
    ).axes
    assert [list(line.get_ydata()) for line in ax.lines] == [[2, 0], [0, 1], [1, 2]]
    assert [text.get_text().strip() for text in ax.texts][1::2] == ["0.900", "0.200", "0.100"]


def test_gains_are_drawn_in_per_cent_with_their_intervals():
    row = {
        "ctr_gain": 0.06,
        "ctr_low": 0.05,
        "ctr_high": 0.08,
        "uv_ctr_gain": 0.01,
        "uv_ctr_low": 0.0,
    }
    rates = pd.DataFrame({"the model": {**row, "uv_ctr_high": 0.02}}).T
    left, right = reranking.gains(rates).axes
    assert left.lines[0].get_xdata()[0] == pytest.approx(6) and right.lines[0].get_xdata()[
        0
    ] == pytest.approx(1)
    ends = left.collections[0].get_segments()[0][:, 0]
    np.testing.assert_allclose(ends, [5, 8])


def test_sizes_are_lines_over_the_floor():
    table = pd.DataFrame({"fp32.tflite": [3000, 1000], "fp16.mnn": [1500, 500]}, index=[1, 10])
    (ax,) = reranking.sizes(table).axes
    np.testing.assert_allclose(_points(ax.lines[0]), [[1, 10], [3, 1]])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["fp32.tflite", "fp16.mnn"]


def test_the_long_tail_counts_ratings():
    figure = film_plots.long_tail(np.array([1, 1, 2]), np.array([5, 6, 6]))
    users, films = figure.axes
    assert users.get_title(loc="left") == "2 users; a tenth of them has 67% of the ratings"
    assert films.collections[0].get_datalim(films.transData).ymax == 2


def test_models_are_in_order_beside_what_needs_none():
    table = pd.DataFrame(
        {"mean": [0.8, 0.6], "low": [0.78, 0.5], "high": [0.82, 0.7]}, index=["good", "bad"]
    )
    figure = plots.means(table, {"untrained": 0.7, "best possible": 0.9}, "AUC")
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.get_yticklabels()] == ["bad", "good"]
    (segments,) = ax.containers[0].lines[2]
    assert np.allclose([s[:, 0] for s in segments.get_segments()], [[0.5, 0.7], [0.78, 0.82]])
    assert [line.get_xdata()[0] for line in ax.lines[-2:]] == [0.7, 0.9]


def test_recall_rises_with_the_list():
    figure = film_plots.recall({"near": np.array([5.0, 50, np.inf])}, 400)
    (line,) = figure.axes[0].lines
    x, y = _points(line)
    assert y[0] == pytest.approx(1 / 3) and y[-1] == pytest.approx(2 / 3) and x[-1] == 400
    assert y[x < 50].max() == pytest.approx(1 / 3)


def test_hits_and_likes_of_each_list_stand_side_by_side():
    table = pd.DataFrame(
        {"HR": [0.1, 0.02], "HR low": [0.05, 0.0], "HR high": [0.2, 0.04], "liked": [0.4, 0.9]},
        index=["popular", "ours"],
    )
    left, right = film_plots.hits_and_likes(table, "HR", "liked").axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["popular", "ours"]
    (segments,) = left.containers[0].lines[2]
    assert np.allclose([s[:, 0] for s in segments.get_segments()], [[0.05, 0.2], [0.0, 0.04]])
    assert [bar.get_width() for bar in right.patches] == [0.4, 0.9]
    table["liked"] = np.nan
    assert len(film_plots.hits_and_likes(table, "HR", "liked").axes) == 1


# ---------------------------------------------------------------- pictures


@pytest.fixture
def digits(home):
    """A data set of 120 pictures in two shades a class, three classes, and its test rows."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 120)
    image = (labels[:, None, None, None] / 3 + rng.random((120, 7, 5, 1)) / 9).astype(np.float32)
    classes = tuple(Dimension(name, "") for name in ("dark", "grey", "light"))
    schema = Schema("m", (Tensor("image", shape=(7, 5, 1)),), (Tensor("p", "", classes),))
    source = Arrays("few", "", lambda: ({"image": image}, labels), shares=(0.2, 0.4))
    study = studies.Study("few", "Few", schema, {"few": source}, {}, task="classification")
    data = datasets.make(study, "few", rows=0, validation_rows=0, test_rows=0, seed=1)
    truth = data.truth("test")
    sure = np.eye(3)[truth.labels]
    task = tasks.get("classification")
    return data, parity.Reference(task, data.arrays("test")[0], {"p": sure}, truth)


def test_pictures_of_each_class_are_in_its_row(digits):
    data, _ = digits
    (ax,) = picture_plots.by_class(data, each=4).axes
    sheet = ax.images[0].get_array()
    assert sheet.shape == (3 * 9 - 2, 4 * 9 - 2, 3)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["dark", "grey", "light"]
    inputs, labels, _ = data.arrays("train")
    for row in range(3):
        first = inputs["image"][labels == row][:4]
        for column, picture in enumerate(first):
            shown = sheet[9 * row : 9 * row + 7, 9 * column : 9 * column + 5]
            np.testing.assert_allclose(shown, np.repeat(picture, 3, axis=2), atol=1 / 48)


def test_pictures_that_are_decided_otherwise_are_shown_the_surest_first(digits):
    data, reference = digits
    sure, labels = reference.scores.copy(), reference.truth.labels
    assert picture_plots.otherwise(data, reference, {"litert fp32": sure}) is None
    wrong, other = sure.copy(), sure.copy()
    for row, chance in ((3, 0.6), (9, 0.9)):
        wrong[row] = np.roll(sure[row], 1) * chance
    other[5] = np.roll(sure[5], 2)
    reference = dataclasses.replace(reference, outputs={"p": wrong})
    scores = {"litert fp32": wrong, "mnn fp16": sure, "mnn int8": np.ones((4, 9))}
    scores |= {"litert int8": np.where(np.arange(len(sure))[:, None] == 5, other, sure)}
    axes = picture_plots.otherwise(data, reference, scores).axes
    count = len(labels)
    assert [ax.get_title(loc="left") for ax in axes] == [
        f"trained model: wrong in 2 of {count} (class → model)",
        f"litert int8: otherwise in 3 of {count} (model → file)",
        f"mnn fp16: otherwise in 2 of {count} (model → file)",
    ]
    names, images = ("dark", "grey", "light"), reference.inputs["image"]
    said = [label.get_text() for label in axes[0].get_xticklabels()]
    assert said == [f"{names[labels[i]]} → {names[(labels[i] + 1) % 3]}" for i in (9, 3)]
    sheet = axes[0].images[0].get_array()
    for column, row in enumerate((9, 3)):
        shown = sheet[:7, 9 * column : 9 * column + 5]
        np.testing.assert_allclose(shown, np.repeat(images[row], 3, axis=2), atol=1 / 48)


def test_every_figure_says_what_it_shows():
    modules = [
        importlib.import_module(f"helpers.plots.{m.name}")
        for m in pkgutil.iter_modules(plots.__path__)
    ]
    drawing = [
        function
        for module in (plots, *modules)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if not name.startswith("_")
        and str(function.__annotations__.get("return", "")).startswith("Figure")
        and function.__module__ == module.__name__
    ]
    silent = [f.__qualname__ for f in drawing if not hasattr(f, "__wrapped__")]
    assert len(drawing) > 25 and silent == []
    assert plots.values(np.linspace(0, 1, 9)).get_label().endswith("gives which value.")
    assert (
        plots.score_differences(np.zeros(1), {}).get_label() == "Nothing to draw: no file was made."
    )


def test_the_layers_of_a_model_are_drawn_with_what_is_between_them():
    from helpers.frameworks import keras
    from helpers.quiet import tensorflow

    tensorflow()
    model = registry.get("movies").models["embedding_mlp"].build()
    drawn = keras.layers(model)
    assert drawn["parameters"].sum() == model.count_params()
    assert drawn.loc["hidden_2", "takes"] == ["hidden_1"] and drawn.loc["score", "gives"] == "1"
    unseen = set(drawn.index) - {name for takes in drawn["takes"] for name in takes}
    assert unseen == {"score"}, "every other layer leads to one"
    figure = layers.architecture(drawn)
    (ax,) = figure.axes
    texts = [text.get_text() for text in ax.texts]
    assert len(texts) == len(drawn) and any("16,512 weights" in text for text in texts)
    assert len(ax.lines) == drawn["takes"].map(len).sum()


def test_legends_have_the_style_of_the_axes():
    table = pd.Series([0.5, 0.7], index=pd.RangeIndex(2, name="day"))
    figure = training.curves({"honest": table}, "day", "AUC", [("best", 0.9), ("shipped", 0.6)])
    assert not figure.legends[0].get_frame_on() and figure.axes[0].get_axisbelow() is True
    styles = {line.get_linestyle() for line in figure.axes[0].lines}
    assert len(styles) == 3, "levels are told apart"


def test_a_long_model_goes_on_in_the_next_row():
    names = [f"layer_{i}" for i in range(11)]
    takes = [[], *([name] for name in names[:-1])]
    drawn = pd.DataFrame(
        {"type": "Dense", "gives": "4", "parameters": 2, "takes": takes}, index=names
    )
    (ax,) = layers.architecture(drawn).axes
    places = [text.xy for text in ax.texts]
    assert [x for x, _ in places] == [*range(8), 0, 1, 2]
    assert {y for _, y in places[:8]} == {0} and {y for _, y in places[8:]} == {-1}
    assert [len(line.get_xdata()) for line in ax.lines] == [2] * 7 + [4] + [2] * 2
