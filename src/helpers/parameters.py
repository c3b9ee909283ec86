"""What a notebook parameter may be: one meaning, type and range per name, in every stage.

The notebooks declare their parameters, with defaults, in the cell tagged ``parameters``; this table says
which values make sense. The command line checks it before anything starts, and a stage checks it again,
so that a plain ``papermill`` or a notebook opened by hand refuses the same values with the same words.
A notebook parameter that is not in the table is checked for its type only.
"""

from __future__ import annotations

import ast
import functools
import io
import json
import re
import shlex
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import BadInput


@dataclass(frozen=True)
class Parameter:
    """Type and range of one parameter; `least` and `most` are inclusive, None is unbounded; `among` lists texts."""

    kind: type
    meaning: str
    least: float | None = None
    most: float | None = None
    among: tuple[str, ...] = ()


TABLE: dict[str, Parameter] = {
    "study": Parameter(str, "which model, data and task: one of `workbench studies`"),
    "run": Parameter(str, "name of the run folder, artifacts/<study>/<run>"),
    "seed": Parameter(int, "seed of data, initial weights and shuffling", 0, 2**31 - 1),
    "scenario": Parameter(str, "which of the study's data scenarios; default is its first"),
    "rows": Parameter(int, "training rows", 20, 1_000_000_000),
    "validation_rows": Parameter(int, "rows that training is watched on", 20, 10_000_000),
    "test_rows": Parameter(int, "rows that every model file is judged on", 200, 10_000_000),
    "workers": Parameter(int, "threads that make the data set; the bytes do not depend on it", 1, 256),
    "hidden_units": Parameter(int, "width of the hidden layer", 1, 65_536),
    "epochs": Parameter(int, "passes over the training set", 1, 100_000),
    "batch_size": Parameter(int, "rows a training step", 1, 1_000_000),
    "learning_rate": Parameter(float, "step size of Adam", 1e-9, 10.0),
    "latency_seconds": Parameter(
        float, "how long to time model files in all, besides starting their processes and warming up", 0.1, 86_400.0
    ),
    "thorough": Parameter(bool, "time in three sets of processes, each ten times as long"),
    "threads": Parameter(int, "threads of the second timing; the first has one", 1, 256),
    "calibration_rows": Parameter(int, "training rows that fix the ranges of integer activations", 100, 100_000),
    "budget_bytes": Parameter(int, "largest file to ship, in bytes; 0 is no limit", 0, 2**40),
    "budget_auc_loss": Parameter(float, "largest loss of AUC against the trained model; 0 is no limit", 0.0, 1.0),
    "budget_latency_ratio": Parameter(float, "largest latency, as a multiple of LiteRT fp32; 0 is no limit", 0.0, 1e6),
    "variant": Parameter(str, "what the bundle ships: recommended, or a file's runtime and precision, as mnn fp16"),
    "version": Parameter(str, "name of the bundle's version and of its A/B test; empty is taken from its content"),
    "scene": Parameter(int, "which list of the app the model ranks, in the published descriptor", 0, 2**31 - 1),
    "model_url": Parameter(str, "where phones will find the zip, absolute or relative to the descriptor"),
    "sessions": Parameter(int, "simulated sessions that re-ranking is measured on", 1000, 10_000_000),
    "processes": Parameter(int, "runs that are executed at the same time", 1, 256),
    "prefer": Parameter(str, "what decides within the budget", among=("agreement", "bytes", "latency")),
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+,-]{0,99}")
_KINDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text", list: "a list"}


@dataclass(frozen=True)
class Declared:
    """A parameter as a notebook's parameters cell declares it."""

    name: str
    kind: type
    default: object
    help: str


def declared(notebook: Path) -> dict[str, Declared]:
    """Return the parameters that a notebook declares, by name.

    Raises
    ------
    BadInput : it is not a notebook, or its cell declares with more than plain values.
    """
    return dict(_declared(notebook, notebook.stat().st_mtime_ns))


def kind_name(kind: type) -> str:
    """A type in words a user knows, for error messages and help."""
    return _KINDS.get(kind, kind.__name__)


def check(name: str, value: object, kind: type | None = None) -> object:
    """Return `value` as the type that `name` has, or say why it cannot be used.

    Parameters
    ----------
    name : parameter name, e.g. ``"epochs"``.
    value : what the user gave, already a Python value.
    kind : the type to hold it to where the table does not know the name.

    Raises
    ------
    BadInput : wrong type, out of range, or a run name that cannot be a folder name.
    """
    rule = TABLE.get(name, Parameter(kind, "") if kind else None)
    if rule is None:
        return value
    exact = type(value) is rule.kind or (rule.kind is float and type(value) is int)
    if not exact:
        raise BadInput(f"{name} must be {kind_name(rule.kind)}, not {value!r}")
    value = rule.kind(value)
    bounded = rule.least is not None or rule.most is not None
    if bounded and not (rule.least <= value <= rule.most):  # written so that NaN fails too
        raise BadInput(f"{name} must be between {rule.least:,} and {rule.most:,}, not {value!r} ({rule.meaning})")
    if rule.among and value not in rule.among:
        raise BadInput(f"{name} must be one of {', '.join(rule.among)}, not {value!r} ({rule.meaning})")
    if name in ("run", "study") and not _NAME.fullmatch(value):
        raise BadInput(f"{name} {value!r} cannot be a folder name: use letters, digits and . _ = + , - (at most 100)")
    return value


def command(study: str, run: str, values: Mapping[str, object]) -> str:
    """The shell command that executes a run with these parameters, each quoted where a shell would cut it."""
    words = ["workbench", "run", study, "--run", run]
    for name, value in values.items():
        words += ["-p", f"{name}={json.dumps(value) if isinstance(value, list) else value}"]
    return shlex.join(words)


def check_all(values: dict[str, object]) -> dict[str, object]:
    """`check` every parameter of a stage; returns them with their types settled."""
    return {name: check(name, value) for name, value in values.items()}


@functools.cache
def _declared(notebook: Path, changed: int) -> dict[str, Declared]:
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        cell = next((cell for cell in cells if "parameters" in cell["metadata"].get("tags", ())), {"source": ""})
        return {found.name: found for found in _assignments("".join(cell["source"]))}
    except Exception as error:  # whatever a file that is no notebook, or a cell that is no Python, makes of this
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise BadInput(f"{notebook} is not a notebook with parameters that can be read ({said})") from error


def _assignments(source: str) -> Iterator[Declared]:
    """Yield what each line ``name: kind = value  # help`` of a parameters cell declares."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    kinds = {kind.__name__: kind for kind in _KINDS}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.AnnAssign):
            target, kind = statement.target, kinds[ast.unparse(statement.annotation)]
        elif isinstance(statement, ast.Assign):
            target, kind = statement.targets[0], None
        else:
            continue
        value = ast.literal_eval(statement.value)
        yield Declared(target.id, kind or type(value), value, comments.get(statement.end_lineno, ""))
