"""A study of each kind through every stage: classes of pictures, several inputs, outputs and
models, a table of one's own, a fixed batch. Each is one file, and its bundle's C runner reproduces
its golden cases.
"""

import json

import numpy as np
import pandas as pd
import pytest
from support import PROJECT

from helpers.bundle import native

PICTURES = '''
"""`pictures`: which of four corners is bright; 12 x 12 pixels of three colours, eight bits each."""

import numpy as np

from helpers.schema import Schema, Tensor
from helpers.studies import Model, Simulated, Study

IMAGE = Tensor(
    "image", dtype="uint8", shape=(12, 12, 3), low=0, high=255, meaning="a picture, row by row, RGB"
)
SCHEMA = Schema(
    "pictures_model",
    (IMAGE,),
    (Tensor("corner", shape=(4,), meaning="probability of each corner"),),
)


def draw(rng, n_rows):
    image = rng.integers(0, 200, (n_rows, 12, 12, 3))
    corner, light = rng.integers(0, 4, n_rows), rng.integers(10, 56, n_rows)
    for which in range(4):
        y, x = 6 * (which // 2), 6 * (which % 2)
        image[:, y : y + 6, x : x + 6] += ((corner == which) * light)[:, None, None, None]
    return {"image": image.astype(np.uint8)}


def utility(inputs):
    quarters = inputs["image"].reshape(-1, 2, 6, 2, 6, 3).astype(np.float64).mean(axis=(2, 4, 5))
    return quarters.reshape(-1, 4) / 4


def build(hidden_units=16):
    import keras

    image = keras.Input(IMAGE.shape, name="image", dtype="uint8")
    x = keras.layers.Conv2D(4, 3, strides=3, activation="relu")(
        keras.layers.Rescaling(1 / 128, -1)(image)
    )
    x = keras.layers.Dense(hidden_units, activation="relu")(keras.layers.Flatten()(x))
    return keras.Model(
        image, keras.layers.Dense(4, activation="softmax", name="corner")(x), name="pictures_model"
    )


STUDY = Study(
    name="pictures",
    title="Corners",
    schema=SCHEMA,
    sources={"drawn": Simulated("drawn", "noise and a bright corner", draw, utility, None, 1.0, 1)},
    models={"small": Model("one convolution", build)},
    task="classification",
    defaults={"rows": 4000, "validation_rows": 1000, "test_rows": 4000, "epochs": 8},
)
'''
MIXED = '''
"""`mixed`: inputs of three dtypes, two outputs, two models."""

import numpy as np

from helpers.schema import Dimension, Schema, Tensor
from helpers.studies import Model, Simulated, Study

VALUES = Tensor("values", "user", tuple(Dimension(f"v{i}", "a value", -9, 9) for i in range(5)))
IDS = Tensor(
    "ids",
    "item",
    (Dimension("id", "an id", 0, 99), Dimension("parent", "its parent", 0, 9)),
    "int32",
)
HOUR = Tensor("hour", "context", (Dimension("hour", "hour of the day", 0, 23),), "int64")
SCORE = Tensor("score", "score", (Dimension("score", "probability of a click"),))
VECTOR = Tensor(
    "vector", "score", shape=(8,), low=-99, high=99, meaning="what a nearest neighbour search takes"
)
SCHEMA = Schema("mixed_model", (VALUES, IDS, HOUR), (SCORE, VECTOR))


def draw(rng, n_rows):
    parent = rng.integers(0, 10, n_rows)
    return {
        "values": rng.standard_normal((n_rows, 5), dtype=np.float32),
        "ids": np.stack([10 * parent + rng.integers(0, 10, n_rows), parent], axis=1).astype(
            np.int32
        ),
        "hour": rng.integers(0, 24, (n_rows, 1)),
    }


def utility(inputs):
    liked = inputs["values"][:, :2].sum(axis=1, dtype=np.float64)
    return liked * (inputs["ids"][:, 1] - 4.5) / 3 + (inputs["hour"][:, 0] - 12) / 12


def _build(names, hidden_units):
    import keras

    inputs = [
        keras.Input(t.shape, name=t.name, dtype=t.dtype) for t in SCHEMA.inputs if t.name in names
    ]
    scale = {"values": 1.0, "ids": 50.0, "hour": 12.0}
    parts = [keras.ops.cast(x, "float32") / scale[x.name] for x in inputs]
    x = keras.layers.Dense(hidden_units, activation="relu")(keras.layers.Concatenate()(parts))
    vector = keras.layers.Dense(8, name="vector")(x)
    score = keras.layers.Dense(1, activation="sigmoid", name="score")(keras.layers.ReLU()(vector))
    return keras.Model(inputs, {"score": score, "vector": vector}, name="mixed_model")


def build_all(hidden_units=16):
    return _build(("values", "ids", "hour"), hidden_units)


def build_some(hidden_units=16):
    return _build(("values", "ids"), hidden_units)


STUDY = Study(
    name="mixed",
    title="Mixed inputs",
    schema=SCHEMA,
    sources={"drawn": Simulated("drawn", "what some like", draw, utility, 0.0, 0.5, 10)},
    models={
        "all": Model("all inputs", build_all),
        "some": Model("not the hour", build_some, inputs=("values", "ids")),
    },
    defaults={"rows": 4000, "epochs": 8},
)
'''
TABLE = next(
    block.split("```")[0]
    for block in (PROJECT / "docs" / "studies.md")
    .read_text(encoding="utf-8")
    .split("```python\n")[1:]
    if "STUDY = Study(" in block
)
"""The study that docs/studies.md shows: clicks from a CSV file."""
FIXED = '''
"""`fixed`: four rows at a time, no labels: files are held to what the model gives."""

import numpy as np

from helpers.schema import Schema, Tensor
from helpers.studies import Model, Simulated, Study

SOUND = Tensor("sound", shape=(16, 4), low=-9, high=9, meaning="a short sound")
OUT = Tensor("embedding", shape=(6,), low=-99, high=99, meaning="its embedding")
SCHEMA = Schema("fixed_model", (SOUND,), (OUT,), batch=4)


def draw(rng, n_rows):
    return {"sound": rng.standard_normal((n_rows, 16, 4), dtype=np.float32)}


def build(hidden_units=16):
    import keras

    x = sound = keras.Input(SOUND.shape, batch_size=4, name="sound")
    x = keras.layers.Dense(hidden_units, activation="relu")(keras.layers.Reshape((64,))(x))
    return keras.Model(sound, keras.layers.Dense(6, name="embedding")(x), name="fixed_model")


STUDY = Study(
    name="fixed",
    title="Four at a time",
    schema=SCHEMA,
    sources={"drawn": Simulated("drawn", "noise", draw, None, None, 1.0, 1)},
    models={"plain": Model("one hidden layer", build)},
    task="tensors",
    limits={"relative": 0.2},
)
'''


