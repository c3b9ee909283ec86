"""A study file for a table of one's own: its inputs are guessed from the columns, and explained.

What is guessed stands in the file as plain code, for its owner to correct.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import files, log_files, registry
from helpers.errors import BadInput

LABELS = ("label", "clicked", "click", "target", "y", "class", "liked", "bought", "outcome")
GROUPS = (
    "session",
    "session_id",
    "request",
    "request_id",
    "query",
    "query_id",
    "group",
    "group_id",
)
TIMES = ("time", "timestamp", "date", "datetime", "ts", "created_at")
"""Names of columns that are taken for it where nobody says, the first that there is."""
LOOKED_AT = 200_000
"""Rows from which inputs are guessed."""
MOST_CLASSES = 1000
FEW_GROUPS = 50
_NO_TEXT = ("datetime64", "datetime", "date", "time", "timedelta64", "timedelta", "decimal")
"""What pandas calls values that are neither plain numbers nor text."""


@dataclass(frozen=True)
class Column:
    """A column of a table: what it is taken for, and why."""

    name: str
    low: float
    high: float
    mean: float
    spread: float
    whole: bool
    alike: bool
    """Whether all rows of a group have one value."""

    @property
    def meaning(self) -> str:
        """What the values are, in a few words."""
        number = (
            "{:,.0f}" if self.whole and max(abs(self.low), abs(self.high)) < 1e15 else "{:,.4g}"
        )
        ends = f"{number.format(self.low)} to {number.format(self.high)}"
        return f"{ends}, mean {self.mean:,.4g}"


@dataclass(frozen=True)
class Guess:
    """What a table is taken for. `left_out` are columns that are no input, with the reason."""

    columns: tuple[Column, ...]
    label: str
    classes: int
    group: str | None
    time: str | None
    lone: int
    left_out: Mapping[str, str]
    rows: int
    notes: tuple[str, ...] = ()
    """What to look at before it is believed."""

    @property
    def task(self) -> str:
        return "ranking" if self.classes == 2 else "classification"


def guess(
    table: Path, label: str | None = None, group: str | None = None, time: str | None = None
) -> Guess:
    """Guess what the columns of a table are.

    Raises
    ------
    BadInput : it cannot be read, has no label or no column that could be an input, or not the
        columns that were named.
    """
    there = log_files.header(table)
    log_files.require(table, filter(None, (label, group, time)), there)
    label = label or _first(LABELS, there)
    if label is None:
        raise BadInput(
            f"which column of {table.name} is the label? Say --label NAME; it has: "
            f"{', '.join(there)}"
        )
    group = group or _first(GROUPS, there)
    time = time or _first(TIMES, there)
    frame = log_files.head(table, LOOKED_AT)
    classes = _classes(table, frame[label], label)
    of_group = frame.groupby(group, sort=False) if group else None
    columns, left_out = [], {}
    for name in there:
        if name in (label, group, time):
            continue
        values = frame[name]
        reason = _unfit(values)
        if reason is None:
            alike = group is not None and bool((of_group[name].nunique() <= 1).all())
            columns.append(_column(name, values, alike))
        else:
            left_out[name] = reason
    if not columns:
        raise BadInput(
            f"{table.name} has no column that could be an input: "
            + "; ".join(f"{name}: {why}" for name, why in left_out.items())
        )
    lone = 0 if group is None else int((of_group.size() == 1).sum())
    notes = _notes(frame, label, None if group is None else of_group.ngroups)
    return Guess(tuple(columns), label, classes, group, time, lone, left_out, len(frame), notes)


def _notes(frame, label: str, groups: int | None) -> tuple[str, ...]:
    notes = []
    if groups is None:
        notes.append("no column is the group: rows compete with nobody (--group NAME, if they do)")
    elif groups < FEW_GROUPS:
        notes.append(f"{groups} groups: too few for a test of which much can be said")
    counts = frame[label].value_counts()
    rare = counts[counts < len(frame) / 1000]
    for value, rows in rare.sort_index().items():
        notes.append(f"{label} is {value:g} in {rows} of {len(frame):,} rows: is that a class?")
    return tuple(notes[:5])


def _first(names: Sequence[str], there: Sequence[str]) -> str | None:
    lower = {name.lower(): name for name in reversed(there)}
    return next((lower[name] for name in names if name in lower), None)


def _classes(table: Path, values, label: str) -> int:
    """How many classes a label has; two for 0 and 1."""
    if len(missing := np.flatnonzero(values.isna())):
        raise BadInput(
            f"{table.name}, row {missing[0] + 1}: {label} is empty"
            + (f", and in {len(missing) - 1:,} more rows" if len(missing) > 1 else "")
            + ": leave out rows without a label"
        )
    found = values.unique()
    for value in found:
        number = isinstance(value, (int, float, np.number, np.bool_))
        if not number or not np.isfinite(value) or value != int(value) or value < 0:
            raise BadInput(
                f"{table.name}: {label} holds {value!s}: a label is 0 or 1, or a class from 0 on"
            )
    most = int(max(found)) + 1
    if len(found) < 2:
        raise BadInput(f"{table.name}: {label} is {found[0]:g} in every row: nothing to learn")
    if most > MOST_CLASSES:
        raise BadInput(f"{table.name}: {label} goes up to {most - 1}: is it a label?")
    return most


def _unfit(values) -> str | None:
    """Why a column is no input; None if it is one."""
    if values.dtype.kind == "b":
        return None
    if values.dtype.kind not in "iuf":
        return _no_numbers(values)
    if len(missing := np.flatnonzero(~np.isfinite(values.to_numpy(np.float64)))):
        return (
            f"{len(missing):,} of {len(values):,} values are missing, the first in row "
            f"{missing[0] + 1}: fill them"
        )
    if values.nunique() < 2:
        return "one value in every row"
    named = values.name.lower()
    if values.dtype.kind in "iu" and (named == "id" or named.endswith("_id")):
        return "an id: its size means nothing; look it up in an Embedding, as docs/own-data.md says"
    return None


def _no_numbers(values) -> str:
    """Why a column of anything else than numbers is no input; a few values of text among numbers
    are named.
    """
    import pandas as pd

    kind = pd.api.types.infer_dtype(values)
    odd = np.flatnonzero(pd.to_numeric(values, errors="coerce").isna())
    if kind in _NO_TEXT or not len(odd):
        return f"{kind} values: make plain numbers of them"
    if len(odd) < len(values) / 10:
        return (
            f"{len(odd):,} of {len(values):,} values are no numbers, the first, "
            f"{values.iloc[odd[0]]!r}, in row {odd[0] + 1}: mend them"
        )
    return "text: number its values from 0 on, in training and in the app alike"


def _column(name: str, values, alike: bool) -> Column:
    numbers = values.to_numpy(np.float64)
    whole = values.dtype.kind in "iub"
    plain = int if whole else float
    return Column(
        name,
        plain(values.min()),
        plain(values.max()),
        float(numbers.mean()),
        float(numbers.std()),
        whole,
        alike,
    )


def write(name: str, table: Path, found: Guess, folder: Path) -> list[Path]:
    """Write ``NAME.py``, a study, and ``test_NAME.py`` into a folder; returns both.

    Raises
    ------
    BadInput : one of them is there already, or the name is another study's.
    """
    import jinja2

    registry.check_new_name(name)
    if importlib.util.find_spec(name) is not None:
        raise BadInput(f"Python has a module {name!r} already: take another name")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("helpers", "templates/study"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["quoted"] = _quoted
    environment.filters["number"] = repr
    inputs = _inputs(found)
    values = {"name": name, "path": _path(table, folder), "guess": found, "inputs": inputs}
    made = {"study.py.j2": folder / f"{name}.py", "test_study.py.j2": folder / f"test_{name}.py"}
    if there := [path for path in made.values() if path.exists()]:
        raise BadInput(f"{there[0]} is there already: take another name, or remove it")
    for template, path in made.items():
        with files.atomic(path) as temporary:
            text = environment.get_template(template).render(values)
            temporary.write_text(text, encoding="utf-8")
    return list(made.values())


def _quoted(text: str) -> str:
    """A string literal of Python, with double quotes."""
    return json.dumps(text, ensure_ascii=False)


def _inputs(found: Guess) -> dict[str, tuple[Column, ...]]:
    """Columns by the input they make up: what a group shares is of its own."""
    if found.group is None:
        return {"features": found.columns}
    shared = {
        "context": tuple(column for column in found.columns if column.alike),
        "item": tuple(column for column in found.columns if not column.alike),
    }
    return {name: columns for name, columns in shared.items() if columns}


def _path(table: Path, folder: Path) -> str:
    """How a study's file says where its table is: beside it if it can."""
    inside = os.path.relpath(table.resolve(), folder.resolve())
    return str(table.resolve()) if inside.startswith(os.pardir) else inside
