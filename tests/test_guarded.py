"""Model files that crash, hang, or ask for all memory when they are scored: real ones, which open
without a fault.
"""

import numpy as np
import pandas as pd
import psutil
import pytest

from helpers import files, runtimes
from helpers.convert import mnn
from helpers.errors import BadInput, DamagedFile
from helpers.evaluation import comparison, latency, parity
from helpers.frameworks import keras as framework
from helpers.quiet import tensorflow
from helpers.runtimes import guarded
from helpers.schema import Dimension, Schema, Tensor
from helpers.tasks import Truth
from helpers.tasks.judgement import Judgement
from helpers.tasks.ranking import RANKING

SCORE = Tensor("score", "score", (Dimension("score", ""),))
IDS = Schema(
    "ids", (Tensor("user", "user", (Dimension("id", "", -(2**31), 2**31 - 1),), "int32"),), (SCORE,)
)
ROW = Schema(
    "row", (Tensor("x", "item", tuple(Dimension(f"x{i}", "") for i in range(4))),), (SCORE,)
)
ROWS = 400


def _save(schema, layer, path):
    """A float32 file of one input, a layer and a sigmoid."""
    tensorflow()
    import keras

    tensor = schema.inputs[0]
    given = keras.Input(tensor.shape, name=tensor.name, dtype=tensor.dtype)
    model = keras.Model([given], keras.layers.Dense(1, activation="sigmoid")(layer(given)))
    framework.export(model, schema, path)
    return path


@pytest.fixture(scope="module")
def crashing(tmp_path_factory):
    """A division of integers, by zero where the input is -1: LiteRT refuses it, MNN lets the
    processor do so.
    """
    import keras
    import tensorflow as tf

    class Divide(keras.layers.Layer):
        def call(self, x):
            return tf.cast(tf.truncatediv(1000, x + 1), tf.float32)

    folder = tmp_path_factory.mktemp("crashing")
    source = _save(IDS, Divide(), folder / "divide.tflite")
    mnn.convert(source, IDS, folder / "divide.mnn")
    return folder / "divide.mnn"


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    import keras
    import tensorflow as tf

    class Loop(keras.layers.Layer):
        """As many steps as the largest value says: none for zeros, an hour for ones."""

        def call(self, x):
            steps = tf.cast(tf.reduce_max(x) * 2e9, tf.int32)
            start = [tf.constant(0), x]
            return tf.while_loop(lambda i, v: i < steps, lambda i, v: (i + 1, v + 1e-9), start)[1]

    return _save(ROW, Loop(), tmp_path_factory.mktemp("endless") / "endless.tflite")


@pytest.fixture(scope="module")
def hungry(tmp_path_factory):
    import keras
    import tensorflow as tf

    class Tile(keras.layers.Layer):
        """Each row repeated as often as the largest value says: 16 MB a row for ones."""

        def call(self, x):
            times = tf.cast(tf.reduce_max(x) * 1e6, tf.int32) + 1
            return tf.reduce_mean(tf.tile(x, tf.stack([1, times])), axis=1, keepdims=True)

        def compute_output_shape(self, shape):
            return (shape[0], 1)

    return _save(ROW, Tile(), tmp_path_factory.mktemp("hungry") / "hungry.tflite")


