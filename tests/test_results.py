import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from support import workbench

from helpers import report, results, runs
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
    shown = results.readable(results.rows("ranking"))
    assert "epochs" in shown and "seed" not in shown, "only what differs"
    assert shown["02 loss"].tolist() == ["undefined"] * 2
    pd.testing.assert_frame_equal(results.table(), table)


def _spoil(run: runs.Run, module: str = "helpers.files") -> None:
    """As if a module that stage 02 used had been edited since."""
    with run.edit() as record:
        record["stages"]["02_keras_training"]["code"][module] = "of another version"


def test_parameters_are_exact_whatever_they_stand_beside(home):
    _run("a", epochs=1, learning_rate=3e-5, seed=2**31 - 1, rows=1_000_001)
    _run("b", epochs=1, learning_rate=1e-5, seed=1, rows=1_000_002)
    _run("c", epochs=1, learning_rate=0.01)
    table = results.table("ranking")
    assert table["seed"].tolist()[:2] == [2147483647, 1] and table["rows"].tolist()[:2] == [
        1000001,
        1000002,
    ]
    assert (
        table["seed"].isna().tolist() == [False, False, True]
        and str(table["seed"].dtype) == "Int64"
    )
    shown = results.readable(results.rows("ranking"))
    assert shown["learning_rate"].tolist() == ["3e-05", "1e-05", "0.01"]
    assert shown["seed"].tolist() == ["2147483647", "1", ""] and shown["rows"].tolist() == [
        "1000001",
        "1000002",
        "",
    ]


def test_runs_differ_in_a_parameter_that_two_of_them_have(home):
    found = [{"seed": 1, "rows": 5}, {"seed": 1.0, "rows": 5, "repeat": None}, {"repeat": True}]
    assert results.differing(found) == ["seed"], "1.0 is not written as 1"
    _run("a", epochs=1, rows=100)
    _run("b", epochs=2)
    shown = results.readable(results.rows("ranking"))
    assert "epochs" in shown and "rows" not in shown
    index = report.write_index("ranking").read_text(encoding="utf-8")
    assert "epochs=1" in index and "rows=100" not in index


def test_metrics_are_rounded_and_whole_ones_are_not_cut():
    assert [results.rounded(value) for value in (0.98765, 1234567.0, 3.21e-8, 1.0, None)] == [
        "0.9877",
        "1234567",
        "3.21e-08",
        "1",
        "undefined",
    ]
    assert results.texts([1.0, 0.5, None, ""]) == ["1.0000", "0.5000", "undefined", ""]


def test_figures_of_stale_stages_are_not_shown_beside_others(home):
    _run("a", epochs=3)
    _spoil(_run("b", epochs=5))
    table = results.table("ranking")
    assert table["stages"].tolist() == ["02", ""] and table["stale"].tolist() == ["", "02"]
    assert table["02 auc"].tolist()[0] == 0.903 and np.isnan(table["02 auc"].tolist()[1])
    shown = results.readable(results.rows("ranking"))
    assert shown["stale"].tolist() == ["", "02"] and shown["02 auc"].tolist() == ["0.9030", ""]
    done = workbench("results", "ranking", "--columns", "run,loss,auc", home=home)
    assert "0.9030" in done.stdout and "0.9050" not in done.stdout
    assert (
        "stale: stage 02 of run 'b' was executed with other code: helpers.files has changed since\n"
        "`workbench run ranking --run b` makes stale stages again" in done.stdout
    )


@pytest.mark.slow
def test_a_folder_with_an_odd_name_breaks_nothing_and_is_told(home):
    run = _run("default", epochs=3)
    shutil.copytree(run.folder, run.folder.with_name("default (copy)"))
    assert results.table()["run"].tolist() == ["default"]
    done = workbench("results", "--all", home=home)
    assert done.returncode == 0 and "0.9030" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "artifacts/ranking/default (copy) is left out: run 'default (copy)' cannot be a folder name"
    )
    again = workbench(
        "run", "ranking", "--stages", "01", "-p", "rows=200", "--run", "small", home=home
    )
    assert again.returncode == 0 and "index.html" in again.stdout, again.stderr
    page = (home / "artifacts/ranking/index.html").read_text(encoding="utf-8")
    assert "default" in page and "(copy)" not in page


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
    frame = pd.DataFrame(
        {"setting": ["b"] * 9 + ["a"] * 4 + ["one"], "value": rng.standard_normal(14)}
    )
    table = results.spread(frame, "setting", "value", target=0.0)
    assert table.index.tolist() == ["b", "a", "one"] and table["runs"].tolist() == [9, 4, 1]
    for setting, values in frame.groupby("setting")["value"]:
        row = table.loc[setting]
        assert row["reach target"] == (values >= 0).sum() and row["highest"] == values.max()
        if len(values) > 1:
            expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
            assert np.allclose([row["low"], row["high"]], expected, rtol=1e-12)
        assert row["median"] == np.median(values) and row["missing"] == 0
    assert np.isnan(table.loc["one", "low"]), "one run says nothing of how far it varies"


def test_spread_shows_runs_that_failed_beside_the_mean():
    """A run at chance among nine good ones, and one whose training ended without a figure."""
    good = 0.99 + 0.003 * np.random.default_rng(0).standard_normal(9)
    frame = pd.DataFrame(
        {"setting": ["a"] * 11 + ["b"] * 9 + ["none"], "auc": [*good, 0.5, np.nan, *good, np.nan]}
    )
    table = results.spread(frame, "setting", "auc", target=0.9)
    assert table[["runs", "missing", "far out"]].to_numpy().tolist() == [
        [10, 1, 1],
        [9, 0, 0],
        [0, 1, 0],
    ]
    assert list(table.columns[:7]) == [
        "runs",
        "missing",
        "far out",
        "median",
        "mean",
        "low",
        "high",
    ]
    assert table.loc["a", "median"] > 0.98 and table.loc["a", "mean"] < 0.95
    assert np.isnan(table.loc["none", "median"]) and table["reach target"].tolist() == [9, 9, 0]


@pytest.mark.parametrize(("runs", "covered"), [(3, 0.27), (10, 0.65), (50, 0.88)])
def test_the_interval_of_a_mean_with_failed_runs_covers_as_little_as_spread_says(runs, covered):
    rng = np.random.default_rng(0)
    failed, noise = rng.random((300, runs)) < 0.1, 0.003 * rng.standard_normal((300, runs))
    auc = np.where(failed, 0.5, 0.99 + noise)
    frame = pd.DataFrame({"sample": np.repeat(np.arange(300), runs), "auc": auc.ravel()})
    table = results.spread(frame, "sample", "auc")
    assert abs(table["low"].le(0.941).mul(table["high"].ge(0.941)).mean() - covered) < 0.07
    with_failed = table["far out"].gt(0) == failed.any(axis=1)
    assert runs == 3 or with_failed.mean() > 0.9


def test_settings_are_what_was_given_without_the_seed_and_what_changes_no_figure():
    given = {
        "a": {"seed": 1, "epochs": 20},
        "b": {"seed": 1},
        "c": {"rows": 5, "epochs": 2, "repeat": False},
    }
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
    arguments = ("--all", "--parquet", str(tmp_path / "r.parquet"))
    done = workbench("results", "ranking", *arguments, home=home)
    assert done.returncode == 0 and "0.905" in done.stdout and "epochs" in done.stdout, done.stderr
    assert pd.read_parquet(tmp_path / "r.parquet")["epochs"].tolist() == [5, 7]
    none = workbench("results", home=tmp_path / "empty")
    assert none.returncode == 0 and "no runs yet: `workbench run ranking` makes one" in none.stdout
