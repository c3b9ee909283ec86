"""Pictures: how a file of one becomes the tensor that a model takes, here and on the phone.

`decoding` reads files of JPEG, PNG, WebP, BMP and GIF; `preparation` says what is done with their
pixels, and travels in a bundle as ``features.json``. Whoever does the same in another language is
held to the bytes that this package gives.
"""

from helpers.pictures.decoding import (
    FORMATS,
    MOST_BYTES,
    MOST_PIXELS,
    MOST_SIDE,
    decode,
    described,
    read,
)
from helpers.pictures.preparation import Preparation, load

__all__ = [
    "FORMATS",
    "MOST_BYTES",
    "MOST_PIXELS",
    "MOST_SIDE",
    "Preparation",
    "decode",
    "described",
    "load",
    "read",
]
