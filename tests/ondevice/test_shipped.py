"""From a run to what a phone trains with: model, rows, and the command that writes the bundle."""

import dataclasses
import random
import re

import numpy as np
import pytest
from support import workbench

from helpers import trained
from helpers.errors import BadInput, MissingStage
from helpers.ondevice import bundle, rows, shipped
from helpers.ondevice.program import WEIGHTS, Program, vector
from helpers.runs import Run


def test_rows_are_taken_joined_and_drawn_together():
    some = {"a": np.arange(10.0), "b": np.arange(20).reshape(10, 2)}, np.arange(10)
    inputs, labels = rows.at(some, np.array([7, 3]))
    assert inputs["a"].tolist() == [7, 3] and inputs["b"].tolist() == [[14, 15], [6, 7]]
    assert labels.tolist() == [7, 3]
    whole = rows.joined(rows.at(some, slice(4)), rows.at(some, slice(4, None)))
    assert whole[1].tolist() == list(range(10)) and (whole[0]["b"] == some[0]["b"]).all()
    batches = rows.drawn(some, 3, 4, seed=1)
    assert [labels.tolist() for _, labels in batches] == [
        labels.tolist() for _, labels in rows.drawn(some, 3, 4, seed=1)
    ]
    assert all((inputs["a"] == labels).all() and len(labels) == 4 for inputs, labels in batches)
    assert batches[0][1].tolist() != batches[1][1].tolist()


def test_a_model_drawn_anew_repeats_and_the_last_layer_learns_alone(program, monkeypatch):
    import keras

    fresh = program.untrained(1).initial()[WEIGHTS]
    monkeypatch.setattr("random.randint", random.Random(1).randint)  # as set_random_seed(1) does
    assert (fresh == vector(keras.models.clone_model(program.model).get_weights())).all()
    monkeypatch.setattr("random.randint", lambda *ends: random.Random().randint(*ends))
    assert (fresh == program.untrained(1).initial()[WEIGHTS]).all(), "whoever else draws"
    other = program.untrained(2).initial()[WEIGHTS]
    assert (fresh != other).any()
    assert (program.untrained(1).untrained(2).initial()[WEIGHTS] == other).all()
    assert (fresh != program.initial()[WEIGHTS]).any()
    last = program.last_layer()
    assert [path.rsplit("/", 1)[0] for path, _ in last.layout] == [
        program.model.layers[-1].name
    ] * 2
    kept = program.initial()[WEIGHTS]
    assert (last.initial()[WEIGHTS] == kept[-last.sizes[WEIGHTS][0] :]).all()
    assert all(layer.trainable for layer in program.model.layers), "the model is as it was"


@pytest.mark.slow
def test_the_command_makes_a_training_bundle_that_verifies(finished_copy, home):
    made = workbench("bundle", "training", "ranking", "--rehearsal", "40", home=home)
    assert made.returncode == 0, made.stderr
    place = finished_copy.folder / "training.zip"
    assert f"bundle  {place}  ({place.stat().st_size:,} bytes)" in made.stdout
    for file in ("training.tflite", "train_step.tflite"):
        assert re.search(
            rf"{file}: 3 golden steps reproduced, no weight further than \de-0[678]", made.stdout
        )
    verified = workbench("bundle", "verify", str(place), home=home)
    assert verified.returncode == 0 and verified.stdout.splitlines() == made.stdout.splitlines()[:2]
    whole = place.read_bytes()
    place.write_bytes(whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:])
    damaged = workbench("bundle", "verify", str(place), home=home)
    assert damaged.returncode == 1 and damaged.stderr.startswith("workbench: the zip is damaged")
    again = bundle.of(shipped.of(finished_copy), place, rehearsal=40)
    assert again.read_bytes() == whole


def test_what_cannot_be_trained_is_refused(finished_copy, monkeypatch):
    with pytest.raises(MissingStage, match="stage 02 of run 'nobody' has not been run"):
        shipped.of(Run("ranking", "nobody"))
    begun = shipped.of(finished_copy)
    assert Program(begun.model, begun.schema).sizes[WEIGHTS] == (433,)
    told = dataclasses.replace(trained.of(finished_copy), framework="pytorch")
    monkeypatch.setattr(trained, "of", lambda run: told)
    with pytest.raises(BadInput, match="is one of pytorch: a training file is made of a Keras"):
        shipped.of(finished_copy)
