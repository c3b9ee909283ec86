"""Finished runs in MLflow too, for those who set MLFLOW_TRACKING_URI; without it nothing here is
imported.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from helpers import files, records
from helpers.errors import WorkbenchError
from helpers.runs import Run

VARIABLE = "MLFLOW_TRACKING_URI"
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": (
        "true"
    ),  # nothing leaves the machine but for the address that was given
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def log(run: Run) -> list[str]:
    """Log a run's parameters, metrics, comparison and report to MLflow, once for what they are now.

    The experiment is the study, the MLflow run has the run's name, a metric its stage's number and
    name (``02/auc``). Of stages that do not count any more nothing is logged. An MLflow run whose
    upload failed is marked FAILED if MLflow still answers, and the next attempt goes on with it.

    Returns
    -------
    Warnings to show: MLflow is not installed or not reached. The run is finished nevertheless, and
    the same command logs it later.
    """
    address = os.environ.get(VARIABLE)
    if not address:
        return []
    record = run.record()
    stale = records.stale(record)
    counting = [
        (stage, entry) for stage, entry in sorted(record["stages"].items()) if stage not in stale
    ]
    if not counting:
        return []
    parameters = {
        name: str(value) for _, entry in counting for name, value in entry["parameters"].items()
    }
    metrics = {
        f"{stage[:2]}/{name}": value
        for stage, entry in counting
        for name, value in entry["metrics"].items()
        if value is not None
    }
    state = hashlib.sha256(
        json.dumps([address, parameters, metrics], allow_nan=False).encode()
    ).hexdigest()
    before = record.get("mlflow", {})
    if before.get("state") == state and before.get("whole"):
        return []
    for name, value in _SETTINGS.items():  # read when it is imported
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
    except ImportError:
        return [
            f"{VARIABLE} is set and MLflow is not installed: `make`, or "
            f"`pip install -e '.[mlflow]'` in {files.project()}"
        ]
    number = before.get("run") if before.get("state") == state else None

    def note(whole: bool) -> None:
        with run.edit() as record:
            record["mlflow"] = {"state": state, "run": number, "whole": whole}

    try:
        client = MlflowClient(address)
        if number is None:
            experiment = client.get_experiment_by_name(run.study)
            place = experiment.experiment_id if experiment else client.create_experiment(run.study)
            tags = {"commit": str(record.get("commit")), "folder": str(run.folder)}
            number = client.create_run(place, run_name=run.name, tags=tags).info.run_id
            note(whole=False)
        values = [Metric(name, value, 0, 0) for name, value in metrics.items()]
        client.log_batch(
            number, metrics=values, params=[Param(*item) for item in parameters.items()]
        )
        for file in _counting_files(run):
            client.log_artifact(number, str(file))
        client.set_terminated(number)
    except (
        Exception
    ) as error:  # whatever the tracking server answers: the run itself is not touched by it
        with suppress(Exception):
            client.set_terminated(number, "FAILED")
        return [
            f"run {run.name!r} was not logged to MLflow ({address}): "
            f"{' '.join(str(error).split())[:300]}"
        ]
    note(whole=True)
    return []


def _counting_files(run: Run) -> Iterator[Path]:
    """The report, which leaves out what is stale, and the comparison if it counts."""
    with suppress(WorkbenchError):
        if path := run.recorded("comparison.csv"):
            yield path
    if (run.folder / "report.html").is_file():
        yield run.folder / "report.html"
