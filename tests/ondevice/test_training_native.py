"""Training in C with TensorFlow Lite 2.9, compiled and run against the real library."""

import json
import random
import shutil
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import ondevice_bundle
import ondevice_net
import pytest

from helpers.bundle import native
from helpers.ondevice import bundle
from helpers.ondevice.program import STEP, WEIGHTS, Program
from helpers.ondevice.trainer import Trainer

KILLS = 20


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return ondevice_bundle.shared(tmp_path_factory)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture(scope="module")
def programs(folder, tmp_path_factory) -> dict[str, list[str]]:
    into = tmp_path_factory.mktemp("built")
    try:
        golden = native.build_training(folder / "c" / "run_training.c", into)
        source = Path(__file__).with_name("state.c")
        state = native.build_training(source, into, beside=folder / "c")
    except native.NotHere as reason:
        pytest.skip(str(reason))
    return {"golden": golden, "state": state}


@pytest.fixture
def golden(programs):
    return lambda folder: subprocess.run(
        [*programs["golden"], folder], capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def state(programs, folder):
    def run(*arguments) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*programs["state"], folder, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def test_the_golden_steps_are_reproduced(golden, folder):
    done = golden(folder)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len([line for line in lines if line.startswith("ok ")]) == 3
    assert lines[-1].startswith("3 of 3 golden steps reproduced by TensorFlow Lite 2.")


@pytest.mark.slow
def test_every_layer_learns_the_same_there(golden, tmp_path):
    """Behind a convolution, too: the gradient of what it takes is computed by other operators."""
    made = bundle.make(
        Program(ondevice_net.net(), ondevice_net.SCHEMA),
        tmp_path / "made",
        rehearsal=ondevice_net.pictures(30, 9),
        batches=[ondevice_net.pictures(rows, rows) for rows in (1, 8, 32)],
        learning_rate=0.01,
        batch_size=32,
    )
    done = golden(made)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr


def test_a_flipped_label_fails(golden, copy):
    steps = bundle.Golden.from_bytes((copy / bundle.GOLDEN).read_bytes())
    steps.steps[1][1][0] = (steps.steps[1][1][0] + 1) % 3
    (copy / bundle.GOLDEN).write_bytes(steps.to_bytes())
    done = golden(copy)
    said = [line.split()[0] for line in done.stdout.splitlines()[:3]]
    assert done.returncode == 1 and said == ["ok", "FAIL", "FAIL"], done.stdout


def test_a_changed_step_file_fails(golden, copy):
    content = bytearray((copy / bundle.TRAIN_STEP).read_bytes())
    place = content.find(struct.pack("<f", 1e-7))
    content[place : place + 4] = struct.pack("<f", 1e-3)  # Adam's epsilon
    (copy / bundle.TRAIN_STEP).write_bytes(content)
    assert golden(copy).returncode == 1


def test_golden_steps_that_are_cut_are_refused(golden, copy):
    content = (copy / bundle.GOLDEN).read_bytes()
    for size in [0, 7, 39, 45, 70, 90, 800, len(content) - 1]:
        (copy / bundle.GOLDEN).write_bytes(content[:size])
        assert golden(copy).returncode == 2, size
    (copy / bundle.GOLDEN).write_bytes(content + b"\0")
    assert golden(copy).returncode == 2


def test_golden_steps_of_another_file_are_refused(golden, copy):
    content = (copy / bundle.GOLDEN).read_bytes()
    (copy / bundle.GOLDEN).write_bytes(content[:8] + bytes(32) + content[40:])
    done = golden(copy)
    assert done.returncode == 2 and "of another training.tflite" in done.stderr


def test_a_state_that_python_saved_is_saved_again_byte_for_byte(state, folder, tmp_path):
    ondevice_bundle.state_of(folder, 3, tmp_path / "python")
    done = state("same", tmp_path / "python", tmp_path / "c")
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "c").read_bytes() == (tmp_path / "python").read_bytes()


