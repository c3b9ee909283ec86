"""Last click x candidates: the model's inputs of one session, or of a table with millions of
candidates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from helpers.errors import BadInput
from helpers.features import sessions, values
from helpers.features.encoding import Encoding
from helpers.features.sessions import Session


def assemble(encoding: Encoding, raw: str | bytes | Mapping | Session) -> dict[str, np.ndarray]:
    """The model's inputs for one session, what the phone computes.

    Parameters
    ----------
    raw : JSON text, the values it holds, or what `sessions.read` made of it.

    Returns
    -------
    By input, in the encoding's order, ``(n_candidates, 1) int64`` ids. No candidates give ``(0,
    1)``.

    Raises
    ------
    BadInput : the session cannot be read, or a field that the encoding uses holds something else
        than text.
    """
    session = sessions.read(raw)
    n = len(session.candidates)
    columns: dict[tuple[str, str, bool], np.ndarray] = {}
    for exact, parse in ((True, values.whole_numbers), (False, values.numbers)):
        wanted = [field for field, needed in encoding.reads.items() if exact in needed]
        # one parse for all fields: with 20 candidates a call costs more than its values
        posts = {"last_click": (session.last_click,), "candidate": session.candidates}
        found = [post.get(field, "") for source, field in wanted for post in posts[source]]
        parsed, at = parse(_text(found, [(None, session)], wanted), "of the session"), 0
        for source, field in wanted:
            rows = 1 if source == "last_click" else n
            columns[source, field, exact] = parsed[at : at + rows]
            at += rows
    return _encode(encoding, columns, n)


def encode(
    encoding: Encoding, table: Mapping[str, object], rows: int | None = None
) -> dict[str, np.ndarray]:
    """The model's inputs for a table with one row a candidate, of any number of sessions.

    Parameters
    ----------
    table : by `column` name, arrays of equal length: a DataFrame, an Arrow table, or a dict. Text
        as in sessions, or integers (`values.MISSING` or null where missing), floats for `Bucketize`
        only. A column that is not there is missing in every row, others are ignored.
    rows : number of rows; by default the length of the columns.

    Returns
    -------
    By input, ``(n_rows, 1) int64``: the same ids as `assemble` gives session by session.

    Raises
    ------
    BadInput : columns of different lengths or of types that hold no ids; none of the encoding's
        columns is there.
    """
    table = as_mapping(table)
    there = {
        field: values.arrow(table[column(*field)], column(*field))
        for field in encoding.reads
        if column(*field) in table
    }
    lengths = {column(*field): len(array) for field, array in there.items()}
    if rows is None:
        if not lengths:
            wanted = ", ".join(column(*field) for field in list(encoding.reads)[:3])
            raise BadInput(
                f"the table has none of the encoding's columns ({wanted}, ...): rename its columns"
            )
        rows = next(iter(lengths.values()))
    if wrong := [name for name, length in lengths.items() if length != rows]:
        raise BadInput(f"column {wrong[0]} has {lengths[wrong[0]]:,} rows, the table has {rows:,}")
    columns = {}
    for field, needed in encoding.reads.items():
        for exact in needed:
            parse = values.whole_numbers if exact else values.numbers
            columns[*field, exact] = parse(there.get(field, pa.nulls(1)), column(*field))
    return _encode(encoding, columns, rows)


def column(source: str, field: str) -> str:
    """Name of a field's column in a table, e.g. ``candidate_800026``."""
    return f"{source}_{field}"


def as_mapping(table: Mapping[str, object]) -> Mapping[str, object]:
    """Columns by name; an Arrow table knows them by position too, so that ``in`` asks it something
    else.
    """
    return (
        dict(zip(table.column_names, table.columns, strict=True))
        if isinstance(table, pa.Table)
        else table
    )


