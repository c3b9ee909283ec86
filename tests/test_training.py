import dataclasses
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from benchmarks import sense_checks
from scipy import stats
from support import train

from helpers import datasets
from helpers.errors import BadInput
from helpers.frameworks import keras as framework
from helpers.learning import ranking as learning
from helpers.studies import Model

FINGERPRINT = """
import sys
from helpers import registry, simulation
from helpers.frameworks import keras as framework
from helpers.tasks.ranking import RANKING
from pathlib import Path
import numpy as np
from helpers.tasks.classification import CLASSIFICATION
study, digits = registry.get("ranking"), registry.get("digits")
noise = np.random.default_rng(1).random((256, 28, 28, 1), np.float32)
rows = {"image": noise}, np.arange(256) % 10
build = digits.models["lenet"].build
model, _ = framework.train(build, digits.schema, CLASSIFICATION, rows, rows, seed=1, epochs=1)
framework.save(model, Path(sys.argv[2]))
splits = {}
for split in ("train", "validation"):
    frame = simulation.sample(study, "simple", rows=1000, seed=1, split=split)
    splits[split] = study.schema.arrays(frame), frame["label"].to_numpy()
build = study.models["hidden_layer"].build
model, _ = framework.train(build, study.schema, RANKING, *splits.values(), seed=1, epochs=2)
framework.save(model, Path(sys.argv[1]))
"""


def test_the_conclusion_says_what_the_figures_say():
    def table(ours: float):
        aucs = {
            "popularity only": 0.6,
            "logistic regression": 0.8,
            "this model": ours,
            "best possible (Bayes)": 0.9,
        }
        return pd.DataFrame(
            {name: {"auc": auc, "accuracy": auc - 0.1} for name, auc in aucs.items()}
        ).T

    history = pd.DataFrame({"val_accuracy": [0.7, 0.75]})
    better = learning.conclusion(table(0.85), history, published=(0.7, 0.8))
    assert better.startswith(
        "The model ranks better than logistic regression: AUC 0.850 against 0.800, accuracy 0.750"
    )
    assert (
        "After 2 epochs it does not reach the published validation accuracy: 0.750, published "
        "0.800." in better
    )
    worse = learning.conclusion(table(0.79), history, published=None)
    assert "ranks worse than logistic regression" in worse and "nothing needs the model" in worse
    assert (
        "ranks as well as" in learning.conclusion(table(0.8), history, None)
        and "published" not in worse
    )


def _train(ranking, trained, **options):
    return train(
        ranking,
        trained.splits["train"][:2],
        trained.splits["validation"][:2],
        **{"seed": 7, "epochs": 2, **options},
    )


def _predicted(ranking, model, inputs) -> np.ndarray:
    return framework.predict(model, ranking.schema, inputs)[ranking.schema.output.name]


def _same(first, second) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_same_seed_same_weights_other_seed_other_weights(ranking, trained):
    weights = trained.model.get_weights()
    again, history = _train(ranking, trained)
    assert _same(again.get_weights(), weights)
    assert history.equals(trained.history)
    other, _ = _train(ranking, trained, seed=8)
    assert not _same(other.get_weights(), weights)


@pytest.mark.slow
def test_same_file_in_another_process_with_another_thread_count(tmp_path):
    digests = set()
    for threads, first in (("1", ""), ("2", ""), ("4", ""), ("2", "import helpers.quiet, keras\n")):
        limits = {
            "TF_NUM_INTRAOP_THREADS": threads,
            "TF_NUM_INTEROP_THREADS": threads,
            "OMP_NUM_THREADS": threads,
        }
        target = tmp_path / f"{threads}{len(first)}.keras"
        convolutions = tmp_path / f"{threads}{len(first)}-convolutions.keras"
        environment = {**os.environ, **limits}
        environment.pop("TF_ENABLE_ONEDNN_OPTS", None)
        subprocess.run(
            [sys.executable, "-c", first + FINGERPRINT, str(target), str(convolutions)],
            check=True,
            env=environment,
            capture_output=True,
        )
        contents = [path.read_bytes() for path in (target, convolutions)]
        digests.add(tuple(hashlib.sha256(content).hexdigest() for content in contents))
    assert len(digests) == 1


