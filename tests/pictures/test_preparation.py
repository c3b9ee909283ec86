"""Picture files to tensors: Pillow and a slow loop are what the result is held to."""

import io
import json
import struct
import zlib

import numpy as np
import picture_reference
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from helpers import pictures
from helpers.errors import BadInput, DamagedFile
from helpers.pictures import Preparation

RNG = np.random.default_rng(7)
SMOOTH = (
    Image.fromarray(RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8))
    .resize((61, 43), Image.Resampling.BICUBIC)
    .convert("RGB")
)


def _saved(image, form, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _with_alpha() -> Image.Image:
    image = SMOOTH.copy()
    image.putalpha(Image.fromarray(RNG.integers(0, 256, (43, 61)).astype(np.uint8)))
    return image


def _exif(orientation) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return exif.tobytes()


# ---------------------------------------------------------------- resize and crop


@pytest.mark.parametrize("filter", ["triangle", "cubic"])
@pytest.mark.parametrize(
    ("width", "height", "shorter", "size"),
    [
        (61, 43, 16, 14),
        (43, 61, 16, 15),
        (9, 13, 20, 20),
        (20, 31, 20, 7),
        (50, 2, 3, 3),
        (1, 1, 8, 5),
    ],
)
def test_it_is_the_slow_loop(filter, width, height, shorter, size):
    pixels = RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)
    made = Preparation(shorter=shorter, size=size, filter=filter).prepare(pixels)
    np.testing.assert_array_equal(
        made, picture_reference.prepare(pixels, shorter, size, filter), strict=True
    )


@pytest.mark.parametrize("filter", ["triangle", "cubic", "nearest"])
def test_it_is_pillows_whole_resize_and_crop(filter):
    """From version 13 on Pillow resizes tall pictures in height first, which rounds otherwise: the
    order is that of the versions before.
    """
    resample = {"triangle": "BILINEAR", "cubic": "BICUBIC", "nearest": "NEAREST"}[filter]
    for _ in range(40):
        height, width = (int(n) for n in RNG.integers(40, 400, 2))
        size = int(RNG.integers(1, 60))
        shorter = size + int(RNG.integers(0, 12))
        pixels = RNG.integers(0, 256, (height, width, 3)).astype(np.uint8)
        if width <= height:
            sides = shorter, int(shorter * height / width)
        else:
            sides = int(shorter * width / height), shorter
        left, top = (round((side - size) / 2) for side in sides)
        whole, how = Image.fromarray(pixels), Image.Resampling[resample]
        if height > width:
            whole = whole.resize((sides[0], height), how)
        whole = whole.resize(sides, how)
        expected = np.asarray(whole.crop((left, top, left + size, top + size)))
        made = Preparation(shorter=shorter, size=size, filter=filter).prepare(pixels)
        np.testing.assert_array_equal(made, expected)


def test_a_very_long_picture_is_cut_in_bounded_memory():
    pixels = RNG.integers(0, 256, (1, 20_000, 3)).astype(np.uint8)
    made = Preparation(shorter=32, size=8).prepare(pixels)
    middle = picture_reference.prepare(pixels[:, 9_990:10_010], 32, 8, "triangle")
    assert np.abs(made.astype(int) - middle).max() <= 1  # the same neighbours, other rounding
    tall = Preparation(shorter=32, size=8).prepare(pixels.transpose(1, 0, 2))
    np.testing.assert_array_equal(tall, made.transpose(1, 0, 2))


def test_strips_do_not_change_the_result(monkeypatch):
    pixels = np.asarray(SMOOTH)
    whole = Preparation(shorter=30, size=28).prepare(pixels)
    monkeypatch.setattr(pictures.preparation, "_STRIP_PIXELS", 90)
    np.testing.assert_array_equal(Preparation(shorter=30, size=28).prepare(pixels), whole)


def test_values_are_of_the_range_and_the_order_of_colours():
    plain, other = Preparation(), Preparation(colours="BGR", low=-1.0, high=1.0)
    pixels = np.arange(768).reshape(16, 16, 3).astype(np.uint8)
    np.testing.assert_array_equal(
        plain.values(pixels), (pixels / 255.0).astype(np.float32), strict=True
    )
    steps = -1 + 2 * (pixels[..., ::-1] / 255.0)
    np.testing.assert_allclose(other.values(pixels), steps, rtol=0, atol=1.2e-7)
    assert other.values(pixels).dtype == np.float32


