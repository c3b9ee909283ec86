"""Where a file departs: the layer in which something was planted is named, and its cost is true."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from support import larger, planted, workbench

from helpers import child, datasets, explain, runs, tasks, trained
from helpers.convert import layers, mnn, onnx, recipes, tflite
from helpers.errors import BadInput, ConversionFailed
from helpers.evaluation import parity
from helpers.frameworks import keras as framework
from helpers.metrics import ranking as metrics
from helpers.plots import layers as layer_plots
from helpers.runtimes import open_model
from helpers.schema import Schema, Tensor

SCHEMA = Schema(
    "five_layers",
    (Tensor("x", "", shape=(12,), low=-3.0, high=3.0),),
    (Tensor("score", "", shape=(1,)),),
)
DENSE = 5
PICTURES = Schema(
    "pictures",
    (Tensor("image", "", shape=(3, 8, 8), low=-3.0, high=3.0),),
    (Tensor("probabilities", "", shape=(4,)),),
)
WEIGHTS = ("first_weights", "second_weights", "dense_weights")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A network of five dense layers, and rows for it."""
    import keras

    keras.utils.set_random_seed(4)
    given = x = keras.Input((12,), name="x")
    for i, units in enumerate((16, 24, 16, 8), start=1):
        x = keras.layers.Dense(units, activation="relu", name=f"hidden_{i}")(x)
    score = keras.layers.Dense(1, activation="sigmoid", name="score")(x)
    path = tmp_path_factory.mktemp("layers") / "fp32.tflite"
    framework.export(keras.Model(given, score, name="five_layers"), SCHEMA, path)
    rows = np.random.default_rng(1).normal(0, 1, (64, 12)).astype(np.float32)
    return path, {"x": rows}


@pytest.fixture(scope="module")
def convolved(tmp_path_factory):
    """Two convolutions and a dense layer as ``.onnx``, and rows for it; channels come second."""
    import onnx as format
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(5)
    shapes = {"first": (6, 3, 3, 3), "second": (8, 6, 3, 3), "dense": (8, 4)}
    held = {f"{name}_weights": rng.normal(0, 0.3, shape) for name, shape in shapes.items()}
    held |= {
        f"{name}_bias": rng.normal(0, 0.1, held[f"{name}_weights"].shape[0]) for name in shapes
    }
    held["dense_bias"] = rng.normal(0, 0.1, 4)
    nodes = []
    for kind, taken, made, options in (
        ("Sub", ["image", "mean"], "centred", {}),
        ("Conv", ["centred", "first_weights", "first_bias"], "first", {"pads": [1, 1, 1, 1]}),
        ("Relu", ["first"], "first_relu", {}),
        ("Conv", ["first_relu", "second_weights", "second_bias"], "second", {"strides": [2, 2]}),
        ("Relu", ["second"], "second_relu", {}),
        ("GlobalAveragePool", ["second_relu"], "pooled", {}),
        ("Flatten", ["pooled"], "flat", {}),
        ("Gemm", ["flat", "dense_weights", "dense_bias"], "dense", {}),
        ("Softmax", ["dense"], "probabilities", {}),
    ):
        nodes.append(helper.make_node(kind, taken, [made], **options))  # without a name of its own
    held["mean"] = np.full((1, 3, 1, 1), 0.2)
    ends = [
        [helper.make_tensor_value_info(name, format.TensorProto.FLOAT, ["rows", *shape])]
        for name, shape in (("image", (3, 8, 8)), ("probabilities", (4,)))
    ]
    arrays = [numpy_helper.from_array(a.astype(np.float32), name) for name, a in held.items()]
    graph = helper.make_graph(nodes, "pictures", *ends, arrays)
    opset = [helper.make_opsetid("", 17)]
    path = tmp_path_factory.mktemp("layers") / "onnx" / "fp32.onnx"
    path.parent.mkdir()
    format.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path)
    rows = {"image": rng.normal(0, 1, (32, 3, 8, 8)).astype(np.float32)}
    np.savez(path.with_name("rows.npz"), **rows)
    return path, rows


def _dense(found) -> list[layers.Layer]:
    return [layer for layer in found if layer.operator == "FULLY_CONNECTED"]


