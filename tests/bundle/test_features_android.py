"""The encoding in Kotlin, compiled and run on the JVM: the ids and the refusals of
`helpers.features`.
"""

import json
import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import test_android as android
import test_features as cases
import test_features_native as c
import test_rerank_native as rerank
from bundling import feed_schema
from test_android import stubs  # noqa: F401 (a fixture)
from test_rerank_native import model  # noqa: F401

from helpers.bundle import sessions, sources
from helpers.features import Encoding

pytestmark = pytest.mark.slow
ENCODING = rerank._encoding()


@pytest.fixture(scope="module")
def compiled(stubs, tmp_path_factory) -> Path:  # noqa: F811
    folder = tmp_path_factory.mktemp("kotlin")
    rendered = sources.render(
        feed_schema(ENCODING.names), ["model.tflite"], android.MINIMUM, encoding=True
    )
    for path, text in rendered.items():
        if path.startswith("android/") and path.endswith(".kt"):
            (folder / Path(path).name).write_text(text)
    exercise = (android.STUBS / "ExerciseFeatures.kt").read_text()
    (folder / "Exercise.kt").write_text(
        exercise.replace("NAME", "FeedModel").replace("PACKAGE", "feedmodel")
    )
    done = android._kotlinc("-cp", stubs, "-d", folder / "classes", *folder.glob("*.kt"))
    assert done.returncode == 0 and not done.stderr, done.stderr
    return folder / "classes"


@pytest.fixture(scope="module")
def java(compiled, stubs):  # noqa: F811
    def java(*arguments, first=(), **properties) -> list[str]:
        path = ":".join(
            map(str, [*first, compiled, stubs, android.KOTLIN / "lib" / "kotlin-stdlib.jar"])
        )
        said = [f"-D{name}={value}" for name, value in properties.items()]
        command = ["java", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", *said, "-cp", path]
        done = subprocess.run(
            [*command, "feedmodel.ExerciseKt", *arguments], capture_output=True, timeout=120
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        return done.stdout.decode(errors="replace").split("\n")[:-1]

    return java


@pytest.fixture(scope="module")
def run(java, tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")

    def run(frames: list[bytes], options=()) -> list[str]:
        (folder / "frames").write_bytes(b"".join(frames))
        lines = java(folder / "frames")
        assert len(lines) == len(frames)
        return lines

    return run


def test_generated_sessions_have_the_same_ids(run):
    rng = random.Random(0)
    pairs = [
        (cases._encoding(rng), [json.dumps(cases._raw(rng)) for _ in range(10)]) for _ in range(200)
    ]
    pairs += [(encoding, list(sessions.generate(encoding).values())) for encoding, _ in pairs[:8]]
    c._compare(run, pairs)


# what the tests of C ask, asked of Kotlin
test_every_text_has_the_same_id_with_every_encoder = (
    c.test_every_text_has_the_same_id_with_every_encoder
)
test_numbers_fall_on_the_same_side_of_a_boundary = (
    c.test_numbers_fall_on_the_same_side_of_a_boundary
)
test_a_large_vocabulary_is_looked_up = c.test_a_large_vocabulary_is_looked_up
test_what_is_no_json_is_refused_and_nothing_else = (
    c.test_what_is_no_json_is_refused_and_nothing_else
)
test_bad_sessions_are_refused_in_the_place_where_they_are_wrong = (
    c.test_bad_sessions_are_refused_in_the_place_where_they_are_wrong
)
test_nesting_has_a_limit = c.test_nesting_has_a_limit
test_damaged_sessions_are_refused_where_python_refuses_them = (
    c.test_damaged_sessions_are_refused_where_python_refuses_them
)
test_damaged_encodings_are_refused_where_python_refuses_them = (
    c.test_damaged_encodings_are_refused_where_python_refuses_them
)


def _assets(folder: Path, encoding: Encoding, golden_of: Encoding) -> None:
    """The stub's model, an encoding, and the golden sessions of an encoding."""
    folder = folder / "FeedModel"
    folder.mkdir(parents=True)
    schema = feed_schema(encoding.names)
    lines = [f"input {t.name} int64 1" for t in reversed(schema.inputs)] + [
        f"output {schema.output.name} float32 1"
    ]
    (folder / "model.tflite").write_text("\n".join(lines) + "\n")
    encoding.save(folder / "features.json")
    score = {"model.tflite": lambda inputs: android._score(schema, inputs)}
    made = sessions.make(golden_of, sessions.generate(golden_of), score, {"model.tflite": 1e-5})
    (folder / "sessions.json").write_text(sessions.to_json(made))


def test_golden_sessions_are_reproduced(java, tmp_path):
    _assets(tmp_path / "assets", ENCODING, ENCODING)
    lines = java(assets=tmp_path / "assets")
    assert len(lines) == 3 and all(line.startswith("ok ") for line in lines), lines


def test_a_changed_boundary_is_noticed(java, tmp_path):
    first = replace(ENCODING.encoders[0], boundaries=(-1.5, 0, 0.1, 1.000001, 887, 2**53))
    other = Encoding([first, *ENCODING.encoders[1:]])
    _assets(tmp_path / "assets", other, ENCODING)
    lines = java(assets=tmp_path / "assets")
    failed = [line for line in lines if not line.startswith("ok ")]
    assert len(failed) == 1 and "golden sessions" in failed[0] and "input f0 is" in failed[0], lines


def test_tensorflow_lite_itself_reproduces_the_golden_sessions(java, stubs, model, tmp_path):  # noqa: F811
    """The compiled classes with a real model file, where TensorFlow Lite takes the place of its
    stub.
    """
    built, classes = android.natives(stubs, tmp_path)
    (tmp_path / "FeedModel").symlink_to(model.folder)
    lines = java(first=[classes], assets=tmp_path, interpreter=built)
    assert len(lines) == 3 and all(line.startswith("ok ") for line in lines), lines
