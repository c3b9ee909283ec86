"""A trained file that somebody brings: opened, matched by name, scored and exported as it is."""

import json
import os
import re
import shutil
import zipfile

import numpy as np
import pytest
from brought import TABLE, logistic
from click.testing import CliRunner

from helpers import cli, code, files, frameworks, pipeline, registry, runs, runtimes, tasks
from helpers.convert import mnn, recipes, tflite, variants
from helpers.errors import BadInput, DamagedFile
from helpers.own import model as own
from helpers.runtimes import savedmodel
from helpers.schema import Dimension, Schema, Tensor

BROUGHT = {"theirs.keras": "keras", "theirs.tflite": "tflite", "saved": "savedmodel"}


@pytest.mark.parametrize("file", BROUGHT)
def test_a_file_of_any_form_gives_what_keras_gives_and_its_export_too(
    file, theirs, rows, home, tmp_path
):
    import keras

    brought = own.bring(theirs / file, TABLE, label="clicked", group="session", name="brought")
    declared = registry.read_schema(brought.schema)
    assert set(declared.input_names) == set(rows) and declared.batch is None
    if file.endswith("keras"):  # the others keep no order
        assert declared.input_names == ["kind", "age", "hour", "price", "rating"]
    form = frameworks.of(theirs / file)
    assert form == BROUGHT[file]
    found = own.match(declared, *own.interface(theirs / file, form), file)
    framework = frameworks.get(form)
    copy = tmp_path / f"original{framework.SUFFIX}"
    own.copy(theirs / file, copy)
    with runtimes.open_model(copy, found.as_given()) as opened:
        scores = opened.score(rows)
    model = keras.models.load_model(theirs / "theirs.keras")
    wanted = model.predict(rows, batch_size=6000, verbose=0)
    assert np.abs(scores - wanted).max() < 1e-6
    exported = tmp_path / "fp32.tflite"
    said = framework.export(frameworks.load(framework, copy, found), found, exported)
    with runtimes.open_model(exported, found) as opened:
        assert np.abs(opened.score(rows) - wanted).max() < 1e-6
    assert tflite.interface(exported)["tensor"].tolist() == [*found.input_names, found.output.name]
    assert (
        said
        == {
            "keras": ["the Embedding kinds is written as a gather from the same table"],
            "tflite": ["tensors have the schema's names, in its order"],
            "savedmodel": [],
        }[form]
    )


def test_an_embedding_is_exported_as_a_gather_from_the_same_table_and_mnn_takes_it(
    theirs, rows, home, tmp_path
):
    from helpers.frameworks import keras as framework

    brought = own.bring(theirs / "theirs.keras", TABLE, label="clicked", name="brought")
    found = registry.read_schema(brought.schema)
    model = framework.load(theirs / "theirs.keras", found)
    before = [array.copy() for array in model.get_weights()]
    framework.export(model, found, tmp_path / "a.tflite")
    assert "SELECT_V2" not in tflite.operators(tmp_path / "a.tflite")["operator"].tolist()
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    mnn.convert(tmp_path / "a.tflite", found, tmp_path / "a.mnn")
    from keras.src.models.cloning import clone_model  # what it would be without: SELECT_V2

    uncured, framework._without_embeddings = framework._without_embeddings, lambda m: (m, [])
    try:
        framework.export(clone_model(model), found, tmp_path / "b.tflite")
    finally:
        framework._without_embeddings = uncured
    assert "SELECT_V2" in tflite.operators(tmp_path / "b.tflite")["operator"].tolist()
    with (
        runtimes.open_model(tmp_path / "a.tflite", found) as cured,
        runtimes.open_model(tmp_path / "a.mnn", found) as in_mnn,
    ):
        scores = cured.score(rows)
        assert np.abs(in_mnn.score(rows) - scores).max() < 1e-6
    copy = framework._without_embeddings(model)[0]
    assert (copy(rows).numpy() == model(rows).numpy()).all(), "bit for bit"


