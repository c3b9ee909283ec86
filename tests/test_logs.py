"""Rows of somebody's own tables: what is read, how groups are split, what is refused."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from helpers import datasets, files, logs
from helpers.errors import BadInput
from helpers.schema import Dimension, Schema, Tensor
from helpers.studies import Files, Model, Study

ITEM = Tensor("item", "item", (Dimension("price", ""), Dimension("kind", "", 0, 9)))
COUNT = Tensor("count", "user", (Dimension("clicks", "", 0, 99),), "int32")
SCHEMA = Schema("log_model", (ITEM, COUNT), (Tensor("click", "score", (Dimension("p", ""),)),))
MANY = {"rows": 0, "validation_rows": 0, "test_rows": 0}


def _study(*paths: str, **options) -> Study:
    options = {"label": "clicked", "group": "session", **options}
    log = Files("log", "a log", paths or ("log.csv",), **options)
    return Study("log", "A log", SCHEMA, {"log": log}, {"none": Model("", None)})


def _table(sessions: int = 200, rows: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    count = sessions * rows
    table = pd.DataFrame(
        {
            "session": np.repeat([f"s{i}" for i in range(sessions)], rows),
            "price": rng.random(count).round(4),
            "kind": rng.integers(0, 10, count),
            "clicks": rng.integers(0, 100, count),
            "clicked": rng.integers(0, 2, count),
        }
    )
    return table.sample(frac=1, random_state=1)  # sessions lie apart


@pytest.fixture
def raw(home):
    folder = files.home() / "data/log/raw"
    folder.mkdir(parents=True)
    return folder


def _keys(table: pd.DataFrame) -> list[tuple]:
    columns = table[["item_price", "item_kind", "user_clicks"]].round(4)
    return sorted(columns.itertuples(index=False, name=None))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_every_row_is_in_one_split_and_no_group_in_two(raw, suffix):
    table = _table()
    path = raw / f"log{suffix}"
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    data = datasets.make(_study(path.name), "log", seed=1, **MANY)
    frames = {split: data.read(split) for split in datasets.SPLITS}
    assert sum(map(len, frames.values())) == len(table)
    groups = [set(frame[datasets.REQUEST]) for frame in frames.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 200
    assert all(10 <= len(of) <= 32 for of in groups[1:]), "a tenth each: 20, sd 4.2"
    stored = table.rename(columns={"price": "item_price", "kind": "item_kind"})
    stored = stored.rename(columns={"clicks": "user_clicks"})
    assert np.allclose(_keys(pd.concat(frames.values())), _keys(stored))
    labels = pd.concat(frames.values()).groupby(datasets.REQUEST)[datasets.LABEL].sum()
    assert sorted(labels) == sorted(table.groupby("session")["clicked"].sum())


def test_a_group_stays_in_its_split_when_rows_come_in_another_order_or_more_of_them(raw):
    _table().to_csv(raw / "log.csv", index=False)
    _table().sort_values("session").to_csv(raw / "sorted.csv", index=False)
    first, second, other = (
        set(datasets.make(_study(file), "log", seed=seed, **MANY).read("test")[datasets.REQUEST])
        for file, seed in (("log.csv", 1), ("sorted.csv", 1), ("log.csv", 2))
    )
    assert first == second != other


def test_one_bound_of_many_is_of_the_fingerprint(raw):
    _written(raw, _table())
    study = _study()
    origins = []
    for high in (1, 1, 1.5):
        wide = tuple(Dimension(f"x{i}", "", 0, high if i == 600 else 1) for i in range(1200))
        schema = dataclasses.replace(SCHEMA, inputs=(Tensor("wide", dimensions=wide),))
        other = dataclasses.replace(study, schema=schema)
        origins.append(json.dumps(logs.Rows(other, study.source("log"), {}, seed=1).origin()))
    assert origins[0] == origins[1] != origins[2]


def test_sizes_are_the_most_that_is_taken_of_whole_groups(raw):
    _table(800).to_csv(raw / "log.csv", index=False)
    sizes = {"rows": 300, "validation_rows": 200, "test_rows": 200}
    data = datasets.make(_study(), "log", seed=1, **sizes)
    for split, size in zip(datasets.SPLITS, sizes.values(), strict=True):
        groups = data.read(split).groupby(datasets.REQUEST).size()
        assert (groups == 6).all() and size <= groups.sum() < size + 6, split


def _changed(column: str, value) -> pd.DataFrame:
    table = _table().reset_index(drop=True)
    table[column] = table[column].astype(object)
    table.loc[4, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (_table().drop(columns="kind"), "log.parquet has no column kind; it has: session"),
        (_table().drop(columns="clicked"), "has no column clicked"),
        (_table().drop(columns="session"), "has no column session"),
        (_changed("price", np.nan).astype({"price": float}), "row 5: price is (nan|empty): "),
        (_changed("clicks", 3.5).astype({"clicks": float}), "row 5: clicks is 3.5: .* takes int32"),
        (_changed("clicked", 2).astype({"clicked": int}), "row 5: clicked is 2: a label is 0 or 1"),
        (_changed("session", None), "row 5: session is empty: give every row a group"),
        (_changed("session", ""), "row 5: session is empty: give every row a group"),
        (
            _changed("price", 1e300).astype({"price": float}),
            r"row 5: price is 1e\+300: the model takes float32",
        ),
        (
            _changed("price", "1e1").astype({"price": str}),
            "row 1: price is 0.* takes float32: make numbers",
        ),
        (_table(1), "no rows are left for the .* split of 'log': its shares are 0.1"),
    ],
)
def test_what_is_wrong_is_told_with_its_column_and_row(raw, table, said):
    table.to_parquet(raw / "log.parquet")
    with pytest.raises(BadInput, match=said):
        datasets.make(_study("log.parquet"), "log", seed=1, **MANY)
    assert not [path for path in raw.parent.iterdir() if path.is_dir() and path != raw]


def test_files_that_cannot_be_read_are_told(raw):
    with pytest.raises(BadInput, match="there is no file .*log.csv: put it there"):
        datasets.make(_study(), "log", seed=1, **MANY)
    (raw / "log.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(BadInput, match="log.parquet cannot be read"):
        datasets.make(_study("log.parquet"), "log", seed=1, **MANY)
    (raw / "log.txt").write_text("a b")
    with pytest.raises(BadInput, match="log.txt is neither .csv nor .parquet"):
        datasets.make(_study("log.txt"), "log", seed=1, **MANY)


def _written(raw, table: pd.DataFrame, name: str = "log.csv") -> None:
    path = raw / name
    table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path)


@pytest.mark.parametrize("column", ["session", "part"])
def test_a_blank_in_a_csv_is_neither_a_group_nor_a_split(raw, column):
    table = _table().assign(part="train").reset_index(drop=True)
    table.loc[[4, 9], column] = ""
    _written(raw, table)
    with pytest.raises(BadInput, match=f"log.csv, row 5: {column} is empty"):
        datasets.make(_study(split="part"), "log", seed=1, **MANY)


def test_a_group_that_is_no_number_is_told_in_a_column_of_numbers(raw):
    table = {name: values.to_numpy() for name, values in _table().items()}
    table["session"] = np.array([1.0] * 7 + [np.nan] * 1193)
    pq.write_table(pa.table(table), raw / "log.parquet")  # pandas would write null
    with pytest.raises(BadInput, match="row 8: session is empty: give every row a group"):
        datasets.make(_study("log.parquet"), "log", seed=1, **MANY)


@pytest.mark.parametrize("form", ["number", "fraction", "date", "nanoseconds"])
def test_by_time_the_groups_that_begin_last_are_the_test(raw, form):
    table = _table()
    begin = {session: i for i, session in enumerate(np.random.default_rng(1).permutation(200))}
    table["when"] = (
        table["session"].str[1:].astype(int).map(begin) * 60 + np.arange(len(table)) % 50
    )
    table["clicks"] = table["when"] // 120  # to be found again
    if form == "fraction":
        table["when"] /= 1e6
    if form in ("date", "nanoseconds"):
        table["when"] = pd.Timestamp("2026-11-22") + pd.to_timedelta(table["when"], "s")
    if form == "nanoseconds":
        table["when"] += pd.Timedelta(1, "ns")
    _written(raw, table)
    data = datasets.make(_study(time="when"), "log", seed=1, **MANY)
    seen = {split: set(data.read(split)["user_clicks"]) for split in datasets.SPLITS}
    assert seen == {
        "train": set(range(80)),
        "validation": set(range(80, 90)),
        "test": set(range(90, 100)),
    }


@pytest.mark.parametrize("time", [np.inf, np.nan])
def test_a_time_that_is_not_finite_is_told(raw, time):
    table = {name: values.to_numpy() for name, values in _table().items()}
    table["when"] = np.append(np.ones(1199), time)
    pq.write_table(pa.table(table), raw / "log.parquet")  # pandas would write null
    with pytest.raises(BadInput, match=f"row 1200: when is {time}: a time is a number, or a date"):
        datasets.make(_study("log.parquet", time="when"), "log", seed=1, **MANY)


def test_a_column_says_the_split_and_none_may_cut_a_group(raw):
    table = _table().reset_index(drop=True)
    number = table["session"].str[1:].astype(int)
    table["part"] = np.select([number < 20, number < 50], ["test", "validation"], "train")
    _written(raw, table)
    data = datasets.make(_study(split="part"), "log", seed=1, **MANY)
    rows = {split: data.rows(split) for split in datasets.SPLITS}
    assert rows == {"train": 900, "validation": 180, "test": 120}
    row = int(np.flatnonzero(number == 7)[2])
    table.loc[row, "part"] = "train"
    _written(raw, table)
    first = int(np.flatnonzero((number == 7) & (table["part"] == "test"))[0])
    with pytest.raises(BadInput, match=rf"train \(row {row + 1}\) and test \(row {first + 1}\)"):
        datasets.make(_study(split="part"), "log", seed=1, **MANY)
    table.loc[row, "part"] = "dev"
    _written(raw, table)
    with pytest.raises(BadInput, match=f"row {row + 1}: part is dev: a split is one of train, "):
        datasets.make(_study(split="part"), "log", seed=1, **MANY)


def test_groups_of_one_row_are_told_and_dropped_or_kept_on_request(raw):
    table = _table()
    table.loc[[3, 7], "session"] = ["alone", "lonely"]
    _written(raw, table)
    row = 1 + int(np.flatnonzero(table["session"].isin(["alone", "lonely"]))[0])
    with pytest.raises(BadInput, match=f"row {row}: its session has no other row.*1 more groups"):
        datasets.make(_study(), "log", seed=1, **MANY)
    for lone, count in (("drop", 1198), ("keep", 1200)):
        data = datasets.make(_study(lone=lone), "log", seed=1, **MANY)
        assert sum(data.rows(split) for split in datasets.SPLITS) == count


def test_a_value_that_is_no_number_is_told_however_late_it_comes(raw):
    table = pd.concat([_table(2000)] * 30, ignore_index=True).astype({"price": object})
    table.loc[300_000, "price"] = "cheap"
    _written(raw, table)
    with pytest.raises(BadInput, match="log.csv, row 300001: price is cheap, which is no number"):
        datasets.make(_study(), "log", seed=1, **MANY)


def test_a_column_whose_first_values_are_whole_may_hold_fractions_later(raw):
    table = _table().sort_values("price").assign(price=lambda t: (t["price"] * 3).round(1))
    table["price"] = [f"{v:g}" for v in table["price"]]  # 0, 0, 0, 0.1
    _written(raw, table)
    assert datasets.make(_study(), "log", seed=1, **MANY).rows("train") > 800


def test_rows_of_lists_have_as_many_values_as_the_tensor(raw):
    wide = Tensor("wide", shape=(2, 3), dtype="int32", low=0, high=9)
    schema = Schema("wide_model", (wide,), SCHEMA.outputs)
    log = Files("log", "a log", ("log.parquet",), label="clicked")
    study = Study("log", "A log", schema, {"log": log}, {"none": Model()})
    values = np.random.default_rng(1).integers(0, 10, (600, 6))
    table = pd.DataFrame({"wide": list(values), "clicked": np.arange(600) % 2})
    table.to_parquet(raw / "log.parquet")
    data = datasets.make(study, "log", seed=1, **MANY)
    inputs = np.concatenate([data.arrays(split)[0]["wide"] for split in datasets.SPLITS])
    assert inputs.shape == (600, 2, 3)
    assert sorted(map(tuple, inputs.reshape(600, 6))) == sorted(map(tuple, values))
    for value, said in (([1, 2], "is 2 values: it takes 6"), (None, "is empty: give every row")):
        table.at[9, "wide"] = value
        table.to_parquet(raw / "log.parquet")
        with pytest.raises(BadInput, match=f"row 10: wide {said}"):
            datasets.make(study, "log", seed=1, **MANY)


def test_tables_lie_beside_the_file_of_a_study_or_below_data(raw, tmp_path):
    _written(raw, _table())
    (tmp_path / "own").mkdir()
    study = _study("log.csv")
    assert datasets.make(study, "log", seed=1, **MANY).rows("train")
    beside = dataclasses.replace(study, folder=str(tmp_path / "own"))
    _table(50).to_csv(tmp_path / "own/log.csv", index=False)
    rows = datasets.make(beside, "log", seed=1, **MANY).manifest["rows"]
    assert sum(rows.values()) == 300


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lone": "dropp"}, "lone is refuse, drop or keep, not 'dropp'"),
        ({"shares": (0.5, 0.5)}, "leave a split empty"),
        ({"shares": (0.0, 0.1)}, "leave a split empty"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, said):
    with pytest.raises(BadInput, match=said):
        Files("log", "a log", ("log.csv",), **options)
