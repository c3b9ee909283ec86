"""The training bundle: what is in it, that it proves what it says, and that it repeats."""

import hashlib
import json
import shutil
import struct
import zipfile

import numpy as np
import ondevice_bundle
import pytest

from helpers.bundle import archive, golden
from helpers.errors import BadInput, DamagedFile, ParityError
from helpers.ondevice import bundle, optimisers, parity
from helpers.ondevice.faults import FAULTS
from helpers.ondevice.program import WEIGHTS, Program
from helpers.ondevice.trainer import Trainer
from helpers.schema import Dimension, Schema, Tensor


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return ondevice_bundle.shared(tmp_path_factory)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def listed(copy, name: str, content: bytes) -> None:
    """Replace a file and make its hash right, so that only what it says can be noticed."""
    (copy / name).write_bytes(content)
    told = json.loads((copy / bundle.DESCRIBED).read_text())
    told["sha256"][name] = hashlib.sha256(content).hexdigest()
    (copy / bundle.DESCRIBED).write_text(json.dumps(told))


def test_it_says_what_a_phone_needs(folder):
    told = json.loads((folder / bundle.DESCRIBED).read_text())
    assert told["inputs"] == [{"name": "image", "shape": [8, 8, 1], "dtype": "float32"}]
    assert told["output"] == "probabilities" and told["classes"] == ["kind 0", "kind 1", "kind 2"]
    assert told["optimiser"] == {
        "name": "adam",
        "settings": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7},
        "slots": ["first_moment", "second_moment"],
    }
    assert [each["name"] for each in told["state"]] == [
        "first_moment",
        "second_moment",
        "step",
        "weights",
    ]
    places = [(each["at"], each["shape"]) for each in told["weights"]]
    assert places == [(0, [3, 3, 1, 4]), (36, [4]), (40, [36, 3]), (148, [3])]
    assert told["limits"] == {"steps": 8, "seconds": 30} and told["margin"] == 0.05
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(told["sha256"]) == there - {bundle.DESCRIBED}


def test_the_golden_steps_are_those_of_keras(folder):
    """Of a `fit` of Keras, not of the step by step training that made them."""
    import keras

    steps = bundle.Golden.from_bytes((folder / bundle.GOLDEN).read_bytes())
    model = ondevice_bundle.net()
    model.compile(keras.optimizers.Adam(ondevice_bundle.RATE), "sparse_categorical_crossentropy")
    for inputs, labels, loss, after in steps.steps:
        found = model.fit(inputs["image"], labels, batch_size=len(labels), verbose=0, shuffle=False)
        weights = np.concatenate([np.ravel(each) for each in model.get_weights()])
        assert abs(found.history["loss"][0] - loss) < 1e-6
        np.testing.assert_allclose(weights, after, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_wide_net_may_stray_as_far_as_keras_strays_from_itself(tmp_path):
    """837,610 weights: rounding alone leads the file further than 1e-5 from Keras, and a fault
    further than that.
    """
    import keras

    keras.utils.set_random_seed(1)
    values = x = keras.Input((784,), name="values")
    for _ in range(2):
        x = keras.layers.Dense(600, "relu")(x)
    net = keras.Model(values, keras.layers.Dense(10, "softmax", name="classes")(x))
    classes = tuple(Dimension(str(k), "p") for k in range(10))
    schema = Schema("wide", (Tensor("values", shape=(784,)),), (Tensor("classes", "", classes),))

    def rows(seed: int):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 10, 16).astype(np.int32)
        values = rng.random((16, 784), np.float32) / 2
        values[np.arange(16)[:, None], labels[:, None] * 20 + np.arange(20)] += 0.5
        return {"values": values}, labels

    batches = [rows(100 + k) for k in range(3)]
    settings = {"rehearsal": rows(1), "batches": batches, "learning_rate": 0.005, "batch_size": 16}
    program = Program(net, schema)
    folder = bundle.make(program, tmp_path / "bundle", **settings)
    told = json.loads((folder / bundle.DESCRIBED).read_text())["golden"]["weight_error"]
    floor = parity.noise_floor(program, batches, 0.005, every=True)[-1]
    assert told == 2 * floor and bundle.verify(folder)["weights"].max() > 1e-5
    assert told < 2e-4, "the steps are of 5e-3"
    faulty = FAULTS["epsilon inside the root"].plant(program)
    with pytest.raises(ParityError, match="a weight is"):
        bundle.make(faulty, tmp_path / "faulty", **settings)


