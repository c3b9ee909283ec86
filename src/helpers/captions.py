"""A table with a sentence over it that says what it shows."""

from __future__ import annotations

import html


class Captioned:
    """A DataFrame for the end of a cell, with its caption as HTML and as text."""

    def __init__(self, frame, caption: str):
        self.frame, self.caption = frame, caption

    def _repr_html_(self) -> str:
        # outside of the table: its own caption would be as narrow as it is
        return f"<p><b>{html.escape(self.caption)}</b></p>\n{self.frame._repr_html_()}"

    def __repr__(self) -> str:
        return f"{self.caption}\n\n{self.frame!r}"


def captioned(frame, caption: str) -> Captioned | None:
    """A DataFrame as it is displayed, `caption` over it; None, of which nothing is shown, stays
    None.
    """
    return None if frame is None else Captioned(frame, caption)