def test_a_tflite_file_with_new_names_scores_the_same_bits_and_holds_the_same_weights(
    theirs, rows, tmp_path
):
    from ai_edge_litert.interpreter import Interpreter

    given = theirs / "theirs.tflite"
    inputs, outputs = runtimes.interface(given)
    assert {*inputs} == {f"serving_default_{name}:0" for name in rows}
    found = own.infer("x", inputs, outputs, list(rows), {}, False, None, [])
    assert [tensor.in_file for tensor in found.inputs] == [*inputs]
    (tmp_path / "named.tflite").write_bytes(tflite.renamed(given.read_bytes(), found))
    theirs_, ours = (Interpreter(str(path)) for path in (given, tmp_path / "named.tflite"))
    scores = []
    for opened, prefix, suffix in ((theirs_, "serving_default_", ":0"), (ours, "", "")):
        for details in opened.get_input_details():
            opened.resize_tensor_input(details["index"], [6000, 1])
        opened.allocate_tensors()
        for details in opened.get_input_details():
            name = details["name"].removeprefix(prefix).removesuffix(suffix)
            opened.set_tensor(details["index"], rows[name])
        opened.invoke()
        scores.append(opened.get_tensor(opened.get_output_details()[0]["index"]))
    assert (scores[0] == scores[1]).all()
    weights = [
        tflite.operators(p)["weight_bytes"].tolist() for p in (given, tmp_path / "named.tflite")
    ]
    assert weights[0] == weights[1]
    again = tflite.renamed((tmp_path / "named.tflite").read_bytes(), found_without(found))
    assert again == (tmp_path / "named.tflite").read_bytes(), "nothing to do: not a byte changes"


def found_without(found: Schema) -> Schema:
    from dataclasses import replace

    ends = (tuple(replace(t, in_file="") for t in ts) for ts in (found.inputs, found.outputs))
    inputs, outputs = ends
    return replace(found, inputs=inputs, outputs=outputs)


def test_an_onnx_file_is_scored_and_goes_through_mnn(home, tmp_path):
    path, (weights, bias) = logistic(tmp_path / "logistic.onnx", output="out/put:0")
    with pytest.raises(BadInput, match=r"X takes 5 values a row .* age, hour, price, rating, kind"):
        own.bring(path, TABLE, label="clicked", group="session")
    brought = own.bring(path, TABLE, label="clicked", group="session", in_order=True)
    found = registry.read_schema(brought.schema)
    assert found.columns == ["age", "hour", "price", "rating", "kind"]
    assert found.output.name == "out_put" and found.output.in_file == "out/put:0"
    x = np.random.default_rng(2).normal(0, 30, (700, 5)).astype(np.float32)
    wanted = 1 / (1 + np.exp(-(x.astype(np.float64) @ weights + bias)))
    with runtimes.open_model(path, found) as opened:
        assert np.abs(opened.score({"X": x}) - wanted).max() < 1e-6
        assert max(runtimes.batch_differences(opened, {"X": x}, [1, 7, 300])) < 1e-6
    mnn.convert(path, found, tmp_path / "logistic.mnn", trusted=True)
    with runtimes.open_model(tmp_path / "logistic.mnn", found) as opened:
        assert np.abs(opened.score({"X": x}) - wanted).max() < 1e-6
    assert frameworks.get("onnx").WITHOUT


def test_mnn_keeps_the_axes_of_a_picture_from_onnx(tmp_path):
    """From ONNX they are channels first; a host tensor in the other layout is wrong in silence."""
    import onnx as library
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(3)
    kernel = rng.normal(size=(4, 3, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["image", "k"], ["maps"], kernel_shape=[3, 3])
    ends = [("image", [None, 3, 8, 10]), ("maps", [None, 4, 6, 8])]
    info = [[helper.make_tensor_value_info(n, library.TensorProto.FLOAT, s)] for n, s in ends]
    graph = helper.make_graph([node], "conv", *info, [numpy_helper.from_array(kernel, "k")])
    opset = [helper.make_opsetid("", 13)]
    library.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "c.onnx")
    declared = Schema(
        "conv", (Tensor("image", shape=(3, 8, 10)),), (Tensor("maps", shape=(4, 6, 8)),)
    )
    image = rng.normal(size=(5, 3, 8, 10)).astype(np.float32)
    wanted = np.zeros((5, 4, 6, 8))
    for y in range(6):
        for x in range(8):
            wanted[:, :, y, x] = np.einsum(
                "ncij,kcij->nk", image[:, :, y : y + 3, x : x + 3], kernel
            )
    mnn.convert(tmp_path / "c.onnx", declared, tmp_path / "c.mnn", trusted=True)
    for file in ("c.onnx", "c.mnn"):
        with runtimes.open_model(tmp_path / file, declared) as opened:
            assert np.abs(opened.predict({"image": image})["maps"] - wanted).max() < 1e-4, file


