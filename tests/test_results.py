import pandas as pd
import pytest
from support import workbench

from helpers import results, runs
from helpers.errors import BadInput


def _run(name: str, **parameters) -> runs.Run:
    stage = runs.Stage("02_keras_training", study="ranking", run=name, **parameters)
    stage.finish(auc=0.9 + parameters["epochs"] / 1000, loss=float("nan"))
    return stage.run


def test_a_row_a_run_with_parameters_and_metrics(home):
    _run("b", epochs=3, seed=1)
    _run("a", epochs=5, seed=1)
    runs.Stage("03_tflite_conversion", study="ranking", run="a")
    table = results.table("ranking")
    assert table["run"].tolist() == ["a", "b"] and table["stages"].tolist() == ["02", "02"]
    assert table["epochs"].tolist() == [5, 3] and table["02 auc"].tolist() == [0.905, 0.903]
    assert table["02 loss"].isna().all()
    shown = results.readable(table)
    assert "epochs" in shown and "seed" not in shown, "only what differs"
    pd.testing.assert_frame_equal(results.table(), table)


def test_no_runs_damaged_runs_and_unknown_studies(home):
    assert results.table().empty
    _run("good", epochs=1)
    _run("bad", epochs=1).record_file.write_text("{ half")
    assert results.table()["run"].tolist() == ["good"]
    with pytest.raises(BadInput, match="there is no study 'x'"):
        results.table("x")


def test_the_command_prints_and_writes_parquet(home, tmp_path):
    _run("a", epochs=5)
    _run("b", epochs=7)
    done = workbench("results", "ranking", "--parquet", str(tmp_path / "r.parquet"), home=home)
    assert done.returncode == 0 and "0.905" in done.stdout and "epochs" in done.stdout, done.stderr
    assert pd.read_parquet(tmp_path / "r.parquet")["epochs"].tolist() == [5, 7]
    none = workbench("results", home=tmp_path / "empty")
    assert none.returncode == 0 and "no runs yet: `workbench run ranking` makes one" in none.stdout
