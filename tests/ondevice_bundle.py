"""A tiny net, its rows, and a training bundle of it."""

import json
from dataclasses import replace

import numpy as np

from helpers.ondevice import bundle, optimisers
from helpers.ondevice.program import STEP, Program
from helpers.schema import Dimension, Schema, Tensor

CLASSES = 3
SCHEMA = Schema(
    "tiny_model",
    (Tensor("image", shape=(8, 8, 1), meaning="a picture"),),
    (Tensor("probabilities", "", tuple(Dimension(f"kind {k}", "p") for k in range(CLASSES))),),
)
RATE = 0.01


def net():
    """A convolution of four maps, pooling and Dense; 151 weights."""
    from helpers.quiet import tensorflow

    tensorflow()
    import keras

    keras.utils.set_random_seed(3)
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="maps")(image)
    x = keras.layers.Flatten(name="flat")(keras.layers.MaxPooling2D(2, name="pool")(x))
    x = keras.layers.Dense(CLASSES, activation="softmax", name="probabilities")(x)
    return keras.Model(image, x, name="tiny")


def rows(count: int, seed: int = 0):
    """Pictures of noise, brighter in the third of their rows that their label says."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count).astype(np.int32)
    image = rng.uniform(0, 0.5, (count, 8, 8, 1)).astype(np.float32)
    for picture, label in zip(image, labels, strict=True):
        picture[3 * label : 3 * label + 2] += 0.5
    return {"image": image}, labels


def made(place, optimiser=None, program=None, **changed):
    """A bundle of the net at `place`."""
    program = program or Program(net(), SCHEMA, optimiser or optimisers.Adam())
    settings = {
        "rehearsal": rows(40, 1),
        "batches": [rows(6, 2), rows(6, 3), rows(4, 4)],
        "learning_rate": RATE,
        "batch_size": 6,
        "limits": {"steps": 8, "seconds": 30},
        "margin": 0.05,
    }
    return bundle.make(program, place, **{**settings, **changed})


def fixed(place):
    """A bundle of the net for six rows at a time."""
    program = Program(net(), replace(SCHEMA, batch=6), optimisers.Adam())
    batches = [rows(6, seed) for seed in (2, 3, 4)]
    return made(place, program=program, rehearsal=rows(42, 1), batches=batches)


_FOLDERS: dict = {}


def shared(tmp_path_factory):
    """The folder of a bundle, made once for all tests of a process, which must not change it."""
    if not _FOLDERS:
        _FOLDERS["adam"] = made(tmp_path_factory.mktemp("bundle") / "made")
    return _FOLDERS["adam"]


def state_of(folder, steps: int, path):
    """Save, as Python does, the state after some steps on other rows; returns the open trainer."""
    from helpers.ondevice.trainer import Trainer

    trainer = Trainer(folder / bundle.TRAINING)
    for seed in range(steps):
        trainer.train(*rows(6, 50 + seed), RATE)
    trainer.keep(path)
    return trainer


def require_rehearsed(folder, store):
    """A saved state is that after a round over the golden batches, each followed by as many
    rehearsal rows in turn: in a step of their own if the model takes a fixed number.
    """
    from helpers.ondevice.rows import at, joined
    from helpers.ondevice.trainer import Trainer

    trainer, saved = (Trainer(folder / bundle.TRAINING) for _ in range(2))
    together = json.loads((folder / bundle.DESCRIBED).read_text())["any_batch_size"]
    others = bundle.read_rehearsal((folder / bundle.REHEARSAL).read_bytes())
    steps = bundle.Golden.from_bytes((folder / bundle.GOLDEN).read_bytes()).steps
    for inputs, labels, *_ in steps:
        count, made = len(labels), int(trainer.save()[STEP])
        shipped = at(others, (made * count + np.arange(count)) % len(others[1]))
        if together:
            trainer.train(*joined((inputs, labels), shipped), RATE)
        else:
            trainer.train(inputs, labels, RATE)
            trainer.train(*shipped, RATE)
    saved.resume(store)
    for name, wanted in trainer.save().items():
        np.testing.assert_allclose(saved.save()[name], wanted, rtol=0, atol=1e-6, err_msg=name)


def spoiled(folder, place):
    """A copy of a bundle whose last golden weight is another."""
    import shutil

    copy = shutil.copytree(folder, place)
    content = bytearray((copy / bundle.GOLDEN).read_bytes())
    content[-4:] = (np.frombuffer(content[-4:], "<f4") + np.float32(0.01)).tobytes()
    (copy / bundle.GOLDEN).write_bytes(content)
    return copy
