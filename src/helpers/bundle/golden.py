"""Golden cases: inputs with the scores that a model file must give for them on every device.

Each case holds the score of the trained model and that of each file, as scored here. A device must reproduce its own
file within `Golden.tolerance`, for a float32 file small enough to notice one changed weight; how far that file is
from the trained model is stated beside it. `to_json` is for people and apps, `to_bytes` for C: the same cases, value
for value.

Binary form, little-endian: the magic ``GOLDEN01``; number of inputs, of each its name, width and dtype (index in
`helpers.schema.DTYPES`); the output's name; number of files, of each its name and tolerance (float64); number of
cases, of each its name, its number of rows, every input row by row, and the scores (float32) of the trained model and
of each file. A number is a uint32, a name its length and its UTF-8 bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import schema as schemas
from helpers import strict_json
from helpers.bundle import archive
from helpers.errors import BadInput, DamagedFile
from helpers.schema import Schema

MAGIC = b"GOLDEN01"
BATCHES = (1, 20, 257)
"""One item, a request, and more than any runtime's internal block of 256."""
MOST_BYTES = 64 << 20
MOST_TOLERANCE = 0.05
MOST_ROWS = 1 << 20


@dataclass(frozen=True)
class Case:
    """Named inputs ``(rows, width)`` and the scores ``(rows,) float32`` of the trained model and of each file."""

    name: str
    inputs: Mapping[str, np.ndarray]
    keras: np.ndarray
    expected: Mapping[str, np.ndarray]

    @property
    def rows(self) -> int:
        return len(self.keras)


@dataclass(frozen=True)
class Golden:
    """All cases of a bundle. `tolerance` is the largest difference to a file's own expected score, by file."""

    inputs: tuple[tuple[str, int, str], ...]
    output: str
    tolerance: Mapping[str, float]
    cases: tuple[Case, ...]

    def keras_difference(self, file: str) -> float:
        """The largest difference of a file's expected scores from the trained model's, over all cases."""
        return max(float(np.abs(case.expected[file] - case.keras).max()) for case in self.cases)


