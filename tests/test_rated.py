"""Rows of ratings: which split each is in, what it may know, and which ids it has."""

import json
import shutil

import numpy as np
import pytest

from helpers import datasets, files, rated, ratings, registry
from helpers.errors import BadInput

SIZES = {"rows": 3000, "validation_rows": 400, "test_rows": 800}


@pytest.fixture(scope="module")
def movies():
    return registry.get("movies")


@pytest.fixture
def raw(home):
    folder = files.home() / "data/movies/raw"
    folder.mkdir(parents=True)
    return folder


def _pack(folder, users=30, each=40):
    """A pack of MovieLens' newest form."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    lines, second = ["userId,movieId,rating,timestamp"], 1_000_000
    for user in range(1, users + 1):
        for film in rng.choice(80, each, replace=False) + 1:
            second += int(rng.integers(0, 500))
            lines.append(f"{user},{film},{rng.integers(1, 11) / 2},{second}")
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")
    films = [f'{film},"Film, {film} (19{film + 10})",Drama|War' for film in range(1, 81)]
    (folder / "movies.csv").write_text("\n".join(["movieId,title,genres", *films]) + "\n")
    return folder


def _places(movies, name, seed=1):
    source = movies.source(name)
    given = rated.read(movies, source, 0, seed).ratings
    return given, rated.split_of(given, source, dict.fromkeys(datasets.SPLITS, 0), seed)


def test_by_time_every_test_rating_is_later_than_every_other(movies, raw):
    _pack(raw)
    given, split = _places(movies, "movielens")
    assert given.time[split == 0].max() <= given.time[split == 1].min()
    assert given.time[split == 1].max() <= given.time[split == 2].min()
    assert [(split == i).sum() for i in range(3)] == [840, 120, 240]


def test_by_user_nobody_is_in_two_splits(movies, raw):
    _pack(raw)
    given, split = _places(movies, "movielens_by_user")
    users = [set(given.user[split == i]) for i in range(3)]
    assert sum(map(len, users)) == 30 and all(users)
    assert (split == 2).sum() <= 240 and (split == 1).sum() <= 120


def test_by_chance_the_shares_are_those_and_another_seed_is_another_split(movies, raw):
    _pack(raw)
    _, split = _places(movies, "movielens_by_chance")
    _, other = _places(movies, "movielens_by_chance", seed=2)
    assert [(split == i).sum() for i in range(3)] == [840, 120, 240] and (split != other).any()


@pytest.mark.parametrize("source", ["movielens", "movielens_by_user", "movielens_by_chance"])
def test_no_training_row_moves_with_a_rating_of_another_split(movies, raw, source):
    """Other stars in the validation and test split: training rows stay the same bytes, and
    validation rows where those of the test alone are others.
    """
    folder = _pack(raw)
    all_rows = dict.fromkeys(SIZES, 0)
    given, split = _places(movies, source, seed=3)
    before = datasets.make(movies, source, seed=3, **all_rows)
    lines = (folder / "ratings.csv").read_text().splitlines()
    for row in np.flatnonzero(split == 2):
        cells = lines[row + 1].split(",")
        lines[row + 1] = ",".join([*cells[:2], str(5.5 - float(cells[2])), cells[3]])
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")
    after = datasets.make(movies, source, seed=3, **all_rows)
    digests = [
        {name: [part["sha256"] for part in parts] for name, parts in data.manifest["parts"].items()}
        for data in (before, after)
    ]
    assert digests[0]["train"] == digests[1]["train"]
    assert digests[0]["validation"] == digests[1]["validation"]
    assert digests[0]["test"] != digests[1]["test"]


def test_the_published_figures_know_the_test(movies, raw):
    _pack(raw)
    data = datasets.make(movies, "movielens_as_published", seed=1, **dict.fromkeys(SIZES, 0))
    found = np.unique(data.read("train")["item_movieAvgRating"])
    given = rated.read(movies, movies.source("movielens_as_published"), 0, 1).ratings
    counts = np.bincount(given.film)
    means = np.bincount(given.film, given.stars)[counts > 0] / counts[counts > 0]
    assert np.abs(found[:, None] - means).min(axis=1).max() < 1e-6


def test_rows_are_of_the_sizes_and_the_same_bytes_again(movies):
    first = datasets.make(movies, "simulated", seed=5, **SIZES)
    assert [first.rows(split) for split in datasets.SPLITS] == [*SIZES.values()]
    parts = [part["sha256"] for parts in first.manifest["parts"].values() for part in parts]
    shutil.rmtree(files.home() / "data/movies")
    again = datasets.make(movies, "simulated", seed=5, **SIZES)
    assert parts == [p["sha256"] for ps in again.manifest["parts"].values() for p in ps]


def test_whoever_is_not_known_yet_has_the_id_0(movies):
    data = datasets.make(movies, "simulated", seed=5, **SIZES)
    known = json.loads(json.dumps(data.manifest["known"]))
    rows = data.read("test")
    new = rows["item_movieRatingCount"] < rated.KNOWN_RATINGS
    assert (rows["item_movieId"][new] == 0).all() and (rows["item_movieId"][~new] > 0).any()
    assert rows["item_movieId"].max() <= len(known["film"])
    assert (rows["user_userId"] == 0).any(), "users that no training row has"


def test_ids_are_the_most_rated_first():
    given = ratings.Ratings(
        np.array([7, 7, 7, 3, 3, 9]), np.array([1, 2, 3, 1, 2, 1]), np.full(6, 3.0), np.arange(6)
    )
    ids = ratings.Ids.of(given, np.arange(6) < 5, 2, 10, 1)
    assert ids.users.tolist() == [7, 3] and ids.films.tolist() == [1]
    assert ids.user(np.array([3, 9, 7, 0])).tolist() == [2, 0, 1, 0]
    assert ids.film(np.array([[1], [2]])).tolist() == [[1], [0]]


def test_no_pack_and_several_packs_are_told(movies, raw):
    source = movies.source("movielens")
    with pytest.raises(BadInput, match=r"no MovieLens pack in .*`make movielens` brings one"):
        rated.found(movies, source)
    _pack(raw / "ml-one")
    assert rated.found(movies, source)[0] == raw / "ml-one/ratings.csv"
    _pack(raw / "ml-two")
    with pytest.raises(BadInput, match=r"several MovieLens packs .*ml-one.*ml-two"):
        rated.found(movies, source)


def test_the_ratings_behind_a_data_set_are_those_it_was_made_of(movies, raw):
    """A pack that was cut since then would give another test split, with rows that were learnt."""
    _pack(raw)
    sizes = dict.fromkeys(SIZES, 0)
    data = datasets.make(movies, "movielens", seed=1, **sizes)
    behind = rated.behind(movies, data.manifest)
    assert [(behind.split() == i).sum() for i in range(3)] == list(data.manifest["rows"].values())
    lines = (raw / "ratings.csv").read_text().splitlines()
    (raw / "ratings.csv").write_text("\n".join(lines[:-5]) + "\n")
    with pytest.raises(BadInput, match="others than those that this data set was made of"):
        rated.behind(movies, data.manifest).split()
    earlier = {name: value for name, value in data.manifest.items() if name != "ratings"}
    with pytest.raises(BadInput, match="made by an earlier version: run notebook 01 again"):
        rated.behind(movies, earlier)
    with pytest.raises(BadInput, match="the rows of ranking are no ratings"):
        ranking = registry.get("ranking")
        rated.behind(ranking, {"parameters": {"source": "simple"}})
