"""The bundle of a finished run: what is chosen, what the zip holds, and its command line."""

import json
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
from support import workbench

from helpers.bundle import archive, golden, make
from helpers.convert import recipes
from helpers.errors import BadInput
from helpers.frameworks import keras as framework
from helpers.schema import Dimension, Schema, Tensor


@pytest.fixture
def folder(finished):
    return finished.home / "artifacts/ranking/default/bundle"


@pytest.fixture
def comparison(finished) -> pd.DataFrame:
    return pd.read_csv(finished.home / "artifacts/ranking/default/comparison.csv")


def test_the_recommended_file_and_its_likes_are_chosen(comparison):
    fp32 = {"model.tflite": "tflite/fp32.tflite", "model.mnn": "mnn/fp32.mnn"}
    assert make.choose(comparison, "tflite/fp32.tflite") == fp32
    assert make.choose(comparison, "mnn/fp16.mnn")["model.tflite"] == "tflite/fp16.tflite"
    assert make.choose(comparison, None, "mnn fp16")["model.mnn"] == "mnn/fp16.mnn"
    only = make.choose(comparison, None, "litert int16x8")
    assert only == {"model.tflite": "tflite/int16x8.tflite", "model.mnn": "mnn/fp32.mnn"}, (
        "no such precision in MNN"
    )


@pytest.mark.parametrize(
    "recommended, variant, message",
    [
        (None, "recommended", "nothing is recommended; there is: litert fp32"),
        (
            "tflite/fp32.tflite",
            "mnn fp64",
            "there is no variant 'mnn fp64' to ship; there is: litert fp32",
        ),
        ("tflite/fp32.tflite", "keras fp32", "no variant 'keras fp32'"),
    ],
)
def test_what_cannot_be_shipped_is_refused(comparison, recommended, variant, message):
    with pytest.raises(BadInput, match=message):
        make.choose(comparison, recommended, variant)


def test_a_broken_file_is_never_shipped(comparison):
    comparison.loc[comparison["file"] == "mnn/fp16.mnn", "verdict"] = "broken"
    with pytest.raises(BadInput, match="mnn fp16"):
        make.choose(comparison, None, "mnn fp16")
    assert make.choose(comparison, None, "litert fp16")["model.mnn"] == "mnn/fp32.mnn"


def test_every_recipe_says_which_runtime_it_needs():
    assert {recipes.oldest(r.runtime, r.precision)[0] for r in recipes.of("litert")} == {
        "tflite",
        "litert",
    }
    assert make.minimum_versions(
        {"model.tflite": "tflite/int8.tflite", "model.mnn": "mnn/fp32.mnn"}
    ) == {
        "tflite": "2.14.0",
        "mnn": "3.1.0",
    }


def test_the_zip_is_what_a_phone_needs_and_the_handover_is_everything(folder):
    phone = {"model.tflite", "model.mnn", "model.json", "golden.json", "golden.bin"}
    with zipfile.ZipFile(folder / "bundle.zip") as zipped:
        assert set(zipped.namelist()) == phone
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    with zipfile.ZipFile(folder / "handover.zip") as zipped:
        assert set(zipped.namelist()) == files - {"handover.zip"}
        assert all(zipped.read(name) == (folder / name).read_bytes() for name in zipped.namelist())
    assert {"README.md", "c/run_tflite.c", "c/run_mnn.cpp", "c/CMakeLists.txt"} <= files


def test_model_json_says_what_the_files_are(folder, ranking, comparison):
    said = json.loads((folder / "model.json").read_text())
    assert said["schema"] == ranking.schema.to_json() and said["run"] == "ranking/default"
    assert said["minimum"] == {"tflite": "2.9.0", "mnn": "3.1.0"}
    for name, file in {"model.tflite": "tflite/fp32.tflite", "model.mnn": "mnn/fp32.mnn"}.items():
        row = comparison.set_index("file").loc[file]
        entry = said["files"][name]
        assert entry["bytes"] == (folder / name).stat().st_size == row["bytes"]
        assert entry["auc"] == pytest.approx(row["auc"], abs=1e-6) and entry["verdict"] == "same"
    content = {name: (folder / name).read_bytes() for name in said["sha256"]}
    assert said["version"] == make.version_of(content), "the version follows from the content"
    descriptor = archive.Descriptor.from_json((folder / "bundle.json").read_bytes())
    assert descriptor.version == said["version"] and descriptor.minimum == said["minimum"]


def test_expected_scores_are_near_the_trained_models(folder):
    cases = golden.from_bytes((folder / "golden.bin").read_bytes())
    assert all(cases.trained_difference(file) < 1e-5 for file in cases.tolerance)


def test_verify_install_and_rollback_on_the_command_line(folder, tmp_path):
    done = workbench("bundle", "verify", str(folder / "bundle.zip"))
    assert done.returncode == 0 and "model.mnn: 8 golden cases reproduced" in done.stdout
    assert workbench("bundle", "verify", str(folder)).returncode == 0
    phone = tmp_path / "phone"
    done = workbench("bundle", "install", str(folder / "bundle.json"), "--into", str(phone))
    assert done.returncode == 0 and f"in use  {(phone / 'current').resolve()}" in done.stdout
    done = workbench("bundle", "rollback", str(phone))
    assert (
        done.returncode == 2
        and done.stderr.startswith("workbench: ")
        and "no version before" in done.stderr
    )
    shutil.copytree(folder, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.mnn").write_bytes(b"\0" * 100)
    done = workbench("bundle", "verify", str(tmp_path / "damaged"))
    assert done.returncode == 1 and "model.mnn" in done.stderr and "Traceback" not in done.stderr
    assert workbench("bundle", "verify", str(tmp_path / "nothing")).returncode == 2


@pytest.mark.parametrize("low, has_the_case", [(0.0, False), (-0.5, True), (-2.0, None)])
def test_cases_where_the_model_has_no_number(tmp_path, low, has_the_case):
    """A logarithm of 1 + x: beyond the declared range nothing is asked of it, within it somebody
    has to say what is meant.
    """
    import keras

    x = Tensor("x", "item", tuple(Dimension(f"x{i}", "", low, 0.9 if low else 90.0) for i in "ab"))
    schema = Schema("logarithm", (x,), (Tensor("score", "score", (Dimension("score", ""),)),))
    given = keras.Input((2,), name="x")
    score = keras.layers.Dense(1, activation="sigmoid", name="score")(keras.ops.log(1.0 + given))
    trained, exported = tmp_path / "model.keras", tmp_path / "fp32.tflite"
    framework.save(keras.Model(given, score, name="logarithm"), trained)
    framework.export(framework.load(trained), schema, exported)
    made = (schema, trained, {"model.tflite": exported}, {"x": np.full((3, 2), 0.5, np.float32)})
    if has_the_case is None:
        said = "the trained model gives no number for a row of the golden case 'edges, batch"
        with pytest.raises(BadInput, match=said):
            make.cases(*made)
        return
    cases = make.cases(*made)
    names = {case.name for case in cases.cases}
    assert (golden.BEYOND in names) == has_the_case and "one random case" in names
    for case in cases.cases:
        assert np.isfinite(case.trained["score"]).all()
        assert np.isfinite(case.expected["model.tflite"]["score"]).all()
