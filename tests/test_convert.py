import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers import runs, runtimes
from helpers.convert import mnn, recipes, tflite, variants
from helpers.errors import BadInput, ConversionFailed, DamagedFile, ParityError
from helpers.evaluation import parity
from helpers.frameworks import keras as framework
from helpers.quiet import tensorflow
from helpers.schema import Dimension, Schema, Tensor


def test_tflite_names_order_and_batch_are_the_schema(trained, ranking):
    table = tflite.interface(trained.files["fp32.tflite"])
    assert table["tensor"].tolist() == [*ranking.schema.input_names, ranking.schema.output.name]
    assert table["shape"].tolist() == ["[-1, 10]", "[-1, 10]", "[-1, 5]", "[-1, 1]"]


def test_tflite_signature_carries_the_names(trained, ranking):
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(trained.files["fp32.tflite"])).get_signature_runner("serving_default")
    inputs = {name: array[:1] for name, array in trained.reference.inputs.items()}
    assert abs(runner(**inputs)["ranking_score"] - trained.reference.scores[:1]).max() < 1e-6


def test_the_plain_converter_still_needs_this(trained, ranking):
    """If this fails, TFLiteConverter keeps names and order by itself, and `tflite.named` can go."""
    with framework.plain(trained.model) as path:
        assert tflite.interface(path)["tensor"].tolist()[:3] != ranking.schema.input_names


@pytest.mark.parametrize("file", ["fp32.tflite", "fp32.mnn"])
def test_conversion_repeats_byte_for_byte(trained, ranking, tmp_path, file):
    again = tmp_path / file
    if file.endswith("tflite"):
        framework.export(trained.model, ranking.schema, again)
    else:
        mnn.convert(trained.files["fp32.tflite"], ranking.schema, again)
    assert again.read_bytes() == trained.files[file].read_bytes()


def test_operators_hold_the_weights_of_the_model(trained):
    table = tflite.operators(trained.files["fp32.tflite"])
    assert table["operator"].tolist() == [
        "CONCATENATION",
        "FULLY_CONNECTED",
        "FULLY_CONNECTED",
        "LOGISTIC",
    ]
    assert table["weight_bytes"].sum() == 4 * 433


def test_conversion_prints_nothing(trained, ranking, tmp_path, capfd):
    framework.export(trained.model, ranking.schema, tmp_path / "a.tflite")
    mnn.convert(tmp_path / "a.tflite", ranking.schema, tmp_path / "a.mnn")
    assert capfd.readouterr() == ("", "")


def test_session_inputs_are_found_by_name(trained, ranking):
    import MNN

    interpreter = MNN.Interpreter(str(trained.files["fp32.mnn"]))
    session = interpreter.createSession({"backend": "CPU", "numThread": 1})
    for tensor in ranking.schema.inputs:
        assert interpreter.getSessionInput(session, tensor.name).getShape() == (1, *tensor.shape)


def test_mnn_failures_are_found_whatever_the_converter_says(trained, ranking, tmp_path):
    source = trained.files["fp32.tflite"]
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(source.read_bytes()[:2000])
    with pytest.raises(DamagedFile, match="there is no file"):
        mnn.convert(tmp_path / "none.tflite", ranking.schema, tmp_path / "a.mnn")
    with pytest.raises(DamagedFile, match="cut.tflite is not a usable TFLite file"):
        mnn.convert(cut, ranking.schema, tmp_path / "a.mnn")
    with pytest.raises(ConversionFailed, match="wrote no file"):
        mnn.convert(source, ranking.schema, tmp_path / "nowhere" / "a.mnn")
    with pytest.raises(ConversionFailed, match="static batch"):
        mnn.convert(source, ranking.schema, tmp_path / "a.mnn", options=["--saveStaticModel"])
    assert not (tmp_path / "a.mnn").exists()


