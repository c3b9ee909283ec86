"""Does a converted file still decide as the trained model does, in every batch and every time?

What is decided, and when it is still the same, says the task (`helpers.tasks`).
"""

from __future__ import annotations

import collections
import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from helpers import files
from helpers.errors import DamagedFile, ParityError
from helpers.runs import Stage
from helpers.runtimes import Runtime, batch_differences, open_model, scale_of
from helpers.schema import Schema
from helpers.tasks import Outputs, Task, Truth, tensors
from helpers.tasks.judgement import (
    BATCH_ERROR,
    BROKEN,
    SAME,
    SAME_ERROR,
    SHIPS,
    TOO_FEW,
    Judgement,
)
from helpers.trained import Trained

FLOAT_ERROR, WINOGRAD_ERROR = 1e-4, 1e-3
"""How far a float32 file may be from the trained model, in parts of the largest value; the second
of MNN's, which computes 3x3 convolutions by Winograd's transform: one of stride 1 was 2e-4 of its
largest value away, where one of stride 2, without the transform, was 2e-7."""
Inputs = Mapping[str, np.ndarray]
FILE = "model/reference.npz"
"""Where a run keeps its `Reference`."""
INPUT_BYTES = 64 << 20
"""Most bytes of inputs that a `Reference` holds at once."""
BATCHES = (*range(1, 513), 1000, 1023, 1024, 1025, 2048, 4095, 4096)
"""Batch sizes that a file is scored in: every list that an app shows, and what lies around the
blocks of runtimes.
"""
_BATCH_VALUES = 1 << 24
"""Values that all of them together may feed: of wide inputs, as pictures, fewer batch sizes are
tried.
"""
_OUTPUT, _JUDGED = "output:", "judgements"