def test_layers_are_those_that_numpy_computes(made):
    """The first two layers by hand, and the last one is the score."""
    path, inputs = made
    found = _dense(layers.values(path, inputs))
    assert len(found) == DENSE
    model = tflite._read(path.read_bytes())
    graph, x = model.subgraphs[0], inputs["x"]
    dense = [operator for operator in graph.operators if len(operator.inputs) == 3]
    for layer, operator in zip(found[:2], dense[:2], strict=True):
        weights, bias = (graph.tensors[i] for i in operator.inputs[1:])
        data = model.buffers[weights.buffer].data
        kernel = np.frombuffer(bytes(bytearray(data)), np.float32).reshape(weights.shape)
        assert model.buffers[bias.buffer].data is None, "no offset has been learnt"
        x = np.maximum(x @ kernel.T, 0)
        np.testing.assert_allclose(layer.values, x, atol=1e-5)
    with open_model(path, SCHEMA) as opened:
        score = opened.score(inputs)
    np.testing.assert_allclose(layers.values(path, inputs)[-1].values, score, atol=1e-6)


@pytest.mark.parametrize("suffix", [".tflite", ".mnn"])
@pytest.mark.parametrize("number", range(DENSE))
def test_a_fault_in_one_layer_is_named(made, tmp_path, number, suffix):
    path, inputs = made
    bad = planted(path, tmp_path / "bad.tflite", number, larger)
    if suffix == ".mnn":
        mnn.convert(bad, SCHEMA, tmp_path / "bad.mnn", options=recipes.get("mnn", "fp32").options)
        bad = tmp_path / "bad.mnn"
    wanted = layers.values(path, inputs)
    rows = explain._errors(wanted, layers.matched(wanted, layers.values(bad, inputs)))
    departing = [row["layer"] for row in rows if row["error"] > 1e-5]
    assert departing[0] == _dense(wanted)[number].name


@pytest.mark.parametrize("suffix", [".tflite", ".mnn"])
def test_a_sound_file_departs_nowhere(made, tmp_path, suffix):
    path, inputs = made
    other = path
    if suffix == ".mnn":
        other = tmp_path / "same.mnn"
        mnn.convert(path, SCHEMA, other, options=recipes.get("mnn", "fp32").options)
    wanted = layers.values(path, inputs)
    rows = explain._errors(wanted, layers.matched(wanted, layers.values(other, inputs)))
    known = [row["error"] for row in rows if not np.isnan(row["error"])]
    assert len(known) >= DENSE and max(known) < 1e-5


def _layers(*errors, names=None, takes=None):
    """Layers of one value each that are off by so much, and the sound ones."""
    names = names or [f"l{i}" for i in range(len(errors))]
    takes = takes or [(i - 1,) if i else () for i in range(len(errors))]
    one = np.ones(1, np.float32)
    made = [
        [
            layers.Layer((n,), "ADD", one * (1 + e), t)
            for n, e, t in zip(names, by, takes, strict=True)
        ]
        for by in ([0] * len(errors), errors)
    ]
    return made


def test_what_a_layer_adds_is_beyond_what_it_takes():
    """Names may repeat, and infinities that are the same are no difference."""
    wanted, found = _layers(0.5, 0.0, 0.5, names=["a", "a", "b"], takes=[(), (), (0, 1)])
    rows = explain._errors(wanted, found)
    assert [round(row["adds"], 6) for row in rows] == [0.5, 0.0, 0.0]
    rows = explain._errors(wanted, [None, *found[1:]])
    assert np.isnan(rows[0]["error"]) and rows[2]["adds"] == 0.5
    masked = np.array([1.0, -np.inf, np.nan], np.float32)
    assert explain._error(masked, masked) == 0
    assert explain._error(masked, np.float32([1, np.inf, np.nan])) == 1
    assert explain._error(masked, np.float32([2, -np.inf, np.nan])) == 1


def test_a_layer_that_is_joined_with_the_next_has_its_values():
    """A runtime that computes a RELU with what comes before calls both by the first's name."""
    wanted, joined = _layers(0.0, 0.0, 0.0)
    wanted[1] = layers.Layer(("relu",), "RELU", wanted[1].values, (0,))
    found = layers.matched(wanted, [joined[0], joined[2]])
    assert found[0] is None and found[1] is joined[0] and found[2] is joined[2]


