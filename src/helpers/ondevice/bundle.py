"""The training bundle: what a phone trains with, and proof that it learns there as Keras does.

`make` writes it as a folder or a zip, `verify` runs its golden steps, `counts` is the rule by which
a personal version counts. In it are:

``training.tflite`` : the file that holds its state, for runtimes with signatures.
``train_step.tflite``, ``infer.tflite`` : the same without state, for runtimes without them.
``initial.state`` : where training begins, a saved state of `helpers.ondevice.trainer.Trainer.keep`.
``rehearsal.bin`` : rows of the training data, on which a personal version must stay good.
``golden_steps.bin`` : steps that Keras made, see `Golden`.
``training.json`` : all of it described, with the SHA-256 of every file.
``c/``, ``android/``, ``ios/`` : classes that train, save, restore and roll back.

Binary forms are little-endian; a number is a uint32, a name its length and its UTF-8 bytes, a row
of an input its values one after the other.

``rehearsal.bin``: the magic ``REHEARS1``; number of inputs, of each its name, dtype (index in
`helpers.schema.DTYPES`), number of axes of a row and the axes; number of rows; every input row by
row; a label a row, int32.

``golden_steps.bin``: the magic ``GSTEPS01``; SHA-256 of ``training.tflite``; learning rate float32;
how far a loss and how far a weight may be from Keras', float64 each; inputs as above; number of
weights, and the weights before the first step, float32; number of steps, of each its number of
rows, every input row by row, a label a row, the loss float32, and the weights after it, float32.
The optimiser's vectors are zero before the first step.
"""

from __future__ import annotations

import dataclasses
import math
import os
import struct
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import child, files
from helpers.bundle import archive, golden, sources
from helpers.bundle.golden import Described
from helpers.errors import BadInput, DamagedFile, ParityError
from helpers.ondevice import litert, optimisers, parity
from helpers.ondevice.program import STEP, WEIGHTS, Program
from helpers.ondevice.rows import Rows, at, drawn
from helpers.ondevice.shipped import Shipped
from helpers.ondevice.trainer import Trainer
from helpers.quiet import native_output
from helpers.studies import Inputs

TRAINING, TRAIN_STEP, INFER = "training.tflite", "train_step.tflite", "infer.tflite"
DESCRIBED, INITIAL = "training.json", "initial.state"
REHEARSAL, GOLDEN = "rehearsal.bin", "golden_steps.bin"
MARGIN = 0.01
"""By how much a personal version may be worse on the rehearsal rows, as a part of them."""
LOSS_ERROR = 1e-5
"""How far the loss of a golden step may be from Keras'."""
BOTH_STRAY = 2
"""How many times the noise floor a weight may be from Keras' where that is more than
`parity.LIMITS`: the file and Keras may each be so far from what exact arithmetic gives."""
LIMITS = {"steps": 100, "seconds": 60.0}
"""After which a phone ends a round of training."""
STEPS = range(3, 6)
"""How many golden steps there may be."""
_REHEARSAL_MAGIC, _GOLDEN_MAGIC = b"REHEARS1", b"GSTEPS01"
_ROUNDING = 1e-9
"""Less than one row of any rehearsal makes; more than subtracting two accuracies loses."""
_MOST_ROWS = 1 << 20


