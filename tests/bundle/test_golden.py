"""Golden cases: the same in both forms, reproduced by their file, and by no other."""

import json

import numpy as np
import pytest
from bundling import changed_weight

from helpers import runtimes
from helpers.bundle import golden
from helpers.errors import DamagedFile
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
    assert told["tolerance"] == dict(cases.tolerance) and len(told["cases"]) == len(cases.cases)
    for one, other in zip(told["cases"], cases.cases, strict=True):
        for name, values in one["inputs"].items():
            assert np.array_equal(np.float32(values).reshape(other.rows, -1), other.inputs[name])
        assert np.array_equal(np.float32(one["trained model"]), other.keras)
        for file, values in one["expected"].items():
            assert np.array_equal(np.float32(values), other.expected[file])


def test_integers_beyond_float32_survive_both_forms():
    tensor = Tensor("ids", "item", (Dimension("id", "", 0, 2**40),), "int64")
    schema = Schema("ids_model", (tensor,), Tensor("score", "score", (Dimension("score", ""),)))
    inputs = golden.draw(schema, {"ids": np.array([[2**33 + 1]])})
    assert "five random cases" not in inputs and inputs["edges, batch 20"]["ids"].max() == 2**40
    made = tuple(
        golden.Case(
            name,
            values,
            np.zeros(len(values["ids"]), np.float32),
            {"model.tflite": np.linspace(0, 1, len(values["ids"]), dtype=np.float32)},
        )
        for name, values in inputs.items()
    )
    cases = golden.Golden((("ids", 1, "int64"),), "score", {"model.tflite": 1e-5}, made)
    back = golden.from_bytes(golden.to_bytes(cases))
    assert back.cases[0].inputs["ids"].tolist() == [[2**33 + 1]] and back.cases[0].inputs["ids"].dtype == np.int64
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
    class Nan:
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
    """A bit in a value cannot be seen here: its hash is in model.json. Whatever is read differs in what it says."""
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
    loose = golden.Golden(cases.inputs, cases.output, dict.fromkeys(cases.tolerance, tolerance), cases.cases)
    with pytest.raises(DamagedFile, match="prove nothing"):
        golden.from_bytes(golden.to_bytes(loose))


def test_scores_that_are_all_alike_prove_nothing(cases):
    one = cases.cases[0]
    first = {name: values[:1] for name, values in one.inputs.items()}
    single = golden.Case("one", first, one.keras[:1], {file: values[:1] for file, values in one.expected.items()})
    alike = [
        golden.Case(case.name, case.inputs, case.keras, {file: values * 0 for file, values in case.expected.items()})
        for case in cases.cases
    ]
    for poor in ([single], alike):
        with pytest.raises(DamagedFile, match="prove nothing: one score for everything"):
            golden.from_bytes(golden.to_bytes(golden.Golden(cases.inputs, cases.output, cases.tolerance, tuple(poor))))
