"""JSON as every device reads it: what parsers disagree about is refused.

Python's own parser takes UTF-16 and UTF-32, halves of surrogate pairs as bytes, NaN, any nesting up
to its stack, and of a key that is there twice the last. The readers of a bundle in C, Kotlin and
Swift refuse all of these, and so does this one.
"""

from __future__ import annotations

import json
import reprlib
from collections import Counter

MOST_DEPTH = 64
"""Objects and lists within each other, the outermost counted, as on the phone."""


def read(content: str | bytes | bytearray, *, most: int | None = None) -> object:
    """Read a JSON text (RFC 8259), which as bytes is UTF-8 without a byte order mark.

    Parameters
    ----------
    most : largest number of bytes that is read.

    Raises
    ------
    ValueError : longer than `most`; not JSON; not UTF-8, or text that has no UTF-8 (half of a
        surrogate pair that is not escaped); a key twice in one object; NaN or Infinity; nested
        deeper than `MOST_DEPTH`.
    """
    size = len(content.encode() if isinstance(content, str) else content)
    if most is not None and size > most:
        raise ValueError(f"{size:,} bytes, at most {most:,} are read")
    text = content if isinstance(content, str) else content.decode()
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise ValueError(f"nested deeper than {MOST_DEPTH}") from None
    _check_depth(value)
    return value


def same(first: object, other: object) -> bool:
    """Whether two values are the same JSON but for the order of keys; 1, 1.0 and true differ."""
    return json.dumps(first, sort_keys=True) == json.dumps(other, sort_keys=True)


def _once(pairs: list[tuple[str, object]]) -> dict:
    """An object whose keys are there once; of repeated ones every parser keeps another."""
    members = dict(pairs)
    if len(members) < len(pairs):
        (name, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{reprlib.repr(name)} is there twice in one object")
    return members


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no value")


def _check_depth(value: object) -> None:
    level, depth = [value] if isinstance(value, dict | list) else [], 0
    while level:
        depth += 1
        if depth > MOST_DEPTH:
            raise ValueError(f"nested deeper than {MOST_DEPTH}")
        members = (
            member
            for part in level
            for member in (part.values() if isinstance(part, dict) else part)
        )
        level = [member for member in members if isinstance(member, dict | list)]
