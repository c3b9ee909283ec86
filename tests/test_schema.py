import json
import time

import numpy as np
import pytest
from support import random_inputs

from helpers.errors import BadInput
from helpers.schema import MOST_SIZE, MOST_TENSORS, Dimension, Schema, Tensor


def test_published_interface(ranking):
    schema = ranking.schema
    assert [(t.name, t.size, t.dtype) for t in schema.inputs] == [
        ("user_features", 10, "float32"),
        ("item_features", 10, "float32"),
        ("context_features", 5, "float32"),
    ]
    assert (schema.output.name, schema.output.size) == ("ranking_score", 1)
    assert len(set(schema.columns)) == 25


def test_json_round_trip(ranking):
    assert Schema.from_json(json.loads(json.dumps(ranking.schema.to_json()))) == ranking.schema


def test_a_schema_that_would_merge_two_columns_is_refused(ranking):
    user, item, context = ranking.schema.inputs
    outputs = ranking.schema.outputs
    for inputs, message in (
        ((user, user, item), "input user_features is there more than once"),
        (
            (user, Tensor("more", "user", user.dimensions[:1])),
            "column user_age is there more than once",
        ),
        (
            (user, Tensor("more", "shop", user.dimensions[:1])),
            "role shop is none of user, item, context",
        ),
    ):
        with pytest.raises(BadInput, match=message):
            Schema("m", inputs, outputs)


@pytest.mark.parametrize("rows", [1, 64, 5000])
def test_good_inputs_pass_and_are_counted(ranking, rows):
    assert ranking.schema.check(random_inputs(ranking.schema, rows)) == rows


def _broken(inputs, change):
    inputs = dict(inputs)
    change(inputs)
    return inputs


BAD = {
    "missing name": (lambda x: x.pop("item_features"), "missing item_features"),
    "unknown name": (lambda x: x.update(extra=x["item_features"]), "unknown extra"),
    "renamed": (
        lambda x: x.update(items=x.pop("item_features")),
        "missing item_features; unknown items",
    ),
    "float64": (
        lambda x: x.update(item_features=x["item_features"].astype("float64")),
        "float64.*takes float32",
    ),
    "int64": (
        lambda x: x.update(item_features=x["item_features"].astype("int64")),
        "int64.*takes float32",
    ),
    "big endian": (
        lambda x: x.update(item_features=x["item_features"].astype(">f4")),
        "takes float32",
    ),
    "width": (lambda x: x.update(item_features=x["item_features"][:, :9]), r"\(8, 9\)"),
    "one dimension": (lambda x: x.update(item_features=x["item_features"][0]), r"\(10,\)"),
    "rows": (lambda x: x.update(item_features=x["item_features"][:3]), "3 rows"),
    "no rows": (lambda x: x.update({k: v[:0] for k, v in x.items()}), "no rows"),
    "masked": (
        lambda x: x.update(item_features=np.ma.masked_invalid(x["item_features"] * np.nan)),
        "MaskedArray",
    ),
    "a list": (lambda x: x.update(item_features=x["item_features"].tolist()), "list"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_inputs_are_refused_with_the_reason(ranking, fault):
    change, message = BAD[fault]
    with pytest.raises(BadInput, match=message):
        ranking.schema.check(_broken(random_inputs(ranking.schema, 8), change))


@pytest.mark.parametrize("rows", [2, 5000], ids=["dot product path", "exact path"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_is_found_and_named(ranking, rows, value):
    inputs = random_inputs(ranking.schema, rows)
    inputs["item_features"][rows - 1, 2] = value
    with pytest.raises(BadInput, match=rf"item_features has 1 values.*row {rows - 1}, user_rating"):
        ranking.schema.check(inputs)


def test_large_finite_values_pass_although_their_squares_overflow(ranking):
    inputs = random_inputs(ranking.schema, 4)
    inputs["user_features"][:] = 3e38
    assert ranking.schema.check(inputs) == 4


def _inputs(count: int, width: int = 1) -> tuple[Tensor, ...]:
    dimensions = [[Dimension(f"d{i}_{j}", "") for j in range(width)] for i in range(count)]
    return tuple(Tensor(f"f{i}", "item", tuple(d)) for i, d in enumerate(dimensions))


def test_more_than_a_bundle_can_hold_is_refused_when_the_schema_is_made(ranking):
    """Not when its golden cases are read back, hours later."""
    outputs = ranking.schema.outputs
    Schema("m", _inputs(MOST_TENSORS), outputs)
    with pytest.raises(
        BadInput, match="schema of m: 65 inputs, 1 to 64 can be shipped: join columns"
    ):
        Schema("m", _inputs(MOST_TENSORS + 1), outputs)
    Schema("m", (Tensor("f0", shape=(MOST_SIZE // 64, 64)),), outputs)
    with pytest.raises(BadInput, match="f0 has the shape .* at most 4,194,304 values"):
        Schema("m", (Tensor("f0", shape=(MOST_SIZE // 64 + 1, 64)),), outputs)


def test_a_wide_schema_takes_no_longer_than_its_width(ranking):
    inputs = _inputs(5, 10_000)
    started = time.monotonic()
    Schema("m", inputs, ranking.schema.outputs)
    assert time.monotonic() - started < 3
    twice = Tensor("again", "item", inputs[4].dimensions[-1:])
    with pytest.raises(BadInput, match="column item_d4_9999 is there more than once"):
        Schema("m", (*inputs, twice), ranking.schema.outputs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float64"}, "is of 'float64', a device takes float32, int32, int64"),
        ({"dimensions": ()}, r"has the shape \[\] without the batch"),
        ({"dimensions": (), "shape": (2, 0)}, r"has the shape \[2, 0\]"),
        (
            {"dimensions": (), "shape": (1,) * 7},
            r"has the shape \[[1, ]+\] without the batch: it takes 1 to 6 axes",
        ),
        (
            {"shape": (2,)},
            r"names 1 dimensions of the shape \[2\]: each value has a name, or none has",
        ),
        ({"dimensions": (), "shape": (3,), "low": 1, "high": 0}, "each value goes from 1 to 0"),
        (
            {"dtype": "uint8", "dimensions": (), "shape": (3,), "high": 256},
            "is uint8: its range lies in 0 to 255",
        ),
        (
            {"dimensions": (Dimension("d", "", 0, float("nan")),)},
            "d goes from 0 to nan, which is no range",
        ),
        (
            {"dimensions": (Dimension("d", "", 0, float("inf")),)},
            "d goes from 0 to inf, which is no range",
        ),
        ({"dimensions": (Dimension("d", "", 1, 0),)}, "d goes from 1 to 0, which is no range"),
    ],
)
def test_a_tensor_that_no_device_takes_is_refused(ranking, change, message):
    tensor = Tensor(**{"name": "f", "role": "item", "dimensions": (Dimension("d", ""),), **change})
    with pytest.raises(BadInput, match=f"schema of m: f:? {message}"):
        Schema("m", (tensor,), ranking.schema.outputs)
