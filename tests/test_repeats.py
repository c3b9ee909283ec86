"""Training a second time, in a process of its own."""

import time

import numpy as np
import pytest

from helpers import datasets, registry, tasks
from helpers.errors import BadInput
from helpers.frameworks import keras
from helpers.repeats import Repeat

FIXED = {"seed": 3, "epochs": 2, "batch_size": 64, "hidden_units": 4}


@pytest.fixture
def data(home):
    study = registry.get("ranking")
    return datasets.make(
        study, "simple", rows=600, validation_rows=200, test_rows=200, seed=1, workers=1
    )


def test_another_process_trains_the_same_weights(data):
    study = registry.get("ranking")
    architecture, schema = next(iter(study.models.values())), data.schema
    second = Repeat("ranking", next(iter(study.models)), data, **FIXED)
    train, validation, _ = data.splits(schema).values()
    model, _ = keras.train(
        architecture.build, schema, tasks.get(study.task), train[:2], validation[:2], **FIXED
    )
    own = keras.weights(model)
    assert second.same(own)
    assert second.same(own), "it can be asked again"
    moved = [array.copy() for array in own]
    moved[-1].flat[0] = np.nextafter(moved[-1].flat[0], np.float32(9))
    assert not second.same(moved)
    other = Repeat("ranking", next(iter(study.models)), data, **{**FIXED, "seed": 4})
    assert not other.same(own)


def test_what_its_training_raises_is_raised_where_it_is_asked_for(data):
    second = Repeat(
        "ranking", next(iter(registry.get("ranking").models)), data, **FIXED | {"hidden_units": -1}
    )
    with pytest.raises(BadInput, match="the model cannot be built"):
        second.weights()


def test_its_process_ends_with_what_asked_for_it(data):
    second = Repeat("ranking", next(iter(registry.get("ranking").models)), data, **FIXED)
    process = second._child._process
    del second
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is not None
