"""Candidates: which of all films a model is asked about.

Several ways, each a list of films in its own order, best first: the most rated, the best rated, the
newest, those of the genres that a user likes, and those near to what the user liked last in a space
learnt from sequences. Together they make one list, in which films stand high that stand high in
one of them or in several. Films that the user has rated never come back.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from helpers.ratings.statistics import GENRES, LIKED, Catalogue, Ratings

WAYS = ("genre", "rating", "year", "nearest", "popular")
TOGETHER = {"nearest": 2.0, "popular": 2.0, "genre": 0.5, "rating": 0.5, "year": 0.25}
"""What a place in each way's list counts, where all make one list."""
_SOFTNESS = 60
"""A film at place r of a list gets its weight divided by r + 60: reciprocal rank fusion (Cormack,
Clarke and Buettcher, 2009)."""
MOST = 800
"""Films that are ranked."""
WINDOW = 5
"""Films liked one after the other that are neighbours, on either side (as item2vec was
published)."""
SIZE = 32
"""Dimensions of a film's vector."""
_PRIOR = 10
"""Ratings of the mean that every film begins with where films are put in order by their stars."""
_LEAST = 10
"""Users who liked a film before it has a vector: of fewer, its neighbours are chance."""
_LIKED_LAST = 20
"""Films liked last that the nearest are looked for."""


def vectors(ratings: Ratings, films: Catalogue, rows: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Vectors of films by id ``(n, size) float32``, of length 1 or 0 where nothing is known.

    Two films are near whose neighbours in the sequences of films that users liked are alike: the
    positive pointwise mutual information of neighbours, of which the largest directions are kept.
    That is what skip-gram with negative sampling (item2vec) factorises (Levy and Goldberg, 2014),
    without chance.

    Parameters
    ----------
    rows : ``(n_ratings,) bool``, what may be learnt from.
    """
    from scipy import sparse
    from scipy.sparse.linalg import svds

    order = np.lexsort((ratings.time, ratings.user))
    order = order[rows[order] & (ratings.stars[order] >= LIKED)]
    user, film = ratings.user[order], ratings.film[order]
    count = len(films.year)
    pairs = sparse.csr_matrix((count, count))
    for step in range(1, WINDOW + 1):
        same = user[step:] == user[:-step]
        first, second = film[:-step][same], film[step:][same]
        found = sparse.coo_matrix((np.ones(len(first)), (first, second)), (count, count)).tocsr()
        pairs = pairs + found + found.T
    result = np.zeros((count, size), np.float32)
    if pairs.nnz == 0:
        return result
    totals = np.asarray(pairs.sum(axis=1)).reshape(-1)
    there = pairs.tocoo()
    # smoothed contexts, as word2vec draws its negatives
    context = totals**0.75
    expected = totals[there.row] * context[there.col] / context.sum()
    information = np.log(np.maximum(there.data / expected, 1.0))
    matrix = sparse.csr_matrix((information, (there.row, there.col)), (count, count))
    wanted = min(size, count - 2)
    left, strength, _ = svds(matrix, wanted, v0=np.ones(count), solver="arpack")
    biggest = np.argsort(-strength)
    found = left[:, biggest] * np.sqrt(strength[biggest])
    found *= np.sign(found[np.abs(found).argmax(axis=0), np.arange(wanted)])  # svds leaves it open
    found[np.bincount(film, minlength=count) < _LEAST] = 0
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    result[:, :wanted] = np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 1e-9)
    return result


@dataclass(frozen=True)
class Recall:
    """What is known of films when candidates are looked for.

    Attributes
    ----------
    count : ratings of each film, by id, ``(n,) int64``.
    mean : its mean stars, drawn to that of all films where there are few, ``(n,) float64``.
    vectors : ``(n, size) float32``, see `vectors`.
    """

    films: Catalogue
    count: np.ndarray
    mean: np.ndarray
    vectors: np.ndarray

    @classmethod
    def of(cls, ratings: Ratings, films: Catalogue, rows: np.ndarray | None = None) -> Recall:
        """Learn from ratings, of which `rows` ``(n,) bool`` may be known; default all."""
        rows = np.ones(len(ratings), bool) if rows is None else rows
        size = len(films.year)
        count = np.bincount(ratings.film[rows], minlength=size)
        total = np.bincount(ratings.film[rows], ratings.stars[rows], minlength=size)
        overall = total.sum() / max(count.sum(), 1)
        mean = (total + _PRIOR * overall) / (count + _PRIOR)
        return cls(films, count, mean, vectors(ratings, films, rows))

    def found(
        self, way: str, seen: Iterable[int], liked: Sequence[int], most: int = MOST
    ) -> np.ndarray:
        """Films that one of `WAYS` finds, best first, at most `most`; none that was seen.

        Parameters
        ----------
        liked : films that the user liked, the newest first.
        """
        return self._ranked(self._scores(way, np.asarray(liked, int)), seen, most)

    def together(
        self, seen: Iterable[int], liked: Sequence[int], most: int = MOST
    ) -> tuple[np.ndarray, list[str]]:
        """Films that all ways of `TOGETHER` find, best first, and in whose list each stands
        highest.
        """
        scores, highest = np.zeros(len(self.count)), np.full(len(self.count), np.inf)
        names, by = list(TOGETHER), np.zeros(len(self.count), np.int8)
        seen = list(seen)
        for number, (way, weight) in enumerate(TOGETHER.items()):
            films = self.found(way, seen, liked, most)
            places = np.arange(1, len(films) + 1)
            scores[films] += weight / (places + _SOFTNESS)
            better = places < highest[films]
            highest[films[better]], by[films[better]] = places[better], number
        chosen = self._ranked(np.where(scores > 0, scores, -np.inf), seen, most)
        return chosen, [names[number] for number in by[chosen]]

    def similar(self, film: int, most: int = 10) -> np.ndarray:
        """Films near to one, the nearest first, without it; none where nothing is known of it."""
        return self._ranked(self._near(np.array([film])), [film], most)

    def _scores(self, way: str, liked: np.ndarray) -> np.ndarray:
        """What a way puts films in order by, ``(n,)``; -inf is not found."""
        if way == "popular":
            return self.count.astype(float)
        if way == "rating":
            return self.mean.copy()
        if way == "year":
            return self.films.year + self.mean / 100
        if way == "nearest":
            return self._near(liked[:_LIKED_LAST])
        likes = np.bincount(self.films.genres[liked].reshape(-1), minlength=len(GENRES))
        likes[0] = 0
        share = likes[self.films.genres].max(axis=1) / max(len(liked), 1)
        return np.where(share > 0, self.mean + share, -np.inf)

    def _near(self, liked: np.ndarray) -> np.ndarray:
        """Closeness to the nearest of some films; -inf where there is none."""
        known = self.vectors[liked[self._has_vector[liked]]]
        if not len(known):
            return np.full(len(self.count), -np.inf)
        near = (self.vectors @ known.T).max(axis=1).astype(float)
        near[~self._has_vector] = -np.inf
        return near

    @functools.cached_property
    def _has_vector(self) -> np.ndarray:
        return (self.vectors != 0).any(axis=1)

    def _ranked(self, scores: np.ndarray, seen: Iterable[int], most: int) -> np.ndarray:
        scores = np.where(self.count > 0, scores, -np.inf)
        scores[np.fromiter(seen, int)] = -np.inf
        most = min(most, len(scores))
        best = np.argpartition(-scores, most - 1)[:most] if most < len(scores) else None
        best = np.arange(len(scores)) if best is None else np.sort(best)
        best = best[np.argsort(-scores[best], kind="stable")]
        return best[np.isfinite(scores[best])]
