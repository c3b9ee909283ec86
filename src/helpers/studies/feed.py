"""`feed`: re-rank the posts that were delivered already, from what the reader just did.

The published system (a community app) re-ranks on the phone when a reader taps back from a post to the list. Its model
takes many integers, one a field: of the post that was clicked last and how it was read, of each candidate, and of both.
Its data is not published; here readers, posts and sessions are simulated, so that the best possible ranking is known.

A reader likes some groups of topics more than others, hidden from the model; what they do with the last post shows it.
The server delivers twenty posts in an order of its own, and whoever comes back clicks some of them, the upper ones more
often. Fields and their numbers follow the published form: 8000xx in the raw data, l (last click), f (candidate) and d
(both) in the model.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from helpers.features import MISSING, Equal, FitBuckets, FitVocabulary, Plain, column
from helpers.schema import Dimension, Schema, Tensor
from helpers.studies import Inputs, Scenario, Study

CANDIDATES = 20
GROUPS, TOPICS, AUTHORS, COMMUNITIES, POSTS = 8, 40, 2_000, 100, 20_000
WORLD_SEED = 58
"""Of posts and authors, which are the same in every data set: only readers and sessions follow the run's seed."""

SIGNALS = {
    "800001": "enter: milliseconds since the list was shown",
    "800002": "leave: milliseconds since entering",
    "800003": "like",
    "800004": "favourite",
    "800005": "comment",
    "800006": "video played",
    "800007": "images opened",
    "800008": "related posts clicked",
    "800009": "scrolled: 0 not at all, 1 down, 2 down and up",
    "800010": "scroll count",
    "800011": "share",
    "800012": "reward for the author",
    "800013": "agreed with the tag",
    "800014": "took the agreement back",
    "800015": "follow",
    "800016": "author's page opened",
    "800017": "author reported",
    "800018": "topic tapped",
    "800019": "community tapped",
    "800020": "comments liked",
    "800021": "likes of comments taken back",
    "800022": "comments exposed",
    "800023": "comment reported",
}
"""The 23 signals that the client reports of the post clicked last."""
POST = {
    "800030": "post",
    "800031": "topic",
    "800032": "author",
    "800033": "community",
    "800041": "clicks so far",
    "800042": "age in hours",
    "800043": "comments",
    "800044": "medium: 0 text, 1 images, 2 video, 3 vote",
}
"""Fields of a post, on both sides; a candidate also has its delivered position, 800045."""
POSITION = "800045"

_LAST, _CANDIDATE = "last_click", "candidate"
FEATURES = (
    FitBuckets("l300001", _LAST, "800001", 8),
    FitBuckets("l300002", _LAST, "800002", 16),
    FitBuckets("l300010", _LAST, "800010", 8),
    Plain("l300003", _LAST, "800003", 2),
    Plain("l300004", _LAST, "800004", 2),
    Plain("l300005", _LAST, "800005", 2),
    Plain("l300006", _LAST, "800006", 2),
    Plain("l300007", _LAST, "800007", 9),
    Plain("l300008", _LAST, "800008", 4),
    Plain("l300009", _LAST, "800009", 3),
    Plain("l300011", _LAST, "800011", 2),
    Plain("l300015", _LAST, "800015", 2),
    Plain("l300016", _LAST, "800016", 2),
    Plain("l300017", _LAST, "800017", 2),
    FitVocabulary("l300031", _LAST, "800031", 5, TOPICS),
    FitVocabulary("l300032", _LAST, "800032", 5, 500),
    FitVocabulary("l300033", _LAST, "800033", 5, COMMUNITIES),
    FitVocabulary("f220030", _CANDIDATE, "800030", 5, 2_000),
    FitVocabulary("f220031", _CANDIDATE, "800031", 5, TOPICS),
    FitVocabulary("f220032", _CANDIDATE, "800032", 5, 500),
    FitVocabulary("f220033", _CANDIDATE, "800033", 5, COMMUNITIES),
    FitBuckets("f220041", _CANDIDATE, "800041", 16),
    FitBuckets("f220042", _CANDIDATE, "800042", 16),
    FitBuckets("f220043", _CANDIDATE, "800043", 8),
    Plain("f220044", _CANDIDATE, "800044", 4),
    Plain("f220045", _CANDIDATE, POSITION, CANDIDATES),
    Equal("d11", "800031", "800031"),
    Equal("d12", "800032", "800032"),
    Equal("d13", "800033", "800033"),
    Equal("d14", "800018", "800031"),
)
"""What is fitted on training data and travels with the model as features.json, in the order of the model's inputs."""


