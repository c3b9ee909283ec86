"""All runs as tidy tables: parameters and metrics, training curves, comparisons; and how they vary
over seeds.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from helpers import code, files, records, registry, runs, trained
from helpers.errors import WorkbenchError

COMPARISON = "comparison.csv"
"""What stage 05 records of the files, a row each."""
FAR_OUT = 3.0
"""Interquartile ranges outside the quartiles from where a figure is far out (Tukey): of figures
that vary normally one group of 5 in seven has one, one of 10 in twenty, one of 20 in sixty."""
_RUN_COLUMNS = ["study", "run", "stages", "stale", "commit"]


@dataclass(frozen=True)
class Row:
    """A run at a glance.

    Attributes
    ----------
    stale : why stages that have been run do not count (any more), by name; see `records.stale`.
    made : when the last stage that counts was begun, ``2026-11-22T19:40:11+00:00``; empty if none.
    parameters : as they were set, to the last digit.
    metrics : of the stages that count, by number and name (``02 auc``); None is undefined.
    """

    study: str
    run: str
    stages: tuple[str, ...]
    stale: Mapping[str, str]
    commit: str | None
    made: str
    parameters: Mapping[str, object]
    metrics: Mapping[str, float | None]


def rows(
    study: str | None = None,
    names: Collection[str] | None = None,
    skipped: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Return the runs below `files.home`, by study and name.

    Parameters
    ----------
    study : only its runs; default all studies.
    names : only these runs, as those of a sweep (``Plan.runs``); default all.
    skipped : where a line about each folder goes that is no run, or whose record cannot be read.

    Raises
    ------
    BadInput : there is no such study.
    """
    with code.at_once():
        return [_row(run, record) for run, record in every(study, names, skipped)]


def _row(run: runs.Run, record: dict) -> Row:
    stale = records.stale(record)
    counting = [
        (stage[:2], entry)
        for stage, entry in sorted(record["stages"].items())
        if stage not in stale
    ]
    return Row(
        run.study,
        run.name,
        tuple(number for number, _ in counting),
        stale,
        record.get("commit"),
        max((entry["started"] for _, entry in counting), default=""),
        {key: value for key, value in record["parameters"].items() if key not in _RUN_COLUMNS},
        {
            f"{number} {key}": value
            for number, entry in counting
            for key, value in entry["metrics"].items()
        },
    )


def plain(row: Row) -> dict:
    """A run as plain values for JSON, with what it says to ship."""
    ships = recommended(runs.Run(row.study, row.run))
    return {**vars(row), "ships": None if ships is None else vars(ships)}


@dataclass(frozen=True)
class Recommended:
    """The file that a run's stage 05 says to ship, as compared there.

    Attributes
    ----------
    file : its path in the run's folder.
    sentence : that says so, and why.
    name : runtime and precision, ``litert fp16``.
    bytes : of the file.
    latency_ratio : to the reference of the comparison; None if it was not timed.
    """

    file: str
    sentence: str
    name: str
    verdict: str
    bytes: int
    latency_ratio: float | None


def recommended(run: runs.Run) -> Recommended | None:
    """What a run says to ship.

    None if nothing says so, or if the recommendation, the comparison it was chosen from or the file
    itself does not count any more or is damaged.
    """
    try:
        said, compared = run.recorded("recommendation.json"), run.recorded(COMPARISON)
        if said is None or compared is None:
            return None
        content = json.loads(said.read_text(encoding="utf-8"))
        file = content["file"]
        if run.recorded(file) is None:
            return None
    except WorkbenchError:
        return None
    with open(compared, newline="", encoding="utf-8") as lines:
        row = next((row for row in csv.DictReader(lines) if row["file"] == file), None)
    if row is None:
        return None
    name = f"{row['runtime']} {row['precision']}"
    ratio = float(row["latency_ratio"]) if row["latency_ratio"] else None
    size = int(float(row["bytes"]))
    return Recommended(file, content["sentence"], name, row["verdict"], size, ratio)


