"""Finished runs in MLflow too, for those who set MLFLOW_TRACKING_URI; without it nothing here is imported."""

from __future__ import annotations

import hashlib
import json
import os

from helpers.runs import Run

VARIABLE = "MLFLOW_TRACKING_URI"
_FILES = ("report.html", "comparison.csv")
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing leaves the machine but for the address that was given
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def log(run: Run) -> list[str]:
    """Log a run's parameters, metrics, comparison and report to MLflow, once for what they are now.

    The experiment is the study, the MLflow run has the run's name, a metric its stage's number and name
    (``02/auc``).

    Returns
    -------
    Warnings to show: MLflow is not installed or not reached. The run is finished nevertheless, and the same command
    logs it later.
    """
    address = os.environ.get(VARIABLE)
    if not address:
        return []
    record = run.record()
    metrics = {
        f"{stage[:2]}/{name}": value
        for stage, entry in sorted(record["stages"].items())
        for name, value in entry["metrics"].items()
        if value is not None
    }
    state = hashlib.sha256(json.dumps([address, record["parameters"], metrics]).encode()).hexdigest()
    if record.get("mlflow", {}).get("state") == state:
        return []
    for name, value in _SETTINGS.items():  # read when it is imported
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
    except ImportError:
        return [f"{VARIABLE} is set and MLflow is not installed: pip install 'ranking-workbench[mlflow]'"]
    try:
        client = MlflowClient(address)
        experiment = client.get_experiment_by_name(run.study)
        number = experiment.experiment_id if experiment else client.create_experiment(run.study)
        tags = {"commit": str(record.get("commit")), "folder": str(run.folder)}
        made = client.create_run(number, run_name=run.name, tags=tags).info.run_id
        values = [Metric(name, value, 0, 0) for name, value in metrics.items()]
        client.log_batch(made, metrics=values, params=[Param(k, str(v)) for k, v in record["parameters"].items()])
        for file in _FILES:
            if (run.folder / file).is_file():
                client.log_artifact(made, str(run.folder / file))
        client.set_terminated(made)
    except Exception as error:  # whatever the tracking server answers: the run itself is not touched by it
        return [f"run {run.name!r} was not logged to MLflow ({address}): {' '.join(str(error).split())[:300]}"]
    with run.edit() as record:
        record["mlflow"] = {"state": state, "run": made}
    return []
