"""Golden cases: inputs with the outputs that a model file must give for them on every device.

Each case holds the outputs of the trained model and those of each file, as computed here. A device
must reproduce its own file within `Golden.tolerance`, for a float32 file small enough to notice one
changed weight; how far that file is from the trained model is stated beside it. `to_json` is for
people and apps, `to_bytes` for C: the same cases, value for value; of a large array the JSON says
only where it is in the other form.

Binary form, little-endian: the magic ``GOLDEN02``; number of inputs, of each its name, dtype (index
in `helpers.schema.DTYPES`), number of axes of a row, and the axes; number of outputs, of each the
same; number of files, of each its name and, for each output, its tolerance (float64); number of
cases, of each its name, its number of rows, every input row by row, and every output row by row, in
its own dtype, of the trained model and of each file. A number is a uint32, a name its length and
its UTF-8 bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from helpers import schema as schemas
from helpers import strict_json
from helpers.bundle import archive
from helpers.errors import BadInput, DamagedFile
from helpers.runtimes import scale_of
from helpers.schema import Schema, Tensor

MAGIC, _EARLIER = b"GOLDEN02", b"GOLDEN01"
BATCHES = (1, 20, 257)
"""One item, a request, and more than any runtime's internal block of 256."""
CASE_BYTES = 4 << 20
"""Most bytes of a case's inputs, unless one row has more: a case of large pictures has fewer rows.
"""
BEYOND = "five random cases"
"""The case that goes beyond the declared ranges: in them, or mirrored at zero."""
MOST_BYTES = 64 << 20
MOST_TOLERANCE = 0.05
"""Largest tolerance, as a part of `scale_of` the output."""
MOST_ROWS = 1 << 20
MOST_FILES, MOST_CASES, MOST_NAME = 16, 1000, 4096
MOST_IN_JSON = 1 << 16
"""Most values of an array that stand in the JSON themselves."""

Outputs = Mapping[str, np.ndarray]