def test_an_operator_of_several_tensors_is_known_by_all(tmp_path):
    """SPLIT: its second tensor goes on, and the quantizer is told of it as a whole."""
    import keras

    given = keras.Input((12,), name="x")
    first, second = keras.ops.split(keras.layers.Dense(8, name="wide")(given), 2, axis=1)
    score = keras.layers.Dense(1, activation="sigmoid", name="score")(first * second)
    path, rows = tmp_path / "split.tflite", tmp_path / "rows.npz"
    framework.export(keras.Model(given, score, name="five_layers"), SCHEMA, path)
    inputs = {"x": np.random.default_rng(2).normal(0, 1, (64, 12)).astype(np.float32)}
    np.savez(rows, **inputs)
    found = layers.values(path, inputs)
    (place,) = [i for i, layer in enumerate(found) if layer.operator.startswith("SPLIT")]
    assert len(found[place].names) == 2 and found[place + 1].takes == (place,)
    recipe, spared = recipes.get("litert", "int8"), tmp_path / "spared.tflite"
    tflite.quantise(path, SCHEMA, spared, layers.without(recipe, found[place]), calibration=rows)
    kinds = [d for d in tflite.operators(spared)["operator"] if d in ("DEQUANTIZE", "QUANTIZE")]
    whole = tmp_path / "whole.tflite"
    tflite.quantise(path, SCHEMA, whole, recipe.options, calibration=rows)
    plain = [d for d in tflite.operators(whole)["operator"] if d in ("DEQUANTIZE", "QUANTIZE")]
    assert len(kinds) > len(plain), "it is left in float, between others that are not"


def test_integers_are_widened_and_storage_is_no_layer(made, tmp_path):
    """Of eight bits each layer is off by less than a hundredth of its values, and more than 0."""
    path, inputs = made
    calibration = tmp_path / "rows.npz"
    np.savez(calibration, **inputs)
    reduced = tmp_path / "int8.tflite"
    tflite.quantise(
        path, SCHEMA, reduced, recipes.get("litert", "int8").options, calibration=calibration
    )
    wanted, found = layers.values(path, inputs), layers.values(reduced, inputs)
    assert [layer.operator for layer in found] == [layer.operator for layer in wanted]
    errors = [row["error"] for row in explain._errors(wanted, found)]
    assert all(1e-4 < error < 0.05 for error in errors)
    assert [layer.takes for layer in found] == [(), *((i,) for i in range(len(found) - 1))]


def test_costs_are_those_of_files_made_by_hand(finished_copy, tmp_path):
    """Of a finished run: the file as it is, and one in which a layer is spared."""
    run = finished_copy
    found = explain.explain(run, "litert int8", progress=False)
    table = found.layers
    assert found.headline == "AUC" and abs(found.found - found.trained) < 0.01
    comparison = pd.read_csv(run.folder / "comparison.csv").set_index("file")["auc"]
    assert found.found == pytest.approx(comparison["tflite/int8.tflite"], abs=1e-7)
    assert found.trained == pytest.approx(comparison["model/model.keras"], abs=1e-7)
    dense = table.index[table["operator"] == "FULLY_CONNECTED"]
    name = table.loc[dense[0], "layer"]
    options = recipes.get("litert", "int8").options
    spared = {"regex": f"{name};", "operation": "*", "algorithm_key": "no_quantize"}
    source, path = run.folder / "tflite/fp32.tflite", tmp_path / "spared.tflite"
    schema = trained.of(run).schema
    rows, labels, _ = datasets.load(run.recorded("data.json")).arrays("test")
    tflite.quantise(
        source,
        schema,
        path,
        [*options, spared],
        calibration=run.folder / "model/calibration.npz",
    )
    with open_model(path, schema) as opened:
        scores = opened.score(rows)[:, 0]
    auc = metrics.auc(scores, labels)
    assert table.loc[dense[0], "spared"] == pytest.approx(auc, abs=1e-9)
    assert str(found.costly) in found.conclusion() and "left in float" in found.conclusion()
    (left, right) = layer_plots.departures(table, "AUC", found.trained, found.found).axes
    assert len(left.patches) == len(table) and right.lines[0].get_xdata().tolist() == [
        *table["alone"]
    ]