@dataclass(frozen=True)
class Reference:
    """The set that files are judged on, and what the trained model gave for it.

    `outputs` are arrays ``(n_rows, *shape)`` by name; the first is what is decided by, the scores.
    `inputs` are those of all rows; where these are more than fit (`INPUT_BYTES`), of the first, and
    `parts` begins to read all of them, a part at a time.
    """

    task: Task
    inputs: Inputs
    outputs: Outputs
    truth: Truth = Truth()
    parts: Callable[[], Iterator[Inputs]] | None = None

    def predict(self, score: Callable[[Inputs], Outputs]) -> Outputs:
        """What `score` gives for named inputs, as `Runtime.predict`, for all rows."""
        if self.parts is None:
            return score(self.inputs)
        found = [score(inputs) for inputs in self.parts()]
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}

    @property
    def scores(self) -> np.ndarray:
        """What is decided by, of the first output."""
        return self.task.decided(next(iter(self.outputs.values())))

    @classmethod
    def of(cls, task: Task, data, schema: Schema, score: Callable[[Inputs], Outputs]) -> Reference:
        """The reference of the test split of a `helpers.datasets.Dataset`, by what `score` gives
        for it.
        """
        inputs, parts = test_inputs(data, schema)
        unscored = cls(task, inputs, {}, data.truth("test"), parts)
        return replace(unscored, outputs=unscored.predict(score))

    def save(self, path: Path) -> None:
        """Write all but the inputs, of which it keeps a SHA-256; the same content gives the same
        bytes.
        """
        known = {name: array for name, array in vars(self.truth).items() if array is not None}
        parts = self.parts() if self.parts else [self.inputs]
        digest = {"inputs_sha256": np.array(_sha256(parts))}
        with open(path, "wb") as file:
            np.savez(
                file,
                **known,
                **digest,
                **{f"{_OUTPUT}{name}": array for name, array in self.outputs.items()},
            )

    @classmethod
    def load(
        cls,
        path: Path,
        task: Task,
        inputs: Inputs,
        parts: Callable[[], Iterator[Inputs]] | None = None,
    ) -> Reference:
        """Read what `save` wrote; nothing is unpickled.

        Parameters
        ----------
        inputs, parts : the named inputs that it was made with.

        Raises
        ------
        DamagedFile : these are others, or the file was written by an earlier version.
        """
        found, digest = cls.load_outputs(path, task)
        if digest != _sha256(parts() if parts else [inputs]):
            raise DamagedFile(f"{FILE} was made with other inputs; run stage 02 again")
        return replace(found, inputs=inputs, parts=parts)

    @classmethod
    def load_outputs(cls, path: Path, task: Task) -> tuple[Reference, str]:
        """Read what `save` wrote without the inputs, and the SHA-256 of those.

        Raises
        ------
        DamagedFile : the file was written by an earlier version.
        """
        with np.load(path, allow_pickle=False) as file:
            if "inputs_sha256" not in file.files:
                raise DamagedFile(f"{FILE} was written by an earlier version; run stage 02 again")
            outputs = {
                name.removeprefix(_OUTPUT): file[name]
                for name in file.files
                if name.startswith(_OUTPUT)
            }
            known = {name: file[name] for name in vars(Truth()) if name in file.files}
            return cls(task, {}, outputs, Truth(**known)), str(file["inputs_sha256"])

    @classmethod
    def recorded(cls, stage: Stage, trained: Trained, data) -> Reference:
        """Load the reference of a stage's run, which must be of the test split of its data set.

        Parameters
        ----------
        data : the `helpers.datasets.Dataset` that stage 01 recorded.

        Raises
        ------
        DamagedFile : its inputs, labels or requests are other rows: what it judges would mean
            nothing.
        """
        reference = cls.load(
            stage.input("02", FILE), trained.task, *test_inputs(data, trained.schema)
        )
        for name, array in vars(data.truth("test")).items():
            if not np.array_equal(
                getattr(reference.truth, name), array
            ):  # of two that are None, too
                raise DamagedFile(
                    f"{FILE} is not of the test split of this run's data set: its {name} are "
                    "others; run stage 02 again"
                )
        return reference

    def judge(self, outputs: Outputs) -> Judgement:
        """Hold a file's outputs to the trained model's: what the task reads by the task, others by
        their values.

        Raises
        ------
        ParityError : not one value a row.
        """
        found = self.task.judge(self._decided(outputs), self._decided(self.outputs), self.truth)
        others = list(self.outputs)[1:]
        if self.task.name == tensors.TENSORS.name or not others or found.verdict == BROKEN:
            return found
        pair = ({name: values[name] for name in others} for values in (outputs, self.outputs))
        rest = tensors.compare(*pair)
        order = (*SHIPS, TOO_FEW, BROKEN)
        worse = order.index(rest.verdict) > order.index(found.verdict)
        return replace(found, verdict=rest.verdict, reason=rest.reason) if worse else found

    def _decided(self, outputs: Outputs) -> Outputs:
        first = next(iter(self.outputs))
        return {**outputs, first: self.task.decided(outputs[first])}