def test_history_is_what_the_model_reaches(ranking, trained):
    inputs, labels, _ = trained.splits["validation"]
    reached = ((_predicted(ranking, trained.model, inputs)[:, 0] > 0.5) == labels).mean()
    assert trained.history["val_accuracy"].iloc[-1] == pytest.approx(
        reached, abs=1e-6
    )  # Keras keeps float32
    assert list(trained.history.index) == [1, 2]


def test_saved_and_loaded_scores_are_the_same_bits(ranking, trained, tmp_path):
    import keras

    framework.save(trained.model, tmp_path / "again.keras")
    assert os.listdir(tmp_path) == ["again.keras"], "no raw archive stays behind"
    for path in (trained.files["model.keras"], tmp_path / "again.keras"):
        loaded = keras.models.load_model(path, compile=False)
        np.testing.assert_array_equal(
            _predicted(ranking, loaded, trained.reference.inputs), trained.reference.scores
        )


def test_description_is_what_the_published_pipeline_keeps(trained):
    config = json.loads(json.dumps(framework.describe(trained.model)))
    assert (
        config["model_name"] == "ultra_simple_ranking_model" and config["total_parameters"] == 433
    )
    assert config["input_shapes"] == {
        "user_features": [None, 10],
        "item_features": [None, 10],
        "context_features": [None, 5],
    }
    assert config["output_shapes"] == {"ranking_score": [None, 1]}


def test_baselines_see_what_they_are_said_to_see(ranking, trained):
    training, (inputs, _, _) = trained.splits["train"][:2], trained.splits["test"]
    scores = learning.baseline_scores(ranking.schema, training, inputs)
    other_user = {**inputs, "user_features": inputs["user_features"][::-1].copy()}
    moved = learning.baseline_scores(ranking.schema, training, other_user)
    np.testing.assert_array_equal(scores["popularity only"], moved["popularity only"])
    assert np.abs(scores["logistic regression"] - moved["logistic regression"]).max() > 0.1


@pytest.mark.parametrize("kind", ["dropout", "noise", "batch normalisation"])
def test_a_layer_that_is_active_outside_training_is_named(ranking, trained, kind):
    import keras

    layer = {
        "dropout": lambda: keras.layers.Dropout(0.1),
        "noise": lambda: keras.layers.GaussianNoise(0.1),
        "batch normalisation": lambda: keras.layers.BatchNormalization(),
    }[kind]

    class Active(keras.layers.Layer):
        """``training=False`` of the model's call wins over a layer's own, not over that of a layer
        in it.
        """

        def __init__(self):
            super().__init__()
            self.inner = layer()

        def call(self, x):
            return self.inner(x, training=True)

    def build(active: bool, hidden_units: int = 8):
        inputs = [keras.Input(t.shape, name=t.name) for t in ranking.schema.inputs]
        hidden = keras.layers.Dense(hidden_units, activation="relu")(
            keras.layers.Concatenate()(inputs)
        )
        hidden = Active()(hidden) if active else layer()(hidden)
        score = keras.layers.Dense(1, activation="sigmoid", name=ranking.schema.output.name)(hidden)
        return keras.Model(inputs, score, name=ranking.schema.model_name)

    def of(active: bool):
        return dataclasses.replace(
            ranking, models={"one": Model("", functools.partial(build, active))}
        )

    inputs = trained.splits["test"][0]
    said = (
        "the model gives two different scores for the same rows .*: a layer such as dropout .* "
        "without training=True"
    )
    with pytest.raises(BadInput, match=said):
        _predicted(ranking, build(active=True), inputs)
    with pytest.raises(BadInput, match=said):
        _train(of(True), trained, epochs=1)
    assert _predicted(
        ranking, build(active=False), {n: a[:1] for n, a in inputs.items()}
    ).shape == (1, 1)
    _train(of(False), trained, epochs=1)


@pytest.mark.slow
def test_sound_data_is_not_refused_and_shuffled_labels_are_found():
    """A quick form of ``tests/benchmarks/sense_checks.py``: 1 % to 50 % positives, 200 to 5,000
    test rows.
    """
    table = sense_checks.study(repetitions=10)
    sound, faulty = table[table["sound"]], table[~table["sound"]]
    assert sound.groupby("check")["refused"].mean().max() <= 0.005 and sound["refused"].max() <= 0.1
    found = (
        (faulty["refused"] + faulty["warned"]).groupby(faulty["case"].str.partition(",")[0]).mean()
    )
    assert found.drop("training labels shuffled").min() >= 0.9, found
    large = faulty["case"].isin(
        ["all labels shuffled, 50% of 5,000 rows", "test labels shuffled, 50% of 5,000 rows"]
    )
    assert faulty.loc[large, "refused"].min() >= 0.9


