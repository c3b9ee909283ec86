import shutil

import numpy as np
import pytest
from support import Scoring, random_inputs

from helpers import runtimes
from helpers.errors import BadInput, DamagedFile, ParityError
from helpers.evaluation import parity
from helpers.schema import Dimension, Schema, Tensor

CONVERTED = ("fp32.tflite", "fp32.mnn")
EVERY = ("model.keras", *CONVERTED)


@pytest.fixture(params=EVERY)
def model(request, trained, ranking):
    return runtimes.open_model(trained.files[request.param], ranking.schema, trusted=True)


def test_scores_equal_the_trained_model_at_every_batch_size(model, trained):
    for rows in (
        1,
        2,
        7,
        64,
        1000,
        3,
        1,
    ):  # up and down: a runtime that keeps an old shape shows it
        inputs = {name: array[:rows] for name, array in trained.reference.inputs.items()}
        scores = model.score(inputs)
        assert scores.shape == (rows, 1) and scores.dtype == np.float32
        np.testing.assert_allclose(scores, trained.reference.scores[:rows], rtol=0, atol=1e-6)


def test_scores_against_the_formula(model, trained, ranking):
    """concatenate, Dense 16 relu, Dense 1 sigmoid in float64, from the weights alone."""
    inputs = random_inputs(ranking.schema, 100)
    w1, b1, w2, b2 = (w.astype(np.float64) for w in trained.model.get_weights())
    joined = np.hstack(
        [inputs[name] for name in ("user_features", "item_features", "context_features")]
    )
    expected = 1 / (1 + np.exp(-(np.maximum(joined @ w1 + b1, 0) @ w2 + b2)))
    np.testing.assert_allclose(model.score(inputs), expected, rtol=0, atol=1e-6)


def test_binds_by_name_whatever_the_order_of_the_mapping(model, ranking):
    inputs = random_inputs(ranking.schema, 20)
    backwards = dict(reversed(list(inputs.items())))
    np.testing.assert_array_equal(model.score(inputs), model.score(backwards))


def test_permuting_rows_permutes_scores(model, ranking):
    inputs = random_inputs(ranking.schema, 64)
    order = np.random.default_rng(1).permutation(64)
    shuffled = {name: array[order] for name, array in inputs.items()}
    np.testing.assert_allclose(model.score(shuffled), model.score(inputs)[order], rtol=0, atol=1e-6)


def test_an_answer_does_not_change_with_the_next_call(model, ranking):
    first = model.score(random_inputs(ranking.schema, 5, seed=1))
    kept = first.copy()
    model.score(random_inputs(ranking.schema, 5, seed=2))
    np.testing.assert_array_equal(first, kept)


def test_memory_layout_does_not_matter(model, ranking):
    inputs = random_inputs(ranking.schema, 16)
    strided = {name: np.asfortranarray(array) for name, array in inputs.items()}
    np.testing.assert_allclose(model.score(strided), model.score(inputs), rtol=0, atol=1e-6)


@pytest.mark.parametrize("change", ["float64", "width", "nan", "missing"])
def test_bad_inputs_never_reach_the_runtime(model, ranking, change):
    inputs = random_inputs(ranking.schema, 8)
    items = inputs["item_features"]
    if change == "missing":
        del inputs["item_features"]
    else:
        inputs["item_features"] = {
            "float64": items.astype("float64"),
            "width": items[:, :5],
            "nan": items * np.nan,
        }[change]
    with pytest.raises(BadInput):
        model.score(inputs)
    assert model.score(random_inputs(ranking.schema, 8)).shape == (8, 1), "still usable afterwards"


def test_steps_score_as_score_does(model, ranking):
    inputs = random_inputs(ranking.schema, 32)
    steps = model.steps(inputs)
    assert steps.copy_and_run.timeit(3) > 0 and steps.run.timeit(3) > 0
    np.testing.assert_array_equal(steps.outputs()["ranking_score"], model.score(inputs))


def test_steps_read_their_arrays_anew(model, ranking):
    inputs = random_inputs(ranking.schema, 32)
    steps, before = model.steps(inputs), model.score(inputs)
    inputs["user_features"][:16] = 0
    steps.copy_and_run.timeit(1)
    after = steps.outputs()["ranking_score"]
    assert (after[:16] != before[:16]).any() and (after[16:] == before[16:]).all()


