"""Golden sessions, and their runner in C: raw JSON to order, with the real TensorFlow Lite and a
model of 24 ids.
"""

import json
import random
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bundling import feed_schema

from helpers import features
from helpers.bundle import native, sessions, sources
from helpers.errors import BadInput, DamagedFile
from helpers.features import Bucketize, Encoding, Equal, LabelEncode, Plain
from helpers.runtimes import open_model

FILE = "model.tflite"


def _encoding(mode: str = "separate") -> Encoding:
    rng = random.Random(0)
    made = []
    for i in range(6):
        own, other = f"8000{20 + i}", f"8000{30 + i}"
        ids = [rng.randrange(-(2**63), 2**63) for _ in range(40)] + [2**53, 2**53 + 1, 5, 6, 5]
        made += [
            Bucketize(
                f"f{i}", ("last_click", "candidate")[i % 2], own, (-1.5, 0, 0.1, i + 1, 887, 2**53)
            ),
            LabelEncode(
                f"l{i}", ("candidate", "last_click")[i % 2], own, rng.sample(ids, len(ids))
            ),
            Plain(f"p{i}", "candidate", other, 30),
            Equal(f"d{i}", own, own),
        ]
    return Encoding(made, mode)


def _formula(inputs) -> np.ndarray:
    """Scores without a model, with ties and zeros of both signs."""
    total = sum((i + 1) * values[:, 0] for i, values in enumerate(inputs.values())) % 7 - 3
    return np.where(total == 0, np.where(np.arange(len(total)) % 2, 0.0, -0.0), total / 8).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def plain() -> sessions.Sessions:
    encoding = _encoding()
    return sessions.make(encoding, sessions.generate(encoding), {FILE: _formula}, {FILE: 1e-5})


def test_sessions_come_back_from_their_text(plain):
    text = sessions.to_json(plain)
    read = sessions.from_json(text)
    assert sessions.to_json(read) == text and text.isascii()
    assert sessions.failures(read, FILE, _encoding(), _formula) == []


def test_generated_sessions_are_hard(plain):
    cases = {case.name: case for case in plain.cases}
    sizes = {len(case.expected[FILE]) for case in plain.cases}
    assert {0, 1, 20, 257} <= sizes
    values = {i for case in plain.cases for ids in case.inputs.values() for i in ids[:, 0].tolist()}
    assert {0, 1, 2} <= values
    for encoder in (
        _encoding().encoders
    ):  # every encoder meets missing, unknown if it knows it, and known values
        seen = {i for case in plain.cases for i in case.inputs[encoder.name][:, 0].tolist()}
        assert {0, 1, 2} <= seen, encoder.name
    assert len(set(cases["all tie"].expected[FILE].tolist())) == 1
    assert cases["all tie"].order[FILE] == list(features.read(cases["all tie"].raw).info_ids)
    assert "\\u006F" in cases["names, keys escaped"].raw and "é" in cases["names, not escaped"].raw
    ids = {name: case.inputs for name, case in cases.items() if name.startswith("names")}
    for other in ("names, keys escaped",):
        assert all((ids["names"][n] == ids[other][n]).all() for n in ids["names"])


def test_what_is_not_reproduced_is_told(plain):
    encoding, raw = _encoding(), plain.cases[2]
    first = encoding.encoders[0]
    other = Encoding(
        [replace(first, boundaries=(-1.5, 0, 0.1, 1.000001, 887, 2**53)), *encoding.encoders[1:]]
    )
    assert any("input f0, row" in line for line in sessions.failures(plain, FILE, other, _formula))
    assert sessions.failures(plain, FILE, _encoding("published"), _formula)
    moved = sessions.failures(
        plain, FILE, encoding, lambda inputs: _formula(inputs) + np.float32(1e-3)
    )
    assert (
        len(moved) == len(plain.cases) - 1 and "scores" in moved[0]
    )  # the one without candidates has no scores
    nan = sessions.failures(
        plain, FILE, encoding, lambda inputs: _formula(inputs) * np.float32("nan")
    )
    assert len(nan) == len(plain.cases) - 1
    swapped = replace(raw, order={FILE: raw.order[FILE][::-1]})
    told = sessions.failures(sessions.Sessions({FILE: 1e-5}, (swapped,)), FILE, encoding, _formula)
    assert len(told) == 1 and "place 0" in told[0]
    for order in (raw.order[FILE][1:], ["nobody", *raw.order[FILE][1:]]):
        foreign = sessions.Sessions({FILE: 1e-5}, (replace(raw, order={FILE: order}),))
        assert (
            "the order is not one of its candidates"
            in sessions.failures(foreign, FILE, encoding, _formula)[0]
        )


