"""Core ML's updatable model: what is written is read back; it trains on Apple devices only."""

import pytest
from ondevice_net import SCHEMA, net

from helpers.errors import BadInput
from helpers.ondevice import coreml
from helpers.ondevice.optimisers import SGD, Adam
from helpers.ondevice.program import Program
from helpers.studies import ranking

pytest.importorskip("coremltools", reason="needs coremltools: make pytorch")
pytestmark = pytest.mark.slow  # which runs where PyTorch is: `.ci/run`


@pytest.mark.parametrize(
    ("optimiser", "kind"), [(SGD(0.9), "sgdOptimizer"), (Adam(), "adamOptimizer")]
)
def test_an_updatable_model_is_read_back(optimiser, kind, tmp_path):
    path = tmp_path / "training.mlmodel"
    said = coreml.write(Program(net(), SCHEMA, optimiser), path, learning_rate=0.01, batch_size=16)
    assert said["inputs"] == {"image": [1, 12, 12]}
    assert said["outputs"] == {"probabilities": [3]}
    assert list(said["training_inputs"]) == ["image", "probabilities_true"]
    assert said["updatable"] == ["first", "second", "hidden", "probabilities"]
    assert (said["loss"], said["optimiser"]) == ("categoricalCrossEntropyLossLayer", kind)
    assert said["batch_size"] == 16 and said["learning_rate"] == pytest.approx(0.01)
    again = tmp_path / "again.mlmodel"
    coreml.write(Program(net(), SCHEMA, optimiser), again, learning_rate=0.01, batch_size=16)
    assert again.read_bytes() == path.read_bytes()


def test_its_weights_are_the_models(tmp_path):
    import numpy as np
    from coremltools.models.utils import load_spec

    model = net()
    coreml.write(Program(model, SCHEMA), path := tmp_path / "training.mlmodel")
    layers = {layer.name: layer for layer in load_spec(str(path)).neuralNetwork.layers}
    dense = np.array(layers["hidden"].innerProduct.weights.floatValue, np.float32)
    kernel = model.get_layer("hidden").kernel.numpy()
    np.testing.assert_array_equal(dense.reshape(kernel.T.shape), kernel.T)
    maps = np.array(layers["second"].convolution.weights.floatValue, np.float32)
    kernel = model.get_layer("second").kernel.numpy().transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(maps.reshape(kernel.shape), kernel)


def test_what_core_ml_does_not_train_is_refused(tmp_path):
    program = Program(ranking.build_model(), ranking.SCHEMA)
    with pytest.raises(BadInput, match="one input"):
        coreml.write(program, tmp_path / "training.mlmodel")
