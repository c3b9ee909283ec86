"""What a service keeps of users and films after many ratings, all at once.

The same as `FilmState` and `UserState` after each rating in turn, and in bytes: a film is three
numbers, a user the last ratings, and all films seen with their stars, however long ago; a film that
is rated again counts once, with its last stars. `before` goes back to the moments of some ratings;
`columns` are those of `as_of` for a user and any films.
"""

from __future__ import annotations

import collections
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from helpers.ratings import statistics
from helpers.ratings.statistics import (
    RESIDUALS,
    WINDOW,
    Catalogue,
    FilmState,
    Ratings,
    UserState,
    film_columns,
)

_HEAD = struct.Struct("<ii")
_FILM = struct.Struct("<qqq")


@dataclass
class UserRecord:
    """A user's last ratings, and all films that the user has rated: ids ``(n,) int32``, half stars
    ``(n,) int8``.
    """

    state: UserState = field(default_factory=UserState)
    seen: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))
    halves: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int8))

    def add(self, film: int, stars: float, residual: int) -> None:
        """Add a rating of a film that was not seen yet, see `UserState.add`."""
        self.state.add(film, stars, residual)
        self.seen = np.append(self.seen, np.int32(film))
        self.halves = np.append(self.halves, np.int8(2 * stars))

    def forget(self, film: int) -> float | None:
        """Take a film's rating back; returns its stars, None if it was not rated."""
        kept = self.seen != film
        if kept.all():
            return None
        stars = int(self.halves[~kept][0]) / 2
        self.seen, self.halves = self.seen[kept], self.halves[kept]
        left = [rating for rating in self.state.last if rating[0] != film]
        self.state.last = collections.deque(left, maxlen=WINDOW)
        return stars

    def liked(self) -> list[int]:
        """Films liked among the last ratings, the newest first."""
        least = 2 * statistics.LIKED
        return [film for film, halves, _ in reversed(self.state.last) if halves >= least]

    def to_bytes(self) -> bytes:
        last = np.array(self.state.last, "<i4")
        return _user_bytes(last, self.seen, self.halves)

    @classmethod
    def from_bytes(cls, content: bytes | None) -> UserRecord:
        """Read what `to_bytes` gave; a user without ratings where there is nothing."""
        if content is None:
            return cls()
        last, seen = _HEAD.unpack_from(content)
        numbers = np.frombuffer(content, "<i4", 3 * last + seen, _HEAD.size)
        halves = np.frombuffer(content, "<i1", seen, _HEAD.size + numbers.nbytes)
        rows = map(tuple, numbers[: 3 * last].reshape(-1, 3).tolist())
        return cls(UserState(collections.deque(rows, maxlen=WINDOW)), numbers[3 * last :], halves)


def _user_bytes(last: np.ndarray, seen: np.ndarray, halves: np.ndarray) -> bytes:
    head = _HEAD.pack(len(last), len(seen))
    return head + last.astype("<i4").tobytes() + seen.astype("<i4").tobytes() + halves.tobytes()


def film_bytes(film: FilmState) -> bytes:
    """What is kept of a film: three whole numbers of 64 bits."""
    return _FILM.pack(film.count, film.total, film.squares)


def film_state(content: bytes | None) -> FilmState:
    """Read what `film_bytes` gave; a film without ratings where there is nothing."""
    return FilmState() if content is None else FilmState(*_FILM.unpack(content))


def film_sums(contents: list[bytes | None]) -> np.ndarray:
    """Read many films: count, sum and sum of squares of half stars, ``(n, 3) int64``."""
    nothing = bytes(_FILM.size)
    joined = b"".join(nothing if content is None else content for content in contents)
    return np.frombuffer(joined, "<i8").reshape(-1, 3)


def columns(
    films: Catalogue, user: int, of_user: UserState, candidates: np.ndarray, sums: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns of a user and each of some films, arrays ``(n,)`` by name; see `statistics.COLUMNS`.

    Parameters
    ----------
    candidates : ids of the films, ``(n,)``.
    sums : what is known of them, ``(n, 3) int64``, see `film_sums`.
    """
    own = {"userId": user, **of_user.columns(films)}
    genres = films.genres[candidates]
    return {
        "movieId": candidates,
        "releaseYear": films.year[candidates],
        **{f"movieGenre{i + 1}": genres[:, i] for i in range(genres.shape[1])},
        **film_columns(sums),
        **{name: np.full(len(candidates), value) for name, value in own.items()},
        RESIDUALS[-1]: of_user.genre_residual(films, candidates),
    }


@dataclass(frozen=True)
class Moment:
    """What is known just before a rating.

    Attributes
    ----------
    row : number of the rating.
    user, film : whose it is, of what.
    record : what is kept of the user.
    sums : of all films by id: number, sum and sum of squares of half stars, ``(n_films, 3) int64``.
    """

    row: int
    user: int
    film: int
    record: UserRecord
    sums: np.ndarray

    def columns(self, films: Catalogue, candidates: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of the user and each of some films, see `columns`."""
        return columns(films, self.user, self.record.state, candidates, self.sums[candidates])


def before(ratings: Ratings, films: Catalogue, rows: np.ndarray) -> Iterator[Moment]:
    """The moments of some ratings, in order of time; all that came before each is known.

    Parameters
    ----------
    rows : numbers of the ratings, ``(n,)``.
    """
    order = ratings.order()
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    by_user = order[np.argsort(ratings.user[order], kind="stable")]
    users = ratings.user[by_user]
    halves = (2 * ratings.stars).astype(np.int64)
    residuals = statistics.residuals(ratings)
    sums, done = np.zeros((len(films.year), 3), np.int64), 0
    for row in rows[np.argsort(place[rows])].tolist():
        new = order[done : place[row]]
        given = halves[new]
        for column, values in enumerate((np.ones_like(given), given, given**2)):
            np.add.at(sums[:, column], ratings.film[new], values)
        done = place[row]
        first = np.searchsorted(users, ratings.user[row])
        own = by_user[first : np.searchsorted(users, ratings.user[row], side="right")]
        own = own[place[own] < done]
        last = own[-WINDOW:]
        kept = zip(ratings.film[last], halves[last], residuals[last], strict=True)
        state = UserState(collections.deque((tuple(map(int, k)) for k in kept), maxlen=WINDOW))
        record = UserRecord(state, *_seen(ratings.film[own], halves[own]))
        yield Moment(row, int(ratings.user[row]), int(ratings.film[row]), record, sums.copy())


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
        seen = _seen(film[start:end], given[start:end, 1])
        yield int(user[start]), _user_bytes(given[max(start, end - WINDOW) : end], *seen)


def _seen(film: np.ndarray, halves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Films of ratings in order of time, each once, and their last half stars."""
    _, from_end = np.unique(film[::-1], return_index=True)
    last = np.sort(len(film) - 1 - from_end)
    return film[last].astype(np.int32), halves[last].astype(np.int8)
