"""The two halves of a split model in a bundle: the reader's, and the candidates'.

A study's model says how it is taken apart (`helpers.studies.Model.split`). For each model file of
the bundle that computes in float32 there are then two more, of the same runtime: ``reader.tflite``
takes what is of the reader alone and gives a vector, once a session; ``candidate.tflite`` takes
that vector and the other inputs, and gives what the whole model gives. ``model.json`` describes
them::

    "halves": {"files": {"model.tflite": ["reader.tflite", "candidate.tflite"]},
               "reader": schema, "candidate": schema}

``reader.bin`` has the golden vectors, in the form of ``golden.bin``. The halves in turn are held to
the golden scores of the whole file, and to its golden sessions, within its own tolerance. A reduced
file has no halves: they would not score as it does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from helpers import features, frameworks, registry
from helpers.bundle import archive, golden, make, sessions
from helpers.child import Child
from helpers.convert import mnn
from helpers.errors import BadInput, DamagedFile
from helpers.runtimes import Runtime, imports, open_model
from helpers.schema import Schema
from helpers.tasks.judgement import SAME_ERROR
from helpers.trained import Trained

GOLDEN = "reader.bin"
NAMES = "reader", "candidate"
MOST_ROWS = 20
"""Rows of a golden case whose vectors are kept; the larger ones are scored by both halves."""

Raw = tuple[features.Encoding, sessions.Sessions]


@dataclass(frozen=True)
class Halves:
    """What the two halves take and give, and their files by the whole model's file."""

    files: Mapping[str, tuple[str, str]]
    reader: Schema
    candidate: Schema

    @property
    def vector(self) -> str:
        """Name of what the reader's half gives and the candidates' takes."""
        return self.reader.output.name

    def given(self, inputs: Mapping[str, np.ndarray], vectors: np.ndarray) -> dict[str, np.ndarray]:
        """What the candidates' half takes: the whole model's inputs but for the reader's, and
        `vectors` ``(n_rows, width) float32``.
        """
        rest = {n: inputs[n] for n in self.candidate.input_names if n != self.vector}
        return {**rest, self.vector: vectors}

    def to_json(self) -> dict:
        """Plain values, as in ``model.json``."""
        return {
            "files": {whole: list(files) for whole, files in self.files.items()},
            "reader": self.reader.as_converted().to_json(),
            "candidate": self.candidate.as_converted().to_json(),
        }


def names(whole: str) -> tuple[str, str]:
    """Files of the halves of a model file: of ``model.mnn``, ``reader.mnn``, ``candidate.mnn``."""
    reader, candidate = (f"{name}{Path(whole).suffix}" for name in NAMES)
    return reader, candidate


