"""The columns of a rating: who rated which film, and what was known of both at that moment.

They are the 27 columns of SparrowRecSys' samples (Wang Zhe, Apache-2.0). There the statistics of a
film are over all ratings, so that a row knows its own, later ones, and those of the test; `as_of`
counts earlier ones only. Four columns more say how far a user's stars lie above what was known of
each film when it was rated: of all, of the last ones, and of films of the same genres.

`UserState` and `FilmState` hold what a service keeps of a user and of a film, and give the same
values bit for bit: sums are of whole numbers, so that their order does not matter, and each figure
is one division.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from helpers.errors import BadInput

GENRES = (
    "",
    "Action",
    "Adventure",
    "Animation",
    "Children",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "IMAX",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""MovieLens' genres by their number; 0 is none."""
LIKED = 3.5
"""Stars from which on a film is liked."""
WINDOW = 100
"""How many of a user's last ratings count."""
_LAST, _FIRST, _TOP = 5, 3, 5
_BLOCK_ROWS = 1 << 15
_RATED = [f"userRatedMovie{i}" for i in range(1, _LAST + 1)]
_MOVIE_GENRES = [f"movieGenre{i}" for i in range(1, _FIRST + 1)]
_USER_GENRES = [f"userGenre{i}" for i in range(1, _TOP + 1)]
_FILM = ("movieRatingCount", "movieAvgRating", "movieRatingStddev")
_USER = (
    "userRatingCount",
    "userAvgReleaseYear",
    "userReleaseYearStddev",
    "userAvgRating",
    "userRatingStddev",
)
COLUMNS = (
    "movieId",
    "userId",
    "rating",
    "timestamp",
    "label",
    "releaseYear",
    *_MOVIE_GENRES,
    *_FILM,
    *_RATED,
    *_USER,
    *_USER_GENRES,
)
"""Names of the published columns, in their order."""
RESIDUALS = ("userResidual", "userResidual5", "userResidual20", "genreResidual")
"""Names of the four columns more, in stars: how far ratings were above the film's mean, drawn to 0
where there are few."""
_PARTS = 256
"""Parts of a star that a distance from a film's mean is counted in."""
_FILM_PRIOR = 10
"""Ratings of 3.5 stars that every film begins with, where a user is held against its mean."""
_WINDOWS = {"userResidual": (WINDOW, 5), "userResidual5": (5, 2), "userResidual20": (20, 3)}
"""Last ratings that a figure is of, and ratings of no distance that it begins with."""
_GENRE_PRIOR = 10


@dataclass(frozen=True)
class Catalogue:
    """Films by their id, which is their place in the arrays; an id without a film has year 0.

    Attributes
    ----------
    year : of release, ``(n,) int32``; 0 where it is not known.
    genres : places in `GENRES`, ``(n, most) int8``, as the film lists them, then zeros.
    """

    year: np.ndarray
    genres: np.ndarray


@dataclass(frozen=True)
class Ratings:
    """Ratings in any order, arrays ``(n,)``: ids from 1 on, stars in halves, seconds.

    Raises
    ------
    BadInput : arrays of several lengths, an id below 1, or stars that are no halves from .5 to 5.
    """

    user: np.ndarray
    film: np.ndarray
    stars: np.ndarray
    time: np.ndarray

    def __post_init__(self):
        lengths = {name: len(array) for name, array in vars(self).items()}
        if len(set(lengths.values())) > 1:
            raise BadInput(f"ratings have columns of several lengths: {lengths}")
        for name in ("user", "film"):
            if len(low := np.flatnonzero(getattr(self, name) < 1)):
                raise BadInput(
                    f"row {low[0] + 1}: {name} {getattr(self, name)[low[0]]} is no id: they begin "
                    "with 1, and 0 is nobody's"
                )
        halves = 2 * self.stars
        wrong = ~((halves >= 1) & (halves <= 10) & (halves == np.floor(halves)))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise BadInput(f"row {row + 1}: {self.stars[row]} stars: give .5 to 5 in steps of .5")

    def __len__(self) -> int:
        return len(self.user)

    def order(self) -> np.ndarray:
        """Rows by time; those of one second as they stand."""
        return np.argsort(self.time, kind="stable")


