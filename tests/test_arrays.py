"""Rows of arrays: which split each is in, what is refused, and what makes another data set."""

import dataclasses
import shutil

import numpy as np
import pytest
from support import PROJECT

from helpers import arrays, datasets, files, registry
from helpers.errors import BadInput
from helpers.schema import Dimension, Schema, Tensor
from helpers.studies import Arrays, Model, Study

ALL = {"rows": 0, "validation_rows": 0, "test_rows": 0}
ROWS = 600


def _loaded(rows: int = ROWS, seed: int = 1) -> tuple[dict, np.ndarray]:
    rng = np.random.default_rng(seed)
    inputs = {
        "image": rng.random((rows, 6, 5, 1), np.float32),
        "kind": rng.integers(0, 4, (rows, 2)),
    }
    return inputs, rng.integers(0, 3, rows)


def _study(load, *paths: str, task: str = "classification", **options) -> Study:
    image = Tensor("image", shape=(6, 5, 1))
    kinds = tuple(Dimension(name, "", 0, 3) for name in ("first", "second"))
    outputs = (Tensor("p", "", tuple(Dimension(name, "") for name in "abc")),)
    schema = Schema("m", (image, Tensor("kind", "", kinds, "int32")), outputs)
    source = Arrays("mine", "arrays", load, paths, **options)
    return Study("held", "Held", schema, {"mine": source}, {"m": Model()}, task=task)


def _made(study: Study, seed: int = 1, **sizes):
    return datasets.make(study, "mine", seed=seed, **{**ALL, **sizes})


def _parts(data) -> list[str]:
    return [part["sha256"] for parts in data.manifest["parts"].values() for part in parts]


def test_every_row_is_in_one_split_with_its_label():
    inputs, labels = _loaded()
    data = _made(_study(lambda: (inputs, labels), shares=(0.1, 0.3)))
    seen = []
    for split in datasets.SPLITS:
        found, classes, rows = data.arrays(split)
        assert found["kind"].dtype == np.int32
        for name in inputs:
            np.testing.assert_array_equal(found[name], inputs[name][rows])
        np.testing.assert_array_equal(classes, labels[rows])
        seen += rows.tolist()
    assert sorted(seen) == list(range(ROWS))
    shares = [data.rows(split) / ROWS for split in datasets.SPLITS]
    deviation = np.sqrt(0.25 / ROWS)  # of a share, at most
    np.testing.assert_allclose(shares, [0.6, 0.1, 0.3], atol=4 * deviation)
    assert data.manifest["said"] == [] and (np.diff(seen[: data.rows("train")]) < 0).any()


def test_rows_are_the_same_bytes_each_time_and_in_whatever_order_they_come():
    inputs, labels = _loaded()
    first = _made(_study(lambda: (inputs, labels)))
    shutil.rmtree(files.home() / "data/held")
    assert _parts(_made(_study(lambda: (inputs, labels)))) == _parts(first)
    mixed = np.random.default_rng(2).permutation(ROWS)
    other = _made(_study(lambda: ({n: a[mixed] for n, a in inputs.items()}, labels[mixed])))
    for split in datasets.SPLITS:
        for here, there in zip(first.arrays(split)[:2], other.arrays(split)[:2], strict=True):
            np.testing.assert_equal(here, there)
    another = _made(_study(lambda: (inputs, labels)), seed=2)
    assert not set(_parts(another)) & set(_parts(first))


def test_equal_rows_are_in_one_split():
    inputs, labels = _loaded(200)
    again = {name: np.concatenate([values] * 3) for name, values in inputs.items()}
    data = _made(_study(lambda: (again, np.concatenate([labels] * 3))))
    of_row = {}
    for split in datasets.SPLITS:
        for row in data.arrays(split)[2]:
            of_row.setdefault(row % 200, []).append(split)
    assert len(of_row) == 200
    assert all(len(splits) == 3 and len(set(splits)) == 1 for splits in of_row.values())


def test_splits_that_are_loaded_are_kept_and_the_others_are_shares_of_training():
    def load():
        return {"train": _loaded(), "test": _loaded(150, seed=2)}

    data = _made(_study(load))
    assert data.rows("test") == 150 and data.rows("train") + data.rows("validation") == ROWS
    assert 30 < data.rows("validation") < 95
    test, labels, rows = data.arrays("test")
    np.testing.assert_array_equal(test["image"], load()["test"][0]["image"][rows - ROWS])
    np.testing.assert_array_equal(labels, load()["test"][1][rows - ROWS])
    three = {**load(), "validation": _loaded(40, seed=3)}
    sizes = _made(_study(lambda: three)).manifest["rows"]
    assert sizes == {"train": ROWS, "validation": 40, "test": 150}