def test_it_is_said_on_the_command_line(finished_copy, home):
    done = workbench("explain", "ranking", "mnn fp16")
    assert done.returncode == 0, done.stderr
    assert "The first layer that departs" in done.stdout
    folder = home / "artifacts/ranking/default/explain"
    assert {f.name for f in folder.iterdir()} == {"mnn_fp16.csv", "mnn_fp16.png"}
    wrong = workbench("explain", "ranking", "mnn int3")
    assert wrong.returncode == 2 and "it has: litert fp32" in wrong.stderr
    assert wrong.stderr.rstrip().endswith("mnn int8"), "files of the bundle are no variants"
    with pytest.raises(BadInput, match="of .tflite, .onnx, .mnn files"):
        layers.values(home / "model.keras", {})


def test_layers_of_onnx_are_those_that_loops_compute(convolved):
    """The first convolution by hand; the last layer is the score."""
    path, inputs = convolved
    found = {layer.name: layer for layer in layers.values(path, inputs)}
    import onnx as format

    held = {t.name: format.numpy_helper.to_array(t) for t in format.load(path).graph.initializer}
    padded = np.pad(inputs["image"] - held["mean"], ((0, 0), (0, 0), (1, 1), (1, 1)))
    first = np.zeros((32, 6, 8, 8)) + held["first_bias"][:, None, None]
    for row in range(3):
        for column in range(3):
            window = padded[:, :, row : row + 8, column : column + 8]
            weights = held["first_weights"][:, :, row, column]
            first += np.einsum("nchw,oc->nohw", window, weights)
    np.testing.assert_allclose(found["first"].values, first, atol=1e-5)
    np.testing.assert_allclose(found["first_relu"].values, np.maximum(first, 0), atol=1e-5)
    assert found["first"].takes == (0,) and found["second"].operator == "Conv"
    with open_model(path, PICTURES) as opened:
        score = opened.predict(inputs)["probabilities"]
    np.testing.assert_allclose(found["probabilities"].values, score, atol=1e-6)


@pytest.mark.parametrize("suffix", [".onnx", ".mnn"])
@pytest.mark.parametrize("planted", WEIGHTS)
def test_a_fault_in_one_layer_of_onnx_is_named(convolved, tmp_path, planted, suffix):
    """MNN joins a convolution with the RELU that follows, so that this is then the first."""
    import onnx as format

    path, inputs = convolved
    model = format.load(path)
    (tensor,) = [t for t in model.graph.initializer if t.name == planted]
    weights = format.numpy_helper.to_array(tensor).copy()
    weights.reshape(-1)[np.abs(weights).argmax()] *= 1.05
    tensor.CopyFrom(format.numpy_helper.from_array(weights, planted))
    bad = tmp_path / "onnx" / "bad.onnx"
    bad.parent.mkdir()
    format.save(model, bad)
    if suffix == ".mnn":
        mnn.convert(bad, PICTURES, tmp_path / "bad.mnn", options=())
        bad = tmp_path / "bad.mnn"
    wanted = layers.values(path, inputs)
    found = layers.matched(wanted, layers.values(bad, inputs))
    departing = [row["layer"] for row in explain._errors(wanted, found) if row["error"] > 1e-5]
    name = planted.removesuffix("_weights")
    assert departing[0] == (f"{name}_relu" if suffix == ".mnn" and name != "dense" else name)


def test_reduced_onnx_files_are_read_as_they_run(convolved, tmp_path):
    """Of integers the last layer is what the file gives to the bit: nothing is computed otherwise
    because it is looked at. Of static ones a convolution is joined with its RELU, and is not said
    to be off by what that removes.
    """
    path, inputs = convolved
    wanted = layers.values(path, inputs)
    folder = tmp_path / "onnx"
    folder.mkdir()
    with child.Child("reduce") as process:
        for form in ("int8", "dynamic_int8", "fp16"):
            calibration = path.with_name("rows.npz")
            onnx.reduce(path, folder / f"{form}.onnx", form, calibration, process=process)
    for form in ("int8", "dynamic_int8", "fp16"):
        found = layers.matched(wanted, layers.values(folder / f"{form}.onnx", inputs))
        rows = {row["layer"]: row["error"] for row in explain._errors(wanted, found)}
        missing = {name for name, error in rows.items() if np.isnan(error)}
        assert missing == ({"first", "second"} if form == "int8" else set())
        assert max(error for error in rows.values() if not np.isnan(error)) < 0.05
        assert rows["probabilities"] > 1e-5
        with open_model(folder / f"{form}.onnx", PICTURES) as opened:
            score = opened.predict(inputs)["probabilities"]
        # ONNX Runtime widens a chain of half floats; looked at, each is rounded to a half float
        atol = 2 * 2**-11 if form == "fp16" else 0
        np.testing.assert_allclose(found[-1].values, score, rtol=0, atol=atol)


