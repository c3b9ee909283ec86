"""A table with a sentence over it that says what it shows, for a notebook to be read."""

from __future__ import annotations

import html
import re

_FIGURE = re.compile(r"\s*((under |over )?[-+~]*[.\d]|[-+]?$|nan$)", re.IGNORECASE)
"""How a figure begins; also what stands where there is none."""
_CELL, _ROW = re.compile(r"<t([dh])>"), re.compile(r"<tr.*?</tr>", re.DOTALL)
_TEXT, _WHOLE = "text-align: left", "white-space: nowrap"
_LONG = f"{_TEXT}; min-width: 20em"
"""Of sentences: a wide table is scrolled, and does not break them after every word."""
_SHORT, _SHORT_NAME = 24, 32
"""Characters of a text, and of a row's name, that stays on its line."""


class Captioned:
    """A DataFrame for the end of a cell, with its caption as HTML and as text.

    In HTML, text begins on the left, and no figure and no name of a row is broken in two.
    """

    def __init__(self, frame, caption: str):
        self.frame, self.caption = frame, caption

    def _repr_html_(self) -> str:
        # outside of the table: its own caption would be as narrow as it is
        said = f"<p><b>{html.escape(self.caption)}</b></p>\n"
        index = self.frame.index
        names = [_name_style(index.get_level_values(place)) for place in range(index.nlevels)]
        styles = [_style(self.frame.iloc[:, place]) for place in range(self.frame.shape[1])]
        return said + _ROW.sub(lambda row: _styled(row[0], names, styles), self.frame._repr_html_())

    def __repr__(self) -> str:
        return f"{self.caption}\n\n{self.frame!r}"


def _style(column) -> str:
    if column.dtype.kind not in "OUT":
        return _WHOLE
    values = [str(value) for value in column]
    if all(_FIGURE.match(value) for value in values):
        return _WHOLE
    short = max(map(len, values), default=0) <= _SHORT
    return f"{_TEXT}; {_WHOLE}" if short else _LONG


def _name_style(level) -> str:
    short = max(map(len, map(str, level)), default=0) <= _SHORT_NAME
    return f"{_TEXT}; {_WHOLE}" if short else _TEXT


def _styled(row: str, names: list[str], styles: list[str]) -> str:
    """A row of the table with the style of each column, where it has them all; heads may break.
    Of an index of several levels a row may lack the first ones.
    """
    index = len(_CELL.findall(row)) - len(styles)
    if not 0 <= index <= len(names):
        return row
    places = iter(names[len(names) - index :] + styles)
    is_head = "<td" not in row

    def styled(cell: re.Match) -> str:
        style = next(places)
        if is_head:
            style = style.removesuffix(_WHOLE).removesuffix("; ")
        return f'<t{cell[1]} style="{style}">' if style else cell[0]

    return _CELL.sub(styled, row)


def captioned(frame, caption: str) -> Captioned | None:
    """A DataFrame as it is displayed, `caption` over it; None, of which nothing is shown, stays
    None.
    """
    return None if frame is None else Captioned(frame, caption)


def sideways(frame, digits: int):
    """A few rows as columns: figures with so many digits behind the point, integers as integers."""

    def text(value) -> str:
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    return frame.astype(object).map(text).T
