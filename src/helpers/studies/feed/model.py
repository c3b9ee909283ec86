"""The model: a table a field, and two halves, of which one knows the last click alone."""

from __future__ import annotations

from collections.abc import Mapping

from helpers.studies.feed.fields import SCHEMA, SCORE, SIZES

READER = "reader"
"""Name of the half that knows the last click alone, and of the vector it hands over."""
FACTOR = 8
"""Width of the product in which reader and candidate meet."""


def build_model(hidden_units: int = 16, sizes: Mapping[str, int] | None = None):
    """Build a small table a field; reader and candidate meet in a hidden layer and in a product.

    It is made of two models. ``reader`` turns the last click into a vector, ``(n_rows, hidden_units
    + FACTOR)``, which a server could compute and send; the other, which has the score's name, goes
    on from there with what the phone has.

    Parameters
    ----------
    hidden_units : width of the hidden layer.
    sizes : ids an input can have, by name; by default the most that the schema allows.
    """
    import keras

    from helpers.layers import Lookup

    sizes = sizes or SIZES

    def tables(role: str):
        names = [t.name for t in SCHEMA.inputs if t.role == role]
        inputs = {name: keras.Input((1,), name=name, dtype="int64") for name in names}
        widths = {name: 8 if sizes[name] > 30 else 4 for name in names}
        entries = [Lookup(sizes[n], widths[n], name=f"table_{n}")(inputs[n]) for n in names]
        return inputs, keras.layers.Concatenate(name=f"{role}_tables")(entries)

    (of_user, user), (of_item, item), (of_cross, cross) = map(tables, ("user", "item", "cross"))
    vector = keras.layers.Concatenate(name="vector")(
        [
            keras.layers.Dense(hidden_units, name="user_hidden")(user),
            keras.layers.Dense(FACTOR, name="user_factor")(user),
        ]
    )
    reader = keras.Model(of_user, vector, name=READER)

    received = keras.Input((hidden_units + FACTOR,), name=READER)
    hidden = keras.layers.Add(name="hidden_sum")(
        [
            received[:, :hidden_units],
            keras.layers.Dense(hidden_units, use_bias=False, name="item_hidden")(item),
            keras.layers.Dense(hidden_units, use_bias=False, name="cross_hidden")(cross),
        ]
    )
    product = keras.layers.Multiply(name="product")(
        [received[:, hidden_units:], keras.layers.Dense(FACTOR, name="item_factor")(item)]
    )
    active = keras.layers.ReLU(name="hidden_layer")(hidden)
    joined = keras.layers.Concatenate(name="joined")([active, product])
    score = keras.layers.Dense(1, activation="sigmoid", name="output")(joined)
    phone = keras.Model({READER: received, **of_item, **of_cross}, score, name=SCORE.name)

    inputs = {t.name: keras.Input((1,), name=t.name, dtype="int64") for t in SCHEMA.inputs}
    sent = reader({name: inputs[name] for name in of_user})
    whole = phone({READER: sent, **{name: inputs[name] for name in (*of_item, *of_cross)}})
    return keras.Model(list(inputs.values()), whole, name=SCHEMA.model_name)
