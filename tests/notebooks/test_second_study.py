"""Adding a study is adding one file, which shares nothing with those that are there."""

import json

import pandas as pd
import pytest

SMALL = ("-p", "rows=2000", "-p", "epochs=3")
STUDY = '''
"""`clicks`: a query against a document; two inputs of different width, no published figures."""

import numpy as np

from helpers.schema import Dimension, Schema, Tensor
from helpers.studies import Model, Simulated, Study

QUERY = Tensor("query_vec", "user", tuple(Dimension(f"q{i}", "") for i in range(3)))
DOCUMENT = Tensor("doc_vec", "item", tuple(Dimension(f"d{i}", "") for i in range(5)))
SCHEMA = Schema(
    "clicks_model", (QUERY, DOCUMENT), (Tensor("click", "score", (Dimension("score", ""),)),)
)


def draw(rng, n_rows):
    return {
        t.name: rng.standard_normal((n_rows, *t.shape), dtype=np.float32) for t in SCHEMA.inputs
    }


def utility(inputs):
    return (inputs["query_vec"] * inputs["doc_vec"][:, :3]).sum(axis=1, dtype=np.float64)


def build_model(hidden_units=8):
    import keras

    inputs = [keras.Input(t.shape, name=t.name) for t in SCHEMA.inputs]
    hidden = keras.layers.Dense(hidden_units, activation="relu")(keras.layers.Concatenate()(inputs))
    return keras.Model(
        inputs,
        keras.layers.Dense(1, activation="sigmoid", name="click")(hidden),
        name="clicks_model",
    )


PLAIN = Simulated("plain", "a dot product", draw, utility, 0.0, 0.5, 10)
STUDY = Study("clicks", "Clicks", SCHEMA, {"plain": PLAIN}, {"plain": Model("", build_model)})
'''
EMBEDDING = '''
"""`topics`: a topic against a document, by an Embedding with a mask, which MNN lacks."""

import numpy as np

from helpers.schema import Dimension, Schema, Tensor
from helpers.studies import Model, Simulated, Study

TOPIC = Tensor("topic", "user", (Dimension("id", "topic", 0, 9),), "int32")
DOCUMENT = Tensor("doc_vec", "item", tuple(Dimension(f"d{i}", "") for i in range(5)))
SCHEMA = Schema(
    "topics_model", (TOPIC, DOCUMENT), (Tensor("click", "score", (Dimension("score", ""),)),)
)


def draw(rng, n_rows):
    topics = rng.integers(0, 10, (n_rows, 1), dtype=np.int32)
    return {"topic": topics, "doc_vec": rng.standard_normal((n_rows, 5), dtype=np.float32)}


def utility(inputs):
    return np.take_along_axis(inputs["doc_vec"], inputs["topic"] % 5, axis=1)[:, 0].astype(
        np.float64
    )


def build_model(hidden_units=8):
    import keras

    topic, document = (keras.Input(t.shape, name=t.name, dtype=t.dtype) for t in SCHEMA.inputs)
    looked_up = keras.layers.Flatten()(keras.layers.Embedding(10, 5, mask_zero=True)(topic))
    hidden = keras.layers.Dense(hidden_units, activation="relu")(
        keras.layers.Concatenate()([looked_up, document])
    )
    score = keras.layers.Dense(1, activation="sigmoid", name="click")(hidden)
    return keras.Model([topic, document], score, name="topics_model")


PLAIN = Simulated("plain", "a place of a row", draw, utility, 0.0, 0.5, 10)
STUDY = Study("topics", "Topics", SCHEMA, {"plain": PLAIN}, {"plain": Model("", build_model)})
'''


@pytest.mark.slow
def test_what_one_tool_refuses_is_a_row_and_the_run_goes_on(workbench_with, home):
    workbench_with("topics", EMBEDDING, *SMALL)
    folder = home / "artifacts/topics/r"
    table = pd.read_csv(folder / "comparison.csv").set_index(["runtime", "precision"])
    refused = table.loc["mnn"]
    assert (refused["verdict"] == "not made").all() and refused["file"].isna().all()
    assert refused.loc["fp32", "reason"].startswith(
        "MNN does not have the operator SELECT_V2 (a Keras Embedding becomes"
    )
    assert "helpers.layers.Lookup" in refused.loc["fp32", "reason"]
    assert (
        table.loc[("litert", "fp32"), "verdict"] == "same"
        and table.loc[("litert", "fp32"), "latency_ratio"] == 1
    )
    assert json.loads((folder / "recommendation.json").read_text())["file"].startswith("tflite/")
    bundled = {path.name for path in (folder / "bundle").iterdir()}
    assert "model.tflite" in bundled and "model.mnn" not in bundled and "bundle.zip" in bundled


@pytest.mark.slow
def test_a_second_study_runs_through_every_stage_unchanged(workbench_with, home):
    workbench_with("clicks", STUDY, *SMALL)
    table = pd.read_csv(home / "artifacts/clicks/r/comparison.csv")
    plain = table["precision"].str.startswith("fp32")
    assert len(table) > 10 and (table["verdict"][plain] == "same").all()
    assert workbench_with("clicks", STUDY, *SMALL).count("nothing to do") == 6
    output = workbench_with("clicks", STUDY.replace("[:, :3]", "[:, 1:4]"), *SMALL)
    assert "was executed with other code" in output and "clicks.py has changed since" in output
    assert output.count("  done in ") == 6
