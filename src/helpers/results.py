"""All runs as one tidy table: a row a run, its parameters and the metrics that its stages recorded."""

from __future__ import annotations

from collections.abc import Collection

from helpers import runs, studies
from helpers.errors import WorkbenchError

_RUN_COLUMNS = ["study", "run", "stages", "commit"]


def table(study: str | None = None, names: Collection[str] | None = None):
    """Parameters and metrics of the runs below `runs.home`.

    Parameters
    ----------
    study : only its runs; default all studies.
    names : only these runs, as those of a sweep (``Plan.runs``); default all.

    Returns
    -------
    DataFrame, a row a run, sorted by study and run: study, run, stages (numbers of those that are done, as
    ``01 02 03``), commit, one column a parameter under its name, one column a metric under its stage's number and its
    name (``02 auc``). What a run does not have is missing. A folder whose record cannot be read is left out.

    Raises
    ------
    BadInput : there is no such study.
    """
    import pandas as pd

    rows = []
    for name in studies.names() if study is None else [studies.get(study).name]:
        for file in sorted((runs.home() / "artifacts" / name).glob("*/run.json")):
            if names is not None and file.parent.name not in names:
                continue
            try:
                record = runs.Run(name, file.parent.name).record()
            except WorkbenchError:
                continue
            stages = sorted(record["stages"].items())
            done = " ".join(stage[:2] for stage, entry in stages if entry["status"] == "done")
            row = dict(zip(_RUN_COLUMNS, (name, file.parent.name, done, record.get("commit")), strict=True))
            row |= {key: value for key, value in record["parameters"].items() if key not in _RUN_COLUMNS}
            row |= {f"{stage[:2]} {key}": value for stage, entry in stages for key, value in entry["metrics"].items()}
            rows.append(row)
    frame = pd.DataFrame(rows) if rows else pd.DataFrame(columns=_RUN_COLUMNS)
    metrics = [column for column in frame if column[:2].isdigit()]
    parameters = [column for column in frame if column not in (*_RUN_COLUMNS, *metrics)]
    return frame[[*_RUN_COLUMNS, *parameters, *sorted(metrics)]]


def readable(frame):
    """The table for a terminal: the parameters in which the runs differ, and the metrics from training on."""
    metrics = [column for column in frame if column[:2].isdigit() and column[:2] >= "02"]
    own = [column for column in frame if column not in _RUN_COLUMNS and not column[:2].isdigit()]
    parameters = [column for column in own if frame[column].astype(str).nunique() > 1]
    return frame[["study", "run", "stages", *parameters, *metrics]].round(4)