def test_sessions_that_prove_nothing_are_refused(plain):
    encoding = _encoding()
    with pytest.raises(BadInput, match="needs a tolerance"):
        sessions.make(encoding, {}, {FILE: _formula}, {FILE: 0.5})
    with pytest.raises(BadInput, match="session 'a': the session is not JSON"):
        sessions.make(encoding, {"a": "{"}, {FILE: _formula}, {FILE: 1e-5})
    with pytest.raises(BadInput, match="session 'a': the score of"):
        raw = {"a": plain.cases[1].raw}
        sessions.make(encoding, raw, {FILE: lambda x: np.array([np.nan])}, {FILE: 1e-5})
    content = json.loads(sessions.to_json(plain))
    for change in (
        lambda c: c.update(format=2),
        lambda c: c.update(sessions=[]),
        lambda c: c["tolerance"].update({FILE: 1}),
        lambda c: c["sessions"][0].pop("raw"),
        lambda c: c["sessions"][1]["inputs"].update(f0=[2**70]),
        lambda c: c["sessions"][1]["inputs"].update(f0=["3"]),
        lambda c: c["sessions"][1]["inputs"].update(f0=[True]),
        lambda c: c["sessions"][1]["expected"].update({FILE: [1e300]}),
        lambda c: c["sessions"][1]["expected"].update({FILE: [float("nan")]}),
        lambda c: c["sessions"][1].update(more=1),
    ):
        damaged = json.loads(json.dumps(content))
        change(damaged)
        with pytest.raises(DamagedFile, match="cannot be read"):
            sessions.from_json(json.dumps(damaged))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with ``model.tflite`` of 24 ids, ``features.json`` and ``sessions.json``, and the
    runner's command.
    """
    folder, encoding = tmp_path_factory.mktemp("feed"), _encoding()
    schema = feed_schema(encoding.names, encoding.sizes)
    for name, text in sources.render(schema, [FILE], {"tflite": "2.9.0"}, encoding=True).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    try:
        command = native.build_rerank(folder / "c", folder)
    except native.NotHere as reason:
        pytest.skip(str(reason))
    weights = _convert(encoding, schema, folder / FILE)
    encoding.save(folder / "features.json")
    opened = open_model(folder / FILE, schema, trusted=True)
    made = sessions.make(encoding, sessions.generate(encoding), {FILE: opened.score}, {FILE: 1e-5})
    (folder / "sessions.json").write_text(sessions.to_json(made))
    return SimpleNamespace(
        folder=folder,
        command=command,
        encoding=encoding,
        schema=schema,
        weights=weights,
        opened=opened,
        made=made,
    )


def _convert(encoding: Encoding, schema, path: Path) -> np.ndarray:
    """Write a model of the encoding's inputs; the weights of the first layer are given."""
    import keras
    import tensorflow as tf

    from helpers.frameworks import keras as framework

    class Lookup(keras.layers.Layer):
        def __init__(self, rows: int, **options):
            super().__init__(**options)
            self.rows = rows

        def build(self, shape):
            wide = keras.initializers.RandomNormal(stddev=2)
            self.table = self.add_weight(shape=(self.rows, 4), initializer=wide, name="table")

        def call(self, ids):
            return tf.gather(self.table, ids[:, 0])

    keras.utils.set_random_seed(1)
    inputs = [keras.Input((1,), name=name, dtype="int64") for name in encoding.names]
    sizes = encoding.sizes
    joined = keras.layers.Concatenate()(
        [Lookup(sizes[i.name], name=f"of_{i.name}")(i) for i in inputs]
    )
    hidden = keras.layers.Dense(16, activation="relu", kernel_initializer="random_normal")(joined)
    score = keras.layers.Dense(1, activation="sigmoid")(hidden)
    model = keras.Model(dict(zip(encoding.names, inputs, strict=True)), score)
    framework.export(model, schema, path)
    return model.layers[-2].get_weights()[0]


def _run(model, **replaced: Path) -> native.Outcome:
    paths = {name: model.folder / name for name in (FILE, "features.json", "sessions.json")}
    paths |= {name.replace("_", "."): path for name, path in replaced.items()}
    return native.run(model.command, *paths.values())


