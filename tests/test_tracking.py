"""Runs in a real MLflow store, once each; nothing of MLflow without its variable."""

import subprocess
import sys

import pytest
from support import workbench

from helpers import files, runs, tracking


@pytest.fixture
def store(tmp_path, monkeypatch) -> str:
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path / 'mlruns'}")
    return f"file://{tmp_path / 'mlruns'}"


def _logged(store: str) -> list:
    from mlflow import MlflowClient

    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("ranking")
    return [] if experiment is None else client.search_runs([experiment.experiment_id])


def _finish(name: str, auc: float) -> runs.Run:
    stage = runs.Stage("02_keras_training", study="ranking", run=name, epochs=3, learning_rate=0.01)
    stage.finish(auc=auc, loss=float("nan"))
    (stage.run.folder / "report.html").write_text("<p>report</p>")
    return stage.run


def test_a_run_is_logged_with_parameters_metrics_and_report(store, home):
    assert tracking.log(_finish("a", 0.9)) == []
    (logged,) = _logged(store)
    assert logged.info.run_name == "a" and logged.info.status == "FINISHED"
    assert logged.data.metrics == {"02/auc": 0.9}, "what is undefined is left out"
    assert logged.data.params == {
        "study": "ranking",
        "run": "a",
        "epochs": "3",
        "learning_rate": "0.01",
    }
    from mlflow import MlflowClient

    assert [file.path for file in MlflowClient(store).list_artifacts(logged.info.run_id)] == [
        "report.html"
    ]


def test_the_same_run_is_logged_once_and_a_changed_one_again(store, home):
    run = _finish("a", 0.9)
    tracking.log(run)
    tracking.log(run)
    assert len(_logged(store)) == 1
    tracking.log(_finish("a", 0.8))
    assert sorted(logged.data.metrics["02/auc"] for logged in _logged(store)) == [0.8, 0.9]


def test_without_the_variable_mlflow_is_not_even_imported(home, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    code = (
        "import sys; from helpers import files, runs, tracking\n"
        "stage = runs.Stage('02_x', study='ranking', run='a'); stage.finish()\n"
        "print(tracking.log(stage.run), 'mlflow' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        == "[] False\n"
    )


def test_a_missing_package_and_a_store_that_refuses_are_warnings(store, home, monkeypatch):
    run = _finish("a", 0.9)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "mlflow", None)
        assert tracking.log(run) == [
            "MLFLOW_TRACKING_URI is set and MLflow is not installed: `make`, or `pip install -e "
            f"'.[mlflow]'` in {files.project()}"
        ]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://x")
    (warning,) = tracking.log(run)
    assert warning.startswith("run 'a' was not logged to MLflow (nonsense://x): ")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    assert tracking.log(run) == [] and len(_logged(store)) == 1, "the next time makes up for it"


@pytest.mark.slow
def test_the_command_logs_what_it_executes(store, home):
    done = workbench(
        "run", "ranking", "-p", "rows=200", "--stages", "01", "--run", "small", home=home
    )
    assert done.returncode == 0, done.stderr
    (logged,) = _logged(store)
    assert (
        logged.info.run_name == "small"
        and logged.data.params["rows"] == "200"
        and "01/bayes_auc" in logged.data.metrics
    )


def test_metrics_of_a_stale_stage_do_not_stand_beside_new_parameters(store, home):
    run = _finish("a", 0.9)
    evaluation = runs.Stage("05_accuracy_latency", study="ranking", run="a", prefer="bytes")
    evaluation.finish(files=17)
    with run.edit() as record:
        record["stages"]["05_accuracy_latency"]["code"]["helpers.files"] = "of another version"
    assert tracking.log(run) == []
    (logged,) = _logged(store)
    assert logged.data.metrics == {"02/auc": 0.9} and "prefer" not in logged.data.params
    with run.edit() as record:
        record["stages"]["02_keras_training"]["code"]["helpers.files"] = "of another version"
    assert tracking.log(run) == [] and len(_logged(store)) == 1, "nothing counts: nothing to log"


def test_an_upload_that_fails_again_and_again_is_one_run_marked_as_failed(store, home):
    run = _finish("a", 0.9)
    report = (run.folder / "report.html").read_bytes()
    (run.folder / "report.html").unlink()
    (run.folder / "report.html").symlink_to("/proc/self/mem")  # a file that nobody can read
    for _ in range(3):
        (warning,) = tracking.log(run)
        assert warning.startswith("run 'a' was not logged to MLflow")
        (logged,) = _logged(store)
        assert logged.info.status == "FAILED"
    (run.folder / "report.html").unlink()
    (run.folder / "report.html").write_bytes(report)
    assert tracking.log(run) == []
    (logged,) = _logged(store)
    assert logged.info.status == "FINISHED" and logged.data.metrics == {"02/auc": 0.9}