def contents(
    study: str,
    trained: Trained,
    file: Path,
    cases: golden.Golden,
) -> tuple[Halves | None, dict[str, bytes]]:
    """The halves of a trained model, and their bytes by name in the bundle; None and nothing if the
    model has no such form, or each file of the bundle is a reduced one.

    Parameters
    ----------
    study : whose model it is.
    file : the trained model's.
    cases : the bundle's golden cases: of each file of the whole model that is within `SAME_ERROR`
        of the trained model there are halves.

    Raises
    ------
    BadInput : the halves do not score as the whole: the study's split is wrong, or a converter.
    """
    model = registry.get(study).models.get(trained.model)
    wholes = [f for f in cases.tolerance if cases.trained_difference(f) <= SAME_ERROR]
    if model is None or model.split is None or not wholes:
        return None, {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with Child("take the model apart", imports=imports(file)) as process:
            asked = {"study": study, "model": trained.model, "schema": trained.schema.to_json()}
            schemas, saved = process.call(
                f"{__name__}:_take_apart",
                framework=trained.framework,
                file=str(file),
                folder=str(folder),
                **asked,
            )
        halves = Halves({whole: names(whole) for whole in wholes}, *map(Schema.from_json, schemas))
        try:
            _check_ends(halves, trained.schema)
            if archive.MODELS["mnn"] in wholes:
                for name, taken in zip(NAMES, (halves.reader, halves.candidate), strict=True):
                    mnn.convert(folder / f"{name}.tflite", taken, folder / f"{name}.mnn")
            vectors = _golden_vectors(halves, folder, folder / saved, cases)
            (folder / GOLDEN).write_bytes(golden.to_bytes(vectors))
            check(folder, halves, trained.schema, cases, trusted=False)
        except DamagedFile as error:
            raise BadInput(
                f"the halves of the model {trained.model!r} do not ship: {error}"
            ) from error
        shipped = (GOLDEN, *(name for pair in halves.files.values() for name in pair))
        return halves, {name: (folder / name).read_bytes() for name in shipped}


def _take_apart(
    study: str, model: str, framework: str, schema: dict, file: str, folder: str
) -> tuple[list[dict], str]:
    """Write the halves of a trained model as ``.tflite``, and the reader's as it was trained; runs
    in a child process. Returns both schemas, and that file's name."""
    made = frameworks.get(framework)
    whole = frameworks.load(made, Path(file), Schema.from_json(schema))
    pair = registry.get(study).models[model].split(whole)
    for name, (half, taken) in zip(NAMES, pair, strict=True):
        made.export(half, taken, Path(folder) / f"{name}.tflite")
    saved = f"{NAMES[0]}{made.SUFFIX}"
    made.save(pair[0][0], Path(folder) / saved)
    return [taken.to_json() for _, taken in pair], saved


def _golden_vectors(
    halves: Halves, folder: Path, trained: Path, cases: golden.Golden
) -> golden.Golden:
    """Golden cases of the reader's half: the smaller ones of the whole model.

    Raises
    ------
    DamagedFile : a file does not give the vectors of the trained half.
    """
    inputs = {
        case.name: {name: case.inputs[name] for name in halves.reader.input_names}
        for case in cases.cases
        if case.rows <= MOST_ROWS
    }
    files = {pair[0]: folder / pair[0] for pair in halves.files.values()}
    found = make.scored_cases(halves.reader, trained, files, inputs)
    for file in files:
        if (moved := found.trained_difference(file)) > SAME_ERROR:
            raise DamagedFile(f"{file} is {moved:.2g} from the trained model's {halves.vector}")
    return found


def of(manifest: Mapping) -> Halves | None:
    """The halves that ``model.json`` describes; None if the bundle has none.

    Raises
    ------
    DamagedFile : the description is damaged, or missing although their files are there.
    """
    listed, said = set(manifest["sha256"]), manifest.get("halves")
    possible = {GOLDEN, *(name for whole in archive.MODELS.values() for name in names(whole))}
    if said is None:
        if stray := sorted(possible & listed):
            raise DamagedFile(
                f"the bundle has {stray[0]}, {archive.MANIFEST} does not say what the halves are"
            )
        return None
    try:
        reader, candidate = (Schema.from_json(said[name]) for name in NAMES)
        files = {whole: tuple(pair) for whole, pair in said["files"].items()}
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise DamagedFile(
            f"the halves in {archive.MANIFEST} are damaged: {type(error).__name__}: {error}"
        ) from error
    if not files or not set(files) <= set(manifest["files"]):
        raise DamagedFile(f"the halves are of {sorted(files)}, the bundle has other models")
    for whole, pair in files.items():
        if pair != names(whole):
            raise DamagedFile(
                f"the halves of {whole} are {', '.join(map(str, pair))} and not "
                f"{' and '.join(names(whole))}"
            )
    wanted = {GOLDEN, *(name for pair in files.values() for name in pair)}
    if missing := sorted(wanted ^ (possible & listed)):
        raise DamagedFile(
            f"{missing[0]} is one of the halves in {archive.MANIFEST} or in the bundle alone"
        )
    return Halves(files, reader, candidate)


def _check_ends(halves: Halves, schema: Schema) -> None:
    """Refuse halves that do not fit each other, or the whole model."""
    vector, (reader, candidate) = halves.vector, (halves.reader, halves.candidate)
    parts = golden.described(reader.outputs), golden.described(candidate.inputs)
    if len(reader.outputs) > 1 or reader.output.dtype != "float32" or len(reader.output.shape) > 1:
        raise DamagedFile(f"{NAMES[0]} gives {_text(parts[0])}: a vector of float32 is one output")
    if parts[0][0] not in parts[1]:
        raise DamagedFile(
            f"the {NAMES[0]} gives {_text(parts[0])}, the {NAMES[1]} takes {_text(parts[1])}"
        )
    rest = [tensor for tensor in candidate.inputs if tensor.name != vector]
    together = golden.described((*reader.inputs, *rest))
    if sorted(together) != sorted(golden.described(schema.inputs)):
        raise DamagedFile(f"the halves take {_text(together)}, which is not what the model takes")
    if golden.described(candidate.outputs) != golden.described(schema.outputs):
        given = golden.described(candidate.outputs)
        raise DamagedFile(f"the {NAMES[1]}'s half gives {_text(given)}, the model another")


def _text(tensors) -> str:
    return ", ".join(f"{name} {dtype} {list(shape)}" for name, shape, dtype in tensors)


class _InTurn:
    """Both halves as one model: each row with the vector of its own reader."""

    def __init__(self, halves: Halves, reader: Runtime, candidate: Runtime):
        self._halves, self._reader, self._candidate = halves, reader, candidate

    def _vectors(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        read = {name: inputs[name] for name in self._halves.reader.input_names}
        return self._reader.predict(read)[self._halves.vector]

    def predict(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._candidate.predict(self._halves.given(inputs, self._vectors(inputs)))

    def score(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Of one session, as a phone does it: the vector is computed once for all candidates."""
        once = self._vectors({name: array[:1] for name, array in inputs.items()})
        rows = len(next(iter(inputs.values())))
        return self._candidate.score(self._halves.given(inputs, np.repeat(once, rows, axis=0)))


def _same(part: Mapping[str, np.ndarray], inputs: Mapping[str, np.ndarray]) -> bool:
    return all(np.array_equal(array, inputs[name]) for name, array in part.items())


def check(
    folder: Path,
    halves: Halves,
    schema: Schema,
    cases: golden.Golden,
    raw: Raw | None = None,
    *,
    trusted: bool,
) -> dict[str, int]:
    """Hold the halves in an unpacked bundle to the golden vectors, cases and sessions.

    Parameters
    ----------
    schema, cases, raw : of the whole model.
    trusted : see `open_model`.

    Returns
    -------
    By the names of both files, how many cases and sessions were scored.

    Raises
    ------
    DamagedFile : the reader's half does not give its golden vectors; the candidates' half does not
        give the golden scores with them; both in turn do not score as the whole file.
    """
    _check_ends(halves, schema)
    vectors = golden.from_bytes((folder / GOLDEN).read_bytes())
    _check_vectors(halves, vectors, cases)
    counted = {}
    for whole, (reader, candidate) in halves.files.items():
        known = {case.name: case.expected[reader][halves.vector] for case in vectors.cases}
        small = tuple(
            replace(case, inputs=halves.given(case.inputs, known[case.name]))
            for case in cases.cases
            if case.name in known
        )
        of_reader = open_model(folder / reader, halves.reader, trusted=trusted)
        of_candidate = open_model(folder / candidate, halves.candidate, trusted=trusted)
        both = _InTurn(halves, of_reader, of_candidate)
        if wrong := golden.failures(vectors, reader, of_reader):
            raise DamagedFile(
                f"{reader} does not give the golden {halves.vector}"
                f"{_order(vectors, reader, of_reader)}: {wrong[0]}"
            )
        if wrong := golden.failures(replace(cases, cases=small), whole, of_candidate):
            raise DamagedFile(
                f"{candidate} does not score as {whole} with the golden {halves.vector}: {wrong[0]}"
            )
        wrong = golden.failures(cases, whole, both)
        if not wrong and raw is not None:
            wrong = sessions.failures(raw[1], whole, raw[0], both.score)
        if wrong:
            raise DamagedFile(
                f"{reader} and {candidate} in turn do not score as {whole}: {wrong[0]}"
            )
        counted[f"{reader} and {candidate}"] = len(cases.cases) + (len(raw[1].cases) if raw else 0)
    return counted


def _check_vectors(halves: Halves, vectors: golden.Golden, cases: golden.Golden) -> None:
    """Refuse golden vectors that are not of these halves and cases."""
    ends = golden.described(halves.reader.inputs), golden.described(halves.reader.outputs)
    of_cases = {case.name: case for case in cases.cases if case.rows <= MOST_ROWS}
    same = {case.name for case in vectors.cases} == set(of_cases) and all(
        _same(case.inputs, of_cases[case.name].inputs) for case in vectors.cases
    )
    readers = {pair[0] for pair in halves.files.values()}
    if (vectors.inputs, vectors.outputs) != ends or set(vectors.tolerance) != readers or not same:
        raise DamagedFile(f"{GOLDEN} is not of the halves and the golden cases of this bundle")


def _order(vectors: golden.Golden, file: str, reader) -> str:
    """Says so if a reader's half gives the values of a golden vector in another order."""
    (name, _, _), case = vectors.outputs[0], vectors.cases[0]
    found, wanted = reader.predict(case.inputs)[name], case.expected[file][name]
    alike = np.abs(np.sort(found) - np.sort(wanted)) <= vectors.tolerance[file][name]
    return ", but its values in another order" if alike.all() else ""
