"""Ids of users and films in a model's tables: those that are known, the most rated first."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from helpers.ratings.statistics import Ratings


@dataclass(frozen=True)
class Ids:
    """Users and films by their place in a model's tables, from 1 on; 0 is of those unknown.

    Attributes
    ----------
    users, films : ids of ratings, ``(n,) int64``, that of place 1 first.
    least : ratings that must be known of a user or a film before it has a place.
    """

    users: np.ndarray
    films: np.ndarray
    least: int = 1

    @classmethod
    def of(
        cls, ratings: Ratings, rows: np.ndarray, least: int, most_users: int, most_films: int
    ) -> Ids:
        """The most rated of some rows ``(n,) bool``, of which there are `least` ratings."""

        def ranked(ids: np.ndarray, most: int) -> np.ndarray:
            there, counts = np.unique(ids[rows], return_counts=True)
            order = np.argsort(-counts, kind="stable")[:most]
            return there[order[counts[order] >= least]].astype(np.int64)

        return cls(ranked(ratings.user, most_users), ranked(ratings.film, most_films), least)

    def user(self, ids: np.ndarray) -> np.ndarray:
        """Places of users, ``int32``; 0 where one is not known."""
        return _places(*self._sorted_users, ids)

    def film(self, ids: np.ndarray) -> np.ndarray:
        """Places of films, ``int32``; 0 where one is not known."""
        return _places(*self._sorted_films, ids)

    @functools.cached_property
    def _sorted_users(self) -> tuple[np.ndarray, np.ndarray]:
        return _sorted(self.users)

    @functools.cached_property
    def _sorted_films(self) -> tuple[np.ndarray, np.ndarray]:
        return _sorted(self.films)


def _sorted(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Known ids in their order, and the place of each."""
    order = np.argsort(known)
    return known[order], order.astype(np.int32) + 1


def _places(known: np.ndarray, places: np.ndarray, ids: np.ndarray) -> np.ndarray:
    if not len(known):
        return np.zeros(np.shape(ids), np.int32)
    at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    return np.where(known[at] == ids, places[at], 0).astype(np.int32)
