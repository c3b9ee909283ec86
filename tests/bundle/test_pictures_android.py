"""The preparation of pictures in Kotlin, and the classifier, compiled and run on the JVM: the bytes
of Pillow and the golden pictures, with TensorFlow Lite itself.
"""

import io
import json
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import test_android as android
import test_pictures_native as c
from bundling import write_manifest
from picturing import PLAIN, Stored, answers, encoded, frame, noise, picture_frame, turned
from PIL import Image
from test_android import stubs  # noqa: F401 (a fixture)
from test_pictures_golden import FIXED, classifier, fixed  # noqa: F401

from helpers.bundle import sources
from helpers.pictures import Preparation

pytestmark = pytest.mark.slow


SCHEMAS = {"PictureKinds": c.picture_schema(), "OtherKinds": FIXED}


@pytest.fixture(scope="module")
def compiled(stubs, tmp_path_factory) -> Path:  # noqa: F811
    """The sources of two bundles, one of a fixed batch, compiled in one call."""
    folder = tmp_path_factory.mktemp("kotlin")
    for name, schema in SCHEMAS.items():
        rendered = sources.render(schema, ["model.tflite"], android.MINIMUM, pictures=True)
        (folder / name).mkdir()
        for path, text in rendered.items():
            if path.startswith("android/") and path.endswith(".kt"):
                (folder / name / Path(path).name).write_text(text)
        exercise = (android.STUBS / "ExercisePictures.kt").read_text()
        (folder / name / "Exercise.kt").write_text(
            exercise.replace("NAME", name).replace("PACKAGE", name.lower())
        )
    done = android._kotlinc("-cp", stubs, "-d", folder / "classes", *folder.glob("*/*.kt"))
    assert done.returncode == 0 and not done.stderr, done.stderr
    return folder / "classes"