def test_an_older_output_never_passes_for_the_new_one(trained, ranking, tmp_path):
    target = tmp_path / "a.mnn"
    target.write_bytes(trained.files["fp32.mnn"].read_bytes())
    with pytest.raises(ConversionFailed):
        mnn.convert(
            trained.files["fp32.tflite"],
            ranking.schema,
            target,
            options=["--modelFile", "/nonexistent.tflite"],
        )
    assert not target.exists()


def test_inputs_named_for_each_other_are_caught(trained, ranking, tmp_path):
    """What a converter that mixes up two inputs of one width writes: a file that opens, binds and
    scores.
    """
    import keras

    inputs = {t.name: keras.Input(t.shape, name=t.name) for t in ranking.schema.inputs}
    exchanged = {
        **inputs,
        "user_features": inputs["item_features"],
        "item_features": inputs["user_features"],
    }
    wrong = keras.Model(list(inputs.values()), trained.model(exchanged))
    framework.export(wrong, ranking.schema, tmp_path / "wrong.tflite")
    model = runtimes.open_model(tmp_path / "wrong.tflite", ranking.schema)
    with pytest.raises(ParityError, match="wrong order"):
        parity.require_same(model, trained.reference, "wrong.tflite")


def test_reduced_precision_is_not_taken_for_fp32(trained, ranking, tmp_path):
    path = tmp_path / "reduced.mnn"
    mnn.convert(
        trained.files["fp32.tflite"],
        ranking.schema,
        path,
        options=recipes.get("mnn", "fp16").options,
    )
    with pytest.raises(ParityError, match="does not score as its reference"):
        parity.require_same(
            runtimes.open_model(path, ranking.schema), trained.reference, "reduced.mnn"
        )


def test_the_entries_are_the_quantizers_own_recipes():
    """Our rows say the same as ai-edge-quantizer's functions of that meaning, which may move on."""
    from ai_edge_quantizer import recipe

    theirs = {
        "dynamic_int8": recipe.dynamic_wi8_afp32,
        "weight_int8": recipe.weight_only_wi8_afp32,
        "dynamic_int4": recipe.dynamic_wi4_afp32,
        "weight_int4": recipe.weight_only_wi4_afp32,
        "int8": recipe.static_wi8_ai8,
        "int16x8": recipe.static_wi8_ai16,
    }
    for precision, make in theirs.items():
        (entry,) = make()
        ours = recipes.get("litert", precision).options[0]
        assert ours["algorithm_key"] == entry["algorithm_key"]
        for key, value in ours["op_config"].items():
            given = entry["op_config"][key]
            expected = {k: given[k] for k in value} if isinstance(value, dict) else given
            assert value == expected, (precision, key)


def test_every_recipe_is_decoded_and_named_once():
    names = [(recipe.runtime, recipe.precision) for recipe in recipes.RECIPES]
    assert len(set(names)) == len(names)
    assert all(
        len(recipe.decoded) > 10 and recipe.trade_off.endswith(".") for recipe in recipes.RECIPES
    )
    with pytest.raises(BadInput, match="there is no recipe mnn int2; there is: litert fp32"):
        recipes.get("mnn", "int2")
    every = [*recipes.table("mnn").index, *recipes.table("mnn", of_onnx=True).index]
    assert every == [f"mnn {name}" for runtime, name in names if runtime == "mnn"]
    assert set(recipes.table("mnn", "fp32.tflite")["made of"]) == {"fp32.tflite"}


