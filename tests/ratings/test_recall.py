"""Candidates: what each way finds, in which order, and what it never does."""

import numpy as np
import pytest

from helpers import ratings
from helpers.ratings import recall


def _given(rows, films=40, users=60, seed=1):
    """Ratings in two circles: users of one see the lower half of the films, in runs."""
    rng = np.random.default_rng(seed)
    user = rng.integers(1, users + 1, rows)
    half = (user % 2) * (films // 2)
    film = half + rng.integers(1, films // 2 + 1, rows)
    stars = rng.integers(6, 11, rows) / 2
    genres = np.zeros((films + 1, 3), np.int8)
    genres[1:, 0] = 1 + (np.arange(films) >= films // 2)
    year = np.concatenate([[0], 1980 + np.arange(films)]).astype(np.int32)
    return ratings.Ratings(user, film, stars, np.arange(rows)), ratings.Catalogue(year, genres)


@pytest.fixture(scope="module")
def known():
    return recall.Recall.of(*_given(3000))


@pytest.mark.parametrize("way", recall.WAYS)
def test_no_way_finds_what_was_seen_or_what_nobody_rated(way):
    given, films = _given(3000)
    rows = given.film != 7
    found = recall.Recall.of(given, films, rows).found(way, [3, 4, 25], [3, 25], 100)
    assert not {0, 3, 4, 7, 25} & set(found) and len(found) == len(set(found)) > 10


def test_each_way_has_its_order(known):
    counts = known.count[known.found("popular", [], [], 10)]
    assert (np.diff(counts) <= 0).all() and counts[0] == known.count.max()
    assert (np.diff(known.mean[known.found("rating", [], [], 10)]) <= 0).all()
    assert known.found("year", [], [], 3).tolist() == [40, 39, 38]
    assert set(known.found("genre", [], [3], 15)) <= set(range(1, 21))


def test_near_films_are_those_of_the_same_circle(known):
    """Users of one circle never see the films of the other."""
    for film in (2, 30):
        circle = range(1, 21) if film <= 20 else range(21, 41)
        assert set(known.similar(film, 10)) <= set(circle) - {film}
    assert set(known.found("nearest", [30], [30], 10)) <= set(range(21, 41))


def test_vectors_are_the_factors_of_neighbours_information():
    """Against a dense decomposition: the same inner products."""
    given, films = _given(4000)
    every = np.ones(4000, bool)
    found = recall.vectors(given, films, every, size=39)
    pairs = np.zeros((41, 41))
    for user in range(1, 61):
        liked = given.film[(given.user == user) & (given.stars >= 3.5)]
        for i, one in enumerate(liked):
            for other in liked[i + 1 : i + 6]:
                pairs[one, other] += 1
                pairs[other, one] += 1
    totals = pairs.sum(axis=1)
    expected = np.outer(totals, totals**0.75 / (totals**0.75).sum())
    information = np.log(
        np.maximum(np.divide(pairs, expected, where=expected > 0, out=pairs * 0), 1)
    )
    left, strength, _ = np.linalg.svd(information)
    wanted = left[:, :39] * np.sqrt(strength[:39])
    wanted[0] = 0
    wanted /= np.maximum(np.linalg.norm(wanted, axis=1, keepdims=True), 1e-9)
    np.testing.assert_allclose(found @ found.T, wanted @ wanted.T, atol=1e-4)


def test_together_adds_up_places_and_says_whose_list_a_film_leads(known):
    """Against a loop."""
    films, ways = known.together([3], [3, 5], 30)
    assert len(films) == len(set(films)) == len(ways) == 30 and 3 not in films
    lists = {way: known.found(way, [3], [3, 5], 30).tolist() for way in recall.TOGETHER}
    worth = {
        film: sum(
            weight / (60 + lists[way].index(film) + 1)
            for way, weight in recall.TOGETHER.items()
            if film in lists[way]
        )
        for film in set().union(*lists.values())
    }
    assert np.allclose([worth[film] for film in films], sorted(worth.values(), reverse=True)[:30])
    for film, way in zip(films, ways, strict=True):
        places = {w: listed.index(film) for w, listed in lists.items() if film in listed}
        assert places[way] == min(places.values())


def test_whoever_liked_nothing_gets_films_all_the_same(known):
    assert len(known.found("nearest", [], [])) == len(known.found("genre", [], [])) == 0
    films, ways = known.together([], [], 10)
    assert len(films) == 10 and set(ways) <= {"rating", "popular", "year"}


def test_nothing_to_learn_from_is_no_error():
    given, films = _given(0)
    nothing = recall.Recall.of(given, films)
    assert not len(nothing.together([], [])[0]) and not nothing.vectors.any()
