"""Ratings of films: what is known of a user and of a film at the moment of a rating."""

from helpers.ratings.ids import Ids
from helpers.ratings.pack import Pack
from helpers.ratings.statistics import (
    COLUMNS,
    GENRES,
    RESIDUALS,
    Catalogue,
    FilmState,
    Ratings,
    UserState,
    as_of,
)

__all__ = [
    "RESIDUALS",
    "COLUMNS",
    "GENRES",
    "Catalogue",
    "FilmState",
    "Ids",
    "Pack",
    "Ratings",
    "UserState",
    "as_of",
]
