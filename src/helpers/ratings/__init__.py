"""Ratings of films: what is known of a user and of a film at the moment of a rating."""

from helpers.ratings.statistics import (
    COLUMNS,
    GENRES,
    Catalogue,
    FilmState,
    Ratings,
    UserState,
    as_of,
)

__all__ = ["COLUMNS", "GENRES", "Catalogue", "FilmState", "Ratings", "UserState", "as_of"]
