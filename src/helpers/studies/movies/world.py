"""Simulated ratings: who saw which film when, and how it was liked.

A film has genres, a year, a quality, and a place in a space of tastes near those of its genres; few
films are seen by many. A user has a mood, some stars above or below others', and a place in the
same space, which drifts while they go on rating. What a film is worth to them is the sum of its
quality, their mood, and how near the two places are; the stars are that and logistic noise, rounded
to halves. So the chance that a film is liked is known, and with it what no model can pass.
"""

from __future__ import annotations

import numpy as np

from helpers.ratings import GENRES, Catalogue, Pack, Ratings
from helpers.ratings.statistics import LIKED

_MEAN, _NOISE = 3.1, 0.42
"""Stars of nobody in particular for no film in particular; scale of the logistic noise."""
_QUALITY, _MOOD, _TASTE, _DRIFT = 0.38, 0.38, 0.75, 0.2
"""Spread of films' quality, users' mood and how much taste counts, in stars; how far a taste moves
from session to session, as a part of its length."""
_SIZE = 6
"""Dimensions of the space of tastes."""
_RATINGS_A_USER, _RATINGS_A_FILM, _MOST_FILMS = 80, 40, 4000
_SESSION = 15
"""Ratings at one time."""
_START, _SECONDS = 1_500_000_000, 3 * 365 * 86_400
_GENRE_WEIGHTS = 1 / np.arange(1.0, len(GENRES)) ** 0.6


def draw(rng: np.random.Generator, rows: int) -> Pack:
    """Draw `rows` ratings of as many users and films as go with them."""
    films = int(np.clip(rows // _RATINGS_A_FILM, 60, _MOST_FILMS))
    catalogue, quality, places, popularity = _films(rng, films)
    counts = _ratings_by_user(rng, rows, most=films // 2)
    parts = [
        _of_user(rng, user + 1, count, quality, places, popularity)
        for user, count in enumerate(counts)
    ]
    user, film, time, worth, moods, tastes = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    stars = np.clip(np.round(2 * (worth + rng.logistic(0, _NOISE, rows))) / 2, 0.5, 5.0)
    titles = {number: f"Film {number}" for number in range(1, films + 1)}

    def chances(row: int) -> np.ndarray:
        every = _MEAN + moods[row] + quality + _TASTE * places @ tastes[row]
        return np.concatenate([[0.0], _liked(every)])

    given = Ratings(user, film, stars, time)
    return Pack(given, catalogue, titles, chance=_liked(worth), chances=chances)


def _liked(worth: np.ndarray) -> np.ndarray:
    """Chance that what is worth so many stars gets `LIKED`, or what is rounded to it."""
    return 1 / (1 + np.exp((LIKED - 0.25 - worth) / _NOISE))


def _films(rng: np.random.Generator, count: int) -> tuple[Catalogue, np.ndarray, ...]:
    """Films from id 1 on, their quality in stars, their places, and how popular they are."""
    of_genres = rng.normal(0, 1, (len(GENRES), _SIZE)) / np.sqrt(_SIZE)
    genres, places = np.zeros((count + 1, 3), np.int8), np.empty((count, _SIZE))
    chances = _GENRE_WEIGHTS / _GENRE_WEIGHTS.sum()
    for film in range(count):
        chosen = rng.choice(len(GENRES) - 1, rng.integers(1, 4), replace=False, p=chances) + 1
        genres[film + 1, : len(chosen)] = chosen
        places[film] = of_genres[chosen].mean(axis=0) * np.sqrt(len(chosen))
    places += rng.normal(0, 0.5, places.shape) / np.sqrt(_SIZE)
    year = np.concatenate([[0], 2020 - rng.gamma(2.0, 9.0, count)]).clip(0).astype(np.int32)
    quality = rng.normal(0, _QUALITY, count)
    popularity = -0.9 * np.log(rng.permutation(count) + 3.0) + 1.2 * quality
    return Catalogue(year, genres), quality, places, popularity


def _ratings_by_user(rng: np.random.Generator, rows: int, most: int) -> np.ndarray:
    """How many ratings each user gives: a long tail, `rows` together."""
    users = max(2, rows // _RATINGS_A_USER, -(-rows // most))
    weights = rng.lognormal(0, 0.9, users)
    counts = np.minimum(np.floor(weights / weights.sum() * rows).astype(np.int64), most)
    while left := rows - counts.sum():
        free = np.flatnonzero(counts < most)
        counts[rng.choice(free, min(left, len(free)), replace=False)] += 1
    return counts[counts > 0]


def _of_user(
    rng: np.random.Generator,
    user: int,
    count: int,
    quality: np.ndarray,
    places: np.ndarray,
    popularity: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Ratings of one user: id, films, times, what each is worth to them in stars, their mood, and
    their taste at each.
    """
    sessions = -(-count // _SESSION)
    began = rng.integers(0, _SECONDS)
    begins = np.sort(rng.integers(began, _SECONDS, sessions))
    taste, mood = rng.normal(0, 1, _SIZE), rng.normal(0, _MOOD)
    left = np.ones(len(quality), bool)
    films, worth, tastes = [], [], []
    for session in range(sessions):
        taste = np.sqrt(1 - _DRIFT**2) * taste + _DRIFT * rng.normal(0, 1, _SIZE)
        likes = _TASTE * places @ taste
        keys = np.where(left, popularity + 0.8 * likes + rng.gumbel(0, 1, len(left)), -np.inf)
        size = min(_SESSION, count - session * _SESSION)
        seen = np.argpartition(-keys, size - 1)[:size]
        left[seen] = False
        films.append(seen)
        worth.append(_MEAN + mood + quality[seen] + likes[seen])
        tastes.append(np.tile(taste, (size, 1)))
    films = np.concatenate(films)
    times = _START + np.repeat(begins, _SESSION)[:count] + 60 * (np.arange(count) % _SESSION)
    alike = np.full(count, user), films + 1, times, np.concatenate(worth), np.full(count, mood)
    return *alike, np.concatenate(tastes)
