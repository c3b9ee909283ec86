"""Files of pictures to upright pixels of three colours, 8 bits each."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from helpers.errors import BadInput, DamagedFile

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
"""What is read, by Pillow's names; of a moving picture the first frame."""
MOST_BYTES, MOST_SIDE, MOST_PIXELS = 256 << 20, 20_000, 64_000_000
"""Longest file, longest side, and most pixels of what is decoded."""
_ORIENTATION = 274
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""By EXIF orientation, what turns a stored picture upright."""
_LYING = {
    2: "mirrored",
    3: "upside down",
    4: "mirrored upside down",
    5: "mirrored on its side",
    6: "lying on its side",
    7: "mirrored on its side",
    8: "lying on its side",
}
_COLOURS = {"1": "black and white", "L": "grey", "I;16": "grey, 16 bits", "CMYK": "CMYK"}


def read(path: Path, name: str | None = None) -> bytes:
    """The content of a file of at most `MOST_BYTES`; `name` is what errors call it, default its
    path.

    Raises
    ------
    DamagedFile : it cannot be read, or is empty.
    BadInput : it is longer.
    """
    name = name or str(path)
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DamagedFile(f"{name} cannot be read ({error.strerror})") from error
    _check_length(content, name)
    return content


def decode(content: bytes, name: str, *, background: int = 255, upright: bool = True) -> np.ndarray:
    """Pixels of a picture file, ``(height, width, 3) uint8``, red, green and blue.

    Grey becomes three equal channels, CMYK what Pillow's ``convert("RGB")`` gives, 16 bits their
    upper eight. A channel c with the alpha a becomes
    ``(c * a + background * (255 - a) + 127) // 255``.

    Parameters
    ----------
    name : what errors call the file.
    background : level of all channels behind what is transparent.
    upright : turned as EXIF says (tag 274 of the file's own EXIF block); False leaves the pixels as
        they are stored.

    Raises
    ------
    DamagedFile : empty, cut short, or no picture of `FORMATS`.
    BadInput : longer, wider or of more pixels than is decoded; it is refused before that.
    """
    with _opened(content, name) as image:
        image.load()
        turn = _TURNS.get(_orientation(image)) if upright else None
        pixels = _flat(image, background)
    return pixels if turn is None else np.asarray(_turned(pixels, turn))


def described(content: bytes, name: str) -> dict[str, object]:
    """What a picture file is: width and height as stored, EXIF orientation, and in words (`says`).

    Raises
    ------
    DamagedFile, BadInput : as `decode`.
    """
    with _opened(content, name) as image:
        image.load()
        orientation = _orientation(image)
        parts = [image.format if image.format != "MPO" else "JPEG"]
        parts += [_COLOURS[image.mode]] if image.mode in _COLOURS else []
        parts += ["partly transparent"] if image.has_transparency_data else []
        parts += [_LYING[orientation]] if orientation in _LYING else []
        width, height = image.size
    return {
        "width": width,
        "height": height,
        "orientation": orientation,
        "says": ", ".join(parts),
    }


def _check_length(content: bytes, name: str) -> None:
    if not content:
        raise DamagedFile(f"{name} is empty: it has 0 bytes")
    if len(content) > MOST_BYTES:
        raise BadInput(f"{name} has more than {MOST_BYTES:,} bytes: save it smaller")


@contextmanager
def _opened(content: bytes, name: str) -> Iterator:
    """A picture of which the header was read and its size checked; whatever Pillow raises in the
    body is a DamagedFile.
    """
    from PIL import Image, UnidentifiedImageError

    _check_length(content, name)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_size(*image.size, name)
            yield image
    except (BadInput, DamagedFile):
        raise
    except Image.DecompressionBombError as error:
        raise BadInput(f"{name} has more than {MOST_PIXELS:,} pixels: save it smaller") from error
    except UnidentifiedImageError as error:
        raise DamagedFile(
            f"{name} is no picture that can be read, or its beginning is damaged: "
            f"{', '.join(FORMATS)} can"
        ) from error
    except (
        Exception
    ) as error:  # Pillow's readers raise many kinds of what a damaged file makes them
        raise DamagedFile(
            f"{name} is damaged or cut short ({type(error).__name__}: {error})"
        ) from error


def _check_size(width: int, height: int, name: str) -> None:
    if min(width, height) < 1:
        raise DamagedFile(f"{name} has {width} x {height} pixels")
    if max(width, height) > MOST_SIDE or width * height > MOST_PIXELS:
        raise BadInput(
            f"{name} has {width:,} x {height:,} pixels, at most {MOST_SIDE:,} a side and "
            f"{MOST_PIXELS:,} together are decoded: save it smaller"
        )


def _orientation(image) -> int:
    """EXIF orientation of a picture, 1 to 8; 1 where there is none or it means nothing.

    Of its EXIF block alone: Pillow looks for it in XMP too, phones do not.
    """
    from PIL import Image

    block = image.info.get("exif")
    if not block:
        return 1
    exif = Image.Exif()
    try:
        exif.load(block)
        found = exif.get(_ORIENTATION)
    except Exception:  # a damaged block says nothing; the picture itself may be whole
        return 1
    return found if isinstance(found, int) and found in _TURNS else 1


def _flat(image, background: int) -> np.ndarray:
    """Pixels of a loaded image over a background, ``(height, width, 3) uint8``."""
    if image.mode.startswith("I;16"):  # Pillow would clip at 255
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    pixels = np.asarray(image.convert("RGBA"))
    alpha = pixels[..., 3:].astype(np.uint16)  # 255 * 255 + 127 fits
    mixed = pixels[..., :3] * alpha + np.uint16(background) * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)


def _turned(pixels: np.ndarray, turn: str):
    from PIL import Image

    return Image.fromarray(pixels).transpose(Image.Transpose[turn])
