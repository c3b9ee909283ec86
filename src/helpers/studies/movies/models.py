"""The published models of a film recommender (SparrowRecSys, Wang Zhe, Apache-2.0), matrix
factorisation, and one of ours.

Widths are the published ones: tables of 10, towers of 10 and 10, 128 and 128 hidden units; these
models do not look at `hidden_units`. Those with numbers exist as published, with numbers as they
are, and with numbers brought to one scale inside the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from helpers.ratings import GENRES
from helpers.studies.movies.inputs import FILMS, SCHEMA, SCORE, USERS

_WIDTH = 10
_CROSSED = 10_000
"""Buckets of pairs of a film and the film liked last."""
_NUMBERS = {
    "userNumbers": (("userRatingCount", 0), ("userAvgRating", 3), ("userRatingStddev", 4)),
    "movieNumbers": (
        ("releaseYear", 0),
        ("movieRatingCount", 1),
        ("movieAvgRating", 2),
        ("movieRatingStddev", 3),
    ),
}
"""The numbers that the published models take, with their place in an input."""
_SCALES = {
    "userRatingCount": (50.0, 50.0),
    "userAvgRating": (3.5, 1.0),
    "userRatingStddev": (1.0, 1.0),
    "releaseYear": (1990.0, 20.0),
    "movieAvgRating": (3.5, 1.0),
    "movieRatingStddev": (1.0, 1.0),
}
"""What is taken off a number, and what it is divided by."""
_LOG_SCALE = (3.0, 3.0)
"""The same of the logarithm of a film's ratings, of which few have many."""


def _given(names: tuple[str, ...]) -> dict:
    import keras

    tensors = {tensor.name: tensor for tensor in SCHEMA.inputs}
    return {
        name: keras.Input(tensors[name].shape, name=name, dtype=tensors[name].dtype)
        for name in names
    }


def _looked_up(ids, size: int, name: str, width: int = _WIDTH):
    from helpers.layers import Lookup

    return Lookup(size, width, name=name)(ids)


def _numbers(given: dict, scaled: bool) -> list:
    """The published numbers, ``(n_rows, 1)`` each."""
    import keras

    parts = []
    for tensor, columns in _NUMBERS.items():
        for name, place in columns:
            value = given[tensor][:, place : place + 1]
            if scaled and name == "movieRatingCount":
                mean, deviation = _LOG_SCALE
                value = keras.ops.log(value + 1.0)
            else:
                mean, deviation = _SCALES.get(name, (0.0, 1.0)) if scaled else (0.0, 1.0)
            parts.append((value - mean) / deviation if scaled else value)
    return parts


def _model(given: dict, logits_or_score):
    import keras

    return keras.Model(list(given.values()), logits_or_score, name=SCHEMA.model_name)


def _sigmoid(x):
    import keras

    return keras.layers.Dense(1, activation="sigmoid", name=SCORE.name)(x)


def _hidden(x, units: int, name: str):
    import keras

    return keras.layers.Dense(units, activation="relu", name=name)(x)


IDS = ("userId", "movieId")


def neural_cf(hidden_units: int = 10):
    """NeuralCF: both tables joined, two hidden layers."""
    import keras

    given = _given(IDS)
    x = keras.layers.Concatenate()(
        [
            _looked_up(given["userId"], USERS, "user_table"),
            _looked_up(given["movieId"], FILMS, "film_table"),
        ]
    )
    return _model(given, _sigmoid(_hidden(_hidden(x, 10, "hidden_1"), 10, "hidden_2")))


def two_tower(hidden_units: int = 10):
    """Two towers, whose dot product is the score."""

    given = _given(IDS)
    sizes = {"userId": (USERS, "user"), "movieId": (FILMS, "film")}
    towers = []
    for name, (size, side) in sizes.items():
        x = _looked_up(given[name], size, f"{side}_table")
        towers.append(_hidden(_hidden(x, 10, f"{side}_1"), 10, f"{side}_2"))
    return _model(given, _sigmoid(_dot(*towers)))


def _dot(first, second):
    import keras

    return keras.ops.sum(first * second, axis=-1, keepdims=True)


def matrix_factorisation(hidden_units: int = 10):
    """The dot product of a user's and a film's vector, and a bias of each."""
    import keras

    given = _given(IDS)
    user, film = given["userId"], given["movieId"]
    product = _dot(_looked_up(user, USERS, "user_table"), _looked_up(film, FILMS, "film_table"))
    biases = [
        _looked_up(user, USERS, "user_bias", 1),
        _looked_up(film, FILMS, "film_bias", 1),
    ]
    return _model(given, _sigmoid(keras.layers.Concatenate()([product, *biases])))


