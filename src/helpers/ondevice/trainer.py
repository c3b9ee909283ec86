"""Train, score, save and restore with a training file, as an app does."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from helpers import files
from helpers.errors import BadInput, DamagedFile
from helpers.ondevice.program import IGNORED, STEP, WEIGHTS, State
from helpers.ondevice.rows import at
from helpers.quiet import native_output
from helpers.studies import Inputs

_MAGIC = b"WBTRAIN1"
_HEAD = struct.Struct("<8s32sI")
"""Of a saved state: what it is, SHA-256 of the training file, number of vectors."""


class Trainer:
    """An open ``training.tflite``.

    Parameters
    ----------
    threads : that LiteRT computes with.

    Raises
    ------
    DamagedFile : it is no training file.
    """

    def __init__(self, path: Path, threads: int = 1):
        from ai_edge_litert.interpreter import Interpreter

        self.path = path
        with native_output():
            try:
                self._interpreter = Interpreter(str(path), num_threads=threads)
                self._signatures = self._interpreter.get_signature_list()
            except (ValueError, RuntimeError) as error:
                raise DamagedFile(f"{path.name} is not a usable TFLite file: {error}") from error
        wanted = {"train", "infer", "evaluate", "save", "restore"}
        if missing := sorted(wanted - set(self._signatures)):
            raise DamagedFile(f"{path.name} is no training file: it has no {', '.join(missing)}")
        with native_output():  # LiteRT says on stderr what it computes with
            self._calls = {name: self._interpreter.get_signature_runner(name) for name in wanted}
            self._shapes = {name: value.shape for name, value in self.save().items()}
        self.inputs = self._signatures["infer"]["inputs"]
        described = self._calls["infer"].get_input_details()
        self._rows = {name: tuple(d["shape_signature"][1:]) for name, d in described.items()}
        (output,) = self._calls["infer"].get_output_details().values()
        self._classes = max(2, int(output["shape_signature"][-1]))

    def train(self, inputs: Inputs, labels: np.ndarray, learning_rate: float) -> dict[str, float]:
        """One step on a batch; ``loss`` and the share that was ``correct`` before it.

        Raises
        ------
        BadInput : no rows, values that are not finite, or another number of labels.
        """
        given = {**self._checked(inputs, labels), "learning_rate": np.float32(learning_rate)}
        return means(self._calls["train"](**given), len(labels))

    def evaluate(self, inputs: Inputs, labels: np.ndarray) -> dict[str, float]:
        """``loss`` and the share that is ``correct``."""
        return means(self._calls["evaluate"](**self._checked(inputs, labels)), len(labels))

    def infer(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """The model's output by name, ``(n_rows, ...)``."""
        return self._calls["infer"](**self._checked(inputs))

    def save(self) -> State:
        """The weights, the optimiser's vectors and the steps made, by name."""
        asked = {IGNORED: np.float32(0)}
        return {name: np.array(value) for name, value in self._calls["save"](**asked).items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a state that was saved.

        Raises
        ------
        BadInput : it is of another model or optimiser, or holds values that are not finite.
        """
        found = {name: np.shape(value) for name, value in state.items()}
        if found != self._shapes:
            raise BadInput(f"{self.path.name} has the state {self._shapes}, this is {found}")
        for name, value in state.items():
            if not np.isfinite(value).all():
                raise BadInput(f"{name} of this state has values that are not finite")
        self._calls["restore"](**{n: np.asarray(v, np.float32) for n, v in state.items()})

    def keep(self, path: Path) -> None:
        """Save the state to a file; a kill at any moment leaves the old or the new one.

        The file is `_HEAD`, then by name in alphabetical order a vector each: its length as uint32
        and its float32 values, all little-endian; and the SHA-256 of everything before it.
        """
        state = self.save()
        parts = [_HEAD.pack(_MAGIC, self._identity(), len(state))]
        for name in sorted(state):
            values = np.ravel(state[name]).astype("<f4")
            parts += [struct.pack("<I", len(values)), values.tobytes()]
        content = b"".join(parts)
        with files.atomic(path) as whole:
            whole.write_bytes(content + hashlib.sha256(content).digest())

    def resume(self, path: Path) -> None:
        """Restore what `keep` has saved.

        Raises
        ------
        DamagedFile : the file is not whole, or of another training file.
        """
        content = path.read_bytes()
        if len(content) < _HEAD.size + 32 or not content.startswith(_MAGIC):
            raise DamagedFile(f"{path.name} is no saved state of training")
        body, said = content[:-32], content[-32:]
        if hashlib.sha256(body).digest() != said:
            raise DamagedFile(f"{path.name} is not whole: its SHA-256 is another")
        _, identity, count = _HEAD.unpack_from(body)
        if identity != self._identity() or count != len(self._shapes):
            raise DamagedFile(f"{path.name} was saved by another file than {self.path.name}")
        state, place = {}, _HEAD.size
        for name in sorted(self._shapes):
            length = struct.unpack_from("<I", body, place)[0]
            values = np.frombuffer(body, "<f4", length, place + 4)
            state[name] = values.reshape(self._shapes[name])
            place += 4 + 4 * length
        self.restore(state)

    def _identity(self) -> bytes:
        return hashlib.sha256(self.path.read_bytes()).digest()

    def _checked(self, inputs: Inputs, labels: np.ndarray | None = None) -> dict:
        if sorted(inputs) != sorted(self.inputs):
            raise BadInput(f"{self.path.name} takes {self.inputs}, not {sorted(inputs)}")
        rows = {len(array) for array in inputs.values()}
        rows |= set() if labels is None else {len(labels)}
        if len(rows) != 1 or 0 in rows:
            raise BadInput(f"a batch needs the same number of rows, 1 or more, not {sorted(rows)}")
        for name, array in inputs.items():
            if np.shape(array)[1:] != self._rows[name]:
                found = list(np.shape(array)[1:])
                raise BadInput(f"a row of {name} has the shape {list(self._rows[name])}: {found}")
            if not np.isfinite(array).all():
                raise BadInput(f"{name} has values that are not finite")
        given = {name: np.asarray(array, np.float32) for name, array in inputs.items()}
        if labels is None:
            return given
        labels = np.asarray(labels)
        if (labels != labels.astype(np.int32)).any() or not (
            (labels >= 0) & (labels < self._classes)
        ).all():
            raise BadInput(f"labels are whole numbers from 0 to {self._classes - 1}")
        return {**given, "labels": labels.astype(np.int32)}


def means(found: Mapping, rows: int) -> dict[str, float]:
    """The loss, and of the rows that are ``correct`` the share, of what a step says."""
    return {"loss": float(found["loss"]), "correct": float(found["correct"]) / rows}


def batches(
    rows: int, batch_size: int, epochs: int, seed: int, first: int = 0
) -> Iterator[tuple[int, np.ndarray]]:
    """Row numbers of each step of training, and its epoch; `first` steps are passed over.

    Each epoch goes through all rows in an order of its own, that seed and epoch fix, so that
    training that was interrupted goes on as if it had not been. The last batch may be smaller.
    """
    steps = -(-rows // batch_size)
    for epoch in range(first // steps, epochs):
        order = np.random.default_rng([seed, epoch]).permutation(rows)
        for step in range(steps):
            if epoch * steps + step >= first:
                yield epoch, order[step * batch_size : (step + 1) * batch_size]


def fit(
    trainer: Trainer,
    inputs: Inputs,
    labels: np.ndarray,
    *,
    epochs: int = 1,
    batch_size: int = 32,
    learning_rate: float = 0.001,
    seed: int = 42,
    augment: Callable | None = None,
    path: Path | None = None,
    every: int = 50,
    progress: bool = True,
):
    """Train on rows for some epochs, counted from the steps that the trainer has made.

    Parameters
    ----------
    augment : ``(rng, inputs) -> inputs`` of a batch.
    path : of a saved state: resumed if it is there, kept after every `every` steps and at the end.

    Returns
    -------
    DataFrame by step, from 1 on: ``epoch``, ``loss``, ``correct``, of the batch before the step.
    """
    import pandas as pd
    from tqdm import tqdm

    if path is not None and path.exists():
        trainer.resume(path)
    done = int(trainer.save()[STEP])
    total = epochs * -(-len(labels) // batch_size)
    found = []
    with tqdm(
        total=total,
        initial=done,
        desc="train",
        unit=" steps",
        delay=2,
        leave=False,
        disable=not progress or None,
    ) as bar:
        for epoch, places in batches(len(labels), batch_size, epochs, seed, done):
            batch, wanted = at((inputs, labels), places)
            done += 1
            if augment is not None:
                batch = augment(np.random.default_rng([seed, done]), batch)
            said = trainer.train(batch, wanted, learning_rate)
            found.append({"step": done, "epoch": epoch + 1, **said})
            bar.update()
            if path is not None and (done % every == 0 or done == total):
                trainer.keep(path)
    return pd.DataFrame(found, columns=["step", "epoch", "loss", "correct"]).set_index("step")


def with_weights(state: State, weights: np.ndarray) -> State:
    """A state that begins anew from other weights."""
    fresh = {name: np.zeros_like(value) for name, value in state.items()}
    return {**fresh, WEIGHTS: np.asarray(weights, np.float32)}
