"""The preparation of pictures in C: Pillow's bytes, bit for bit, of any size, filter and
orientation, and no input that harms it.
"""

import json
import random
import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from picturing import (
    PLAIN,
    Stored,
    answers,
    expected,
    frame,
    noise,
    picture_frame,
    preparations,
    sizes,
    tensor,
)

from helpers.bundle import native, sources
from helpers.schema import Dimension, Schema, Tensor

PROGRAM = Path(__file__).parent / "stubs" / "c" / "prepare.c"
SANITISED = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover")
PLAIN_OPTIONS = ("-O2",)
LABELS = ("circle", "square", "a $tar")


def picture_schema(size: int = 12, batch: int | None = None) -> Schema:
    """Of a model that tells pictures apart."""
    dimensions = tuple(Dimension(label, f"probability of {label}") for label in LABELS)
    image = Tensor("image", shape=(size, size, 3), meaning="a picture, RGB")
    return Schema("picture_kinds", (image,), (Tensor("kind", "", dimensions),), batch=batch)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Prepare in C, with the sanitisers if asked for: an answer for each frame."""
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler")
    folder, built = tmp_path_factory.mktemp("prepare"), {}
    rendered = sources.render(
        picture_schema(), ["model.tflite"], {"tflite": "2.9.0"}, pictures=True
    )
    for name in ("c/json.h", "c/pictures.h"):
        (folder / Path(name).name).write_text(rendered[name])

    def run(frames: list[bytes], options: tuple[str, ...] = PLAIN_OPTIONS):
        if options not in built:
            program = folder / f"prepare{len(built)}"
            command = ["cc", "-std=c99", *native.WARNINGS, *options, f"-I{folder}", PROGRAM]
            done = subprocess.run([*command, "-lm", "-o", program], capture_output=True, text=True)
            if "libasan" in done.stderr or "libubsan" in done.stderr:
                pytest.skip("the compiler has no sanitisers")
            assert done.returncode == 0, done.stderr
            built[options] = program
        (folder / "frames").write_bytes(b"".join(frames))
        done = subprocess.run([built[options], folder / "frames"], capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
        said = answers(done.stdout)
        assert len(said) == len(frames)
        return said

    return run


def preparing(preparation: dict) -> bytes:
    return frame("E", json.dumps(preparation).encode())


def hold(run, preparation: dict, pictures: list[Stored], *options, **more) -> None:
    """Prepare pictures and compare every byte with what Pillow makes of them."""
    frames = [picture_frame(stored, **more) for stored in pictures]
    said = run([preparing(preparation), *frames], *options)
    assert said[0] == ("ok", b""), said[0]
    size = preparation["size"]
    for stored, (status, content) in zip(pictures, said[1:], strict=True):
        where = preparation, stored.pixels.shape, stored.orientation
        assert status == "ok", (content, where)
        found = np.frombuffer(content, np.uint8).reshape(size, size, 3).astype(int)
        apart = np.abs(found - expected(preparation, stored)).max()
        assert apart == 0, (apart, where)


@pytest.mark.parametrize("name", ["triangle", "cubic"])
def test_every_size_gives_the_bytes_of_pillow(run, name):
    rng = random.Random(name)
    preparation = PLAIN | {"filter": name}
    hold(run, preparation, [Stored(noise(rng, *size)) for size in sizes(rng)])


def test_every_preparation_gives_the_bytes_of_pillow(run):
    rng = random.Random(1)
    for _ in range(40):
        pictures = [
            Stored(
                noise(rng, rng.randint(1, 200), rng.randint(1, 200), rng.choice((3, 4))),
                rng.randint(0, 9),
            )
            for _ in range(8)
        ]
        hold(run, preparations(rng), pictures)


def test_every_orientation_turns_as_pillow_does(run):
    rng = random.Random(2)
    pictures = [
        Stored(noise(rng, *size), orientation)
        for size in ((40, 23), (23, 40), (15, 14), (1, 9))
        for orientation in range(10)
    ]
    hold(run, PLAIN, pictures)
    hold(run, PLAIN, pictures, padding=5)


def test_every_colour_and_alpha_lies_over_the_background_as_said(run):
    colour, alpha = np.meshgrid(np.arange(256), np.arange(256))
    pixels = np.stack([colour, 255 - colour, colour, alpha], axis=-1).astype(np.uint8)
    for background in (0, 100, 255):
        preparation = PLAIN | {"shorter": 256, "size": 256, "background": background}
        hold(run, preparation, [Stored(pixels)])


def test_premultiplied_colours_are_within_one_step(run):
    colour, alpha = np.meshgrid(np.arange(256), np.arange(256))
    multiplied = (colour * alpha + 127) // 255
    straight = np.stack([colour, colour, colour, alpha], axis=-1).astype(np.uint8)
    stored = np.stack([multiplied] * 3 + [alpha], axis=-1).astype(np.uint8)
    for background in (0, 100, 255):
        preparation = PLAIN | {"shorter": 256, "size": 256, "background": background}
        said = run([preparing(preparation), picture_frame(Stored(stored), premultiplied=True)])
        found = np.frombuffer(said[1][1], np.uint8).reshape(256, 256, 3).astype(int)
        apart = np.abs(found - expected(preparation, Stored(straight)))
        assert apart.max() <= 1


def test_the_tensor_has_the_order_and_the_range_of_the_preparation(run):
    rng = random.Random(3)
    for colours, low, high in (("RGB", 0.0, 1.0), ("BGR", -1.0, 1.0), ("BGR", 0.1, 255.0)):
        preparation = PLAIN | {"colours": colours, "low": low, "high": high}
        stored = Stored(noise(rng, 30, 20))
        said = run([preparing(preparation), picture_frame(stored), frame("T", b"")])
        found = np.frombuffer(said[2][1], np.float32).reshape(12, 12, 3)
        wanted = tensor(preparation, expected(preparation, stored))
        assert wanted.dtype == np.float32
        np.testing.assert_array_equal(found, wanted)


def test_the_sanitisers_find_nothing(run):
    rng = random.Random(4)
    for _ in range(6):
        pictures = [
            Stored(noise(rng, width, height, rng.choice((3, 4))), rng.randint(1, 8))
            for width, height in (*sizes(rng)[:9], (50, 31), (200, 7))
        ]
        hold(run, preparations(rng), pictures, SANITISED)


def test_a_picture_of_the_camera_is_prepared_with_little_memory(run):
    rng = random.Random(5)
    hold(run, PLAIN | {"shorter": 256, "size": 224}, [Stored(noise(rng, 4000, 3000), 6)])


BAD = {
    "format": (2, "1", None, 1.0),
    "kind": ("picture", 1),
    "input": ("", 1, "a\0b", "x" * 257),
    "shorter": (0, -1, 1.5, "14", 5000, 2**40, True, 11),
    "size": (0, 15, None),
    "filter": ("bilinear", 0, ""),
    "colours": ("rgb", "RGBA"),
    "low": ("0", 1.0, 2.0, None, -1.1e6),
    "high": (0.0, -1, [1], 2e6),
    "background": (256, -1, 1.5, None),
}


def test_a_preparation_that_is_none_is_refused_by_what_is_wrong(run):
    cases = [(key, PLAIN | {key: value}) for key, values in BAD.items() for value in values]
    cases += [(key, {k: v for k, v in PLAIN.items() if k != key}) for key in PLAIN]
    cases += [("unknown key", PLAIN | {"more": 1}), ("object", [])]
    said = run([preparing(content) for _, content in cases])
    said += run([frame("E", b"{"), frame("E", b"")])
    cases += [("JSON", b"{"), ("JSON", b"")]
    for (key, content), (status, why) in zip(cases, said, strict=True):
        named = {"shorter": "s", "low": "low", "high": "high"}.get(key, key)
        assert status == "refused" and named in why.decode(), (key, content, why)


def test_a_picture_that_is_none_is_refused_by_what_is_wrong(run):
    stored = Stored(np.zeros((4, 6, 3), np.uint8))
    cases = {
        (0, 4, 18, 3, 0, 1): "no pixels",
        (6, 0, 18, 3, 0, 1): "no pixels",
        (20_001, 1, 60_003, 3, 0, 1): "20001 x 1 pixels",
        (1, 20_001, 3, 3, 0, 1): "1 x 20001 pixels",
        (8001, 8000, 24_003, 3, 0, 1): "64000000 together",
        (2**31, 2, 4, 3, 0, 1): "pixels",
        (6, 4, 17, 3, 0, 1): "stride is 17",
        (6, 4, 18, 2, 0, 1): "2 channels",
        (6, 4, 18, 1, 0, 1): "1 channels",
    }
    frames = [picture_frame(stored, header=header) for header in cases]
    said = run([preparing(PLAIN), *frames], SANITISED)
    for (status, why), wanted in zip(said[1:], cases.values(), strict=True):
        assert status == "refused" and wanted in why.decode(), (why, wanted)


def test_numbers_of_the_limits_are_those_of_the_other_languages():
    rendered = sources.render(
        picture_schema(), ["model.tflite"], {"tflite": "2.9.0"}, pictures=True
    )
    assert struct.calcsize("<6I") == 24  # of a frame's header
    for path, text in rendered.items():
        if "ictures" in path and not path.endswith(("Test.kt", "Tests.swift")):
            plain = text.replace("_", "")
            assert "20000" in plain and "64000000" in plain and "1024" in plain, path
