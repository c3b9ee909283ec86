"""The training file of a small net, made once."""

import pytest
from ondevice_net import SCHEMA, net, pictures

from helpers.ondevice import litert
from helpers.ondevice.program import Program


@pytest.fixture(scope="session")
def program():
    return Program(net(), SCHEMA)


@pytest.fixture(scope="session")
def training(program, tmp_path_factory):
    """The training file of `program`."""
    path = tmp_path_factory.mktemp("ondevice") / "training.tflite"
    litert.write(program, path)
    return path


@pytest.fixture(scope="session")
def batches():
    return [pictures(16, seed) for seed in range(12)]
