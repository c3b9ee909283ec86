"""The simulated app: posts and authors, readers' sessions, what readers prefer and what they click.

Posts and authors are the same in every data set; readers and sessions follow the run's seed. Taste,
quality and so the best possible order are known here, and hidden from the model.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from helpers.features import MISSING, column
from helpers.studies import Inputs, Simulated
from helpers.studies.feed.fields import (
    CANDIDATE,
    CANDIDATES,
    COMMUNITIES,
    LAST_CLICK,
    POSITION,
    POST,
    POSTS,
    TOPICS,
)

GROUPS, AUTHORS = 8, 2_000
WORLD_SEED = 58
"""Of posts and authors."""
POSITION_EFFECT = 0.08
"""Utility lost with each place further down."""


def draw(rng: np.random.Generator, n_rows: int) -> dict[str, np.ndarray]:
    """Draw sessions of twenty candidates in delivered order, as raw columns ``(n_rows,) int64``.

    Columns that begin with ``_`` are hidden: what the reader likes, and what the post is.
    """
    world, sessions = _world(), -(-n_rows // CANDIDATES)
    taste = 0.9 * rng.normal(size=(sessions, GROUPS)).repeat(TOPICS // GROUPS, axis=1)
    taste += 0.6 * rng.normal(size=(sessions, TOPICS))
    last = _last_posts(rng, taste)
    liking = taste[np.arange(sessions), world["topic"][last]] + world["quality"][last]
    posts = _delivered(rng, taste, world["topic"][last])
    raw = {column(LAST_CLICK, name): value for name, value in _signals(rng, liking, last).items()}
    raw |= {column(LAST_CLICK, name): world[name][last] for name in POST}
    columns = {name: np.repeat(value, CANDIDATES) for name, value in raw.items()}
    candidates = posts.reshape(-1)
    columns |= {column(CANDIDATE, name): world[name][candidates] for name in POST}
    position = np.tile(np.arange(CANDIDATES), sessions)
    is_sent = np.repeat(rng.random(sessions) < 0.8, CANDIDATES)  # older clients do not send it
    columns[column(CANDIDATE, POSITION)] = np.where(is_sent, position, MISSING)
    columns["_taste"] = np.repeat(taste, CANDIDATES, axis=0)
    columns["_liking"] = np.repeat(liking, CANDIDATES)
    columns["_candidate_topic"] = world["topic"][candidates]
    columns["_candidate_quality"] = world["quality"][candidates]
    columns["_candidate_popularity"] = world["popularity"][candidates]
    columns["_candidate_position"] = position
    return {name: value[:n_rows] for name, value in columns.items()}


def preference(raw: Inputs) -> np.ndarray:
    """Return what a candidate is worth to the reader, wherever it stands, ``(n_rows,) float64``.

    No order is better than by this.
    """

    def same(field: str) -> np.ndarray:
        return raw[column(LAST_CLICK, field)] == raw[column(CANDIDATE, field)]

    topic = raw["_candidate_topic"].astype(np.int64)
    taste = raw["_taste"][np.arange(len(topic)), topic]
    closeness = 0.8 * same("800032") + 0.3 * same("800033")  # of author and community
    worth = 1.3 * taste + raw["_candidate_quality"] + 0.3 * raw["_candidate_popularity"]
    return worth + closeness * raw["_liking"]


def utility(raw: Inputs) -> np.ndarray:
    """Return `preference` less what a place further down costs, ``(n_rows,) float64``."""
    return preference(raw) - POSITION_EFFECT * raw["_candidate_position"]


def without_position(raw: Inputs) -> dict[str, np.ndarray]:
    """Return the raw columns of a client that does not send the delivered position."""
    name = column(CANDIDATE, POSITION)
    return {**raw, name: np.full(len(raw[name]), MISSING)}


def clicks(raw: Inputs) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that gives P(click) at each place of the lists for an order of them.

    It takes the candidates' numbers from the top down and returns probabilities, both
    ``(sessions, CANDIDATES)``.
    """
    worth = preference(raw).reshape(-1, CANDIDATES)
    cost = POSITION_EFFECT * np.arange(CANDIDATES)

    def probability(order: np.ndarray) -> np.ndarray:
        utilities = np.take_along_axis(worth, order, axis=1) - cost
        return SESSIONS.probability(utilities, SESSIONS.threshold)

    return probability