def _scores(rng, labels, auc: float):
    return labels * np.sqrt(2) * stats.norm.ppf(auc) + rng.standard_normal(len(labels))


@pytest.mark.parametrize(("rows", "positives"), [(200, 0.5), (1000, 0.05), (5000, 0.01)])
@pytest.mark.parametrize("auc", [0.5, 0.63, 0.9])
def test_the_interval_of_an_auc_covers_it(rows, positives, auc):
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        labels = (rng.random(rows) < positives).astype(np.int8)
        low, high = learning._auc_interval(_scores(rng, labels, auc), labels, np.arange(rows) // 20)
        covered += low <= auc <= high
    assert covered >= 184


def test_the_interval_of_an_auc_takes_a_request_as_one_draw():
    """A score and a label of the request's own: twenty times the rows, and no more known."""
    rng = np.random.default_rng(0)
    labels = (rng.random(50) < 0.5).astype(np.int8)
    scores, requests = _scores(rng, labels, 0.7), np.arange(50)
    once = learning._auc_interval(scores, labels, requests)
    assert np.allclose(
        once,
        learning._auc_interval(*(np.repeat(x, 20) for x in (scores, labels, requests))),
        atol=0.02,
    )
    assert learning._auc_interval(scores, np.arange(50) == 0, requests) == (
        0,
        1,
    ), "one positive tells nothing"


def _learnable(rng, rows: int, positives: float, **options):
    return sense_checks.learnable(rng, positives=positives, rows=rows, auc=0.9, **options)


def test_few_positives_are_warned_of_and_enough_pass():
    assert _learnable(np.random.default_rng(0), 200, 0.01) == "warns"
    assert _learnable(np.random.default_rng(0), 5000, 0.1) == "passes"
    assert (
        _learnable(np.random.default_rng(0), 5000, 0.5, shuffled=("training", "test")) == "refuses"
    )


def test_baselines_that_rank_test_rows_but_not_the_other_half_of_training_are_warned_of(
    ranking, trained
):
    (x, y, r), test = trained.splits["train"], trained.splits["test"]
    scores = {
        "this model": trained.reference.scores,
        "logistic regression": trained.reference.scores,
    }
    learning.check_learnable(ranking.schema, (x, y, r), scores, test)
    with pytest.warns(
        UserWarning,
        match="on the other half, but logistic regression tell test labels.*may be right",
    ):
        learning.check_learnable(
            ranking.schema, (x, np.random.default_rng(0).permutation(y), r), scores, test
        )


def test_rows_that_come_in_chunks_train_the_same_twice_and_as_well_as_rows_at_once(
    ranking, monkeypatch
):
    sizes = {"rows": 20_000, "validation_rows": 2_000, "test_rows": 200}
    data = datasets.make(ranking, "simple", seed=5, **sizes)
    splits = data.splits(ranking.schema)
    monkeypatch.setattr(datasets, "MEMORY_BYTES", 100_000)
    stream = data.stream(ranking.schema, seed=5)
    fixed = {"seed": 7, "epochs": 3}
    (first, history), (again, _) = (
        train(ranking, stream, splits["validation"][:2], **fixed) for _ in range(2)
    )
    assert _same(first.get_weights(), again.get_weights())
    _, at_once = train(ranking, splits["train"][:2], splits["validation"][:2], **fixed)
    assert history["val_loss"].iloc[-1] < 1.1 * at_once["val_loss"].iloc[-1]


@pytest.mark.slow
def test_ten_million_rows_are_made_trained_on_and_scored_below_one_and_a_half_gigabytes():
    benchmark = Path(__file__).parent / "benchmarks" / "large_tables.py"
    done = subprocess.run([sys.executable, str(benchmark)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "10000000 rows read" in done.stdout and "10000000 rows scored" in done.stdout
    (loss,) = map(float, re.findall("a part at a time: loss (.*?) ", done.stdout))
    assert loss < 0.675  # a constant has .693, the best possible .665
    assert max(map(float, re.findall("peak (.*) GB", done.stdout))) < 1.5