def _size(feature) -> int:
    """Return the most ids that an input can have: rows of its table."""
    if isinstance(feature, FitBuckets):
        return feature.buckets + 2
    return feature.most + 2 if isinstance(feature, FitVocabulary) else feature.size("separate")


def _meaning(feature) -> str:
    meanings = {**SIGNALS, **POST, POSITION: "delivered position"}
    if not isinstance(feature, Equal):
        return meanings[feature.field]
    last_click, candidate = meanings[feature.last_click], meanings[feature.candidate]
    return f"last click's {last_click} is the candidate's {candidate}: 0 one lacks it, 1 no, 2 yes"


def _tensor(feature) -> Tensor:
    role = {_LAST: "user", _CANDIDATE: "item", "cross": "cross"}[feature.source]
    ids = Dimension(feature.name, _meaning(feature), 0, SIZES[feature.name] - 1)
    return Tensor(feature.name, role, (ids,), "int64")


SIZES = {feature.name: _size(feature) for feature in FEATURES}
"""Most ids of each input, by name: rows of its table."""
SCORE = Tensor("click", "score", (Dimension("click", "probability that the reader clicks the post"),))
SCHEMA = Schema("feed_reranking", tuple(_tensor(feature) for feature in FEATURES), SCORE)


@functools.cache
def _world() -> dict[str, np.ndarray]:
    """All posts, sorted by topic: fields by number, hidden quality, and the cumulated share of clicks."""
    rng = np.random.default_rng(WORLD_SEED)
    share = 1 / np.arange(1, TOPICS + 1) ** 0.6
    topic = np.sort(rng.choice(TOPICS, POSTS, p=share / share.sum()))
    home = rng.choice(TOPICS, AUTHORS, p=share / share.sum())  # the topic that an author writes of most
    by_home = [np.flatnonzero(home == t) for t in range(TOPICS)]
    at_home = np.array([rng.choice(by_home[t]) if len(by_home[t]) else rng.integers(AUTHORS) for t in topic])
    author = np.where(rng.random(POSTS) < 0.7, at_home, rng.integers(0, AUTHORS, POSTS))
    quality = rng.normal(0.0, 0.7, POSTS)
    clicks = np.exp(rng.normal(4.0, 1.2, POSTS) + 0.6 * quality)
    media = rng.choice(4, POSTS, p=[0.3, 0.4, 0.25, 0.05])
    popularity = np.sqrt(clicks)
    return {
        "800030": 10**15 + rng.permutation(POSTS) * 7919,  # beyond what float32 holds
        "800031": 100 + topic,
        "800032": 10**12 + author * 104_729,
        "800033": 7000 + (topic * 5 + rng.integers(0, 10, POSTS)) % COMMUNITIES,
        "800041": clicks.astype(np.int64),
        "800042": rng.geometric(0.02, POSTS),
        "800043": rng.poisson(np.exp(rng.normal(0.5, 1.0, POSTS))),
        "800044": np.where(rng.random(POSTS) < 0.05, MISSING, media),
        "topic": topic,
        "quality": quality,
        "popularity": (np.log(clicks) - 4.0) / 1.3,
        "share": np.cumsum(popularity) / popularity.sum(),
        "first": np.searchsorted(topic, np.arange(TOPICS + 1)),
    }