@pytest.mark.parametrize("first", [("keras", "model/model.keras"), ("onnx", "model/model.onnx")])
def test_a_comparison_is_in_the_order_of_the_recipes_behind_the_trained_model(first):
    """As are the tables of each tool: also what was not made, and what nothing here can judge."""
    suffixes = {"litert": ".tflite", "mnn": ".mnn", "onnx": ".onnx", "coreml": ".mlpackage.zip"}
    rows = [
        (recipe.runtime, recipe.precision, f"{recipe.runtime}/{recipe.precision}{suffix}")
        for recipe in recipes.RECIPES
        for suffix in [suffixes[recipe.runtime]]
    ]
    rows[5] = (*rows[5][:2], np.nan)
    wanted = [
        (first[0], "fp32", first[1]),
        *rows,
        ("mnn", "of_tomorrow", "mnn/of_tomorrow.mnn"),
    ]
    table = pd.DataFrame(wanted, columns=["runtime", "precision", "file"])
    mixed = recipes.ordered(table.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(mixed, table)
    assert recipes.place("litert given") < recipes.place("litert fp16")


@pytest.fixture(scope="module")
def made(trained, ranking, tmp_path_factory):
    """Every recipe of both tools made from the trained model, and the home they were made in."""
    home = tmp_path_factory.mktemp("made")
    calibration = home / "calibration.npz"
    np.savez(
        calibration, **{name: array[:512] for name, array in trained.splits["train"][0].items()}
    )
    todo = [*recipes.reduced("litert"), *recipes.of("mnn")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_HOME", str(home))
        stage = runs.Stage("03_made", study="ranking", run="made")
        source, schema = trained.files["fp32.tflite"], ranking.schema
        outcomes = variants.make_all(stage, todo, source, schema, trained.reference, calibration)
    files = {
        (o.recipe.runtime, o.recipe.precision): stage.run.folder / o.file
        for o in outcomes
        if o.file
    }
    return SimpleNamespace(outcomes=outcomes, files=files, calibration=calibration, stage=stage)


def test_both_tools_make_every_recipe(made):
    assert [o.reason for o in made.outcomes if o.file is None] == []
    assert len(made.outcomes) == len(recipes.of("litert")) + len(recipes.of("mnn")) - 1
    for outcome in made.outcomes:
        assert (outcome.parity.verdict == "same") == (not outcome.recipe.reduced)
        assert outcome.parity.kendall_tau > 0.9, outcome


def test_nothing_is_left_beside_the_files(made):
    folders = [made.stage.run.folder / name for name in ("tflite", "mnn")]
    left = sorted(path.name for folder in folders for path in folder.iterdir())
    assert left == sorted(path.name for path in made.files.values())


def _weight_types(path):
    found = tflite.operators(path)["weights"].str.findall(r"(\w+)\[").explode().dropna()
    return set(found)


@pytest.mark.parametrize(
    ("precision", "types"),
    [
        ("fp16", {"float16", "float32"}),
        ("weight_int8", {"int8", "float32"}),
        ("dynamic_int8", {"int8", "float32"}),
        ("int8", {"int8", "int32"}),
        ("int16x8", {"int8", "int64"}),
        ("weight_int4", {"int4", "float32"}),
        ("dynamic_int4", {"int4", "float32"}),
    ],
)
def test_a_tflite_recipe_stores_what_its_name_says(made, precision, types):
    assert _weight_types(made.files["litert", precision]) <= types
    assert _weight_types(made.files["litert", precision]) & (types - {"float32", "int32", "int64"})


@pytest.mark.parametrize("precision", [r.precision for r in recipes.reduced("litert")])
def test_a_reduced_tflite_keeps_names_order_and_batch(made, ranking, precision):
    table = tflite.interface(made.files["litert", precision])
    assert table["tensor"].tolist() == [*ranking.schema.input_names, ranking.schema.output.name]
    assert table["shape"].str.startswith("[-1").all() and (table["dtype"] == "float32").all()


def _quantised(weights, levels):
    """Weights rounded to `levels` steps a side, a scale for each output channel: a reference in
    three lines.
    """
    scale = np.abs(weights).max(axis=0, keepdims=True) / levels
    return np.clip(np.round(weights / scale), -levels, levels) * scale


@pytest.mark.parametrize("runtime", ["litert", "mnn"])
@pytest.mark.parametrize(("precision", "levels"), [("weight_int8", 127), ("weight_int4", 7)])
def test_weight_recipes_score_as_rounded_weights_do(
    made, trained, ranking, runtime, precision, levels
):
    """Against NumPy in float64, each weight rounded to the nearest of its channel's steps.

    LiteRT does just that, up to a weight between two steps that float32 rounds the other way. MNN
    fits its steps to the weights: its error must not be larger than that of the plain rounding.
    """
    inputs = {name: array[:500] for name, array in trained.reference.inputs.items()}
    w1, b1, w2, b2 = (w.astype(np.float64) for w in trained.model.get_weights())
    joined = np.hstack(
        [inputs[name] for name in ("user_features", "item_features", "context_features")]
    )
    hidden = np.maximum(joined @ _quantised(w1, levels) + b1, 0)
    rounded = 1 / (1 + np.exp(-(hidden @ _quantised(w2, levels) + b2)))
    scores = runtimes.open_model(
        made.files[runtime, precision], ranking.schema, trusted=True
    ).score(inputs)
    if runtime == "litert":
        assert np.median(np.abs(scores - rounded)) < 1e-5
    else:
        plain, fitted = (
            np.abs(s - trained.reference.scores[:500]).mean() for s in (rounded, scores)
        )
        assert 0 < fitted < 1.1 * plain


def test_making_a_recipe_again_gives_the_same_bytes(made, trained, ranking, tmp_path):
    for runtime, precision in (("litert", "int8"), ("mnn", "weight_int4_hqq"), ("mnn", "int8")):
        path = tmp_path / f"again.{'mnn' if runtime == 'mnn' else 'tflite'}"
        recipe = recipes.get(runtime, precision)
        variants.make(
            recipe, trained.files["fp32.tflite"], ranking.schema, path, calibration=made.calibration
        )
        assert path.read_bytes() == made.files[runtime, precision].read_bytes(), precision


def test_integer_weights_of_mnn_have_the_zero_points_that_their_recipes_tell(made):
    """MNN's option for zero points means the contrary without a value."""
    told = {r.precision: r for r in recipes.of("mnn") if r.precision.startswith("weight_")}
    assert {*told} == {"weight_int8", "weight_int8_symmetric", "weight_int4", "weight_int4_hqq"}
    for precision, recipe in told.items():
        found = mnn.integer_weights(made.files["mnn", precision])
        zero = "zero point" in recipe.decoded and "no zero point" not in recipe.decoded
        assert [*found.values()] == [zero] * 2, precision
    assert mnn.integer_weights(made.files["mnn", "fp32"]) == {}


def test_a_recipe_that_a_tool_refuses_is_reported_and_the_others_go_on(
    made, trained, ranking, home
):
    """A block of 32 weights does not divide the 25 inputs of the first layer: the quantizer says so
    itself.
    """
    blocks = {"num_bits": 4, "symmetric": True, "granularity": "BLOCKWISE_32", "dtype": "INT"}
    entry = recipes._entry(
        weight_tensor_config=blocks, compute_precision="INTEGER", explicit_dequantize=False
    )
    refused = recipes.Recipe("litert", "blocks", "", "", (entry,))
    killed = recipes.Recipe(
        "mnn", "killed", "", "", ("--weightQuantBits", "8", "--compressionParamsFile", "/")
    )
    stage = runs.Stage("03_made", study="ranking", run="made")
    said = []
    outcomes = variants.make_all(
        stage,
        [refused, killed, recipes.get("litert", "fp16")],
        trained.files["fp32.tflite"],
        ranking.schema,
        trained.reference,
        made.calibration,
        echo=said.append,
    )
    assert [o.file for o in outcomes][0] is None and outcomes[-1].file == "tflite/fp16.tflite"
    assert (
        "ai-edge-quantizer:" in outcomes[0].reason
        and "tflite/blocks.tflite was not made" in said[0]
    )
    table = variants.table(outcomes)
    assert (
        table.loc["litert blocks", "verdict"] == "not made"
        and "ai-edge-quantizer" in table.loc["litert blocks", "why"]
    )
    assert list(stage.outputs) == [o.file for o in outcomes if o.file]
    variants.record(stage, "tflite", outcomes)
    assert (
        variants.not_judged([stage.run.folder / "tflite/recipes.csv"]).index[0] == "litert blocks"
    )
    with np.load(stage.run.folder / "tflite/judged.npz", allow_pickle=False) as kept:
        assert set(kept.files) == {"judgements", *(o.name for o in outcomes if o.file)}


def test_a_float32_file_that_cannot_be_made_is_reported_and_the_others_go_on(
    made, trained, ranking, home
):
    broken = recipes.Recipe("mnn", "fp32", "", "", ("--modelFile", "/nonexistent.tflite"))
    stage = runs.Stage("04_made", study="ranking", run="made")
    arguments = (trained.files["fp32.tflite"], ranking.schema, trained.reference, made.calibration)
    outcomes = variants.make_all(stage, [broken, recipes.get("mnn", "fp16")], *arguments)
    assert [o.file for o in outcomes] == [None, "mnn/fp16.mnn"] and "wrote no file" in outcomes[
        0
    ].reason
    assert outcomes[1].scores.shape == trained.reference.scores.shape
    assert variants.plain_figures(outcomes) == {}
    assert (
        variants.plain_figures(made.outcomes)["bytes"] == made.files["mnn", "fp32"].stat().st_size
    )


def test_an_operator_that_mnn_does_not_have_is_named_with_its_cure(tmp_path):
    """Keras' own Embedding with a mask; helpers.layers.Lookup converts, and scores as it
    does.
    """
    tensorflow()
    import keras

    from helpers.layers import Lookup

    schema = Schema(
        "ids",
        (Tensor("user", "user", (Dimension("id", "", 0, 9),), "int32"),),
        (Tensor("score", "score", (Dimension("s", ""),)),),
    )

    def convert(layer, name):
        user = keras.Input((1,), name="user", dtype="int32")
        model = keras.Model(
            [user], keras.layers.Dense(1, activation="sigmoid")(keras.layers.Flatten()(layer(user)))
        )
        framework.export(model, schema, tmp_path / f"{name}.tflite")
        mnn.convert(tmp_path / f"{name}.tflite", schema, tmp_path / f"{name}.mnn")
        return model

    with pytest.raises(
        ConversionFailed,
        match=r"does not have the operator SELECT_V2 \(a Keras Embedding .*layers.Lookup",
    ):
        convert(keras.layers.Embedding(10, 4, mask_zero=True), "embedding")  # others are cured
    model = convert(Lookup(10, 4), "lookup")
    ids = {"user": np.arange(10, dtype=np.int32).reshape(-1, 1)}
    with runtimes.open_model(tmp_path / "lookup.mnn", schema) as opened:
        np.testing.assert_allclose(opened.score(ids), np.asarray(model(ids)), rtol=0, atol=1e-6)


def test_an_operator_that_tensorflow_lite_does_not_have_is_named(tmp_path, ranking):
    tensorflow()
    import keras

    class LeftOn(keras.layers.Layer):
        """Dropout whatever it is told."""

        def call(self, x):
            return keras.random.dropout(x, 0.5, seed=1)

    inputs = [keras.Input(t.shape, name=t.name) for t in ranking.schema.inputs]
    hidden = LeftOn()(keras.layers.Concatenate()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    with pytest.raises(
        ConversionFailed, match="does not have Stateless.*Random.*such as dropout"
    ) as caught:
        framework.export(model, ranking.schema, tmp_path / "x.tflite")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("precision", ["int8", "int16x8"])
def test_ranges_of_a_fixed_batch_are_those_of_all_rows(tmp_path, precision):
    import keras

    keras.utils.set_random_seed(3)
    weights = keras.layers.Dense(6, activation="relu", name="out")
    rows = np.random.default_rng(1).standard_normal(
        (10, 5), dtype=np.float32
    )  # not a multiple of 4
    np.savez(tmp_path / "rows.npz", x=rows)
    output = Tensor("out", shape=(6,), low=0, high=99)
    scores = {}
    for batch in (None, 4):
        schema = Schema("m", (Tensor("x", shape=(5,), low=-9, high=9),), (output,), batch=batch)
        x = keras.Input((5,), batch_size=batch, name="x")
        plain, path = tmp_path / f"{batch}.tflite", tmp_path / f"{batch}-{precision}.tflite"
        framework.export(keras.Model(x, weights(x)), schema, plain)
        options = recipes.get("litert", precision).options
        tflite.quantise(plain, schema, path, options, calibration=tmp_path / "rows.npz")
        scores[batch] = runtimes.open_model(path, schema).predict({"x": rows})["out"]
    np.testing.assert_array_equal(scores[None], scores[4])


def test_the_converter_leaves_nothing_in_the_working_directory_while_it_is_at_work(
    trained, ranking, tmp_path, monkeypatch
):
    here, seen, done = tmp_path / "here", set(), threading.Event()
    here.mkdir()
    monkeypatch.chdir(here)
    shutil.copy(trained.files["fp32.tflite"], tmp_path / "fp32.tflite")
    plain = Path("../fp32.mnn")

    def watch():
        while not done.wait(0.001):
            seen.update(os.listdir(here))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        mnn.convert(Path("../fp32.tflite"), ranking.schema, plain)
        calibration, settings = tmp_path / "rows.npz", recipes.get("mnn", "int8").calibration
        rows = {name: array[:8] for name, array in trained.reference.inputs.items()}
        np.savez(calibration, **rows)
        mnn.quantise(plain, ranking.schema, Path("../int8.mnn"), calibration, settings)
    finally:
        done.set()
        watcher.join()
    assert not seen and plain.is_file() and (tmp_path / "int8.mnn").is_file()


def test_the_files_hold_nothing_that_no_runtime_reads(trained):
    """The bytes that the published model takes on a phone: 1,732 of them are its weights."""
    from ai_edge_litert import schema_py_generated as flat

    content = trained.files["fp32.tflite"].read_bytes()
    assert len(content) <= 3200 and trained.files["fp32.mnn"].stat().st_size <= 3600
    model = flat.ModelT.InitFromObj(flat.Model.GetRootAs(content))
    graph = model.subgraphs[0]
    assert model.metadata is None and model.description is None
    assert [buffer.data is None for buffer in model.buffers] == [True] + [False] * 4
    assert sum(len(buffer.data) for buffer in model.buffers[1:]) == 4 * 433
    assert max(len(tensor.name) for tensor in graph.tensors) <= len("context_features")
    assert len({tensor.name for tensor in graph.tensors}) == len(graph.tensors)


@pytest.mark.parametrize("precision", ["fp16", "weight_int8", "int8"])
def test_weights_that_lie_behind_the_flatbuffer_are_kept(tmp_path, precision):
    """Where ai-edge-quantizer puts those of models above a megabyte."""
    tensorflow()
    import keras

    schema = Schema(
        "wide", (Tensor("x", shape=(700,), low=-1, high=1),), (Tensor("y", shape=(8,)),)
    )
    keras.utils.set_random_seed(1)
    x = keras.Input((700,), name="x")
    hidden = keras.layers.Dense(400, "tanh")(x)
    model = keras.Model(x, keras.layers.Dense(8, "sigmoid", name="y")(hidden))
    rows = {"x": np.random.default_rng(1).uniform(-1, 1, (500, 700)).astype(np.float32)}
    source, path = tmp_path / "fp32.tflite", tmp_path / f"{precision}.tflite"
    framework.export(model, schema, source)
    np.savez(tmp_path / "rows.npz", **rows)
    recipe = recipes.get("litert", precision)
    variants.make(recipe, source, schema, path, calibration=tmp_path / "rows.npz")
    with runtimes.open_model(path, schema) as opened:
        difference = np.abs(opened.score(rows) - model.predict(rows["x"], verbose=0)).max()
    assert 1e-6 < difference < 0.05 and path.stat().st_size < 0.6 * source.stat().st_size
    assert tflite.operators(path)["weight_bytes"].sum() > 250_000
