"""Runs at a glance: what is shown, in which order, and that it fits."""

import json
import re

import pytest
from support import workbench

from helpers import glance, results, runs
from helpers.errors import BadInput


def _run(name: str, **parameters) -> runs.Run:
    stage = runs.Stage("02_keras_training", study="ranking", run=name, **parameters)
    stage.finish(auc=0.9 + parameters["epochs"] / 1000, loss=1.9e-07, batches=12)
    return stage.run


def _cells(table, name: str) -> list[str]:
    return next(list(column.cells) for column in table if column.name == name)


def test_what_a_finished_run_says_to_ship(finished_copy):
    (row,) = results.rows("ranking")
    ships = results.recommended(finished_copy)
    table = glance.columns([row])
    assert [column.name for column in table] == [
        "run",
        "auc",
        "date",
        "ships",
        "verdict",
        "bytes",
        "latency",
    ]
    assert _cells(table, "ships") == [ships.name] and _cells(table, "verdict") == ["same"]
    size = (finished_copy.folder / "tflite" / "fp32.tflite").stat().st_size
    assert ships.name == "litert fp32" and _cells(table, "bytes") == [f"{size:,}"]
    assert _cells(table, "latency") == ["1.00x"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", _cells(table, "date")[0])
    plain = json.loads(json.dumps(results.plain(row)))
    assert plain["ships"] == vars(ships) and plain["metrics"]["02 auc"] == row.metrics["02 auc"]
    (finished_copy.folder / "recommendation.json").write_text("{}")
    assert results.recommended(finished_copy) is None, "not the bytes that were recorded"


def test_a_parameter_differs_only_among_runs_that_have_it(home):
    _run("a", epochs=3, seed=1)
    _run("b", epochs=3, seed=2)
    runs.Stage("01_synthetic_data", study="ranking", run="c", rows=100, seed=1).finish()
    table = glance.columns(results.rows("ranking"))
    assert [column.name for column in table] == ["run", "seed", "date"]
    assert _cells(table, "seed") == ["1", "2", "1"]


def test_chosen_columns_have_integers_and_nothing_that_is_nought_by_rounding(home):
    _run("a", epochs=3)
    table = glance.columns(results.rows("ranking"), ["run", "loss", "02 batches", "epochs"])
    lines, left_out = glance.lines(table, 80)
    assert lines == ["run     loss  02 batches  epochs", "a    1.9e-07          12       3"]
    assert not left_out
    with pytest.raises(
        BadInput, match=r"no column 'epoch' \(did you mean epochs\?\); there is: run"
    ):
        glance.columns(results.rows("ranking"), ["epoch"])


def test_runs_are_sorted_as_numbers_and_those_without_come_last(home):
    for epochs in (9, 10, 100):
        _run(f"e{epochs}", epochs=epochs)
    runs.Stage("01_synthetic_data", study="ranking", run="none", rows=100).finish()
    table = glance.columns(results.rows("ranking"), ["run", "epochs", "auc"])
    assert _cells(glance.ordered(table, "epochs"), "run") == ["e9", "e10", "e100", "none"]
    assert _cells(glance.ordered(table, "-auc"), "run") == ["e100", "e10", "e9", "none"]
    with pytest.raises(BadInput, match="no column 'x' to sort by; there is: run, epochs, auc"):
        glance.ordered(table, "x")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_the_terminal_and_what_is_left_out_is_named(home, width):
    for seed in range(3):
        name = f"batch_size=512,epochs=3,learning_rate=0.00{seed},rows=1000,seed={seed}"
        more = {"rows": 1000 + seed % 2, "validation_rows": 100 + seed % 2, "test_rows": seed % 2}
        _run(name, epochs=3, seed=seed, learning_rate=(seed + 1) / 1000, **more)
    table = glance.columns(results.rows("ranking"))
    lines, left_out = glance.lines(table, width)
    assert max(map(len, lines)) <= width and len(lines) == 4
    assert "auc" not in left_out and "seed" not in left_out, "what tells most runs apart stays"
    shown = lines[0].split()
    assert sorted([*shown, *left_out]) == sorted(column.name for column in table)
    ends = {line.split("  ")[0][-6:] for line in lines[1:]}
    assert ends == {"seed=0", "seed=1", "seed=2"}, "names keep their ends"
    if width == 60:
        assert left_out and all("\N{HORIZONTAL ELLIPSIS}" in line for line in lines[1:])


def test_short_names_leave_room_and_what_is_sorted_by_stays(home):
    for epochs in (3, 5):
        _run(f"e{epochs}", epochs=epochs, seed=epochs)
    table = glance.columns(results.rows("ranking"), ["run", "epochs", "seed", "auc", "date"])
    width = max(map(len, glance.lines(table, 200)[0]))
    assert glance.lines(table, width)[1] == []
    assert glance.lines(table, width - 1)[1] == ["auc"], "of those that tell as much, the last"
    assert glance.lines(glance.ordered(table, "-auc"), width - 1)[1] == ["seed"]


def test_the_command_fits_80_columns_and_sorts(home, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for epochs in (3, 5):
        _run(f"hidden_units=16,learning_rate=0.003,epochs={epochs}", epochs=epochs, seed=epochs)
    done = workbench("results", "--sort", "-epochs", home=home)
    lines = done.stdout.splitlines()
    assert lines[1] == "ranking, 2 runs" and max(map(len, lines)) <= 80, done.stderr
    assert "epochs=5" in lines[3] and "epochs=3" in lines[4]
    read = json.loads(workbench("results", "--json", home=home).stdout)
    assert [row["parameters"]["epochs"] for row in read] == [3, 5]
    wrong = workbench("results", "--sort", "epoch", home=home)
    assert wrong.returncode == 2 and "did you mean epochs?" in wrong.stderr
