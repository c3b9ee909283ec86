"""PyTorch programs and the files that are made of them, held to each other layer by layer."""

import numpy as np
import pytest
from support import planted, replace_recorded, workbench

from helpers import explain, runs
from helpers.convert import alignment, layers
from helpers.convert import pytorch as convert
from helpers.frameworks import pytorch as framework
from helpers.runtimes import pytorch as runtime
from helpers.studies import images

torch = pytest.importorskip("torch", reason="needs PyTorch: make pytorch")
pytestmark = pytest.mark.slow
STUDY = images.study("few", [f"class {number}" for number in range(6)], size=24)
PARTS = [
    "net.0 + net.1 + relu",
    "net.3 + net.4 + relu_1",
    "net.7 + net.8 + relu_2",
    "net.11 + net.12 + relu_3",
    "net.16",
]
"""What the ``.tflite`` file computes as one layer; the ``.onnx`` file has each RELU apart."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The small net of the study of pictures with weights and statistics of chance, as a program
    and as both float32 files, and rows for it.
    """
    folder = tmp_path_factory.mktemp("made")
    (folder / "onnx").mkdir()
    torch.manual_seed(2)
    model = STUDY.models["small"].build(hidden_units=4)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    framework.save(model.eval(), STUDY.schema, folder / "model.pt2")
    framework.export(folder / "model.pt2", STUDY.schema, folder / "fp32.tflite")
    convert.to_onnx(folder / "model.pt2", STUDY.schema, folder / "onnx/fp32.onnx")
    pictures = np.random.default_rng(1).random((32, 24, 24, 3), np.float32)
    return folder, {"image": pictures}


def _planted_onnx(source, path, number: int, change) -> None:
    import onnx

    model = onnx.load(source)
    heavy = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    (tensor,) = [t for t in model.graph.initializer if t.name == heavy[number].input[1]]
    weights = onnx.numpy_helper.to_array(tensor)
    other = change(weights.reshape(-1).copy()).reshape(weights.shape)
    tensor.CopyFrom(onnx.numpy_helper.from_array(other, tensor.name))
    onnx.save(model, path)


def _an_eighth(weights):
    weights[: len(weights) // 8] *= 1.2
    return weights


PLANT = {".tflite": planted, ".onnx": _planted_onnx}
CHANGES = [np.negative, _an_eighth, np.negative, _an_eighth, np.negative]
"""Of the weights of each part."""


def _source(folder, suffix: str):
    return folder / ("onnx/fp32.onnx" if suffix == ".onnx" else "fp32.tflite")


def _errors(folder, path, rows) -> dict[str, float]:
    found = layers.values(path, rows)
    ours, theirs = alignment.aligned(folder / "model.pt2", STUDY.schema, rows, found)
    return {row["layer"]: row["error"] for row in explain._errors(ours, theirs)}


@pytest.fixture(scope="module")
def sound(made) -> dict[str, dict[str, float]]:
    """How far the layers of each file are from the program's."""
    folder, rows = made
    return {suffix: _errors(folder, _source(folder, suffix), rows) for suffix in PLANT}


def _part(place: int, suffix: str) -> str:
    return PARTS[place] if suffix == ".tflite" else PARTS[place].partition(" + relu")[0]


@pytest.mark.parametrize("suffix", PLANT)
def test_a_program_and_its_files_are_the_same_layer_by_layer(sound, suffix):
    """Convolutions with what is computed with them, whichever order the channels have."""
    wanted = {_part(place, suffix) for place in range(len(PARTS))} | {"max_pool2d", "softmax"}
    assert wanted <= set(sound[suffix]) and max(sound[suffix].values()) < 2e-6


@pytest.mark.parametrize("place", range(len(PARTS)))
@pytest.mark.parametrize("suffix", PLANT)
def test_a_fault_in_one_layer_is_named(made, sound, tmp_path, suffix, place):
    """Whatever it is: also where nothing behind it has the values of the trained model."""
    folder, rows = made
    path = _source(tmp_path, suffix)
    path.parent.mkdir(exist_ok=True)
    PLANT[suffix](_source(folder, suffix), path, place, CHANGES[place])
    errors = _errors(folder, path, rows)
    assert list(errors) == list(sound[suffix]), "all layers are found"
    departing = [name for name, error in errors.items() if error > 1e-5]
    assert departing[0] == _part(place, suffix)


def test_operators_go_on_from_what_is_held(made):
    """By hand: with the logits of an operator turned, its probabilities are those of these. What
    PyTorch computes in place changes nothing that was given before.
    """
    folder, rows = made
    graph = runtime.Graph(folder / "model.pt2", STUDY.schema)
    computed = graph.run(rows, {})
    places = {layer.name: place for place, layer in enumerate(computed)}
    assert graph.outputs == {"probabilities": places["softmax"]}
    logits = computed[places["net.16"]].values
    turned = graph.run(rows, {places["net.16"]: logits[:, ::-1]})
    wanted = computed[places["softmax"]].values[:, ::-1]
    np.testing.assert_allclose(turned[places["softmax"]].values, wanted, atol=1e-6)
    np.testing.assert_array_equal(turned[places["net.16"]].values, logits)
    (norm,) = [layer for layer in computed if layer.name == "net.1"]
    assert norm.operator == "batch_norm" and norm.values.min() < 0


def test_a_fault_in_the_float32_files_of_a_run_is_named(tmp_path, home):
    """From the command line, of a run of stages 01 to 03."""
    study = tmp_path / "few.py"
    study.write_text(
        "import dataclasses\n"
        "from helpers.studies import images\n"
        "STUDY = dataclasses.replace(images.drawn('few', size=24, shorter=27), defaults={\n"
        "    'rows': 200, 'validation_rows': 50, 'test_rows': 200, 'epochs': 1})\n"
    )
    done = workbench("run", str(study), "--stages", "01-03", home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    run = runs.Run("few", "default")
    for file, variant in (("tflite/fp32.tflite", "litert fp32"), ("onnx/fp32.onnx", "onnx fp32")):
        bad = tmp_path / f"bad{run.folder.joinpath(file).suffix}"
        PLANT[bad.suffix](run.folder / file, bad, 2, np.negative)
        replace_recorded(run, file, bad.read_bytes())
        found = workbench("explain", "few", variant, home=home)
        said = next(line for line in found.stdout.splitlines() if "first layer that" in line)
        assert ", net.7 + net.8" in said, said