def _costs(variant, source, calibration, schema, pairs, reference):
    """What `explain` fills into its table."""
    parts = explain._parts(variant, source, source, calibration, schema)
    settings = {"suffix": source.suffix, "imports": "bare", "progress": False}
    return explain._costs(parts, pairs, schema, reference, **settings)


def test_a_layer_of_onnx_is_reduced_alone_or_spared(convolved, tmp_path):
    """Costs are those of files made by hand, of ONNX Runtime's own arguments."""
    import onnx as format
    from onnxruntime import quantization

    path, inputs = convolved
    rows = path.with_name("rows.npz")
    with open_model(path, PICTURES) as opened:
        outputs = opened.predict(inputs)
    reference = parity.Reference(tasks.get("tensors"), inputs, outputs)
    wanted = [layer for layer in layers.values(path, inputs) if layer.name in ("centred", "second")]
    pairs = [(layer, layer) for layer in wanted]
    costs = _costs("onnx int8", path, rows, PICTURES, pairs, reference)
    assert np.isnan(costs[0]).all() and np.isfinite(costs[1]).all(), "of Sub there is no integer"

    class Rows(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = [{"image": row[None]} for row in inputs["image"]]

        def get_next(self):
            return self.left.pop(0) if self.left else None

    kinds = {
        "activation_type": quantization.QuantType.QUInt8,
        "weight_type": quantization.QuantType.QInt8,
        "per_channel": True,
    }
    for column, told in enumerate(("nodes_to_quantize", "nodes_to_exclude")):
        other = tmp_path / str(column) / "onnx" / "other.onnx"
        other.parent.mkdir(parents=True)
        model = format.load(path)
        for node in model.graph.node:
            node.name = node.output[0]
        quantization.quantize_static(model, other, Rows(), **kinds, **{told: ["second"]})
        with open_model(other, PICTURES) as opened:
            cosine = reference.judge(opened.predict(inputs)).figures["cosine"]
        assert costs[1, column] == pytest.approx(cosine, abs=1e-9)
    made = tmp_path / "onnx" / "part.onnx"
    made.parent.mkdir()
    with pytest.raises(ConversionFailed, match="reduces no Sub"):
        onnx.reduce(path, made, "int8", rows, only=["centred"])
    with pytest.raises(ConversionFailed, match="fp16 is made of all nodes"):
        onnx.reduce(path, made, "fp16", rows, without=["second"])
    wanted = [layer for layer in layers.values(path, inputs) if layer.operator in ("Conv", "Gemm")]
    pairs = [(layer, layer) for layer in wanted]
    costs = _costs("onnx dynamic_int8", path, rows, PICTURES, pairs, reference)
    unsigned = {"weight_type": quantization.QuantType.QUInt8, "per_channel": True}
    for column, told in enumerate(("nodes_to_quantize", "nodes_to_exclude")):
        model, other = format.load(path), tmp_path / str(column) / "onnx" / "other.onnx"
        for node in model.graph.node:
            node.name = node.output[0]
        for place, layer in enumerate(wanted):
            chosen = [layer.name, f"{layer.name}_MatMul"]  # of Gemm it makes MatMul and Add first
            quantization.quantize_dynamic(model, other, **unsigned, **{told: chosen})
            with open_model(other, PICTURES) as opened:
                cosine = reference.judge(opened.predict(inputs)).figures["cosine"]
            assert costs[place, column] == pytest.approx(cosine, abs=1e-9) and cosine < 1


def test_a_layer_of_mnn_is_reduced_alone_or_spared(finished_copy, tmp_path):
    """Costs are those of files put together by hand: of two files of the same operators, one with
    integer weights, an operator of one in the other.
    """
    run = finished_copy
    found = explain.explain(run, "mnn weight_int4", progress=False)
    assert found.costly is not None and "left in float" in found.conclusion()
    table = found.layers
    read = {}
    for precision in ("fp32_conv", "weight_int4"):
        target = tmp_path / f"{precision}.json"
        _mnn("-f", "MNN", "--modelFile", run.folder / f"mnn/{precision}.mnn", "--JsonFile", target)
        read[precision] = json.loads(target.read_text())
    names = [operator["name"] for operator in read["fp32_conv"]["oplists"]]
    assert names == [operator["name"] for operator in read["weight_int4"]["oplists"]]
    stored = mnn.integer_weights(run.folder / "mnn/weight_int4.mnn")
    assert len(stored) == 2 and table["spared"].notna().sum() == 2
    inputs, labels, _ = datasets.load(run.recorded("data.json")).arrays("test")
    for column, others in (("spared", "fp32_conv"), ("alone", "weight_int4")):
        aucs = []
        for name in stored:
            mixed = json.loads(
                json.dumps(read["weight_int4" if column == "spared" else "fp32_conv"])
            )
            place = names.index(name)
            mixed["oplists"][place] = read[others]["oplists"][place]
            (tmp_path / "mixed.json").write_text(json.dumps(mixed))
            path = tmp_path / "mnn" / "mixed.mnn"
            path.parent.mkdir(exist_ok=True)
            _mnn("-f", "JSON", "--modelFile", tmp_path / "mixed.json", "--MNNModel", path)
            with open_model(path, trained.of(run).schema) as opened:
                aucs.append(metrics.auc(opened.score(inputs)[:, 0], labels))
        assert table[column].dropna().tolist() == pytest.approx(aucs, abs=1e-6)


def _mnn(*arguments):
    """MNN's converter, in a process of its own."""
    code = "import _tools, sys; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"
    subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], check=True, capture_output=True
    )