def test_a_model_of_logits_is_told_and_judged_with_its_activation():
    values = np.array([[-3.0], [0.4], [5.0]], np.float32)
    output = Tensor("y", "score", (Dimension("y", ""),))
    with pytest.raises(BadInput, match=r"y goes from -3 to 5, .* --activation sigmoid"):
        own.check_decision(tasks.get("ranking"), output, values)
    own.check_decision(tasks.get("tensors"), output, values)
    task = tasks.get("ranking", activation="sigmoid")
    own.check_decision(task, output, values)
    assert np.allclose(task.decided(values), 1 / (1 + np.exp(-values)), atol=1e-7)
    assert tasks.get(**task.to_json()) == task
    classes = Tensor("c", shape=(3,))
    wide = np.array([[1.0, 2.0, 3.0], [300.0, 0.0, -300.0]], np.float32)
    with pytest.raises(BadInput, match="--activation softmax"):
        own.check_decision(tasks.get("classification"), classes, wide / 1000)
    own.check_decision(tasks.get("classification", activation="softmax"), classes, wide)
    soft = tasks.get("classification", activation="softmax").decided(wide)
    assert np.allclose(soft.sum(axis=1), 1) and np.allclose(
        soft[0], np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum()
    )


def test_an_activation_that_makes_no_probabilities_is_refused():
    """A softmax of one value is 1 whatever the file gives: every file would be the same."""
    score, classes = Tensor("y", shape=(1,)), Tensor("c", shape=(3,))
    values = np.array([[-3.0], [0.4]], np.float32)
    with pytest.raises(BadInput, match=r"y is one value .* always 1: .* --activation sigmoid"):
        own.check_decision(tasks.get("ranking", activation="softmax"), score, values)
    sigmoid = tasks.get("classification", activation="sigmoid")
    with pytest.raises(BadInput, match="c after its sigmoid has rows that add up to .* softmax"):
        own.check_decision(sigmoid, classes, np.repeat(values, 3, axis=1))
    whole = tasks.get("ranking", activation="sigmoid").decided(np.array([[-1], [2]], np.int32))
    assert np.allclose(whole, 1 / (1 + np.exp([[1], [-2]]))), "and is not cut to whole numbers"


@pytest.mark.parametrize("name", ["lambda", "custom"])
def test_code_in_a_keras_file_is_refused_with_the_way_to_bring_it(tmp_path, name):
    import keras

    x = keras.Input((2,), name="x")
    if name == "lambda":
        y = keras.layers.Lambda(lambda v: v * 2, name="twice")(x)
    else:

        @keras.saving.register_keras_serializable("somebody")
        class Twice(keras.layers.Layer):
            def call(self, v):
                return v * 2

        y = Twice(name="twice")(x)
    keras.Model(x, y).save(tmp_path / "code.keras")
    with pytest.raises(
        DamagedFile,
        match=r"(a Lambda layer \(twice\)|classes of its own \(Twice\)), which is code.*export",
    ):
        runtimes.interface(tmp_path / "code.keras")


@pytest.mark.parametrize("operator", savedmodel.REFUSED)
def test_a_saved_model_with_an_operator_that_does_more_than_compute_is_refused(tmp_path, operator):
    from tensorflow.core.protobuf import saved_model_pb2

    described = saved_model_pb2.SavedModel()
    function = described.meta_graphs.add().graph_def.library.function.add()
    function.node_def.add().op = operator
    (tmp_path / "graph").mkdir()
    (tmp_path / "graph/saved_model.pb").write_bytes(described.SerializeToString())
    savedmodel.pack(tmp_path / "graph", tmp_path / "graph.zip")
    with pytest.raises(DamagedFile, match=f"operator {operator}, which does more than compute"):
        savedmodel.unpack(tmp_path / "graph.zip", tmp_path / "unpacked")