def test_the_binary_forms_are_as_told(folder):
    content = (folder / bundle.REHEARSAL).read_bytes()
    head = struct.pack("<8sII5sIIIII", b"REHEARS1", 1, 5, b"image", 0, 3, 8, 8, 1)
    inputs, labels = ondevice_bundle.rows(40, 1)
    assert content == head + struct.pack("<I", 40) + (
        inputs["image"].tobytes() + labels.astype("<i4").tobytes()
    )
    found, found_labels = bundle.read_rehearsal(content)
    np.testing.assert_array_equal(found["image"], inputs["image"])
    np.testing.assert_array_equal(found_labels, labels)
    steps = (folder / bundle.GOLDEN).read_bytes()
    identity = hashlib.sha256((folder / bundle.TRAINING).read_bytes()).digest()
    assert steps[:40] == b"GSTEPS01" + identity
    assert struct.unpack_from("<f2d", steps, 40) == (np.float32(0.01), 1e-5, 1e-5)
    assert bundle.Golden.from_bytes(steps).to_bytes() == steps


def test_it_begins_with_the_trained_weights(folder):
    trainer = Trainer(folder / bundle.TRAINING)
    trainer.train(*ondevice_bundle.rows(6), 0.1)
    trainer.resume(folder / bundle.INITIAL)
    program = Program(ondevice_bundle.net(), ondevice_bundle.SCHEMA)
    np.testing.assert_array_equal(trainer.save()[WEIGHTS], program.initial()[WEIGHTS])


def test_every_step_is_verified_with_both_forms(folder):
    found = bundle.verify(folder)
    assert len(found) == 6 and set(found["file"]) == {bundle.TRAINING, bundle.TRAIN_STEP}
    assert found["loss"].max() < 1e-6 and found["weights"].max() < 1e-6


@pytest.mark.parametrize("name", [bundle.TRAIN_STEP, bundle.REHEARSAL, "c/training.c"])
def test_a_changed_byte_is_noticed(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(DamagedFile, match=rf"{name} is not the file that training.json lists"):
        bundle.verify(copy)


def test_a_file_that_is_not_listed_is_noticed(copy):
    (copy / "more.bin").write_bytes(b"")
    with pytest.raises(DamagedFile, match="more.bin is not listed in training.json"):
        bundle.verify(copy)


def test_a_flipped_label_is_noticed(copy):
    steps = bundle.Golden.from_bytes((copy / bundle.GOLDEN).read_bytes())
    steps.steps[1][1][0] = (steps.steps[1][1][0] + 1) % 3
    listed(copy, bundle.GOLDEN, steps.to_bytes())
    with pytest.raises(ParityError, match=r"training.tflite: at golden step 2 the loss is .* from"):
        bundle.verify(copy)


def test_a_weight_of_a_golden_step_beyond_the_limit_is_noticed(copy):
    steps = bundle.Golden.from_bytes((copy / bundle.GOLDEN).read_bytes())
    last = list(steps.steps[-1])
    last[3] = last[3].copy()
    last[3][7] += 2e-5
    changed = bundle.Golden(**{**vars(steps), "steps": (*steps.steps[:-1], tuple(last))})
    listed(copy, bundle.GOLDEN, changed.to_bytes())
    with pytest.raises(ParityError, match="golden step 3 a weight is 2.0e-05 from Keras', 1.0e-05"):
        bundle.verify(copy)


def test_a_step_file_of_another_model_is_noticed(copy):
    """Its hash is right: only the golden steps tell."""
    content = bytearray((copy / bundle.TRAIN_STEP).read_bytes())
    place = content.find(struct.pack("<f", 1e-7))
    assert place > 0, "Adam's epsilon"
    content[place : place + 4] = struct.pack("<f", 1e-1)
    listed(copy, bundle.TRAIN_STEP, bytes(content))
    with pytest.raises(ParityError, match="train_step.tflite: at golden step 1 a weight"):
        bundle.verify(copy)


def test_golden_steps_that_prove_nothing_are_refused(folder):
    steps = bundle.Golden.from_bytes((folder / bundle.GOLDEN).read_bytes())
    still = tuple((*step[:3], steps.before) for step in steps.steps)
    content = bundle.Golden(**{**vars(steps), "steps": still}).to_bytes()
    with pytest.raises(DamagedFile, match="prove nothing: weights move by 0.0e"):
        bundle.Golden.from_bytes(content)
    loose = bundle.Golden(**{**vars(steps), "errors": (1.0, 1e-5)}).to_bytes()
    with pytest.raises(DamagedFile, match="prove nothing"):
        bundle.Golden.from_bytes(loose)


@pytest.mark.parametrize("name", [bundle.GOLDEN, bundle.REHEARSAL])
def test_a_form_that_is_cut_anywhere_is_refused(folder, name):
    content = (folder / name).read_bytes()
    read = bundle.Golden.from_bytes if name == bundle.GOLDEN else bundle.read_rehearsal
    for size in [*range(0, 200, 7), *range(200, len(content), 997), len(content) - 1]:
        with pytest.raises(DamagedFile):
            read(content[:size])
    with pytest.raises(DamagedFile):
        read(content + b"\0")


@pytest.mark.parametrize(
    "before, after, margin, good",
    [
        (0.9, 0.9, 0.0, True),
        (0.9, 0.875, 0.0, False),
        (0.9, 0.89, 0.01, True),  # just the margin
        (0.8, 0.7, 0.1, True),  # 0.8 - 0.1 is more than 0.7 in binary
        (0.9, 0.889, 0.01, False),
        (0.5, 1.0, 0.0, True),
        (0.5, float("nan"), 0.1, False),
    ],
)
def test_the_rule_of_a_personal_version(before, after, margin, good):
    assert bundle.counts(before, after, margin) is good


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"batches": [ondevice_bundle.rows(4)] * 2}, "there are 2 golden steps: give 3 to 5"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"limits": {"steps": 3}}, "give steps and seconds"),
        ({"limits": {"steps": 3, "seconds": 0}}, "give steps and seconds"),
        ({"margin": 1.5}, "margin is 1.5"),
        ({"rehearsal": (ondevice_bundle.rows(4)[0], np.array([0, 1, 2, 3]))}, "from 0 to 3"),
        ({"rehearsal": (ondevice_bundle.rows(4)[0], np.array([0, 1]))}, "as many rows"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changed, said, tmp_path):
    with pytest.raises(BadInput, match=said):
        ondevice_bundle.made(tmp_path / "made", **changed)
    assert not (tmp_path / "made").exists()


