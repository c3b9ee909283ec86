import pytest

from helpers import runtimes
from helpers.convert import mnn, tflite
from helpers.errors import ConversionFailed, DamagedFile, ParityError
from helpers.evaluation import parity


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
    with tflite.plain(trained.model) as path:
        assert tflite.interface(path)["tensor"].tolist()[:3] != ranking.schema.input_names


@pytest.mark.parametrize("file", ["fp32.tflite", "fp32.mnn"])
def test_conversion_repeats_byte_for_byte(trained, ranking, tmp_path, file):
    again = tmp_path / file
    if file.endswith("tflite"):
        tflite.convert(trained.model, ranking.schema, again)
    else:
        mnn.convert(trained.files["fp32.tflite"], ranking.schema, again)
    assert again.read_bytes() == trained.files[file].read_bytes()


def test_operators_hold_the_weights_of_the_model(trained):
    table = tflite.operators(trained.files["fp32.tflite"])
    assert table["operator"].tolist() == ["CONCATENATION", "FULLY_CONNECTED", "FULLY_CONNECTED", "LOGISTIC"]
    assert table["weight_bytes"].sum() == 4 * 433


def test_conversion_prints_nothing(trained, ranking, tmp_path, capfd):
    tflite.convert(trained.model, ranking.schema, tmp_path / "a.tflite")
    mnn.convert(tmp_path / "a.tflite", ranking.schema, tmp_path / "a.mnn")
    assert capfd.readouterr() == ("", "")


def test_session_inputs_are_found_by_name(trained, ranking):
    import MNN

    interpreter = MNN.Interpreter(str(trained.files["fp32.mnn"]))
    session = interpreter.createSession({"backend": "CPU", "numThread": 1})
    for tensor in ranking.schema.inputs:
        assert interpreter.getSessionInput(session, tensor.name).getShape() == (1, tensor.width)


@pytest.mark.parametrize("form", mnn.FORMS)
def test_both_forms_score_as_the_reference(trained, ranking, tmp_path, form):
    path = tmp_path / "form.mnn"
    mnn.convert(trained.files["fp32.tflite"], ranking.schema, path, options=mnn.FORMS[form])
    parity.require_same(runtimes.open_model(path, ranking.schema), trained.reference, form)


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
    with pytest.raises(ConversionFailed, match="its batch is static"):
        mnn.convert(source, ranking.schema, tmp_path / "a.mnn", options=["--saveStaticModel"])
    assert not (tmp_path / "a.mnn").exists()


def test_an_older_output_never_passes_for_the_new_one(trained, ranking, tmp_path):
    target = tmp_path / "a.mnn"
    target.write_bytes(trained.files["fp32.mnn"].read_bytes())
    with pytest.raises(ConversionFailed):
        mnn.convert(
            trained.files["fp32.tflite"], ranking.schema, target, options=["--modelFile", "/nonexistent.tflite"]
        )
    assert not target.exists()


def test_inputs_named_for_each_other_are_caught(trained, ranking, tmp_path):
    """What a converter that mixes up two inputs of one width writes: a file that opens, binds and scores."""
    import keras

    inputs = {t.name: keras.Input((t.width,), name=t.name) for t in ranking.schema.inputs}
    exchanged = {**inputs, "user_features": inputs["item_features"], "item_features": inputs["user_features"]}
    wrong = keras.Model(list(inputs.values()), trained.model(exchanged))
    tflite.convert(wrong, ranking.schema, tmp_path / "wrong.tflite")
    model = runtimes.open_model(tmp_path / "wrong.tflite", ranking.schema)
    with pytest.raises(ParityError, match="wrong order"):
        parity.require_same(model, trained.reference, "wrong.tflite")


def test_reduced_precision_is_not_taken_for_fp32(trained, ranking, tmp_path):
    for option in (["--fp16"], ["--weightQuantBits", "8"]):
        path = tmp_path / "reduced.mnn"
        mnn.convert(trained.files["fp32.tflite"], ranking.schema, path, options=option)
        with pytest.raises(ParityError, match="does not score as its reference"):
            parity.require_same(runtimes.open_model(path, ranking.schema), trained.reference, "reduced.mnn")