def test_rows_of_the_test_are_left_out_of_training_and_told():
    train, test = _loaded(), _loaded(100, seed=2)
    for name, values in train[0].items():
        values[:7] = test[0][name][:7]
    data = _made(_study(lambda: {"train": train, "test": test}))
    assert data.rows("test") == 100 and data.rows("train") + data.rows("validation") == ROWS - 7
    left_out = [int(line.split()[2]) for line in data.manifest["said"]]
    assert sum(left_out) == 7
    assert "rows of the train split that a later one has, too" in data.manifest["said"][-1]


def test_of_more_rows_than_asked_for_some_are_kept():
    study = _study(_loaded)
    few, all_rows = _made(study, rows=50, test_rows=20), _made(study)
    assert few.manifest["rows"] == {**all_rows.manifest["rows"], "train": 50, "test": 20}
    for split in datasets.SPLITS:
        kept = few.arrays(split)[0]["image"]
        np.testing.assert_array_equal(kept, all_rows.arrays(split)[0]["image"][: len(kept)])


def test_rows_do_not_depend_on_the_chunks(monkeypatch):
    whole = _made(_study(_loaded)).arrays("train")
    shutil.rmtree(files.home() / "data/held")
    monkeypatch.setattr(arrays, "CHUNK_ROWS", 37)
    data = _made(_study(_loaded))
    assert len(data.manifest["parts"]["train"]) == -(-data.rows("train") // 37)
    for here, there in zip(whole, data.arrays("train"), strict=True):
        np.testing.assert_equal(here, there)


def test_without_labels_there_are_none():
    inputs, _ = _loaded()
    data = _made(_study(lambda: (inputs, None), task="tensors"))
    assert data.arrays("test")[1] is None
    with pytest.raises(BadInput, match="mine has no labels: a classification learns from them"):
        _made(_study(lambda: (inputs, None)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"image": np.zeros((ROWS, 30))},
            r"mine: image is \[600, 30\], the schema has \[n, 6, 5, 1",
        ),
        ({"image": np.float32(1)}, r"image is \[\], the schema has"),
        ({"kind": np.full((ROWS, 2), "a")}, "kind is <U1: make numbers of it"),
        ({"kind": np.full((ROWS, 2), 0.5)}, "mine, row 1: first is 0.5, the schema has int32"),
        ({"kind": np.full((ROWS, 2), 4)}, "first is 4, the schema has int32 from 0 to 3: scale"),
        ({"kind": np.zeros((9, 2))}, "mine has 600 rows of labels, 9 rows of kind: a row of each"),
        ({"labels": np.zeros(9)}, "has 600 rows of kind, 9 rows of labels"),
        (
            {"labels": np.eye(3)[np.zeros(ROWS, int)]},
            r"labels are float64 \[600, 3\], .*take argmax",
        ),
        ({"labels": np.array(["a"] * ROWS)}, r"labels are <U1 \[600\], and must be a class a row"),
        ({"more": np.zeros(ROWS)}, "mine has the inputs image, kind, more; the schema has: image,"),
    ],
)
def test_arrays_that_do_not_fit_are_told(change, said):
    inputs, labels = _loaded()
    inputs |= change
    labels = inputs.pop("labels", labels)
    with pytest.raises(BadInput, match=said) as error:
        _made(_study(lambda: (inputs, labels)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.nan, r"row 8: image\[3, 2, 0\] is nan, .*: fill or leave out such rows"),
        (np.inf, "is inf, the schema has float32 from 0 to 1: fill"),
        (255, "is 255, the schema has float32 from 0 to 1: scale what is loaded, or give the sch"),
        (-0.1, "is -0.1, "),
    ],
)
def test_a_value_that_a_model_is_not_made_for_is_told_with_its_place(value, said):
    inputs, labels = _loaded()
    inputs["image"][7, 3, 2, 0] = value
    with pytest.raises(BadInput, match=said):
        _made(_study(lambda: (inputs, labels)))


@pytest.mark.parametrize(("label", "said"), [(3, "3"), (-1, "-1"), (0.5, "0.5"), (np.nan, "nan")])
def test_a_label_that_is_none_is_told_with_its_row(label, said):
    inputs, labels = _loaded()
    labels = labels.astype(float)
    labels[4] = label
    with pytest.raises(BadInput, match=f"mine, row 5: the label is {said}, and must be one of 0 t"):
        _made(_study(lambda: (inputs, labels)))


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (
            lambda: _loaded()[0],
            "mine has the split 'image'; there is: train, validation, test. What",
        ),
        (lambda: _loaded()[1], "what loads gave a ndarray: it returns inputs by name and labels"),
        (lambda: {"test": _loaded()}, "mine has no split train"),
        (lambda: {"train": _loaded(), "test": _loaded(0)}, "mine, test has no rows"),
        (lambda: _loaded(0), "mine has no rows"),
        (
            lambda: _loaded(3),
            "no row of mine is left for the validation split: .*0.1 for test; give more",
        ),
        (lambda: {}["x"], "mine cannot be loaded: KeyError: 'x'"),
    ],
)
def test_what_is_not_loaded_as_it_should_be_is_told(load, said):
    with pytest.raises(BadInput, match=said):
        _made(_study(load))