# ---------------------------------------------------------------- decoding


FILES = {
    "jpeg": _saved(SMOOTH, "JPEG", quality=90),
    "jpeg, colour at half the places": _saved(SMOOTH, "JPEG", quality=60, subsampling=2),
    "jpeg, progressive": _saved(SMOOTH, "JPEG", progressive=True),
    "jpeg, grey": _saved(SMOOTH.convert("L"), "JPEG"),
    "jpeg, CMYK, inverted as Adobe does": _saved(SMOOTH.convert("CMYK"), "JPEG"),
    "png": _saved(SMOOTH, "PNG"),
    "png, grey": _saved(SMOOTH.convert("L"), "PNG"),
    "png, one bit": _saved(SMOOTH.convert("1"), "PNG"),
    "png, palette": _saved(SMOOTH.quantize(9), "PNG"),
    "png, four-bit palette": _saved(SMOOTH.quantize(9), "PNG", bits=4),
    "webp": _saved(SMOOTH, "WEBP", lossless=True),
    "bmp": _saved(SMOOTH, "BMP"),
    "gif": _saved(SMOOTH.quantize(30), "GIF"),
}


@pytest.mark.parametrize("name", FILES)
def test_an_opaque_file_is_what_pillow_converts_it_to(name):
    expected = np.asarray(Image.open(io.BytesIO(FILES[name])).convert("RGB"))
    np.testing.assert_array_equal(pictures.decode(FILES[name], name), expected, strict=True)


