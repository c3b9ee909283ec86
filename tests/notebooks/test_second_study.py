"""Adding a study is adding one module: a copy of the project with a study that shares nothing with the first."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from support import PROJECT

STUDY = '''
"""`clicks`: a query against a document; two inputs of different width, no published figures."""

import numpy as np

from helpers.schema import Dimension, Schema, Tensor
from helpers.studies import Scenario, Study

QUERY = Tensor("query_vec", "user", tuple(Dimension(f"q{i}", "") for i in range(3)))
DOCUMENT = Tensor("doc_vec", "item", tuple(Dimension(f"d{i}", "") for i in range(5)))
SCHEMA = Schema("clicks_model", (QUERY, DOCUMENT), Tensor("click", "score", (Dimension("score", ""),)))


def draw(rng, n_rows):
    return {t.name: rng.standard_normal((n_rows, t.width), dtype=np.float32) for t in SCHEMA.inputs}


def utility(inputs):
    return (inputs["query_vec"] * inputs["doc_vec"][:, :3]).sum(axis=1, dtype=np.float64)


def build_model(hidden_units=8):
    import keras

    inputs = [keras.Input((t.width,), name=t.name) for t in SCHEMA.inputs]
    hidden = keras.layers.Dense(hidden_units, activation="relu")(keras.layers.Concatenate()(inputs))
    return keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid", name="click")(hidden), name="clicks_model")


STUDY = Study("clicks", "Clicks", SCHEMA, {"plain": Scenario("plain", "a dot product", draw, utility, 0.0, 0.5, 10)}, build_model)
'''


@pytest.mark.slow
def test_a_second_study_runs_through_every_stage_unchanged(tmp_path, home):
    project = tmp_path / "project"
    for name in ("src", "notebooks"):
        shutil.copytree(PROJECT / name, project / name, ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", project)
    module = project / "src/helpers/studies/clicks.py"
    module.write_text(STUDY)
    environment = {**os.environ, "PYTHONPATH": str(project / "src"), "WORKBENCH_HOME": str(home)}

    def run() -> str:
        command = [sys.executable, "-m", "helpers.cli", "run", "clicks", "-p", "rows=2000", "-p", "epochs=3", "--run", "r"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run()
    table = pd.read_csv(home / "artifacts/clicks/r/comparison.csv")
    plain = table["precision"].str.startswith("fp32")
    assert len(table) > 10 and (table["verdict"][plain] == "same").all()
    assert run().count("nothing to do") == 6
    module.write_text(STUDY.replace("[:, :3]", "[:, 1:4]"))
    output = run()
    assert "was executed with other code (notebook or helpers)" in output and output.count("  done in ") == 6