def draw(rng: np.random.Generator, n_rows: int) -> dict[str, np.ndarray]:
    """Sessions of twenty candidates in delivered order, as columns of raw fields ``(n_rows,) int64``.

    Columns that begin with ``_`` are hidden: what the reader likes, and what the post is.
    """
    world, sessions = _world(), -(-n_rows // CANDIDATES)
    taste = 0.9 * rng.normal(size=(sessions, GROUPS)).repeat(TOPICS // GROUPS, axis=1)
    taste += 0.6 * rng.normal(size=(sessions, TOPICS))
    last = _last_posts(rng, taste)
    liking = taste[np.arange(sessions), world["topic"][last]] + world["quality"][last]
    posts = _delivered(rng, taste, world["topic"][last])
    raw = {column(_LAST, name): value for name, value in _signals(rng, liking, last).items()}
    raw |= {column(_LAST, name): world[name][last] for name in POST}
    columns = {name: np.repeat(value, CANDIDATES) for name, value in raw.items()}
    candidates = posts.reshape(-1)
    columns |= {column(_CANDIDATE, name): world[name][candidates] for name in POST}
    position = np.tile(np.arange(CANDIDATES), sessions)
    is_sent = np.repeat(rng.random(sessions) < 0.8, CANDIDATES)  # older clients do not send it
    columns[column(_CANDIDATE, POSITION)] = np.where(is_sent, position, MISSING)
    columns["_taste"] = np.repeat(taste, CANDIDATES, axis=0)
    columns["_liking"] = np.repeat(liking, CANDIDATES)
    columns["_candidate_topic"] = world["topic"][candidates]
    columns["_candidate_quality"] = world["quality"][candidates]
    columns["_candidate_popularity"] = world["popularity"][candidates]
    columns["_candidate_position"] = position
    return {name: value[:n_rows] for name, value in columns.items()}


def _last_posts(rng: np.random.Generator, taste: np.ndarray) -> np.ndarray:
    """The post that each reader clicked last, ``(sessions,)``: the best of eight popular ones, more or less."""
    world = _world()
    seen = np.searchsorted(world["share"], rng.random((len(taste), 8)))
    liking = np.take_along_axis(taste, world["topic"][seen], axis=1) + world["quality"][seen]
    appeal = liking + rng.gumbel(size=seen.shape)
    return seen[np.arange(len(seen)), appeal.argmax(axis=1)]


def _delivered(rng: np.random.Generator, taste: np.ndarray, last_topic: np.ndarray) -> np.ndarray:
    """Posts in delivered order, ``(sessions, CANDIDATES)``, none twice: popular ones, and some of the last topic."""
    world, sessions, alike = _world(), len(taste), 8
    others = CANDIDATES - alike
    everywhere = np.searchsorted(world["share"], (rng.random((sessions, others)) + np.arange(others)) / others)
    first, end = world["first"][last_topic], world["first"][last_topic + 1]
    within = first[:, None] + (end - first)[:, None] * (rng.random((sessions, alike)) + np.arange(alike)) / alike
    posts = np.sort(np.hstack([everywhere, within.astype(np.int64)]), axis=1)
    steps = np.arange(CANDIDATES)
    posts = np.maximum.accumulate(posts - steps, axis=1) + steps  # increasing: a post that came twice makes room
    posts -= np.maximum(0, posts[:, -1:] - (POSTS - 1))
    liking = np.take_along_axis(taste, world["topic"][posts], axis=1)  # a server knows its reader a little
    order = world["popularity"][posts] + 0.3 * liking + rng.normal(0.0, 0.7, posts.shape)
    return np.take_along_axis(posts, np.argsort(-order, axis=1), axis=1)


def _signals(rng: np.random.Generator, liking: np.ndarray, last: np.ndarray) -> dict[str, np.ndarray]:
    """What the reader did with the last post, by field; what does not apply is missing."""
    world, n = _world(), len(liking)

    def yes(base: float, slope: float = 1.0) -> np.ndarray:
        return (rng.random(n) < 1 / (1 + np.exp(-(base + slope * liking)))).astype(np.int64)

    media = world["800044"][last]
    signals = {
        "800001": np.exp(rng.normal(7.5, 1.0, n)).astype(np.int64),
        "800002": np.exp(rng.normal(9.0, 0.6, n) + 0.5 * liking).astype(np.int64),
        "800003": yes(-1.5),
        "800004": yes(-2.5),
        "800005": yes(-3.0),
        "800006": np.where(media == 2, yes(1.0), MISSING),
        "800007": np.where(media == 1, rng.binomial(8, 1 / (1 + np.exp(-liking))), MISSING),
        "800008": rng.binomial(3, 0.3 / (1 + np.exp(-liking))),
        "800009": rng.choice(3, n, p=[0.2, 0.6, 0.2]),
        "800010": rng.poisson(np.exp(0.8 + 0.3 * liking)),
        "800011": yes(-3.5),
        "800012": yes(-5.0),
        "800013": yes(-2.5),
        "800014": yes(-6.0, -1.0),
        "800015": yes(-3.0, 1.2),
        "800016": yes(-2.0),
        "800017": yes(-6.0, -1.5),
        "800018": np.where(yes(-1.5) == 1, world["800031"][last], MISSING),
        "800019": np.where(yes(-2.5) == 1, world["800033"][last], MISSING),
        "800020": rng.poisson(0.2, n),
        "800021": rng.poisson(0.02, n),
        "800022": rng.poisson(3.0, n),
        "800023": yes(-6.0, -1.0),
    }
    return {name: np.where(rng.random(n) < 0.02, MISSING, value) for name, value in signals.items()}


POSITION_EFFECT = 0.08
"""Utility lost with each place further down."""


def preference(raw: Inputs) -> np.ndarray:
    """What a candidate is worth to the reader, wherever it stands, ``(n_rows,) float64``: the best order there is."""
    topic = raw["_candidate_topic"].astype(np.int64)
    taste = raw["_taste"][np.arange(len(topic)), topic]
    same = [raw[column(_LAST, field)] == raw[column(_CANDIDATE, field)] for field in ("800032", "800033")]
    closeness = 0.8 * same[0] + 0.3 * same[1]
    return 1.3 * taste + raw["_candidate_quality"] + 0.3 * raw["_candidate_popularity"] + closeness * raw["_liking"]


def utility(raw: Inputs) -> np.ndarray:
    """`preference`, less what a place further down costs, ``(n_rows,) float64``: what is clicked."""
    return preference(raw) - POSITION_EFFECT * raw["_candidate_position"]


FACTOR = 8
"""Width of the product in which reader and candidate meet."""
READER = "reader"


def without_position(raw: Inputs) -> dict[str, np.ndarray]:
    """Raw columns of a client that does not send the delivered position: what is left without it."""
    name = column(_CANDIDATE, POSITION)
    return {**raw, name: np.full(len(raw[name]), MISSING)}


def clicks(raw: Inputs) -> Callable[[np.ndarray], np.ndarray]:
    """P(click) of each post at its place in an order ``(sessions, CANDIDATES)`` of the same lists."""
    worth, scenario = preference(raw).reshape(-1, CANDIDATES), STUDY.scenario("default")

    def at(order: np.ndarray) -> np.ndarray:
        utilities = np.take_along_axis(worth, order, axis=1) - POSITION_EFFECT * np.arange(CANDIDATES)
        return scenario.probability(utilities, scenario.threshold)

    return at


def depths(rng: np.random.Generator, sessions: int) -> np.ndarray:
    """How many posts from the top each reader looks at, ``(sessions,)``: eight on average."""
    return np.minimum(CANDIDATES, rng.geometric(0.12, sessions))


def plan(floor: int) -> tuple:
    """`FEATURES` with another floor under every vocabulary, and no limit above."""
    return tuple(
        replace(feature, floor=floor, most=POSTS) if isinstance(feature, FitVocabulary) else feature
        for feature in FEATURES
    )


def build_model(hidden_units: int = 16, sizes: Mapping[str, int] | None = None):
    """A small table a field; reader and candidate meet in a hidden layer and in a product.

    It is made of two models. ``reader`` turns the last click into a vector ``(n, hidden_units + FACTOR)``, which a
    server could compute and send; the other, which has the score's name, goes on from there with what the phone has.

    Parameters
    ----------
    sizes : ids an input can have, by name; by default the most that the schema allows.
    """
    import keras

    from helpers.layers import Lookup

    sizes = sizes or SIZES

    def tables(role: str):
        names = [t.name for t in SCHEMA.inputs if t.role == role]
        inputs = {name: keras.Input((1,), name=name, dtype="int64") for name in names}
        entries = [Lookup(sizes[n], 8 if sizes[n] > 30 else 4, name=f"table_{n}")(inputs[n]) for n in names]
        return inputs, keras.layers.Concatenate(name=f"{role}_tables")(entries)

    (of_user, user), (of_item, item), (of_cross, cross) = (tables(role) for role in ("user", "item", "cross"))
    vector = keras.layers.Concatenate(name="vector")(
        [
            keras.layers.Dense(hidden_units, name="user_hidden")(user),
            keras.layers.Dense(FACTOR, name="user_factor")(user),
        ]
    )
    reader = keras.Model(of_user, vector, name=READER)

    received = keras.Input((hidden_units + FACTOR,), name=READER)
    hidden = keras.layers.Add(name="hidden_sum")(
        [
            received[:, :hidden_units],
            keras.layers.Dense(hidden_units, use_bias=False, name="item_hidden")(item),
            keras.layers.Dense(hidden_units, use_bias=False, name="cross_hidden")(cross),
        ]
    )
    product = keras.layers.Multiply(name="product")(
        [received[:, hidden_units:], keras.layers.Dense(FACTOR, name="item_factor")(item)]
    )
    joined = keras.layers.Concatenate(name="joined")([keras.layers.ReLU(name="hidden_layer")(hidden), product])
    score = keras.layers.Dense(1, activation="sigmoid", name="output")(joined)
    phone = keras.Model({READER: received, **of_item, **of_cross}, score, name=SCORE.name)

    inputs = {t.name: keras.Input((1,), name=t.name, dtype="int64") for t in SCHEMA.inputs}
    sent = reader({name: inputs[name] for name in of_user})
    whole = phone({READER: sent, **{name: inputs[name] for name in (*of_item, *of_cross)}})
    return keras.Model(list(inputs.values()), whole, name=SCHEMA.model_name)


def split(model) -> tuple[tuple[object, Schema], tuple[object, Schema]]:
    """The two halves of a trained model with their schemas: the reader's, for a server, and the phone's.

    The server computes the first once a click and sends its vector; the phone gives it to the second with every
    candidate. Scores are those of the whole model.
    """
    reader, phone = model.get_layer(READER), model.get_layer(SCORE.name)
    width = reader.output_shape[-1]
    vector = Tensor(READER, "user", tuple(Dimension(f"{READER}_{i}", "of the reader", -1e3, 1e3) for i in range(width)))
    by_role = {role: tuple(t for t in SCHEMA.inputs if t.role == role) for role in ("user", "item", "cross")}
    of_reader = Schema("feed_reader", by_role["user"], Tensor("vector", "score", vector.dimensions))
    of_phone = Schema("feed_phone", (vector, *by_role["item"], *by_role["cross"]), SCORE)
    return (reader, of_reader), (phone, of_phone)


STUDY = Study(
    name="feed",
    title="Re-ranking a feed on the phone from raw behaviour",
    schema=SCHEMA,
    scenarios={
        "sessions": Scenario(
            name="sessions",
            summary="a reader comes back from a post; twenty delivered candidates, position bias, hidden taste",
            draw=draw,
            utility=utility,
            threshold=3.0,
            noise=1.0,
            candidates=CANDIDATES,
        ),
    },
    build_model=build_model,
    features=FEATURES,
    id_field="800030",
    defaults={"rows": 400_000, "validation_rows": 20_000, "test_rows": 20_000, "batch_size": 512, "epochs": 3},
)
