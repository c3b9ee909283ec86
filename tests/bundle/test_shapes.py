"""Bundles of models whose tensors have any shape and dtype, several outputs or a fixed batch."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from bundling import MIXED, PICTURE, SHAPED, changed_float, publish, write_manifest
from support import Scoring

from helpers.bundle import archive, client, golden, make, native, sources
from helpers.errors import BadInput, DamagedFile, WorkbenchError
from helpers.runtimes import open_model
from helpers.schema import Dimension, Schema, Tensor

FILES = ["model.tflite", "model.mnn"]
BOTH = pytest.mark.parametrize("name", SHAPED)


def _cases(folder) -> golden.Golden:
    return golden.from_bytes((folder / archive.GOLDEN).read_bytes())


def test_cases_of_pictures_hold_whole_pictures(shaped):
    cases = _cases(shaped["picture_model"])
    assert {case.name: case.rows for case in cases.cases} == {
        **{f"{kind}, batch {rows}": rows for rows in (1, 20, 257) for kind in ("typical", "edges")},
        "one random case": 1,
    }
    for case in cases.cases:
        assert (
            case.inputs["image"].shape == (case.rows, 12, 12, 3)
            and case.inputs["image"].dtype == np.uint8
        )
        assert {name: values.shape for name, values in case.trained.items()} == {
            "kind": (case.rows, 4),
            "embedding": (case.rows, 8),
        }
        assert case.trained["kind"].sum(axis=1) == pytest.approx(np.ones(case.rows), abs=1e-5)
    edges = next(case for case in cases.cases if case.name == "edges, batch 20").inputs["image"]
    assert (edges[0] == 0).all() and (edges[1] == 255).all() and set(np.unique(edges)) == {0, 255}


def test_cases_of_a_fixed_batch_have_no_other(shaped):
    cases = _cases(shaped["mixed_model"])
    assert [case.name for case in cases.cases] == ["typical, batch 4", "edges, batch 4"]
    assert {case.rows for case in cases.cases} == {4}
    edges = cases.cases[1].inputs
    assert edges["ids"][:2].tolist() == [[0, -5], [99, 5]] and edges["ids"].dtype == np.int32
    assert edges["hour"][:2].tolist() == [[0], [23]] and edges["hour"].dtype == np.int64


@pytest.mark.parametrize("batch", [1, 5])
def test_random_cases_stay_where_the_batch_fits(batch):
    schema = Schema(
        "one",
        (Tensor("x", "", tuple(Dimension(f"d{i}", "") for i in range(3))),),
        MIXED.outputs,
        batch,
    )
    named = set(golden.draw(schema, {"x": np.ones((1, 3), np.float32)}))
    random = {1: "one random case", 5: "five random cases"}[batch]
    assert named == {f"typical, batch {batch}", f"edges, batch {batch}", random}


def test_cases_of_large_pictures_are_fewer():
    large = Schema("large", (Tensor("x", shape=(3, 224, 224)),), (Tensor("y", shape=(1000,)),))
    drawn = golden.draw(large, {"x": np.zeros((1, 3, 224, 224), np.float32)})
    rows = {name: len(inputs["x"]) for name, inputs in drawn.items()}
    assert rows["typical, batch 4"] == 4 and sum(rows.values()) * large.row_bytes < 10 << 20
    larger = Schema("larger", (Tensor("x", shape=(3, 512, 512)),), (Tensor("y", shape=(1,)),))
    rows = [
        len(i["x"])
        for i in golden.draw(larger, {"x": np.zeros((1, 3, 512, 512), np.float32)}).values()
    ]
    assert rows == [1, 1, 1]


@BOTH
def test_the_tolerance_is_in_parts_of_the_scale(shaped, name):
    cases = _cases(shaped[name])
    for output in SHAPED[name].output_names:
        scale = max(1, max(float(np.abs(case.trained[output]).max()) for case in cases.cases))
        assert cases.scale(output) == scale
        assert {
            file: allowed[output] for file, allowed in cases.tolerance.items()
        } == dict.fromkeys(FILES, 1e-5 * scale)
    assert max(map(cases.trained_difference, FILES)) < 1e-5
    if name == "picture_model":
        assert cases.scale("embedding") > 1, "or this proves nothing"


def test_a_large_array_stands_once_in_both_forms(shaped):
    """In the JSON, where it is in the binary form."""
    folder = shaped["picture_model"]
    content, cases = (folder / archive.GOLDEN).read_bytes(), _cases(folder)
    told = json.loads((folder / archive.GOLDEN_JSON).read_text())
    assert told["format"] == 2 and told["inputs"] == [
        {"name": "image", "shape": [12, 12, 3], "dtype": "uint8"}
    ]
    assert told["outputs"][1] == {"name": "embedding", "shape": [8], "dtype": "float32"}
    large = 0
    for one, case in zip(told["cases"], cases.cases, strict=True):
        pixels = one["inputs"]["image"]
        if isinstance(pixels, dict):
            pixels = list(content[pixels["at"] : pixels["at"] + pixels["count"]])
            large += 1
        assert pixels == case.inputs["image"].reshape(-1).tolist(), case.name
        for file in FILES:
            found = np.float32(one["expected"][file]["embedding"]).reshape(-1, 8)
            assert np.array_equal(found, case.expected[file]["embedding"])
    assert large == 2 and len(json.dumps(told)) < 1 << 20
    assert golden.to_bytes(cases) == content


def test_places_are_right_behind_other_arrays():
    schema = Schema(
        "wide",
        (
            Tensor("a", shape=(3,)),
            Tensor("b", shape=(300, 300), dtype="int64", high=9),
            Tensor("c", shape=(70_000,)),
        ),
        (Tensor("y", shape=(2, 40_000)), Tensor("z", shape=(1,), dtype="int32", high=5)),
    )
    rng = np.random.default_rng(0)
    inputs = {t.name: rng.integers(0, 9, (2, *t.shape)).astype(t.dtype) for t in schema.inputs}
    outputs = {t.name: rng.integers(0, 5, (2, *t.shape)).astype(t.dtype) for t in schema.outputs}
    ends = golden.described(schema.inputs), golden.described(schema.outputs)
    allowed = {"model.tflite": {"y": 1e-5, "z": 1e-5}}
    cases = golden.Golden(
        *ends, allowed, (golden.Case("one", inputs, outputs, {"model.tflite": outputs}),) * 2
    )
    content, told = golden.to_bytes(cases), json.loads(golden.to_json(cases))
    assert content == golden.to_bytes(golden.from_bytes(content))
    assert golden.to_json(golden.from_bytes(content)) == golden.to_json(cases)
    for one in told["cases"]:
        parts = (
            (one["inputs"], inputs),
            (one["trained model"], outputs),
            (one["expected"]["model.tflite"], outputs),
        )
        for values, wanted in parts:
            for name, array in wanted.items():
                place = values[name]
                if isinstance(place, dict):
                    place = np.frombuffer(content, array.dtype, place["count"], place["at"])
                assert np.array_equal(np.reshape(place, array.shape), array), name


def test_an_output_that_mnn_gives_in_another_type_is_refused(tmp_path):
    """MNN has no cast from float32 to int64: it gives the float32, and of a copy into integers
    zeros.
    """
    import keras

    from helpers.convert import mnn
    from helpers.frameworks import keras as framework

    schema = Schema(
        "numbers", (Tensor("x", shape=(3,)),), (Tensor("y", dtype="int64", shape=(1,), high=100),)
    )
    x = keras.Input((3,), name="x")
    y = keras.ops.cast(keras.ops.sum(x, axis=-1, keepdims=True), "int64")
    framework.export(keras.Model(x, y, name="numbers"), schema, tmp_path / "model.tflite")
    inputs = {"x": np.float32([[1, 2, 3], [4, 5, 6]])}
    assert open_model(tmp_path / "model.tflite", schema, trusted=True).score(inputs).tolist() == [
        [6],
        [15],
    ]
    with pytest.raises(
        WorkbenchError,
        match="y is float32 in MNN, the model says int64: MNN has no such conversion",
    ):
        mnn.convert(tmp_path / "model.tflite", schema, tmp_path / "model.mnn")


@BOTH
def test_it_is_installed_after_its_cases_came_out_right(shaped, tmp_path, name):
    checked = client.install(str(publish(shaped[name], tmp_path / "server")), tmp_path / "phone")
    assert checked.cases == dict.fromkeys(FILES, len(_cases(shaped[name]).cases))


@BOTH
@pytest.mark.parametrize("file", FILES)
def test_one_changed_weight_is_not_installed(shaped, tmp_path, name, file):
    shutil.copytree(shaped[name], tmp_path / "bundle")
    (tmp_path / "bundle" / file).write_bytes(changed_float((shaped[name] / file).read_bytes()))
    write_manifest(tmp_path / "bundle", SHAPED[name])
    with pytest.raises(DamagedFile, match=f"{file} does not score as it should in"):
        client.install(str(publish(tmp_path / "bundle", tmp_path / "server")), tmp_path / "phone")
    assert client.current(tmp_path / "phone") is None


@pytest.mark.parametrize("output", PICTURE.output_names)
@pytest.mark.parametrize("wrong", [0.01, np.nan])
def test_each_output_is_compared_and_named(shaped, output, wrong):
    folder = shaped["picture_model"]
    model, cases = open_model(folder / "model.tflite", PICTURE, trusted=True), _cases(folder)

    class Wrong(Scoring):
        def predict(self, inputs):
            outputs = model.predict(inputs)
            outputs[output][-1, 2] += wrong
            return outputs

    assert golden.failures(cases, "model.tflite", model) == []
    said = golden.failures(cases, "model.tflite", Wrong())
    assert len(said) == len(cases.cases)
    number = r"(nan|-?\d\.\d+)"
    line = (
        rf"edges, batch 20: {output}, row 19 scores {number} at \[2\] and not {number} \(at most .*"
        r" apart\)"
    )
    assert re.fullmatch(line, said[3]), said[3]


def test_one_output_that_varies_proves_enough_and_none_does_not(shaped):
    cases = _cases(shaped["picture_model"])

    def same_rows(values):
        return values * 0 + np.arange(values.shape[1], dtype="f4")

    def constant(*names):
        changed = []
        for case in cases.cases:
            expected = {
                file: {
                    name: same_rows(values) if name in names else values
                    for name, values in outputs.items()
                }
                for file, outputs in case.expected.items()
            }
            changed.append(replace(case, expected=expected))
        return golden.to_bytes(replace(cases, cases=tuple(changed)))

    assert golden.from_bytes(constant("kind"))
    with pytest.raises(DamagedFile, match="one score for everything would pass them all"):
        golden.from_bytes(constant("kind", "embedding"))


def test_a_tolerance_beyond_its_scale_is_refused(shaped):
    cases = _cases(shaped["picture_model"])
    scale = cases.scale("embedding")
    for value, good in ((0.04 * scale, True), (0.06 * scale, False)):
        allowed = {
            file: {**by_output, "embedding": value} for file, by_output in cases.tolerance.items()
        }
        content = golden.to_bytes(replace(cases, tolerance=allowed))
        if good:
            assert golden.from_bytes(content).tolerance == allowed
        else:
            with pytest.raises(DamagedFile, match="prove nothing"):
                golden.from_bytes(content)


def test_cases_of_another_shape_or_batch_are_refused(shaped, tmp_path):
    for name, change, message in (
        (
            "picture_model",
            {"shape": [-1, 12, 12, 4]},
            "image uint8 .12, 12, 3., the model has image uint8 .12, 12, 4.",
        ),
        ("mixed_model", {"shape": [-1, 5]}, "batch"),
        ("mixed_model", None, r"have \[4\] rows, the model takes 8 at a time"),
    ):
        folder = tmp_path / f"{name}{change is None}"
        shutil.copytree(shaped[name], folder)
        told = json.loads((folder / "model.json").read_text())
        if change is not None:
            told["schema"]["inputs"][0] |= change
        else:
            for tensor in (*told["schema"]["inputs"], *told["schema"]["outputs"]):
                tensor["shape"][0] = 8
        (folder / "model.json").write_text(json.dumps(told))
        with pytest.raises(DamagedFile, match=message):
            client.verify(folder)


def test_damage_to_the_shapes_is_refused(shaped):
    content = (shaped["picture_model"] / archive.GOLDEN).read_bytes()
    place = content.index(b"image") + 5  # dtype, number of axes, axes
    for at, number, message in (
        (0, 4, "a number is 4, 0 to 3"),
        (4, 0, "a number is 0, 1 to 6"),
        (4, 7, "a number is 7, 1 to 6"),
        (8, 0, "a number is 0, 1 to 4194304"),
        (8, 1 << 22, "'image' has the shape"),
        (8, 1 << 23, "a number is 8388608"),
    ):
        damaged = bytearray(content)
        damaged[place + at : place + at + 4] = number.to_bytes(4, "little")
        with pytest.raises(DamagedFile, match=message):
            golden.from_bytes(bytes(damaged))


def test_what_an_earlier_version_made_is_said_to_be_so(shaped, unpacked, tmp_path):
    cure = "made by an earlier version: run stage 06 again, which makes the bundle anew"
    content = (unpacked / archive.GOLDEN).read_bytes()
    with pytest.raises(DamagedFile, match=f"^the golden cases were {cure}$"):
        golden.from_bytes(b"GOLDEN01" + content[8:])
    for form in ({}, {"format": 1}):
        folder = tmp_path / f"bundle{len(form)}"
        shutil.copytree(unpacked, folder)
        told = json.loads((folder / "model.json").read_text())
        del told["format"]
        (folder / "model.json").write_text(json.dumps(told | form))
        with pytest.raises(DamagedFile, match=f"^model.json was {cure}$"):
            client.verify(folder)
        descriptor = publish(folder, tmp_path / f"server{len(form)}")
        with pytest.raises(DamagedFile, match=f"^model.json was {cure}$"):
            client.install(str(descriptor), tmp_path / "phone")
        told = json.loads(descriptor.read_text())
        del told["format"]
        descriptor.write_text(json.dumps(told | form))
        with pytest.raises(DamagedFile, match=f"^bundle.json was {cure}$"):
            client.install(str(descriptor), tmp_path / "phone")
    descriptor.write_text(json.dumps(told | {"format": 3}))
    with pytest.raises(DamagedFile, match="bundle.json has the format '3', this version reads 2"):
        client.install(str(descriptor), tmp_path / "phone")


def test_an_installed_version_of_before_is_replaced_and_not_gone_back_to(
    installed, unpacked, tmp_path, ranking
):
    old = client.current(installed)
    told = json.loads((old / "model.json").read_text())
    (old / "model.json").write_text(json.dumps(told | {"format": 1}))
    shutil.copytree(unpacked, tmp_path / "v2")
    write_manifest(tmp_path / "v2", ranking.schema, "v2")
    client.install(str(publish(tmp_path / "v2", tmp_path / "server-v2", "v2")), installed)
    with pytest.raises(DamagedFile, match="model.json was made by an earlier version"):
        client.rollback(installed)
    assert client.current(installed).name.startswith("v2-")


def test_tables_have_a_row_for_a_tensor_without_dimensions(shaped):
    table = make.input_table(PICTURE)
    assert table.reset_index().to_numpy().tolist() == [
        ["image", "uint8", "12 x 12 x 3", "a picture, row by row, RGB", "0 to 255"]
    ]
    assert [row[2] for row in make.input_table(MIXED).reset_index().to_numpy().tolist()] == [
        0,
        1,
        2,
        3,
        4,
        0,
        1,
        0,
    ]
    cases = _cases(shaped["picture_model"])
    assert set(make.cases_table(cases)["model.mnn moves by"]) == {"under 1e-05"}
    first = cases.cases[0]
    embedding = first.expected["model.mnn"]["embedding"] + np.float32(
        0.5 * cases.scale("embedding")
    )
    expected = {
        **first.expected,
        "model.mnn": {**first.expected["model.mnn"], "embedding": embedding},
    }
    moved = replace(cases, cases=(replace(first, expected=expected), *cases.cases[1:]))
    assert make.cases_table(moved)["model.mnn moves by"].iloc[0] == "5e-01", (
        "the furthest output, by its scale"
    )


def test_raw_sessions_need_any_number_of_single_scores(shaped):
    for schema in (PICTURE, MIXED):
        with pytest.raises(BadInput, match="must give any number of candidates one float32 each"):
            sources.render(schema, FILES, {"tflite": "2.9.0", "mnn": "3.1.0"}, encoding=True)
    with pytest.raises(
        BadInput, match=r"kind is float32 \[4\]: candidates are ordered by one float32 each"
    ):
        make.raw_contents(None, [], {}, PICTURE, {})


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> dict[tuple[str, str], list[str] | str]:
    """The command of each runner by model and file, or why there is none."""
    made = {}
    for name, schema in SHAPED.items():
        folder = tmp_path_factory.mktemp("sources")
        for path, text in sources.render(
            schema, FILES, {"tflite": "2.9.0", "mnn": "3.1.0"}
        ).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        for file in FILES:
            try:
                made[name, file] = native.build(
                    folder / "c", tmp_path_factory.mktemp("built"), file
                )
            except native.NotHere as reason:
                made[name, file] = str(reason)
    return made


def _run(commands, name, file, model, cases) -> native.Outcome:
    command = commands[name, file]
    if isinstance(command, str):
        pytest.skip(command)
    return native.run(command, model, cases)


@BOTH
@pytest.mark.parametrize("file", FILES)
def test_the_runner_reproduces_every_case(commands, shaped, name, file):
    outcome = _run(commands, name, file, shaped[name] / file, shaped[name] / archive.GOLDEN)
    said = [line for line in outcome.lines if line.startswith("ok ")]
    assert outcome.status == 0 and len(said) == len(_cases(shaped[name]).cases), outcome.lines
    if name == "picture_model":
        assert all(re.search(r"\((kind|embedding), row \d+, at most", line) for line in said), said


@BOTH
@pytest.mark.parametrize("file", FILES)
def test_the_runner_fails_one_changed_weight(commands, shaped, tmp_path, name, file):
    (tmp_path / file).write_bytes(changed_float((shaped[name] / file).read_bytes()))
    outcome = _run(commands, name, file, tmp_path / file, shaped[name] / archive.GOLDEN)
    assert outcome.status == 1 and any(line.startswith("FAIL") for line in outcome.lines), (
        outcome.lines
    )


@pytest.mark.parametrize("output", PICTURE.output_names)
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("where", [(0, 0), (-1, -1)])
def test_the_runner_compares_every_value_of_every_output(
    commands, shaped, tmp_path, output, file, where
):
    cases = _cases(shaped["picture_model"])
    case = cases.cases[2]
    values = case.expected[file][output].copy()
    values[where] += 3 * cases.tolerance[file][output]
    changed = replace(
        case, expected={**case.expected, file: {**case.expected[file], output: values}}
    )
    (tmp_path / "golden.bin").write_bytes(
        golden.to_bytes(replace(cases, cases=(cases.cases[0], changed, cases.cases[3])))
    )
    outcome = _run(
        commands, "picture_model", file, shaped["picture_model"] / file, tmp_path / "golden.bin"
    )
    failed = [line for line in outcome.lines if line.startswith("FAIL")]
    row = where[0] % case.rows
    assert (
        outcome.status == 1 and len(failed) == 1 and f"({output}, row {row}, at most" in failed[0]
    ), outcome.lines


@pytest.mark.parametrize("file", FILES)
def test_the_runner_refuses_another_number_of_rows_than_the_fixed(commands, shaped, tmp_path, file):
    cases = _cases(shaped["mixed_model"])

    def first(named):
        return {name: values[:3] for name, values in named.items()}

    parts = tuple(
        golden.Case(
            case.name,
            first(case.inputs),
            first(case.trained),
            {f: first(o) for f, o in case.expected.items()},
        )
        for case in cases.cases
    )
    (tmp_path / "golden.bin").write_bytes(golden.to_bytes(replace(cases, cases=parts)))
    outcome = _run(
        commands, "mixed_model", file, shaped["mixed_model"] / file, tmp_path / "golden.bin"
    )
    said = [line for line in outcome.lines if "the model takes 4 rows at a time, not 3" in line]
    assert outcome.status == 1 and len(said) == 2, outcome.lines


@pytest.mark.parametrize("file", FILES)
def test_the_runner_refuses_cases_of_another_shape(commands, shaped, tmp_path, file):
    content = bytearray((shaped["picture_model"] / archive.GOLDEN).read_bytes())
    place = content.index(b"image") + 5 + 8
    content[place : place + 12] = np.array([12, 3, 12], "<u4").tobytes()
    (tmp_path / "golden.bin").write_bytes(content)
    outcome = _run(
        commands, "picture_model", file, shaped["picture_model"] / file, tmp_path / "golden.bin"
    )
    assert outcome.status == 2 and "golden cases of another model: image" in outcome.lines, (
        outcome.lines
    )


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("name, output", [("picture_model", "kind"), ("mixed_model", "score")])
def test_the_runner_refuses_a_model_of_another_schema(commands, shaped, name, output, file):
    other = next(n for n in SHAPED if n != name)
    outcome = _run(commands, name, file, shaped[other] / file, shaped[name] / archive.GOLDEN)
    assert outcome.status == 2 and any(
        SHAPED[name].input_names[0] in line for line in outcome.lines
    ), outcome.lines


def test_integers_outside_their_range_are_refused_in_both_runners(commands, shaped, tmp_path):
    cases = _cases(shaped["mixed_model"])
    case = cases.cases[0]
    ids = case.inputs["ids"].copy()
    ids[2, 1] = 6
    wrong = replace(case, inputs={**case.inputs, "ids": ids})
    (tmp_path / "golden.bin").write_bytes(
        golden.to_bytes(replace(cases, cases=(wrong, cases.cases[1])))
    )
    for file in FILES:
        outcome = _run(
            commands, "mixed_model", file, shaped["mixed_model"] / file, tmp_path / "golden.bin"
        )
        assert outcome.status == 1
        assert "ids is 6 in row 2, column 1: it takes -5 to 5" in "\n".join(outcome.lines), (
            outcome.lines
        )