def as_of(
    ratings: Ratings,
    films: Catalogue,
    seen: np.ndarray | None = None,
    *,
    film_totals: bool = False,
) -> dict[str, np.ndarray]:
    """`COLUMNS` and `RESIDUALS` of every rating, each figure of what came before it.

    Parameters
    ----------
    seen : ``(n,) bool``, rows that later ones may know of, as those that are learnt from; default
        all.
    film_totals : give every row the figures of its film over all rows instead, its own, later ones
        and unseen ones among them: the published way, which flatters.

    Returns
    -------
    Arrays ``(n,)`` by name, in the order of the rows. A mean or a deviation of nothing is 0.

    Raises
    ------
    BadInput : a film that the catalogue does not have.
    """
    if len(ratings) and (ratings.film >= len(films.year)).any():
        row = int(np.argmax(ratings.film >= len(films.year)))
        raise BadInput(f"row {row + 1}: there is no film {ratings.film[row]} in the catalogue")
    seen = np.ones(len(ratings), bool) if seen is None else seen
    order = ratings.order()
    halves = (2 * ratings.stars).astype(np.int8)
    film = ratings.film
    result: dict[str, np.ndarray] = {
        "movieId": film.astype(np.int32),
        "userId": ratings.user.astype(np.int32),
        "rating": ratings.stars.astype(np.float32),
        "timestamp": ratings.time.astype(np.int64, copy=False),
        "label": (ratings.stars >= LIKED).astype(np.int8),
        "releaseYear": films.year[film].astype(np.int32),
    }
    for i, name in enumerate(_MOVIE_GENRES):
        result[name] = films.genres[film, i]
    of_films, residual = _of_films(film, halves, seen, order, film_totals)
    result |= of_films
    kinds = dict.fromkeys((*_RATED, _USER[0]), np.int32) | dict.fromkeys(_USER_GENRES, np.int8)
    for name in (*_RATED, *_USER, *_USER_GENRES, *RESIDUALS):
        result[name] = np.empty(len(ratings), kinds.get(name, np.float32))
    by_user = order[np.argsort(ratings.user[order], kind="stable")]
    for rows in _blocks(ratings.user, by_user):
        of_rows = (array[rows] for array in (ratings.user, film, halves, residual, seen))
        for name, values in _of_users(*of_rows, films).items():
            result[name][rows] = values
    return {name: result[name] for name in (*COLUMNS, *RESIDUALS)}


def residuals(ratings: Ratings) -> np.ndarray:
    """What `FilmState.residual` says of each rating ``(n,) int64`` when those before are known."""
    halves, every = (2 * ratings.stars).astype(np.int8), np.ones(len(ratings), bool)
    found = _of_films(ratings.film, halves, every, ratings.order(), False)[1]
    return found.astype(np.int64)


def film_columns(sums: np.ndarray) -> dict[str, np.ndarray]:
    """`FilmState.columns` of many films ``(n,)``, of their sums ``(n, 3) int64``."""
    return dict(zip(_FILM, _figures(*sums.T, 2), strict=True))


