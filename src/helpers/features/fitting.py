"""Fit an encoding on training data: boundaries at quantiles, vocabularies of what is frequent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from helpers.errors import BadInput, meant
from helpers.features import values
from helpers.features.assembly import as_mapping, column
from helpers.features.encoders import Bucketize, Encoder, LabelEncode
from helpers.features.encoding import Encoding


@dataclass(frozen=True)
class FitBuckets:
    """Makes a `Bucketize` with at most ``buckets`` boundaries, at quantiles 0, 1/buckets,
    2/buckets, ...
    """

    name: str
    source: str
    field: str
    buckets: int = 16

    def __post_init__(self):
        _check_count(self.name, "buckets", self.buckets, 2)


@dataclass(frozen=True)
class FitVocabulary:
    """Makes a `LabelEncode` of the ids that occur at least ``floor`` times, the ``most`` most
    frequent ones.
    """

    name: str
    source: str
    field: str
    floor: int = 5
    most: int = 2**31

    def __post_init__(self):
        _check_count(self.name, "floor", self.floor, 1)
        _check_count(self.name, "most", self.most, 1)


def fit(
    table: Mapping[str, object],
    plan: Iterable[FitBuckets | FitVocabulary | Encoder],
    mode="separate",
) -> Encoding:
    """The encoding that a plan makes of training data; encoders in the plan stay as they are.

    Parameters
    ----------
    table : columns as in `assembly.encode`. They may differ in length: to count last clicks by
        session and not by candidate, give their columns one row a session.
    plan : what to make, in the order of the model's inputs.
    mode : one of `encoders.MODES`.

    Raises
    ------
    BadInput : a field is not in the table, has fewer than two different quantiles, or no id as
        frequent as the floor; the message names the field.
    """
    table = as_mapping(table)
    fits = (FitBuckets, FitVocabulary)
    encoders = [
        _fitted(table, feature) if isinstance(feature, fits) else feature for feature in plan
    ]
    return Encoding(tuple(encoders), mode)


def _fitted(table: Mapping, plan: FitBuckets | FitVocabulary) -> Encoder:
    name = column(plan.source, plan.field)
    if name not in table:
        raise BadInput(
            f"encoder {plan.name}: the table has no column {name}{meant(name, map(str, table))}"
        )
    array = values.arrow(table[name], name)
    if isinstance(plan, FitBuckets):
        return Bucketize(
            plan.name, plan.source, plan.field, _quantiles(values.numbers(array, name), plan, name)
        )
    return LabelEncode(
        plan.name, plan.source, plan.field, _frequent(values.whole_numbers(array, name), plan, name)
    )


def _quantiles(x: np.ndarray, plan: FitBuckets, name: str) -> tuple[float, ...]:
    """Boundaries that are values of the data, the smallest value first.

    So bucket 0 is "below all that was seen": in ``published`` mode, where it shares its id with
    "missing", no training row loses anything by that.
    """
    x = x[(x != values.MISSING) & np.isfinite(x)]
    distinct = np.unique(x)
    if len(distinct) > plan.buckets:
        distinct = np.unique(
            np.quantile(x, np.arange(plan.buckets) / plan.buckets, method="inverted_cdf")
        )
    if len(distinct) < 2:
        found = (
            f"all quantiles of its {len(x):,} numbers are {distinct[0]:g}"
            if len(x)
            else "it holds no numbers"
        )
        raise BadInput(
            f"encoder {plan.name}: {name} does not give two boundaries, {found}: ask for more "
            f"buckets than {plan.buckets}, label-encode it, give a Bucketize with boundaries of "
            "your own, or leave it out"
        )
    return tuple(distinct.tolist())


def _frequent(x: np.ndarray, plan: FitVocabulary, name: str) -> tuple[int, ...]:
    """Ids by descending frequency, equally frequent ones by ascending value."""
    ids, counts = np.unique(x[x != values.MISSING], return_counts=True)
    order = np.lexsort((ids, -counts))
    kept = order[counts[order] >= plan.floor][: plan.most]
    if not len(kept):
        found = (
            f"the most frequent, {ids[order[0]]}, occurs {counts[order[0]]} times"
            if len(ids)
            else "it holds no ids"
        )
        raise BadInput(
            f"encoder {plan.name}: no id of {name} occurs {plan.floor:,} times, {found}: lower the "
            "floor, fit on more data, or leave it out"
        )
    return tuple(ids[kept].tolist())


def _check_count(name: str, what: str, value: object, least: int) -> None:
    if type(value) is not int or value < least:
        raise BadInput(
            f"encoder {name}: {what} must be a whole number of at least {least}, not "
            f"{values.shown(value)}"
        )
