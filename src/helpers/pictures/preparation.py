"""From pixels to the tensor of a model: resized, cropped, in an order of colours and a range."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import strict_json
from helpers.errors import BadInput, DamagedFile, meant
from helpers.pictures.decoding import decode

FORMAT, KIND = 1, "pictures"
MOST_JSON_BYTES = 64 << 10
MOST_SIZE = 1024
"""Largest side of what a model takes, and of the shorter side of what that is cut from."""
_FILTERS = {"triangle": "BILINEAR", "cubic": "BICUBIC", "nearest": "NEAREST"}
"""Pillow's names of the filters; those that a device has are `_ON_DEVICES`."""
_ON_DEVICES = ("triangle", "cubic")
_COLOURS = ("RGB", "BGR")
_STRIP_PIXELS = 16 << 20
_KEYS = ("input", "shorter", "size", "filter", "colours", "low", "high", "background")


@dataclass(frozen=True)
class Preparation:
    """What is done with a picture before a model takes it.

    It is decoded over `background` and turned upright (`helpers.pictures.decode`), resized until
    its shorter side has `shorter` pixels, and cut to `size` x `size` from the middle; a byte b
    becomes ``low + (high - low) * b / 255`` in float32. Mean and deviation are inside the model.

    Attributes
    ----------
    input : name of the model's input, ``(size, size, 3)``, channel last.
    filter : ``triangle`` or ``cubic``, widened where it shrinks: Pillow's BILINEAR and BICUBIC of 8
        bits, bit for bit, in width and then in height. ``nearest`` is a fault to plant: no device
        has it.
    colours : order of the channels, ``RGB`` or ``BGR``.
    background : level of all channels behind what is transparent.
    orientation : whether EXIF's is heeded; False is a fault to plant: no device has it.

    Raises
    ------
    BadInput : a value is of another type or out of range.
    """

    input: str = "image"
    shorter: int = 54
    size: int = 48
    filter: str = "triangle"
    colours: str = "RGB"
    low: float = 0.0
    high: float = 1.0
    background: int = 255
    orientation: bool = True

    def __post_init__(self):
        if not isinstance(self.input, str) or not self.input:
            raise BadInput(f"a preparation's input must be the name of one, not {self.input!r}")
        for name, low, high in (
            ("size", 1, MOST_SIZE),
            ("shorter", 1, MOST_SIZE),
            ("background", 0, 255),
        ):
            value = getattr(self, name)
            if type(value) is not int or not low <= value <= high:
                raise BadInput(f"a preparation's {name} must be {low} to {high}, not {value!r}")
        if self.size > self.shorter:
            raise BadInput(
                f"size {self.size} cannot be cut from a shorter side of {self.shorter} pixels"
            )
        for name, there in (("filter", _FILTERS), ("colours", _COLOURS)):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in there:
                raise BadInput(
                    f"a preparation's {name} must be one of {', '.join(there)}, not {value!r}"
                )
        for name in ("low", "high"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > 1e6:
                raise BadInput(f"a preparation's {name} must be a plain number, not {value!r}")
            object.__setattr__(self, name, float(value))
        if not self.low < self.high:
            raise BadInput(f"a preparation's low {self.low} must be below its high {self.high}")
        if type(self.orientation) is not bool:
            raise BadInput(f"orientation must be true or false, not {self.orientation!r}")

    def decode(self, content: bytes, name: str) -> np.ndarray:
        """Pixels of a picture file over the background, upright, ``(height, width, 3) uint8``, see
        `helpers.pictures.decode`.
        """
        return decode(content, name, background=self.background, upright=self.orientation)

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        """Resize and crop ``(height, width, 3) uint8`` to ``(size, size, 3)``; RGB stays RGB.

        Raises
        ------
        BadInput : pixels of another shape or type.
        """
        from PIL import Image

        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise BadInput(
                f"pixels are (height, width, 3) uint8, not {pixels.shape} {pixels.dtype}"
            )
        width, height = resized(*pixels.shape[1::-1], self.shorter)
        left, top = (round((side - self.size) / 2) for side in (width, height))
        resample = Image.Resampling[_FILTERS[self.filter]]
        image = Image.fromarray(np.ascontiguousarray(pixels))
        # In width first, as Pillow did in one call until it began (13) with the height of tall
        # pictures; and only columns of the crop are resized in height.
        image = image.resize((width, image.height), resample)
        image = image.crop((left, 0, left + self.size, image.height))
        strip = max(1, min(self.size, _STRIP_PIXELS // height))  # bounded for very long pictures
        strips = []
        for first in range(0, self.size, strip):
            columns = image.crop((first, 0, min(first + strip, self.size), image.height))
            tall = columns.resize((columns.width, height), resample)
            strips.append(np.asarray(tall.crop((0, top, columns.width, top + self.size))))
        return np.concatenate(strips, axis=1)

    def values(self, prepared: np.ndarray) -> np.ndarray:
        """The model's input of bytes that `prepare` made, ``(..., size, size, 3) float32``."""
        ordered = prepared[..., ::-1] if self.colours == "BGR" else prepared
        low, span = np.float32(self.low), np.float32(self.high) - np.float32(self.low)
        return low + span * ordered.astype(np.float32) / np.float32(255)

    def tensor(self, content: bytes, name: str) -> np.ndarray:
        """The model's input of a picture file, ``(size, size, 3) float32``.

        Raises
        ------
        DamagedFile, BadInput : see `helpers.pictures.decode`.
        """
        return self.values(self.prepare(self.decode(content, name)))

    def to_json(self) -> dict:
        """Plain values for ``features.json``; `from_json` reads them back.

        Raises
        ------
        BadInput : a planted fault, which no device has.
        """
        if self.filter not in _ON_DEVICES or not self.orientation:
            raise BadInput(
                f"no device prepares pictures with the filter {self.filter!r} and orientation "
                f"{self.orientation}: these are for planting faults in Python"
            )
        return {"format": FORMAT, "kind": KIND} | {name: getattr(self, name) for name in _KEYS}

    @classmethod
    def from_json(cls, value: object) -> Preparation:
        """The preparation that `to_json` wrote.

        Raises
        ------
        BadInput : a key is missing or unknown, a value is of another type or out of range.
        """
        if not isinstance(value, Mapping):
            raise BadInput(f"a preparation must be an object, not {type(value).__name__}")
        for name, only in (("format", FORMAT), ("kind", KIND)):
            found = value.get(name, only)
            if type(found) is not type(only) or found != only:
                raise BadInput(f"the preparation's {name} is {found!r}, this version reads {only}")
        keys = {"format", "kind", *_KEYS}
        if missing := sorted(keys - set(value)):
            raise BadInput(f"the preparation has no {', '.join(missing)}")
        if unknown := sorted(map(str, set(value) - keys)):
            raise BadInput(
                f"the preparation has an unknown {unknown[0]!r}{meant(unknown[0], keys)}"
            )
        made = cls(**{name: value[name] for name in _KEYS})
        made.to_json()  # what no device has is refused in a file, too
        return made

    def save(self, path: Path) -> None:
        """Write ``features.json``; the same preparation gives the same bytes."""
        path.write_text(json.dumps(self.to_json(), allow_nan=False) + "\n", encoding="utf-8")


def load(path: Path) -> Preparation:
    """The preparation of a file that `Preparation.save` wrote.

    Raises
    ------
    DamagedFile : gone, longer than `MOST_JSON_BYTES`, or not JSON.
    BadInput : JSON, but not a preparation; the message names the file.
    """
    try:
        with open(path, "rb") as file:
            content = strict_json.read(file.read(MOST_JSON_BYTES + 1), most=MOST_JSON_BYTES)
    except (OSError, ValueError) as error:
        raise DamagedFile(
            f"{path} cannot be read as JSON ({error}): copy it from its run or bundle again"
        ) from error
    try:
        return Preparation.from_json(content)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error


def resized(width: int, height: int, shorter: int) -> tuple[int, int]:
    """Width and height of a picture whose shorter side has `shorter` pixels; the longer one is
    rounded down.
    """
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter
