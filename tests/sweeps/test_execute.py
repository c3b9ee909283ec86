"""Sweeps on real kernels: shared stages, failures, interruption; the same bytes as single runs."""

import json
import shutil

import pytest
from support import workbench
from sweeping import FIRST_STAGE, TWO_WIDTHS, check_whole, records
from tqdm import tqdm

from helpers import notebooks, runs
from helpers.sweeps import execute
from helpers.sweeps.plan import Task


def _line(columns: int, names: list[str], every: list[str]) -> str:
    """The bar of a sweep over `every` run while stage 02 of some is executed."""
    bar = {
        **{"n": 12, "total": 120, "elapsed": 100.0, "rate": 0.2, "prefix": "sweep"},
        **{"ncols": columns, "ascii": False, "unit": "it", "unit_scale": False},
        "bar_format": execute._BAR,
    }
    working = [Task(name, "02", {}, {}, False, None) for name in names]
    room = execute._room({**bar, "postfix": None})
    said = execute._at_work(working, execute._differing(every), room)
    return tqdm.format_meter(**bar, postfix=said)


@pytest.mark.parametrize("columns", [80, 100])
def test_the_bar_names_both_stages_at_work(columns):
    base = "epochs=1,hidden_units=8,rows=2000,{},validation_rows=1000"
    every = [base.format(f"seed={seed}") for seed in range(20, 32)]
    line = _line(columns, every[1:3], every)
    assert len(line) <= columns and line.endswith(", 02 of seed=21, 02 of seed=22]")
    assert len(line.split("|")[1]) >= 10, "a bar that can be read"
    assert ", 02 of seed=21]" in _line(columns, every[1:2], every)
    four = _line(columns, every[1:5], every)
    assert len(four) <= columns and four.endswith(f" and {3 if columns == 80 else 2} more]"), four
    long = [f"{name},learning_rate={rate}" for name in every[:2] for rate in (0.001, 0.0003)]
    line = _line(columns, [long[0], long[3]], [*long, "default"])
    named = 1 if columns == 80 else 2
    assert len(line) <= columns and line.count("02 of ") == named, line
    assert named == 1 or "0.001, 02" in line and "0.0003]" in line, line
    assert "02 of default" in _line(columns, ["default"], ["default"])