@pytest.mark.parametrize("background", [0, 77, 255])
@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_what_is_transparent_is_mixed_with_the_background(form, background):
    content = (
        _saved(_with_alpha(), form, lossless=True)
        if form == "WEBP"
        else _saved(_with_alpha(), form)
    )
    stored = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).astype(int)
    c, a = stored[..., :3], stored[..., 3:]
    made = pictures.decode(content, "it", background=background)
    np.testing.assert_array_equal(made, (c * a + background * (255 - a) + 127) // 255)
    behind = Image.new("RGBA", (61, 43), (background,) * 3 + (255,))
    composed = Image.alpha_composite(behind, Image.open(io.BytesIO(content)).convert("RGBA"))
    assert np.abs(made.astype(int) - np.asarray(composed.convert("RGB"))).max() <= 1


@pytest.mark.parametrize(
    "content",
    [
        _saved(_with_alpha().convert("LA"), "PNG"),
        _saved(SMOOTH.quantize(9), "PNG", transparency=bytes([0, 128, 255])),
        _saved(SMOOTH.quantize(9), "PNG", transparency=3),
        _saved(SMOOTH.quantize(9), "GIF", transparency=3),
        _saved(SMOOTH.convert("L"), "PNG", transparency=100),
        _saved(SMOOTH, "PNG", transparency=SMOOTH.getpixel((5, 5))),
    ],
    ids=["LA", "palette", "one of a palette", "GIF", "one grey", "one colour"],
)
def test_every_kind_of_transparency_counts(content):
    stored = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA")).astype(int)
    c, a = stored[..., :3], stored[..., 3:]
    assert (a < 255).any()
    np.testing.assert_array_equal(
        pictures.decode(content, "it"), (c * a + 255 * (255 - a) + 127) // 255
    )


def test_sixteen_bits_become_their_upper_eight():
    grey = RNG.integers(0, 65536, (9, 8)).astype(np.uint16)
    made = pictures.decode(_saved(Image.fromarray(grey), "PNG"), "grey")
    np.testing.assert_array_equal(made, np.repeat((grey >> 8)[..., None], 3, axis=2))
    colours = RNG.integers(0, 65536, (9, 8, 3)).astype(">u2")
    content = _png(8, 9, 16, 2, b"".join(b"\0" + row.tobytes() for row in colours))
    np.testing.assert_array_equal(pictures.decode(content, "colours"), colours >> 8)


def _png(width: int, height: int, bits: int, kind: int, rows: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("orientation", [*range(0, 10), 274])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_turned_as_pillow_turns_it(form, orientation):
    content = _saved(SMOOTH, form, exif=_exif(orientation))
    image = Image.open(io.BytesIO(content))
    expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    np.testing.assert_array_equal(pictures.decode(content, "it"), expected)
    stored = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(pictures.decode(content, "it", upright=False), stored)
    assert pictures.described(content, "it")["orientation"] == (
        orientation if 1 <= orientation <= 8 else 1
    )
    as_stored = Preparation(shorter=20, size=18, orientation=False)
    np.testing.assert_array_equal(
        as_stored.tensor(content, "it"), as_stored.values(as_stored.prepare(stored))
    )


def test_a_damaged_exif_block_turns_nothing():
    for block in (b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0nonsense", b"Exif\0\0"):
        content = _saved(SMOOTH, "JPEG", exif=block)
        assert pictures.decode(content, "it").shape == (43, 61, 3)


def test_an_orientation_that_is_not_exifs_is_not_heeded():
    """Pillow reads it from XMP too, decoders of phones do not."""
    text = PngInfo()
    text.add_itxt("XML:com.adobe.xmp", '<x tiff:Orientation="6"/>')
    content = _saved(SMOOTH, "PNG", pnginfo=text)
    assert ImageOps.exif_transpose(Image.open(io.BytesIO(content))).size == (43, 61)
    assert pictures.decode(content, "it").shape == (43, 61, 3)


def test_a_moving_picture_is_its_first_frame():
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "lime")]
    content = _saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (pictures.decode(content, "it") == [255, 0, 0]).all()


def test_a_file_is_told_in_words():
    content = _saved(SMOOTH.convert("L"), "JPEG", exif=_exif(6))
    assert pictures.described(content, "it") == {
        "width": 61,
        "height": 43,
        "orientation": 6,
        "says": "JPEG, grey, lying on its side",
    }
    assert (
        pictures.described(_saved(_with_alpha(), "PNG"), "it")["says"] == "PNG, partly transparent"
    )


# ---------------------------------------------------------------- files that are none


JPEG, PNG = FILES["jpeg"], FILES["png"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"cat.jpg is empty: it has 0 bytes"),
        (b"<html>not found</html>", r"cat.jpg is no picture that can be read"),
        (JPEG[: len(JPEG) // 2], r"cat.jpg is damaged or cut short \(OSError: .*truncated"),
        (PNG[: len(PNG) // 2], r"cat.jpg is damaged or cut short"),
        (JPEG[:3], r"cat.jpg is (no picture|damaged)"),
        (PNG[:60] + bytes(40) + PNG[100:], r"cat.jpg is damaged or cut short"),
        (FILES["webp"][:200], r"cat.jpg is (no picture|damaged)"),
        (FILES["gif"][:200], r"cat.jpg is damaged or cut short"),
        (_saved(SMOOTH, "TIFF"), r"cat.jpg is no picture that can be read.*JPEG, PNG, WEBP"),
    ],
)
def test_what_is_no_whole_picture_is_told_by_its_name(content, said):
    for take in (pictures.decode, pictures.described, Preparation().tensor):
        with pytest.raises(DamagedFile, match=said):
            take(content, "cat.jpg")


def test_no_damage_raises_anything_else():
    for name, content in FILES.items():
        for _ in range(25):
            damaged = bytearray(content[: int(RNG.integers(1, len(content) + 1))])
            for place in RNG.integers(0, len(damaged), 6):
                damaged[place] = RNG.integers(0, 256)
            try:
                made = pictures.decode(bytes(damaged), name)
            except (DamagedFile, BadInput) as error:
                assert str(error).startswith(name)
            else:
                assert made.dtype == np.uint8 and made.ndim == 3


@pytest.mark.parametrize(
    ("width", "height"), [(20_001, 1), (1, 20_001), (10_000, 6_401), (20_000, 20_000)]
)
def test_too_large_a_picture_is_refused_before_it_is_decoded(width, height):
    """Its rows are not even there."""
    content = _png(width, height, 8, 2, b"")
    with pytest.raises(BadInput, match=r"cat.png has .*pixels.*save it smaller"):
        pictures.decode(content, "cat.png")


def test_the_largest_side_is_decoded():
    content = _saved(Image.new("L", (20_000, 2), 9), "PNG")
    assert pictures.decode(content, "it").shape == (2, 20_000, 3)


def test_a_file_is_read_up_to_a_length(tmp_path, monkeypatch):
    path = tmp_path / "cat.jpg"
    path.write_bytes(JPEG)
    assert pictures.read(path) == JPEG
    monkeypatch.setattr(pictures.decoding, "MOST_BYTES", len(JPEG) - 1)
    with pytest.raises(BadInput, match=r"cat.jpg has more than .* bytes"):
        pictures.read(path)
    with pytest.raises(DamagedFile, match=r"dog.jpg cannot be read"):
        pictures.read(tmp_path / "dog.jpg")


# ---------------------------------------------------------------- features.json


def test_it_travels_as_json(tmp_path):
    made = Preparation(shorter=256, size=224, filter="cubic", colours="BGR", low=-1, background=0)
    made.save(tmp_path / "features.json")
    assert pictures.load(tmp_path / "features.json") == made
    assert json.loads((tmp_path / "features.json").read_text()) == {
        "format": 1,
        "kind": "pictures",
        "input": "image",
        "shorter": 256,
        "size": 224,
        "filter": "cubic",
        "colours": "BGR",
        "low": -1.0,
        "high": 1.0,
        "background": 0,
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "format is 2, this version reads 1"),
        ({"format": True}, "format is True"),
        ({"kind": "sessions"}, "kind is 'sessions'"),
        ({"size": None}, "size must be 1 to 1024, not None"),
        ({"size": True}, "size must be 1 to 1024, not True"),
        ({"size": 48.0}, "size must be"),
        ({"size": 60}, "size 60 cannot be cut from a shorter side of 54"),
        ({"shorter": 5000}, "shorter must be 1 to 1024"),
        ({"filter": "nearest"}, "no device prepares pictures with the filter 'nearest'"),
        ({"filter": "lanczos"}, "filter must be one of triangle, cubic, nearest, not 'lanczos'"),
        ({"colours": ["RGB"]}, "colours must be one of RGB, BGR"),
        ({"low": "0"}, "low must be a plain number, not '0'"),
        ({"low": 1.0}, "low 1.0 must be below its high 1.0"),
        ({"background": 256}, "background must be 0 to 255, not 256"),
        ({"input": ""}, "input must be the name of one"),
        ({"sise": 48}, "unknown 'sise' .did you mean size"),
        ({"orientation": False}, "unknown 'orientation'"),
    ],
)
def test_what_is_no_preparation_is_refused(change, said, tmp_path):
    (tmp_path / "features.json").write_text(json.dumps(Preparation().to_json() | change))
    with pytest.raises(BadInput, match=f"features.json: .*{said}"):
        pictures.load(tmp_path / "features.json")


def test_a_missing_key_and_a_damaged_file_are_told(tmp_path):
    path, plain = tmp_path / "features.json", Preparation().to_json()
    for key in plain:
        path.write_text(json.dumps({k: v for k, v in plain.items() if k != key}))
        with pytest.raises(BadInput, match=f"has no {key}"):
            pictures.load(path)
    for content in ("", "[", '{"size": 1, "size": 2}', '{"low": NaN}', " " * 70_000):
        path.write_text(content)
        with pytest.raises(DamagedFile, match="cannot be read as JSON"):
            pictures.load(path)
    path.write_text("[]")
    with pytest.raises(BadInput, match="must be an object, not list"):
        pictures.load(path)
    path.unlink()
    with pytest.raises(DamagedFile, match="cannot be read as JSON"):
        pictures.load(path)


def test_planted_faults_have_no_json():
    for fault in ({"filter": "nearest"}, {"orientation": False}):
        with pytest.raises(BadInput, match="no device prepares pictures"):
            Preparation(**fault).to_json()


def test_pixels_of_another_form_are_refused():
    for wrong in (np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(BadInput, match="pixels are .height, width, 3. uint8"):
            Preparation().prepare(wrong)
