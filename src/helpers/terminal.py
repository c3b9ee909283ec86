"""Tables and names within the width of a terminal."""

from __future__ import annotations

import itertools
import textwrap
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

_MARK = "…"
SPARE = 99
"""From this rank on a column is shown only where all of lower rank are, and none is cut."""


@dataclass(frozen=True)
class Column:
    """A cell a row.

    Attributes
    ----------
    keys : what to sort by; None for a row that has no such figure.
    right : whether cells are figures, set to the right.
    rank : where not all columns fit, those of a low rank come first, and of one rank those that
        tell more rows apart.
    least : characters that cells may be cut to; None if they are not to be cut.
    """

    name: str
    cells: Sequence[str]
    keys: Sequence = ()
    right: bool = True
    rank: int = 0
    least: int | None = None

    @property
    def width(self) -> int:
        return max(map(len, (self.name, *self.cells)))

    def at(self, places: Sequence[int]) -> Column:
        """The cells at these places, in their order."""
        cells, keys = ([values[i] for i in places] for values in (self.cells, self.keys))
        return replace(self, cells=cells, keys=keys)

    def cut(self, width: int) -> Column:
        """The column no wider than that, if its cells may be cut so far."""
        if self.least is None or self.width <= width:
            return self
        widths = range(max(width, self.least), self.least, -1)
        tried = (replace(self, cells=cut(self.cells, each)) for each in widths)
        narrowest = replace(self, cells=cut(self.cells, self.least))
        return next((each for each in tried if each.width <= width), narrowest)


def lines(table: Sequence[Column], width: int) -> tuple[list[str], list[str]]:
    """A heading and a line a row. Where they are wider than `width`, cells are cut and columns left
    out.

    Returns
    -------
    The lines, and the names of the columns that were left out.
    """
    shown = list(table)
    if _width(table) > width:
        shown = _fitted(table, width)
    left_out = [column.name for column in table if column.name not in {c.name for c in shown}]
    return [
        "  ".join(
            text.rjust(column.width) if column.right else text.ljust(column.width)
            for column, text in zip(shown, texts, strict=True)
        ).rstrip()
        for texts in zip(*([column.name, *column.cells] for column in shown), strict=True)
    ], left_out


def left_out(names: Sequence[str], where: str, width: int) -> str:
    """Name the columns that were left out, and where they are."""
    return textwrap.fill(f"left out: {', '.join(names)} ({where})", width)


def _width(columns: Collection[Column]) -> int:
    return sum(column.width + 2 for column in columns) - 2


def _fitted(table: Sequence[Column], width: int) -> list[Column]:
    """The columns for which there is room, cut as far as need be."""

    def order(place: int) -> tuple[int, int, int]:
        return table[place].rank, -len(set(table[place].cells)), place

    fitted: dict[int, Column] = {}
    for done, place in enumerate(sorted(range(len(table)), key=order)):
        spare = table[place].rank >= SPARE
        beside = [table[other] if spare else column for other, column in fitted.items()]
        column = table[place] if spare else table[place].cut(0)
        fits = _width([*beside, column]) <= width and not (spare and len(fitted) < done)
        if fits or not fitted:
            fitted[place] = column
    cut = sorted(
        (place for place in fitted if fitted[place].width < table[place].width),
        key=lambda place: table[place].width - fitted[place].width,
    )
    for place in cut:  # whole, if that fits
        whole = {**fitted, place: table[place]}
        fitted = whole if _width(whole.values()) <= width else fitted
    for place in sorted(cut):  # what is left goes to the first
        room = width - _width(fitted.values())
        fitted[place] = table[place].cut(fitted[place].width + room)
    return [fitted[place] for place in sorted(fitted)]


def cut(texts: Sequence[str], width: int) -> list[str]:
    """Texts cut to `width` characters, wider only where different ones would read the same.

    Parts between commas that most texts have are left out first, then the middle: of names the ends
    differ more often.
    """
    different = list(dict.fromkeys(texts))
    for wide in itertools.count(max(1, width)):
        shorter = _without_usual(different, wide)
        heads = sorted(range(wide), key=lambda head: abs(head - wide // 2))
        for names, head in itertools.product((shorter, different), heads):
            short = [_cut(name, wide, head) for name in names]
            if len(set(short)) == len(different):
                found = dict(zip(different, short, strict=True))
                return [found[text] for text in texts]


def _cut(text: str, width: int, head: int) -> str:
    """The first `head` characters and the last."""
    if len(text) <= width:
        return text
    return f"{text[:head]}{_MARK}{text[len(text) - (width - 1 - head) :]}"


def _without_usual(names: Sequence[str], width: int) -> list[str]:
    """Names, those that are too long without parts that more than half of all have."""
    counts = Counter(part for name in names for part in set(name.split(",")))
    usual = [part for part, count in counts.items() if 2 * count > len(names) > 1]
    gone: set[str] = set()
    short = list(names)
    for part in sorted(usual, key=lambda part: -counts[part] * len(part)):
        if max(map(len, short)) <= width:
            break
        tried = [n if len(n) <= width else _without(n, gone | {part}) for n in names]
        if len(set(tried)) == len(names):
            gone, short = gone | {part}, tried
    return short


def _without(name: str, gone: Collection[str]) -> str:
    parts = name.split(",")
    if set(parts) <= set(gone):
        return name
    groups = itertools.groupby(_MARK if part in gone else part for part in parts)
    return ",".join(part for part, _ in groups)
