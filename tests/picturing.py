"""What tests of picture preparation share: pictures, and what Pillow makes of them."""

import io
import itertools
import random
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image

PLAIN = {
    "format": 1,
    "kind": "pictures",
    "input": "image",
    "shorter": 14,
    "size": 12,
    "filter": "triangle",
    "colours": "RGB",
    "low": 0.0,
    "high": 1.0,
    "background": 255,
}
"""A preparation as ``features.json`` has it."""
FILTERS = {"triangle": Image.Resampling.BILINEAR, "cubic": Image.Resampling.BICUBIC}
TURNS = {  # Image.transpose, by EXIF orientation, as `ImageOps.exif_transpose` does it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Stored:
    """Pixels as a file stores them, ``(height, width, 3 or 4) uint8``, the colours not multiplied
    by alpha, and how they are to be turned.
    """

    pixels: np.ndarray
    orientation: int = 1


def over(pixels: np.ndarray, background: int) -> np.ndarray:
    """Pixels without alpha, ``(height, width, 3) uint8``."""
    if pixels.shape[2] == 3:
        return pixels
    colours, alpha = pixels[..., :3].astype(np.int64), pixels[..., 3:].astype(np.int64)
    return ((colours * alpha + background * (255 - alpha) + 127) // 255).astype(np.uint8)


def turned(stored: Stored, background: int = 255) -> np.ndarray:
    """What the picture shows, ``(height, width, 3) uint8``."""
    image = Image.fromarray(over(stored.pixels, background))
    turn = TURNS.get(stored.orientation)
    return np.asarray(image if turn is None else image.transpose(turn))


def prepared(preparation: dict, upright: np.ndarray) -> np.ndarray:
    """What Pillow makes of upright pixels: ``(size, size, 3) uint8``, red, green, blue."""
    height, width = upright.shape[:2]
    shorter, size = preparation["shorter"], preparation["size"]
    to = (
        (shorter, int(shorter * height / width))
        if width <= height
        else (int(shorter * width / height), shorter)
    )
    # Along rows first. Pillow from 13 on begins along columns where that is less work, and rounds
    # to 8 bits between the passes: in one call it gives other bytes than its versions before.
    resized = Image.fromarray(upright)
    for size_of_pass in ((to[0], height), to):
        resized = resized.resize(size_of_pass, FILTERS[preparation["filter"]])
    left, top = (round((side - size) / 2) for side in to)
    return np.asarray(resized.crop((left, top, left + size, top + size)))


def tensor(preparation: dict, pixels: np.ndarray) -> np.ndarray:
    """``(size, size, 3) float32``."""
    low, high = np.float32(preparation["low"]), np.float32(preparation["high"])
    ordered = pixels if preparation["colours"] == "RGB" else pixels[..., ::-1]
    return low + (high - low) * ordered.astype(np.float32) / np.float32(255)


def expected(preparation: dict, stored: Stored) -> np.ndarray:
    return prepared(preparation, turned(stored, preparation["background"]))


def noise(rng: random.Random, width: int, height: int, channels: int = 3) -> np.ndarray:
    """Pixels of noise in blocks and gradients, with saturated edges that a filter overshoots at."""
    values = np.random.default_rng(rng.randrange(2**32))
    pixels = values.integers(0, 256, (height, width, channels))
    if rng.random() < 0.5:
        block = rng.randint(2, 40)
        pixels = np.kron(
            pixels[: -(-height // block), : -(-width // block)], np.ones((block, block, 1), int)
        )[:height, :width]
    if rng.random() < 0.3:
        pixels = np.where(pixels > 127, 255, 0)
    return pixels.astype(np.uint8)


def preparations(rng: random.Random) -> dict:
    """A preparation of any kind."""
    size = rng.randint(1, 40)
    return PLAIN | {
        "shorter": size + rng.choice((0, 0, 1, 2, 3, rng.randint(0, 30))),
        "size": size,
        "filter": rng.choice(tuple(FILTERS)),
        "colours": rng.choice(("RGB", "BGR")),
        "low": rng.choice((0.0, -1.0, 0.25)),
        "high": rng.choice((1.0, 255.0, 0.3)),
        "background": rng.choice((255, 0, 128)),
    }


def sizes(rng: random.Random) -> list[tuple[int, int]]:
    """Widths and heights: growing and shrinking, extreme ratios, single pixels and lines."""
    lines = [(1, 1), (1, 2), (2, 1), (1, 700), (700, 1), (3, 900), (900, 3), (2, 2), (14, 14)]
    near = list(itertools.product((12, 13, 14, 15, 28), repeat=2))
    drawn = [(rng.randint(1, 300), rng.randint(1, 300)) for _ in range(60)]
    camera = [(1024, 768), (769, 1025), (640, 360)]
    return lines + near + drawn + camera


def encoded(stored: Stored, form: str = "PNG", **more) -> bytes:
    """A file of the pixels, with an EXIF orientation if it is not 1."""
    content = io.BytesIO()
    image = Image.fromarray(stored.pixels)
    if stored.orientation != 1:
        exif = Image.Exif()
        exif[274] = stored.orientation
        more["exif"] = exif.tobytes()
    image.save(content, form, **more)
    return content.getvalue()


def frame(kind: str, content: bytes) -> bytes:
    """A message to the programs of the phone sources: E with a preparation, P with a picture, T for
    the tensor of the last one.
    """
    return kind.encode() + struct.pack("<I", len(content)) + content


def picture_frame(
    stored: Stored, *, padding: int = 0, premultiplied: bool = False, header: tuple | None = None
) -> bytes:
    """The decoded picture; each row is followed by `padding` bytes that belong to nothing."""
    height, width, channels = stored.pixels.shape
    rows = np.full((height, width * channels + padding), 77, np.uint8)
    rows[:, : width * channels] = stored.pixels.reshape(height, -1)
    said = (width, height, width * channels + padding, channels, premultiplied, stored.orientation)
    return frame("P", struct.pack("<6I", *(header or said)) + rows.tobytes())


def answers(output: bytes) -> list[tuple[str, bytes]]:
    """What a program said to each frame: ``ok`` with bytes, or ``refused`` with the reason."""
    found, at = [], 0
    while at < len(output):
        status, length = struct.unpack_from("<BI", output, at)
        content = output[at + 5 : at + 5 + length]
        found.append(("ok" if status else "refused", content))
        at += 5 + length
    return found


def pam(stored: Stored) -> bytes:
    """The pixels as a file of Netpbm, with the orientation as a comment."""
    height, width, channels = stored.pixels.shape
    kind = "RGB_ALPHA" if channels == 4 else "RGB"
    lines = ["P7", f"# orientation {stored.orientation}", f"WIDTH {width}", f"HEIGHT {height}"]
    lines += [f"DEPTH {channels}", "MAXVAL 255", f"TUPLTYPE {kind}", "ENDHDR"]
    return ("\n".join(lines) + "\n").encode() + stored.pixels.tobytes()


def stored(content: bytes) -> Stored:
    """The pixels of a file as it stores them, of its EXIF orientation."""
    image = Image.open(io.BytesIO(content))
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return Stored(np.asarray(image.convert(mode)), image.getexif().get(274, 1))
