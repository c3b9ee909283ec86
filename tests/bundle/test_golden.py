"""Golden cases: the same in both forms, reproduced by their file, and by no other."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from bundling import changed_weight, golden_cases, write_manifest
from support import Scoring

from helpers import runtimes
from helpers.bundle import archive, client, golden
from helpers.errors import BadInput, DamagedFile
from helpers.schema import Dimension, Schema, Tensor


@pytest.fixture(scope="module")
def cases(unpacked) -> golden.Golden:
    return golden.from_bytes((unpacked / "golden.bin").read_bytes())


def test_cases_are_of_every_batch_and_hold_the_edges(cases, ranking):
    assert {case.rows for case in cases.cases} == {1, 5, 20, 257}
    edges = next(case for case in cases.cases if case.name == "edges, batch 257")
    for tensor in ranking.schema.inputs:
        values = edges.inputs[tensor.name]
        low, high = ([getattr(d, end) for d in tensor.dimensions] for end in ("low", "high"))
        assert values[0].tolist() == low and values[1].tolist() == high
        assert np.isin(values, [0.0, 1.0]).all() and 0.4 < values.mean() < 0.6


def test_both_forms_hold_the_same(cases, unpacked):
    assert golden.to_bytes(cases) == (unpacked / "golden.bin").read_bytes()
    told = json.loads((unpacked / "golden.json").read_text())
    assert told["tolerance"] == cases.tolerance and len(told["cases"]) == len(cases.cases)
    for one, other in zip(told["cases"], cases.cases, strict=True):
        for name, values in one["inputs"].items():
            assert np.array_equal(np.float32(values).reshape(other.rows, -1), other.inputs[name])
        for outputs, wanted in (
            (one["trained model"], other.trained),
            *((outputs, other.expected[file]) for file, outputs in one["expected"].items()),
        ):
            assert {name: len(values) for name, values in outputs.items()} == {
                "ranking_score": other.rows
            }
            assert np.array_equal(
                np.float32(outputs["ranking_score"]).reshape(-1, 1), wanted["ranking_score"]
            )


def test_integers_beyond_float32_survive_both_forms():
    tensor = Tensor("ids", "item", (Dimension("id", "", 0, 2**40),), "int64")
    schema = Schema("ids_model", (tensor,), (Tensor("score", "score", (Dimension("score", ""),)),))
    inputs = golden.draw(schema, {"ids": np.array([[2**33 + 1]])})
    assert "five random cases" not in inputs and inputs["edges, batch 20"]["ids"].max() == 2**40
    scored = {
        name: (
            values,
            np.zeros(len(values["ids"]), np.float32),
            {"model.tflite": np.linspace(0, 1, len(values["ids"]), dtype=np.float32)},
        )
        for name, values in inputs.items()
    }
    cases = golden_cases(schema, scored)
    back = golden.from_bytes(golden.to_bytes(cases))
    assert (
        back.cases[0].inputs["ids"].tolist() == [[2**33 + 1]]
        and back.cases[0].inputs["ids"].dtype == np.int64
    )
    assert json.loads(golden.to_json(cases))["cases"][0]["inputs"]["ids"] == [2**33 + 1]


@pytest.mark.parametrize("file", ["model.tflite", "model.mnn"])
def test_a_file_reproduces_its_cases_and_one_with_a_changed_weight_does_not(
    cases, unpacked, ranking, trained, tmp_path, file
):
    assert golden.failures(cases, file, runtimes.open_model(unpacked / file, ranking.schema)) == []
    (tmp_path / file).write_bytes(changed_weight(unpacked / file, trained.model))
    wrong = golden.failures(cases, file, runtimes.open_model(tmp_path / file, ranking.schema))
    assert len(wrong) >= 6 and "at most 1e-05 apart" in wrong[0]


def test_scores_that_are_not_a_number_fail(cases, ranking):
    class Nan(Scoring):
        def score(self, inputs):
            return np.full((len(inputs["user_features"]), 1), np.nan, np.float32)

    assert len(golden.failures(cases, "model.tflite", Nan())) == len(cases.cases)


def test_cases_that_are_cut_or_go_on_are_refused(unpacked):
    content = (unpacked / "golden.bin").read_bytes()
    rng = np.random.default_rng(0)
    for size in [0, 7, 8, 11, *rng.integers(0, len(content), 300)]:
        with pytest.raises(DamagedFile):
            golden.from_bytes(content[:size])
        with pytest.raises(DamagedFile):
            golden.from_bytes(content + b"\0" * int(size + 1))
    with pytest.raises(DamagedFile):
        golden.from_bytes(b"PK\x03\x04" * 100)


def test_a_flipped_bit_is_refused_or_read_as_another_value(unpacked):
    """A bit in a value cannot be seen here: its hash is in model.json. Whatever is read differs in
    what it says.
    """
    content = (unpacked / "golden.bin").read_bytes()
    rng = np.random.default_rng(1)
    refused = 0
    for place in [*rng.integers(0, 400, 300), *rng.integers(0, len(content), 300)]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(0, 8)
        try:
            read = golden.from_bytes(bytes(damaged))
        except DamagedFile:
            refused += 1
        else:
            assert golden.to_bytes(read) == bytes(damaged) != content
    assert refused, "lengths and counts are checked"


@pytest.mark.parametrize("tolerance", [1.0, -1.0, float("nan"), float("inf")])
def test_a_tolerance_that_proves_nothing_is_refused(cases, tolerance):
    loose = replace(cases, tolerance=dict.fromkeys(cases.tolerance, {"ranking_score": tolerance}))
    with pytest.raises(DamagedFile, match="prove nothing"):
        golden.from_bytes(golden.to_bytes(loose))


def test_scores_that_are_all_alike_prove_nothing(cases):
    one = cases.cases[0]
    first = {name: values[:1] for name, values in one.inputs.items()}

    def changed(outputs, change):
        return {name: change(values) for name, values in outputs.items()}

    expected = {
        file: changed(outputs, lambda values: values[:1]) for file, outputs in one.expected.items()
    }
    single = golden.Case("one", first, changed(one.trained, lambda values: values[:1]), expected)
    alike = [
        replace(
            case,
            expected={
                file: changed(outputs, lambda values: values * 0)
                for file, outputs in case.expected.items()
            },
        )
        for case in cases.cases
    ]
    for poor in ([single], alike):
        with pytest.raises(DamagedFile, match="prove nothing: one score for everything"):
            golden.from_bytes(golden.to_bytes(replace(cases, cases=tuple(poor))))


def _loose(folder, files=("golden.bin", "golden.json", "model.json")):
    """Cases that allow .05, in some of the files that say so."""
    cases = golden.from_bytes((folder / "golden.bin").read_bytes())
    loose = replace(cases, tolerance=dict.fromkeys(cases.tolerance, {"ranking_score": 0.05}))
    if "golden.bin" in files:
        (folder / "golden.bin").write_bytes(golden.to_bytes(loose))
    if "golden.json" in files:
        (folder / "golden.json").write_text(golden.to_json(loose))


def _replace(name, old, new):
    def change(folder):
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


_SCORE = '"trained model": {"ranking_score": [0.'

DISAGREEING = {
    "no golden.json": (
        lambda folder: (folder / "golden.json").unlink(),
        "golden.json cannot be read: No such file",
    ),
    "garbage": (
        lambda folder: (folder / "golden.json").write_text("garbage"),
        "golden.json is damaged: Expecting",
    ),
    "empty": (
        lambda folder: (folder / "golden.json").write_text("{}"),
        "does not hold the cases of golden.bin",
    ),
    "another tolerance": (
        lambda folder: _loose(folder, ["golden.json"]),
        "does not hold the cases of golden.bin",
    ),
    "another score": (
        _replace(
            "golden.json",
            '"trained model": {"ranking_score": [0.',
            '"trained model": {"ranking_score": [1.',
        ),
        "does not hold the c",
    ),
    "NaN": (
        _replace(
            "golden.json",
            '"trained model": {"ranking_score": [0.',
            '"trained model": {"ranking_score": [NaN, 0.',
        ),
        "NaN is no value",
    ),
    "a score as text": (_replace("golden.json", " 1.0, ", ' "1.0", '), "does not hold the cases"),
    "true for one": (_replace("golden.json", " 1.0, ", " true, "), "does not hold the cases"),
    "a key twice": (
        _replace("golden.json", '{"format": 2', '{"format": 2, "format": 2'),
        "'format' is there twice",
    ),
}


@pytest.mark.parametrize("fault", DISAGREEING)
def test_the_two_forms_of_a_bundle_must_agree(unpacked, ranking, tmp_path, fault):
    change, message = DISAGREEING[fault]
    shutil.copytree(unpacked, tmp_path / "bundle")
    change(tmp_path / "bundle")
    write_manifest(tmp_path / "bundle", ranking.schema)
    with pytest.raises(DamagedFile, match=message):
        client.verify(tmp_path / "bundle")


STATED = {
    ".05 in the cases": (
        lambda folder: _loose(folder),
        "model.tflite differences of 0.05, model.json says 1e-05",
    ),
    "none": (_replace("model.json", '"tolerance": {', '"tolerances": {'), "model.json says None"),
    "of no output": (
        _replace("model.json", '"ranking_score": 1e-05', '"labels": 1e-05'),
        "model.json says None",
    ),
    "one number": (
        _replace("model.json", '{"ranking_score": 1e-05}', "1e-05"),
        "model.json says None",
    ),
    "text": (
        _replace("model.json", '"ranking_score": 1e-05', '"ranking_score": "1e-05"'),
        "model.json says '1e-05'",
    ),
    "true": (
        _replace("model.json", '"ranking_score": 1e-05', '"ranking_score": true'),
        "model.json says True",
    ),
    "NaN": (
        _replace("model.json", '"ranking_score": 1e-05', '"ranking_score": NaN'),
        "model.json is damaged: .*NaN is no v",
    ),
    "Infinity": (
        _replace("model.json", '"version"', '"auc": Infinity, "version"'),
        "Infinity is no value",
    ),
    "no list": (
        _replace("model.json", '{"tolerance": {"ranking_score": 1e-05}}', "1"),
        "model.json says None",
    ),
}


@pytest.mark.parametrize("fault", STATED)
def test_the_cases_allow_what_the_manifest_states(unpacked, ranking, tmp_path, fault):
    """Whoever replaces the cases by looser ones, hashes and all, has to replace what the manifest
    says of them too.
    """
    change, message = STATED[fault]
    folder = tmp_path / "bundle"
    shutil.copytree(unpacked, folder)
    change(folder)
    stated = json.loads((folder / "model.json").read_text())
    if fault == ".05 in the cases":
        write_manifest(
            folder, ranking.schema
        )  # with the right hashes, and the tolerances as they were stated
        made = json.loads((folder / "model.json").read_text()) | {"files": stated["files"]}
        (folder / "model.json").write_text(json.dumps(made))
    with pytest.raises(DamagedFile, match=message):
        client.verify(folder)


def test_a_schema_without_a_range_or_of_another_type_is_refused(unpacked, tmp_path):
    for old, new, message in (
        ('"high": 1.0}', '"high": NaN}', "NaN is no value"),
        ('"high": 1.0}', '"high": -1.0}', "which is no range"),
        ('"high": 1.0}', '"high": "1"}', "the schema in model.json is damaged: TypeError"),
        (
            '"dtype": "float32"',
            '"dtype": "object"',
            "is of 'object', a device takes float32, int32, int64",
        ),
        (
            '"inputs": [{',
            '"inputs": [], "more": [{',
            "the schema in model.json is damaged: IndexError",
        ),
    ):
        folder = tmp_path / message[:3]
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(unpacked, folder)
        _replace("model.json", old, new)(folder)
        with pytest.raises(DamagedFile, match=message):
            client.verify(folder)


def test_cases_that_no_device_would_read_are_not_written(cases):
    one = cases.cases[0]
    rows = golden.MOST_BYTES // 100 + 1  # of 25 float32
    inputs = {name: np.zeros((rows, *shape), np.float32) for name, shape, _ in cases.inputs}
    scores = {"ranking_score": np.zeros((rows, 1), np.float32)}
    wide = golden.Case("wide", inputs, scores, dict.fromkeys(one.expected, scores))
    with pytest.raises(BadInput, match=f"at most {golden.MOST_BYTES:,} are read on a device"):
        golden.to_bytes(replace(cases, cases=(wide,)))


def test_a_figure_that_is_undefined_is_null_in_the_manifest(unpacked, ranking, cases):
    import pandas as pd

    from helpers.bundle import make
    from helpers.tasks.ranking import RANKING

    row = {
        "file": "tflite/fp32.tflite",
        "bytes": 1,
        **dict.fromkeys(RANKING.columns, float("nan")),
        "verdict": "same",
    }
    only = replace(cases, tolerance={"model.tflite": {"ranking_score": 1e-5}})
    files = {"model.tflite": row["file"]}
    words = {"version": "v1", "run": "ranking/x", "minimum": {}, "packages": {}}
    made = make.manifest(
        RANKING, ranking.schema, pd.DataFrame([row]), files, only, {"model.tflite": b""}, **words
    )
    assert b"NaN" not in made and json.loads(made)["files"]["model.tflite"]["auc"] is None
    assert archive.schema(json.loads(made)) == ranking.schema