def headline(run: runs.Run) -> str:
    """The metric that says how good the trained model of a run is, ``auc``; empty without one."""
    try:
        return trained.of(run).task.headline
    except WorkbenchError:
        return ""


def table(study: str | None = None, names: Collection[str] | None = None):
    """Return parameters and metrics of runs, see `rows`.

    Returns
    -------
    DataFrame, a row a run, sorted by study and run: study, run, stages (numbers of those that
    count, as ``01 02 03``), stale (numbers of those that do not any more), commit, one column a
    parameter under its name, one column a metric under its stage's number and its name (``02
    auc``). What a run does not have, or has of a stale stage, is missing; whole numbers stay whole.
    """
    import pandas as pd

    found = rows(study, names)
    parameters = list(dict.fromkeys(name for row in found for name in row.parameters))
    metrics = sorted({name for row in found for name in row.metrics})
    columns = {name: _column([row.parameters.get(name) for row in found]) for name in parameters}
    columns |= {name: np.array([row.metrics.get(name) for row in found], float) for name in metrics}
    return pd.DataFrame(
        {name: [_about(row)[name] for row in found] for name in _RUN_COLUMNS} | columns
    )


def _column(values: list):
    """Make a column of values with None where one is missing; whole numbers stay whole."""
    import pandas as pd

    whole = all(type(value) is int or value is None for value in values)
    return pd.array(values, "Int64") if whole and None in values else values


def _about(row: Row) -> dict[str, object]:
    stale = " ".join(stage[:2] for stage in row.stale)
    return dict(
        zip(
            _RUN_COLUMNS, (row.study, row.run, " ".join(row.stages), stale, row.commit), strict=True
        )
    )


def every(
    study: str | None,
    names: Collection[str] | None,
    skipped: Callable[[str], None] = lambda line: None,
) -> Iterator[tuple[runs.Run, dict]]:
    """Runs with a record that can be read, by study and name."""
    every = registry.names()  # runs are shown without the file of their study, too
    for known in every if study is None else [study if study in every else registry.link(study)]:
        for file in sorted((files.home() / "artifacts" / known).glob("*/run.json")):
            if names is None or file.parent.name in names:
                try:
                    run = runs.Run(known, file.parent.name)
                    record = run.record()
                except WorkbenchError as error:
                    skipped(f"{files.shown(file.parent)} is left out: {error}")
                else:
                    yield run, record


def histories(study: str, names: Collection[str] | None = None):
    """Training curves: DataFrame, a row an epoch of a run: run, epoch, accuracy, loss,
    val_accuracy, val_loss.
    """
    return _files(study, names, "model/history.csv")


def comparisons(study: str, names: Collection[str] | None = None):
    """Comparisons of model files: DataFrame, a row a file of a run: run, then the columns of
    ``comparison.csv``.
    """
    return _files(study, names, COMPARISON)


def _files(study: str, names: Collection[str] | None, file: str):
    """A recorded CSV of every run that has it, with the run's name; what does not count any more is
    left out.
    """
    import pandas as pd

    parts = [pd.DataFrame({"run": []})]
    for run, _ in every(study, names):
        with suppress(WorkbenchError):
            path = run.recorded(file)
            if path is not None:
                parts.append(pd.read_csv(path).assign(run=run.name))
    return pd.concat(parts[1:] or parts, ignore_index=True)


def settings(
    planned: Mapping[str, Mapping[str, object]], without: Sequence[str] = ("seed", "repeat")
) -> dict[str, str]:
    """What the runs of a sweep (``Plan.runs``) set besides some parameters, by run:
    ``"epochs=20"``, or "defaults".
    """
    return {
        run: ", ".join(
            f"{name}={value}" for name, value in parameters.items() if name not in without
        )
        or "defaults"
        for run, parameters in planned.items()
    }


