"""Runs of a study at a glance: a line each, within the width of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from helpers import results, runs
from helpers.errors import BadInput, meant
from helpers.results import Row

LAST = ("date", "ships", "verdict", "bytes", "latency", "stale")
"""Columns of every run, to the right of what differs and of the headline."""
_MARK = "…"
_LEAST_NAME = 16
"""Characters that the name of a run keeps at least."""


@dataclass(frozen=True)
class Column:
    """A cell a run.

    Attributes
    ----------
    keys : what to sort by; None for a run that has no such figure.
    right : whether cells are figures, set to the right.
    kept : whether it stays however narrow the terminal is.
    """

    name: str
    cells: Sequence[str]
    keys: Sequence
    right: bool = True
    kept: bool = False

    @property
    def width(self) -> int:
        return max(map(len, (self.name, *self.cells)))

    def at(self, places: Sequence[int]) -> Column:
        """The cells at these places, in their order."""
        cells, keys = ([values[i] for i in places] for values in (self.cells, self.keys))
        return replace(self, cells=cells, keys=keys)


def columns(found: Sequence[Row], chosen: Sequence[str] = ()) -> list[Column]:
    """Tell of each run in which parameters it differs, how good its model is, and what it says to
    ship; or what is chosen. A column that is empty for every run is left out.

    Parameters
    ----------
    found : runs of one study.
    chosen : names of columns: of `LAST`, ``run``, ``stages``, ``commit``, of parameters, of
        metrics (``auc``, or with its stage ``05 noise_floor``).

    Raises
    ------
    BadInput : no run has a column of that name.
    """
    every = dict.fromkeys(name for row in found for name in row.parameters)
    every = {name: [row.parameters.get(name) for row in found] for name in every}
    metrics = sorted({name for row in found for name in row.metrics})
    stage_of = {name[3:]: name for name in reversed(metrics)} | {name: name for name in metrics}
    if not chosen:
        differ = results.differing([row.parameters for row in found])
        heads = dict.fromkeys(results.headline(runs.Run(row.study, row.run)) for row in found)
        chosen = ["run", *differ, *(name for name in heads if name in stage_of), *LAST]
    made = {column.name: column for column in _about(found)}
    known = [*made, *every, *stage_of]
    result = []
    for name in chosen:
        if name not in known:
            raise BadInput(
                f"there is no column {name!r}{meant(name, known)}; there is: "
                f"{', '.join([*made, *every, *metrics])}"
            )
        if name in made:
            result.append(made[name])
        elif name in every:
            result.append(_parameter(name, every[name]))
        else:
            values = [row.metrics.get(stage_of[name], "") for row in found]
            keys = [row.metrics.get(stage_of[name]) for row in found]
            result.append(Column(name, results.texts(values), keys))
    return [column for column in result if any(column.cells)]


def _parameter(name: str, values: list) -> Column:
    cells = [results.exact(value) for value in values]
    number = all(isinstance(value, int | float) for value in values if value is not None)
    keys = values if number else [cell or None for cell in cells]
    return Column(name, cells, keys, right=number)


def _about(found: Sequence[Row]) -> list[Column]:
    """What every run has, beside parameters and metrics."""
    ships = [results.recommended(runs.Run(row.study, row.run)) for row in found]

    def text(name: str, cells: list[str]) -> Column:
        return Column(name, cells, [cell or None for cell in cells], right=False, kept=True)

    def figure(name: str, form: str, values: list) -> Column:
        cells = ["" if value is None else form.format(value) for value in values]
        return Column(name, cells, values, kept=True)

    return [
        text("run", [row.run for row in found]),
        text("stages", [" ".join(row.stages) for row in found]),
        text("commit", [(row.commit or "")[:12] for row in found]),
        text("date", [row.made[:10] for row in found]),
        text("ships", [each.name if each else "" for each in ships]),
        text("verdict", [each.verdict if each else "" for each in ships]),
        figure("bytes", "{:,}", [each.bytes if each else None for each in ships]),
        figure("latency", "{:.2f}x", [each.latency_ratio if each else None for each in ships]),
        text("stale", [" ".join(stage[:2] for stage in row.stale) for row in found]),
    ]


def ordered(table: Sequence[Column], by: str) -> list[Column]:
    """Sort the runs by a column, the largest first where its name has a ``-`` before it; those
    without such a figure come last. That column is kept however narrow the terminal is.

    Raises
    ------
    BadInput : there is no such column.
    """
    name = by.removeprefix("-")
    names = [column.name for column in table]
    if name not in names:
        raise BadInput(
            f"there is no column {name!r} to sort by{meant(name, names)}; there is: "
            f"{', '.join(names)}"
        )
    keys = table[names.index(name)].keys
    have = [place for place, key in enumerate(keys) if key is not None]
    have.sort(key=lambda place: keys[place], reverse=by.startswith("-"))
    none = [place for place, key in enumerate(keys) if key is None]
    return [
        replace(column.at(have + none), kept=column.kept or column.name == name) for column in table
    ]


def lines(table: Sequence[Column], width: int) -> tuple[list[str], list[str]]:
    """A heading and a line a run. Where they are wider than `width`, names of runs are cut in the
    middle, and then columns left out, first those that tell the fewest runs apart.

    Returns
    -------
    The lines, and the names of the columns that were left out.
    """
    shown, left_out = list(table), []

    def beside(name: str) -> int:
        """What is left for a column."""
        return width - sum(column.width + 2 for column in shown if column.name != name)

    needed = min([_LEAST_NAME, *(column.width for column in table if column.name == "run")])
    while beside("run") < needed and (spare := [c for c in shown if not c.kept]):
        least = min(reversed(spare), key=lambda column: len(set(column.cells)))
        left_out.append(least.name)
        shown.remove(least)
    wide = {column.name: column.width for column in shown}
    if "run" in wide:
        wide["run"] = min(wide["run"], max(_LEAST_NAME, beside("run")))
    cut = [
        replace(c, cells=[_cut(cell, wide["run"]) for cell in c.cells]) if c.name == "run" else c
        for c in shown
    ]
    return [
        "  ".join(
            text.rjust(wide[column.name]) if column.right else text.ljust(wide[column.name])
            for column, text in zip(cut, texts, strict=True)
        ).rstrip()
        for texts in zip(*([column.name, *column.cells] for column in cut), strict=True)
    ], left_out


def _cut(text: str, width: int) -> str:
    """Text without its middle; of two runs the ends differ more often than what is between."""
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}{_MARK}{text[len(text) - end :]}"