def columns(raws: Iterable[str | bytes | Mapping | Session]) -> dict[str, pa.Array]:
    """Sessions as a table with one row a candidate, for `encode`, `fitting.fit` and Parquet.

    Returns
    -------
    By `column` name, text arrays that are null where a post has no such field: all fields of the
    last clicks, then all of the candidates, sorted. A last click's values are repeated for each
    candidate.

    Raises
    ------
    BadInput : a session cannot be read, or a field holds something else than text; the message
        counts from session 0.
    """
    read = []
    for i, raw in enumerate(raws):
        try:
            read.append(sessions.read(raw))
        except BadInput as error:
            raise BadInput(f"session {i}: {error}") from error
    repeats = pa.array(
        np.repeat(np.arange(len(read)), [len(session.candidates) for session in read])
    )
    posts = {
        "last_click": [session.last_click for session in read],
        "candidate": [post for session in read for post in session.candidates],
    }
    result = {}
    for source, features in posts.items():
        for field in sorted(
            {name for feature in features for name in feature if isinstance(name, str)}
        ):
            array = _text(
                [post.get(field, "") for post in features], enumerate(read), [(source, field)]
            )
            absent = pa.array([field not in post for post in features])
            array = pc.if_else(absent, None, array)
            result[column(source, field)] = array.take(repeats) if source == "last_click" else array
    return result


def explain(encoding: Encoding, raw: str | bytes | Mapping | Session, candidates: int = 3):
    """Each step of the encoding of one session: DataFrame, a row an input, for the first
    candidates.

    Columns: the encoder's kind, the fields it reads, the value of the last click and of each
    candidate as they came (empty if missing or not read), and the ids that come out.
    """
    import pandas as pd

    session, ids, rows = sessions.read(raw), assemble(encoding, raw), {}
    for encoder in encoding.encoders:
        fields = dict(encoder.reads)
        row = {
            "kind": encoder.kind,
            "reads": ", ".join(f"{source} {field}" for source, field in encoder.reads),
        }
        row["last click"] = session.last_click.get(fields.get("last_click"), "")
        for i, post in enumerate(session.candidates[:candidates], start=1):
            row[f"candidate {i}"] = post.get(fields.get("candidate"), "")
        shown = ids[encoder.name][:candidates, 0]
        rows[encoder.name] = row | {f"id {i}": int(value) for i, value in enumerate(shown, start=1)}
    return pd.DataFrame(rows).T


def to_sessions(table: Mapping[str, np.ndarray], candidates: int, id_field: str) -> list[dict]:
    """Rows of a table in the published raw form, the reverse of `columns`.

    Parameters
    ----------
    table : by `column` name, integers; `values.MISSING` is left out.
    candidates : rows a session, in delivered order.
    id_field : the field whose value names a post, on both sides.
    """
    fields = {source: _fields(table, source) for source in ("last_click", "candidate")}
    rows = len(next(iter(table.values())))

    def post(source: str, row: int) -> dict:
        found = {field: int(array[row]) for field, array in fields[source].items()}
        texts = {field: str(value) for field, value in found.items() if value != values.MISSING}
        return {"info_id": texts[id_field], "feature": texts}

    return [
        {
            "last_click": post("last_click", first),
            "resort_list": [
                post("candidate", row) for row in range(first, min(first + candidates, rows))
            ],
        }
        for first in range(0, rows, candidates)
    ]


def _fields(table: Mapping[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    prefix = column(source, "")
    return {
        name.removeprefix(prefix): array for name, array in table.items() if name.startswith(prefix)
    }


def _text(
    found: list, of: Iterable[tuple[int | None, Session]], wanted: Sequence[tuple[str, str]]
) -> pa.Array:
    """Values that were found in sessions as text, or the error for the first that is not."""
    try:
        column = values.text(found)
        if not column.null_count:
            return column
    except TypeError:
        pass
    for number, session in of:
        if error := sessions.not_text(session, wanted):
            raise error if number is None else BadInput(f"session {number}: {error}")
    raise AssertionError("every value is text")


def _encode(encoding: Encoding, columns: Mapping, rows: int) -> dict[str, np.ndarray]:
    """Ids of each encoder; a column has one value a row, or one for all rows."""
    result = {}
    for encoder in encoding.encoders:
        result[encoder.name] = ids = np.empty((rows, 1), np.int64)
        ids[:, 0] = encoder.ids(
            encoding.mode, *(columns[*field, encoder.exact] for field in encoder.reads)
        )
    return result