def test_a_saved_model_that_reaches_files_is_refused(tmp_path):
    import tensorflow as tf

    class Reads(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 1), "float32", name="x")])
        def __call__(self, x):
            return {
                "y": x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), "float32")
            }

    module = Reads()
    tf.saved_model.save(module, str(tmp_path / "reads"), signatures=module.__call__)
    savedmodel.pack(tmp_path / "reads", tmp_path / "reads.zip")
    with pytest.raises(
        DamagedFile, match="has the operator ReadFile, which does more than compute"
    ):
        runtimes.interface(tmp_path / "reads.zip")


def test_outputs_of_a_keras_file_that_are_left_out_are_gone(tmp_path, home):
    import keras

    x = keras.Input((3,), name="x")
    y = keras.layers.Dense(2, name="y")(x)
    labels = keras.ops.argmax(y, axis=-1)
    keras.Model(x, {"y": y, "label": labels}).save(tmp_path / "two.keras")
    declared = Schema("two", (Tensor("x", shape=(3,)),), (Tensor("y", shape=(2,)),))
    rows = {"x": np.random.default_rng(1).random((9, 3), np.float32)}
    with runtimes.open_model(tmp_path / "two.keras", declared) as opened:
        scores = opened.score(rows)
    framework = frameworks.get("keras")
    trained = framework.load(tmp_path / "two.keras", declared)
    framework.export(trained, declared, tmp_path / "two.tflite")
    with runtimes.open_model(tmp_path / "two.tflite", declared) as opened:
        assert np.abs(opened.score(rows) - scores).max() < 1e-6 and scores.shape == (9, 2)


WHAT = {"kind": ([-1, 1], "int32"), "wide": ([-1, 3], "float32")}
GIVES = {"y": ([-1, 1], "float32")}


@pytest.mark.parametrize(
    ("inputs", "outputs", "columns", "options", "said"),
    [
        (
            WHAT,
            GIVES,
            ["kind", "a", "b"],
            {},
            "no column of the table is for the input wide: name it wide_0",
        ),
        (
            WHAT,
            GIVES,
            ["a", "b", "c"],
            {},
            "no column of the table is for the input kind: name it kind",
        ),
        (
            WHAT,
            GIVES,
            ["kind", "a", "b", "c"],
            {},
            "wide takes 3 values .* columns a, b, c, in this order",
        ),
        (
            {"x": ([-1, 3, -1], "float32")},
            GIVES,
            [],
            {},
            r"x takes \[3,\?\] values a row: say .* --shape x=",
        ),
        ({"x": ([-1, 3], "float64")}, GIVES, [], {}, "x is float64, a device takes float32"),
        (
            {"x": ([1, 3], "float32"), "z": ([2, 3], "float32")},
            GIVES,
            [],
            {},
            "do not take the same number",
        ),
        (WHAT, {"y": ([7, 1], "float32")}, [], {}, r"no output can be judged: y: its shape is \[7"),
        (WHAT, {"y": ([-1], "float32")}, [], {}, r"judged: y: its shape is \[-1\], .* \[-1, 1\]"),
        (
            WHAT,
            {**GIVES, "s": ([], "float32")},
            [],
            {"decides": "s"},
            r"output s cannot decide: its shape is \[\]",
        ),
        ({"x": ([], "float32")}, GIVES, [], {}, r"x has the shape \[\], an input has the rows"),
        (
            {"x": ([-1], "float32")},
            GIVES,
            [],
            {},
            r"x has the shape \[-1\], an .* export the model",
        ),
        (
            {"x": ([-1, 1, 3], "float32")},
            GIVES,
            ["x_0", "x_1", "x_2"],
            {"in_order": True},
            "for the input x: name it x, as lists of 3 values; there is",
        ),
        (
            {"x": ([-1, 3], "float32")},
            GIVES,
            [],
            {"shapes": {"y": (3,)}},
            "--shape y: there is no such input; there is: x",
        ),
        (
            {"x": ([-1, 3, -1], "float32")},
            GIVES,
            [],
            {"shapes": {"x": (5, 2)}},
            r"x takes \[3,\?\] values a row, and not --shape x=5,2",
        ),
        (WHAT, GIVES, [], {"decides": "z"}, "there is no output z; there is: y"),
    ],
)
def test_what_a_file_does_not_say_is_asked_for(inputs, outputs, columns, options, said):
    options = {"decides": None, "shapes": {}, "in_order": False, **options}
    with pytest.raises(BadInput, match=said):
        own.infer("x", inputs, outputs, columns, said=[], **options)