def test_the_runner_reproduces_every_session(model):
    outcome = _run(model)
    said = [line for line in outcome.lines if line.startswith("ok ")]
    assert outcome.status == 0 and len(said) == len(model.made.cases), outcome.lines
    assert {"0", "1", "20", "257"} <= {
        re.search(r"(\d+) candidates, largest", line)[1] for line in said
    }
    scores = np.concatenate([case.expected[FILE] for case in model.made.cases])
    assert len(np.unique(scores)) > 200 and np.ptp(scores) > 0.1
    timed = native.run(
        model.command,
        *(model.folder / n for n in (FILE, "features.json", "sessions.json")),
        seconds=0.01,
    )
    assert timed.status == 0 and timed.microseconds["typical, 20 candidates"] > 0


@pytest.fixture(scope="module")
def on_mnn(model, tmp_path_factory):
    """The same model for MNN: a folder with ``model.mnn``, ``features.json`` and ``sessions.json``,
    and the runner's command.
    """
    from helpers.convert import mnn

    folder, file = tmp_path_factory.mktemp("mnn"), "model.mnn"
    both = sources.render(
        model.schema, [FILE, file], {"tflite": "2.9.0", "mnn": "3.1.0"}, encoding=True
    )
    for name, text in both.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    try:
        command = native.build_rerank(folder / "c", folder, file)
    except native.NotHere as reason:
        pytest.skip(str(reason))
    narrow = replace(
        model.schema, inputs=tuple(replace(t, dtype="int32") for t in model.schema.inputs)
    )
    mnn.convert(model.folder / FILE, narrow, folder / file, trusted=True)
    model.encoding.save(folder / "features.json")
    raws = {case.name: case.raw for case in model.made.cases}
    made = sessions.make(model.encoding, raws, {file: model.opened.score}, {file: 1e-5})
    (folder / "sessions.json").write_text(sessions.to_json(made))
    return SimpleNamespace(folder=folder, command=command, made=made, file=file)


def test_sessions_are_reranked_by_mnn_too(on_mnn):
    """Held against TensorFlow Lite's scores: 1e-5 apart at most."""
    names = (on_mnn.file, "features.json", "sessions.json")
    outcome = native.run(on_mnn.command, *(on_mnn.folder / name for name in names), seconds=0.01)
    assert outcome.status == 0, outcome.lines
    assert len([line for line in outcome.lines if line.startswith("ok ")]) == len(on_mnn.made.cases)
    assert "sessions reproduced by MNN " in outcome.lines[-1]
    assert outcome.microseconds["typical, 20 candidates"] > 0


def test_mnn_fails_a_model_with_one_weight_changed(on_mnn, model, tmp_path):
    content = bytearray((on_mnn.folder / on_mnn.file).read_bytes())
    row = np.ascontiguousarray(model.weights.T)[0].astype("<f4").tobytes()
    place = content.find(row)
    assert place > 0
    content[place : place + 4] = np.float32(model.weights[0, 0] + 0.5).tobytes()
    (tmp_path / on_mnn.file).write_bytes(content)
    paths = (on_mnn.folder / "features.json", on_mnn.folder / "sessions.json")
    outcome = native.run(on_mnn.command, tmp_path / on_mnn.file, *paths)
    assert outcome.status == 1 and any(
        line.startswith("FAIL") and "scores" in line for line in outcome.lines
    )
    (tmp_path / on_mnn.file).write_bytes(b"no model")
    outcome = native.run(on_mnn.command, tmp_path / on_mnn.file, *paths)
    assert outcome.status == 2 and "the model cannot be used" in outcome.lines[-1]


def test_the_runner_fails_a_model_with_one_weight_changed(model, tmp_path):
    content = bytearray((model.folder / FILE).read_bytes())
    row = np.ascontiguousarray(model.weights.T)[0].astype("<f4").tobytes()
    place = content.find(row)
    assert place > 0
    content[place : place + 4] = np.float32(model.weights[0, 0] + 0.5).tobytes()
    (tmp_path / FILE).write_bytes(content)
    outcome = _run(model, model_tflite=tmp_path / FILE)
    assert outcome.status == 1 and any(
        line.startswith("FAIL") and "scores" in line for line in outcome.lines
    )