DEEP = (*IDS, "userGenres", "movieGenres", "userNumbers", "movieNumbers")
WIDE = (*DEEP, "userRatedMovies")


def _embedded(given: dict, scaled: bool) -> list:
    """What EmbeddingMLP takes: seven numbers, eight genres, the user and the film."""
    parts = _numbers(given, scaled)
    for name, count in (("userGenres", 5), ("movieGenres", 3)):
        for i in range(count):
            table = f"{name[:-1]}{i + 1}_table"
            parts.append(_looked_up(given[name][:, i : i + 1], len(GENRES), table))
    parts.append(_looked_up(given["userId"], USERS, "user_table"))
    parts.append(_looked_up(given["movieId"], FILMS, "film_table"))
    return parts


def embedding_mlp(hidden_units: int = 128, *, scaled: bool = True):
    """EmbeddingMLP: all of it joined, two hidden layers of 128."""
    import keras

    given = _given(DEEP)
    x = keras.layers.Concatenate()(_embedded(given, scaled))
    return _model(given, _sigmoid(_hidden(_hidden(x, 128, "hidden_1"), 128, "hidden_2")))


def wide_deep(hidden_units: int = 128, *, scaled: bool = True):
    """Wide & Deep: EmbeddingMLP, and a weight for each pair of film and film liked last."""
    import keras

    given = _given(WIDE)
    x = keras.layers.Concatenate()(_embedded(given, scaled))
    deep = _hidden(_hidden(x, 128, "hidden_1"), 128, "hidden_2")
    liked = given["userRatedMovies"][:, :1]
    pair = keras.ops.mod(given["movieId"] * FILMS + liked, _CROSSED)
    wide = _looked_up(pair, _CROSSED, "pair_table", 1)
    return _model(given, _sigmoid(keras.layers.Concatenate()([deep, wide])))


def deep_fm(hidden_units: int = 64, *, scaled: bool = True):
    """DeepFM: weights of four ids, products of four pairs of their vectors, two hidden layers of
    64.
    """
    import keras

    given = _given(DEEP)
    fields = {
        "film": (given["movieId"], FILMS),
        "user": (given["userId"], USERS),
        "film_genre": (given["movieGenres"][:, :1], len(GENRES)),
        "user_genre": (given["userGenres"][:, :1], len(GENRES)),
    }
    vector = {name: _looked_up(ids, size, f"{name}_table") for name, (ids, size) in fields.items()}
    first = [_looked_up(ids, size, f"{name}_bias", 1) for name, (ids, size) in fields.items()]
    pairs = (
        ("film", "user"),
        ("film_genre", "user_genre"),
        ("film_genre", "user"),
        ("user_genre", "film"),
    )
    products = [_dot(vector[one], vector[other]) for one, other in pairs]
    x = keras.layers.Concatenate()([*_numbers(given, scaled), vector["film"], vector["user"]])
    deep = _hidden(_hidden(x, 64, "hidden_1"), 64, "hidden_2")
    return _model(given, _sigmoid(keras.layers.Concatenate()([*first, *products, deep])))


RESIDUALS = ("userNumbers", "movieNumbers", "userResiduals", "genreResidual")


def residual_mlp(hidden_units: int = 32):
    """Ours: numbers and residuals alone, no ids, two hidden layers; it knows new users at once.

    The film's mean is drawn to 3.5 stars where its ratings are few, as residuals are already.
    """
    import keras

    given = _given(RESIDUALS)
    count, mean = given["movieNumbers"][:, 1:2], given["movieNumbers"][:, 2:3]
    shrunken = (mean - 3.5) * count / (count + 10.0)
    residuals = [given["userResiduals"], given["genreResidual"]]
    x = keras.layers.Concatenate()([*_numbers(given, scaled=True), shrunken, *residuals])
    for number, units in enumerate((hidden_units, hidden_units // 2), start=1):
        x = keras.layers.Dropout(0.2)(_hidden(x, units, f"hidden_{number}"))
    return _model(given, _sigmoid(x))


def as_published(build: Callable) -> Callable:
    """The same model with numbers as they are, in years and counts."""

    @wraps(build)
    def build_as_published(hidden_units: int = 16):
        return build(hidden_units, scaled=False)

    return build_as_published