# ---------------------------------------------------------------- files


def load(path):
    with np.load(path) as held:
        return {"image": held["image"], "kind": held["kind"]}, held["label"]


@pytest.fixture
def raw(home):
    folder = files.home() / "data/held/raw"
    folder.mkdir(parents=True)
    inputs, labels = _loaded()
    np.savez(folder / "rows.npz", **inputs, label=labels)
    return folder


def test_other_values_in_a_file_are_another_data_set(raw):
    study = _study(load, "rows.npz")
    first = _made(study)
    assert datasets.sources(study, "mine") == [raw / "rows.npz"]
    inputs, labels = _loaded()
    np.savez_compressed(raw / "rows.npz", label=labels, **inputs)
    assert _made(study).folder == first.folder, "other bytes, the same values"
    np.savez(raw / "rows.npz", **inputs, label=2 - labels)
    assert _made(study).folder != first.folder
    shares = dataclasses.replace(study.source("mine"), shares=(0.2, 0.2))
    assert _made(dataclasses.replace(study, sources={"mine": shares})).folder != first.folder


def test_a_file_is_found_beside_the_study_before_that_in_its_data(raw, tmp_path):
    study = dataclasses.replace(_study(load, "rows.npz"), folder=str(tmp_path))
    assert arrays.found(study, study.source("mine")) == [raw / "rows.npz"]
    shutil.copy(raw / "rows.npz", tmp_path)
    assert arrays.found(study, study.source("mine")) == [tmp_path / "rows.npz"]


def test_one_file_is_read_of_those_that_a_path_may_stand_for(raw):
    study = _study(load, "ro?s*")
    assert arrays.found(study, study.source("mine")) == [raw / "rows.npz"]
    (raw / "rows.npz.gz").touch()
    said = "data/held/raw/rows.npz and data/held/raw/rows.npz.gz are there, and one is read: leave"
    with pytest.raises(BadInput, match=said):
        _made(study)


def test_a_file_that_is_not_there_is_told_with_what_to_do(raw):
    with pytest.raises(BadInput, match=r"there is no file data/held/raw/x.npz: put it there, or"):
        _made(_study(load, "x.npz"))
    with pytest.raises(BadInput, match=r"no file data/held/raw/x.npz: `make x` brings it"):
        _made(_study(load, "x.npz", cure="`make x` brings it"))


def test_a_damaged_file_is_told_by_its_name(raw):
    path = raw / "rows.npz"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(BadInput, match=r"rows.npz cannot be loaded: BadZipFile: "):
        _made(_study(load, "rows.npz"))


def test_the_example_of_the_documentation_runs(raw, tmp_path):
    text = (PROJECT / "docs/own-data.md").read_text(encoding="utf-8")
    block = next(b for b in text.split("```python\n")[1:] if "Arrays(" in b).split("```")[0]
    source = next(line for line in block.splitlines() if line.startswith("HELD"))
    (tmp_path / "held.py").write_text(
        "from helpers.schema import Dimension, Schema, Tensor\n"
        "from helpers.studies import Arrays, Model, Study\n" + block + "\n"
        "IMAGE = Tensor('image', shape=(8, 8, 1))\n"
        "CLASSES = tuple(Dimension(name, '') for name in 'ab')\n"
        "SCHEMA = Schema('m', (IMAGE,), (Tensor('p', '', CLASSES),))\n"
        "STUDY = Study('held', 'Held', SCHEMA, {'scans': HELD}, {'m': Model()}, "
        "task='classification')\n"
    )
    assert "scans.npz" in source
    rng = np.random.default_rng(1)
    scans = rng.integers(0, 256, (300, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "scans.npz", image=scans, label=rng.integers(0, 2, 300))
    study = registry.get(registry.link(str(tmp_path / "held.py")))
    data = datasets.make(study, "default", seed=1, **ALL)
    inputs, _, rows = data.arrays("test")
    np.testing.assert_array_equal(
        inputs["image"][..., 0], scans[rows].astype(np.float32) / np.float32(255)
    )