def depths(rng: np.random.Generator, sessions: int) -> np.ndarray:
    """Draw how many posts from the top each reader looks at, ``(sessions,)``: eight on average."""
    return np.minimum(CANDIDATES, rng.geometric(0.12, sessions))


@functools.cache
def _world() -> dict[str, np.ndarray]:
    """Draw all posts, sorted by topic: raw fields by number, and what only the simulation knows.

    Each is ``(POSTS,)``; ``share``, of the clicks, is cumulated. The posts of topic t go from
    ``first[t]`` to before ``first[t + 1]``.
    """
    rng = np.random.default_rng(WORLD_SEED)
    share = 1 / np.arange(1, TOPICS + 1) ** 0.6
    share /= share.sum()
    topic = np.sort(rng.choice(TOPICS, POSTS, p=share))
    home = rng.choice(TOPICS, AUTHORS, p=share)  # the topic that an author writes of most
    homes = [np.flatnonzero(home == t) for t in range(TOPICS)]
    at_home = [rng.choice(homes[t]) if len(homes[t]) else rng.integers(AUTHORS) for t in topic]
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


def _last_posts(rng: np.random.Generator, taste: np.ndarray) -> np.ndarray:
    """Draw the post that each reader clicked last, ``(sessions,)``.

    It is the best of eight popular ones, more or less.
    """
    world = _world()
    seen = np.searchsorted(world["share"], rng.random((len(taste), 8)))
    liking = np.take_along_axis(taste, world["topic"][seen], axis=1) + world["quality"][seen]
    appeal = liking + rng.gumbel(size=seen.shape)
    return seen[np.arange(len(seen)), appeal.argmax(axis=1)]


def _delivered(rng: np.random.Generator, taste: np.ndarray, last_topic: np.ndarray) -> np.ndarray:
    """Draw posts in delivered order, ``(sessions, CANDIDATES)``, none twice.

    They are popular ones, and some of the last topic.
    """
    world, sessions, alike = _world(), len(taste), 8
    others = CANDIDATES - alike

    def places(n: int) -> np.ndarray:
        return rng.random((sessions, n)) + np.arange(n)  # one from each of n equal parts

    everywhere = np.searchsorted(world["share"], places(others) / others)
    first, end = world["first"][last_topic], world["first"][last_topic + 1]
    within = first[:, None] + (end - first)[:, None] * places(alike) / alike
    posts = np.sort(np.hstack([everywhere, within.astype(np.int64)]), axis=1)
    steps = np.arange(CANDIDATES)
    # increasing: a post that came twice makes room
    posts = np.maximum.accumulate(posts - steps, axis=1) + steps
    posts -= np.maximum(0, posts[:, -1:] - (POSTS - 1))
    # a server knows its reader a little
    liking = np.take_along_axis(taste, world["topic"][posts], axis=1)
    order = world["popularity"][posts] + 0.3 * liking + rng.normal(0.0, 0.7, posts.shape)
    return np.take_along_axis(posts, np.argsort(-order, axis=1), axis=1)


def _signals(
    rng: np.random.Generator,
    liking: np.ndarray,
    last: np.ndarray,
) -> dict[str, np.ndarray]:
    """Draw what readers did with the last post, by field, ``(sessions,)``.

    What does not apply is missing.
    """
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


SESSIONS = Simulated(
    name="sessions",
    summary=(
        "a reader comes back from a post; twenty delivered candidates, position bias, hidden taste"
    ),
    draw=draw,
    utility=utility,
    threshold=3.0,
    noise=1.0,
    candidates=CANDIDATES,
)
