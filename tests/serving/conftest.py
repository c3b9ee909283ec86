"""A small run with a real model, made once: stages 01 to 03 without their notebooks."""

import shutil
from pathlib import Path

import pytest

from helpers import datasets, registry, runs, tasks, trained
from helpers.serving import server

SIZES = {"rows": 3000, "validation_rows": 300, "test_rows": 600}


def make_run(name: str, model: str, seed: int = 1, *, epochs: int = 1) -> runs.Run:
    """A run of `movies` as its first three stages record it."""
    from helpers.frameworks import keras as framework

    study = registry.get("movies")
    schema, task = study.schema_of(model), tasks.get(study.task)
    stage = runs.Stage("01_synthetic_data", study="movies", run=name)
    data = datasets.make(study, "simulated", seed=seed, **SIZES)
    with stage.output("data.json") as path:
        data.save(path)
    stage.finish()
    stage = runs.Stage("02_keras_training", study="movies", run=name, model=model)
    stage.input("01", "data.json")
    arrays = [data.arrays(split, schema=schema)[:2] for split in ("train", "validation")]
    build = study.models[model].build
    options = {"batch_size": 256, "seed": 1, "learning_rate": 0.01, "progress": False}
    if epochs:
        built, _ = framework.train(build, schema, task, *arrays, epochs=epochs, **options)
    else:
        built = framework.built(build, schema)
    with stage.output("model/model.keras") as path:
        framework.save(built, path)
    with stage.output(trained.CONFIG) as path:
        trained.Trained(model, "keras", "model/model.keras", schema, task).save(path, {})
    stage.finish()
    stage = runs.Stage("03_tflite_conversion", study="movies", run=name)
    stage.input("02", "model/model.keras")
    with stage.output("tflite/fp32.tflite") as path:
        framework.export(built, schema, path)
    stage.finish()
    return runs.Run("movies", name)


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """A home with the runs `small` (numbers alone) and `ids` (ids alone), served once before."""
    home = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORKBENCH_HOME", str(home))
        make_run("small", "residual_mlp")
        make_run("ids", "neural_cf", epochs=0)
        server.opened("movies", {"small": 1.0}).known.features.store.close()
        yield home


@pytest.fixture
def served(made, home, monkeypatch) -> Path:
    """The same in a home of the test's own."""
    shutil.copytree(made, home, dirs_exist_ok=True)
    return home


@pytest.fixture
def service(served):
    """The service of the run `small`, without HTTP."""
    opened = server.opened("movies", {"small": 1.0})
    yield opened
    opened.known.features.store.close()
