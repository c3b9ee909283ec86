"""Where a file departs: the layer in which something was planted is named, and its cost is true."""

import numpy as np
import pandas as pd
import pytest
from support import workbench

from helpers import datasets, explain, trained
from helpers.convert import layers, mnn, recipes, tflite
from helpers.errors import BadInput
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


def _dense(found) -> list[layers.Layer]:
    return [layer for layer in found if layer.operator == "FULLY_CONNECTED"]


def _planted(source, path, number: int):
    """A copy of a file in which one weight of a dense layer is another."""
    model = tflite._read(source.read_bytes())
    graph = model.subgraphs[0]
    dense = [o for o in graph.operators if len(o.inputs) == 3]
    buffer = model.buffers[graph.tensors[dense[number].inputs[1]].buffer]
    weights = np.frombuffer(bytes(bytearray(buffer.data)), np.float32).copy()
    weights[np.abs(weights).argmax()] *= 1.05
    buffer.data = np.frombuffer(weights.tobytes(), np.uint8)
    path.write_bytes(tflite._packed(model))
    return path


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
    bad = _planted(path, tmp_path / "bad.tflite", number)
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
    done = workbench("explain", "ranking", "mnn weight_int8")
    assert done.returncode == 0, done.stderr
    assert "The first layer that departs" in done.stdout
    folder = home / "artifacts/ranking/default/explain"
    assert {f.name for f in folder.iterdir()} == {"mnn_weight_int8.csv", "mnn_weight_int8.png"}
    wrong = workbench("explain", "ranking", "mnn int3")
    assert wrong.returncode == 2 and "it has: litert fp32" in wrong.stderr
    assert wrong.stderr.rstrip().endswith("mnn int8"), "files of the bundle are no variants"
    with pytest.raises(BadInput, match=".tflite and .mnn"):
        layers.values(home / "model.onnx", {})
