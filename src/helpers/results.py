"""All runs as tidy tables: parameters and metrics, training curves, comparisons; and how they vary over seeds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress

import numpy as np

from helpers import files, runs, studies
from helpers.errors import WorkbenchError

_RUN_COLUMNS = ["study", "run", "stages", "commit"]


def table(study: str | None = None, names: Collection[str] | None = None):
    """Parameters and metrics of the runs below `files.home`.

    Parameters
    ----------
    study : only its runs; default all studies.
    names : only these runs, as those of a sweep (``Plan.runs``); default all.

    Returns
    -------
    DataFrame, a row a run, sorted by study and run: study, run, stages (numbers of those that are done and not made
    from what has been replaced since, as ``01 02 03``), commit, one column a parameter under its name, one column a
    metric under its stage's number and its name (``02 auc``). What a run does not have is missing. A folder whose
    record cannot be read is left out.

    Raises
    ------
    BadInput : there is no such study.
    """
    import pandas as pd

    rows = []
    for run, record in _runs(study, names):
        stages = sorted(record["stages"].items())
        done = " ".join(stage[:2] for stage, _ in stages if run.stale(stage, record) is None)
        row = dict(zip(_RUN_COLUMNS, (run.study, run.name, done, record.get("commit")), strict=True))
        row |= {key: value for key, value in record["parameters"].items() if key not in _RUN_COLUMNS}
        row |= {f"{stage[:2]} {key}": value for stage, entry in stages for key, value in entry["metrics"].items()}
        rows.append(row)
    frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=_RUN_COLUMNS)
    metrics = [column for column in frame if column[:2].isdigit()]
    parameters = [column for column in frame if column not in (*_RUN_COLUMNS, *metrics)]
    return frame[[*_RUN_COLUMNS, *parameters, *sorted(metrics)]]


def _runs(study: str | None, names: Collection[str] | None) -> Iterator[tuple[runs.Run, dict]]:
    """Runs with a record that can be read, by study and name."""
    for known in studies.names() if study is None else [studies.get(study).name]:
        for file in sorted((files.home() / "artifacts" / known).glob("*/run.json")):
            if names is None or file.parent.name in names:
                run = runs.Run(known, file.parent.name)
                with suppress(WorkbenchError):
                    yield run, run.record()


def histories(study: str, names: Collection[str] | None = None):
    """Training curves: DataFrame, a row an epoch of a run: run, epoch, accuracy, loss, val_accuracy, val_loss."""
    return _files(study, names, "model/history.csv")


def comparisons(study: str, names: Collection[str] | None = None):
    """Comparisons of model files: DataFrame, a row a file of a run: run, then the columns of ``comparison.csv``."""
    return _files(study, names, "comparison.csv")


def _files(study: str, names: Collection[str] | None, file: str):
    """A recorded CSV of every run that has it, with the run's name; what does not count any more is left out."""
    import pandas as pd

    parts = [pd.DataFrame({"run": []})]
    for run, _ in _runs(study, names):
        with suppress(WorkbenchError):
            path = run.recorded(file)
            if path is not None:
                parts.append(pd.read_csv(path).assign(run=run.name))
    return pd.concat(parts[1:] or parts, ignore_index=True)


def settings(given: Mapping[str, Mapping[str, object]], without: str = "seed") -> dict[str, str]:
    """What the runs of a sweep (``Plan.runs``) set besides one parameter, by run: ``"epochs=20"``, or "defaults"."""
    return {
        run: ", ".join(f"{name}={value}" for name, value in parameters.items() if name != without) or "defaults"
        for run, parameters in given.items()
    }


def spread(frame, by: str | list[str], column: str, *, target: float | None = None):
    """How a figure varies over the runs of a group.

    Returns
    -------
    DataFrame indexed by `by`, in order of appearance: runs, mean, low, high (95 % interval of the mean, Student's t;
    undefined for one run), sd, lowest, highest; and with a `target`, how many runs reach it.
    """
    from scipy import stats

    groups = frame.groupby(by, sort=False)[column]
    table = groups.agg(runs="count", mean="mean", sd="std", lowest="min", highest="max")
    half = stats.t.ppf(0.975, table["runs"] - 1) * table["sd"] / np.sqrt(table["runs"])
    table.insert(2, "low", table["mean"] - half)
    table.insert(3, "high", table["mean"] + half)
    if target is not None:
        table["reach target"] = groups.agg(lambda values: int((values >= target).sum()))
    return table


def readable(frame):
    """The table for a terminal: the parameters in which the runs differ, and the metrics from training on."""
    metrics = [column for column in frame if column[:2].isdigit() and column[:2] >= "02"]
    own = [column for column in frame if column not in _RUN_COLUMNS and not column[:2].isdigit()]
    parameters = [column for column in own if frame[column].astype(str).nunique() > 1]
    return frame[["study", "run", "stages", *parameters, *metrics]].round(4)
