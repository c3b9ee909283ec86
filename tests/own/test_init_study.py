"""`workbench init`: what the columns of a table are taken for, and a study that works at once."""

import ast
import datetime
import decimal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from brought import TABLE
from support import workbench

from helpers import registry
from helpers.errors import BadInput
from helpers.own import start


def _csv(tmp_path, **columns):
    path = tmp_path / "table.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_columns_are_taken_for_what_they_look_like(tmp_path):
    rows = 60
    rng = np.random.default_rng(1)
    table = _csv(
        tmp_path,
        session=np.arange(rows) // 5,
        user_age=(np.arange(rows) // 5) * 3 + 18,
        price=rng.random(rows),
        item_id=np.arange(rows),
        title=["a"] * rows,
        gap=[None, *range(1, rows)],
        same=1.5,
        timestamp=np.arange(rows),
        clicked=np.arange(rows) % 2,
    )
    found = start.guess(table)
    assert (found.label, found.group, found.time) == ("clicked", "session", "timestamp")
    assert [(c.name, c.alike) for c in found.columns] == [("user_age", True), ("price", False)]
    assert {name: why.split(":")[0] for name, why in found.left_out.items()} == {
        "item_id": "an id",
        "title": "text",
        "gap": "1 of 60 values are missing, the first in row 1",
        "same": "one value in every row",
    }
    assert found.notes == ("12 groups: too few for a test of which much can be said",)
    assert found.task == "ranking" and found.lone == 0
    price = found.columns[1]
    values = pd.read_csv(table)["price"]
    assert (price.low, price.high) == (values.min(), values.max())
    assert np.isclose(price.mean, values.mean()) and np.isclose(price.spread, values.std(ddof=0))


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ({"a": [1, 2]}, {}, "which column of table.csv is the label. Say --label NAME; it has: a"),
        ({"a": [1, 2], "y": [0, 1]}, {"label": "z"}, "has no column z.*; it has: a, y"),
        ({"a": [1, 2], "y": [0.5, 1]}, {}, "y holds 0.5: a label is 0 or 1, or a class"),
        ({"a": [1, 2], "y": ["no", "yes"]}, {}, "y holds no: a label is"),
        ({"a": [1, 2], "y": [0, np.inf]}, {}, "y holds inf: a label is 0 or 1, or a class"),
        ({"a": [1, 2], "y": [1, 1]}, {}, "y is 1 in every row: nothing to learn"),
        (
            {"a": [1, 2, 3, 4], "y": [0, None, 1, None]},
            {},
            "table.csv, row 2: y is empty, and in 1 more rows: leave out",
        ),
        (
            {"a": [*range(19), "dear"], "y": [0, 1] * 10},
            {},
            "a: 1 of 20 values are no numbers, the first, 'dear', in row 20: mend",
        ),
        ({"a;y": ["1;0", "2;1"]}, {}, "has one column, 'a;y': it seems to be separated by ';'"),
        ({"a": ["x", "y"], "y": [0, 1]}, {}, "no column that could be an input: a: text"),
    ],
)
def test_what_cannot_be_guessed_is_told(tmp_path, columns, options, said):
    with pytest.raises(BadInput, match=said):
        start.guess(_csv(tmp_path, **columns), **options)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pd.date_range("2026-11-22", periods=60, freq="h"), "datetime64"),
        ([datetime.date(2026, 11, 22)] * 60, "date"),
        ([None, *[decimal.Decimal("1.5")] * 59], "decimal"),
        ([str(i) for i in range(60)], "string"),
    ],
)
def test_dates_decimals_and_digits_as_text_are_left_out(tmp_path, values, kind):
    table = pd.DataFrame({"a": np.arange(60), "odd": values, "clicked": np.arange(60) % 2})
    table.to_parquet(tmp_path / "table.parquet")
    found = start.guess(tmp_path / "table.parquet")
    assert found.left_out == {"odd": f"{kind} values: make plain numbers of them"}
    assert [column.name for column in found.columns] == ["a"]


