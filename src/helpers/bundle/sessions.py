"""Golden sessions: raw JSON with the ids, the scores and the order that every device must make of
it.

Where a bundle has ``features.json``, the phone makes the model's inputs itself.
`helpers.bundle.golden` begins behind that; these sessions begin with the text that a server sends,
and end with the order of its posts. ``sessions.json``::

    {"format": 1, "tolerance": {"model.tflite": 1e-05},
     "sessions": [{"name": "typical, 20 candidates", "raw": "{\\"last_click\\": ...}", "inputs":
     {"f1": [3, 0, ...]},
                   "expected": {"model.tflite": [0.25, ...]},
                   "order": {"model.tflite": ["12", ...]}}]}

Ids must be the same, scores within the file's tolerance; candidates may stand in another order only
where their expected scores are so close that the tolerance cannot tell them apart.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from helpers import features, strict_json
from helpers.bundle import golden
from helpers.errors import BadInput, DamagedFile
from helpers.features import Bucketize, Encoding, LabelEncode, Plain

FILE = "sessions.json"
CANDIDATES = (0, 1, 20, 257)
"""None at all, one, a request, and more than any runtime's internal block of 256."""
MOST_TOLERANCE = golden.MOST_TOLERANCE
MOST_BYTES = 1 << 28
"""Longest ``sessions.json``, as on the phone."""
ODD = (
    "",
    "-",
    "+5",
    "5 ",
    " 5",
    "5\n",
    "1e3",
    "0x1A",
    "12.5",
    "12.",
    ".5",
    "007",
    "-0",
    "NaN",
    "五",
    "５",
    "\ud800",
    "\0",
)
"""Text that parsers of numbers disagree about, or that they read and the encoding does not."""
WIDE = (
    "16777217",
    "-16777217",
    "2147483647",
    "2147483648",
    "-2147483648",
    "-2147483649",
    "9007199254740993",
)
WIDE += (
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "-9223372036854775809",
    "9" * 20,
    "9" * 21,
)
"""Whole numbers that float32, int32, float64 or int64 do not hold, and the sentinel."""
NAMES = (
    "é",
    "e\u0301",
    "😀",
    '"\\/\b\f\n\r\t',
    "\0",
    "a\0b",
    "a",
    "\u2028",
    " ",
    "12",
    "012",
    "１２",
)
"""``info_id`` that must stay apart and come back as they were sent."""

MOST_KNOWN = 30
"""Boundaries, or entries of a vocabulary, that a field is tried with."""

