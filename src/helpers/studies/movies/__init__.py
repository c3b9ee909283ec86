"""`movies`: "guess you like", from ratings to a list of films (after SparrowRecSys).

A row is a rating: a user, a film, and what was known of both at that moment, in the published
columns; the label is whether the film got 3.5 stars or more. Ratings are simulated, so that the
best possible is known, or those of a MovieLens pack that the user has brought.

`inputs` says what models take, `models` builds them, `world` simulates users and films.
"""

from __future__ import annotations

from helpers.studies import Model, Rated, Study
from helpers.studies.movies import models, world
from helpers.studies.movies.inputs import FILMS, SCHEMA, USERS, of_columns, two_averages

_TABLES = {"most_users": USERS - 1, "most_films": FILMS - 1}


def _movielens(name: str, summary: str, **options) -> Rated:
    return Rated(name, f"MovieLens, {summary}", of_columns, **_TABLES, **options)


_SOURCES = [
    Rated(
        "simulated",
        "tastes that drift, a long tail; the last ratings are the test; the Bayes AUC is known",
        of_columns,
        world.draw,
        **_TABLES,
    ),
    _movielens("movielens", "the last fifth of the ratings is the test"),
    _movielens("movielens_by_user", "a fifth of the users is the test", split="user"),
    _movielens("movielens_by_chance", "any fifth of the ratings is the test", split="chance"),
    _movielens(
        "movielens_as_published",
        "any fifth is the test, and films' figures know it: flatters",
        split="chance",
        film_totals=True,
    ),
]

STUDY = Study(
    name="movies",
    title="Guess you like: films for a user, from ratings",
    schema=SCHEMA,
    sources={source.name: source for source in _SOURCES},
    models={
        "residual_mlp": Model(
            "numbers and residuals, no ids, two hidden layers",
            models.residual_mlp,
            models.RESIDUALS,
        ),
        "embedding_mlp": Model(
            "all inputs joined, two hidden layers of 128", models.embedding_mlp, models.DEEP
        ),
        "neural_cf": Model("NeuralCF: ids alone", models.neural_cf, models.IDS),
        "two_tower": Model("two towers of ids, dot product", models.two_tower, models.IDS),
        "matrix_factorisation": Model(
            "dot product and biases", models.matrix_factorisation, models.IDS
        ),
        "wide_deep": Model("Wide & Deep", models.wide_deep, models.WIDE),
        "deep_fm": Model("DeepFM", models.deep_fm, models.DEEP),
        "embedding_mlp_as_published": Model(
            "its numbers in years and counts",
            models.as_published(models.embedding_mlp),
            models.DEEP,
        ),
        "wide_deep_as_published": Model(
            "its numbers in years and counts", models.as_published(models.wide_deep), models.WIDE
        ),
        "deep_fm_as_published": Model(
            "its numbers in years and counts", models.as_published(models.deep_fm), models.DEEP
        ),
    },
    untrained={"two averages, untrained": two_averages},
    defaults={
        "rows": 40_000,
        "validation_rows": 5_000,
        "test_rows": 10_000,
        "batch_size": 256,
        "epochs": 30,
        "patience": 4,
        "hidden_units": 32,
    },
)
