"""What a notebook parameter is: as its notebook declares it, within the limits of its name.

A notebook owns the type, default and help of its parameters: they are declared in the cell tagged
``parameters`` and nowhere else. `TABLE` adds what such a cell cannot say: the range or the list of
values that make sense, the same under one name in every stage. The command line checks both before
anything starts, and a stage checks them again, so that a plain ``papermill`` or a notebook opened
by hand refuses the same values with the same words. Without notebooks `TABLE` is checked alone.
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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import BadInput

Limits = tuple[int, int] | tuple[float, float] | tuple[str, ...]
"""Least and most of a number, both allowed, or all values of a text; they have the parameter's
type.
"""
TABLE: dict[str, Limits] = {
    "seed": (0, 2**31 - 1),
    "rows": (0, 1_000_000_000),
    "validation_rows": (0, 10_000_000),
    "test_rows": (0, 10_000_000),
    "workers": (1, 256),
    "hidden_units": (1, 65_536),
    "epochs": (1, 100_000),
    "patience": (0, 100_000),
    "batch_size": (1, 1_000_000),
    "learning_rate": (1e-9, 10.0),
    "latency_seconds": (0.1, 86_400.0),
    "threads": (1, 256),
    "training_threads": (1, 256),
    "calibration_rows": (100, 100_000),
    "budget_bytes": (0, 2**40),
    "budget_loss": (0.0, 1.0),
    "budget_latency_ratio": (0.0, 1e6),
    "pictures": (20, 256),
    "scene": (0, 2**31 - 1),
    "sessions": (1000, 10_000_000),
    "processes": (1, 256),
    "writers": (2, 1000),
    "owners": (2, 1000),
    "phones": (1, 1000),
    "rounds": (1, 1000),
    "prefer": ("agreement", "bytes", "latency"),
}
_FOLDERS = ("study", "run")  # parameters that name a folder
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+,-]{0,99}")
_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text",
    list: "a list",
}


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


def check(name: str, value: object, declaration: Declared | None = None) -> object:
    """Return `value` as the type that `name` has, or say why it cannot be used.

    Parameters
    ----------
    name : parameter name, e.g. ``"epochs"``.
    value : what the user gave, already a Python value.
    declaration : how a notebook declares it, where that is known. Its type counts where `TABLE` has
        no limits, and its help is quoted in errors.

    Raises
    ------
    BadInput : wrong type, out of range, or a run name that cannot be a folder name.
    """
    limits = TABLE.get(name)
    if limits:
        kind = type(limits[0])
    elif name in _FOLDERS:
        kind = str
    elif declaration:
        kind = declaration.kind
    else:
        return value
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise BadInput(f"{name} must be {_KINDS.get(kind, kind.__name__)}, not {value!r}")
    if kind is float:
        value = float(value)
    if limits and not _within(limits, value):
        meaning = f" ({declaration.help})" if declaration and declaration.help else ""
        raise BadInput(f"{name} must be {_in_words(limits)}, not {value!r}{meaning}")
    if name in _FOLDERS and not _FOLDER.fullmatch(value):
        raise BadInput(
            f"{name} {value!r} cannot be a folder name: use letters, digits and . _ = + , - (at "
            "most 100)"
        )
    return value


def check_all(values: Mapping[str, object], notebook: Path | None = None) -> dict[str, object]:
    """Check parameters by name, see `check`; return them with their types settled.

    Parameters
    ----------
    notebook : the one that declares them. It need not be there: the package may stand alone, and a
        notebook executed by hand may be saved with a cell that only Python understands.
    """
    known: dict[str, Declared] = {}
    if notebook is not None:
        with suppress(OSError, BadInput):
            known = declared(notebook)
    return {name: check(name, value, known.get(name)) for name, value in values.items()}


def command(study: str, run: str, values: Mapping[str, object]) -> str:
    """The shell command that executes a run with these parameters, each quoted where a shell would
    cut it.
    """
    words = ["workbench", "run", study, "--run", run]
    for name, value in values.items():
        words += ["-p", f"{name}={json.dumps(value) if isinstance(value, list) else value}"]
    return shlex.join(words)


def _within(limits: Limits, value: float | str) -> bool:
    """Tell whether a value of the limits' type is allowed; NaN never is."""
    return value in limits if isinstance(value, str) else limits[0] <= value <= limits[1]


def _in_words(limits: Limits) -> str:
    if isinstance(limits[0], str):
        return f"one of {', '.join(limits)}"
    return f"between {limits[0]:,} and {limits[1]:,}"


@functools.cache
def _declared(notebook: Path, changed: int) -> dict[str, Declared]:
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        cell = next(
            (cell for cell in cells if "parameters" in cell["metadata"].get("tags", ())),
            {"source": ""},
        )
        return {found.name: found for found in _assignments("".join(cell["source"]))}
    except (
        Exception
    ) as error:  # whatever a file that is no notebook, or a cell that is no Python, makes of this
        said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise BadInput(
            f"{notebook} is not a notebook with parameters that can be read ({said})"
        ) from error


def _assignments(source: str) -> Iterator[Declared]:
    """Yield what each line ``name: kind = value  # help`` of a parameters cell declares."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokens
        if token.type == tokenize.COMMENT
    }
    kinds = {kind.__name__: kind for kind in _KINDS}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.AnnAssign):
            target, kind = statement.target, kinds[ast.unparse(statement.annotation)]
        elif isinstance(statement, ast.Assign):
            target, kind = statement.targets[0], None
        else:
            continue
        value = ast.literal_eval(statement.value)
        yield Declared(
            target.id, kind or type(value), value, comments.get(statement.end_lineno, "")
        )
