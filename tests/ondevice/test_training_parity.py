"""Whether training files learn what Keras learns, and whether those that do not are found."""

import numpy as np
import pytest
from ondevice_net import SCHEMA, net

from helpers.ondevice import litert, mnn, parity
from helpers.ondevice.faults import FAULTS
from helpers.ondevice.optimisers import SGD, Adam
from helpers.ondevice.program import Program
from helpers.ondevice.trainer import Trainer
from helpers.studies import ranking


def test_a_training_file_learns_what_keras_learns(program, training, batches):
    found = parity.check(parity.Reference(program, batches[:10]), lambda: Trainer(training))
    assert found.same and found.continued == 0 and not found.fault, found.conclusion()
    assert found.steps["difference"].max() <= 1e-5
    np.testing.assert_allclose(found.steps["loss"], found.steps["keras_loss"], rtol=1e-6)


@pytest.mark.slow
def test_fifty_steps_of_sgd_and_then_the_noise_floor(tmp_path, batches):
    program = Program(net(), SCHEMA, SGD(0.9))
    path = litert.write(program, tmp_path / "training.tflite")
    many = [batches[k % len(batches)] for k in range(60)]
    reference = parity.Reference(program, many, 0.02, runs=3)
    found = parity.check(reference, lambda: Trainer(path))
    assert found.same, found.conclusion()
    assert (found.steps["limit"] >= 1e-6).all()
    assert found.steps["difference"].iloc[:50].max() <= 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("optimiser", [SGD(), Adam()])
def test_the_published_ranker_learns_too(tmp_path, optimiser):
    program = Program(ranking.build_model(), ranking.SCHEMA, optimiser)
    path = litert.write(program, tmp_path / "training.tflite")
    rng = np.random.default_rng(0)
    batches = [
        (
            {t.name: rng.normal(size=(32, *t.shape)).astype("float32") for t in SCHEMAS},
            rng.integers(0, 2, 32).astype(np.int32),
        )
        for _ in range(8)
    ]
    reference = parity.Reference(program, batches, 0.01)
    for trainer in (lambda: Trainer(path), lambda: mnn.Trainer(program)):
        learnt = parity.check(reference, trainer)
        assert learnt.departs is None and learnt.outputs < 1e-6, learnt.conclusion()


SCHEMAS = ranking.SCHEMA.inputs


@pytest.mark.slow
@pytest.mark.parametrize("name", ["no bias correction", "pooling shared"])
def test_a_fault_is_found_and_named(name, tmp_path, program, batches):
    _found(name, tmp_path, program, batches)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(FAULTS) - {"no bias correction", "pooling shared"}))
def test_every_other_fault_is_found_and_named(name, tmp_path, program, batches):
    _found(name, tmp_path, program, batches)


def _found(name, tmp_path, program, batches):
    path = litert.write(FAULTS[name].plant(program), tmp_path / "training.tflite")
    found = parity.check(parity.Reference(program, batches[:6], runs=2), lambda: Trainer(path))
    assert not found.same and found.fault == name, found.conclusion()
    assert FAULTS[name].says in found.conclusion()


@pytest.mark.parametrize("says", ["train", "evaluate"])
def test_what_a_file_says_of_its_loss_is_held_too(dense, tmp_path, says):
    program, reference = dense
    path = litert.write(program, tmp_path / "training.tflite")

    class Boasting(Trainer):
        """Weights as they should be, and rows that are all right."""

    def told(self, *given):
        return {**getattr(Trainer, says)(self, *given), "correct": 1.0}

    setattr(Boasting, says, told)
    found = parity.check(reference, lambda: Boasting(path))
    assert found.departs is None and not found.same and found.losses == np.inf


def test_mnn_learns_what_keras_learns(batches):
    program = Program(net(), SCHEMA, SGD())
    reference = parity.Reference(program, batches[:10], 0.05)
    found = parity.check(reference, lambda: mnn.Trainer(program))
    assert found.same, found.conclusion()


def test_mnn_gives_each_of_equal_values_the_whole_gradient(batches, monkeypatch):
    """Why its pooling is written otherwise."""
    own = mnn.LAYERS | {
        "MaxPooling2D": lambda F, layer, taken, picks: F.max_pool(taken[0], [2, 2], [2, 2])
    }
    monkeypatch.setattr(mnn, "LAYERS", own)
    program = Program(net(), SCHEMA, SGD())
    reference = parity.Reference(program, batches[:4], 0.05, runs=2)
    found = parity.check(reference, lambda: mnn.Trainer(program))
    assert found.fault == "pooling repeated", found.conclusion()


@pytest.mark.slow
def test_mnn_begins_its_optimiser_anew(batches):
    program = Program(net(), SCHEMA, Adam())
    found = parity.check(parity.Reference(program, batches[:6]), lambda: mnn.Trainer(program))
    assert found.departs is None
    assert found.continued > 0 and found.fault == "optimiser not restored"


def test_the_noise_floor_is_how_far_keras_strays_from_itself(program, batches):
    floor = parity.noise_floor(program, batches[:5], 0.001, runs=2)
    assert (np.diff(floor) >= 0).all()
    assert 0 < floor[0] < 1e-5
    every = parity.noise_floor(program, batches[:2], 0.001, runs=2, every=True)
    assert 1e-8 < every[0] < 1e-4


@pytest.fixture
def dense(batches):
    """A program without pooling, and what Keras learns of it."""
    import keras

    image = keras.Input((12, 12, 1), name="image")
    x = keras.layers.Dense(5, "relu")(keras.layers.Flatten()(image))
    net = keras.Model(image, keras.layers.Dense(3, "softmax", name="probabilities")(x))
    program = Program(net, SCHEMA, SGD())
    return program, parity.Reference(program, batches[:6], 0.05, runs=1, progress=False)


def test_the_table_says_which_files_learn(tmp_path, dense):
    program, reference = dense
    found = {}
    for name, each in {"sound": program, "wrong": FAULTS["labels shifted"].plant(program)}.items():
        path = litert.write(each, tmp_path / f"{name}.tflite")
        found[name] = parity.check(reference, lambda path=path: Trainer(path))
    table = parity.table(found)
    assert table.loc["sound", ["same", "departs", "after an interruption"]].tolist() == [
        *("yes", "never", "bit for bit")
    ]
    assert table.loc["wrong", ["same", "departs"]].tolist() == ["NO", "after step 1"]
    assert float(table.loc["sound", "furthest"]) <= 1e-6 < float(table.loc["wrong", "furthest"])


@pytest.mark.slow
def test_the_table_of_planted_faults_says_which_are_found(dense):
    """A fault of pooling makes no difference here."""
    planted = parity.planted(dense[1])
    for name in ("labels shifted", "dropout in infer"):
        assert planted.loc[FAULTS[name].says].tolist() == ["yes", "yes"]
    for name in ("pooling shared", "pooling repeated"):
        assert planted.loc[FAULTS[name].says].tolist() == ["NO", "NO"]
    of_slots = {FAULTS[n].says for n in ("no bias correction", "optimiser not restored")}
    assert not of_slots & set(planted.index), "plain SGD has none"
