"""Core ML's own training: an updatable model, which Apple's devices train and nothing else does.

It is written and read back here; whether it learns what Keras learns is not judged, because it
trains on Apple's systems only. coremltools comes with ``make pytorch``.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import numpy as np

from helpers import child
from helpers.errors import BadInput, ConversionFailed, WorkbenchError
from helpers.ondevice.optimisers import SGD
from helpers.ondevice.program import Program

NOT_JUDGED = "not judged: trains on Apple devices only"
_KINDS = ("InputLayer", "Conv2D", "MaxPooling2D", "AveragePooling2D", "Flatten", "Dense")


def write(
    program: Program, path: Path, *, learning_rate: float = 0.001, batch_size: int = 32
) -> dict:
    """Write an updatable ``.mlmodel`` of a chain of layers.

    Pictures come as ``(channels, height, width)``, as Core ML has them.

    Returns
    -------
    What the file says when it is read back: ``inputs``, ``outputs`` and ``training_inputs``, names
    with shapes; ``updatable``, layers; ``loss``, ``optimiser``, ``batch_size``, ``learning_rate``.

    Raises
    ------
    BadInput : coremltools is not installed, or a layer that Core ML does not train, by name.
    ConversionFailed : what coremltools refused.
    """
    if importlib.util.find_spec("coremltools") is None:
        raise BadInput("this needs coremltools, which is an extra: make pytorch")
    layers, weights = _described(program)
    sgd = isinstance(program.optimiser, SGD)
    settings = {"momentum": program.optimiser.momentum} if sgd else _adam(program.optimiser)
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "weights.npz"
        np.savez(arrays, **weights)
        try:
            return child.run(
                "write an updatable Core ML model",
                f"{__name__}:_write_here",
                layers=layers,
                weights=str(arrays),
                ends=[program.schema.inputs[0].name, program.schema.output.name],
                training={"lr": learning_rate, "batch": batch_size, **settings},
                target=str(path),
            )
        except WorkbenchError as error:
            raise ConversionFailed(f"Core ML's updatable model failed: {error}") from error


def _adam(optimiser) -> dict[str, float]:
    return {"beta1": optimiser.beta_1, "beta2": optimiser.beta_2, "eps": optimiser.epsilon}


def _described(program: Program) -> tuple[list[dict], dict[str, np.ndarray]]:
    """The layers as plain values, and their weights by name."""
    layers, weights = [], {}
    if len(program.model.inputs) != 1 or program.model.outputs[0].shape[-1] == 1:
        raise BadInput("Core ML trains models of one input and of two classes or more")
    for layer in program.model.layers:
        kind = type(layer).__name__
        bend = getattr(getattr(layer, "activation", None), "__name__", "linear")
        if kind not in _KINDS or bend not in ("linear", "relu", "softmax"):
            raise BadInput(
                f"layer {layer.name!r} ({kind}, {bend}) is not written for Core ML's training; "
                f"what is: {', '.join(_KINDS)} with relu or softmax"
            )
        said = {"name": layer.name, "kind": kind, "bend": bend, "trained": False}
        if kind == "InputLayer":
            said["shape"] = [int(n) for n in layer.output.shape[1:]]
        elif "Pooling" in kind:
            said["size"] = [int(n) for n in layer.pool_size]
        elif layer.weights:
            said |= {"trained": layer.trainable, "padding": getattr(layer, "padding", "valid")}
            weights[f"{layer.name} kernel"] = layer.kernel.numpy()
            bias = layer.bias.numpy() if layer.use_bias else np.zeros(layer.kernel.shape[-1])
            weights[f"{layer.name} bias"] = bias
        layers.append(said)
    return layers, weights


def _write_here(layers: list, weights: str, ends: list, training: dict, target: str) -> dict:
    """The writing itself; runs in a child process."""
    from coremltools.models import datatypes
    from coremltools.models.neural_network import NeuralNetworkBuilder
    from coremltools.models.neural_network.update_optimizer_utils import AdamParams, SgdParams
    from coremltools.models.utils import save_spec

    held = np.load(weights, allow_pickle=False)
    given, output = ends
    shape = layers[0]["shape"]
    taken = (shape[-1], *shape[:-1]) if len(shape) == 3 else tuple(shape)
    classes = len(held[f"{layers[-1]['name']} bias"])
    builder = NeuralNetworkBuilder(
        [(given, datatypes.Array(*taken))], [(output, datatypes.Array(classes))]
    )
    last = given
    for layer in layers[1:]:
        name = layer["name"]
        bent = layer["bend"] != "linear"
        after = f"{name}_plain" if bent else name
        ends_here = {"input_name": last, "output_name": after}
        if layer["kind"] == "Flatten":  # 1: channels last, as Keras has them
            builder.add_flatten(name, 1, **ends_here)
        elif "Pooling" in layer["kind"]:
            kind = "MAX" if layer["kind"].startswith("Max") else "AVERAGE"
            builder.add_pooling(name, *layer["size"], *layer["size"], kind, "VALID", **ends_here)
        else:
            kernel, bias = held[f"{name} kernel"], held[f"{name} bias"]
            if layer["kind"] == "Conv2D":
                high, wide, channels, maps = kernel.shape
                sizes = channels, maps, high, wide, 1, 1, layer["padding"], 1
                builder.add_convolution(name, *sizes, kernel, bias, True, **ends_here)
            else:
                builder.add_inner_product(
                    name, kernel.T, bias, *kernel.shape, has_bias=True, **ends_here
                )
        if layer["bend"] == "relu":
            builder.add_activation(f"{name}_relu", "RELU", after, name)
        elif layer["bend"] == "softmax":
            builder.add_softmax(f"{name}_softmax", after, output)
        last = output if layer["bend"] == "softmax" else name
    builder.make_updatable([layer["name"] for layer in layers if layer["trained"]])
    builder.set_categorical_cross_entropy_loss(name="loss", input=output)
    if "momentum" in training:
        builder.set_sgd_optimizer(SgdParams(**training))
    else:
        builder.set_adam_optimizer(AdamParams(**training))
    builder.set_epochs(10, [1, 5, 10, 20])
    save_spec(builder.spec, target)
    return read(Path(target))


def read(path: Path) -> dict:
    """What an updatable model says of itself, see `write`."""
    from coremltools.models.utils import load_spec

    spec = load_spec(str(path))
    if not spec.isUpdatable:
        raise ConversionFailed(f"{path.name} is not updatable")

    def ends(features) -> dict[str, list[int]]:
        return {f.name: [int(n) for n in f.type.multiArrayType.shape] for f in features}

    said, network = spec.description, spec.neuralNetwork
    used = network.updateParams.optimizer
    kind = used.WhichOneof("OptimizerType")
    chosen = getattr(used, kind)
    return {
        "inputs": ends(said.input),
        "outputs": ends(said.output),
        "training_inputs": ends(said.trainingInput),
        "updatable": [layer.name for layer in network.layers if layer.isUpdatable],
        "loss": network.updateParams.lossLayers[0].WhichOneof("LossLayerType"),
        "optimiser": kind,
        "batch_size": int(chosen.miniBatchSize.defaultValue),
        "learning_rate": float(chosen.learningRate.defaultValue),
    }
