"""What a field's text means as a number, for whole columns at once; `MISSING` if it is missing."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from helpers.errors import BadInput

MISSING = -(2**31)
"""The sentinel of the published pipeline, INT_MIN: as a value it says that there is none."""
_WHOLE = r"^-?[0-9]{1,20}$"
_NUMBER = r"^-?[0-9]{1,20}(\.[0-9]{1,20})?$"


def shown(value: object) -> str:
    """A value for an error message, at most a few dozen characters."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python refuses to print an integer of thousands of digits
        return f"a {type(value).__name__} too long to print"


def text(values: Sequence[str | None]) -> pa.Array:
    """Text of JSON fields, None where a field is not there, as an Arrow array.

    Raises
    ------
    TypeError : a value is neither text nor None; the caller knows which field it is.
    """
    try:
        return pa.array(values, pa.string())
    except (
        UnicodeEncodeError
    ):  # JSON can escape half a surrogate pair, which is no number in any case
        return text(
            [v.encode(errors="replace").decode() if isinstance(v, str) else v for v in values]
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise TypeError(str(error)) from error


def arrow(values: object, name: str) -> pa.Array:
    """A column of a table (NumPy, pandas, Arrow, a list) as an Arrow array; NaN, NA and None become
    null.

    Raises
    ------
    BadInput : not one-dimensional, mixed types, or integers beyond int64; the message names the
        column.
    """
    try:
        column = (
            values
            if isinstance(values, pa.Array | pa.ChunkedArray)
            else pa.array(values, from_pandas=True)
        )
    except UnicodeEncodeError:
        column = text(list(values))
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise BadInput(
            f"column {name} cannot be read ({error}): give text, or whole numbers within int64, one"
            " type a column"
        ) from error
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.large_string()) if pa.types.is_string_view(column.type) else column


def whole_numbers(values: pa.Array, name: str) -> np.ndarray:
    """``(n,) int64`` of a column of text or integers, `MISSING` where there is no whole number
    within int64.

    Raises
    ------
    BadInput : the column is of another type. Floating point is refused although its values may be
        whole: it cannot tell 64-bit ids apart, and pandas makes it of integers that have gaps.
    """
    if _is_text(values):
        written = _written(values, _WHOLE)
        try:
            return _filled(written, pa.int64())
        except pa.ArrowInvalid:  # digits beyond int64; rare, so one by one
            numbers = [None if t is None else int(t) for t in written.to_pylist()]
            values = pa.array(
                [n if n is not None and -(2**63) <= n < 2**63 else None for n in numbers],
                pa.int64(),
            )
    elif pa.types.is_null(values.type):
        return np.full(len(values), MISSING, np.int64)
    elif not pa.types.is_integer(values.type):
        raise BadInput(
            f"column {name} holds {values.type}, ids are whole numbers: read it as text or int64 "
            f"(with {MISSING} where a value is missing), a float would merge ids beyond 2^53"
        )
    elif values.type == pa.uint64():
        try:
            values = pc.cast(values, pa.int64())
        except pa.ArrowInvalid as error:
            raise BadInput(
                f"column {name} holds values beyond int64 ({error}): read it as text"
            ) from error
    return _filled(values, pa.int64())


def numbers(values: pa.Array, name: str) -> np.ndarray:
    """``(n,) float64`` of a column of text, integers or floats, `MISSING` where there is no number.

    Whole numbers beyond 2^53 are rounded to the nearest float64, from text and from integers alike.
    """
    if _is_text(values):
        column = _filled(_written(values, _NUMBER), pa.float64())
    elif pa.types.is_floating(values.type):
        column = _filled(values, pa.float64())
        column = np.where(np.isnan(column), MISSING, column)  # a NaN in an Arrow column is not null
    elif pa.types.is_integer(values.type) or pa.types.is_null(values.type):
        column = whole_numbers(values, name).astype(np.float64)
    else:
        raise BadInput(
            f"column {name} holds {values.type}, which is no number: read it as text, integers or "
            "floats"
        )
    return column


def _is_text(values: pa.Array) -> bool:
    return pa.types.is_string(values.type) or pa.types.is_large_string(values.type)


def _written(values: pa.Array, form: str) -> pa.Array:
    """The text that has a form, null for the rest: Arrow's own parser also reads hexadecimal and
    exponents.
    """
    return pc.if_else(pc.match_substring_regex(values, form), values, pa.scalar(None, values.type))


def _filled(values: pa.Array, kind: pa.DataType) -> np.ndarray:
    """`values` as `kind`, `MISSING` for null. Scalars with a type spare Arrow a search for a common
    one.
    """
    column = pc.coalesce(values.cast(kind), pa.scalar(MISSING, kind))
    return column.to_numpy(zero_copy_only=False)
