"""Two runs against each other, with what independent code says of the same rows."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from support import replace_recorded, workbench

from helpers import compared, files, runs
from helpers.errors import BadInput, MissingStage
from helpers.evaluation import parity


@pytest.fixture(scope="module")
def short(finished, tmp_path_factory):
    """Home of stages 01 and 02 of the finished run, with fewer epochs."""
    home = tmp_path_factory.mktemp("short") / "home"
    record = json.loads((finished.home / "artifacts/ranking/default/run.json").read_text())
    done = workbench(
        "run", "ranking", "--run", "short", "--stages", "01-02", "-p", "epochs=1",
        *("-p", "repeat=false"), *_data(record), home=home,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture
def two(finished_copy, short, home):
    """The finished run, and the short one."""
    shutil.copytree(short, home, dirs_exist_ok=True)
    return finished_copy, runs.Run("ranking", "short")


def _data(record: dict) -> list[str]:
    given = record["stages"]["01_synthetic_data"]["parameters"]
    names = ("source", "rows", "validation_rows", "test_rows", "seed")
    return [word for name in names for word in ("-p", f"{name}={given[name]}")]


def test_models_are_held_on_the_same_rows(two):
    found = compared.compare(*two)
    assert found.why == ""
    loaded = [np.load(run.folder / parity.FILE) for run in two]
    labels = loaded[0]["labels"]
    assert found.rows == len(labels)
    scores = [next(f[n] for n in f.files if n.startswith("output:"))[:, 0] for f in loaded]
    aucs = [roc_auc_score(labels, values) for values in scores]
    one, other, change = found.metrics.loc["AUC"]
    assert [one, other] == [f"{value:.4f}" for value in aucs]
    assert change.startswith(f"{aucs[1] - aucs[0]:+.4f} (")
    low, high = map(float, change.partition("(")[2].rstrip(")").split(" to "))
    assert low <= aucs[1] - aucs[0] <= high and low < high < 0, "one epoch is surely worse"
    right = [(values > 0.5) == (labels == 1) for values in scores]
    gained = right[1].mean() - right[0].mean()
    assert found.metrics.loc["accuracy"].iloc[2].startswith(f"{gained:+.4f} (")
    for name in ("Kendall tau", "top-10 overlap"):
        value, low, high = map(float, re.findall(r"[\d.]+", found.metrics.loc[name].iloc[2]))
        assert low < value < high < 1
    assert (
        found.parameters.loc["epochs"].tolist()[1] == "1" and "rows" not in found.parameters.index
    )
    assert found.files is None
    text = compared.text(found)
    assert "parameters that differ" in text and "no files to compare: stage 05" in text


def test_other_rows_give_no_interval(two, home):
    other = runs.Run("ranking", "short")
    with np.load(other.folder / parity.FILE) as file:
        content = {name: file[name] for name in file.files}
    content["labels"] = content["labels"][::-1]
    np.savez(other.folder / parity.FILE, **content)
    with other.edit() as record:  # as if stage 02 had been made of other rows
        outputs = record["stages"]["02_keras_training"]["outputs"]
        outputs[parity.FILE] = files.sha256(other.folder / parity.FILE)
    found = compared.compare(two[0], other)
    assert found.rows == 0 and "no interval" in compared.text(found)


def test_files_are_joined_by_name(finished_copy):
    copy = runs.Run("ranking", "copy")
    shutil.copytree(finished_copy.folder, copy.folder)
    record = json.loads(copy.record_file.read_text())
    record["run"] = "copy"
    copy.record_file.write_text(json.dumps(record))
    table = pd.read_csv(finished_copy.folder / "comparison.csv")
    content = table.drop(index=3).to_csv(index=False).encode()
    replace_recorded(finished_copy, "comparison.csv", content)  # a file that only the other has
    found = compared.compare(finished_copy, copy)
    called = (table["runtime"] + " " + table["precision"]).tolist()
    assert found.files.index.tolist() == called, "in the order of all tables"
    assert found.files.loc[called[3], "bytes"].startswith("none -> ")
    replace_recorded(finished_copy, "comparison.csv", table.to_csv(index=False).encode())
    found = compared.compare(finished_copy, copy)
    assert found.files.index.tolist() == called
    assert found.files["bytes"].tolist() == [f"{size:,}" for size in table["bytes"]]
    assert not found.files.map(lambda cell: "->" in cell or "-0.0" in cell).any(axis=None)
    assert found.metrics.loc["AUC"].iloc[2] == "+0.0000 (+0.0000 to +0.0000)"
    assert found.parameters.empty and "no parameter differs" in compared.text(found)
    assert found.metrics.loc["Kendall tau"].iloc[2] == "1.0000", "all requests agree"


def test_latencies_are_one_figure_where_their_intervals_overlap():
    nan = float("nan")
    shown = {
        "1.00x": [(1.0, 1.0, 1.0), (1.0, 1.0, 1.0)],
        "0.97x": [(0.97, 0.86, 1.09), (1.03, 0.95, 1.12)],
        "296x (290-301x) -> 361x (350-372x)": [(295.9, 290.2, 301.4), (360.7, 350.1, 371.9)],
        "none -> 0.97x (0.86-1.09x)": [(nan, nan, nan), (0.97, 0.86, 1.09)],
        "none": [(nan, nan, nan)] * 2,
    }
    assert [compared._latency(*pair) for pair in shown.values()] == list(shown)


def test_runs_are_found_by_name(finished_copy, home):
    assert compared.find("default").name == compared.find("ranking/default").name == "default"
    for name, message in {
        "x": "there is no run 'x'; `workbench results` shows",
        "ranking/x": "there is no run 'x' of ranking; there is: default",
        "nope/x": "there is no study 'nope'",
    }.items():
        with pytest.raises(BadInput, match=message):
            compared.find(name)
    runs.Stage("01_synthetic_data", study="feed", run="default", rows=100).finish()
    with pytest.raises(BadInput, match="several runs 'default': say which, feed/default and rank"):
        compared.find("default")
    with pytest.raises(BadInput, match="ranking/default is one run: give two"):
        compared.compare(finished_copy, runs.Run("ranking", "default"))
    with pytest.raises(MissingStage):
        compared.compare(finished_copy, compared.find("feed/default"))


def test_the_command_writes_a_page(two, home, tmp_path):
    page = tmp_path / "page.html"
    done = workbench("compare", "default", "short", "--html", str(page), home=home)
    assert done.returncode == 0 and "short against default" in done.stdout, done.stderr
    text = page.read_text()
    assert "<h1>short against default</h1>" in text and "AUC" in text