def test_the_runner_fails_an_encoding_with_one_boundary_changed(model, tmp_path):
    first = model.encoding.encoders[0]
    changed = replace(first, boundaries=(-1.5, 0, 0.1, 1.000001, 887, 2**53))
    Encoding([changed, *model.encoding.encoders[1:]]).save(tmp_path / "features.json")
    outcome = _run(model, features_json=tmp_path / "features.json")
    assert outcome.status == 1 and any(
        line.startswith("FAIL") and "input f0, row" in line for line in outcome.lines
    )


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda c: c["inputs"]["f1"].__setitem__(3, 99), "input f1, row 3 is"),
        (lambda c: c["inputs"]["f1"].pop(), "input f1 has 20 rows"),
        (lambda c: c["inputs"].pop("f1"), "input f1 has 20 rows"),
        (lambda c: c["inputs"].update(new=[0]), "other inputs"),
        (lambda c: c["expected"][FILE].__setitem__(3, 2.0), "row 3 scores"),
        (lambda c: c["expected"][FILE].append(0.5), "other scores"),
        (lambda c: c["order"][FILE].reverse(), "is not expected there"),
        (lambda c: c["order"][FILE].__setitem__(0, "nobody"), "place 0"),
        (lambda c: c["order"][FILE].pop(), "another number of posts"),
        (lambda c: c.update(raw=c["raw"][:-1]), "the session is not JSON"),
        (lambda c: c.pop("raw"), "is no golden session"),
    ],
)
def test_the_runner_fails_sessions_that_say_something_else(model, tmp_path, change, said):
    content = json.loads((model.folder / "sessions.json").read_text())
    one = next(c for c in content["sessions"] if c["name"] == "typical, 20 candidates")
    change(one)
    (tmp_path / "sessions.json").write_text(json.dumps(content))
    outcome = _run(model, sessions_json=tmp_path / "sessions.json")
    failed = [line for line in outcome.lines if line.startswith("FAIL")]
    assert outcome.status == 1 and len(failed) == 1 and said in failed[0], failed


def test_the_runner_refuses_what_it_cannot_use(model, tmp_path):
    (tmp_path / FILE).write_bytes(b"no model" * 100)
    assert _run(model, model_tflite=tmp_path / FILE).status == 2
    assert _run(model, features_json=tmp_path / FILE).status == 2
    assert _run(model, features_json=tmp_path / "nothing").status == 2
    assert _run(model, sessions_json=model.folder / "features.json").status == 2
    for change in (
        lambda c: c.update(format=2),
        lambda c: c["tolerance"].update({FILE: 1}),
        lambda c: c.update(sessions=[]),
    ):
        content = json.loads((model.folder / "sessions.json").read_text())
        change(content)
        (tmp_path / "sessions.json").write_text(json.dumps(content))
        assert _run(model, sessions_json=tmp_path / "sessions.json").status == 2
    shutil.copy(model.folder / FILE, tmp_path / "other.tflite")
    assert _run(model, model_tflite=tmp_path / "other.tflite").status == 2
    renamed = replace(model.encoding.encoders[0], name="nobody")
    Encoding([renamed, *model.encoding.encoders[1:]]).save(tmp_path / "features.json")
    outcome = _run(model, features_json=tmp_path / "features.json")
    assert outcome.status == 2 and "nobody" in outcome.lines[-1]


def test_ids_outside_the_tables_of_the_model_are_refused(model, tmp_path):
    """An encoding that came without its model: its vocabulary is longer than the model's table."""
    second = model.encoding.encoders[1]
    assert second.name == "l0"
    longer = replace(second, vocabulary=[10**9 + i for i in range(100)] + list(second.vocabulary))
    Encoding([model.encoding.encoders[0], longer, *model.encoding.encoders[2:]]).save(
        tmp_path / "features.json"
    )
    outcome = _run(model, features_json=tmp_path / "features.json")
    refused = [
        line
        for line in outcome.lines
        if re.search(r"l0 is \d{3} in row \d+, column 0: it takes 0 to", line)
    ]
    assert outcome.status == 1 and refused, outcome.lines


def test_cmake_builds_the_runner_of_sessions(model, tmp_path):
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not here")
    include, library = native._tflite()
    shutil.copytree(model.folder, tmp_path / "bundle")
    (tmp_path / "tflite" / "lib").mkdir(parents=True)
    (tmp_path / "tflite" / "include").symlink_to(include)
    (tmp_path / "tflite" / "lib" / library.name).symlink_to(library)
    build = [
        "cmake",
        "-S",
        tmp_path / "bundle" / "c",
        "-B",
        tmp_path / "build",
        f"-DTFLITE_ROOT={tmp_path / 'tflite'}",
    ]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    subprocess.run(["cmake", "--build", tmp_path / "build"], check=True, capture_output=True)
    done = subprocess.run(
        ["ctest", "--test-dir", tmp_path / "build", "-R", "rerank"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "100% tests passed, 0 tests failed out of 1" in done.stdout
