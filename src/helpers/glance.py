"""Runs of a study at a glance: a line each, within the width of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from helpers import results, runs
from helpers.errors import BadInput, meant
from helpers.results import Row
from helpers.terminal import SPARE, Column

LAST = ("date", "ships", "verdict", "bytes", "latency", "stale")
"""Columns of every run, to the right of what differs and of the headline."""
_ABOUT = ("run", "stages", "commit", *LAST)
_USUAL, _OTHER, _SHIPS = 1, 2, 3
"""Ranks of columns, after the run, the headline and what is sorted by."""
_LEAST = {"run": 16, "ships": 12, "verdict": 9}
"""Characters that cells keep at least."""


def require(found: Sequence[Row], names: Sequence[str]) -> None:
    """Refuse names of columns that no run has.

    Raises
    ------
    BadInput : names the first of them, and the columns that there are.
    """
    parameters, stage_of = _parameters(found), _stage_of(found)
    known = [*_ABOUT, *parameters, *stage_of]
    for name in names:
        if name not in known:
            there = [*_ABOUT, *parameters, *sorted(set(stage_of.values()))]
            raise BadInput(
                f"there is no column {name!r}{meant(name, known)}; there is: {', '.join(there)}"
            )


def columns(found: Sequence[Row], chosen: Sequence[str] = (), sort: str = "") -> list[Column]:
    """Tell of each run in which parameters it differs, how good its model is, and what it says to
    ship; or what is chosen.

    A column that is empty for every run is left out, unless it is chosen.

    Parameters
    ----------
    found : runs of one study.
    chosen : names of columns: of `LAST`, ``run``, ``stages``, ``commit``, of parameters, of
        metrics (``auc``, or with its stage ``05 noise_floor``).
    sort : the name of what to sort by, the largest first where it has a ``-`` before it; runs
        without such a figure come last. Shown too, unless columns are chosen.
    """
    parameters, stage_of = _parameters(found), _stage_of(found)
    heads = dict.fromkeys(results.headline(runs.Run(row.study, row.run)) for row in found)
    by = sort.removeprefix("-")
    names = list(chosen)
    if not chosen:
        differ = results.differing([row.parameters for row in found])
        figures = [name for name in heads if name in stage_of]
        names = [*dict.fromkeys(["run", *differ, *figures, *([by] if by else []), *LAST])]
        names.sort(key=lambda name: name in LAST)
    about = _about(found)

    def column(name: str) -> Column:
        if name in about:
            made = about[name]
        elif name in parameters:
            made = _parameter(name, [row.parameters.get(name) for row in found])
        else:
            values = [row.metrics.get(stage_of.get(name)) for row in found]
            there = [row.metrics.get(stage_of.get(name), "") for row in found]
            made = Column(name, results.texts(there), values, rank=_OTHER)
        if name in ("run", by, *heads):
            return replace(made, rank=0)
        return replace(made, rank=_OTHER) if chosen and made.rank == SPARE else made

    table = [column(name) for name in names]
    table = [each for each in table if chosen or any(each.cells)]
    if not sort:
        return table
    order = _order(column(by).keys, largest=sort.startswith("-"))
    return [each.at(order) for each in table]


def _parameters(found: Sequence[Row]) -> list[str]:
    return [*dict.fromkeys(name for row in found for name in row.parameters)]


def _stage_of(found: Sequence[Row]) -> dict[str, str]:
    """Metrics with their stage, ``02 auc``, by that name and by ``auc``, then of the first stage
    that has it.
    """
    metrics = sorted({name for row in found for name in row.metrics})
    return {name[3:]: name for name in reversed(metrics)} | {name: name for name in metrics}


def _parameter(name: str, values: list) -> Column:
    cells = [results.exact(value) for value in values]
    number = all(isinstance(value, int | float) for value in values if value is not None)
    keys = values if number else [cell or None for cell in cells]
    return Column(name, cells, keys, right=number, rank=_OTHER)


def _about(found: Sequence[Row]) -> dict[str, Column]:
    """What every run has, beside parameters and metrics."""
    ships = [results.recommended(runs.Run(row.study, row.run)) for row in found]

    def text(name: str, cells: list[str], rank: int) -> Column:
        keys = [cell or None for cell in cells]
        return Column(name, cells, keys, right=False, rank=rank, least=_LEAST.get(name))

    def figure(name: str, form: str, values: list) -> Column:
        cells = ["" if value is None else form.format(value) for value in values]
        return Column(name, cells, values, rank=_USUAL)

    made = (
        text("run", [row.run for row in found], 0),
        text("stages", [" ".join(row.stages) for row in found], _OTHER),
        text("commit", [(row.commit or "")[:12] for row in found], _OTHER),
        text("date", [row.made[:10] for row in found], SPARE),
        text("ships", [each.name if each else "" for each in ships], _SHIPS),
        text("verdict", [each.verdict if each else "" for each in ships], _USUAL),
        figure("bytes", "{:,}", [each.bytes if each else None for each in ships]),
        figure("latency", "{:.2f}x", [each.latency_ratio if each else None for each in ships]),
        text("stale", [" ".join(stage[:2] for stage in row.stale) for row in found], _USUAL),
    )
    return {column.name: column for column in made}


def _order(keys: Sequence, *, largest: bool) -> list[int]:
    """The places of keys in their order, those of None last."""
    have = [place for place, key in enumerate(keys) if key is not None]
    have.sort(key=lambda place: keys[place], reverse=largest)
    return have + [place for place, key in enumerate(keys) if key is None]