def test_layers_of_another_order_are_matched_by_name():
    """Two branches of the same operators, which a tool has sorted otherwise."""
    wanted, found = _layers(0.0, 0.25, 0.0, 0.0, takes=[(), (), (0,), (1,)])
    mixed = [found[1], found[0], found[3], found[2]]
    rows = explain._errors(wanted, layers.matched(wanted, mixed))
    assert [round(row["error"], 6) for row in rows] == [0.0, 0.25, 0.0, 0.0]


def _compared(*rows):
    names = ["runtime", "precision", "file", "verdict", "auc", "auc_delta_low"]
    return pd.DataFrame([("keras", "fp32", "m", "same", 0.8, 0.0), *rows], columns=names)


PLAIN = ("litert", "fp32", "f", "same", 0.8, 0.0)
FLOAT = ("onnx", "fp32", "n", "same", 0.8, 0.0)
LOST = ("litert", "fp32", "f", "ships with loss", 0.798, -0.002)
GONE = ("litert", "fp32", "f", "broken", 0.5, -0.3)
LOSING = ("litert", "int8", "i", "ships with loss", 0.79, -0.01)


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([PLAIN], None),
        ([PLAIN, LOSING], "litert int8"),
        ([PLAIN, LOSING, ("mnn", "fp16", "h", "too few rows", 0.77, -0.03)], "mnn fp16"),
        ([PLAIN, LOSING, ("mnn", "int8", "b", "broken", 0.795, -0.005)], "mnn int8"),
        ([PLAIN, LOSING, ("mnn", "int8", "b", "broken", np.nan, np.nan)], "mnn int8"),
        ([PLAIN, LOSING, ("mnn", "int8", None, "not made", np.nan, np.nan)], "litert int8"),
        ([PLAIN, ("coreml", "fp16", "c", "not judged", np.nan, np.nan)], None),
        ([LOSING], "litert int8"),  # there is no float32 file: it is held to the trained model
        ([LOST], "litert fp32"),
        ([LOST, ("mnn", "fp16", "h", "too few rows", 0.77, -0.03)], "litert fp32"),
        ([LOST, ("onnx", "int8", "q", "ships with loss", 0.7, -0.1)], "onnx int8"),
        ([LOST, ("mnn", "int8", "b", "broken", 0.795, -0.005)], "mnn int8"),
        ([GONE, ("mnn", "int8", "b", "broken", 0.4, -0.4)], "litert fp32"),
        ([PLAIN, ("mnn", "fp16_of_onnx", "o", "broken", 0.5, -0.3), LOSING], "mnn fp16_of_onnx"),
        (
            [("onnx", "fp32", "n", "same", 0.8, 0), ("onnx", "int8", "q", "broken", 0.5, -0.3)],
            "onnx int8",
        ),
        ([("coreml", "fp16", "c", "ships with loss", 0.7, -0.1)], None),
    ],
)
def test_the_worst_file_is_looked_into(rows, wanted):
    assert explain.worst(tasks.get("ranking"), _compared(*rows)) == wanted


