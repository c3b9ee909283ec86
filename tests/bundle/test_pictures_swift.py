"""The preparation of pictures in Swift, and the classifier, compiled and run: the bytes of Pillow
and the golden pictures, with TensorFlow Lite's C library.

``stubs/swift_pictures`` gives Core Graphics and ImageIO their interface on Linux; there they decode
PAM, and the golden pictures are of that form.
"""

import re
import shutil
from pathlib import Path

import pytest
import test_pictures_android as android
import test_pictures_native as c
from bundling import ios_module
from picturing import answers, pam, stored
from test_pictures_golden import FIXED, classifier, fixed  # noqa: F401 (fixtures)
from test_swift import _PLACES, LANGUAGES, _main, swift  # noqa: F401

from helpers.bundle import sources

pytestmark = pytest.mark.slow
STUBS = Path(__file__).parent / "stubs" / "swift_pictures"
NAME, OTHER, FILE = "PictureKinds", "OtherKinds", "model.tflite"


def _rendered(schema) -> dict[str, str]:
    rendered = sources.render(schema, [FILE], {"tflite": "2.9.0"}, pictures=True)
    return ios_module(rendered)


@pytest.fixture(scope="module")
def files(swift):  # noqa: F811
    """The sources of two bundles of pictures, one of a fixed batch, as files of one app."""
    for name in ("CoreGraphics", "ImageIO"):
        module = ["-emit-module", "-emit-library", "-parse-as-library", "-module-name", name]
        shutil.copy(STUBS / f"{name}.swift", swift.folder)
        link = ["-lCoreGraphics"] if name == "ImageIO" else []
        done = swift("swiftc", *module, *_PLACES, f"{name}.swift", "-o", f"lib{name}.so", *link)
        assert done.returncode == 0, done.stderr
    texts = _rendered(c.picture_schema()) | _rendered(FIXED)
    assert len(texts) == 2 * 11
    texts["frames.swift"] = (STUBS / "frames.swift").read_text().replace("NAME", NAME)
    tests = _main(texts.values())
    start = (
        "if CommandLine.arguments.count == 3 {\n    try answerFrames(CommandLine.arguments[2])\n"
    )
    texts["main.swift"] = tests.replace("XCTMain", f"{start}    exit(0)\n}}\nXCTMain", 1)
    (swift.folder / "app").mkdir()
    for path, text in texts.items():
        (swift.folder / "app" / path).write_text(text)
    return [f"app/{path}" for path in texts]


@pytest.mark.parametrize("language", LANGUAGES)
def test_two_bundles_compile_in_one_module_without_a_warning(swift, files, language):  # noqa: F811
    own = [file for file in files if not file.endswith(("frames.swift", "main.swift"))]
    done = swift(
        "swiftc", "-typecheck", *LANGUAGES[language], "-module-name", "App", *_PLACES, *own
    )
    assert done.returncode == 0 and not done.stderr and not done.stdout, done.stdout + done.stderr


def test_it_compiles_without_imageio(swift, files):  # noqa: F811
    """As on Linux: decoded pixels are all that can be given then."""
    own = [
        file for file in files if not file.endswith(("frames.swift", "main.swift", "Tests.swift"))
    ]
    folder = swift.folder / "plain"
    folder.mkdir()
    hidden = [swift.folder / f"{name}.swiftmodule" for name in ("CoreGraphics", "ImageIO")]
    for path in hidden:
        path.rename(folder / path.name)
    done = swift("swiftc", "-typecheck", "-module-name", "App", *_PLACES, *own)
    for path in hidden:
        (folder / path.name).rename(path)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr


@pytest.fixture(scope="module")
def app(swift, files, classifier, fixed):  # noqa: F811
    """The tests of both bundles as a program, its resources beside it, and what answers frames."""
    link = ["-lTensorFlowLite", "-lCoreGraphics", "-lImageIO", "-Xlinker", "-rpath", "-Xlinker"]
    link += ["/work", "-module-name", "App", "-o", "app/app"]
    done = swift("swiftc", "-O", "-wmo", *LANGUAGES["6"], *_PLACES, *link, *files)
    assert done.returncode == 0, done.stdout + done.stderr
    for name, bundle in ((OTHER, fixed), (NAME, classifier)):
        folder = swift.folder / "app" / name
        shutil.copytree(bundle, folder)
        for path in folder.glob("picture-*"):
            path.write_bytes(pam(stored(path.read_bytes())))

    def run(*tests: str) -> tuple[int, str]:
        done = swift("app/app", *tests)
        return done.returncode, done.stdout + done.stderr

    run.folder = folder
    return run


@pytest.fixture(scope="module")
def run(swift, app):  # noqa: F811
    def run(frames: list[bytes], options=()) -> list[tuple[str, bytes]]:
        (swift.folder / "frames").write_bytes(b"".join(frames))
        done = swift("app/app", "frames", "frames")
        assert done.returncode == 0, done.stderr[-2000:]
        said = answers((swift.folder / "frames.answers").read_bytes())
        assert len(said) == len(frames)
        return said

    return run


# what the tests of C ask, asked of Swift
test_every_size_gives_the_bytes_of_pillow = c.test_every_size_gives_the_bytes_of_pillow
test_every_preparation_gives_the_bytes_of_pillow = (
    c.test_every_preparation_gives_the_bytes_of_pillow
)
test_every_orientation_turns_as_pillow_does = c.test_every_orientation_turns_as_pillow_does
test_every_colour_and_alpha_lies_over_the_background_as_said = (
    c.test_every_colour_and_alpha_lies_over_the_background_as_said
)
test_premultiplied_colours_are_within_one_step = c.test_premultiplied_colours_are_within_one_step
test_the_tensor_has_the_order_and_the_range_of_the_preparation = (
    c.test_the_tensor_has_the_order_and_the_range_of_the_preparation
)
test_a_picture_of_the_camera_is_prepared_with_little_memory = (
    c.test_a_picture_of_the_camera_is_prepared_with_little_memory
)
test_a_preparation_that_is_none_is_refused_by_what_is_wrong = (
    c.test_a_preparation_that_is_none_is_refused_by_what_is_wrong
)
test_a_picture_that_is_too_large_is_refused = android.test_a_picture_that_is_too_large_is_refused


def test_every_test_of_both_bundles_passes(app):
    status, said = app()
    assert status == 0, said[-3000:]
    for name in (NAME, OTHER):
        assert len(re.findall(rf"Test Case '{name}PicturesTests\.\w+' passed", said)) == 6
        assert len(re.findall(rf"Test Case '{name}GoldenTests\.\w+' passed", said)) >= 7


@pytest.mark.parametrize(
    "old, new",
    [('"triangle"', '"cubic"'), ('"RGB"', '"BGR"'), ('"high": 1.0', '"high": 255.0')],
)
def test_another_preparation_is_noticed(app, old, new):
    path = app.folder / "features.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    status, said = app(f"App.{NAME}PicturesTests/testEveryPictureIsReproduced")
    path.write_text(text)
    assert status == 1 and "picture-02.png" in said, said