def _clicks(folder, sessions: int = 900) -> None:
    """A click log whose sessions are cut into pieces that lie apart."""
    rng = np.random.default_rng(4)
    session = np.repeat([f"s{i}" for i in range(sessions)], 12)
    user = np.repeat(rng.random((sessions, 2)), 12, axis=0).round(4)
    price, kind = rng.random(len(session)).round(4), rng.integers(0, 10, len(session))
    utility = 8 * (user[:, 1] - 0.5) * (price - 0.5) + (kind == 3)
    clicked = (utility + 0.5 * rng.logistic(size=len(session)) > 0.3).astype(int)
    columns = {
        "session": session,
        "age": user[:, 0],
        "income": user[:, 1],
        "price": price,
        "kind": kind,
    }
    table = pd.DataFrame({**columns, "clicked": clicked}).sample(frac=1, random_state=1)
    table.to_csv(folder / "clicks.csv", index=False)


def _whole(folder, schema_outputs: int = 1) -> pd.DataFrame:
    """The comparison of a run, whose float32 files are the model, and whose bundle the C runner
    reproduces.
    """
    table = pd.read_csv(folder / "comparison.csv")
    plain = table[table["precision"] == "fp32"].set_index("runtime")
    assert (plain["verdict"] == "same").all() and {"keras", "litert"} <= set(plain.index), plain
    manifest = json.loads((folder / "bundle/model.json").read_text())
    assert len(manifest["schema"]["outputs"]) == schema_outputs
    for name in [
        name for name in ("model.tflite", "model.mnn") if (folder / "bundle" / name).is_file()
    ]:
        try:
            (folder / "built").mkdir(exist_ok=True)
            command = native.build(folder / "bundle/c", folder / "built", name)
        except native.NotHere as reason:
            pytest.skip(str(reason))
        outcome = native.run(command, folder / "bundle" / name, folder / "bundle/golden.bin")
        assert outcome.status == 0 and any(line.startswith("ok ") for line in outcome.lines), (
            outcome.lines
        )
    return table


@pytest.mark.slow
def test_classes_of_pictures(workbench_with, home):
    workbench_with("pictures", PICTURES)
    folder = home / "artifacts/pictures/r"
    table = _whole(folder)
    assert {"top1_agreement", "top3_accuracy", "accuracy_delta_low"} <= set(
        table
    ) and "auc" not in table
    assert table["accuracy"].max() > 0.5
    executed = (folder / "notebooks/01_synthetic_data.ipynb").read_text()
    assert (
        "Is it personal" not in executed
        and "Kendall" not in (folder / "notebooks/05_accuracy_latency.ipynb").read_text()
    )


@pytest.mark.slow
def test_two_models_three_dtypes_two_outputs(workbench_with, home):
    workbench_with("mixed", MIXED)
    folder = home / "artifacts/mixed/r"
    both = _whole(folder, schema_outputs=2)
    assert json.loads((folder / "model/config.json").read_text())["model"] == "all"
    workbench_with("mixed", MIXED, "-p", "model=some", run="some")
    some = _whole(home / "artifacts/mixed/some", schema_outputs=2)
    config = json.loads((home / "artifacts/mixed/some/model/config.json").read_text())
    assert config["model"] == "some" and [t["name"] for t in config["schema"]["inputs"]] == [
        "values",
        "ids",
    ]
    assert both["auc"].max() > some["auc"].max() > 0.6


@pytest.mark.slow
def test_a_table_of_ones_own(workbench_with, home, tmp_path):
    _clicks(tmp_path)
    workbench_with("clicks", TABLE)
    folder = home / "artifacts/clicks/r"
    table = _whole(folder)
    assert table["auc"].max() > 0.7 and "ndcg_at_10" in table
    executed = (folder / "notebooks/01_synthetic_data.ipynb").read_text()
    assert "Bayes" not in executed and "Is it personal" not in executed
    manifest = json.loads((folder / "data.json").read_text())
    assert sum(manifest["rows"].values()) == 900 * 12
    assert 0.05 < manifest["rows"]["test"] / (900 * 12) < 0.15


@pytest.mark.slow
def test_a_fixed_batch_without_labels(workbench_with, home):
    workbench_with("fixed", FIXED)
    folder = home / "artifacts/fixed/r"
    table = _whole(folder)
    assert {"cosine", "relative_error_p99"} <= set(table) and "accuracy" not in table
    assert "label" not in json.loads((folder / "data.json").read_text())["beside"]
    assert json.loads((folder / "model/config.json").read_text())["task"] == {
        "name": "tensors",
        "relative": 0.2,
        "cosine": 0.99,
    }