def test_an_output_that_no_row_has_is_left_out_and_that_is_said():
    said = []
    outputs = {"loss": ([], "float32"), "label": ([-1], "int64"), **GIVES}
    found = own.infer("x", WHAT, outputs, [], {}, False, None, said)
    assert found.output_names == ["y"]
    assert said[0].startswith("left out output loss: its shape is []")
    assert said[1].startswith("left out output label: its shape is [-1]") and len(said) == 2


def test_a_shape_fills_in_what_a_file_leaves_open():
    inputs = {"x:0": ([-1, 3, -1], "float32")}
    for name in ("x", "x:0"):
        found = own.infer("x", inputs, GIVES, [], {name: (3, 5)}, False, None, [])
        assert found.inputs[0].shape == (3, 5)


def test_columns_are_found_by_name_by_number_as_lists_or_in_order():
    def columns(*there, **options):
        found = own.infer("x", WHAT, GIVES, there, {}, options.get("in_order", False), None, [])
        return [[d.name for d in tensor.dimensions] for tensor in found.inputs]

    assert columns("wide_2", "wide_0", "kind", "wide_1") == [
        ["kind"],
        ["wide_0", "wide_1", "wide_2"],
    ]
    assert columns("wide", "kind", "more") == [["kind"], []]
    two_axes = {"x": ([-1, 1, 3], "float32"), "one": ([-1, 1, 1], "float32")}
    found = own.infer("x", two_axes, GIVES, ["x", "one"], {}, False, None, [])
    assert [tensor.dimensions for tensor in found.inputs] == [(), ()], "a column of lists each"
    assert columns("b", "kind", "a", "c", in_order=True) == [["kind"], ["b", "a", "c"]]


def test_a_schema_is_matched_by_name_and_never_by_place():
    declared = Schema(
        "x", (Tensor("a", shape=(2,)), Tensor("b", shape=(2,))), (Tensor("y", shape=(1,)),)
    )
    shape = ([-1, 2], "float32")
    found = own.match(
        declared, {"serving_default_b:0": shape, "a": shape}, {"out": ([-1, 1], "float32")}, "f"
    )
    assert [t.in_file for t in (*found.inputs, found.output)] == ["", "serving_default_b:0", "out"]
    short = Schema("x", (Tensor("age", shape=(2,)), Tensor("a", shape=(2,))), declared.outputs)
    found = own.match(short, {"a": shape, "age": shape}, {"y": ([-1, 1], "float32")}, "f")
    assert [t.in_file for t in found.inputs] == ["", ""], "one name is a part of the other"
    for inputs, said in (
        ({"c": shape, "a": shape}, "f has no input b; it has: c, a"),
        ({"a": shape, "b": shape, "c": shape}, "f takes c too: the schema lacks it"),
        (
            {"a": shape, "b": ([-1, 3], "float32")},
            r"b has the shape \[-1, 3\], the schema says \[-1, 2\]",
        ),
        ({"a": shape, "b": ([-1, 2], "int32")}, "b is int32, the schema says float32"),
        (
            {"a": shape, "b": ([4, 2], "float32")},
            r"b has the shape \[4, 2\], the schema says \[-1, 2\]",
        ),
    ):
        with pytest.raises(BadInput, match=said):
            own.match(declared, inputs, {"y": ([-1, 1], "float32")}, "f")


def test_what_was_inferred_is_kept_and_a_correction_is_used(home, tmp_path):
    path, _ = logistic(tmp_path / "mine.onnx")
    first = own.bring(path, TABLE, label="clicked", group="session", in_order=True)
    assert first.inferred and first.schema == home / "artifacts/mine/schema.json"
    content = json.loads(first.schema.read_text())
    assert content["inputs"][0]["dimensions"][0] == {
        "name": "age",
        "meaning": "",
        "low": 18.0,
        "high": 79.0,
    }
    content["inputs"][0]["dimensions"][0]["high"] = 120.0
    first.schema.write_text(json.dumps(content))
    again = own.bring(path, TABLE, label="clicked")
    assert not again.inferred
    for options in ({"shapes": {"X": (5,)}}, {"output": "y"}, {"in_order": True}):
        with pytest.raises(BadInput, match="the one in .*mine/schema.json says it: correct it"):
            own.bring(path, TABLE, label="clicked", **options)
    assert registry.get("mine").schema.inputs[0].dimensions[0].high == 120.0
    first.schema.write_text("{")
    with pytest.raises(BadInput, match=r"schema.json is no schema"):
        own.bring(path, TABLE, label="clicked")