def test_python_goes_on_with_what_c_trained(state, folder, tmp_path):
    """Two steps in C and one in Python are three in Python."""
    inputs, labels = ondevice_bundle.rows(6, 9)
    (tmp_path / "rows").write_bytes(_rows(folder, inputs, labels))
    done = state("train", tmp_path / "rows", ondevice_bundle.RATE, 2, tmp_path / "c")
    assert done.returncode == 0, done.stdout
    went_on, whole = (Trainer(folder / bundle.TRAINING) for _ in range(2))
    went_on.resume(tmp_path / "c")
    assert went_on.save()[STEP] == 2
    went_on.train(inputs, labels, ondevice_bundle.RATE)
    for _ in range(3):
        whole.train(inputs, labels, ondevice_bundle.RATE)
    difference = np.abs(went_on.save()[WEIGHTS] - whole.save()[WEIGHTS]).max()
    assert difference < 1e-6, "two libraries, three steps of 0.01 each"


def _rows(folder, inputs, labels) -> bytes:
    """Rows in the form of ``rehearsal.bin``."""
    head = (folder / bundle.REHEARSAL).read_bytes()[:41]
    return b"".join(
        [head, struct.pack("<I", len(labels)), inputs["image"].tobytes(), labels.tobytes()]
    )


def test_the_accuracy_is_that_of_python(state, folder, tmp_path):
    trainer = ondevice_bundle.state_of(folder, 4, tmp_path / "state")
    done = state("evaluate", tmp_path / "state")
    inputs, labels = bundle.read_rehearsal((folder / bundle.REHEARSAL).read_bytes())
    assert float(done.stdout) == pytest.approx(trainer.evaluate(inputs, labels)["correct"], abs=0)


@pytest.mark.parametrize(
    "label, brightness, rate, said",
    [
        (3, 0.5, 0.01, "label 3 of row 5: labels are 0 to 2"),
        (-1, 0.5, 0.01, "label -1 of row 5"),
        (0, np.nan, 0.01, "image has values that are not finite"),
        (0, 0.5, np.inf, "weights overflows in the step, which was not made: lower the"),
    ],
)
def test_a_step_that_cannot_be_is_not_made(state, folder, tmp_path, label, brightness, rate, said):
    inputs, labels = ondevice_bundle.rows(6, 9)
    labels[5], inputs["image"][2, 3, 3] = label, brightness
    (tmp_path / "rows").write_bytes(_rows(folder, inputs, labels))
    done = state("train", tmp_path / "rows", rate, 1, tmp_path / "after")
    assert done.returncode == 2 and said in done.stdout
    assert (tmp_path / "after").read_bytes() == (folder / bundle.INITIAL).read_bytes()


