"""Sources for iOS, compiled by the Swift compiler and run: XCTests over TensorFlow Lite's C
library.

The compiler is that of ``.ci/swift``; ``stubs/swift`` gives the C library the interface of the pod.
Five bundles are compiled into one module, as in an app that has them all: one of the study
``ranking``, two that take raw sessions, and those of `bundling.SHAPED`, of pictures and of a fixed
batch.
"""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bundling import (
    SHAPED,
    changed_float,
    changed_weight,
    golden_cases,
    ios_module,
    nan_bias,
)
from test_rerank_native import model  # noqa: F401 (a fixture)

from helpers.bundle import golden, native, sources

pytestmark = pytest.mark.slow
STUBS = Path(__file__).parent / "stubs" / "swift"
FILE = "model.tflite"
BUNDLES = ("UltraSimpleRankingModel", "FeedModel", "SecondFeedModel", "PictureModel", "MixedModel")
ISOLATED = ("-default-isolation", "MainActor")


@pytest.fixture(scope="module")
def swift(tmp_path_factory):
    """Run a program where Swift is, in a folder that has TensorFlow Lite as a Swift module."""
    return compiler(tmp_path_factory.mktemp("swift"))


def compiler(folder: Path):
    """What the fixture `swift` gives, in an empty folder."""
    enter = native.tools() / "swift" / "enter"
    if not enter.exists():
        pytest.skip(
            f"no Swift compiler in {native.tools()}: run .ci/swift (Debian, on x86-64 or ARM)"
        )
    try:
        include, library = native._tflite()
    except native.NotHere as reason:
        pytest.skip(str(reason))
    shutil.copytree(include, folder, dirs_exist_ok=True)
    shutil.copy(library, folder)
    shutil.copytree(STUBS, folder, dirs_exist_ok=True)

    def run(*command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [enter, folder, *command], capture_output=True, text=True, timeout=300
        )

    run.folder = folder
    module = [
        "-emit-module",
        "-emit-library",
        "-parse-as-library",
        "-module-name",
        "TensorFlowLite",
    ]
    done = run("swiftc", *module, *_PLACES, "TensorFlowLite.swift", "-o", "libTensorFlowLite.so")
    assert done.returncode == 0 and "error" not in done.stderr, done.stderr
    return run


_PLACES = ("-I", ".", "-L", ".", "-Xcc", "-I.")


@pytest.fixture(scope="module")
def texts(ranking, model) -> dict[str, dict[str, str]]:  # noqa: F811
    """The Swift sources of all bundles, by class name and file name."""
    made = {}
    second = replace(model.schema, model_name="second feed model")
    schemas = {
        ranking.schema: False,
        model.schema: True,
        second: True,
        **dict.fromkeys(SHAPED.values(), False),
    }
    for schema, encoding in schemas.items():
        rendered = sources.render(schema, [FILE], {"tflite": "2.9.0"}, encoding=encoding)
        made[sources.class_name(schema.model_name)] = ios_module(rendered)
    assert {name: len(files) for name, files in made.items()} == dict(
        zip(BUNDLES, (8, 10, 10, 8, 8), strict=True)
    )
    return made


@pytest.fixture(scope="module")
def files(swift, texts) -> list[str]:
    """The sources of all bundles as files, and what runs their tests."""
    folder = swift.folder / "app"
    folder.mkdir()
    everything = {path: text for files in texts.values() for path, text in files.items()}
    assert len(everything) == sum(map(len, texts.values())), "files of two bundles have one name"
    everything["main.swift"] = _main(everything.values())
    for path, text in everything.items():
        (folder / path).write_text(text)
    return [f"app/{path}" for path in everything]


def _main(texts) -> str:
    """What calls every test: the compiler on Linux does not find them by itself."""
    classes = []
    for text in texts:
        if match := re.search(r"class (\w+): XCTestCase", text):
            tests = re.findall(r"^ +func (test\w+)\(\) *(async)?", text, re.MULTILINE)
            lines = [
                f'    ("{t}", {f"asyncTest({match[1]}.{t})" if a else f"{match[1]}.{t}"}),'
                for t, a in tests
            ]
            classes.append("testCase([\n" + "\n".join(lines) + "\n]),")
    return "import XCTest\n\nXCTMain([\n" + "\n".join(classes) + "\n])\n"


