"""Runs at a glance: what is shown, in which order, and that it fits."""

import json
import re
from dataclasses import replace

import pytest
from support import workbench

from helpers import glance, results, runs, terminal
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
    lines, left_out = terminal.lines(table, 80)
    assert lines == ["run     loss  02 batches  epochs", "a    1.9e-07          12       3"]
    assert not left_out
    with pytest.raises(
        BadInput, match=r"no column 'epoch' \(did you mean epochs\?\); there is: run"
    ):
        glance.require(results.rows("ranking"), ["epoch"])


def test_runs_are_sorted_as_numbers_and_those_without_come_last(home):
    for epochs in (9, 10, 100):
        _run(f"e{epochs}", epochs=epochs)
    runs.Stage("01_synthetic_data", study="ranking", run="none", rows=100).finish()
    found, chosen = results.rows("ranking"), ["run", "epochs", "auc"]
    for sort, wanted in {"epochs": "e9 e10 e100 none", "-auc": "e100 e10 e9 none"}.items():
        assert _cells(glance.columns(found, chosen, sort), "run") == wanted.split()


def test_runs_are_sorted_by_what_is_no_column(home):
    for name, epochs in (("a", 5), ("b", 3)):
        _run(name, epochs=epochs, hidden_units=16)
    found = results.rows("ranking")
    table = glance.columns(found, sort="hidden_units")
    assert _cells(table, "hidden_units") == ["16", "16"], "all have it"
    assert _cells(glance.columns(found, sort="02 auc"), "run") == ["b", "a"]
    assert [column.name for column in glance.columns(found, ["run"], "epochs")] == ["run"]
    assert _cells(glance.columns(found, ["run"], "epochs"), "run") == ["b", "a"]


def test_a_column_is_empty_for_a_study_that_has_none(home):
    _run("a", epochs=3)
    _run("b", epochs=5)
    runs.Stage("01_synthetic_data", study="feed", run="c", rows=100).finish(posts=7)
    for words in (["--sort", "-auc"], ["--columns", "run,auc"]):
        done = workbench("results", *words, home=home)
        assert done.returncode == 0 and "feed, 1 run\n" in done.stdout, done.stderr
        assert done.stdout.index("\nb ") < done.stdout.index("\na ") or "--sort" not in words
    assert "run  auc\nc\n" in done.stdout and "a    0.9030" in done.stdout
    wrong = workbench("results", "--columns", "run,auk", home=home)
    assert wrong.returncode == 2 and "no column 'auk' (did you mean auc?)" in wrong.stderr


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_the_terminal_and_what_is_left_out_is_named(home, width):
    for seed in range(3):
        name = f"batch_size=512,epochs=3,learning_rate=0.00{seed},rows=1000,seed={seed}"
        more = {"rows": 1000 + seed % 2, "validation_rows": 100 + seed % 2, "test_rows": seed % 2}
        _run(name, epochs=3, seed=seed, learning_rate=(seed + 1) / 1000, **more)
    table = glance.columns(results.rows("ranking"))
    lines, left_out = terminal.lines(table, width)
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
    found, chosen = results.rows("ranking"), ["run", "epochs", "seed", "auc"]
    table = glance.columns(found, chosen)
    width = max(map(len, terminal.lines(table, 200)[0]))
    assert terminal.lines(table, width)[1] == []
    assert terminal.lines(table, width - 1)[1] == ["auc"], "of those that tell as much, the last"
    assert terminal.lines(glance.columns(found, chosen, "-auc"), width - 1)[1] == ["seed"]


SHIPS = {
    "litert fp32": ("same", 3196, 1.0),
    "mnn weight_int8_symmetric": ("ships with loss", 5492, 0.76),
    "litert dynamic_int4": ("ships with loss", 1234567, 12.5),
}


@pytest.fixture
def finished_runs(home, monkeypatch):
    """Makes runs that have an AUC and say what to ship."""
    said = {}

    def recommended(run):
        name = said[run.name]
        return results.Recommended(name, "", name, *SHIPS[name])

    monkeypatch.setattr(results, "recommended", recommended)
    monkeypatch.setattr(results, "headline", lambda run: "auc")

    def make(*names: str, epochs=lambda place: place) -> list[results.Row]:
        for place, name in enumerate(names, 1):
            _, _, prefer = name.partition("prefer=")
            _run(name, epochs=epochs(place), prefer=prefer.split(",")[0] or "agreement")
            said[name] = list(SHIPS)[(place - 1) % len(SHIPS)]
        return results.rows("ranking")

    return make


@pytest.mark.parametrize("stale", [False, True])
def test_what_matters_of_finished_runs_fits_80_columns(finished_runs, stale):
    names = "latency_seconds=1.0", "latency_seconds=1.0,prefer=bytes"
    found = finished_runs(*names, epochs=lambda place: 3)
    found = [replace(row, stale={"05_accuracy_latency": "x"} if stale else {}) for row in found]
    lines, left_out = terminal.lines(glance.columns(found), 80)
    assert max(map(len, lines)) <= 80 and len(lines) == 3
    shown = lines[0].split()
    assert {"run", "prefer", "auc", "verdict", "bytes", "latency"} <= set(shown)
    assert left_out[0] == "date" and ("stale" in shown) == stale and ("ships" in shown) != stale
    assert "0.9030" in lines[2] and "5,492" in lines[2] and "0.76x" in lines[2]
    assert "ship" in lines[2] and ("mnn we" in lines[2]) != stale
    wide = terminal.lines(glance.columns(found), 200)
    assert not wide[1] and "mnn weight_int8_symmetric  ships with loss" in wide[0][2]


@pytest.mark.parametrize("width", [60, 70, 80, 100])
def test_names_of_runs_that_are_cut_stay_different(finished_runs, width):
    names = [
        f"latency_seconds=1.0,{more}rows=2000{end}"
        for more in ("", "model=wide,", "prefer=bytes,", "prefer=latency,")
        for end in ("", ",seed=1", ",seed=11")
    ]
    found = finished_runs("default", *names)
    lines, left_out = terminal.lines(glance.columns(found), width)
    assert max(map(len, lines)) <= width and "auc" not in left_out
    cells = {line.split("  ")[0] for line in lines[1:]}
    assert len(cells) == len(found) == 13, cells


def test_names_are_cut_no_further_than_they_differ():
    names = [f"{'a' * 30}{letter}{'b' * 30}" for letter in "xyz"]
    assert terminal.cut(names, 16) == [name[:31] + "…" for name in names], "wider than asked for"
    assert terminal.cut(["one", "one", "another"], 4) == ["one", "one", "an…r"]
    usual = ["rows=2000,seed=1", "epochs=3,rows=2000,seed=1", "epochs=5,rows=2000,seed=2"]
    assert terminal.cut(usual, 18) == ["rows=2000,seed=1", "epochs=3,…,seed=1", "epochs=5,…,seed=2"]


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