@dataclass(frozen=True)
class Golden:
    """Steps that Keras made, and what a file must reproduce of them.

    Attributes
    ----------
    identity : SHA-256 of ``training.tflite``.
    errors : how far a loss and how far a weight may be from Keras'.
    before : weights ``(n,)`` before the first step.
    steps : of each its inputs ``(n_rows, ...)`` by name, labels ``(n_rows,)``, Keras' loss before
        the step and its weights ``(n,)`` after it.
    """

    identity: bytes
    learning_rate: float
    errors: tuple[float, float]
    inputs: tuple[Described, ...]
    before: np.ndarray
    steps: tuple[tuple[Inputs, np.ndarray, float, np.ndarray], ...]

    def to_bytes(self) -> bytes:
        """The binary form, see the module."""
        parts = [
            _GOLDEN_MAGIC,
            self.identity,
            struct.pack("<f2d", self.learning_rate, *self.errors),
            golden.tensors_to_bytes(self.inputs),
            struct.pack("<I", len(self.before)),
            self.before.astype("<f4").tobytes(),
            struct.pack("<I", len(self.steps)),
        ]
        for inputs, labels, loss, after in self.steps:
            parts += [
                _rows_to_bytes(self.inputs, inputs, labels),
                struct.pack("<f", loss),
                after.astype("<f4").tobytes(),
            ]
        return b"".join(parts)

    @staticmethod
    def from_bytes(content: bytes) -> Golden:
        """Read the binary form.

        Raises
        ------
        DamagedFile : cut short, too long, not of that form, or it proves nothing.
        """
        reader = golden.Reader(content, "the golden steps", archive.MOST_BYTES)
        if reader.take(8) != _GOLDEN_MAGIC:
            raise DamagedFile(f"these are no golden steps: they do not begin with {_GOLDEN_MAGIC}")
        identity = reader.take(32)
        rate, *errors = struct.unpack("<f2d", reader.take(20))
        inputs = reader.tensors()
        count = reader.count(archive.MOST_BYTES // 4, 1)
        before = np.frombuffer(reader.take(4 * count), "<f4")
        steps = []
        for _ in range(reader.count(STEPS.stop - 1, STEPS.start)):
            given, labels = _rows(reader, inputs)
            (loss,) = struct.unpack("<f", reader.take(4))
            after = np.frombuffer(reader.take(4 * count), "<f4")
            steps.append((given, labels, loss, after))
        if reader.left:
            raise DamagedFile(f"the golden steps go on for {reader.left} bytes after their end")
        made = Golden(identity, rate, tuple(errors), inputs, before, tuple(steps))
        made._check()
        return made

    def _check(self) -> None:
        """Refuse steps that a file that does not train would pass."""
        loss, weight = self.errors
        numbers = [self.before, *(after for *_, after in self.steps)]
        moved = np.abs(self.steps[-1][3] - self.before).max()
        if not all(np.isfinite(each).all() for each in numbers) or not (
            0 < loss <= LOSS_ERROR and weight > 0 and moved > 10 * weight
        ):
            raise DamagedFile(
                f"the golden steps prove nothing: weights move by {moved:.1e}, {weight:.1e} is "
                "allowed: take a higher learning rate"
            )


def counts(before: float, after: float, margin: float = MARGIN) -> bool:
    """Whether a personal version counts: it is not worse than the shipped model by more than
    `margin`.

    Parameters
    ----------
    before, after : share of the rehearsal rows that the shipped model and the personal version
        decide as labelled. Of the shipped one, not of the version before: else many small losses
        would add up.
    """
    return before - after <= margin + _ROUNDING


def make(
    program: Program,
    place: Path,
    *,
    rehearsal: Rows,
    batches: Sequence[Rows],
    learning_rate: float,
    batch_size: int,
    limits: Mapping[str, float] | None = None,
    margin: float = MARGIN,
) -> Path:
    """Write a training bundle, and verify it; the same arguments give the same bytes.

    Parameters
    ----------
    place : a folder that is not there yet, or the name of a ``.zip``.
    rehearsal : inputs and labels of rows on which a personal version must stay good.
    batches : inputs and labels of the golden steps, 3 to 5. A weight may be `parity.LIMITS` from
        Keras'; where a wide net's file is further, `BOTH_STRAY` times as far as Keras strays from
        itself over these steps with every weight moved by its last bit (`parity.noise_floor`).
    learning_rate, batch_size : that a phone trains with, and the golden steps were made with.
    limits : ``steps`` and ``seconds`` after which a phone ends a round; by default `LIMITS`.
    margin : see `counts`.

    Returns
    -------
    `place`.

    Raises
    ------
    BadInput : an argument that makes no sense, or golden steps that prove nothing.
    ParityError : the files do not learn as Keras does.
    """
    limits = dict(limits or LIMITS)
    if place.suffix != ".zip" and place.exists():
        raise BadInput(f"{place} is there already: give a folder that is not, or remove it")
    _check_settings(program, rehearsal, batches, learning_rate, batch_size, limits, margin)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "bundle"
        folder.mkdir()
        told = _described(program, learning_rate, batch_size, limits, margin)
        told |= _write_files(program, folder, rehearsal, batches, told)
        for name, text in _sources(program, told).items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        paths = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
        told["sha256"] = {name: files.sha256(paths[name]) for name in sorted(paths)}
        paths[DESCRIBED] = folder / DESCRIBED
        files.write_json(paths[DESCRIBED], told)
        verify(folder)
        content = {name: path.read_bytes() for name, path in paths.items()}
        if place.suffix == ".zip":
            with files.atomic(place) as whole:
                archive.pack(content, whole)
        else:
            _write(content, place)
    return place


def of(
    shipped: Shipped,
    place: Path,
    *,
    optimiser: str = "adam",
    learning_rate: float = 0.001,
    batch_size: int = 16,
    rehearsal: int = 200,
    last_layer: bool = False,
    seed: int = 42,
) -> Path:
    """Write the training bundle of a run's model, with rows of its training data.

    Parameters
    ----------
    optimiser : ``adam`` or ``sgd``.
    rehearsal : how many rows a phone keeps, the first.
    last_layer : train nothing else, which a few rows of one owner are enough for.

    Returns
    -------
    `place`.

    Raises
    ------
    BadInput : the model has a layer that cannot be trained, named; and as `make`.
    """
    program = Program(shipped.model, shipped.schema, optimisers.get(optimiser))
    if last_layer:
        program = program.last_layer()
    return make(
        program,
        place,
        rehearsal=at(shipped.train, slice(rehearsal)),
        batches=drawn(shipped.train, STEPS[0], batch_size, seed),
        learning_rate=learning_rate,
        batch_size=batch_size,
    )


def _write_files(
    program: Program,
    folder: Path,
    rehearsal: Rows,
    batches: Sequence[Rows],
    told: Mapping,
) -> dict:
    """Write the files that a phone trains with; returns what ``training.json`` says of the
    rehearsal and the golden steps.
    """
    litert.write(program, folder / TRAINING)
    litert.write_stateless(program, folder / TRAIN_STEP, folder / INFER)
    trainer = Trainer(folder / TRAINING)
    trainer.keep(folder / INITIAL)
    inputs = golden.described(program.schema.inputs)
    (folder / REHEARSAL).write_bytes(
        _REHEARSAL_MAGIC + golden.tensors_to_bytes(inputs) + _rows_to_bytes(inputs, *rehearsal)
    )
    steps = _golden(program, inputs, batches, told["learning_rate"], folder / TRAINING)
    (folder / GOLDEN).write_bytes(steps.to_bytes())
    loss, weight = steps.errors
    return {
        "rehearsal": {
            "rows": len(rehearsal[1]),
            "accuracy": _accuracy(trainer, *rehearsal, told["batch_size"]),
        },
        "golden": {"steps": len(batches), "loss_error": loss, "weight_error": weight},
    }


def _write(content: Mapping[str, bytes], place: Path) -> None:
    """Write the files of a folder under another name, which the folder has when it is whole."""
    partial = files.partial(place)
    try:
        with files.writing(place):
            for name, data in content.items():
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                (partial / name).write_bytes(data)
            os.replace(partial, place)
    finally:
        files.remove(partial)


def verify(path: Path):
    """Check every file of a bundle, a folder or a zip, and run its golden steps with both forms of
    the training file, in a process of their own.

    Returns
    -------
    DataFrame, a row a file and step: ``file``, ``step``, ``loss`` and ``weights``, the differences
    from Keras'.

    Raises
    ------
    DamagedFile : a file is missing, changed, or cannot be read.
    ParityError : a step is not reproduced, or the model decides the rehearsal rows worse than said.
    """
    import pandas as pd

    with tempfile.TemporaryDirectory() as temporary:
        folder = path
        if not path.is_dir():
            folder = Path(temporary) / "bundle"
            archive.unpack(path, folder)
        archive.check_files(folder, listing=DESCRIBED)
        found = child.run(f"verify {path.name}", f"{__name__}:_verify_here", folder=str(folder))
    return pd.DataFrame(found, columns=["file", "step", "loss", "weights"])


def is_one(path: Path) -> bool:
    """Whether a folder or a zip says that it is a training bundle."""
    if path.is_dir():
        return (path / DESCRIBED).is_file()
    try:
        with zipfile.ZipFile(path) as content:
            return DESCRIBED in content.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False  # whoever opens it next says why


def read_rehearsal(content: bytes) -> Rows:
    """Inputs ``(n_rows, ...)`` by name and labels ``(n_rows,)`` of ``rehearsal.bin``.

    Raises
    ------
    DamagedFile : it is not of that form.
    """
    reader = golden.Reader(content, "the rehearsal rows", archive.MOST_BYTES)
    if reader.take(8) != _REHEARSAL_MAGIC:
        raise DamagedFile(f"{REHEARSAL} does not begin with {_REHEARSAL_MAGIC}")
    found = _rows(reader, reader.tensors())
    if reader.left:
        raise DamagedFile(f"{REHEARSAL} goes on for {reader.left} bytes after its end")
    return found


def _verify_here(folder: str) -> list[list]:
    """The golden steps and the rehearsal; runs in a child process."""
    place = Path(folder)
    told = archive.manifest(place, DESCRIBED)
    steps = Golden.from_bytes((place / GOLDEN).read_bytes())
    if steps.identity.hex() != files.sha256(place / TRAINING):
        raise DamagedFile(f"the golden steps are of another file than {TRAINING}")
    found = []
    for name, trainer in {
        TRAINING: Trainer(place / TRAINING),
        TRAIN_STEP: _Stateless(place / TRAIN_STEP),
    }.items():
        state = trainer.save()
        fresh = {n: np.zeros_like(value) for n, value in state.items()}
        trainer.restore({**fresh, WEIGHTS: steps.before})
        for number, (inputs, labels, loss, after) in enumerate(steps.steps, 1):
            said = trainer.train(inputs, labels, steps.learning_rate)["loss"]
            differences = (
                abs(said - loss),
                float(np.abs(trainer.save()[WEIGHTS] - after).max()),
            )
            found.append([name, number, *differences])
            for what, difference, allowed in zip(
                ("the loss", "a weight"), differences, steps.errors, strict=True
            ):
                if not difference <= allowed:  # written so that NaN fails
                    raise ParityError(
                        f"{name}: at golden step {number} {what} is {difference:.1e} from Keras', "
                        f"{allowed:.1e} are allowed: do not ship this bundle, make it again"
                    )
    _verify_infer(place, steps)
    trainer = Trainer(place / TRAINING)
    trainer.resume(place / INITIAL)
    rows = read_rehearsal((place / REHEARSAL).read_bytes())
    accuracy = _accuracy(trainer, *rows, told["batch_size"])
    if not counts(told["rehearsal"]["accuracy"], accuracy, told["margin"]):
        raise ParityError(
            f"{TRAINING} decides {accuracy:.1%} of the rehearsal rows as labelled, not "
            f"{told['rehearsal']['accuracy']:.1%}: do not ship this bundle, make it again"
        )
    return found


def _verify_infer(place: Path, steps: Golden) -> None:
    """Both forms must give the same outputs from the same weights."""
    inputs = steps.steps[0][0]
    trainer = Trainer(place / TRAINING)
    trainer.resume(place / INITIAL)
    (wanted,) = trainer.infer(inputs).values()
    (found,) = _call(_opened(place / INFER), {WEIGHTS: trainer.save()[WEIGHTS], **inputs}).values()
    difference = float(np.abs(found - wanted).max())
    if not difference <= parity.OUTPUT_ERROR:
        raise ParityError(f"{INFER} is {difference:.1e} from infer of {TRAINING}: make them again")


class _Stateless:
    """``train_step.tflite`` used as a `Trainer`."""

    def __init__(self, path: Path):
        self._interpreter = _opened(path)
        there = {each["name"]: each["shape"] for each in self._interpreter.get_input_details()}
        given = {each["name"] for each in self._interpreter.get_output_details()}
        self._state = {
            name: np.zeros(tuple(shape), np.float32)
            for name, shape in there.items()
            if f"{name}{litert.AFTER}" in given
        }
        if not {WEIGHTS, STEP} <= set(self._state):
            raise DamagedFile(f"{path.name} is no step of training: it gives {sorted(given)}")

    def save(self) -> dict:
        return dict(self._state)

    def restore(self, state: Mapping) -> None:
        self._state = dict(state)

    def train(self, inputs: Inputs, labels: np.ndarray, learning_rate: float) -> dict:
        rate = np.float32(learning_rate)
        found = _call(
            self._interpreter,
            {**self._state, **inputs, "labels": labels, "learning_rate": rate},
        )
        self._state = {name: found[f"{name}{litert.AFTER}"] for name in self._state}
        return {"loss": float(found["loss"])}


def _opened(path: Path):
    from ai_edge_litert.interpreter import Interpreter

    with native_output():
        try:
            return Interpreter(str(path), num_threads=1)
        except (ValueError, RuntimeError) as error:
            raise DamagedFile(f"{path.name} is not a usable TFLite file: {error}") from error


def _call(interpreter, values: Mapping) -> dict[str, np.ndarray]:
    """Run a file without signatures, its inputs and outputs by name."""
    details = interpreter.get_input_details()
    for each in details:
        interpreter.resize_tensor_input(each["index"], np.shape(values[each["name"]]))
    interpreter.allocate_tensors()
    for each in details:
        interpreter.set_tensor(each["index"], np.asarray(values[each["name"]], each["dtype"]))
    interpreter.invoke()
    outputs = interpreter.get_output_details()
    return {each["name"]: interpreter.get_tensor(each["index"]) for each in outputs}


def _golden(program: Program, inputs, batches, learning_rate: float, training: Path) -> Golden:
    weights, losses = parity.keras_steps(program, batches, learning_rate)
    allowed = parity.LIMITS[program.optimiser.name][0]
    followed, _ = parity.steps_of(Trainer(training), program.initial(), batches, learning_rate)
    if np.abs(followed - weights).max() > allowed:
        floor = parity.noise_floor(program, batches, learning_rate, every=True)
        allowed = max(allowed, BOTH_STRAY * float(floor[-1]))
    steps = tuple(
        (given, np.asarray(labels, np.int32), float(loss), after)
        for (given, labels), loss, after in zip(batches, losses, weights, strict=True)
    )
    identity = bytes.fromhex(files.sha256(training))
    before = program.initial()[WEIGHTS]
    made = Golden(identity, learning_rate, (LOSS_ERROR, allowed), inputs, before, steps)
    if len(content := made.to_bytes()) > archive.MOST_BYTES // 2:
        raise BadInput(f"the golden steps have {len(content):,} bytes: take fewer or smaller ones")
    try:
        made._check()
    except DamagedFile as error:
        raise BadInput(str(error)) from error
    return made


def _accuracy(trainer: Trainer, inputs: Inputs, labels: np.ndarray, batch_size: int) -> float:
    """Share of the rows that is decided as labelled, scored in parts as a phone does."""
    right = 0.0
    for first in range(0, len(labels), batch_size):
        part = slice(first, first + batch_size)
        found = trainer.evaluate(*at((inputs, labels), part))
        right += found["correct"] * len(labels[part])
    return round(right) / len(labels)


def _described(
    program: Program, learning_rate: float, batch_size: int, limits: Mapping, margin: float
) -> dict:
    """What ``training.json`` says of the program and how a phone trains with it."""
    schema, places, layout = program.schema, 0, []
    for name, shape in program.layout:
        layout.append({"name": name, "shape": list(shape), "at": places})
        places += math.prod(shape)
    output = schema.output
    count = _classes(program)
    return {
        "format": archive.FORMAT,
        "model": schema.model_name,
        "schema": schema.to_json(),
        "files": {
            TRAINING: {"signatures": list(litert.SIGNATURES)},
            TRAIN_STEP: {"after": litert.AFTER},
            INFER: {},
        },
        "inputs": [
            {**each._asdict(), "shape": list(each.shape)}
            for each in golden.described(schema.inputs)
        ],
        "output": output.name,
        "classes": [d.name for d in output.dimensions]
        if count == len(output.dimensions)
        else [str(number) for number in range(count)],
        "optimiser": {
            "name": program.optimiser.name,
            "settings": dataclasses.asdict(program.optimiser),
            "slots": list(program.optimiser.slots),
        },
        "state": [
            {"name": name, "values": math.prod(program.sizes[name])}
            for name in sorted(program.sizes)
        ],
        "weights": layout,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "any_batch_size": schema.batch is None,
        "limits": {"steps": int(limits["steps"]), "seconds": float(limits["seconds"])},
        "margin": margin,
    }


def _sources(program: Program, told: Mapping) -> dict[str, str]:
    """The classes for phones and the README, by their path in the bundle."""
    name = sources.class_name(program.schema.model_name)
    return sources.filled("training", {**told, "name": name})


def _rows_to_bytes(tensors: Sequence[Described], inputs: Inputs, labels: np.ndarray) -> bytes:
    return (
        struct.pack("<I", len(labels))
        + golden.arrays_to_bytes(tensors, inputs)
        + np.asarray(labels, "<i4").tobytes()
    )


def _rows(reader: golden.Reader, tensors: Sequence[Described]) -> Rows:
    rows = reader.count(_MOST_ROWS, 1)
    inputs = reader.arrays(rows, tensors)
    return inputs, np.frombuffer(reader.take(4 * rows), "<i4").astype(np.int32)


def _classes(program: Program) -> int:
    return max(2, program.schema.output.size)


def _check_settings(program, rehearsal, batches, learning_rate, batch_size, limits, margin) -> None:
    for tensor in program.schema.inputs:
        if tensor.dtype != "float32":
            raise BadInput(f"{tensor.name} is {tensor.dtype}: a phone trains on float32 inputs")
    if len(batches) not in STEPS:
        raise BadInput(f"there are {len(batches)} golden steps: give 3 to 5 batches")
    if not 0 < learning_rate < math.inf:
        raise BadInput(f"learning_rate is {learning_rate}: it must be above 0")
    fixed = program.schema.batch
    if batch_size < 1 or (fixed and batch_size != fixed):
        raise BadInput(f"batch_size is {batch_size}: the model takes {fixed or 'one row or more'}")
    if sorted(limits) != sorted(LIMITS) or not (
        1 <= limits["steps"] < 2**31 and 0 < limits["seconds"] < math.inf
    ):
        raise BadInput(f"limits are {limits}: give {' and '.join(LIMITS)}, both above 0")
    if not 0 <= margin < 1:
        raise BadInput(f"margin is {margin}: it is a share of the rehearsal rows, as 0.01")
    classes = _classes(program)
    for what, (inputs, labels) in [("rehearsal", rehearsal), *(("a batch", b) for b in batches)]:
        if not len(labels) or any(len(array) != len(labels) for array in inputs.values()):
            raise BadInput(f"{what} needs as many rows of each input as labels, one or more")
        if np.min(labels) < 0 or np.max(labels) >= classes:
            raise BadInput(
                f"{what} has labels from {np.min(labels)} to {np.max(labels)}: the model has "
                f"{classes} classes, from 0"
            )
        if fixed and len(labels) % fixed:
            raise BadInput(f"{what} has {len(labels)} rows: the model takes {fixed} at a time")
        for name, array in inputs.items():
            if not np.isfinite(array).all():
                raise BadInput(f"{name} of {what} has values that are not finite")