class Described(NamedTuple):
    """An input or output: the shape is that of a row."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Case:
    """Named inputs ``(rows, *shape)``, and the outputs ``(rows, *shape)`` by name of the trained
    model and, by file, of each file."""

    name: str
    inputs: Mapping[str, np.ndarray]
    trained: Outputs
    expected: Mapping[str, Outputs]

    @property
    def rows(self) -> int:
        return len(next(iter(self.trained.values())))


@dataclass(frozen=True)
class Golden:
    """All cases of a bundle.

    `tolerance` is the largest difference to a file's own expected value, by file and output.
    """

    inputs: tuple[Described, ...]
    outputs: tuple[Described, ...]
    tolerance: Mapping[str, Mapping[str, float]]
    cases: tuple[Case, ...]

    def scale(self, output: str) -> float:
        """What differences of an output are measured by: `scale_of` its values of the trained
        model.
        """
        return max(scale_of(case.trained[output]) for case in self.cases)

    def trained_difference(self, file: str) -> float:
        """The largest difference of a file's expected outputs from the trained model's, as a part
        of the scale.
        """
        return max(
            self._moved(file, case, output.name) for case in self.cases for output in self.outputs
        )

    def case_difference(self, file: str, case: Case) -> float:
        """The same over one case."""
        return max(self._moved(file, case, output.name) for output in self.outputs)

    def _moved(self, file: str, case: Case, output: str) -> float:
        return float(
            _difference(case.expected[file][output], case.trained[output]).max()
        ) / self.scale(output)


def described(tensors: Iterable[Tensor]) -> tuple[Described, ...]:
    """Inputs or outputs of a schema as golden cases hold them."""
    return tuple(Described(tensor.name, tensor.shape, tensor.dtype) for tensor in tensors)


def draw(
    schema: Schema, typical: Mapping[str, np.ndarray], *, seed: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """Inputs of the cases: rows of the test split, edges of the declared ranges, and values
    anywhere in them.

    Parameters
    ----------
    typical : named inputs of the test split, at least one row; repeated if there are fewer than the
        largest batch.

    Returns
    -------
    By case name, the named inputs. Batches are `BATCHES`, smaller ones where `CASE_BYTES` are
    exceeded, or the fixed one. An edge row has every value at one end of its range: the first all
    low, the second all high, then at random. ``one random case`` and ``five random cases`` are the
    published app's tests: uniform in the range, and in the range mirrored at zero; they are left
    out where the model does not take so many rows, or they are too large.
    """
    rng = np.random.default_rng(seed)
    result = {}
    for rows in schema.batch_sizes(BATCHES, CASE_BYTES):
        result[f"typical, batch {rows}"] = {
            t.name: np.resize(typical[t.name], (rows, *t.shape)).astype(t.dtype)
            for t in schema.inputs
        }
        result[f"edges, batch {rows}"] = {t.name: _edges(t, rows, rng) for t in schema.inputs}
    if schema.batch in (None, 1):
        result["one random case"] = {t.name: _uniform(t, 1, rng) for t in schema.inputs}
    fits = schema.batch in (None, 5) and 5 * schema.row_bytes <= CASE_BYTES
    if fits and all(t.dtype == "float32" for t in schema.inputs):
        mirrored = {
            t.name: _uniform(t, 5, rng) * rng.choice([-1, 1], (5, *t.shape)) for t in schema.inputs
        }
        result[BEYOND] = {name: values.astype(np.float32) for name, values in mirrored.items()}
    return result


def _edges(tensor: Tensor, rows: int, rng: np.random.Generator) -> np.ndarray:
    low, high = tensor.bounds
    up = rng.random((rows, *tensor.shape)) < 0.5
    up[:1], up[1:2] = False, True
    return np.where(up, high, low).astype(tensor.dtype)


def _uniform(tensor: Tensor, rows: int, rng: np.random.Generator) -> np.ndarray:
    low, high = tensor.bounds
    if np.issubdtype(low.dtype, np.integer):
        return rng.integers(low, high, (rows, *tensor.shape), endpoint=True, dtype=tensor.dtype)
    return rng.uniform(low, high, (rows, *tensor.shape)).astype(tensor.dtype)


def to_json(golden: Golden) -> str:
    """The cases as JSON, arrays row by row; a float32 is written with the digits that give it back.

    An array of more than `MOST_IN_JSON` values is ``{"at": its first byte in golden.bin, "count":
    of values}``.
    """
    places = _places(golden)

    def values(array: np.ndarray) -> list | dict:
        place = next(places)
        return _numbers(array) if array.size <= MOST_IN_JSON else {"at": place, "count": array.size}

    def outputs(of: Outputs) -> dict:
        return {output.name: values(of[output.name]) for output in golden.outputs}

    content = {
        "format": 2,
        "inputs": [{**t._asdict(), "shape": list(t.shape)} for t in golden.inputs],
        "outputs": [{**t._asdict(), "shape": list(t.shape)} for t in golden.outputs],
        "tolerance": {file: dict(allowed) for file, allowed in golden.tolerance.items()},
        "cases": [
            {
                "name": case.name,
                "rows": case.rows,
                "inputs": {
                    tensor.name: values(case.inputs[tensor.name]) for tensor in golden.inputs
                },
                "trained model": outputs(case.trained),
                "expected": {file: outputs(case.expected[file]) for file in golden.tolerance},
            }
            for case in golden.cases
        ],
    }
    return json.dumps(content, allow_nan=False) + "\n"


def _numbers(values: np.ndarray) -> list:
    flat = values.reshape(-1)
    return [float(str(v)) for v in flat] if flat.dtype.kind == "f" else [int(v) for v in flat]


def to_bytes(golden: Golden) -> bytes:
    """The cases in the binary form of the module's docstring.

    Raises
    ------
    BadInput : more than `MOST_BYTES`, which no device would read.
    """
    size = sum(len(part) if isinstance(part, bytes) else part.nbytes for part in _parts(golden))
    if size > MOST_BYTES:
        raise BadInput(
            f"the golden cases have {size:,} bytes, at most {MOST_BYTES:,} are read on a device"
        )
    return b"".join(part if isinstance(part, bytes) else part.tobytes() for part in _parts(golden))


def _parts(golden: Golden) -> Iterator[bytes | np.ndarray]:
    """The binary form in pieces: bytes, and each array as it is written."""

    yield MAGIC
    yield tensors_to_bytes(golden.inputs)
    yield tensors_to_bytes(golden.outputs)
    yield _count(len(golden.tolerance))
    for file, allowed in golden.tolerance.items():
        yield _text(file) + b"".join(
            struct.pack("<d", allowed[output.name]) for output in golden.outputs
        )
    yield _count(len(golden.cases))
    for case in golden.cases:
        yield _text(case.name) + _count(case.rows)
        yield from (_written(case.inputs[tensor.name], tensor) for tensor in golden.inputs)
        for outputs in (case.trained, *(case.expected[file] for file in golden.tolerance)):
            yield from (_written(outputs[tensor.name], tensor) for tensor in golden.outputs)


def tensors_to_bytes(tensors: Iterable[Described]) -> bytes:
    """Inputs or outputs in the binary form: their number, and of each name, dtype and axes."""
    tensors = tuple(tensors)
    parts = [_count(len(tensors))]
    for name, shape, dtype in tensors:
        parts += [_text(name), *map(_count, (schemas.DTYPES.index(dtype), len(shape), *shape))]
    return b"".join(parts)


def arrays_to_bytes(tensors: Iterable[Described], arrays: Mapping[str, np.ndarray]) -> bytes:
    """The values of inputs or outputs in the binary form, each row by row."""
    return b"".join(_written(arrays[tensor.name], tensor).tobytes() for tensor in tensors)


def _written(array: np.ndarray, tensor: Described) -> np.ndarray:
    return np.ascontiguousarray(array, np.dtype(tensor.dtype).newbyteorder("<"))


def _places(golden: Golden) -> Iterator[int]:
    """Where each array begins in the binary form, in its order."""
    place = 0
    for part in _parts(golden):
        if isinstance(part, bytes):
            place += len(part)
        else:
            yield place
            place += part.nbytes


def read(folder: Path) -> Golden:
    """The golden cases of an unpacked bundle, whose two forms must hold the same: one device's
    tests read this one, the other's that.

    Raises
    ------
    DamagedFile : a form is missing or damaged, or they differ.
    """
    try:
        content, text = (
            (folder / name).read_bytes() for name in (archive.GOLDEN, archive.GOLDEN_JSON)
        )
    except OSError as error:
        raise DamagedFile(
            f"{Path(error.filename).name} cannot be read: {error.strerror}"
        ) from error
    golden = from_bytes(content)
    try:
        same = strict_json.same(strict_json.read(text), json.loads(to_json(golden)))
    except ValueError as error:
        raise DamagedFile(f"{archive.GOLDEN_JSON} is damaged: {error}") from error
    if not same:
        raise DamagedFile(
            f"{archive.GOLDEN_JSON} does not hold the cases of {archive.GOLDEN}: they are of two "
            "bundles"
        )
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
    reader = Reader(content)
    if (magic := reader.take(len(MAGIC))) != MAGIC:
        if magic == _EARLIER:
            raise archive.earlier("the golden cases were")
        raise DamagedFile(f"these are no golden cases: they do not begin with {MAGIC.decode()}")
    inputs, outputs = reader.tensors(), reader.tensors()
    tolerance = {}
    for _ in range(reader.count(MOST_FILES)):
        file = reader.text()
        tolerance[file] = {
            output.name: struct.unpack("<d", reader.take(8))[0] for output in outputs
        }
    cases = []
    for _ in range(reader.count(MOST_CASES)):
        name, rows = reader.text(), reader.count(MOST_ROWS)
        values = reader.arrays(rows, inputs)
        trained = reader.arrays(rows, outputs)
        cases.append(
            Case(name, values, trained, {file: reader.arrays(rows, outputs) for file in tolerance})
        )
    if reader.left:
        raise DamagedFile(f"the golden cases go on for {reader.left} bytes after their end")
    golden = Golden(inputs, outputs, tolerance, tuple(cases))
    _check(golden)
    return golden


def _check(golden: Golden) -> None:
    """Refuse cases that prove nothing: none, no rows, a tolerance or outputs that anything would
    pass.
    """
    parts = (golden.inputs, golden.outputs, golden.tolerance, golden.cases)
    if not all(parts) or any(case.rows == 0 for case in golden.cases):
        raise DamagedFile("the golden cases are empty")
    for case in golden.cases:
        arrays = [case.inputs, case.trained, *case.expected.values()]
        for values in (array for named in arrays for array in named.values()):
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise DamagedFile(f"golden case {case.name!r} holds values that are not finite")
    scales = {output.name: golden.scale(output.name) for output in golden.outputs}
    for file, allowed in golden.tolerance.items():
        if not all(0 <= value <= MOST_TOLERANCE * scales[name] for name, value in allowed.items()):
            raise DamagedFile(
                f"the golden cases allow {file} differences that prove nothing: {dict(allowed)}"
            )
        if all(_spread(golden, file, name) <= 2 * value for name, value in allowed.items()):
            raise DamagedFile(
                f"the golden cases of {file} prove nothing: one score for everything would pass "
                "them all"
            )


def _spread(golden: Golden, file: str, output: str) -> float:
    """How far the values of an output at one place of a row are apart, at the place where they are
    the furthest.
    """
    ends = [
        (values.min(axis=0), values.max(axis=0))
        for values in (c.expected[file][output] for c in golden.cases)
    ]
    low, high = (np.array(end, np.float64) for end in zip(*ends, strict=True))
    return float((high.max(axis=0) - low.min(axis=0)).max())


class Reader:
    """Reads the binary form from bytes that may be damaged; `what` they are is said in errors."""

    def __init__(self, content: bytes, what: str = "the golden cases", most: int = MOST_BYTES):
        self._content, self._place, self._what = content, 0, what
        if len(content) > most:
            raise DamagedFile(f"{what} have {len(content):,} bytes, at most {most:,} are read")

    @property
    def left(self) -> int:
        return len(self._content) - self._place

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise DamagedFile(
                f"{self._what} are cut short: {size} bytes are needed and {self.left} are left"
            )
        self._place += size
        return self._content[self._place - size : self._place]

    def count(self, most: int, least: int = 0) -> int:
        (number,) = struct.unpack("<I", self.take(4))
        if not least <= number <= most:
            raise DamagedFile(
                f"{self._what} are damaged: a number is {number}, {least} to {most} makes sense"
                " there"
            )
        return number

    def text(self) -> str:
        try:
            return self.take(self.count(MOST_NAME)).decode()
        except UnicodeDecodeError as error:
            raise DamagedFile(f"{self._what} are damaged: a name is not text ({error})") from error

    def tensors(self) -> tuple[Described, ...]:
        found = []
        for _ in range(self.count(schemas.MOST_TENSORS)):
            name, dtype = self.text(), schemas.DTYPES[self.count(len(schemas.DTYPES) - 1)]
            shape = tuple(
                self.count(schemas.MOST_SIZE, 1) for _ in range(self.count(schemas.MOST_AXES, 1))
            )
            if prod(shape) > schemas.MOST_SIZE:
                raise DamagedFile(f"{self._what} are damaged: {name!r} has the shape {list(shape)}")
            found.append(Described(name, shape, dtype))
        if len({tensor.name for tensor in found}) < len(found):
            raise DamagedFile(f"{self._what} are damaged: two inputs or outputs have one name")
        return tuple(found)

    def arrays(self, rows: int, tensors: Iterable[Described]) -> dict[str, np.ndarray]:
        return {tensor.name: self._array(rows, tensor) for tensor in tensors}

    def _array(self, rows: int, tensor: Described) -> np.ndarray:
        kind = np.dtype(tensor.dtype).newbyteorder("<")
        content = self.take(rows * prod(tensor.shape) * kind.itemsize)
        return np.frombuffer(content, kind).astype(tensor.dtype).reshape(rows, *tensor.shape)


def failures(golden: Golden, file: str, model) -> list[str]:
    """What a model file does not reproduce: a line a case and output, with the largest difference
    and its row; empty if all pass.

    Parameters
    ----------
    file : its name in the golden cases.
    model : an open runtime, see `helpers.runtimes.open_model`.
    """
    said = []
    for case in golden.cases:
        outputs = model.predict(case.inputs)
        for name, shape, _ in golden.outputs:
            wanted, allowed = case.expected[file][name], golden.tolerance[file][name]
            found = np.asarray(outputs[name]).reshape(wanted.shape)
            difference = _difference(found, wanted)
            if (difference <= allowed).all():  # written so that NaN fails
                continue
            worst = np.unravel_index(
                np.argmax(np.where(np.isnan(difference), np.inf, difference)), wanted.shape
            )
            output = f"{name}, " if len(golden.outputs) > 1 else ""
            place = f" at {[int(i) for i in worst[1:]]}" if prod(shape) > 1 else ""
            said.append(
                f"{case.name}: {output}row {int(worst[0])} scores {found[worst]:.6f}{place} and not"
                f" {wanted[worst]:.6f} (at most {allowed:.2g} apart)"
            )
    return said


def _difference(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.abs(values.astype(np.float64) - wanted)