def _of_films(
    film: np.ndarray, halves: np.ndarray, seen: np.ndarray, order: np.ndarray, totals: bool
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Count, mean and deviation of the stars of each row's film, and how far the row is above, in
    `_PARTS`.
    """
    kinds = (np.int32, np.float32, np.float32)
    result = {name: np.empty(len(film), kind) for name, kind in zip(_FILM, kinds, strict=True)}
    residual = np.empty(len(film), np.int16)
    by_film = order[np.argsort(film[order], kind="stable")]
    for rows in _blocks(film, by_film):
        of, given = film[rows], halves[rows].astype(np.int64)
        counted = np.ones(len(rows), np.int64) if totals else seen[rows].astype(np.int64)
        first = np.flatnonzero(np.concatenate([[True], of[1:] != of[:-1]]))
        lengths = np.diff(np.append(first, len(of)))
        sums = []
        for values in (counted, counted * given, counted * given**2):
            if totals:
                sums.append(np.repeat(np.add.reduceat(values, first), lengths))
            else:
                before = np.cumsum(values) - values
                sums.append(before - np.repeat(before[first], lengths))
        for name, values in zip(_FILM, _figures(*sums, 2), strict=True):
            result[name][rows] = values
        residual[rows] = _residual(given, *sums[:2])
    return result, residual


def _residual(halves, count, total):
    """How far half stars are above a film's mean, whole `_PARTS` of a star."""
    mean = _PARTS * (total + int(2 * LIKED) * _FILM_PRIOR) // (2 * (count + _FILM_PRIOR))
    return _PARTS * halves // 2 - mean


def _figures(
    count: np.ndarray, total: np.ndarray, squares: np.ndarray, unit: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count, mean and standard deviation of a sample from whole sums of values in parts of a
    unit.
    """
    some, several = np.maximum(count, 1), np.maximum(count * (count - 1), 1)
    mean = total / (unit * some)
    deviation = np.sqrt((count * squares - total * total) / (unit * unit * several))
    return count.astype(np.int32), mean.astype(np.float32), deviation.astype(np.float32)


def _blocks(ids: np.ndarray, by_id: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of whole users, or films, some at a time."""
    sorted_ids = ids[by_id]
    start = 0
    while start < len(by_id):
        end = min(start + _BLOCK_ROWS, len(by_id))
        if end < len(by_id):
            end = int(np.searchsorted(sorted_ids, sorted_ids[end], side="left"))
            if end <= start:
                end = int(np.searchsorted(sorted_ids, sorted_ids[start], side="right"))
        yield by_id[start:end]
        start = end


def _of_users(
    user: np.ndarray,
    film: np.ndarray,
    halves: np.ndarray,
    residual: np.ndarray,
    seen: np.ndarray,
    films: Catalogue,
) -> dict[str, np.ndarray]:
    """Columns of users, of rows that are sorted by user and time."""
    first = np.concatenate([[True], user[1:] != user[:-1]])
    # places among the seen rows: `here` is how many are before a row, from `low` on they count
    here = np.cumsum(seen) - seen
    begin = np.repeat(here[first], np.diff(np.append(np.flatnonzero(first), len(user))))
    low = np.maximum(begin, here - WINDOW)
    films_seen, halves_seen, residual_seen = film[seen], halves[seen], residual[seen]
    year = films.year[films_seen].astype(np.int64)

    def between(values: np.ndarray) -> np.ndarray:
        sums = np.concatenate([[0], np.cumsum(values)])
        return sums[here] - sums[low]

    stars = (between(v) for v in (halves_seen, halves_seen**2))
    years = (between(v) for v in ((year > 0).astype(np.int64), year, year * year))
    count, mean, deviation = _figures(here - low, *stars, 2)
    _, year_mean, year_deviation = _figures(*years, 1)
    result = dict(zip(_USER, (count, year_mean, year_deviation, mean, deviation), strict=True))

    sums = np.concatenate([[0], np.cumsum(residual_seen)])
    for name, (window, prior) in _WINDOWS.items():
        begins = np.maximum(low, here - window)
        result[name] = (sums[here] - sums[begins]) / (_PARTS * (here - begins + prior))
    has = _has(films.genres[films_seen])
    wanted, of_genre = films.genres[film], []
    totals = np.zeros((len(has) + 1, len(GENRES)), np.int32)  # of a block, far below 2 ** 31
    for values in (has, has * residual_seen[:, None].astype(np.int32)):
        np.cumsum(values, axis=0, out=totals[1:])
        of_genre.append(totals[here[:, None], wanted] - totals[low[:, None], wanted])
    count, total = (here - low)[:, None], (sums[here] - sums[low])[:, None]
    result[RESIDUALS[-1]] = _genre_residual(wanted, *of_genre, count, total)

    liked = halves_seen >= 2 * LIKED
    before = np.concatenate([[0], np.cumsum(liked)])
    last, least = before[here], before[low]
    liked_films = films_seen[liked]
    ends = np.concatenate([np.zeros(_LAST, liked_films.dtype), liked_films])
    for i, name in enumerate(_RATED):
        place = last - 1 - i
        result[name] = np.where(place >= least, ends[place + _LAST], 0)
    return result | _favourites(films.genres[liked_films], last, least)


def _has(genres: np.ndarray) -> np.ndarray:
    """Which genres films ``(n, most)`` have, ``(n, len(GENRES)) int8``; none is no genre."""
    has = np.zeros((len(genres), len(GENRES)), np.int8)
    for column in genres.T:
        has[np.arange(len(genres)), column] = 1
    has[:, 0] = 0
    return has


def _genre_residual(
    genres: np.ndarray, of_genre: np.ndarray, residual: np.ndarray, count, total
) -> np.ndarray:
    """How far a user's ratings of films of some genres ``(n, most)`` were above their others.

    `of_genre` and `residual` are the number of these ratings and their sum, by genre; `count` and
    `total` those of all.
    """
    prior = _WINDOWS["userResidual"][1]
    rest = (residual * (count + prior) - of_genre * total) // (
        (of_genre + _GENRE_PRIOR) * (count + prior)
    )
    named = genres > 0
    return np.where(named, rest, 0).sum(axis=1) / (_PARTS * np.maximum(named.sum(axis=1), 1))


def _favourites(genres: np.ndarray, last: np.ndarray, least: np.ndarray) -> dict[str, np.ndarray]:
    """The genres that most of the films from `least` to `last` have; of equal ones the first in
    `GENRES`.
    """
    sums = np.zeros((len(genres) + 1, len(GENRES)), np.int32)
    np.cumsum(_has(genres), axis=0, out=sums[1:])
    counts = (sums[last] - sums[least]).astype(np.int16)
    ranked = counts * np.int16(len(GENRES)) + np.arange(len(GENRES) - 1, -1, -1, dtype=np.int16)
    ranked[counts == 0] = 0
    best = np.sort(ranked, axis=1)[:, : -_TOP - 1 : -1]
    there = np.where(best > 0, len(GENRES) - 1 - best % len(GENRES), 0)
    return {name: there[:, i] for i, name in enumerate(_USER_GENRES)}


@dataclass
class FilmState:
    """What a service keeps of a film: whole sums of half stars."""

    count: int = 0
    total: int = 0
    squares: int = 0

    def add(self, stars: float) -> None:
        halves = int(2 * stars)
        self.count, self.total = self.count + 1, self.total + halves
        self.squares += halves * halves

    def remove(self, stars: float) -> None:
        """Take back a rating that was added."""
        halves = int(2 * stars)
        self.count, self.total = self.count - 1, self.total - halves
        self.squares -= halves * halves

    def residual(self, stars: float) -> int:
        """How far stars are above what is known of the film, as `UserState.add` takes it."""
        return _residual(int(2 * stars), self.count, self.total)

    def columns(self) -> dict[str, float]:
        return dict(zip(_FILM, _one(self.count, self.total, self.squares, 2), strict=True))


@dataclass
class UserState:
    """What a service keeps of a user: the last ratings, ``(film, half stars, residual)``, oldest
    first.
    """

    last: collections.deque[tuple[int, int, int]] = field(
        default_factory=lambda: collections.deque(maxlen=WINDOW)
    )

    def add(self, film: int, stars: float, residual: int) -> None:
        """Add a rating; `residual` is what `FilmState.residual` said before it was told of it."""
        self.last.append((film, int(2 * stars), residual))

    def genre_residual(self, films: Catalogue, candidates: np.ndarray) -> np.ndarray:
        """``genreResidual`` of this user and each of some films ``(n,)``."""
        has = _has(films.genres[[film for film, *_ in self.last]])
        residual = np.array([value for *_, value in self.last], np.int64)
        genres = films.genres[candidates]
        of_genre, of_residual = has.sum(axis=0, dtype=np.int64), residual @ has.astype(np.int64)
        found = _genre_residual(
            genres, of_genre[genres], of_residual[genres], len(residual), residual.sum()
        )
        return found.astype(np.float32)

    def columns(self, films: Catalogue) -> dict[str, float]:
        """The columns that are the user's own, whatever the film."""
        halves = [given for _, given, _ in self.last]
        years = [int(films.year[film]) for film, *_ in self.last if films.year[film]]
        count, mean, deviation = _one(len(halves), *_sums(halves), 2)
        _, year_mean, year_deviation = _one(len(years), *_sums(years), 1)
        liked = [film for film, given, _ in self.last if given >= 2 * LIKED]
        residual = [value for *_, value in self.last]
        recent = [*reversed(liked), *[0] * _LAST][:_LAST]
        counts = collections.Counter(
            int(genre) for film in liked for genre in set(films.genres[film]) if genre
        )
        genres = sorted(counts, key=lambda genre: (-counts[genre], genre))
        return {
            **dict(zip(_RATED, recent, strict=True)),
            **dict(zip(_USER, (count, year_mean, year_deviation, mean, deviation), strict=True)),
            **dict(zip(_USER_GENRES, [*genres, *[0] * _TOP][:_TOP], strict=True)),
            **{
                name: float(np.float32(sum(last) / (_PARTS * (len(last) + prior))))
                for name, (window, prior) in _WINDOWS.items()
                for last in [residual[-window:]]
            },
        }


def _sums(values: Sequence[int]) -> tuple[int, int]:
    return sum(values), sum(value * value for value in values)


def _one(count: int, total: int, squares: int, unit: int) -> tuple[int, float, float]:
    """`_figures` of one."""
    mean = total / (unit * max(count, 1))
    spread = (count * squares - total * total) / (unit * unit * max(count * (count - 1), 1))
    return count, float(np.float32(mean)), float(np.float32(math.sqrt(spread)))
