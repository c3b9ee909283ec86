"""Columns of ratings against loops that read as their definition does."""

import math
from fractions import Fraction

import numpy as np
import pytest

from helpers import ratings
from helpers.errors import BadInput
from helpers.ratings import statistics


def _drawn(seed: int, rows: int, users: int = 12, films: int = 30):
    rng = np.random.default_rng(seed)
    genres = np.zeros((films + 1, 6), np.int8)
    for film in range(1, films + 1):
        chosen = rng.choice(19, rng.integers(0, 7), replace=False) + 1
        genres[film, : len(chosen)] = chosen
    year = rng.integers(1950, 2020, films + 1).astype(np.int32)
    year[rng.random(films + 1) < 0.1] = 0
    given = ratings.Ratings(
        rng.integers(1, users + 1, rows),
        rng.integers(1, films + 1, rows),
        rng.integers(1, 11, rows) / 2,
        rng.integers(0, max(1, rows // 2), rows),
    )
    return given, ratings.Catalogue(year, genres)


def _residual(given, row, before, seen) -> float:
    """How far a rating is above its film's mean then, which begins with ten ratings of 3.5 stars;
    in whole parts of 256 of a star.
    """
    stars = [given.stars[r] for r in before if seen[r] and given.film[r] == given.film[row]]
    mean = math.floor(256 * (sum(stars) + 35) / (len(stars) + 10))
    return (256 * given.stars[row] - mean) / 256


def _genre_residual(given, films, row, mine, residual) -> float:
    """The same for ratings of each of the film's genres, less the user's own, in whole parts."""
    parts = []
    for genre in {int(g) for g in films.genres[given.film[row]] if g}:
        found = [
            a for r, a in zip(mine, residual, strict=True) if genre in films.genres[given.film[r]]
        ]
        rest = Fraction(sum(found)) - len(found) * Fraction(sum(residual)) / (len(residual) + 5)
        parts.append(math.floor(256 * rest / (len(found) + 10)))
    return sum(parts) / 256 / max(len(parts), 1)


def _by_definition(given, films, seen) -> list[dict]:
    """Every row for itself, from the rows before it that are seen."""
    order = sorted(range(len(given)), key=lambda row: (given.time[row], row))
    place = {row: i for i, row in enumerate(order)}
    result = []
    for row in range(len(given)):
        before = [r for r in order[: place[row]] if seen[r]]
        of_film = [given.stars[r] for r in before if given.film[r] == given.film[row]]
        mine = [r for r in before if given.user[r] == given.user[row]][-100:]
        stars = [given.stars[r] for r in mine]
        years = [films.year[given.film[r]] for r in mine if films.year[given.film[r]]]
        liked = [r for r in mine if given.stars[r] >= 3.5]
        counts: dict[int, int] = {}
        for r in liked:
            for genre in films.genres[given.film[r]]:
                counts[genre] = counts.get(genre, 0) + (1 if genre else 0)
        top = [g for g in sorted(counts, key=lambda g: (-counts[g], g)) if counts[g]]
        expected = {
            "movieRatingCount": len(of_film),
            "movieAvgRating": np.mean(of_film) if of_film else 0,
            "movieRatingStddev": np.std(of_film, ddof=1) if len(of_film) > 1 else 0,
            "userRatingCount": len(stars),
            "userAvgRating": np.mean(stars) if stars else 0,
            "userRatingStddev": np.std(stars, ddof=1) if len(stars) > 1 else 0,
            "userAvgReleaseYear": np.mean(years) if years else 0,
            "userReleaseYearStddev": np.std(years, ddof=1) if len(years) > 1 else 0,
            "releaseYear": films.year[given.film[row]],
            "label": int(given.stars[row] >= 3.5),
        }
        residual = [_residual(given, r, order[: place[r]], seen) for r in mine]
        for name, window, prior in (
            ("userResidual", 100, 5),
            ("userResidual5", 5, 2),
            ("userResidual20", 20, 3),
        ):
            last = residual[-window:]
            expected[name] = sum(last) / (len(last) + prior)
        expected["genreResidual"] = _genre_residual(given, films, row, mine, residual)
        for i in range(5):
            recent = [int(given.film[r]) for r in reversed(liked)][:5]
            expected[f"userRatedMovie{i + 1}"] = recent[i] if i < len(recent) else 0
            expected[f"userGenre{i + 1}"] = top[i] if i < len(top) else 0
        for i in range(3):
            expected[f"movieGenre{i + 1}"] = films.genres[given.film[row], i]
        result.append(expected)
    return result


@pytest.mark.parametrize(("seed", "rows", "users"), [(0, 300, 12), (1, 400, 1), (2, 250, 200)])
def test_every_column_is_what_its_definition_says(seed, rows, users):
    given, films = _drawn(seed, rows, users)
    seen = np.random.default_rng(seed).random(rows) < 0.8
    for mask in (seen, np.ones(rows, bool)):
        found = ratings.as_of(given, films, mask)
        assert list(found) == [*ratings.COLUMNS, *ratings.RESIDUALS] and len(ratings.COLUMNS) == 27
        for row, expected in enumerate(_by_definition(given, films, mask)):
            for name, value in expected.items():
                assert found[name][row] == pytest.approx(value, rel=1e-6, abs=1e-6), (row, name)


def test_no_row_knows_itself_a_later_or_an_unseen_one():
    given, films = _drawn(3, 500)
    seen = np.random.default_rng(3).random(500) < 0.7
    found = ratings.as_of(given, films, seen)
    order = given.order()
    rng = np.random.default_rng(4)
    for row in rng.choice(500, 20, replace=False):
        at = int(np.flatnonzero(order == row)[0])
        hidden = np.zeros(500, bool)
        hidden[order[at:]] = True
        hidden |= ~seen
        stars = np.where(hidden, rng.integers(1, 11, 500) / 2, given.stars)
        other = ratings.Ratings(given.user, given.film, stars, given.time)
        again = ratings.as_of(other, films, seen)
        for name in {*ratings.COLUMNS, *ratings.RESIDUALS} - {"rating", "label"}:
            assert again[name][row] == found[name][row], name


def test_the_order_of_rows_does_not_matter():
    given, films = _drawn(5, 400)
    distinct = ratings.Ratings(given.user, given.film, given.stars, np.arange(400))
    mixed = np.random.default_rng(0).permutation(400)
    other = ratings.Ratings(*(array[mixed] for array in vars(distinct).values()))
    found, again = ratings.as_of(distinct, films), ratings.as_of(other, films)
    for name, values in found.items():
        np.testing.assert_array_equal(again[name], values[mixed])


def test_blocks_of_users_change_nothing(monkeypatch):
    given, films = _drawn(6, 600)
    whole = ratings.as_of(given, films)
    monkeypatch.setattr(statistics, "_BLOCK_ROWS", 70)
    for name, values in ratings.as_of(given, films).items():
        np.testing.assert_array_equal(values, whole[name])


def test_a_service_that_is_told_one_rating_after_another_knows_the_same_bit_for_bit():
    given, films = _drawn(7, 10_000, users=60, films=200)
    offline = ratings.as_of(given, films)
    users = {user: ratings.UserState() for user in range(1, 61)}
    known = {film: ratings.FilmState() for film in range(1, 201)}
    for row in given.order():
        user, film = int(given.user[row]), int(given.film[row])
        online = users[user].columns(films) | known[film].columns()
        online["genreResidual"] = users[user].genre_residual(films, np.array([film]))[0]
        assert {*online} >= {*ratings.RESIDUALS}
        for name, value in online.items():
            assert offline[name][row] == value, (name, row)
        users[user].add(film, given.stars[row], known[film].residual(given.stars[row]))
        known[film].add(given.stars[row])


def test_the_published_figures_of_films_are_over_everything():
    given, films = _drawn(8, 300)
    found = ratings.as_of(given, films, film_totals=True)
    for row in range(0, 300, 17):
        stars = given.stars[given.film == given.film[row]]
        assert found["movieRatingCount"][row] == len(stars)
        assert found["movieAvgRating"][row] == pytest.approx(stars.mean(), rel=1e-6)
        if len(stars) > 1:
            assert found["movieRatingStddev"][row] == pytest.approx(stars.std(ddof=1), rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"user": [0, 2]}, "row 1: user 0 is no id"),
        ({"film": [1, -3]}, "row 2: film -3 is no id"),
        ({"stars": [3.0, 3.2]}, "row 2: 3.2 stars"),
        ({"stars": [np.nan, 3.0]}, "row 1: nan stars"),
        ({"time": [1]}, "several lengths"),
    ],
)
def test_what_is_no_rating_is_refused(changes, said):
    good = {"user": [1, 2], "film": [1, 2], "stars": [3.0, 4.5], "time": [5, 6]}
    with pytest.raises(BadInput, match=said):
        ratings.Ratings(**{name: np.array(v) for name, v in {**good, **changes}.items()})


def test_a_film_that_the_catalogue_lacks_is_named():
    given = ratings.Ratings(
        *(np.array([1, 2]), np.array([1, 9]), np.array([3.0, 4.0]), np.arange(2))
    )
    films = ratings.Catalogue(np.zeros(5, np.int32), np.zeros((5, 3), np.int8))
    with pytest.raises(BadInput, match="row 2: there is no film 9"):
        ratings.as_of(given, films)


def test_nothing_is_known_of_nobody():
    films = ratings.Catalogue(np.zeros(5, np.int32), np.zeros((5, 3), np.int8))
    none = ratings.Ratings(*(np.zeros(0, np.int64),) * 4)
    assert all(len(values) == 0 for values in ratings.as_of(none, films).values())
    assert set(ratings.UserState().columns(films).values()) == {0}


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_as_few_rows_as_there_may_be(rows):
    given, films = _drawn(1, rows, users=1)
    columns = ratings.as_of(given, films)
    expected = _by_definition(given, films, np.ones(rows, bool))
    for name in expected[0]:
        np.testing.assert_allclose(columns[name], [row[name] for row in expected], atol=1e-6)
