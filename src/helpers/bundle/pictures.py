"""Golden pictures: files with the pixels and the probabilities that every device must make of them.

Where ``features.json`` describes a preparation of pictures, the phone makes the model's input
itself. `helpers.bundle.golden` begins behind that; these pictures begin with the file. They are
``picture-01.jpg`` and so on, as they were; ``pictures.bin``, of each the prepared pixels, ``size x
size x 3`` bytes, red, green and blue row by row, one picture after the other; ``pictures.json``::

    {"format": 1,
     "pictures": [{"file": "picture-01.jpg", "width": 312, "height": 200, "orientation": 6,
                   "says": "JPEG, lying on its side", "trained": [0.9, ...],
                   "expected": {"model.tflite": [0.9, ...]}}],
     "tolerance": {"model.tflite": 1e-05}, "labels": ["circle", ...]}

A device's pixels may be `STEP` apart, because decoders of JPEG round differently. Where they are
equal, the probabilities are within the file's tolerance; else the first class is the same wherever
it leads the second by more than `LEAD`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from helpers import strict_json
from helpers.bundle import golden
from helpers.errors import BadInput, DamagedFile
from helpers.pictures import Preparation, described

FILE, PIXELS = "pictures.json", "pictures.bin"
STEP = 1
"""Most that a byte may differ on a device, of 255."""
LEAD = 0.1
"""Probability by which the first class must lead, for one step in the pixels not to change it."""
MOST_PICTURES = 16
MOST_FILES_BYTES = 320 << 10
"""All golden files together: a phone downloads them with every bundle."""
MOST_BYTES = 1 << 24
"""Longest ``pictures.json``, as on the phone."""
_NAME = re.compile(r"picture-\d\d\.(jpg|png|webp|bmp|gif)")
_SUFFIXES = {".jpeg": ".jpg", ".jpe": ".jpg"}

Score = Callable[[Mapping[str, np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Picture:
    """A file, its prepared pixels ``(size, size, 3) uint8``, and the probabilities ``(labels,)
    float32`` of the trained model and by model file. Width and height are those stored.
    """

    file: str
    content: bytes
    width: int
    height: int
    orientation: int
    says: str
    pixels: np.ndarray
    trained: np.ndarray
    expected: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Pictures:
    """All golden pictures of a bundle. `tolerance` is the largest difference to a file's own
    expected probability, by file.
    """

    tolerance: Mapping[str, float]
    labels: tuple[str, ...]
    cases: tuple[Picture, ...]


def choose(files: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes, str]]:
    """Files to make golden pictures of: one of each kind, then others, as many as may be.

    Parameters
    ----------
    files : name and content. Passed over is what no phone reads, and CMYK, which each converts in a
        way of its own (on iOS the classifier refuses it).

    Returns
    -------
    Name, content and a description, as `make` takes them.
    """
    known = [(name, content, str(described(content, name)["says"])) for name, content in files]
    known = [file for file in known if _NAME.fullmatch(_file(1, file[0])) and "CMYK" not in file[2]]
    first: dict[str, tuple[str, bytes, str]] = {}
    for file in known:
        first.setdefault(file[2], file)
    chosen: list[tuple[str, bytes, str]] = []
    left = MOST_FILES_BYTES
    for file in [*first.values(), *(file for file in known if file is not first[file[2]])]:
        if len(chosen) < MOST_PICTURES and len(file[1]) <= left:
            chosen.append(file)
            left -= len(file[1])
    return chosen


def make(
    preparation: Preparation,
    originals: Iterable[tuple[str, bytes, str]],
    trained: Score,
    score: Mapping[str, Score],
    tolerance: Mapping[str, float],
    labels: Iterable[str],
) -> dict[str, bytes]:
    """The golden pictures of model files: bytes by name in the bundle.

    Parameters
    ----------
    originals : name, content and a description of each file.
    trained, score : of the trained model, and by model file: functions from the named input ``(n,
        size, size, 3) float32`` to ``(n, labels)`` probabilities.
    tolerance : by model file, the largest difference of a probability on another device.
    labels : names of the classes, in the order of the probabilities.

    Raises
    ------
    BadInput : no picture, too many or too large ones, a picture that cannot be prepared, a
        probability that is not finite, or a tolerance that anything would pass.
    """
    originals, labels = list(originals), tuple(labels)
    if set(score) != set(tolerance) or not all(map(_proves, tolerance.values())):
        raise BadInput(
            f"each model file needs a tolerance from 0 to {golden.MOST_TOLERANCE}, not "
            f"{dict(tolerance)}"
        )
    size = sum(len(content) for _, content, _ in originals)
    if not 1 <= len(originals) <= MOST_PICTURES or size > MOST_FILES_BYTES:
        raise BadInput(
            f"{len(originals)} pictures of {size:,} bytes: from 1 to {MOST_PICTURES} of at most "
            f"{MOST_FILES_BYTES:,} bytes together are golden ones"
        )
    cases = tuple(
        _case(preparation, number, original, trained, score, len(labels))
        for number, original in enumerate(originals, start=1)
    )
    told = Pictures(dict(tolerance), labels, cases)
    return {
        FILE: to_json(told).encode(),
        PIXELS: b"".join(case.pixels.tobytes() for case in cases),
        **{case.file: case.content for case in cases},
    }


def _case(
    preparation: Preparation,
    number: int,
    original: tuple[str, bytes, str],
    trained: Score,
    score: Mapping[str, Score],
    labels: int,
) -> Picture:
    name, content, says = original
    file = _file(number, name)
    if not _NAME.fullmatch(file):
        raise BadInput(f"{name} cannot be a golden picture: phones read JPEG, PNG, WebP, BMP, GIF")
    stored = described(content, name)
    pixels = preparation.prepare(preparation.decode(content, name))
    found = {}
    for file_of_model, probabilities in {"": trained, **score}.items():
        found[file_of_model] = probabilities_of(preparation, pixels, probabilities)
        if found[file_of_model].shape != (labels,) or not np.isfinite(found[file_of_model]).all():
            raise BadInput(
                f"{file_of_model or 'the trained model'} gives {name} no probability for each of "
                f"{labels} labels: {found[file_of_model]}"
            )
    where = (stored["width"], stored["height"], stored["orientation"])
    return Picture(file, content, *where, says, pixels, found.pop(""), found)


def _file(number: int, name: str) -> str:
    """What a file is called in a bundle."""
    suffix = PurePath(name).suffix.lower()
    return f"picture-{number:02}{_SUFFIXES.get(suffix, suffix)}"


def probabilities_of(preparation: Preparation, pixels: np.ndarray, score: Score) -> np.ndarray:
    """``(labels,) float32`` of prepared pixels."""
    values = preparation.values(pixels)[None]
    return np.array(score({preparation.input: values}), np.float32).reshape(-1)


def _proves(tolerance: float) -> bool:
    return 0 <= tolerance <= golden.MOST_TOLERANCE


def to_json(pictures: Pictures) -> str:
    """``pictures.json``; a float32 is written with the digits that give it back."""

    def plain(values: np.ndarray) -> list[float]:
        return [float(str(value)) for value in values]

    content = {
        "format": 1,
        "pictures": [
            {
                "file": case.file,
                "width": case.width,
                "height": case.height,
                "orientation": case.orientation,
                "says": case.says,
                "trained": plain(case.trained),
                "expected": {file: plain(values) for file, values in case.expected.items()},
            }
            for case in pictures.cases
        ],
        "tolerance": dict(pictures.tolerance),
        "labels": list(pictures.labels),
    }
    return json.dumps(content, allow_nan=False) + "\n"


def read(folder: Path, size: int) -> Pictures:
    """The golden pictures of an unpacked bundle whose model takes ``size x size`` pixels.

    Raises
    ------
    DamagedFile : not exactly what `make` writes (a device's tests would read another value, or
        none), a file that is missing, or a tolerance that anything would pass.
    """
    try:
        content = strict_json.read((folder / FILE).read_bytes(), most=MOST_BYTES)
        if content["format"] != 1:
            raise ValueError(f"format {content['format']!r}, this version reads 1")
        tolerance = {str(file): float(value) for file, value in content["tolerance"].items()}
        labels, listed = tuple(content["labels"]), content["pictures"]
        if not all(map(_proves, tolerance.values())) or not 1 <= len(listed) <= MOST_PICTURES:
            raise ValueError("they would prove nothing")
        pixels = np.frombuffer((folder / PIXELS).read_bytes(), np.uint8)
        pixels = pixels.reshape(len(listed), size, size, 3)
        cases = tuple(
            _read_case(folder, case, prepared, tuple(tolerance), len(labels))
            for case, prepared in zip(listed, pixels, strict=True)
        )
        found = Pictures(tolerance, labels, cases)
        if not strict_json.same(content, json.loads(to_json(found))):
            raise ValueError("a value is missing, too much, or of another type")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DamagedFile(
            f"the golden pictures cannot be read ({error}): copy them from their bundle again"
        ) from error
    return found


def _read_case(
    folder: Path, case: Mapping, pixels: np.ndarray, files: tuple[str, ...], labels: int
) -> Picture:
    name = str(case["file"])
    if not _NAME.fullmatch(name):
        raise ValueError(f"a picture is called {name[:80]!r}")

    def values(listed: list) -> np.ndarray:
        with np.errstate(over="ignore"):  # infinite then, and refused where the text is compared
            found = np.array(listed, np.float32)
        if found.shape != (labels,):
            raise ValueError(f"{name} has {found.size} probabilities for {labels} labels")
        return found

    return Picture(
        name,
        (folder / name).read_bytes(),
        int(case["width"]),
        int(case["height"]),
        int(case["orientation"]),
        str(case["says"]),
        pixels,
        values(case["trained"]),
        {file: values(case["expected"][file]) for file in files},
    )


def failures(pictures: Pictures, file: str, preparation: Preparation, score: Score) -> list[str]:
    """What a model file with a preparation does not reproduce: a line a picture, empty if all is
    well.
    """
    said = []
    for case in pictures.cases:
        try:
            pixels = preparation.prepare(preparation.decode(case.content, case.file))
        except (BadInput, DamagedFile) as error:
            said.append(str(error))
            continue
        wrong = _wrong_pixels(case, pixels)
        if not wrong:
            found = probabilities_of(preparation, pixels, score)
            exact = np.array_equal(pixels, case.pixels)
            wrong = _wrong_class(
                case.expected[file], found, pictures.tolerance[file] if exact else None
            )
        if wrong:
            said.append(f"{case.file} ({case.says}): {wrong}")
    return said


def _wrong_pixels(case: Picture, pixels: np.ndarray) -> str:
    if pixels.shape != case.pixels.shape:
        return f"it is prepared to {pixels.shape} and not {case.pixels.shape}"
    apart = np.abs(pixels.astype(int) - case.pixels)
    if apart.max() <= STEP:
        return ""
    row, column, colour = np.unravel_index(apart.argmax(), apart.shape)
    return (
        f"{(apart > STEP).mean():.1%} of its bytes are more than {STEP} apart, most at row {row}, "
        f"column {column}, {('red', 'green', 'blue')[colour]}: {pixels[row, column, colour]} and "
        f"not {case.pixels[row, column, colour]}"
    )


def _wrong_class(expected: np.ndarray, found: np.ndarray, tolerance: float | None) -> str:
    """What is wrong with the probabilities, of equal pixels if there is a tolerance."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        return f"its probabilities are {found}"
    if tolerance is not None:
        apart = np.abs(found - expected)
        place = int(apart.argmax())
        if not apart[place] <= tolerance:
            return (
                f"class {place} has {found[place]:.6f} and not {expected[place]:.6f} (at most "
                f"{tolerance:.2g} apart)"
            )
        return ""
    second, first = np.sort(expected)[-2:]
    if first - second > LEAD and found.argmax() != expected.argmax():
        return f"it is of class {found.argmax()} and not {expected.argmax()}"
    return ""