def test_inputs(data, schema: Schema) -> tuple[Inputs, Callable[[], Iterator[Inputs]] | None]:
    """Inputs of the test split, as a `Reference` holds them."""

    def parts() -> Iterator[Inputs]:
        return (inputs for inputs, _ in data.chunks("test", schema=schema))

    most = max(1, INPUT_BYTES // schema.row_bytes)
    inputs = data.arrays("test", most, schema=schema)[0]
    return inputs, parts if data.rows("test") > most else None


def _sha256(parts: Iterable[Inputs]) -> str:
    """SHA-256 of named inputs, the same in whatever parts they come."""
    digests = collections.defaultdict(hashlib.sha256)
    for part in parts:
        for name, array in part.items():
            described = f"{name} {array.dtype} {array.shape[1:]}"
            digests[described].update(np.ascontiguousarray(array).data)
    found = {described: digest.hexdigest() for described, digest in digests.items()}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def examine(model: Runtime, reference: Reference) -> Judgement:
    """Judge an open file: its scores on the whole test split, and that they do not depend on the
    batch they come in.
    """
    return examine_scores(model, reference)[0]


def examine_scores(model: Runtime, reference: Reference) -> tuple[Judgement, np.ndarray | None]:
    """`examine` an open file, and keep its scores ``(n_rows, 1)``; None where it gave none that can
    be compared.
    """
    outputs = result = None
    try:
        outputs = reference.predict(model.predict)
        result = reference.judge(outputs)
        if result.verdict != BROKEN:
            check_batches(
                model, reference.inputs, SAME_ERROR if result.verdict == SAME else BATCH_ERROR
            )
        if result.verdict == BROKEN:
            check_repeats(reference.predict(model.predict), outputs)
    except (DamagedFile, ParityError) as error:
        if result is None:
            return Judgement.broken(str(error)), None
        result = replace(result, verdict=BROKEN, reason=str(error))
    return result, reference.task.decided(outputs[model.schema.output.name])


def check_repeats(again: Outputs, outputs: Outputs) -> None:
    """Refuse a file that scores the same rows differently a second time.

    Raises
    ------
    ParityError : by how much, and what usually does it.
    """
    for name, second in again.items():
        if not np.array_equal(second, outputs[name], equal_nan=second.dtype.kind == "f"):
            moved = np.abs(second - outputs[name]).max()
            raise ParityError(
                f"not repeatable: the same rows score differently a second time, by {moved:.1e}; "
                "it reads memory that it never wrote, or a layer that draws at random, such as "
                "dropout, is active outside training"
            )


def keep(
    judged: Mapping[str, tuple[Judgement, np.ndarray | None]],
    sha256: Mapping[str, str],
    path: Path,
) -> None:
    """Write what `examine_scores` gave of files, by name, and of which bytes, for a later stage;
    see `judged_files`.
    """
    arrays = {name: scores for name, (_, scores) in judged.items() if scores is not None}
    said = {
        name: {
            "sha256": sha256[name],
            "verdict": found.verdict,
            "reason": found.reason,
            "figures": {key: _plain(value) for key, value in found.figures.items()},
        }
        for name, (found, _) in judged.items()
    }
    with open(path, "wb") as file:
        np.savez(file, **{_JUDGED: np.array(json.dumps(said, allow_nan=False))}, **arrays)


def _plain(value: float) -> float | int | str:
    """A figure as JSON has it; one that is no finite number as text."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if math.isfinite(value) else repr(value)


def judged_files(
    models: Mapping[str, Path], schema: Schema, reference: Reference, records: Iterable[Path]
) -> tuple[dict[str, Judgement], dict[str, np.ndarray]]:
    """What was found of files when they were made; a file that is not the bytes of then is examined
    now.

    Parameters
    ----------
    models : files of runtimes of phones by name.
    records : what `keep` wrote of `reference`.

    Returns
    -------
    What was found by name, and the scores ``(n_rows, 1)`` of those files that gave any.
    """
    known: dict[tuple[str, str], tuple[Judgement, np.ndarray | None]] = {}
    for record in records:
        with np.load(record, allow_pickle=False) as file:
            for name, said in json.loads(str(file[_JUDGED])).items():
                figures = {
                    key: float(value) if isinstance(value, str) else value
                    for key, value in said["figures"].items()
                }
                found = Judgement(said["verdict"], said["reason"], figures)
                known[name, said["sha256"]] = found, file[name] if name in file.files else None
    parities, scores = {}, {}
    for name, path in models.items():
        key = name, files.sha256(path)
        parities[name], scored = known[key] if key in known else _examined(path, schema, reference)
        if scored is not None:
            scores[name] = scored
    return parities, scores


def kept_scores(
    task: Task, reference: Path, records: Iterable[Path]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What is decided by, of the trained model and of each file by name, as they were recorded.

    Parameters
    ----------
    reference : what `Reference.save` wrote.
    records : what `keep` wrote of it.
    """
    with np.load(reference, allow_pickle=False) as file:
        first = next(name for name in file.files if name.startswith(_OUTPUT))
        trained = task.decided(file[first])
    scores = {}
    for record in records:
        with np.load(record, allow_pickle=False) as file:
            scores |= {name: file[name] for name in file.files if name != _JUDGED}
    return trained, scores


def _examined(
    path: Path, schema: Schema, reference: Reference
) -> tuple[Judgement, np.ndarray | None]:
    """`examine_scores` of a file in a process of its own: whatever it does to that is its
    verdict.
    """
    try:
        with open_model(path, schema) as model:
            return examine_scores(model, reference)
    except DamagedFile as error:
        return Judgement.broken(str(error)), None


def require_same(
    model: Runtime, reference: Reference, name: str
) -> tuple[Judgement, np.ndarray | None]:
    """Refuse a float32 file that does not score as its reference on the whole test split, at every
    batch size; return what `examine_scores` does.

    Raises
    ------
    ParityError : with the reason in words, for a message that names the file.
    """
    result, scores = examine_scores(model, reference)
    if not is_near(result, reference):
        raise ParityError(f"{name} does not score as its reference: {result.reason}")
    return result, scores


def is_near(found: Judgement, reference: Reference, error: float = FLOAT_ERROR) -> bool:
    """Whether a float32 file is the trained model.

    A runtime that computes convolutions another way than the trained model's moves values: such a
    file is kept, and its verdict says so.
    """
    return found.verdict in SHIPS and found.max_abs_error <= error * scale_of(reference.scores)


def swapped(inputs: Inputs, pair: tuple[str, str]) -> dict[str, np.ndarray]:
    """The same inputs with two exchanged: what binding by position does in silence."""
    first, second = pair
    return {**inputs, first: inputs[second], second: inputs[first]}


def alike(inputs: Inputs) -> tuple[str, str] | None:
    """Names of two inputs of one width and dtype, which a runtime exchanges in silence.

    Of integers, two that have the same largest value, the larger the better: an id beyond the
    other's table is refused. None if there are no two such inputs; a runtime then refuses the
    exchange by itself.
    """
    pairs = [
        (first, second)
        for first, second in itertools.combinations(inputs, 2)
        if inputs[first].shape == inputs[second].shape
        and inputs[first].dtype == inputs[second].dtype
        and (inputs[first].dtype.kind == "f" or inputs[first].max() == inputs[second].max())
    ]
    return max(
        pairs,
        key=lambda pair: inputs[pair[0]].max() if inputs[pair[0]].dtype.kind == "i" else 0,
        default=None,
    )


def batches_of(schema: Schema) -> tuple[int, ...]:
    """Batch sizes that a file of a schema is scored in.

    `BATCHES`; where rows are wide, those up to some size; the one that is fixed.
    """
    if schema.batch is not None:
        return (schema.batch,)
    values = sum(tensor.size for tensor in schema.inputs)
    if 2 * sum(BATCHES) * values <= _BATCH_VALUES:
        return BATCHES
    return tuple(range(1, 2 + min(BATCHES[-1], math.isqrt(_BATCH_VALUES // values))))


def check_batches(
    model: Runtime,
    inputs: Inputs,
    allowed: float = SAME_ERROR,
    batches: Sequence[int] | None = None,
) -> None:
    """Refuse a file that scores the same rows differently when they come in other batches.

    `batches` are sizes, by default `batches_of` the file's schema.

    Raises
    ------
    ParityError : rows differ by more than `allowed`; names the first batch size where they do.
    """
    batches = batches or batches_of(model.schema)
    differences = np.array(batch_differences(model, inputs, batches))
    wrong = np.flatnonzero(~(differences <= allowed))  # written so that NaN is wrong
    if len(wrong):
        check_repeats(model.predict(inputs), model.predict(inputs))
        batch, difference = batches[wrong[0]], differences[wrong[0]]
        others = (
            f", and so do {len(wrong) - 1} other batch sizes of {len(batches)}"
            if len(wrong) > 1
            else ""
        )
        reason = f"in batches of {batch} rows score differently, by {difference:.1e}{others}"
        raise ParityError(f"batches disagree: {reason}")
