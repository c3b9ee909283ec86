"""`ranking`: score one item for one user in one context, with 433 parameters, on a phone.

The published pipeline trains this model in Keras and takes it through TensorFlow Lite and MNN into
an iOS app. Its data (source ``simple``) is reproduced exactly; because that data is not personal,
the source ``personalised`` adds one that is, with a preference structure and a noise level that are
known.
"""

from __future__ import annotations

import numpy as np

from helpers.schema import Dimension, Schema, Tensor
from helpers.studies import Inputs, Model, Published, Simulated, Study

USER = Tensor(
    "user_features",
    "user",
    (
        Dimension("age", "age in years / 100"),
        Dimension("gender", "1 male, 0 female"),
        Dimension("income", "income, low to high"),
        Dimension("purchasing_power", "purchasing power, low to high"),
        Dimension("brand_preference", "0 prefers value, 1 prefers brands"),
        Dimension("price_sensitivity", "how much the price decides"),
        Dimension("activity", "how often the user is seen"),
        Dimension("region_tier", "tier of the user's city"),
        Dimension("past_behaviour", "0 impulsive, 1 rational"),
        Dimension("social_influence", "how much others' choices decide"),
    ),
)
ITEM = Tensor(
    "item_features",
    "item",
    (
        Dimension("price_tier", "price within its category"),
        Dimension("brand_awareness", "how well the brand is known"),
        Dimension("user_rating", "mean rating / 5"),
        Dimension("sales_volume", "sales within its category"),
        Dimension("feature_complexity", "0 simple, 1 complex to use"),
        Dimension("design", "appeal of the design"),
        Dimension("value_for_money", "value for money"),
        Dimension("category", "category code, 0.3 is electronics"),
        Dimension("newness", "0 old, 1 just released"),
        Dimension("promotion", "depth of the current promotion"),
    ),
)
CONTEXT = Tensor(
    "context_features",
    "context",
    (
        Dimension("time_of_day", "time of day in hours / 24"),
        Dimension("season", "season of the year, 0.3 is spring"),
        Dimension("device", "1 phone, 0 anything else"),
        Dimension("network", "quality of the network, 0.9 is wifi"),
        Dimension("search_intent", "0 browsing, 1 looking for one thing"),
    ),
)
SCORE = Tensor(
    "ranking_score", "score", (Dimension("score", "probability that the user takes the item"),)
)
SCHEMA = Schema("ultra_simple_ranking_model", (USER, ITEM, CONTEXT), (SCORE,))


def draw_simple(rng: np.random.Generator, n_rows: int) -> dict[str, np.ndarray]:
    """Published data: every feature standard normal, every row its own user, item and context."""
    return {
        t.name: rng.standard_normal((n_rows, *t.shape), dtype=np.float32) for t in SCHEMA.inputs
    }


def utility_simple(inputs: Inputs) -> np.ndarray:
    """Published label rule: ``mean(user) + mean(item) + mean(context)``, ``(n_rows,) float64``."""
    return sum(inputs[t.name].mean(axis=1, dtype=np.float64) for t in SCHEMA.inputs)


