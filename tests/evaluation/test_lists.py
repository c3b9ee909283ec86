"""Whole lists: the place of the next film, and what else is shown."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import ndcg_score

from helpers import ratings
from helpers.evaluation import lists
from helpers.ratings import states
from helpers.studies.movies import world


@pytest.fixture(scope="module")
def pack():
    """Users with more ratings than count, and several ratings in one second."""
    drawn = world.draw(np.random.default_rng(5), 12_000)
    given = drawn.ratings
    user = np.where(given.user > 6, given.user, 1 + np.arange(12_000) % 2)
    _, first = np.unique(np.stack([user, given.film]), axis=1, return_index=True)
    rows = np.sort(first)
    rows = rows[user[rows] < 40]
    parts = user[rows], given.film[rows], given.stars[rows], given.time[rows] // 120
    return replace(drawn, ratings=ratings.Ratings(*parts))


@pytest.fixture(scope="module")
def moments(pack):
    rows = lists.last_liked(pack.ratings, np.arange(len(pack.ratings)) % 3 > 0)
    return list(states.before(pack.ratings, pack.films, rows))


def test_the_last_liked_rating_of_each_user(pack):
    given, rows = pack.ratings, np.arange(len(pack.ratings)) % 3 > 0
    wanted = {}
    for row in given.order():
        if rows[row] and given.stars[row] >= 3.5:
            wanted[given.user[row]] = row
    assert sorted(lists.last_liked(given, rows)) == sorted(wanted.values())
    few = lists.last_liked(given, rows, most=7)
    assert len(set(few)) == 7 and set(few) < set(wanted.values())
    assert not len(lists.last_liked(given, np.zeros(len(given), bool)))


def test_what_is_known_of_a_moment_is_what_its_row_knows(pack, moments):
    """Bit for bit what all rows at once give, and the films that the user had seen until then."""
    offline = ratings.as_of(pack.ratings, pack.films)
    order = pack.ratings.order().tolist()
    assert len(moments) > 20
    assert max(len(m.record.seen) for m in moments) > 120, "more than count"
    for moment in moments:
        columns = moment.columns(pack.films, np.array([moment.film]))
        for name, values in columns.items():
            wanted = offline[name][moment.row]
            assert values.astype(wanted.dtype)[0] == wanted, name
        past = order[: order.index(moment.row)]
        seen = [pack.ratings.film[row] for row in past if pack.ratings.user[row] == moment.user]
        assert moment.record.seen.tolist() == seen and moment.film not in seen


def test_the_chance_of_every_film_holds_that_of_the_rating():
    drawn = world.draw(np.random.default_rng(5), 3000)
    for row in range(0, 3000, 50):
        chances = drawn.chances(row)
        assert len(chances) == len(drawn.films.year) and chances[0] == 0
        assert chances[drawn.ratings.film[row]] == drawn.chance[row]


def test_nobody_is_shown_what_was_seen_or_never_rated(moments):
    count = np.ones(len(moments[0].sums), int)
    count[[0, 7]] = 0
    for moment, films in zip(moments, lists.unseen(moments, count), strict=True):
        assert not set(films) & {0, 7, *moment.record.seen}
        assert len(films) == len(count) - len({0, 7, *moment.record.seen})


@pytest.mark.parametrize("block", [1, 100, 10**6])
def test_lists_are_in_the_order_of_their_scores(pack, moments, monkeypatch, block):
    """However many users are scored together, one by one gives the same; ties keep their order."""
    monkeypatch.setattr(lists, "_BLOCK_ROWS", block)
    few = moments[:5]
    candidates = [np.arange(1, 20 + 7 * i) for i in range(5)]

    def score(columns):
        return np.round(columns["movieAvgRating"] + columns["genreResidual"], 1)[:, None]

    found = lists.ranked(few, candidates, pack.films, lambda columns: columns, {"it": score})
    for moment, listed, ordered in zip(few, candidates, found["it"], strict=True):
        values = score(moment.columns(pack.films, listed))[:, 0]
        assert ordered.tolist() == sorted(listed, key=lambda f: (-values[f - 1], f))


def test_places_hits_and_ndcg(moments):
    few = moments[:3]
    orders = [np.array([few[0].film, 900]), np.arange(901, 920), np.array([900, 901, few[2].film])]
    places = lists.places(few, orders)
    assert places.tolist() == [1, np.inf, 3]
    assert lists.hits(places, 2).tolist() == [1, 0, 0]
    right, scores = np.eye(12)[4], -np.arange(12.0)
    assert lists.ndcg(np.array([5.0]), 10) == pytest.approx(ndcg_score([right], [scores], k=10))
    assert lists.ndcg(np.array([11.0, np.inf]), 10).tolist() == [0, 0]


def test_figures_have_intervals_over_users():
    hit = np.arange(200) % 4 == 0
    table = lists.figures({"a": np.where(hit, 1.0, np.inf), "b": np.full(200, np.inf)})
    assert table.loc["a", "HR"] == table.loc["a", "NDCG"] == 0.25
    wilson = binomtest(50, 200).proportion_ci(method="wilson")
    assert table.loc["a", ["HR low", "HR high"]].tolist() == pytest.approx(
        [wilson.low, wilson.high], abs=2e-3
    )
    assert table.loc["b", ["HR", "HR low"]].tolist() == pytest.approx([0, 0], abs=1e-12)
    assert 0.01 < table.loc["b", "HR high"] < 0.03, "no hit in 200 is no proof of none"


def test_what_is_shown():
    genres = np.array([[0, 0, 0], [1, 2, 0], [1, 2, 0], [3, 0, 0], [1, 4, 5]], np.int8)
    films = ratings.Catalogue(np.zeros(5, np.int32), genres)
    count = np.array([0, 100, 9, 8, 7])
    several = [np.array([1, 3, 4]), np.array([1, 2])]
    table = lists.shown({"two": several, "none": [np.array([], int), np.array([1])]}, films, count)
    pairs = 1, 1 - 1 / 4, 1
    assert table.loc["two", "diversity"] == pytest.approx((np.mean(pairs) + 0) / 2)
    assert table.loc["two", "coverage"] == 1 and table.loc["none", "coverage"] == 0.25
    assert table.loc["two", "ratings"] == 9
    assert table.loc["two", "most rated"] == 2 / 5 and table.loc["none", "most rated"] == 1
    assert np.isnan(table.loc["none", "diversity"])
    nothing = ratings.Catalogue(films.year, np.zeros_like(genres))
    assert np.isnan(lists.shown({"two": several}, nothing, count).loc["two", "diversity"])
    assert lists.shown({"empty": []}, films, count).loc["empty", "coverage"] == 0


def test_no_moments_and_no_candidates_are_no_error(pack, moments):
    scorers = {"it": lambda rows: np.zeros(len(rows["movieId"]))}

    def ranked(few, candidates):
        return lists.ranked(few, candidates, pack.films, lambda columns: columns, scorers)["it"]

    none = np.array([], int)
    assert ranked([], []) == []
    assert [len(f) for f in ranked(moments[:3], [none, np.array([3, 4]), none])] == [0, 2, 0]
    assert [len(f) for f in ranked(moments[:2], [none, none])] == [0, 0]


def test_equal_scores_are_in_an_order_of_chance(moments):
    """Ids would tell which films are known to everybody."""
    count = np.ones(len(moments[0].sums), int)
    found = lists.unseen(moments, count)
    assert all((np.diff(films) < 0).mean() > 0.3 for films in found)
    assert all((a == b).all() for a, b in zip(found, lists.unseen(moments, count), strict=True))


def test_what_would_be_liked():
    chances = [np.array([0, 0.2, 0.4, 0.9])] * 2
    found = lists.liked([np.array([3, 1, 2]), np.array([], int)], chances, size=2)
    assert found[0] == pytest.approx(0.55) and np.isnan(found[1])