def test_a_run_of_a_sweep_is_executed_with_its_parameters(file, home):
    file.write_text("study: ranking\nstages: '01'\nlist: [{rows: 200, test_rows: 300}]\n")
    done = workbench("sweep", str(file), "--workers", "1", home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = records(home).values()
    stage = record["stages"]["01_synthetic_data"]
    assert stage["status"] == "done" and stage["parameters"]["rows"] == 200


def test_what_a_run_of_another_sweep_has_executed_is_taken_from_there(file, home):
    for given in ("{rows: 200}", "{rows: 200, seed: 42}, {rows: 200, seed: 43}"):
        file.write_text(f"study: ranking\nstages: '01'\nlist: [{given}]\n")
        done = workbench("sweep", str(file), "--workers", "1", home=home)
        assert done.returncode == 0, done.stdout + done.stderr
    stages = {name: record["stages"] for name, record in records(home).items()}
    taken = {name: stage["01_synthetic_data"].get("from_run") for name, stage in stages.items()}
    assert taken == {"rows=200": None, "rows=200,seed=42": "rows=200", "rows=200,seed=43": None}


@pytest.mark.slow
def test_demonstrations_are_executed_by_single_runs_alone(file, home):
    file.write_text(
        "study: ranking\nstages: 01-04\nlist: [{rows: 1000, test_rows: 400, epochs: 1}]\n"
    )
    done = workbench("sweep", str(file), "--workers", "1", home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    (name,) = records(home)

    def demonstrations() -> int:
        texts = (home / f"artifacts/ranking/{name}/notebooks").glob("0[34]_*.ipynb")
        cells = [cell for text in texts for cell in json.loads(text.read_text())["cells"]]
        return sum(notebooks.DEMONSTRATION in cell["metadata"]["tags"] for cell in cells)

    assert demonstrations() == 0
    files = records(home)[name]["stages"]["04_mnn_conversion"]["outputs"]
    again = workbench("run", "ranking", "--run", name, "--stages", "03-04", "--force", home=home)
    assert again.returncode == 0, again.stderr
    assert demonstrations() == 9
    assert records(home)[name]["stages"]["04_mnn_conversion"]["outputs"] == files


@pytest.mark.slow
def test_a_sweep_makes_what_single_runs_make_and_shares_what_is_the_same(file, home, tmp_path):
    file.write_text(TWO_WIDTHS)
    done = workbench("sweep", str(file), "--workers", "2", home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 runs of ranking, stages 01, 02: 3 stages to execute, 1 shared" in done.stdout
    assert "3/3  " in done.stdout and "hidden_units" in done.stdout and " auc " in done.stdout
    check_whole(home, file)
    first, second = (
        records(home).values()
        if "4" in next(iter(records(home)))
        else reversed(records(home).values())
    )
    assert (
        second["stages"]["01_synthetic_data"]["from_run"]
        == first["run"]
        == "epochs=2,hidden_units=4,rows=1000,seed=1"
    )
    assert second["stages"]["01_synthetic_data"]["parameters"]["run"] == second["run"]

    given = [
        word for name, value in second["requested"].items() for word in ("-p", f"{name}={value}")
    ]
    named = ("--run", second["run"], "--stages", "01-02")
    alone = workbench("run", "ranking", *given, *named, home=tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    for output in (
        "data.json",
        "model/model.keras",
        "model/reference.npz",
        "figures/calibration.png",
    ):
        ours, theirs = (
            place / "artifacts/ranking" / second["run"] / output
            for place in (home, tmp_path / "alone")
        )
        assert ours.read_bytes() == theirs.read_bytes(), output

    again = workbench("sweep", str(file), home=home)
    assert (
        again.returncode == 0
        and "done in" not in again.stdout
        and again.stdout.count("nothing to do") == 4
    )
    page = (home / "artifacts/ranking/index.html").read_text()
    assert (
        f'href="{second["run"].replace("=", "%3D").replace(",", "%2C")}/report.html"' in page
        and "hidden_units" in page
    )


def test_a_dry_run_shows_the_runs_and_makes_nothing(file, home):
    file.write_text(TWO_WIDTHS)
    done = workbench("sweep", str(file), "--dry-run", home=home)
    assert (
        done.returncode == 0
        and "epochs=2,hidden_units=8,rows=1000,seed=1: rows=1000, epochs=2" in done.stdout
    )
    assert not home.exists()


def test_a_bad_file_is_one_line_and_status_2(file, home):
    file.write_text("study: ranking\ngrid: {epochs: [0]}")
    done = workbench("sweep", str(file), home=home)
    assert done.returncode == 2 and done.stderr.startswith(
        "workbench: sweep.yaml: epochs must be between 1"
    )
    assert not home.exists()


@pytest.mark.slow
def test_a_failed_run_is_reported_and_does_not_stop_the_others(file, home):
    file.write_text(FIRST_STAGE)
    spoiled = home / "artifacts/ranking/rows=200,seed=2"
    spoiled.mkdir(parents=True)
    (spoiled / "figures").write_text("a file where a folder is needed")
    done = workbench("sweep", str(file), "--workers", "2", home=home)
    assert done.returncode == 1
    assert (
        "failed  rows=200,seed=2: stage 01_synthetic_data failed: WorkbenchError: cannot make the "
        "folder" in done.stderr
    )
    assert f"see {spoiled}/notebooks/01_synthetic_data.failed.ipynb" in done.stderr
    assert "workbench: 1 of 3 runs failed; the same command tries them again" in done.stderr
    assert {
        name
        for name, record in records(home).items()
        if record["stages"]["01_synthetic_data"]["status"] == "done"
    } == {
        "rows=200,seed=1",
        "rows=200,seed=3",
    }
    (spoiled / "figures").unlink()
    again = workbench("sweep", str(file), home=home)
    assert again.returncode == 0 and again.stdout.count("done in") == 1
    check_whole(home, file)


def test_a_stage_is_not_taken_from_files_that_were_changed(finished_copy, home):
    other = finished_copy
    taker = runs.Run("ranking", "taker")
    assert (
        taker.reuse("01", other, {})
        and taker.record()["stages"]["01_synthetic_data"]["from_run"] == "default"
    )
    assert not taker.reuse("03", other, {}), "its inputs are not there"
    damaged = other.folder / "model/model.keras"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert not taker.reuse("02", other, {}) and "02_keras_training" not in taker.record()["stages"]
    assert not (taker.folder / "model/model.keras").exists()
    shutil.rmtree(other.folder / "notebooks")
    assert not taker.reuse("01", other, {})