Score = Callable[[Mapping[str, np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A raw session, its inputs ``(n, 1) int64``, and by file the scores ``(n,) float32`` and the
    order of info_ids.
    """

    name: str
    raw: str
    inputs: Mapping[str, np.ndarray]
    expected: Mapping[str, np.ndarray]
    order: Mapping[str, list[str]]


@dataclass(frozen=True)
class Sessions:
    """All sessions of a bundle. `tolerance` is the largest difference to a file's own expected
    score, by file.
    """

    tolerance: Mapping[str, float]
    cases: tuple[Case, ...]


def generate(encoding: Encoding, *, seed: int = 0) -> dict[str, str]:
    """Raw sessions that are hard to encode, of an encoding's own fields: JSON text by name."""
    rng = random.Random(seed)
    known = {field: _known(encoding, *field) for field in encoding.reads}

    def post(info_id: str, source: str, draw: Callable[[tuple[str, str]], str | None]) -> dict:
        drawn = {field[1]: draw(field) for field in known if field[0] == source}
        return {
            "info_id": info_id,
            "feature": {name: value for name, value in drawn.items() if value is not None},
        }

    def session(info_ids: Iterable[str], draw) -> dict:
        return {
            "last_click": post("last", "last_click", draw),
            "resort_list": [post(info_id, "candidate", draw) for info_id in info_ids],
        }

    def typical(field):
        return (
            rng.choice(known[field])
            if rng.random() < 0.85
            else rng.choice((None, "-2147483648", *ODD, *WIDE))
        )

    def numbered(n: int) -> list[str]:
        return [str(2**40 + i) for i in range(n)]

    found = {f"typical, {n} candidates": session(numbered(n), typical) for n in CANDIDATES}
    found["odd text, 60 candidates"] = session(numbered(60), lambda _: rng.choice(ODD))
    found["wide numbers, 60 candidates"] = session(numbered(60), lambda _: rng.choice(WIDE))
    most = max(map(len, known.values()))
    found["each known value"] = session(numbered(most), typical)
    for row, post_of_row in enumerate(found["each known value"]["resort_list"]):
        post_of_row["feature"] = {
            f: values[row % len(values)] for (s, f), values in known.items() if s == "candidate"
        }
    for turn in range(
        max((len(values) for (s, _), values in known.items() if s == "last_click"), default=0)
    ):
        found[f"last click {turn}"] = session(numbered(2), typical)
        fields = {
            f: values[turn % len(values)] for (s, f), values in known.items() if s == "last_click"
        }
        found[f"last click {turn}"]["last_click"]["feature"] = fields
    found["no field is there"] = session(numbered(3), lambda _: None)
    found["every field is the sentinel"] = session(numbered(3), lambda _: "-2147483648")
    found["all tie"] = session(numbered(40), typical)
    found["all tie"]["resort_list"] = [
        {**found["all tie"]["resort_list"][0], "info_id": i} for i in numbered(40)
    ]
    found["three posts tie"] = session(numbered(257), typical)
    few = found["three posts tie"]["resort_list"][:3]
    found["three posts tie"]["resort_list"] = [
        {**rng.choice(few), "info_id": i} for i in numbered(257)
    ]
    found["names"] = session(NAMES, typical)
    text = {name: json.dumps(raw) for name, raw in found.items()}
    plain = json.dumps(found["names"], ensure_ascii=False, indent=1)
    text["names, not escaped"] = plain.replace("\ud800", "")  # UTF-8 has no half of a pair
    text["names, keys escaped"] = (
        text["names"].replace('"info_id"', '"inf\\u006F_id"').replace('"feat', '"\\u0066eat')
    )
    more = '{"scene": [1, -0.5e+3, true, null, {"a": {}, "b": [[]]}], '
    text["more than is known"] = more + text["typical, 20 candidates"][1:].replace(
        '"feature"', '"time": 5, "feature"'
    )
    return text


def _known(encoding: Encoding, source: str, field: str) -> list[str]:
    """Values of a field that tell one encoding from another: at each boundary and just below it,
    ids and neighbours.
    """
    values: list[str] = []
    for encoder in encoding.encoders:
        if (source, field) not in encoder.reads:
            continue
        if isinstance(encoder, Bucketize):
            for boundary in encoder.boundaries[:MOST_KNOWN]:
                values += [_written(boundary), _written(math.nextafter(boundary, -math.inf))]
        elif isinstance(encoder, LabelEncode):
            entries = [*encoder.vocabulary[: MOST_KNOWN - 3], *encoder.vocabulary[-3:]]
            values += [str(entry) for entry in entries] + [str(entry + 1) for entry in entries[:3]]
        elif isinstance(encoder, Plain):
            values += [
                str(i) for i in (0, 1, encoder.count // 2, encoder.count - 1, encoder.count, -1)
            ]
        else:
            values += [str(i) for i in range(4)]
    return list(dict.fromkeys(values))


def _written(number: float) -> str:
    """A number as a field writes it, so that it is read as the same float64 where 20 decimals
    suffice.
    """
    return f"{number:.20f}".rstrip("0").removesuffix(".") if abs(number) < 1e20 else "9" * 20


def make(
    encoding: Encoding,
    raws: Mapping[str, str],
    score: Mapping[str, Score],
    tolerance: Mapping[str, float],
) -> Sessions:
    """The golden sessions of model files.

    Parameters
    ----------
    raws : JSON text by name, e.g. of `generate` and of the study.
    score : by model file, a function from named inputs ``(n, 1) int64`` to ``(n,)`` or ``(n, 1)``
        scores. It is not asked for a session without candidates.
    tolerance : by model file, the largest difference of a score on another device.

    Raises
    ------
    BadInput : a session that cannot be encoded, a score that is not finite, or a tolerance that
        anything would pass.
    """
    if set(score) != set(tolerance) or not all(
        0 <= value <= MOST_TOLERANCE for value in tolerance.values()
    ):
        raise BadInput(
            f"each model file needs a tolerance from 0 to {MOST_TOLERANCE}, not {dict(tolerance)}"
        )
    cases = []
    for name, raw in raws.items():
        try:
            inputs = features.assemble(encoding, raw)
            expected = {file: _scores(score_rows, inputs) for file, score_rows in score.items()}
            order = {file: features.rerank(raw, scores) for file, scores in expected.items()}
        except BadInput as error:
            raise BadInput(f"session {name!r}: {error}") from error
        cases.append(Case(name, raw, inputs, expected, order))
    return Sessions(dict(tolerance), tuple(cases))


def _scores(score: Score, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    n = len(next(iter(inputs.values())))
    return np.array(score(inputs), np.float32).reshape(-1) if n else np.empty(0, np.float32)


def to_json(sessions: Sessions) -> str:
    """The sessions as JSON; a float32 is written with the digits that give it back."""
    cases = [
        {
            "name": case.name,
            "raw": case.raw,
            "inputs": {name: ids.reshape(-1).tolist() for name, ids in case.inputs.items()},
            "expected": {
                file: [float(str(score)) for score in scores]
                for file, scores in case.expected.items()
            },
            "order": dict(case.order),
        }
        for case in sessions.cases
    ]
    content = {"format": 1, "tolerance": dict(sessions.tolerance), "sessions": cases}
    return json.dumps(content, allow_nan=False) + "\n"


def from_json(text: str | bytes) -> Sessions:
    """The sessions that `to_json` wrote.

    Raises
    ------
    DamagedFile : not exactly of that form (a device's tests would read another value, or none), or
        a tolerance that anything would pass.
    """
    try:
        content = strict_json.read(text, most=MOST_BYTES)
        if content["format"] != 1:
            raise ValueError(f"format {content['format']!r}, this version reads 1")
        tolerance = {str(file): float(value) for file, value in content["tolerance"].items()}
        if (
            not all(0 <= value <= MOST_TOLERANCE for value in tolerance.values())
            or not content["sessions"]
        ):
            raise ValueError("they would prove nothing")
        cases = []
        for session in content["sessions"]:
            inputs = {
                name: np.array(ids, np.int64).reshape(-1, 1)
                for name, ids in session["inputs"].items()
            }
            with np.errstate(over="ignore"):  # infinite then, and refused below
                expected = {
                    file: np.array(session["expected"][file], np.float32) for file in tolerance
                }
            order = {file: list(session["order"][file]) for file in tolerance}
            cases.append(Case(str(session["name"]), str(session["raw"]), inputs, expected, order))
        read = Sessions(tolerance, tuple(cases))
        if not strict_json.same(content, json.loads(to_json(read))):
            raise ValueError("a value is missing, too much, or of another type")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise DamagedFile(
            f"the golden sessions cannot be read ({error}): copy them from their bundle again"
        ) from error
    return read


def failures(sessions: Sessions, file: str, encoding: Encoding, score: Score) -> list[str]:
    """What a model file with an encoding does not reproduce: a line a session, empty if all is
    well.
    """
    said = []
    for case in sessions.cases:
        try:
            inputs = features.assemble(encoding, case.raw)
            wrong = _wrong_ids(case, inputs)
            if not wrong:
                scores = _scores(score, inputs)
                wrong = _wrong_order(case, file, scores, sessions.tolerance[file])
        except BadInput as error:
            wrong = str(error)
        if wrong:
            said.append(f"{case.name}: {wrong}")
    return said


def _wrong_ids(case: Case, inputs: Mapping[str, np.ndarray]) -> str:
    if set(inputs) != set(case.inputs):
        return f"the inputs are {', '.join(inputs)} and not {', '.join(case.inputs)}"
    for name, ids in inputs.items():
        expected = case.inputs[name]
        if ids.shape != expected.shape:
            return f"input {name} has {len(ids)} rows and not {len(expected)}"
        if rows := np.flatnonzero(ids != expected).tolist():
            return (
                f"input {name}, row {rows[0]} is {ids[rows[0], 0]} and not {expected[rows[0], 0]}"
            )
    return ""


def _wrong_order(case: Case, file: str, scores: np.ndarray, tolerance: float) -> str:
    expected = case.expected[file]
    if len(scores) != len(expected):
        return f"{len(scores)} scores for {len(expected)} candidates"
    close = np.abs(scores - expected) <= tolerance  # so written that NaN fails
    if rows := np.flatnonzero(~close).tolist():
        i = rows[0]
        return (
            f"row {i} scores {scores[i]:.6f} and not {expected[i]:.6f} (at most {tolerance:.2g} "
            "apart)"
        )
    row = {info_id: i for i, info_id in enumerate(features.read(case.raw).info_ids)}
    if sorted(case.order[file]) != sorted(row):
        return "the order is not one of its candidates"
    for place, (got, wanted) in enumerate(
        zip(features.rerank(case.raw, scores), case.order[file], strict=True)
    ):
        if got != wanted and not abs(expected[row[got]] - expected[row[wanted]]) <= 2 * tolerance:
            return f"place {place}: resort_list[{row[got]}] and not resort_list[{row[wanted]}]"
    return ""
