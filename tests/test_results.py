import numpy as np
import pandas as pd
import pytest
from scipy import stats
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


def test_only_the_runs_of_a_sweep(home):
    for name in ("a", "b", "c"):
        _run(name, epochs=1)
    assert results.table("ranking", ["c", "a", "x"])["run"].tolist() == ["a", "c"]
    assert results.histories("ranking", ["a"]).empty and results.comparisons("ranking").empty


def test_histories_and_comparisons_are_the_recorded_files_that_still_count(finished_copy, home):
    history = pd.read_csv(finished_copy.folder / "model/history.csv")
    pd.testing.assert_frame_equal(results.histories("ranking").drop(columns="run"), history)
    comparison = results.comparisons("ranking")
    assert len(comparison) == 17 and set(comparison["run"]) == {"default"}
    edited = finished_copy.folder / "comparison.csv"
    edited.write_text(edited.read_text().replace("0.99", "0.98"))
    assert results.comparisons("ranking").empty


def test_spread_is_the_t_interval_of_the_mean():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"setting": ["b"] * 9 + ["a"] * 4 + ["one"], "value": rng.standard_normal(14)})
    table = results.spread(frame, "setting", "value", target=0.0)
    assert table.index.tolist() == ["b", "a", "one"] and table["runs"].tolist() == [9, 4, 1]
    for setting, values in frame.groupby("setting")["value"]:
        row = table.loc[setting]
        assert row["reach target"] == (values >= 0).sum() and row["highest"] == values.max()
        if len(values) > 1:
            expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
            assert np.allclose([row["low"], row["high"]], expected, rtol=1e-12)
    assert np.isnan(table.loc["one", "low"]), "one run says nothing of how far it varies"


def test_settings_are_what_was_given_without_the_seed():
    given = {"a": {"seed": 1, "epochs": 20}, "b": {"seed": 1}, "c": {"rows": 5, "epochs": 2}}
    assert results.settings(given) == {"a": "epochs=20", "b": "defaults", "c": "rows=5, epochs=2"}


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