@pytest.fixture(scope="module")
def java(compiled, stubs):  # noqa: F811
    def java(*arguments, name="PictureKinds", first=(), **properties) -> bytes:
        path = [*first, compiled, stubs, android.KOTLIN / "lib" / "kotlin-stdlib.jar"]
        said = [f"-D{key}={value}" for key, value in properties.items()]
        command = ["java", "-Djava.awt.headless=true", *said, "-cp", ":".join(map(str, path))]
        done = subprocess.run(
            [*command, f"{name.lower()}.ExerciseKt", *arguments], capture_output=True, timeout=180
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        return done.stdout

    return java


@pytest.fixture(scope="module")
def run(java, tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")

    def run(frames: list[bytes], options=()) -> list[tuple[str, bytes]]:
        (folder / "frames").write_bytes(b"".join(frames))
        said = answers(java(folder / "frames"))
        assert len(said) == len(frames)
        return said

    return run


# what the tests of C ask, asked of Kotlin
test_every_size_gives_the_bytes_of_pillow = c.test_every_size_gives_the_bytes_of_pillow
test_every_preparation_gives_the_bytes_of_pillow = (
    c.test_every_preparation_gives_the_bytes_of_pillow
)
test_every_orientation_turns_as_pillow_does = c.test_every_orientation_turns_as_pillow_does
test_every_colour_and_alpha_lies_over_the_background_as_said = (
    c.test_every_colour_and_alpha_lies_over_the_background_as_said
)
test_the_tensor_has_the_order_and_the_range_of_the_preparation = (
    c.test_the_tensor_has_the_order_and_the_range_of_the_preparation
)
test_a_picture_of_the_camera_is_prepared_with_little_memory = (
    c.test_a_picture_of_the_camera_is_prepared_with_little_memory
)
test_a_preparation_that_is_none_is_refused_by_what_is_wrong = (
    c.test_a_preparation_that_is_none_is_refused_by_what_is_wrong
)


def test_a_picture_that_is_too_large_is_refused(run):
    stored = Stored(np.zeros((4, 6, 3), np.uint8))
    headers = {
        (0, 4, 18, 3, 0, 1): "no pixels",
        (20_001, 1, 60_003, 3, 0, 1): "20001 x 1 pixels",
        (8001, 8000, 24_003, 3, 0, 1): "64000000 together",
    }
    frames = [picture_frame(stored, header=header) for header in headers]
    for (status, why), wanted in zip(
        run([c.preparing(PLAIN), *frames])[1:], headers.values(), strict=True
    ):
        assert status == "refused" and wanted in why.decode()


def _exif(orientation, order: str, *, more: int = 0) -> bytes:
    """An EXIF block in either byte order, with entries before that of the orientation."""
    exif = Image.Exif()
    exif.endian = order
    for tag in range(more):
        exif[256 + tag] = tag
    exif[274] = orientation
    return exif.tobytes()


def test_the_orientation_of_a_file_is_that_which_pillow_reads(run):
    """Of every format and byte order; damaged blocks say nothing."""
    pixels = Image.fromarray(noise(random.Random(0), 20, 10))
    files = []
    for form in ("JPEG", "PNG", "WEBP"):
        for orientation in (0, 1, 2, 5, 6, 8, 9, 300):
            for order in "<>":
                content = io.BytesIO()
                pixels.save(content, form, exif=_exif(orientation, order, more=3))
                files.append((content.getvalue(), orientation if 1 <= orientation <= 8 else 1))
        content = io.BytesIO()
        pixels.save(content, form)
        files.append((content.getvalue(), 1))
    content = io.BytesIO()
    comment = {"comment": b"x" * 500, "icc_profile": bytes(70_000), "exif": _exif(3, "<")}
    pixels.save(content, "JPEG", **comment)
    files.append((content.getvalue(), 3))
    whole = files[4][0]
    rng = random.Random(1)
    for _ in range(300):  # nothing that is cut short or changed does more than say 1 to 8
        damaged = bytearray(whole[: rng.randint(0, 200)])
        for _ in range(rng.randint(0, 3)):
            if damaged:
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        files.append((bytes(damaged), None))
    said = run([frame("O", content) for content, _ in files])
    for (content, wanted), (status, found) in zip(files, said, strict=True):
        assert status == "ok" and 1 <= found[0] <= 8
        assert wanted in (None, found[0]), (content[:60], wanted, found)
        if wanted is not None:
            exif = Image.open(io.BytesIO(content)).getexif().get(274, 1)
            assert exif == wanted or not 1 <= exif <= 8


def test_files_are_prepared_within_one_step_of_pillow(run, capsys):
    """JPEG by the JVM's own decoder, of every quality and subsampling; PNG exactly."""
    rng, files = random.Random(2), []
    preparation = PLAIN | {"shorter": 54, "size": 48}
    for orientation, quality, subsampling in ((1, 95, 0), (6, 90, 2), (3, 75, 2), (8, 60, 1)):
        for width, height in ((312, 200), (199, 401), (640, 480)):
            smooth = Image.fromarray(noise(rng, 12, 9)).resize((width, height), Image.BICUBIC)
            stored = Stored(np.asarray(smooth), orientation)
            files.append(encoded(stored, "JPEG", quality=quality, subsampling=subsampling))
    grey = io.BytesIO()
    Image.fromarray(noise(rng, 90, 70)).convert("L").save(grey, "JPEG", quality=90)
    files.append(grey.getvalue())
    for subsampling in (0, 2):
        rough = Stored(np.asarray(Image.fromarray(noise(rng, 301, 203))))
        files.append(encoded(rough, "JPEG", quality=85, subsampling=subsampling))
    jpegs = len(files)
    for channels in (3, 4):
        files.append(encoded(Stored(noise(rng, 80, 61, channels), 7)))
    said = run([c.preparing(preparation), *(frame("F", content) for content in files)])[1:]
    prepare = Preparation(shorter=54, size=48)
    apart = []
    for content, (status, found) in zip(files, said, strict=True):
        assert status == "ok", found
        wanted = prepare.prepare(prepare.decode(content, "a file")).astype(int)
        apart.append(np.abs(np.frombuffer(found, np.uint8).reshape(48, 48, 3) - wanted))
    assert max(a.max() for a in apart[jpegs:]) == 0
    furthest, share = max(a.max() for a in apart[:jpegs]), np.mean([a > 0 for a in apart[:jpegs]])
    with capsys.disabled():
        print(f"\nJPEG by javax.imageio: at most {furthest} apart, {share:.2%} of bytes differ")
    assert furthest <= 1


@pytest.fixture
def assets(classifier, tmp_path) -> Path:  # noqa: F811
    folder = tmp_path / "assets" / "PictureKinds"
    shutil.copytree(classifier, folder)
    return folder


def _lines(java, stubs, assets, tmp_path) -> list[str]:  # noqa: F811
    built, classes = android.natives(stubs, tmp_path)
    said = java(name=assets.name, first=[classes], assets=assets.parent, interpreter=built)
    return said.decode().splitlines()


def test_the_classifier_does_what_it_promises(java, stubs, assets, tmp_path):  # noqa: F811
    lines = _lines(java, stubs, assets, tmp_path)
    told = [line for line in lines if line.startswith(("ok ", "FAIL"))]
    assert len(told) == 5 + 8 and all(line.startswith("ok ") for line in told), "\n".join(lines)


def test_a_fixed_batch_is_filled_up(java, stubs, fixed, tmp_path):  # noqa: F811
    folder = tmp_path / "assets" / "OtherKinds"
    shutil.copytree(fixed, folder)
    lines = _lines(java, stubs, folder, tmp_path)
    told = [line for line in lines if line.startswith(("ok ", "FAIL"))]
    assert len(told) == 5 + 8 and all(line.startswith("ok ") for line in told), "\n".join(lines)


@pytest.mark.parametrize(
    "old, new",
    [('"triangle"', '"cubic"'), ('"RGB"', '"BGR"'), ('"high": 1.0', '"high": 255.0')],
)
def test_another_preparation_is_noticed(java, stubs, assets, tmp_path, old, new):  # noqa: F811
    text = (assets / "features.json").read_text()
    assert old in text
    (assets / "features.json").write_text(text.replace(old, new))
    write_manifest(assets, c.picture_schema())
    failed = [line for line in _lines(java, stubs, assets, tmp_path) if line.startswith("FAIL")]
    assert len(failed) == 1 and "reproducesEveryPicture" in failed[0]


def test_labels_of_another_model_are_refused(java, stubs, assets, tmp_path):  # noqa: F811
    manifest = json.loads((assets / "model.json").read_text())
    manifest["schema"]["outputs"][0]["dimensions"].pop()
    (assets / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(AssertionError, match=r"does not name the 3 labels of kind"):
        _lines(java, stubs, assets, tmp_path)


def test_what_turns_pictures_here_turns_them_as_pillow_does():
    """The reference itself: `picturing.turned` against `ImageOps.exif_transpose`."""
    from PIL import ImageOps

    pixels = noise(random.Random(3), 7, 5)
    for orientation in range(1, 9):
        image = Image.open(io.BytesIO(encoded(Stored(pixels, orientation))))
        upright = np.asarray(ImageOps.exif_transpose(image))
        np.testing.assert_array_equal(upright, turned(Stored(pixels, orientation)))