LANGUAGES = {
    "5": ("-swift-version", "5"),
    "6": ("-swift-version", "6"),
    "5, on the main actor": ("-swift-version", "5", *ISOLATED),
    "6, on the main actor": ("-swift-version", "6", *ISOLATED),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_five_bundles_compile_in_one_module_without_a_warning(swift, files, language):
    done = swift(
        "swiftc", "-typecheck", *LANGUAGES[language], "-module-name", "App", *_PLACES, *files
    )
    assert done.returncode == 0 and not done.stderr and not done.stdout, done.stdout + done.stderr


@pytest.fixture(scope="module")
def app(swift, files, unpacked, model, shaped):  # noqa: F811
    """The tests of all bundles as a program, its resources beside it: what a run of them says."""
    link = [
        "-lTensorFlowLite",
        "-Xlinker",
        "-rpath",
        "-Xlinker",
        "/work",
        "-module-name",
        "App",
        "-o",
        "app/app",
    ]
    done = swift("swiftc", *LANGUAGES["6, on the main actor"], *_PLACES, *link, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = swift.folder / "app"
    for name, place in zip(
        BUNDLES, (unpacked, model.folder, model.folder, *shaped.values()), strict=True
    ):
        (folder / name).mkdir()
        for file in (FILE, "golden.json", "golden.bin", "features.json", "sessions.json"):
            if (place / file).exists():
                shutil.copy(place / file, folder / name)
        if place == model.folder:
            (folder / name / "golden.json").write_text(golden.to_json(_golden(model)))

    def run(*tests: str) -> tuple[int, str]:
        done = swift("app/app", *tests)
        return done.returncode, done.stdout + done.stderr

    run.folder = folder
    return run


def _golden(model) -> golden.Golden:  # noqa: F811
    """Golden cases of the model that takes raw sessions."""
    typical = next(case.inputs for case in model.made.cases if len(case.expected[FILE]) == 20)
    scored = {}
    for name, inputs in golden.draw(model.schema, typical).items():
        scores = np.array(model.opened.score(inputs)).reshape(-1)
        scored[name] = inputs, scores, {FILE: scores}
    return golden_cases(model.schema, scored)


def test_every_test_of_every_bundle_passes_in_one_app(app):
    status, said = app()
    assert status == 0, said[-3000:]
    for name, tests in zip(BUNDLES, (9, 10, 10, 9, 10), strict=True):
        assert len(re.findall(rf"Test Case '{name}GoldenTests\.\w+' passed", said)) == tests
    assert len(re.findall(r"FeedModelSessionsTests\.\w+' passed", said)) == 4


@pytest.fixture
def replaced(app):
    """Replace the model of a bundle in the app for as long as a test runs, by default that of
    `ranking`.
    """
    before = {}

    def replace(content: bytes, name: str = BUNDLES[0]) -> None:
        path = app.folder / name / FILE
        before.setdefault(path, path.read_bytes())
        path.write_bytes(content)

    yield replace
    for path, content in before.items():
        path.write_bytes(content)


REPRODUCED = "App.UltraSimpleRankingModelGoldenTests/testEveryCaseIsReproduced"


def test_a_changed_weight_fails(app, replaced, unpacked, trained):
    replaced(changed_weight(unpacked / FILE, trained.model))
    status, said = app(REPRODUCED)
    assert status == 1 and "at most 1e-05 apart" in said, said


def test_scores_that_are_no_numbers_are_refused(app, replaced, unpacked, trained):
    replaced(nan_bias(unpacked / FILE, trained.model))
    status, said = app(REPRODUCED)
    assert status == 1 and "the score of row 0 is nan: the model file is damaged" in said, said


@pytest.mark.parametrize(
    "name, output", [("picture_model", "(kind|embedding)"), ("mixed_model", "score")]
)
def test_a_changed_weight_fails_in_whatever_output_it_is(app, replaced, shaped, name, output):
    bundle = sources.class_name(name)
    replaced(changed_float((shaped[name] / FILE).read_bytes()), bundle)
    status, said = app(f"App.{bundle}GoldenTests/testEveryCaseIsReproduced")
    assert status == 1 and re.search(rf"{output}, value \d+: .* apart", said), said
