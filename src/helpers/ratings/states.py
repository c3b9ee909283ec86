"""What a service keeps of users and films after many ratings, all at once.

The same as `FilmState` and `UserState` after each rating in turn, and in bytes: a film is three
numbers, a user the last ratings and the ids of all films seen, however long ago.
"""

from __future__ import annotations

import collections
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from helpers.ratings import statistics
from helpers.ratings.statistics import WINDOW, FilmState, Ratings, UserState

_HEAD = struct.Struct("<ii")
_FILM = struct.Struct("<qqq")


@dataclass
class UserRecord:
    """A user's last ratings, and ids of all films that the user has rated, ``(n,) int32``."""

    state: UserState = field(default_factory=UserState)
    seen: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))

    def add(self, film: int, stars: float, residual: int) -> None:
        """Add a rating, see `UserState.add`."""
        self.state.add(film, stars, residual)
        if film not in self.seen:
            self.seen = np.append(self.seen, np.int32(film))

    def liked(self) -> list[int]:
        """Films liked among the last ratings, the newest first."""
        least = 2 * statistics.LIKED
        return [film for film, halves, _ in reversed(self.state.last) if halves >= least]

    def to_bytes(self) -> bytes:
        last = np.array(self.state.last, "<i4")
        return _user_bytes(last, self.seen)

    @classmethod
    def from_bytes(cls, content: bytes | None) -> UserRecord:
        """Read what `to_bytes` gave; a user without ratings where there is nothing."""
        if content is None:
            return cls()
        last, seen = _HEAD.unpack_from(content)
        numbers = np.frombuffer(content, "<i4", 3 * last + seen, _HEAD.size)
        rows = map(tuple, numbers[: 3 * last].reshape(-1, 3).tolist())
        return cls(UserState(collections.deque(rows, maxlen=WINDOW)), numbers[3 * last :])


def _user_bytes(last: np.ndarray, seen: np.ndarray) -> bytes:
    head = _HEAD.pack(len(last), len(seen))
    return head + last.astype("<i4").tobytes() + seen.astype("<i4").tobytes()


def film_bytes(film: FilmState) -> bytes:
    return _FILM.pack(film.count, film.total, film.squares)


def film_state(content: bytes | None) -> FilmState:
    """Read what `film_bytes` gave; a film without ratings where there is nothing."""
    return FilmState() if content is None else FilmState(*_FILM.unpack(content))


def film_sums(contents: list[bytes | None]) -> np.ndarray:
    """Read many films: count, sum and sum of squares of half stars, ``(n, 3) int64``."""
    nothing = bytes(_FILM.size)
    joined = b"".join(nothing if content is None else content for content in contents)
    return np.frombuffer(joined, "<i8").reshape(-1, 3)


def films_after(ratings: Ratings) -> Iterator[tuple[int, bytes]]:
    """Every film that was rated, and what is kept of it after all ratings."""
    halves = (2 * ratings.stars).astype(np.int64)
    ids, place = np.unique(ratings.film, return_inverse=True)
    sums = np.zeros((len(ids), 3), "<i8")
    for column, values in enumerate((np.ones_like(halves), halves, halves * halves)):
        np.add.at(sums[:, column], place, values)
    return ((film, row.tobytes()) for film, row in zip(ids.tolist(), sums, strict=True))


def users_after(ratings: Ratings) -> Iterator[tuple[int, bytes]]:
    """Every user, and what is kept of them after all ratings in order of time."""
    order = ratings.order()
    rows = order[np.argsort(ratings.user[order], kind="stable")]
    user, film = ratings.user[rows], ratings.film[rows].astype(np.int32)
    halves = (2 * ratings.stars).astype(np.int64)
    given = np.stack([film, halves[rows], statistics.residuals(ratings)[rows]], axis=1)
    starts = np.flatnonzero(np.concatenate([[True], user[1:] != user[:-1]])[: len(user)])
    for start, end in zip(starts, np.append(starts[1:], len(user)), strict=True):
        _, first = np.unique(film[start:end], return_index=True)
        seen = film[start:end][np.sort(first)]
        yield int(user[start]), _user_bytes(given[max(start, end - WINDOW) : end], seen)