def test_of_a_model_without_layers_only_what_is_held_to_a_float32_file_is_looked_into():
    brought = _compared(LOSING, ("litert", "given", "g", "ships with loss", 0.7, -0.1))
    brought.loc[0, ["runtime", "verdict"]] = "savedmodel", "same"
    assert explain.worst(tasks.get("ranking"), brought) is None
    brought.loc[2, "precision"] = "fp32"
    assert explain.worst(tasks.get("ranking"), brought) == "litert int8"


def test_what_cannot_be_read_is_told(made, tmp_path):
    """A comparison's file that no runtime runs: the reason is in the place of its layers."""
    path, inputs = made
    files = {"keras fp32": tmp_path, "litert fp32": path, "litert int8": tmp_path / "int8.tflite"}
    files["litert int8"].write_bytes(path.read_bytes()[:200])
    compared = _compared(PLAIN, ("litert", "int8", "i", "broken", np.nan, np.nan))
    given = (tasks.get("ranking"), compared, files, SCHEMA, inputs)
    found = explain.look(*given)
    assert found.variant == "litert int8" and found.layers.empty and "int8.tflite" in found.reason
    assert "AUC not known, of the trained model 0.8000. Its layers cannot" in found.conclusion()
    planted(path, files["litert int8"], 2, larger)
    found = explain.look(*given)
    assert found.reason == "" and found.first == found.layers.index[2]
    assert f"The first layer that departs is {found.first}, " in found.conclusion()
    (axes,) = layer_plots.departures(found.layers, "AUC", found.trained, found.found).axes
    assert len(axes.patches) == len(found.layers)
    assert explain.look(tasks.get("ranking"), _compared(PLAIN), files, SCHEMA, inputs) is None


def test_of_wide_inputs_fewer_rows_are_taken(made, monkeypatch):
    path, inputs = made
    monkeypatch.setattr(explain, "_INPUT_BYTES", 7 * SCHEMA.row_bytes)
    ((wanted, _), *_), _ = explain._held(path, path, SCHEMA, inputs)
    assert len(wanted.values) == 7


def test_what_can_be_explained_is_said_where_there_is_no_float32_tflite(home):
    """Of a model whose own layers cannot be read, and of a PyTorch model, where they can."""
    stage = runs.Stage("03_tflite_conversion", study="ranking", run="default")
    for file in ("onnx/fp32.onnx", "onnx/int8.onnx"):
        with stage.output(file) as path:
            path.write_bytes(b"-")
    stage.finish()
    stage = runs.Stage("04_mnn_conversion", study="ranking", run="default")
    with stage.output("mnn/fp16.mnn") as path:
        path.write_bytes(b"-")
    stage.finish()
    told = "no file 'litert fp32', and 'mnn fp16' cannot.*: model/model.zip has no .*: onnx int8$"
    with pytest.raises(BadInput, match=told):
        explain._files(stage.run, "mnn fp16", "model/model.zip")
    with pytest.raises(BadInput, match="^'onnx fp32' cannot be held to the trained model: "):
        explain._files(stage.run, "onnx fp32", "model/model.zip")
    stage = runs.Stage("02_pytorch_training", study="ranking", run="default")
    with stage.output("model/model.pt2") as path:
        path.write_bytes(b"-")
    stage.finish()
    for variant in ("mnn fp16", "onnx fp32"):
        path, source, held = explain._files(stage.run, variant, "model/model.pt2")
        assert source == "pytorch fp32" and held == stage.run.folder / "model/model.pt2"
    assert explain._files(stage.run, "onnx int8", "model/model.pt2")[1] == "onnx fp32"


def test_layers_are_told_without_digits_that_mean_nothing():
    rows = [{"layer": "a", "operator": "ADD", "error": e, "adds": e} for e in (1e-8, 0.02)]
    table = explain._table([*rows, {"layer": "c", "operator": "ADD"}])
    shown = explain.readable(table)
    assert shown["error"].tolist() == ["under 1e-05", "0.02", ""] and "spared" not in shown
    table["spared"] = [0.0, 0.75, np.nan]
    assert explain.readable(table)["spared"].tolist() == ["0.0000", "0.7500", ""]
