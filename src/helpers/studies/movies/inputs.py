"""What the models take: a user, a film, and what was known of both, by the published names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from helpers.ratings import GENRES, Ids
from helpers.schema import Dimension, Schema, Tensor

USERS, FILMS = 30_001, 4_001
"""Rows of the tables of users and films; the first is of those unknown."""
_STARS = (0.0, 5.0)


def _ids(name: str, role: str, meaning: str, size: int, count: int = 1) -> Tensor:
    names = [name] if count == 1 else [f"{name}{i}" for i in range(1, count + 1)]
    listed = tuple(Dimension(each, meaning, 0, size - 1) for each in names)
    return Tensor(name if count == 1 else f"{name}s", role, listed, "int32")


USER = _ids("userId", "user", "who; 0 if not known", USERS)
FILM = _ids("movieId", "item", "which film; 0 if not known", FILMS)
RATED = _ids("userRatedMovie", "user", "films liked last, the newest first", FILMS, 5)
USER_GENRES = _ids("userGenre", "user", "genres of films liked, the most frequent first", 20, 5)
FILM_GENRES = _ids("movieGenre", "item", "genres of the film", len(GENRES), 3)
USER_NUMBERS = Tensor(
    "userNumbers",
    "user",
    (
        Dimension("userRatingCount", "ratings of the user that count, at most 100", 0, 100),
        Dimension("userAvgReleaseYear", "mean year of the films", 0, 2100),
        Dimension("userReleaseYearStddev", "deviation of these years", 0, 200),
        Dimension("userAvgRating", "mean stars", *_STARS),
        Dimension("userRatingStddev", "deviation of the stars", *_STARS),
    ),
)
FILM_NUMBERS = Tensor(
    "movieNumbers",
    "item",
    (
        Dimension("releaseYear", "year; 0 if not known", 0, 2100),
        Dimension("movieRatingCount", "ratings of the film so far", 0, 1e8),
        Dimension("movieAvgRating", "mean stars so far", *_STARS),
        Dimension("movieRatingStddev", "deviation of these stars", *_STARS),
    ),
)
_FAR = (-5.0, 5.0)
USER_RESIDUALS = Tensor(
    "userResiduals",
    "user",
    (
        Dimension("userResidual", "stars above the films' means, drawn to 0", *_FAR),
        Dimension("userResidual5", "the same of the last five ratings", *_FAR),
        Dimension("userResidual20", "the same of the last twenty", *_FAR),
    ),
)
GENRE_RESIDUAL = Tensor(
    "genreResidual",
    "cross",
    (Dimension("genreResidual", "the same of films of this one's genres, less the user's", *_FAR),),
)
SCORE = Tensor("score", "score", (Dimension("score", "probability that the film is liked"),))
INPUTS = (
    USER,
    FILM,
    RATED,
    USER_GENRES,
    FILM_GENRES,
    USER_NUMBERS,
    FILM_NUMBERS,
    USER_RESIDUALS,
    GENRE_RESIDUAL,
)
SCHEMA = Schema("recmodel", INPUTS, (SCORE,))


def two_averages(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """The sum of the user's and the film's mean stars as a chance: one half where each is 3.5."""
    total = inputs["userNumbers"][:, 3] + inputs["movieNumbers"][:, 2]
    return 1 / (1 + np.exp(7.0 - total.astype(np.float64)))


def of_columns(columns: Mapping[str, np.ndarray], ids: Ids) -> dict[str, np.ndarray]:
    """Inputs of rows of `helpers.ratings.as_of`, ``(n_rows, *shape)`` by name.

    Somebody who has rated too few films, and a film that was rated too seldom, are unknown yet: so
    a model learns what to make of that.
    """
    user, film = ids.user(columns["userId"]), ids.film(columns["movieId"])
    places = {
        "userId": np.where(columns["userRatingCount"] >= ids.least, user, 0),
        "movieId": np.where(columns["movieRatingCount"] >= ids.least, film, 0),
        **{each.name: ids.film(columns[each.name]) for each in RATED.dimensions},
    }
    return {
        tensor.name: np.stack(
            [places.get(each.name, columns[each.name]) for each in tensor.dimensions], axis=1
        ).astype(tensor.dtype)
        for tensor in INPUTS
    }
