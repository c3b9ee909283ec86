"""The figures: each function takes data and returns the matplotlib Figure, so that a test can read what it draws."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from helpers.schema import Schema

COLOURS = ("#33658a", "#d1603d", "#5b8c5a", "#8e6c8a", "#c2a13e", "#5f6b73")
RUNTIME_COLOURS = {"keras": COLOURS[5], "litert": COLOURS[0], "mnn": COLOURS[1]}
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
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def _axes(rows: int = 1, columns: int = 1, *, size: tuple[float, float], **options) -> tuple[Figure, np.ndarray]:
    """A styled figure that is closed for pyplot, so that a notebook shows it once, where it is returned."""
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, **options)
    plt.close(figure)
    return figure, axes


def _nothing(reason: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure, axes = _axes(size=(4, 0.6))
    axes[0, 0].annotate(reason, (0.5, 0.5), ha="center", va="center")
    axes[0, 0].set_axis_off()
    return figure


def distributions(frame, schema: Schema, title: str, colour: str = COLOURS[0]) -> Figure:
    """Histogram of every feature of a DataFrame, each on its own range."""
    columns, wide = schema.columns, 7
    rows = -(-len(columns) // wide)
    figure, axes = _axes(rows, wide, size=(10, 1.15 * rows + 0.4))
    for ax, column in zip(axes.flat, columns, strict=False):
        ax.hist(frame[column], bins=30, color=colour)
        ax.set_title(column, fontsize=7, loc="left")
        ax.set_yticks([])
        ax.tick_params(labelsize=7)
        ax.grid(False)
    for ax in axes.flat[len(columns) :]:
        ax.set_axis_off()
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def label_correlations(correlations) -> Figure:
    """Correlation of each feature with the label: DataFrame with a row a feature and a column a scenario."""
    figure, axes = _axes(1, len(correlations.columns), size=(9, 0.19 * len(correlations) + 0.8), sharey=True)
    place = np.arange(len(correlations))
    for ax, colour, scenario in zip(axes.flat, COLOURS, correlations.columns, strict=False):
        ax.barh(place, correlations[scenario], color=colour)
        ax.set_title(scenario, loc="left")
        ax.set_xlabel("correlation with the label")
        ax.axvline(0, color="black", linewidth=0.6)
        ax.set_yticks(place, correlations.index)
        ax.set_ylim(len(correlations) - 0.4, -0.6)
    return figure


def personal_ranks(utilities: Mapping[str, np.ndarray]) -> Figure:
    """Rank of each item for each user, a line an item; `utilities` maps scenario to ``(n_users, n_items)``.

    Level lines: everybody's order is the same. Crossing lines: taste is personal.
    """
    figure, axes = _axes(1, len(utilities), size=(9, 3.1), sharey=True)
    for ax, (scenario, utility) in zip(axes.flat, utilities.items(), strict=True):
        ranks = (-utility).argsort(axis=1).argsort(axis=1) + 1
        for item in range(utility.shape[1]):
            colour = plt.get_cmap("viridis")((ranks[0, item] - 1) / max(1, utility.shape[1] - 1))
            ax.plot(np.arange(1, len(ranks) + 1), ranks[:, item], "o-", color=colour, markersize=5, linewidth=1.6)
        ax.set_title(f"{scenario}: {utility.shape[1]} items in the eyes of {len(utility)} users", loc="left")
        ax.set_xlabel("user")
        ax.set_xticks(np.arange(1, len(ranks) + 1))
        ax.set_yticks(np.arange(1, utility.shape[1] + 1))
    axes.flat[0].set_ylabel("place in the user's own order")
    axes.flat[0].invert_yaxis()
    return figure


def auc_ladder(table) -> Figure:
    """AUC of simple scorers beside the best possible: DataFrame with a row a scorer and a column a scenario."""
    figure, axes = _axes(size=(7.5, 0.55 * len(table) + 1.1))
    ax = axes[0, 0]
    for i, (colour, scenario) in enumerate(zip(COLOURS, table.columns, strict=False)):
        place = np.arange(len(table)) + (i - (len(table.columns) - 1) / 2) * 0.36
        bars = ax.barh(place, table[scenario], height=0.34, color=colour, label=scenario)
        ax.bar_label(bars, fmt="%.3f", padding=3, fontsize=8)
    ax.set_yticks(np.arange(len(table)), table.index)
    ax.invert_yaxis()
    ax.set_xlim(0.5, 1.04)
    ax.set_xlabel("AUC (0.5 is chance)")
    figure.legend(loc="outside upper right", ncols=len(table.columns))
    return figure


def learning_curves(history, published: tuple[float, ...] | None = None) -> Figure:
    """Loss and accuracy by epoch, with the published validation accuracy where there is one."""
    figure, axes = _axes(1, 2, size=(9, 3.2))
    for ax, measure in zip(axes.flat, ("loss", "accuracy"), strict=True):
        ax.plot(history.index, history[measure], "o-", color=COLOURS[5], markersize=4, label="training")
        ax.plot(history.index, history[f"val_{measure}"], "o-", color=COLOURS[0], markersize=4, label="validation")
        ax.set_title(measure, loc="left")
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    if published:
        epochs = np.arange(1, len(published) + 1)
        axes[0, 1].plot(epochs, published, "s--", color=COLOURS[1], markersize=4, label="published validation")
    axes[0, 1].legend(loc="lower right")
    return figure


def seed_spread(histories, target: float) -> Figure:
    """Validation accuracy by epoch, a panel a setting, a line a run, their mean, and the target.

    `histories` is a DataFrame with the columns setting, run, epoch and val_accuracy.
    """
    panels = dict(list(histories.groupby("setting", sort=False)))
    figure, axes = _axes(1, len(panels), size=(3.0 * len(panels) + 0.6, 3.0), sharey=True)
    for ax, (setting, part) in zip(axes.flat, panels.items(), strict=True):
        curves = part.pivot(index="epoch", columns="run", values="val_accuracy")
        ax.plot(curves.index, curves, color=COLOURS[0], alpha=0.35, linewidth=1)
        mean = curves.mean(axis=1)
        ax.plot(mean.index, mean, color=COLOURS[0], linewidth=2, label=f"mean of {curves.shape[1]} seeds")
        ax.axhline(target, color=COLOURS[1], linestyle="--", linewidth=1.2, label=f"published {target:.3f}")
        ax.set_title(setting.replace(", ", ",\n"), loc="left", fontsize=9)
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes.flat[0].set_ylabel("validation accuracy")
    axes.flat[0].set_ylim(bottom=max(0.5, histories["val_accuracy"].min() - 0.02), top=1.0)
    axes.flat[-1].legend(loc="lower right")
    return figure


def grid(spread, target: float | None = None, *, ylabel: str) -> Figure:
    """Means with their 95 % intervals over two parameters: `spread` is `results.spread` by [lines, x]."""
    lines, along = spread.index.names
    figure, axes = _axes(size=(6, 3.6))
    ax = axes[0, 0]
    spread = spread.sort_index()
    values = spread.index.unique(along).sort_values()
    groups = list(spread.groupby(level=lines))
    for number, (colour, (value, part)) in enumerate(zip(COLOURS, groups, strict=False)):
        aside = (number - (len(groups) - 1) / 2) * 0.06  # so that bars do not hide each other
        places = [values.get_loc(x) + aside for x in part.index.get_level_values(along)]
        bars = [part["mean"] - part["low"], part["high"] - part["mean"]]
        label = f"{value} {lines.replace('_', ' ')}"
        ax.errorbar(places, part["mean"], bars, fmt="o-", color=colour, markersize=4, capsize=2, label=label)
    if target is not None:
        ax.axhline(target, color="black", linestyle="--", linewidth=1, label=f"published {target:.3f}")
    ax.set_xticks(range(len(values)), values)
    ax.set_xlabel(along.replace("_", " "))
    ax.set_ylabel(ylabel)
    ax.legend(loc="lower right")
    return figure


def precision_by_size(agreement, loss) -> Figure:
    """How files rank against their size, a row a file from the smallest to the largest: bytes, and Kendall tau and
    change of AUC with 95 % intervals of the mean over runs.

    Both are `results.spread` by [runtime, precision, bytes], of the same files.
    """
    agreement = agreement.sort_index(level="bytes", kind="stable", sort_remaining=False)
    loss = loss.loc[agreement.index]
    figure, axes = _axes(1, 3, size=(10, 0.24 * len(loss) + 1), sharey=True)
    for place, (runtime, precision, size) in enumerate(agreement.index):
        axes[0, 0].plot(size, place, "o", color=_colour(runtime), markersize=6, clip_on=False)
        for ax, table in zip(axes[0, 1:], (agreement, loss), strict=True):
            row = table.loc[(runtime, precision, size)]
            bars = [[row["mean"] - row["low"]], [row["high"] - row["mean"]]]
            ax.errorbar(row["mean"], place, xerr=bars, fmt="o", color=_colour(runtime), markersize=5, capsize=2)
    for ax, title in zip(axes.flat, ("bytes of the file", "Kendall tau", "change of AUC"), strict=True):
        ax.set_title(title, loc="left")
    axes[0, 0].set_yticks(range(len(loss)), [f"{runtime} {precision}" for runtime, precision, _ in agreement.index])
    axes[0, 0].set_xlim(left=0)
    axes[0, 0].xaxis.set_major_formatter("{x:,.0f}")
    axes[0, 2].axvline(0, color="black", linewidth=0.8, linestyle=":")
    axes[0, 2].xaxis.set_major_locator(MaxNLocator(4))
    axes[0, 0].invert_yaxis()
    return figure


def calibration(tables: Mapping[str, object]) -> Figure:
    """Observed rate against mean score by bin; `tables` maps a scorer to `metrics.calibration`'s table."""
    figure, axes = _axes(size=(4.6, 4))
    ax = axes[0, 0]
    ax.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
    for colour, (name, table) in zip(COLOURS, tables.items(), strict=False):
        ax.plot(table["score"], table["observed"], "o-", color=colour, markersize=4, label=name)
    ax.set_xlabel("mean score of the bin")
    ax.set_ylabel("observed rate of the label")
    ax.set_aspect("equal")
    ax.legend(loc="upper left")
    return figure