def test_steps_too_small_to_prove_anything_are_refused(folder):
    program = Program(ondevice_bundle.net(), ondevice_bundle.SCHEMA)
    batches = [ondevice_bundle.rows(4)] * 3
    described = golden.described(program.schema.inputs)
    with pytest.raises(BadInput, match="prove nothing: weights move by .* a higher learning rate"):
        bundle._golden(program, described, batches, 1e-9, folder / bundle.TRAINING)


def test_a_folder_that_is_there_is_not_written_over(folder):
    with pytest.raises(BadInput, match="is there already"):
        ondevice_bundle.made(folder)


def test_a_zip_is_verified_as_its_folder(folder, tmp_path):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    content = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    archive.pack(content, tmp_path / "made.zip")
    assert bundle.verify(tmp_path / "made.zip").equals(bundle.verify(folder))
    (tmp_path / "made.zip").write_bytes((tmp_path / "made.zip").read_bytes()[:-30])
    with pytest.raises(DamagedFile):
        bundle.verify(tmp_path / "made.zip")


def test_the_readme_says_how_to_build_and_to_call(folder):
    text = (folder / "README.md").read_text()
    assert "{{" not in text and "{%" not in text
    assert 'ndk { abiFilters += listOf("arm64-v8a", "armeabi-v7a") }' in text
    assert 'interpreter.runSignature(inputs, outputs, "train");' in text
    assert 'inputs.put("image", new float[rows][8][8][1]);' in text
    assert "FloatBuffer.allocate(151)" in text and "at most 5.0 % of the rehearsal rows" in text
    assert "0 kind 0, 1 kind 1, 2 kind 2; the output is `probabilities`" in text


@pytest.mark.slow
def test_a_zip_is_the_same_whenever_it_is_made(tmp_path):
    kind = optimisers.SGD(0.9)
    first, again = (ondevice_bundle.made(tmp_path / f"{n}.zip", kind) for n in "ab")
    assert first.read_bytes() == again.read_bytes()
    assert bundle.verify(first)["weights"].max() < parity.LIMITS["sgd"][0]
    with zipfile.ZipFile(first) as zipped:
        assert json.loads(zipped.read(bundle.DESCRIBED))["optimiser"]["name"] == "sgd"
    archive.unpack(first, tmp_path / "unpacked")
    archive.check_files(tmp_path / "unpacked", listing=bundle.DESCRIBED)