@pytest.mark.parametrize("batch", [2, 8, 20, 100, 257, 512, 1000])
def test_a_fault_at_one_batch_size_is_seen(trained, ranking, batch):
    """A kernel with a remainder loop that goes wrong at one size: the first row scores as the
    second should.
    """
    opened = runtimes.open_model(trained.files["fp32.tflite"], ranking.schema, trusted=True)

    class Fault(Scoring):
        def score(self, inputs):
            scores = opened.score(inputs)
            if len(scores) == batch:
                scores[0] = scores[1] + 1e-3
            return scores

    differences = runtimes.batch_differences(Fault(), trained.reference.inputs, parity.BATCHES)
    assert [
        size for size, value in zip(parity.BATCHES, differences, strict=True) if value > 1e-4
    ] == [batch]
    with pytest.raises(ParityError, match=f"in batches of {batch} rows score differently"):
        parity.check_batches(Fault(), trained.reference.inputs)


def test_batches_are_tried_in_one_call_however_wide_their_rows(trained, ranking, monkeypatch):
    """The most rows of a call are for memory; an app gives a file whatever it has."""
    opened = runtimes.open_model(trained.files["fp32.tflite"], ranking.schema, trusted=True)
    monkeypatch.setattr(opened, "_rows_a_call", lambda: 3)
    compute, called = opened._predict, set()

    def recorded(inputs, rows):
        called.add(rows)
        return compute(inputs, rows)

    monkeypatch.setattr(opened, "_predict", recorded)
    runtimes.batch_differences(opened, trained.reference.inputs, (1, 8, 50))
    assert called == {1, 2, 3, 8, 50}, "and the rows that they are compared with, three at a time"


@pytest.mark.parametrize("file", CONVERTED)
@pytest.mark.parametrize("keep", [0, 4, 100, 2000, 0.9])
def test_a_truncated_file_is_an_error_and_not_a_crash(trained, ranking, tmp_path, file, keep):
    content = trained.files[file].read_bytes()
    damaged = tmp_path / file
    damaged.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(DamagedFile, match=file):
        runtimes.open_model(damaged, ranking.schema)


def test_a_missing_file_and_an_unknown_suffix(ranking, tmp_path):
    with pytest.raises(DamagedFile, match="there is no file"):
        runtimes.open_model(tmp_path / "none.mnn", ranking.schema)
    with pytest.raises(BadInput, match="known: .keras, .zip, .onnx, .pt2, .tflite, .mnn"):
        runtimes.open_model(tmp_path / "model.pb", ranking.schema)


@pytest.mark.parametrize("file", CONVERTED)
def test_a_file_of_another_format_under_this_suffix(trained, ranking, tmp_path, file):
    shutil.copyfile(trained.files["reference.npz"], tmp_path / file)
    with pytest.raises(DamagedFile, match=file):
        runtimes.open_model(tmp_path / file, ranking.schema)


@pytest.mark.parametrize("file", EVERY)
@pytest.mark.parametrize("fault", ["input name", "width", "output name"])
def test_a_file_that_is_not_the_schema_is_refused(trained, ranking, file, fault):
    user, item, context = ranking.schema.inputs
    outputs = ranking.schema.outputs
    if fault == "input name":
        user = Tensor("users", "user", user.dimensions)
    elif fault == "width":
        user = Tensor(user.name, "user", user.dimensions[:9])
    else:
        outputs = (Tensor("score", "score", (Dimension("score", ""),)),)
    with pytest.raises(
        DamagedFile, match="users|user_features|'ranking_score'\\], the model gives \\['score'\\]"
    ):
        runtimes.open_model(
            trained.files[file], Schema("m", (user, item, context), outputs), trusted=True
        )


def test_variant_names():
    assert runtimes.variant_of("model/model.keras") == ("keras", "fp32")
    assert runtimes.variant_of("tflite/dynamic_int8.tflite") == ("litert", "dynamic_int8")


def test_a_keras_model_of_two_inputs_with_names_of_its_own_binds_them_by_name(tmp_path):
    """In a dict, Keras works out shapes by the order of names; here that is not the order in which
    the model was built, and an operation on an input would have the other's.
    """
    import keras

    kind, size = keras.Input((1,), name="their_kind"), keras.Input((3,), name="size")
    slope = np.array([[1], [10], [100]], np.float32)
    score = keras.layers.Add(name="their_score")([size @ slope, 1000 * kind])
    keras.Model([kind, size], score).save(tmp_path / "two.keras")
    schema = Schema(
        "two",
        (Tensor("size", shape=(3,)), Tensor("kind", shape=(1,), in_file="their_kind")),
        (Tensor("score", shape=(1,), in_file="their_score"),),
    )
    rows = {"size": np.float32([[0.1, 0.2, 0.3]]), "kind": np.float32([[0.5]])}
    with runtimes.open_model(tmp_path / "two.keras", schema) as opened:
        assert opened.score(rows)[0, 0] == pytest.approx(0.1 + 2 + 30 + 500)
