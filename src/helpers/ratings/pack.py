"""What a source of ratings gives: the ratings, the films, and what else is known of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from helpers.ratings.statistics import Catalogue, Ratings


@dataclass(frozen=True)
class Pack:
    """Ratings, films and their titles.

    Attributes
    ----------
    said : what was put right while they were read.
    chance : ``(n,)``, P(label = 1) of each rating, where it is known.
    chances : of the number of a rating, P(label = 1) of every film for that user at that moment, by
        id, ``(n_films,)``; where it is known.
    """

    ratings: Ratings
    films: Catalogue
    titles: Mapping[int, str]
    said: list[str] = field(default_factory=list)
    chance: np.ndarray | None = None
    chances: Callable[[int], np.ndarray] | None = None