def draw(schema: Schema, typical: Mapping[str, np.ndarray], *, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """Inputs of the cases: rows of the test split, edges of the declared ranges, and values anywhere in them.

    Parameters
    ----------
    typical : named inputs of the test split, at least one row; repeated if there are fewer than the largest batch.

    Returns
    -------
    By case name, the named inputs. An edge row has every value at one end of its range: the first all low, the second
    all high, then at random. ``one random case`` and ``five random cases`` are the published app's tests: uniform in
    the range, and in the range mirrored at zero.
    """
    rng = np.random.default_rng(seed)
    result = {}
    for rows in BATCHES:
        result[f"typical, batch {rows}"] = {
            t.name: np.resize(typical[t.name], (rows, t.width)).astype(t.dtype) for t in schema.inputs
        }
        result[f"edges, batch {rows}"] = {t.name: _edges(t, rows, rng) for t in schema.inputs}
    result["one random case"] = {t.name: _uniform(t, 1, rng) for t in schema.inputs}
    if all(t.dtype == "float32" for t in schema.inputs):
        mirrored = {t.name: _uniform(t, 5, rng) * rng.choice([-1, 1], (5, t.width)) for t in schema.inputs}
        result["five random cases"] = {name: values.astype(np.float32) for name, values in mirrored.items()}
    return result


def _edges(tensor, rows: int, rng: np.random.Generator) -> np.ndarray:
    low, high = tensor.bounds
    up = rng.random((rows, tensor.width)) < 0.5
    up[:1], up[1:2] = False, True
    return np.where(up, high, low).astype(tensor.dtype)


def _uniform(tensor, rows: int, rng: np.random.Generator) -> np.ndarray:
    low, high = tensor.bounds
    if np.issubdtype(low.dtype, np.integer):
        return rng.integers(low, high, (rows, tensor.width), endpoint=True, dtype=tensor.dtype)
    return rng.uniform(low, high, (rows, tensor.width)).astype(tensor.dtype)


def to_json(golden: Golden) -> str:
    """The cases as JSON; a float32 is written with the digits that give it back."""
    content = {
        "format": 1,
        "inputs": [{"name": name, "width": width, "dtype": dtype} for name, width, dtype in golden.inputs],
        "output": golden.output,
        "tolerance": dict(golden.tolerance),
        "cases": [
            {
                "name": case.name,
                "rows": case.rows,
                "inputs": {name: _numbers(values) for name, values in case.inputs.items()},
                "trained model": _numbers(case.keras),
                "expected": {file: _numbers(values) for file, values in case.expected.items()},
            }
            for case in golden.cases
        ],
    }
    return json.dumps(content, allow_nan=False) + "\n"


def _numbers(values: np.ndarray) -> list:
    flat = values.reshape(-1)
    return [int(v) for v in flat] if flat.dtype.kind == "i" else [float(str(v)) for v in flat]


def to_bytes(golden: Golden) -> bytes:
    """The cases in the binary form of the module's docstring.

    Raises
    ------
    BadInput : more than `MOST_BYTES`, which no device would read.
    """
    parts = [MAGIC, _count(len(golden.inputs))]
    for name, width, dtype in golden.inputs:
        parts += [_text(name), _count(width), _count(schemas.DTYPES.index(dtype))]
    parts += [_text(golden.output), _count(len(golden.tolerance))]
    for file, tolerance in golden.tolerance.items():
        parts += [_text(file), struct.pack("<d", tolerance)]
    parts.append(_count(len(golden.cases)))
    for case in golden.cases:
        parts += [_text(case.name), _count(case.rows)]
        parts += [
            np.ascontiguousarray(case.inputs[n], np.dtype(d).newbyteorder("<")).tobytes() for n, _, d in golden.inputs
        ]
        scores = [case.keras, *(case.expected[file] for file in golden.tolerance)]
        parts += [np.ascontiguousarray(values, "<f4").tobytes() for values in scores]
    content = b"".join(parts)
    if len(content) > MOST_BYTES:
        raise BadInput(f"the golden cases have {len(content):,} bytes, at most {MOST_BYTES:,} are read on a device")
    return content


def read(folder: Path) -> Golden:
    """The golden cases of an unpacked bundle, whose two forms must hold the same: one device's tests read this one, the
    other's that.

    Raises
    ------
    DamagedFile : a form is missing or damaged, or they differ.
    """
    try:
        content, text = ((folder / name).read_bytes() for name in (archive.GOLDEN, archive.GOLDEN_JSON))
    except OSError as error:
        raise DamagedFile(f"{Path(error.filename).name} cannot be read: {error.strerror}") from error
    golden = from_bytes(content)
    try:
        same = strict_json.same(strict_json.read(text), json.loads(to_json(golden)))
    except ValueError as error:
        raise DamagedFile(f"{archive.GOLDEN_JSON} is damaged: {error}") from error
    if not same:
        raise DamagedFile(f"{archive.GOLDEN_JSON} does not hold the cases of {archive.GOLDEN}: they are of two bundles")
    return golden


def _count(number: int) -> bytes:
    return struct.pack("<I", number)


def _text(text: str) -> bytes:
    content = text.encode()
    return _count(len(content)) + content


def from_bytes(content: bytes) -> Golden:
    """Read the binary form.

    Raises
    ------
    DamagedFile : cut short, too long, or not of that form; nothing in it is believed.
    """
    reader = _Reader(content)
    if reader.take(len(MAGIC)) != MAGIC:
        raise DamagedFile("these are no golden cases: they do not begin with GOLDEN01")
    inputs = []
    for _ in range(reader.count(schemas.MOST_INPUTS)):
        name, width, dtype = reader.text(), reader.count(schemas.MOST_WIDTH), reader.count(len(schemas.DTYPES) - 1)
        inputs.append((name, width, schemas.DTYPES[dtype]))
    output = reader.text()
    tolerance = {reader.text(): struct.unpack("<d", reader.take(8))[0] for _ in range(reader.count(16))}
    cases = []
    for _ in range(reader.count(1000)):
        name, rows = reader.text(), reader.count(MOST_ROWS)
        values = {n: reader.array(rows, width, dtype) for n, width, dtype in inputs}
        scores = [reader.array(rows, 1, "float32").reshape(-1) for _ in range(1 + len(tolerance))]
        cases.append(Case(name, values, scores[0], dict(zip(tolerance, scores[1:], strict=True))))
    if reader.left:
        raise DamagedFile(f"the golden cases go on for {reader.left} bytes after their end")
    golden = Golden(tuple(inputs), output, tolerance, tuple(cases))
    _check(golden)
    return golden


def _check(golden: Golden) -> None:
    """Refuse cases that prove nothing: none, no rows, a tolerance or scores that anything would pass."""
    if not golden.inputs or not golden.tolerance or not golden.cases or any(case.rows == 0 for case in golden.cases):
        raise DamagedFile("the golden cases are empty")
    wrong = {file: value for file, value in golden.tolerance.items() if not 0 <= value <= MOST_TOLERANCE}
    if wrong:
        raise DamagedFile(f"the golden cases allow differences that prove nothing: {wrong}")
    for case in golden.cases:
        for values in (case.keras, *case.expected.values(), *case.inputs.values()):
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise DamagedFile(f"golden case {case.name!r} holds values that are not finite")
    for file, tolerance in golden.tolerance.items():
        scores = np.concatenate([case.expected[file] for case in golden.cases]).astype(np.float64)
        if scores.max() - scores.min() <= 2 * tolerance:
            raise DamagedFile(f"the golden cases of {file} prove nothing: one score for everything would pass them all")


class _Reader:
    """Reads from bytes that may be damaged."""

    def __init__(self, content: bytes):
        self._content, self._place = content, 0
        if len(content) > MOST_BYTES:
            raise DamagedFile(f"the golden cases have {len(content):,} bytes, at most {MOST_BYTES:,} are read")

    @property
    def left(self) -> int:
        return len(self._content) - self._place

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise DamagedFile(f"the golden cases are cut short: {size} bytes are needed and {self.left} are left")
        self._place += size
        return self._content[self._place - size : self._place]

    def count(self, most: int) -> int:
        (number,) = struct.unpack("<I", self.take(4))
        if number > most:
            raise DamagedFile(f"the golden cases are damaged: a number is {number}, at most {most} makes sense")
        return number

    def text(self) -> str:
        try:
            return self.take(self.count(4096)).decode()
        except UnicodeDecodeError as error:
            raise DamagedFile(f"the golden cases are damaged: a name is not text ({error})") from error

    def array(self, rows: int, width: int, dtype: str) -> np.ndarray:
        kind = np.dtype(dtype).newbyteorder("<")
        content = self.take(rows * width * kind.itemsize)
        return np.frombuffer(content, kind).astype(dtype).reshape(rows, width)


def failures(golden: Golden, file: str, model) -> list[str]:
    """What a model file does not reproduce: a line a case, with the largest difference and its row; empty if all pass.

    Parameters
    ----------
    file : its name in the golden cases.
    model : an open runtime, see `helpers.runtimes.open_model`.
    """
    said = []
    for case in golden.cases:
        scores = np.asarray(model.score(case.inputs)).reshape(-1)
        difference = np.abs(scores - case.expected[file])
        if not (difference <= golden.tolerance[file]).all():  # written so that NaN fails
            row = int(np.nanargmax(np.where(np.isnan(difference), np.inf, difference)))
            said.append(
                f"{case.name}: row {row} scores {scores[row]:.6f} and not {case.expected[file][row]:.6f} (at most "
                f"{golden.tolerance[file]:.2g} apart)"
            )
    return said