def _reference(inputs) -> parity.Reference:
    rng = np.random.default_rng(0)
    scores = rng.random((ROWS, 1), dtype=np.float32)
    return parity.Reference(
        RANKING,
        inputs,
        {SCORE.name: scores},
        Truth((scores[:, 0] > 0.5).astype(np.int8), np.arange(ROWS) // 20),
    )


@pytest.fixture
def far():
    return {"user": np.full((ROWS, 1), -1, np.int32)}


ONES = {"x": np.ones((ROWS, 4), np.float32)}


def test_a_crash_while_scoring_is_an_error_with_file_and_signal(crashing, far):
    model = runtimes.open_model(crashing, IDS)
    assert model.score({"user": np.array([[3]], np.int32)}).shape == (1, 1), (
        "it opens, and scores other rows"
    )
    with pytest.raises(
        DamagedFile, match=r"divide\.mnn .* ended the process \(Floating point exception\)"
    ):
        model.score(far)
    with pytest.raises(DamagedFile, match="divide.mnn"):
        model.score(far)


def test_a_crash_is_a_verdict_and_the_other_files_are_judged(crashing, far, trained, ranking):
    with runtimes.open_model(crashing, IDS) as model:
        found, scores = parity.examine_scores(model, _reference(far))
    assert (
        found.verdict == "broken"
        and "divide.mnn" in found.reason
        and "Floating point exception" in found.reason
    )
    assert scores is None
    with runtimes.open_model(trained.files["fp32.mnn"], ranking.schema) as model:
        found, scores = parity.examine_scores(model, trained.reference)
    assert found.verdict == "same"
    np.testing.assert_allclose(scores, trained.reference.scores, rtol=0, atol=1e-6)
    with pytest.raises(DamagedFile, match="there is no file"):
        runtimes.open_model(trained.folder / "gone.tflite", ranking.schema)


def test_what_was_found_of_files_is_kept_to_the_last_digit(tmp_path, trained, ranking):
    scores = trained.reference.scores
    judged = {
        "litert fp32": (trained.reference.judge(trained.reference.outputs), scores),
        "mnn fp32": (Judgement.broken("odd", auc=float("nan"), count=3, slope=float("inf")), None),
    }
    models = {
        "litert fp32": trained.files["fp32.tflite"],
        "mnn fp32": trained.files["fp32.mnn"],
    }
    digests = {name: files.sha256(path) for name, path in models.items()}
    parity.keep(judged, digests, tmp_path / "judged.npz")
    known = (ranking.schema, trained.reference, [tmp_path / "judged.npz"])
    found, given = parity.judged_files(models, *known)
    assert found["litert fp32"] == judged["litert fp32"][0]
    assert list(given) == ["litert fp32"] and given["litert fp32"].tobytes() == scores.tobytes()
    assert repr(found["mnn fp32"]) == repr(judged["mnn fp32"][0])


def test_a_file_that_is_not_the_bytes_that_were_judged_is_judged_anew(tmp_path, trained, ranking):
    """Whatever the record says of it: what was found belongs to bytes, not to a name."""
    original = trained.files["fp32.tflite"]
    swapped = tmp_path / "fp32.tflite"
    content = original.read_bytes().replace(b"user_features", b"USER_FEATURES")
    content = content.replace(b"item_features", b"user_features")
    swapped.write_bytes(content.replace(b"USER_FEATURES", b"item_features"))
    same = (trained.reference.judge(trained.reference.outputs), trained.reference.scores)
    parity.keep({"litert": same}, {"litert": files.sha256(original)}, tmp_path / "judged.npz")
    found, given = parity.judged_files(
        {"litert": swapped}, ranking.schema, trained.reference, [tmp_path / "judged.npz"]
    )
    assert found["litert"].verdict == "broken" and not np.array_equal(given["litert"], same[1])


def test_a_hang_is_ended_and_is_a_verdict(endless, monkeypatch):
    monkeypatch.setattr(guarded, "SECONDS", 1.0)
    monkeypatch.setattr(guarded, "SECONDS_PER_ROW", 0.0)
    with runtimes.open_model(endless, ROW) as model:
        assert np.isfinite(model.score({"x": np.zeros((3, 4), np.float32)})).all()
        found = parity.examine(model, _reference(ONES))
        assert (
            found.verdict == "broken"
            and "endless.tflite" in found.reason
            and "no answer in 1 s" in found.reason
        )


def test_memory_has_a_limit(hungry, monkeypatch):
    """6.4 GB for 400 rows, which this machine may well have."""
    monkeypatch.setattr(guarded, "MEMORY_BYTES", 2 << 30)
    with runtimes.open_model(hungry, ROW) as model:
        assert model.score({"x": np.full((3, 4), 1, np.float32)}).shape == (3, 1), (
            "48 MB are no fault"
        )
        found = parity.examine(model, _reference(ONES))
    assert found.verdict == "broken" and "hungry.tflite" in found.reason


def test_its_process_ends_with_it(trained, ranking):
    model = runtimes.open_model(trained.files["fp32.mnn"], ranking.schema)
    process = psutil.Process(model._child.pid)
    assert process.is_running()
    del model
    process.wait(timeout=10)


@pytest.mark.parametrize("file", ["fp32.tflite", "fp32.mnn", "model.keras"])
def test_it_scores_as_an_open_file_does(trained, ranking, file):
    inputs = {name: array[:100] for name, array in trained.reference.inputs.items()}
    with runtimes.open_model(trained.files[file], ranking.schema) as model:
        scores = model.score(inputs)
        assert scores.dtype == np.float32
        opened = runtimes.open_model(trained.files[file], ranking.schema, trusted=True)
        np.testing.assert_allclose(scores, opened.score(inputs), rtol=0, atol=1e-6)
        with pytest.raises(BadInput, match="user_features"):
            model.score({name: array.astype("float64") for name, array in inputs.items()})
        assert model.score(inputs).shape == (100, 1), "still usable afterwards"
        assert max(runtimes.batch_differences(model, inputs, (1, 2, 128))) < 1e-6


def test_a_file_that_crashes_while_it_is_timed_is_left_out(crashing):
    """Among others that are timed, on rows of which MNN dies."""
    source = crashing.parent / "divide.tflite"
    good, bad = ({"user": np.full((100, 1), value, np.int32)} for value in (3, -1))
    files = {"litert fp32": source, "mnn fp32": crashing}
    options = {"reference": "litert fp32", "batches": (1, 100), "threads": (1,), "seconds": 0.1}
    blocks, memory, failed = latency.measure(files, IDS, good, **options)
    assert failed == {} and set(memory.index) == {*files, *latency.AGAIN}
    options["reference"] = "mnn fp32"
    with pytest.raises(
        DamagedFile, match="mnn fp32, which all others are held against, cannot be timed"
    ):
        latency.measure({"mnn fp32": crashing}, IDS, bad, **options)


def test_the_comparison_goes_on_without_what_could_not_be_made_or_scored(crashing, far, trained):
    files = {"tflite/fp32.tflite": trained.files["fp32.tflite"], "mnn/fp32.mnn": crashing}
    judged = {"litert fp32": trained.reference.judge(trained.reference.outputs)}
    with runtimes.open_model(crashing, IDS) as model:
        judged["mnn fp32"] = parity.examine(model, _reference(far))
    rows = [
        ("litert fp32", 1, mode, 1, 10.0, 12.0, 1.0, 1.0, 1.0, 0.1, "no difference")
        for mode in latency.MODES
    ]
    names = [
        "variant",
        "batch",
        "mode",
        "threads",
        "microseconds",
        "p90",
        "ratio",
        "ratio_low",
        "ratio_high",
        "floor",
        "verdict",
    ]
    summary = pd.DataFrame(rows, columns=names).set_index(["variant", "batch", "mode", "threads"])
    row = {"file": [None], "bytes": [None], "reason": ["MNN does not have X"]}
    missing = pd.DataFrame(row, index=["mnn fp16"])
    table = comparison.build(
        RANKING, files, judged, summary, pd.Series({"litert fp32": 5.0}), missing
    )
    assert table["verdict"].tolist() == ["same", "broken", comparison.NOT_MADE]
    assert table["latency_us"].notna().tolist() == [True, False, False]
    assert (
        table["reason"].iloc[2] == "MNN does not have X"
        and comparison.latency_label(table) == "LiteRT fp32"
    )
    assert comparison.latency_reference(judged) == "litert fp32"
    without = {
        "keras fp32": judged["litert fp32"],
        "litert fp32": judged["mnn fp32"],
        "mnn fp32": judged["litert fp32"],
    }
    assert comparison.latency_reference(without) == "mnn fp32"