def spread(frame, by: str | list[str], column: str, *, target: float | None = None):
    """How a figure varies over the runs of a group.

    The interval of the mean holds where figures vary evenly. Where one run in ten fails to learn it
    does not: it covers the true mean in 27 % of samples of 3 runs, in 65 % of 10 and in 88 % of 50.
    So the median stands beside it, and how many runs have no figure or one that is far out; of a
    few runs none may have failed yet.

    Returns
    -------
    DataFrame indexed by `by`, in order of appearance: runs (with a figure), missing (runs without),
    far out (figures more than `FAR_OUT` interquartile ranges outside the quartiles), median, mean,
    low, high (95 % interval of the mean, Student's t; undefined for one run), sd, lowest, highest;
    and with a `target`, how many runs reach it.
    """
    from scipy import stats

    groups = frame.groupby(by, sort=False)[column]
    table = groups.agg(
        runs="count", median="median", mean="mean", sd="std", lowest="min", highest="max"
    )
    half = stats.t.ppf(0.975, table["runs"] - 1) * table["sd"] / np.sqrt(table["runs"])
    table.insert(1, "missing", groups.size() - table["runs"])
    table.insert(2, "far out", groups.agg(_far_out))
    table.insert(5, "low", table["mean"] - half)
    table.insert(6, "high", table["mean"] + half)
    if target is not None:
        table["reach target"] = groups.agg(lambda values: int((values >= target).sum()))
    return table


def _far_out(values) -> int:
    """How many figures are far from the others."""
    first, third = values.quantile([0.25, 0.75])
    margin = FAR_OUT * (third - first)
    return int(((values < first - margin) | (values > third + margin)).sum())


def readable(found: Sequence[Row]):
    """Show runs as text cells: the parameters in which they differ, exactly, and rounded metrics.

    Metrics are those from training on. Figures of stale stages are blank, and ``stale`` names those
    stages where there are any.
    """
    import pandas as pd

    parameters = {
        name: [exact(row.parameters.get(name)) for row in found]
        for name in differing([row.parameters for row in found])
    }
    metrics = sorted({name for row in found for name in row.metrics if name[:2] >= "02"})
    about = {
        name: [_about(row)[name] for row in found] for name in ("study", "run", "stages", "stale")
    }
    if not any(about["stale"]):
        del about["stale"]
    return pd.DataFrame(
        about
        | parameters
        | {name: texts([row.metrics.get(name, "") for row in found]) for name in metrics},
        dtype=object,
    )


def differing(parameters: Sequence[Mapping[str, object]]) -> list[str]:
    """The names of the parameters, of one mapping a run, in which those runs differ that have them;
    None is not to have it.
    """
    values: dict[str, set[str]] = {}
    for each in parameters:
        for name, value in each.items():
            if value is not None:
                values.setdefault(name, set()).add(exact(value))
    return [name for name, different in values.items() if len(different) > 1]


def exact(value: object) -> str:
    """A parameter as text that tells it from every other value."""
    return "" if value is None else str(value)


def texts(values: Sequence[float | str | None]) -> list[str]:
    """Cells of one metric; text stands for itself."""
    numbers = [value for value in values if isinstance(value, float | int)]
    return [
        value if isinstance(value, str) else rounded(value, fraction=not _whole(numbers))
        for value in values
    ]


def rounded(value: float | None, *, fraction: bool | None = None) -> str:
    """Write a metric for people: whole numbers in full, others with four digits, undefined in
    words.

    `fraction` is whether other values beside it have one; default only if it has one itself.
    """
    if value is None:
        return "undefined"
    if not (fraction if fraction is not None else not _whole([value])):
        return f"{value:.0f}"
    return f"{value:.4f}" if value == 0 or 0.001 <= abs(value) < 1e6 else f"{value:.3g}"


def _whole(values: Sequence[float]) -> bool:
    return all(value % 1 == 0 for value in values)