def test_ranges_that_were_inferred_without_data_do_not_bind_a_table(home, tmp_path):
    path, _ = logistic(tmp_path / "mine.onnx")
    drawn = own.bring(path)
    assert json.loads(drawn.schema.read_text())["inputs"][0]["high"] == 1.0
    given = own.bring(path, TABLE, label="clicked", group="session", in_order=True)
    assert given.inferred and given.schema == drawn.schema
    assert any(line.startswith("changed  data, label, group, task, schema") for line in given.said)
    assert registry.get("mine").schema.inputs[0].dimensions[0].high == 79.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"group": "session"}, "--group is of a table: bring one with --data"),
        ({"in_order": True}, "--in-order is of a table"),
        ({"activation": "sigmoid"}, "--activation sigmoid is of scores: tensors are judged"),
    ],
)
def test_an_option_that_would_have_no_effect_is_refused(home, tmp_path, options, said):
    path, _ = logistic(tmp_path / "mine.onnx")
    with pytest.raises(BadInput, match=said):
        own.bring(path, **options)
    assert not (home / "artifacts").exists()


def test_without_data_rows_are_drawn_and_that_is_said_loudly(home, tmp_path):
    path, _ = logistic(tmp_path / "mine.onnx")
    brought = own.bring(path)
    assert brought.warning.startswith("NO DATA: ") and brought.inferred
    study = registry.get("mine")
    assert study.task == "tensors" and study.is_simulated("drawn")
    kept = sorted(brought.schema.parent.iterdir())
    with pytest.raises(BadInput, match="ranking needs a label: --label NAME"):
        own.bring(path, task="ranking", name="other")
    assert (
        not (home / "artifacts/other").exists() and sorted(brought.schema.parent.iterdir()) == kept
    )
    with pytest.raises(BadInput, match="there is no column clicked; there is: no table"):
        own.bring(path, label="clicked")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine.pth", "torch.export.save"),
        ("mine.h5", "is no model that is known: bring a .keras, .pt2, .tflite or .onnx file"),
        ("nowhere.onnx", "there is no model .*nowhere.onnx"),
        ("folder", "folder is no model that is known"),
    ],
)
def test_what_is_no_model_is_told(home, tmp_path, name, said):
    (tmp_path / "mine.h5").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput, match=said):
        own.bring(tmp_path / name)


@pytest.mark.parametrize("suffix", [".keras", ".tflite", ".onnx"])
def test_a_file_that_is_damaged_is_told_and_the_process_lives(home, tmp_path, suffix):
    (tmp_path / f"bad{suffix}").write_bytes(b"no model at all")
    with pytest.raises(DamagedFile, match=f"bad{suffix} is not a usable"):
        own.bring(tmp_path / f"bad{suffix}")


def test_a_model_in_a_study_has_a_build_function_or_a_file(home, tmp_path, theirs):
    from helpers.studies import Files, Model, Study

    with pytest.raises(BadInput, match="a build function or a file, not both"):
        Model("both", lambda: None, file="mine.keras")
    path, _ = logistic(tmp_path / "mine.onnx", width=2)
    tensor = Tensor("x", dimensions=(Dimension("age", ""), Dimension("hour", "")))
    declared = Schema("mine", (tensor,), (Tensor("y", "score", (Dimension("y", ""),)),))
    models = {"mine": Model(file="mine.onnx", tensors={"x": "X"})}
    study = Study("s", "S", declared, {"t": Files("t", "", ())}, models).beside(path)
    assert own.file_of(study, "mine") == path and study.schema_of("mine").inputs[0].in_file == "X"
    (tmp_path / "mine.onnx").unlink()
    with pytest.raises(BadInput, match="there is no model .*mine.onnx"):
        own.file_of(study, "mine")


