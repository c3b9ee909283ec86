"""How good whole lists are: which place the film has that a user liked next, and what is shown.

The last film that each user liked among some ratings is put in order with all films that the user
had not seen, by what was known just before it. Films nobody had shown a user count as wrong, so
that figures are low, and better for films that everybody sees: they tell lists apart, not how many
of them would have been liked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from helpers.metrics import intervals
from helpers.ratings import Catalogue, Ratings
from helpers.ratings.states import Moment
from helpers.ratings.statistics import GENRES, LIKED

_BLOCK_ROWS = 1 << 17
Scorer = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""Scores ``(n_rows,)`` or ``(n_rows, 1)`` of named inputs."""


def last_liked(ratings: Ratings, rows: np.ndarray, most: int = 1000, seed: int = 0) -> np.ndarray:
    """The last rating of each user that is among some and liked; numbers ``(n_users,)``.

    Parameters
    ----------
    rows : ``(n_ratings,) bool``.
    most : users; of more, so many by chance. A `Moment` holds what was known of all films.
    """
    order = ratings.order()
    order = order[rows[order] & (ratings.stars[order] >= LIKED)][::-1]
    last = order[np.unique(ratings.user[order], return_index=True)[1]]
    return np.random.default_rng(seed).permutation(last)[:most]


def unseen(moments: Sequence[Moment], count: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    """The films that each user had not seen, in an order of chance, ``(n_films,)`` by moment.

    Their ids often tell which are known to everybody, and would then decide between equal scores.

    Parameters
    ----------
    count : ratings that are known of each film, by id; those without are left out.
    """
    found, rng = [], np.random.default_rng(seed)
    for moment in moments:
        there = count > 0
        there[moment.record.seen] = False
        found.append(rng.permutation(np.flatnonzero(there)))
    return found


def ranked(
    moments: Sequence[Moment],
    candidates: Sequence[np.ndarray],
    films: Catalogue,
    inputs: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]],
    scorers: Mapping[str, Scorer],
) -> dict[str, list[np.ndarray]]:
    """Candidates of each moment from the highest score on, by scorer; ties keep their order.

    Parameters
    ----------
    candidates : ids of films by moment.
    inputs : named inputs of columns, see `helpers.ratings.states.columns`.
    """
    lists: dict[str, list[np.ndarray]] = {name: [] for name in scorers}
    for part in _blocks([len(listed) for listed in candidates]):
        pairs = list(zip(moments[part], candidates[part], strict=True))
        if not any(len(listed) for _, listed in pairs):
            for found in lists.values():
                found.extend(listed for _, listed in pairs)
            continue
        columns = [moment.columns(films, listed) for moment, listed in pairs]
        rows = inputs({name: np.concatenate([c[name] for c in columns]) for name in columns[0]})
        ends = np.cumsum([len(listed) for _, listed in pairs])[:-1]
        for name, score in scorers.items():
            for (_, listed), values in zip(
                pairs, np.split(np.asarray(score(rows)).reshape(-1), ends), strict=True
            ):
                lists[name].append(listed[np.argsort(-values, kind="stable")])
    return lists


def _blocks(lengths: Sequence[int]) -> Iterator[slice]:
    """Moments of about `_BLOCK_ROWS` rows together."""
    block = np.maximum(np.cumsum(lengths) - 1, 0) // _BLOCK_ROWS
    ends = np.flatnonzero(np.diff(block, append=-1)) + 1
    return (slice(start, end) for start, end in zip(np.append(0, ends), ends, strict=False))


def places(moments: Sequence[Moment], lists: Sequence[np.ndarray]) -> np.ndarray:
    """The place of the film that was liked next, from 1 on, ``(n_moments,)``; inf where it is not
    in the list.
    """
    found = (np.flatnonzero(listed == m.film) for m, listed in zip(moments, lists, strict=True))
    return np.array([place[0] + 1 if len(place) else np.inf for place in found])


def hits(places: np.ndarray, size: int) -> np.ndarray:
    """Whether the film is among the first `size`, ``(n,)``: their mean is recall, or hit rate."""
    return (places <= size).astype(float)


def ndcg(places: np.ndarray, size: int) -> np.ndarray:
    """NDCG of lists with one right film, ``(n,)``."""
    return np.where(places <= size, 1 / np.log2(places + 1), 0.0)


def liked(lists: Sequence[np.ndarray], chances: Sequence[np.ndarray], size: int = 10) -> np.ndarray:
    """Mean chance that the first `size` films of a list would be liked, ``(n,)``; NaN for an empty
    one.

    Parameters
    ----------
    chances : of every film by id, by list; a simulation knows them, see `helpers.ratings.Pack`.
    """
    pairs = zip(lists, chances, strict=True)
    return np.array([of[films[:size]].mean() if len(films) else np.nan for films, of in pairs])


def figures(by: Mapping[str, np.ndarray], size: int = 10):
    """Hit rate and NDCG of several orders, see `places`.

    Returns
    -------
    DataFrame by order: ``HR`` and ``NDCG`` with the ends of their 95 % intervals (``HR low``, ...)
    over users, and the median place, inf where most films are not found.
    """
    import pandas as pd

    table = {}
    for name, found in by.items():
        row = {}
        for figure, values in (("HR", hits(found, size)), ("NDCG", ndcg(found, size))):
            low, high = intervals.share_interval(values, np.arange(len(values)))
            row |= {figure: values.mean(), f"{figure} low": low, f"{figure} high": high}
        table[name] = row | {"median place": np.median(found)}
    return pd.DataFrame(table).T


def shown(
    lists: Mapping[str, Sequence[np.ndarray]], films: Catalogue, count: np.ndarray, size: int = 10
):
    """What the first `size` films of lists are like.

    Returns
    -------
    DataFrame by list: ``diversity`` (of two films' genres the share that only one has, Jaccard's
    distance, mean over pairs and lists; films without genres do not count), ``ratings`` (of the
    films shown, median), ``most rated`` (share of the shown that are among the tenth of films with
    most ratings), ``coverage`` (share of all rated films that anybody is shown).
    """
    import pandas as pd

    rated = np.flatnonzero(count > 0)
    top = set(rated[np.argsort(-count[rated], kind="stable")][: -(-len(rated) // 10)].tolist())
    table = {}
    for name, every in lists.items():
        first = [listed[:size] for listed in every]
        together = np.concatenate([np.zeros(0, int), *first])
        table[name] = {
            "diversity": _mean([_diversity(films.genres[listed]) for listed in first]),
            "ratings": np.median(count[together]) if len(together) else np.nan,
            "most rated": _mean([film in top for film in together.tolist()]),
            "coverage": len(set(together.tolist())) / max(len(rated), 1),
        }
    return pd.DataFrame(table).T


def _mean(values: Sequence[float]) -> float:
    """Of those that are defined; NaN of none."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _diversity(genres: np.ndarray) -> float:
    """Mean Jaccard's distance of the genres of two films of some ``(n, most)`` that have any; NaN
    of fewer than two.
    """
    genres = genres[genres.any(axis=1)]
    if len(genres) < 2:
        return float("nan")
    has = np.zeros((len(genres), len(GENRES)), int)
    np.put_along_axis(has, genres.astype(int), 1, axis=1)
    has[:, 0] = 0
    both = has @ has.T
    either = has.sum(axis=1)[:, None] + has.sum(axis=1) - both
    pairs = np.triu_indices(len(genres), 1)
    return float(np.mean(1 - both[pairs] / either[pairs]))
