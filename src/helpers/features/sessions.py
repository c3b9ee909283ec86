"""Raw sessions: reading their JSON, and putting their candidates into another order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from helpers import strict_json
from helpers.errors import BadInput
from helpers.features.values import shown

KEYS = ("last_click", "resort_list")
MOST_BYTES = 1 << 26
"""Longest JSON text of a session, as on the phone."""


@dataclass(frozen=True)
class Session:
    """The post that the reader came back from, and the posts that can be re-ordered, in delivered
    order.

    Attributes
    ----------
    last_click : its fields, id to text.
    info_ids : of the candidates; each is there once.
    candidates : the fields of each.
    """

    last_click: Mapping[str, str]
    info_ids: tuple[str, ...]
    candidates: tuple[Mapping[str, str], ...]


def read(raw: str | bytes | Mapping | Session) -> Session:
    """A session from its JSON text, or from the values that the text holds.

    Keys and fields that nothing here knows are ignored, so that a server can send more. Whether a
    field's value is text is checked where it is encoded. Text and bytes are read as strictly as on
    the phone, see `helpers.strict_json`.

    Raises
    ------
    BadInput : not JSON, or longer than `MOST_BYTES`; a field twice in one object; no ``last_click``
        or ``resort_list``; a post that is no object with an ``info_id`` (text) and a ``feature``
        (object); an ``info_id`` that is there twice.
    """
    if isinstance(raw, Session):
        return raw
    if isinstance(raw, str | bytes | bytearray):
        try:
            raw = strict_json.read(raw, most=MOST_BYTES)
        except ValueError as error:
            raise BadInput(f"the session is not JSON: {error}") from error
    if not isinstance(raw, Mapping):
        raise BadInput(f"the session must be an object with {' and '.join(KEYS)}, not {shown(raw)}")
    for key in KEYS:
        if key not in raw:
            there = ", ".join(shown(name) for name in list(raw)[:5]) or "nothing"
            raise BadInput(
                f"the session has no {key} (it has {there}): it needs {' and '.join(KEYS)}"
            )
    posts = raw["resort_list"]
    if not isinstance(posts, list | tuple):
        raise BadInput(f"resort_list must be a list of posts, not {shown(posts)}")
    _, last_click = _post(raw["last_click"], "last_click")
    read_posts = [_post(post, f"resort_list[{i}]") for i, post in enumerate(posts)]
    info_ids = tuple(info_id for info_id, _ in read_posts)
    if len(set(info_ids)) < len(info_ids):
        first: dict[str, int] = {}
        for i, info_id in enumerate(info_ids):
            if first.setdefault(info_id, i) < i:
                raise BadInput(
                    f"info_id {shown(info_id)} is there twice, as resort_list[{first[info_id]}] and"
                    f" resort_list[{i}]: list each post once"
                )
    return Session(last_click, info_ids, tuple(feature for _, feature in read_posts))


def rerank(raw: str | bytes | Mapping | Session, scores) -> list[str]:
    """The candidates' info_ids by descending score; equal scores keep the delivered order.

    Parameters
    ----------
    scores : ``(n_candidates,)`` or ``(n_candidates, 1)``, finite.

    Raises
    ------
    BadInput : as `read`; a score too many or too few, not a number, or not finite.
    """
    session = read(raw)
    try:
        values = np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"scores must be numbers: {error}") from error
    n = len(session.info_ids)
    if values.shape not in ((n,), (n, 1)):
        raise BadInput(
            f"scores have shape {values.shape}, the session has {n} candidates: ({n},) or ({n}, 1) "
            "is needed"
        )
    values = values.reshape(n)
    if bad := np.flatnonzero(~np.isfinite(values)).tolist():
        raise BadInput(
            f"the score of resort_list[{bad[0]}] is {values[bad[0]]}: keep the delivered order "
            "instead"
        )
    return [session.info_ids[i] for i in np.argsort(-values, kind="stable")]


def _post(post: object, where: str) -> tuple[str, Mapping]:
    if not isinstance(post, Mapping):
        raise BadInput(f"{where} must be an object with info_id and feature, not {shown(post)}")
    info_id, feature = post.get("info_id"), post.get("feature")
    if not isinstance(info_id, str) or not info_id:
        raise BadInput(f"{where}.info_id {_not_text(info_id)}")
    if not isinstance(feature, Mapping):
        raise BadInput(
            f"{where}.feature must be an object, which may be empty, not {shown(feature)}"
        )
    return info_id, feature


def not_text(session: Session, fields: Iterable[tuple[str, str]]) -> BadInput | None:
    """The error for the first value of these (source, field) that is there and is not text."""
    for source, field in fields:
        posts = [session.last_click] if source == "last_click" else session.candidates
        for i, post in enumerate(posts):
            if field in post and not isinstance(post[field], str):
                where = source if source == "last_click" else f"resort_list[{i}]"
                return BadInput(f"{where}.feature[{shown(field)}] {_not_text(post[field])}")
    return None


def _not_text(value: object) -> str:
    """What a value that should be text is instead, and the way out."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (
            f"is the number {shown(value)}: write it as text, some parsers lose digits of 64-bit "
            "numbers"
        )
    if value is None:
        return "is missing or null: it must be text (a field that a post has not is left out)"
    return f"is {shown(value)}: it must be text" + (" that is not empty" if value == "" else "")