def score_agreement(reference: np.ndarray, scores: Mapping[str, np.ndarray], runtimes: Mapping[str, str]) -> Figure:
    """Each file's scores against the reference's, and below, their difference on a logarithmic scale.

    `runtimes` maps the names in `scores` to a runtime, for the colour. Of many rows, every so-many-th is drawn: at
    most `MOST_POINTS`.
    """
    if not scores:
        return _nothing("no file was made")
    reference = reference.reshape(-1)
    every = slice(None, None, -(-len(reference) // MOST_POINTS))
    figure, axes = _axes(
        2, len(scores), size=(3.3 * max(2, len(scores)), 5), sharex=True, sharey="row", height_ratios=(3, 2)
    )
    drawn = reference[every]
    for (name, values), above, below in zip(scores.items(), axes[0], axes[1], strict=True):
        values = values.reshape(-1)[every]
        colour = RUNTIME_COLOURS.get(runtimes[name], COLOURS[2])
        above.plot([0, 1], [0, 1], color="black", linewidth=0.6)
        above.plot(drawn, values, ".", color=colour, markersize=2, alpha=0.4, rasterized=True)
        above.set_title(name, loc="left")
        difference = np.maximum(np.abs(values.astype(np.float64) - drawn), 1e-9)
        below.plot(drawn, difference, ".", color=colour, markersize=2, alpha=0.4, rasterized=True)
        below.set_yscale("log")
        below.set_ylim(5e-10, 1)
        below.set_xlabel("score of the trained model")
    axes[0, 0].set_ylabel("score of the file")
    axes[1, 0].set_ylabel("difference (1e-9: none)")
    return figure


def score_differences(reference: np.ndarray, scores: Mapping[str, np.ndarray]) -> Figure:
    """How far each file's scores are from the reference's, a line a file, on a logarithmic scale.

    It goes from the median row over the 99th percentile to the farthest.
    """
    if not scores:
        return _nothing("no file was made")
    figure, axes = _axes(size=(7.5, 0.24 * len(scores) + 1.2))
    ax = axes[0, 0]
    marks = {"median row": "|", "99 of 100 rows": "o", "farthest row": ">"}
    for place, (name, values) in enumerate(scores.items()):
        difference = np.abs(values.astype(np.float64).reshape(-1) - reference.reshape(-1))
        drawn = np.maximum(np.quantile(difference, [0.5, 0.99, 1.0]), 1e-9)
        ax.plot(drawn, [place] * 3, "-", color=_colour(name), linewidth=1.5)
        for value, marker in zip(drawn, marks.values(), strict=True):
            ax.plot(value, place, marker, color=_colour(name), markersize=6, markeredgewidth=1.5)
    for label, marker in marks.items():
        ax.plot([], [], marker, color="black", markersize=6, label=label)
    ax.set_xscale("log")
    ax.set_xlim(5e-10, 1)
    ax.set_yticks(np.arange(len(scores)), list(scores))
    ax.invert_yaxis()
    ax.set_xlabel("difference from the trained model's score")
    figure.legend(loc="outside upper right", ncols=len(marks))
    return figure


def _colour(variant: str) -> str:
    return RUNTIME_COLOURS.get(variant.split()[0], COLOURS[2])


def latency(summary, mode: str = "copy_and_run", threads: int = 1) -> Figure:
    """Time a call by the reference's, with its 95 % interval, a panel a batch size; `summary` is `latency.summarise`'s.

    The band is the noise floor; files of which nothing can be claimed are hollow. Keras is left out: it is two orders
    of magnitude away, in the table.
    """
    table = summary.xs((mode, threads), level=("mode", "threads"))
    from helpers.evaluation.latency import variants  # here: other figures do not depend on how latency is measured

    names = [name for name in variants(summary) if not name.startswith("keras")]
    batches = sorted(table.index.unique("batch"))
    figure, axes = _axes(
        1, len(batches), size=(2 * len(batches) + 1.6, 0.22 * len(names) + 1.1), sharex=True, sharey=True
    )
    for ax, batch in zip(axes.flat, batches, strict=True):
        floor = table.loc[(names[0], batch), "floor"]
        ax.axvspan(1 / (1 + floor), 1 + floor, color="black", alpha=0.08, linewidth=0)
        ax.axvline(1, color="black", linewidth=0.6)
        for place, name in enumerate(names):
            row = table.loc[(name, batch)]
            known = row["verdict"] != "no difference"
            ax.plot([row["ratio_low"], row["ratio_high"]], [place, place], "-", color=_colour(name), linewidth=2)
            face = _colour(name) if known else "white"
            ax.plot(row["ratio"], place, "o", color=_colour(name), markerfacecolor=face, markersize=5)
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:g}x")
        ax.set_title(f"batch {batch:,}", loc="left")
        ax.set_yticks(np.arange(len(names)), names)
    axes.flat[0].invert_yaxis()
    figure.supxlabel("time a call as a multiple of the reference's; hollow: no difference can be claimed", fontsize=9)
    return figure


def warm_up(blocks, batch: int | None = None, mode: str = "copy_and_run", threads: int = 1) -> Figure:
    """Time of the first rounds by the file's own median, a line a file; round 0 is the warm-up, which is not counted.

    `batch` is the smallest that was timed by default.

    Lines that move together are the machine changing its speed; ratios within a round do not see it.
    """
    batch = blocks["batch"].min() if batch is None else batch
    chosen = (blocks["batch"] == batch) & (blocks["mode"] == mode) & (blocks["threads"] == threads)
    part = blocks[chosen & (blocks["process"] == 1) & (blocks["round"] <= MOST_ROUNDS)]
    figure, axes = _axes(size=(6, 2.4))
    ax = axes[0, 0]
    for variant, own in part.groupby("variant"):
        own = own.sort_values("round")
        relative = own["microseconds"] / own.loc[own["round"] > 0, "microseconds"].median()
        ax.plot(own["round"], relative, "-", color=_colour(variant), linewidth=1, alpha=0.7)
    ax.axvspan(-0.5, 0.5, color="black", alpha=0.08, linewidth=0)
    ax.set_xlim(-0.5, part["round"].max() + 0.5)
    ax.set_ylim(0.5, 2)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("round (grey: warm-up, not counted)")
    ax.set_ylabel("time by the file's own median")
    return figure


def pareto(table, chosen: str | None, limits: Mapping[str, float | None], lost: str = "AUC") -> Figure:
    """What each file costs in bytes, loss and latency, a row a file from the smallest to the largest; `table` is
    `choice.Choice.table`.

    Filled: no other file is better in one of the three and as good in the others. Crosses may not be shipped. The star
    is the recommended file, the dashed lines and the shade beyond them are the budget (`limits` as in `choice.Budget`).
    The line of a latency reaches to the pessimistic end of its interval, which the budget looks at.
    """
    titles = {
        "bytes": "bytes of the file",
        "loss": f"{lost} that may be lost",
        "latency_ratio": "latency, as a multiple",
    }
    rows = table.sort_values("bytes", kind="stable")
    figure, axes = _axes(1, 3, size=(10, 0.24 * len(rows) + 1), sharey=True)
    for ax, (measure, title) in zip(axes.flat, titles.items(), strict=True):
        for place, (name, row) in enumerate(rows.iterrows()):
            colour, recommended = _colour(name), row["file"] == chosen
            marker = "x" if row["left_out"] else "*" if recommended else "o"
            face = colour if row["pareto"] else "white"
            size = 13 if recommended else 6
            if measure == "latency_ratio":
                ax.plot([row[measure], row["latency_ratio_high"]], [place, place], color=colour, linewidth=1)
            ax.plot(row[measure], place, marker, color=colour, markerfacecolor=face, markersize=size, clip_on=False)
        if limits.get(measure) is not None:
            ax.axvline(limits[measure], color=COLOURS[1], linestyle="--", linewidth=1)
            ax.axvspan(
                limits[measure], max(ax.get_xlim()[1], limits[measure]), color=COLOURS[1], alpha=0.06, linewidth=0
            )
        ax.set_title(title, loc="left")
        ax.set_yticks(np.arange(len(rows)), rows.index)
    axes[0, 0].set_xlim(left=0)
    axes[0, 2].xaxis.set_major_formatter("{x:g}x")
    axes[0, 1].set_xscale("symlog", linthresh=1e-4)
    axes[0, 1].set_xlim(left=0)
    axes[0, 0].invert_yaxis()
    return figure


def case_scores(cases: Mapping[str, np.ndarray]) -> Figure:
    """Scores by golden case, a line a case: cases that all score alike would prove little."""
    figure, axes = _axes(size=(7.5, 0.27 * len(cases) + 0.7))
    ax = axes[0, 0]
    for place, scores in enumerate(values.reshape(-1) for values in cases.values()):
        ax.plot(scores, [place] * len(scores), "|", color=COLOURS[0], markersize=10, alpha=max(0.25, 1 / len(scores)))
    ax.set_xlim(-0.02, 1.02)
    ax.set_yticks(np.arange(len(cases)), list(cases))
    ax.invert_yaxis()
    ax.set_xlabel("score of the trained model")
    return figure


def native_latency(timed) -> Figure:
    """What is the runtime's and what is Python's of a call: bars a file and batch size, of `bundle.native`'s table.

    A bar beyond 100 per cent is a C library that is slower than Python's runtime, which has other kernels.
    """
    figure, axes = _axes(size=(7.5, 0.34 * len(timed) + 1.0))
    ax = axes[0, 0]
    share = timed["native_us"].to_numpy() / timed["python_us"].to_numpy() * 100
    end, place = np.maximum(share, 100), np.arange(len(timed))
    ax.barh(place, share, color=[RUNTIME_COLOURS[runtime] for runtime in timed["runtime"]], height=0.7)
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
    ax.set_xlabel("per cent of the time of a call from Python; colour: the same call in C or C++, grey: Python")
    return figure


def reordered(delivered: list[str], order: np.ndarray, scores: np.ndarray) -> Figure:
    """A list before and after: a line from each post's old place to its new one; `order` holds old places."""
    figure, axes = _axes(size=(4.9, 0.19 * len(order) + 0.4))
    ax = axes[0, 0]
    for new, old in enumerate(order):
        colour = COLOURS[0] if new < old else COLOURS[1] if new > old else COLOURS[5]
        ax.plot([0, 1], [old, new], "-o", color=colour, linewidth=1.2, markersize=3)
        ax.annotate(f"{delivered[old]}  ", (0, old), ha="right", va="center", fontsize=7)
        ax.annotate(f"  {scores[old]:.3f}", (1, new), ha="left", va="center", fontsize=7)
    ax.set_xlim(-0.9, 1.4)
    ax.invert_yaxis()
    ax.set_axis_off()
    ax.set_title("as delivered, and by score: blue rises, red falls", loc="center")
    return figure


def gains(rates) -> Figure:
    """Gain in CTR and UV-CTR of each order over the baseline, with 95 % intervals; `replay.click_rates`'s table."""
    figure, axes = _axes(1, 2, size=(9, 0.4 * len(rates) + 0.9), sharey=True)
    place = np.arange(len(rates))
    for ax, rate, name in zip(axes[0], ("ctr", "uv_ctr"), ("CTR", "UV-CTR"), strict=True):
        gain = rates[f"{rate}_gain"].to_numpy(float)
        ends = np.abs(rates[[f"{rate}_low", f"{rate}_high"]].to_numpy(float).T - gain)
        ax.errorbar(100 * gain, place, xerr=100 * ends, fmt="o", color=COLOURS[0], capsize=3)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set_xlabel(f"gain in {name}, per cent")
    axes[0, 0].set_yticks(place, list(rates.index))
    axes[0, 0].invert_yaxis()
    return figure


def sizes(table) -> Figure:
    """Bytes of model files against the vocabularies' floor: DataFrame by floor, a column a file."""
    figure, axes = _axes(size=(6.5, 3.4))
    ax = axes[0, 0]
    for colour, column in zip(COLOURS, table, strict=False):
        ax.plot(table.index, table[column] / 1e3, "o-", color=colour, label=column)
    ax.set_xscale("log")
    ax.set_xticks(list(table.index), [str(floor) for floor in table.index])
    ax.minorticks_off()
    ax.set_ylim(0)
    ax.set_xlabel("an id counts from this many training rows on")
    ax.set_ylabel("kB")
    ax.legend()
    return figure
