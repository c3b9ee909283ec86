"""Online features are the offline ones, in any store, and a rating is whole or not there."""

import threading

import numpy as np
import pytest
from redis_process import redis_server

from helpers import ratings
from helpers.errors import BadInput
from helpers.ratings import states
from helpers.ratings.statistics import COLUMNS, RESIDUALS
from helpers.serving import stores
from helpers.serving.features import Features
from helpers.studies.movies import inputs, world

KNOWN_BEFORE = [
    name for name in (*COLUMNS, *RESIDUALS) if name not in ("rating", "timestamp", "label")
]


@pytest.fixture(scope="module")
def redis_socket(tmp_path_factory):
    """A Redis of the module's own, behind a socket file."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server.socket


@pytest.fixture(params=["sqlite", "redis"])
def store(request, tmp_path):
    if request.param == "sqlite":
        opened = stores.opened("sqlite", tmp_path / "features.sqlite")
    else:
        opened = stores.opened(f"unix://{request.getfixturevalue('redis_socket')}", tmp_path)
        opened._client.flushall()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def pack():
    return world.draw(np.random.default_rng(4), 10_000)


def _features(store, pack) -> Features:
    there = np.arange(len(pack.films.year)) > 0
    ids = ratings.Ids.of(pack.ratings, np.arange(len(pack.ratings)) < 6000, 5, 100, 200)
    return Features(store, pack.films, there, ids, inputs.of_columns)


@pytest.mark.slow
def test_ten_thousand_ratings_one_by_one_give_the_columns_of_all_at_once(tmp_path, pack):
    """Each rating through the service's own function, features read before it: bit for bit what
    the training rows have, and so are the inputs made of them.
    """
    features = _features(stores.SQLite(tmp_path / "features.sqlite"), pack)
    given = pack.ratings
    order = given.order()
    found = []
    for row in order:
        user, film = int(given.user[row]), int(given.film[row])
        found.append(features.columns(user, features.user(user), np.array([film])))
        features.rate(user, film, float(given.stars[row]))
    offline = ratings.as_of(given, pack.films)
    online = {name: np.concatenate([each[name] for each in found]) for name in KNOWN_BEFORE}
    for name in KNOWN_BEFORE:
        wanted = offline[name][order]
        np.testing.assert_array_equal(online[name].astype(wanted.dtype), wanted, name)
    encoded = [inputs.of_columns(each, features.ids) for each in found]
    for name, wanted in inputs.of_columns(offline, features.ids).items():
        got = np.concatenate([each[name] for each in encoded])
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted[order], name)
    kept = dict(features.store._connection().execute("SELECT key, content FROM features"))
    filled = {f"uf:{user}": content for user, content in states.users_after(given)}
    filled |= {f"mf:{film}": content for film, content in states.films_after(given)}
    assert kept == filled, "all ratings at once leave the same bytes"


def test_every_store_keeps_the_same(store, pack):
    features = _features(store, pack)
    given = pack.ratings
    rows = given.order()[:300]
    for row in rows:
        features.rate(int(given.user[row]), int(given.film[row]), float(given.stars[row]))
    part = ratings.Ratings(given.user[rows], given.film[rows], given.stars[rows], given.time[rows])
    wanted = {f"uf:{user}": content for user, content in states.users_after(part)}
    wanted |= {f"mf:{film}": content for film, content in states.films_after(part)}
    assert store.get([*wanted, "uf:999999"]) == [*wanted.values(), None]


def test_a_filled_store_says_of_what_and_answers_for_all(store, pack):
    features = _features(store, pack)
    assert features.filled() is None
    features.fill(pack.ratings, "abc")
    assert features.filled() == "abc"
    counts = np.bincount(pack.ratings.film, minlength=len(pack.films.year))
    every = np.arange(1, len(pack.films.year))
    assert (features.film_sums(every)[:, 0] == counts[1:]).all()


def test_films_seen_long_ago_are_kept(store, pack):
    features = _features(store, pack)
    films = np.arange(1, len(pack.films.year))
    assert len(films) > 120
    for film in films.tolist():
        features.rate(1, film, 3.0)
    kept = features.user(1)
    assert len(kept.state.last) == 100 and set(kept.seen) == set(films.tolist())
    features.rate(1, 1, 5.0)
    assert len(features.user(1).seen) == len(films), "a film rated again is one film"


def test_ratings_at_once_all_count(store, pack):
    """Eight threads rate one film: none of them is lost."""
    features = _features(store, pack)

    def rate(first: int) -> None:
        for user in range(first, first + 10):
            features.rate(user, 5, 4.0)

    threads = [threading.Thread(target=rate, args=(1 + 10 * i,)) for i in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert features.film_sums(np.array([5])).tolist() == [[80, 640, 5120]]


def test_many_users_and_films_by_row(store, pack):
    features = _features(store, pack)
    features.fill(pack.ratings, "abc")
    users, films = np.array([3, 1, 3, 70_000, 1]), np.array([4, 4, 9, 2, 7])
    rows = features.pairs(users, films)
    for place, (user, film) in enumerate(zip(users.tolist(), films, strict=True)):
        alone = features.rows(user, features.user(user), np.array([film]))
        for name, values in alone.items():
            np.testing.assert_array_equal(rows[name][place], values[0], name)


@pytest.mark.parametrize(
    ("rating", "said"),
    [
        ((0, 1, 3.0), "user 0: ids are from 1"),
        ((2**31, 1, 3.0), "ids are from 1 to 2147483647"),
        ((1, 0, 3.0), "no film 0"),
        ((1, 10**12, 3.0), "no film"),
        ((1, -1, 3.0), "no film -1"),
        ((1, 1, 3.2), "3.2 stars"),
        ((1, 1, 0.0), "0.0 stars"),
        ((1, 1, float("nan")), "nan stars"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(store, pack, rating, said):
    features = _features(store, pack)
    with pytest.raises(BadInput, match=said):
        features.rate(*rating)
    assert store.get(["uf:0", "uf:1", "mf:0", "mf:1"]) == [None] * 4


def test_an_error_within_a_change_leaves_the_store_as_it_was(store):
    store.put([("a", b"1")])
    with pytest.raises(ZeroDivisionError):
        store.change(["a", "b"], lambda contents: {"a": b"2", "b": 1 / 0})
    assert store.get(["a", "b"]) == [b"1", None]


def test_a_store_that_is_down_says_so(tmp_path):
    pytest.importorskip("redis", reason="the Redis client is not installed")
    store = stores.opened(f"unix://{tmp_path / 'nothing'}", tmp_path)
    for _ in range(2):
        with pytest.raises(stores.Unavailable, match="Redis"):
            store.get(["a"])
    with pytest.raises(BadInput, match="sqlite or at a redis://"):
        stores.opened("memcached://x", tmp_path)


def test_a_second_rating_of_a_film_takes_the_place_of_the_first(store, pack):
    """As if the first had never been given: by the user's record and the film's sums."""
    features, given = _features(store, pack), pack.ratings
    for row in given.order()[:200]:
        features.rate(int(given.user[row]), int(given.film[row]), float(given.stars[row]))
    user, film = int(given.user[given.order()[50]]), int(given.film[given.order()[50]])
    seen, count = len(features.user(user).seen), features.film_sums(np.array([film]))[0, 0]
    for stars in (0.5, 5.0, 2.5):
        features.rate(user, film, stars)
    found = features.user(user)
    assert len(found.seen) == len(set(found.seen.tolist())) == seen
    assert len(found.state.last) == seen and found.state.last[-1][:2] == (film, 5)
    others = [r for r in given.order()[:200] if given.film[r] == film and given.user[r] != user]
    halves = [int(2 * given.stars[r]) for r in others] + [5]
    wanted = [len(halves), sum(halves), sum(h * h for h in halves)]
    assert features.film_sums(np.array([film]))[0].tolist() == wanted and wanted[0] == count