def draw_personalised(rng: np.random.Generator, n_rows: int) -> dict[str, np.ndarray]:
    """Features in their ranges; 20 consecutive rows share one user and one context (a request)."""
    requests = -(-n_rows // PERSONALISED_CANDIDATES)

    def of_request(columns: list[np.ndarray]) -> np.ndarray:
        table = np.stack(columns, axis=1).astype(np.float32)
        return np.repeat(table, PERSONALISED_CANDIDATES, axis=0)[:n_rows]

    income = rng.beta(2.0, 2.5, requests)
    user = [
        0.15 + 0.7 * rng.beta(1.8, 2.6, requests),  # age
        rng.integers(0, 2, requests),  # gender
        income,
        np.clip(income + rng.normal(0.0, 0.15, requests), 0.0, 1.0),  # purchasing power
        rng.beta(1.2, 1.2, requests),  # brand preference
        np.clip(1.0 - income + rng.normal(0.0, 0.25, requests), 0.0, 1.0),  # price sensitivity
        rng.beta(1.5, 1.2, requests),  # activity
        rng.choice([0.2, 0.4, 0.6, 0.8], requests),  # region tier
        rng.beta(2.0, 2.0, requests),  # past behaviour
        rng.beta(1.2, 1.2, requests),  # social influence
    ]
    context = [
        (rng.normal(0.8, 0.2, requests)) % 1.0,  # time of day, most in the evening
        rng.choice([0.05, 0.3, 0.55, 0.8], requests),  # season
        rng.random(requests) < 0.85,  # device
        rng.choice([0.2, 0.5, 0.9], requests, p=[0.1, 0.3, 0.6]),  # network
        rng.beta(1.2, 1.2, requests),  # search intent
    ]
    price = rng.beta(1.3, 1.3, n_rows)
    rating = rng.beta(8.0, 2.5, n_rows)
    item = [
        price,
        np.clip(0.3 * price + 0.7 * rng.beta(1.2, 1.2, n_rows), 0.0, 1.0),  # brand awareness
        rating,
        np.clip(0.4 * rating + 0.6 * rng.beta(1.2, 2.0, n_rows), 0.0, 1.0),  # sales volume
        rng.beta(1.5, 1.5, n_rows),  # feature complexity
        rng.beta(2.0, 1.5, n_rows),  # design
        np.clip(0.8 - 0.5 * price + rng.normal(0.0, 0.15, n_rows), 0.0, 1.0),  # value for money
        rng.integers(0, 10, n_rows) / 10.0,  # category
        rng.beta(1.1, 1.4, n_rows),  # newness
        np.where(rng.random(n_rows) < 0.4, rng.beta(2.0, 2.0, n_rows), 0.0),  # promotion
    ]
    items = np.stack(item, axis=1).astype(np.float32)
    return {USER.name: of_request(user), ITEM.name: items, CONTEXT.name: of_request(context)}


PERSONALISED_CANDIDATES = 20
POPULARITY_WEIGHTS = {"user_rating": 2.0, "sales_volume": 2.5, "design": 1.0}
"""What every user likes alike: weight of each item feature, centred at 0.5."""
INTERACTION_WEIGHTS = {
    ("price_sensitivity", "price_tier"): -11.0,
    ("purchasing_power", "price_tier"): 7.0,
    ("brand_preference", "brand_awareness"): 11.0,
    ("activity", "newness"): 9.0,
    ("social_influence", "sales_volume"): 9.0,
    ("age", "feature_complexity"): -8.0,
    ("search_intent", "value_for_money"): 8.0,
    ("time_of_day", "promotion"): 4.0,
}
"""Weight of (user or context feature, item feature), both centred at 0.5: what makes taste
personal.
"""


def utility_personalised(inputs: Inputs) -> np.ndarray:
    """Popularity plus centred user x item and context x item products, ``(n_rows,) float64``."""
    column = {
        dimension.name: inputs[t.name][:, j].astype(np.float64) - 0.5
        for t in SCHEMA.inputs
        for j, dimension in enumerate(t.dimensions)
    }
    popular = sum(weight * column[name] for name, weight in POPULARITY_WEIGHTS.items())
    return popular + sum(
        weight * column[a] * column[b] for (a, b), weight in INTERACTION_WEIGHTS.items()
    )


def build_model(hidden_units: int = 16):
    """The published model: concatenate (25) -> Dense 16 relu -> Dense 1 sigmoid; 433 parameters."""
    import keras

    inputs = [keras.Input(t.shape, name=t.name, dtype=t.dtype) for t in SCHEMA.inputs]
    joined = keras.layers.Concatenate(name="concatenate")(inputs)
    hidden = keras.layers.Dense(hidden_units, activation="relu", name="hidden_layer")(joined)
    score = keras.layers.Dense(1, activation="sigmoid", name=SCORE.name)(hidden)
    return keras.Model(inputs, score, name=SCHEMA.model_name)


STUDY = Study(
    name="ranking",
    title="Personalised ranking on a phone",
    schema=SCHEMA,
    sources={
        "simple": Simulated(
            name="simple",
            summary=(
                "the published data: standard normal features, label = sum of means above the set's"
                " median"
            ),
            draw=draw_simple,
            utility=utility_simple,
            threshold=None,
            noise=0.0,
        ),
        "personalised": Simulated(
            name="personalised",
            summary=(
                "requests of 20 candidates, user x item interactions, logistic noise: the Bayes AUC"
                " is known"
            ),
            draw=draw_personalised,
            utility=utility_personalised,
            threshold=2.0,
            noise=0.7,
            candidates=PERSONALISED_CANDIDATES,
        ),
    },
    models={
        "hidden_layer": Model(
            summary="the published model: one hidden layer over all features, 433 parameters",
            build=build_model,
        ),
    },
    published=Published(
        source="simple",
        rows=5000,
        validation_rows=1000,
        validation_accuracy=(0.7460, 0.8730, 0.9320, 0.9610, 0.9730),
    ),
)