def test_ranges_of_a_written_study_hold_every_value(tmp_path):
    rng = np.random.default_rng(1)
    whole = rng.integers(1_234_567, 2**60, 90)
    columns = {"whole": whole, "part": rng.normal(1e6, 1, 90), "yes": rng.random(90) < 0.5}
    table = _csv(tmp_path, **columns, clicked=np.arange(90) % 2)
    study, _ = start.write("ends", table, start.guess(table), tmp_path)
    (tensor,) = registry.get(registry.link(str(study))).schema.inputs
    ends = [(d.low, d.high) for d in tensor.dimensions]
    assert ends == [(values.min(), values.max()) for values in columns.values()]
    assert [type(end) for end in ends[0] + ends[2]] == [int] * 4


def test_a_label_of_several_classes_makes_a_classification(tmp_path):
    rng = np.random.default_rng(1)
    table = _csv(tmp_path, a=rng.random(90), b=rng.random(90), label=np.arange(90) % 3)
    found = start.guess(table)
    assert (found.task, found.classes, found.group) == ("classification", 3, None)
    study, _ = start.write("three", table, found, tmp_path)
    assert "softmax" in study.read_text() and 'task="classification"' in study.read_text()


def test_a_label_that_nearly_no_row_has_is_noted(tmp_path):
    rng = np.random.default_rng(1)
    labels = np.arange(3000) % 2
    labels[7] = 2
    found = start.guess(_csv(tmp_path, a=rng.random(3000), y=labels))
    assert found.classes == 3
    assert found.notes[-1] == "y is 2 in 1 of 3,000 rows: is that a class?"
    study, _ = start.write("noted", tmp_path / "table.csv", found, tmp_path)
    assert "- look at: y is 2 in 1 of 3,000 rows" in study.read_text()


def test_groups_of_one_row_are_dropped_and_counted_in_the_file(tmp_path):
    rng = np.random.default_rng(1)
    table = _csv(tmp_path, session=[0, 0, 1, 2, 2], a=rng.random(5), clicked=[0, 1, 0, 1, 0])
    study, _ = start.write("few", table, start.guess(table), tmp_path)
    assert 'lone="drop",  # 1 groups have one row' in study.read_text()


@pytest.mark.parametrize("name", ["quotes", "plain"])
def test_what_is_written_is_python_whatever_the_columns_are_called(tmp_path, name):
    rng = np.random.default_rng(1)
    odd = 'price "net", €' if name == "quotes" else "price"
    table = _csv(tmp_path, **{odd: rng.random(9), "clicked": np.arange(9) % 2})
    study, test = start.write(name, table, start.guess(table), tmp_path)
    ast.parse(test.read_text())
    assert registry.get(registry.link(str(study))).schema.columns == [odd]


def test_nothing_is_overwritten(tmp_path):
    found = start.guess(TABLE)
    start.write("mine", TABLE, found, tmp_path)
    (tmp_path / "mine.py").write_text("# mine\n")
    with pytest.raises(BadInput, match=r"mine.py is there already: take another name"):
        start.write("mine", TABLE, found, tmp_path)
    assert (tmp_path / "mine.py").read_text() == "# mine\n"
    with pytest.raises(BadInput, match="there is a study 'feed' already"):
        start.write("feed", TABLE, found, tmp_path)


@pytest.mark.slow
def test_the_study_and_its_test_work_at_once(tmp_path, home):
    (tmp_path / "clicks.csv").write_bytes(TABLE.read_bytes())
    command = [sys.executable, "-m", "helpers.cli", "init", "clicks", "--data", "clicks.csv"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "task     ranking: clicked, in groups by session" in done.stdout
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "test_clicks.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert tested.returncode == 0 and "2 passed" in tested.stdout, tested.stdout
    run = workbench("run", str(tmp_path / "clicks.py"), "--stages", "01-02", home=home)
    assert run.returncode == 0, run.stdout + run.stderr
