"""Figures: each function takes data and returns the matplotlib Figure, so that a test can read what
it draws.

What every task has is here; `ranking` and `classification` have what is theirs alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import figure as drawing
from matplotlib.collections import LineCollection, PolyCollection

from helpers import figures
from helpers.colours import COLOURS, RUNTIME_COLOURS, colour_of
from helpers.schema import Schema

MOST_POINTS = 2000
MOST_ROUNDS = 12
_STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


class Figure(drawing.Figure):
    """One that a notebook shows as `helpers.figures` draws it, its label for those who see none."""

    def _ipython_display_(self) -> None:  # before the inline backend's own way
        from IPython.display import display

        display(figures.image(figures.png(self)))


def shows(sentence: str) -> Callable:
    """Draw a function's figures in one style, and say what they show, in a sentence: the label of a
    `Figure` that has none.

    `helpers.runs.Stage.figure` keeps it with the picture; it stands below it and in the place of it
    for those who cannot see it.
    """

    def decorate(draw: Callable) -> Callable:
        @functools.wraps(draw)
        def labelled(*arguments, **options) -> Figure | None:
            with plt.rc_context(_STYLE):  # of legends too, which come when the axes are there
                figure = draw(*arguments, **options)
            if figure is not None and not figure.get_label():
                figure.set_label(sentence)
            return figure

        return labelled

    return decorate


def axes_of(
    rows: int = 1, columns: int = 1, *, size: tuple[float, float], **options
) -> tuple[Figure, np.ndarray]:
    """A styled figure that is closed for pyplot, so that a notebook shows it once, where it is
    returned.
    """
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(
            rows, columns, figsize=size, squeeze=False, FigureClass=Figure, **options
        )
    plt.close(figure)
    return figure, axes


def _nothing(reason: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure, axes = axes_of(size=(4, 0.6))
    figure.set_label(f"Nothing to draw: {reason}.")
    axes[0, 0].annotate(reason, (0.5, 0.5), ha="center", va="center")
    axes[0, 0].set_axis_off()
    return figure


@shows(
    "The mean of each row with its 95 % interval, the largest on top; dashed lines are what "
    "it is held against."
)
def means(spread, lines: Mapping[str, float], xlabel: str) -> Figure:
    """Mean of each row with its 95 % interval, the largest first, beside figures that are lines;
    `spread` has the columns ``mean``, ``low`` and ``high``, as `helpers.results.spread`'s.
    """
    spread = spread.sort_values("mean")
    figure, axes = axes_of(size=(7.5, 0.34 * len(spread) + 1.2))
    ax, place = axes[0, 0], np.arange(len(spread))
    ends = np.abs(spread[["low", "high"]].to_numpy(float).T - spread["mean"].to_numpy(float))
    ax.errorbar(spread["mean"], place, xerr=ends, fmt="o", color=COLOURS[0], capsize=3)
    ax.set_yticks(place, list(spread.index))
    for colour, (name, value) in zip(COLOURS[1:], lines.items(), strict=False):
        ax.axvline(value, color=colour, linestyle="--", linewidth=1.3, label=name)
    ax.set_xlabel(xlabel)
    figure.legend(loc="outside upper right", ncols=len(lines))
    return figure


_SPREAD = (
    "How the values of each input are spread, from its least to its largest value: what the model "
    "is given to learn from"
)


@shows(f"{_SPREAD}.")
def distributions(frame, schema: Schema, title: str, colour: str = COLOURS[0]) -> Figure:
    """Histogram of every feature of a DataFrame, each on its own range; of a tensor without names,
    of all values.

    All are outlines in one pair of axes: a pair for each takes seconds to draw.
    """
    columns = [name for tensor in schema.inputs for name in tensor.columns or [tensor.name]]
    wide, width, height = 7, 0.9, 0.52
    rows = -(-len(columns) // wide)
    figure, axes = axes_of(size=(10, 1.1 * rows + 0.4))
    ax, outlines, floors = axes[0, 0], [], []
    for place, column in enumerate(columns):
        named = frame[column].dtype != object
        values = frame[column] if named else np.stack(frame[column][:MOST_POINTS]).ravel()
        counts, edges = np.histogram(values, bins=30)
        left, floor = place % wide, place // wide + 0.8
        x = left + width * (edges - edges[0]) / (edges[-1] - edges[0])
        y = floor - height * counts / counts.max()
        outlines.append(
            [(left, floor), *zip(x.repeat(2)[1:-1], y.repeat(2), strict=True), (x[-1], floor)]
        )
        floors.append([(left, floor), (left + width, floor)])
        ax.text(left, floor - height - 0.05, column, fontsize=7)
        for end, at, side in ((edges[0], left, "left"), (edges[-1], left + width, "right")):
            ax.text(at, floor + 0.04, f"{end:.4g}", fontsize=6.5, ha=side, va="top")
    ax.add_collection(PolyCollection(outlines, facecolor=colour))
    ax.add_collection(LineCollection(floors, colors="black", linewidths=0.6))
    ax.set(xlim=(0, wide), ylim=(rows, 0))
    ax.set_axis_off()
    ax.set_title(title, loc="left")
    figure.set_label(f"{_SPREAD} ({title}).")  # of several sources there are as many figures
    return figure


@shows(
    "What simple scorers reach, from chance at the left edge up to the best that anybody can "
    "reach: the room a model has."
)
def ladder(table, figure_name: str, chance: float) -> Figure:
    """A figure of simple scorers beside the best possible: DataFrame with a row a scorer and a
    column a source.
    """
    figure, axes = axes_of(size=(7.5, 0.55 * len(table) + 1.1))
    ax = axes[0, 0]
    for i, (colour, source) in enumerate(zip(COLOURS, table.columns, strict=False)):
        place = np.arange(len(table)) + (i - (len(table.columns) - 1) / 2) * 0.36
        bars = ax.barh(place, table[source], height=0.34, color=colour, label=source)
        ax.bar_label(bars, fmt="%.3f", padding=3, fontsize=8)
    ax.set_yticks(np.arange(len(table)), table.index)
    ax.invert_yaxis()
    ax.set_xlim(chance, 1 + 0.08 * (1 - chance))
    ax.set_xlabel(f"{figure_name} ({chance:g} is chance)" if chance else figure_name)
    figure.legend(loc="outside upper right", ncols=len(table.columns))
    return figure


@shows(
    "Loss and accuracy after each epoch: training goes on while the validation curve still "
    "moves, and overfits where it turns away from the training curve."
)
def learning_curves(history, published: tuple[float, ...] | None = None) -> Figure:
    """Loss and accuracy by epoch, with the published validation accuracy where there is one."""
    figure, axes = axes_of(1, 2, size=(9, 3.2))
    for ax, measure in zip(axes.flat, ("loss", "accuracy"), strict=True):
        ax.plot(
            history.index, history[measure], "o-", color=COLOURS[5], markersize=4, label="training"
        )
        ax.plot(
            history.index,
            history[f"val_{measure}"],
            "o-",
            color=COLOURS[0],
            markersize=4,
            label="validation",
        )
        ax.set_title(measure, loc="left")
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    if published:
        epochs = np.arange(1, len(published) + 1)
        axes[0, 1].plot(
            epochs, published, "s--", color=COLOURS[1], markersize=4, label="published validation"
        )
    axes[0, 1].legend(loc="lower right")
    return figure


@shows(
    "Validation accuracy by epoch, a thin line a seed and their mean: how far the seed alone "
    "moves a run."
)
def seed_spread(histories, target: float) -> Figure:
    """Validation accuracy by epoch, a panel a setting, a line a run, their mean, and the target.

    `histories` is a DataFrame with the columns setting, run, epoch and val_accuracy.
    """
    panels = dict(list(histories.groupby("setting", sort=False)))
    figure, axes = axes_of(1, len(panels), size=(3.0 * len(panels) + 0.6, 3.0), sharey=True)
    for ax, (setting, part) in zip(axes.flat, panels.items(), strict=True):
        curves = part.pivot(index="epoch", columns="run", values="val_accuracy")
        ax.plot(curves.index, curves, color=COLOURS[0], alpha=0.35, linewidth=1)
        mean = curves.mean(axis=1)
        ax.plot(
            mean.index,
            mean,
            color=COLOURS[0],
            linewidth=2,
            label=f"mean of {curves.shape[1]} seeds",
        )
        ax.axhline(
            target, color=COLOURS[1], linestyle="--", linewidth=1.2, label=f"published {target:.3f}"
        )
        ax.set_title(setting.replace(", ", ",\n"), loc="left", fontsize=9)
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes.flat[0].set_ylabel("validation accuracy")
    axes.flat[0].set_ylim(bottom=max(0.5, histories["val_accuracy"].min() - 0.02), top=1.0)
    axes.flat[-1].legend(loc="lower right")
    return figure


@shows("Means over seeds with their 95 % intervals for each combination of two parameters.")
def grid(spread, target: float | None = None, *, ylabel: str) -> Figure:
    """Means with their 95 % intervals over two parameters: `spread` is `results.spread` by [lines,
    x].
    """
    lines, along = spread.index.names
    figure, axes = axes_of(size=(6, 3.6))
    ax = axes[0, 0]
    spread = spread.sort_index()
    values = spread.index.unique(along).sort_values()
    groups = list(spread.groupby(level=lines))
    for number, (colour, (value, part)) in enumerate(zip(COLOURS, groups, strict=False)):
        aside = (number - (len(groups) - 1) / 2) * 0.06  # so that bars do not hide each other
        places = [values.get_loc(x) + aside for x in part.index.get_level_values(along)]
        bars = [part["mean"] - part["low"], part["high"] - part["mean"]]
        label = f"{value} {lines.replace('_', ' ')}"
        ax.errorbar(
            places, part["mean"], bars, fmt="o-", color=colour, markersize=4, capsize=2, label=label
        )
    if target is not None:
        ax.axhline(
            target, color="black", linestyle="--", linewidth=1, label=f"published {target:.3f}"
        )
    ax.set_xticks(range(len(values)), values)
    ax.set_xlabel(along.replace("_", " "))
    ax.set_ylabel(ylabel)
    ax.legend(loc="lower right")
    return figure


@shows(
    "Each file's scores against the trained model's: points on the diagonal are the same "
    "score, and the lower panels show how large the difference is."
)
def score_agreement(
    reference: np.ndarray, scores: Mapping[str, np.ndarray], runtimes: Mapping[str, str]
) -> Figure:
    """Each file's scores against the reference's, and below, their difference on a logarithmic
    scale.

    `runtimes` maps the names in `scores` to a runtime, for the colour. Of many rows, every
    so-many-th is drawn: at most `MOST_POINTS`.
    """
    if not scores:
        return _nothing("no file was made")
    reference = reference.reshape(-1)
    every = slice(None, None, -(-len(reference) // MOST_POINTS))
    figure, axes = axes_of(
        2,
        len(scores),
        size=(3.3 * max(2, len(scores)), 5),
        sharex=True,
        sharey="row",
        height_ratios=(3, 2),
    )
    drawn = reference[every].astype(np.float64)
    ends = _ends(reference)
    for (name, values), above, below in zip(scores.items(), axes[0], axes[1], strict=True):
        values = values.reshape(-1)[every]
        colour = RUNTIME_COLOURS.get(runtimes[name], COLOURS[2])
        above.plot(ends, ends, color="black", linewidth=0.6)
        above.plot(drawn, values, ".", color=colour, markersize=2, alpha=0.4, rasterized=True)
        above.set_title(name, loc="left")
        difference = np.maximum(np.abs(values.astype(np.float64) - drawn), 1e-9)
        below.plot(drawn, difference, ".", color=colour, markersize=2, alpha=0.4, rasterized=True)
        below.set_yscale("log")
        below.set_ylim(5e-10, max(1.0, *np.abs(ends)))
        below.set_xlabel("score of the trained model")
    axes[0, 0].set_ylabel("score of the file")
    axes[1, 0].set_ylabel("difference (1e-9: none)")
    return figure


@shows(
    "How far each file's scores are from the trained model's on the test rows: half of the rows "
    "differ by less than the bar, all but one in a hundred by less than the dot, none by more than "
    "the arrow."
)
def score_differences(reference: np.ndarray, scores: Mapping[str, np.ndarray]) -> Figure:
    """How far each file's scores are from the reference's, a line a file, on a logarithmic scale.

    It goes from the median row over the 99th percentile to the farthest.
    """
    if not scores:
        return _nothing("no file was made")
    figure, axes = axes_of(size=(7.5, 0.24 * len(scores) + 1.2))
    ax = axes[0, 0]
    marks = {"median row": "|", "99 of 100 rows": "o", "farthest row": ">"}
    for place, (name, values) in enumerate(scores.items()):
        difference = np.abs(values.astype(np.float64).reshape(-1) - reference.reshape(-1))
        drawn = np.maximum(np.quantile(difference, [0.5, 0.99, 1.0]), 1e-9)
        ax.plot(drawn, [place] * 3, "-", color=colour_of(name), linewidth=1.5)
        for value, marker in zip(drawn, marks.values(), strict=True):
            ax.plot(value, place, marker, color=colour_of(name), markersize=6, markeredgewidth=1.5)
    for label, marker in marks.items():
        ax.plot([], [], marker, color="black", markersize=6, label=label)
    ax.set_xscale("log")
    ax.set_xlim(5e-10, max(1.0, *np.abs(_ends(reference))))
    ax.set_yticks(np.arange(len(scores)), list(scores))
    ax.invert_yaxis()
    ax.set_xlabel("difference from the trained model's score")
    figure.legend(loc="outside upper right", ncols=len(marks))
    return figure


def _ends(values: np.ndarray) -> tuple[float, float]:
    """Where an axis of scores begins and ends: 0 and 1 for probabilities."""
    low, high = float(values.min()), float(values.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


@shows("How often the trained model gives which value.")
def values(scores: np.ndarray) -> Figure:
    """How often which score is given."""
    figure, axes = axes_of(size=(5, 2.6))
    axes[0, 0].hist(scores.reshape(-1), bins=60, range=_ends(scores), color=COLOURS[0])
    axes[0, 0].set_xlabel("value of the trained model's output")
    axes[0, 0].set_ylabel("values")
    return figure


@shows(
    "Time of a call as a multiple of the reference's, with 95 % intervals, a panel a batch "
    "size: inside the grey band, the noise floor, no difference can be claimed, and such "
    "files are hollow."
)
def latency(summary, mode: str = "copy_and_run", threads: int = 1) -> Figure:
    """Time a call by the reference's, with its 95 % interval, a panel a batch size; `summary` is
    `latency.summarise`'s.

    The band is the noise floor; files of which nothing can be claimed are hollow. Keras is left
    out: it is two orders of magnitude away, in the table.
    """
    table = summary.xs((mode, threads), level=("mode", "threads"))
    from helpers.evaluation.latency import (
        variants,
    )  # here: other figures do not depend on how latency is measured
    from helpers.runtimes import PHONE

    names = [name for name in variants(summary) if name.split()[0] in PHONE]
    batches = sorted(table.index.unique("batch"))
    figure, axes = axes_of(
        1,
        len(batches),
        size=(max(6.4, 2 * len(batches) + 1.6), 0.22 * len(names) + 1.1),
        sharex=True,
        sharey=True,
    )
    for ax, batch in zip(axes.flat, batches, strict=True):
        floor = table.loc[(names[0], batch), "floor"]
        ax.axvspan(1 / (1 + floor), 1 + floor, color="black", alpha=0.08, linewidth=0)
        ax.axvline(1, color="black", linewidth=0.6)
        for place, name in enumerate(names):
            row = table.loc[(name, batch)]
            known = row["verdict"] != "no difference"
            ax.plot(
                [row["ratio_low"], row["ratio_high"]],
                [place, place],
                "-",
                color=colour_of(name),
                linewidth=2,
            )
            face = colour_of(name) if known else "white"
            ax.plot(
                row["ratio"], place, "o", color=colour_of(name), markerfacecolor=face, markersize=5
            )
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:g}x")
        ax.set_title(f"batch {batch:,}", loc="left")
        ax.set_yticks(np.arange(len(names)), names)
    axes.flat[0].invert_yaxis()
    figure.supxlabel(
        "time a call as a multiple of the reference's; hollow: no difference can be claimed",
        fontsize=9,
    )
    return figure


@shows(
    "Time of the first rounds by each file's own median: lines that rise and fall together "
    "are the machine changing its speed, not the file."
)
def warm_up(
    blocks, batch: int | None = None, mode: str = "copy_and_run", threads: int = 1
) -> Figure:
    """Time of the first rounds by the file's own median, a line a file; round 0 is the warm-up,
    which is not counted.

    `batch` is the smallest that was timed by default.

    Lines that move together are the machine changing its speed; ratios within a round do not see
    it.
    """
    batch = blocks["batch"].min() if batch is None else batch
    chosen = (blocks["batch"] == batch) & (blocks["mode"] == mode) & (blocks["threads"] == threads)
    part = blocks[chosen & (blocks["process"] == 1) & (blocks["round"] <= MOST_ROUNDS)]
    figure, axes = axes_of(size=(6, 2.4))
    ax = axes[0, 0]
    for variant, blocks_of in part.groupby("variant"):
        blocks_of = blocks_of.sort_values("round")
        relative = (
            blocks_of["microseconds"]
            / blocks_of.loc[blocks_of["round"] > 0, "microseconds"].median()
        )
        ax.plot(blocks_of["round"], relative, "-", color=colour_of(variant), linewidth=1, alpha=0.7)
    ax.axvspan(-0.5, 0.5, color="black", alpha=0.08, linewidth=0)
    ax.set_xlim(-0.5, part["round"].max() + 0.5)
    ax.set_ylim(0.5, 2)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("round (grey: warm-up, not counted)")
    ax.set_ylabel("time by the file's own median")
    return figure


@shows(
    "What each file costs in bytes, loss and latency, the smallest on top: the star is "
    "recommended, filled marks are beaten by no other file, crosses may not be shipped, and "
    "the shade is beyond the budget."
)
def pareto(
    table, chosen: str | None, limits: Mapping[str, float | None], lost: str = "AUC lost"
) -> Figure:
    """What each file costs in bytes, loss and latency, a row a file from the smallest to the
    largest; `table` is `choice.Choice.table`.

    Filled: no other file is better in one of the three and as good in the others. Crosses may not
    be shipped. The star is the recommended file, the dashed lines and the shade beyond them are the
    budget (`limits` as in `choice.Budget`). The line of a latency reaches to the pessimistic end of
    its interval, which the budget looks at.
    """
    titles = {
        "bytes": "bytes of the file",
        "loss": f"{lost} at most",
        "latency_ratio": "latency, as a multiple",
    }
    rows = table.sort_values("bytes", kind="stable")
    figure, axes = axes_of(1, 3, size=(10, 0.24 * len(rows) + 1), sharey=True)
    for ax, (measure, title) in zip(axes.flat, titles.items(), strict=True):
        for place, (name, row) in enumerate(rows.iterrows()):
            colour, recommended = colour_of(name), row["file"] == chosen
            marker = "x" if row["left_out"] else "*" if recommended else "o"
            face = colour if row["pareto"] else "white"
            size = 13 if recommended else 6
            if measure == "latency_ratio":
                ax.plot(
                    [row[measure], row["latency_ratio_high"]],
                    [place, place],
                    color=colour,
                    linewidth=1,
                )
            ax.plot(
                row[measure],
                place,
                marker,
                color=colour,
                markerfacecolor=face,
                markersize=size,
                clip_on=False,
            )
        if limits.get(measure) is not None:
            ax.axvline(limits[measure], color=COLOURS[1], linestyle="--", linewidth=1)
            ax.axvspan(
                limits[measure],
                max(ax.get_xlim()[1], limits[measure]),
                color=COLOURS[1],
                alpha=0.06,
                linewidth=0,
            )
        ax.set_title(title, loc="left")
        ax.set_yticks(np.arange(len(rows)), rows.index)
    axes[0, 0].set_xlim(left=0)
    axes[0, 2].xaxis.set_major_formatter("{x:g}x")
    axes[0, 1].set_xscale("symlog", linthresh=1e-4)
    axes[0, 1].set_xlim(left=0)
    axes[0, 0].invert_yaxis()
    return figure


@shows(
    "What the trained model scores in each golden case: cases whose scores are spread out "
    "tell a right file from a wrong one."
)
def case_scores(cases: Mapping[str, np.ndarray]) -> Figure:
    """Scores by golden case, a line a case: cases that all score alike would prove little."""
    figure, axes = axes_of(size=(7.5, 0.27 * len(cases) + 0.7))
    ax = axes[0, 0]
    for place, scores in enumerate(values.reshape(-1) for values in cases.values()):
        ax.plot(
            scores,
            [place] * len(scores),
            "|",
            color=COLOURS[0],
            markersize=10,
            alpha=max(0.25, 1 / len(scores)),
        )
    low, high = _ends(np.concatenate([values.reshape(-1) for values in cases.values()]))
    ax.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    ax.set_yticks(np.arange(len(cases)), list(cases))
    ax.invert_yaxis()
    ax.set_xlabel("score of the trained model")
    return figure


@shows(
    "Time of a call from C or C++ as a share of the same call from Python: what is grey is "
    "Python's, and a phone does not pay it."
)
def native_latency(timed) -> Figure:
    """What is the runtime's and what is Python's of a call: bars a file and batch size, of
    `bundle.native`'s table.

    A bar beyond 100 per cent is a C library that is slower than Python's runtime, which has other
    kernels.
    """
    figure, axes = axes_of(size=(7.5, 0.34 * len(timed) + 1.0))
    ax = axes[0, 0]
    share = timed["native_us"].to_numpy() / timed["python_us"].to_numpy() * 100
    end, place = np.maximum(share, 100), np.arange(len(timed))
    ax.barh(
        place, share, color=[RUNTIME_COLOURS[runtime] for runtime in timed["runtime"]], height=0.7
    )
    ax.barh(place, end - share, left=share, color="#d9d9d9", height=0.7)
    for y, row in zip(place, timed.itertuples(), strict=True):
        ax.annotate(f" {row.native_us:.2f} us", (0, y), va="center", color="white", fontsize=8)
        slower = ": C is slower" if row.native_us > row.python_us else ""
        ax.annotate(f" {row.python_us:.2f} us{slower}", (end[y], y), va="center", fontsize=8)
    ax.axvline(100, color="black", linewidth=0.6)
    ax.set_yticks(place, [f"{row.file}, batch {row.rows}" for row in timed.itertuples()])
    ax.invert_yaxis()
    ax.set_xlim(0, 1.25 * end.max())
    ax.grid(False)
    ax.set_xlabel(
        "per cent of the time of a call from Python; colour: the same call in C or C++, grey: "
        "Python"
    )
    return figure