def test_the_name_of_a_study_file_is_not_taken_over(home, tmp_path):
    path, _ = logistic(tmp_path / "mine.onnx")
    registry.keep("mine", {"source": str(tmp_path / "mine.py")})
    with pytest.raises(
        BadInput, match=r"'mine' already, of .*mine.py: give yours another with --n"
    ):
        own.bring(path)
    assert registry.record("mine") == {"source": str(tmp_path / "mine.py")}
    assert own.bring(path, name="other").study == "other"
    with pytest.raises(BadInput, match="there is a study 'feed' already: give yours another with"):
        own.bring(path, name="feed")


def test_the_stage_of_a_trained_model_is_not_taken_for_that_of_a_file(home, tmp_path, monkeypatch):
    path, _ = logistic(tmp_path / "mine.onnx")
    own.bring(path)
    stage = runs.Stage("02_keras_training", study="mine", run="default")
    stage.finish()
    with stage.run.edit() as record:
        notebook = files.notebook("02_keras_training")
        record["stages"]["02_keras_training"]["notebook_sha256"] = code.cells_sha256(notebook)
    (stage.run.folder / "notebooks").mkdir()
    shutil.copy(notebook, stage.run.folder / "notebooks")
    executed, said = [], []
    monkeypatch.setattr(pipeline, "_execute", lambda *stage: executed.append(stage[1].stem))
    for reuse in ({}, {"02": "default"}):
        run = "default" if not reuse else "other"
        pipeline.run("mine", run, chosen="02", reuse=reuse, page=False, echo=said.append)
    assert executed == ["02_trained_model"] * 2
    assert "was executed as another notebook, 02_keras_training: executing" in said[0]


def test_parameters_are_those_of_the_stages_that_a_brought_model_has(home, tmp_path):
    path, _ = logistic(tmp_path / "mine.onnx")
    own.bring(path)
    listed = CliRunner().invoke(cli.main, ["studies", "mine"]).output
    assert "  calibration_rows = 512 " in listed and "  epochs = " not in listed
    for name in re.findall(r"^  (\w+) = ", listed, re.MULTILINE):
        pipeline.requested("mine", {name: pipeline.default("mine", name)})


@pytest.mark.parametrize(
    ("shape", "said"),
    [("x", "'x' is not NAME=SIZES"), ("=3", "'' is not NAME="), ("x=3,y", "are whole numbers")],
)
def test_a_shape_that_is_none_is_told(home, shape, said):
    done = CliRunner().invoke(cli.main, ["check", "mine.onnx", "--shape", shape])
    assert done.exit_code == 2 and said in done.output


def test_an_onnx_file_that_keeps_its_weights_elsewhere_is_refused(home, tmp_path):
    import onnx as library

    path, _ = logistic(tmp_path / "big.onnx", width=400)
    model = library.load(path)
    library.save(model, path, save_as_external_data=True, location="big.bin", size_threshold=0)
    with pytest.raises(
        BadInput, match="big.onnx keeps its weights in another file: save it as one"
    ):
        own.bring(path)
    assert not home.exists()
    library.save(library.load(path), path, save_as_external_data=False)
    assert own.bring(path).study == "big"


def test_a_finished_file_of_integers_is_taken_as_it_is(trained, ranking, tmp_path):
    recipe = recipes.get("litert", "dynamic_int8")
    variants.make(recipe, trained.files["fp32.tflite"], ranking.schema, tmp_path / "theirs.tflite")
    assert variants.plain_recipe(tmp_path / "theirs.tflite") is recipes.GIVEN
    assert variants.plain_recipe(trained.files["fp32.tflite"]) is variants.PLAIN
    assert variants.plain_recipe(trained.files["model.keras"]) is variants.PLAIN
    assert recipes.oldest("litert", "given")


def test_a_zip_of_a_saved_model_is_the_same_bytes_each_time(theirs, tmp_path):
    folder = tmp_path / "saved"
    shutil.copytree(theirs / "saved", folder)
    for name, day in (("a", 1), ("b", 2)):
        for file in folder.rglob("*"):
            os.utime(file, (day * 86_400 + 10**9,) * 2)
        savedmodel.pack(folder, tmp_path / f"{name}.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert "saved_model.pb" in zipfile.ZipFile(tmp_path / "a.zip").namelist()