def test_damaged_states_are_refused(state, folder, tmp_path):
    ondevice_bundle.state_of(folder, 1, tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    for place in [0, 20, 41, 60, len(content) - 1]:
        changed = bytearray(content)
        changed[place] ^= 1
        (tmp_path / "damaged").write_bytes(changed)
        done = state("same", tmp_path / "damaged", tmp_path / "out")
        assert done.returncode == 2 and ("not whole" in done.stdout or "no saved" in done.stdout)
    for size in [0, 8, 75, 76, len(content) - 1]:
        (tmp_path / "damaged").write_bytes(content[:size])
        assert state("same", tmp_path / "damaged", tmp_path / "out").returncode == 2
    assert not (tmp_path / "out").exists()


def test_a_state_of_another_file_is_refused(state, folder, tmp_path):
    import hashlib

    body = (folder / bundle.INITIAL).read_bytes()[:-32]
    other = body[:8] + bytes(32) + body[40:]
    (tmp_path / "other").write_bytes(other + hashlib.sha256(other).digest())
    done = state("same", tmp_path / "other", tmp_path / "out")
    assert done.returncode == 2 and "saved by another file" in done.stdout


def test_the_version_before_is_kept_and_comes_back(state, folder, tmp_path):
    path = tmp_path / "personal"
    for steps in (1, 2):
        ondevice_bundle.state_of(folder, steps, tmp_path / f"{steps}")
        assert state("same", tmp_path / f"{steps}", path).returncode == 0
    first, second = ((tmp_path / name).read_bytes() for name in "12")
    assert path.read_bytes() == second
    assert path.with_name("personal.before").read_bytes() == first
    assert state("rollback", path, tmp_path / "here").returncode == 0
    assert path.read_bytes() == first == (tmp_path / "here").read_bytes()
    assert state("rollback", path, tmp_path / "here").returncode == 2, "there is one version before"


def test_a_damaged_version_does_not_become_the_one_before(state, folder, tmp_path):
    path = tmp_path / "personal"
    for steps in (1, 2):
        ondevice_bundle.state_of(folder, steps, tmp_path / f"{steps}")
        assert state("same", tmp_path / f"{steps}", path).returncode == 0
    path.write_bytes(path.read_bytes()[:-1])
    assert state("same", tmp_path / "1", path).returncode == 0
    before = path.with_name("personal.before").read_bytes()
    assert before == (tmp_path / "1").read_bytes()


def test_a_kill_while_saving_leaves_the_old_or_the_new_state(programs, state, folder, tmp_path):
    wanted = set()
    for name, steps in (("a", 1), ("b", 2)):
        ondevice_bundle.state_of(folder, steps, tmp_path / name)
        wanted.add((tmp_path / name).read_bytes())
    path, rng, seen = tmp_path / "personal", random.Random(5), set()
    command = [*programs["state"], folder, "loop", tmp_path / "a", tmp_path / "b", path]
    half = 0
    for _ in range(KILLS):
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        process.stdout.read(1)  # it has saved both once
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.communicate()
        assert path.read_bytes() in wanted
        assert path.with_name("personal.before").read_bytes() in wanted
        seen.add(path.read_bytes())
        half += path.with_name("personal.partial").exists()
        half += path.with_name("personal.before.partial").exists()
        assert state("same", path, tmp_path / "here").returncode == 0
    assert seen == wanted and half, "kills that met no save prove nothing"


@pytest.mark.slow
def test_two_inputs_one_probability_and_momentum(programs, tmp_path):
    """What the tiny net is not: vectors in another order, a class that a half decides."""
    import keras

    from helpers.ondevice import optimisers
    from helpers.ondevice.program import Program
    from helpers.schema import Dimension, Schema, Tensor

    keras.utils.set_random_seed(2)
    inputs = [keras.Input((size,), name=name) for name, size in (("wide", 5), ("high", 3))]
    hidden = keras.layers.Dense(6, activation="relu")(keras.layers.Concatenate()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid", name="yes")(hidden))
    schema = Schema(
        "two_inputs",
        tuple(
            Tensor(name, "item", tuple(Dimension(f"{name}{i}", "") for i in range(size)))
            for name, size in (("wide", 5), ("high", 3))
        ),
        (Tensor("yes", "", (Dimension("yes", "p"),)),),
    )

    def rows(count: int, seed: int):
        rng = np.random.default_rng(seed)
        named = {n: rng.normal(size=(count, s)).astype("f4") for n, s in (("wide", 5), ("high", 3))}
        return named, (named["wide"][:, 0] > named["high"][:, 0]).astype(np.int32)

    made = bundle.make(
        Program(model, schema, optimisers.SGD(0.9)),
        tmp_path / "made",
        rehearsal=rows(30, 0),
        batches=[rows(8, seed) for seed in range(1, 5)],
        learning_rate=0.1,
        batch_size=8,
    )
    told = json.loads((made / bundle.DESCRIBED).read_text())
    assert told["classes"] == ["0", "1"] and [each["name"] for each in told["state"]] == [
        "step",
        "velocity",
        "weights",
    ]
    done = subprocess.run([*programs["golden"], made], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "4 of 4" in done.stdout, done.stdout + done.stderr
