"""What a re-ordered list would have earned: sessions replayed with known click probabilities.

Only a simulation knows how probable a click would have been at another place of the list. Orders
are compared on the same sessions, as many posts are looked at in each, and probabilities are
averaged instead of drawn clicks, so that what is left to chance is which readers came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from helpers.errors import BadInput

DRAWS = 1000
"""Bootstrap draws of sessions."""


def order_by(scores: np.ndarray) -> np.ndarray:
    """Places of each session's posts from the highest score on, ``(sessions, candidates)``; ties
    keep their order.
    """
    return np.argsort(-np.asarray(scores, np.float64), axis=1, kind="stable")


def click_rates(
    orders: Mapping[str, np.ndarray],
    probability: Callable[[np.ndarray], np.ndarray],
    depth: np.ndarray,
    *,
    baseline: str,
    seed: int = 0,
):
    """Click rates of several orders of the same lists.

    Parameters
    ----------
    orders : by name, places of the posts in their new order, ``(sessions, candidates)``; see
        `order_by`.
    probability : from an order, P(click) of each post at its new place, ``(sessions, candidates)``.
    depth : posts that each reader looks at, ``(sessions,)`` from 1 on.
    baseline : the order that the others are held against.

    Returns
    -------
    DataFrame by order: ``ctr`` (clicks a post looked at), ``uv_ctr`` (readers who click at all),
    and of each the gain over the baseline as a share of it, with the ends of its 95 % interval, by
    bootstrap over sessions.

    Raises
    ------
    BadInput : the baseline is none of the orders, or an order is not a permutation of each list.
    """
    import pandas as pd

    if baseline not in orders:
        raise BadInput(f"the baseline {baseline!r} is none of the orders: {', '.join(orders)}")
    sums: dict[str, np.ndarray] = {}
    for name, order in orders.items():
        sessions, candidates = order.shape
        if not (np.sort(order, axis=1) == np.arange(candidates)).all():
            raise BadInput(f"order {name!r} is not a permutation of every list")
        seen = np.arange(candidates) < depth[:, None]
        clicks = np.where(seen, probability(order), 0.0)
        sums[name] = np.stack([clicks.sum(axis=1), 1 - np.prod(1 - clicks, axis=1)])
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(sessions, np.full(sessions, 1 / sessions), DRAWS).astype(np.float64)
    looked = np.stack([depth.astype(np.float64), np.ones(sessions)])
    drawn = {name: (values @ weights.T) / (looked @ weights.T) for name, values in sums.items()}
    rows = {}
    for name, values in sums.items():
        rates, base = (
            values.sum(axis=1) / looked.sum(axis=1),
            sums[baseline].sum(axis=1) / looked.sum(axis=1),
        )
        low, high = np.quantile(drawn[name] / drawn[baseline] - 1, [0.025, 0.975], axis=1)
        rows[name] = {}
        for i, rate in enumerate(("ctr", "uv_ctr")):
            gain = rates[i] / base[i] - 1
            rows[name] |= {
                rate: rates[i],
                f"{rate}_gain": gain,
                f"{rate}_low": low[i],
                f"{rate}_high": high[i],
            }
    return pd.DataFrame(rows).T


def table(rates):
    """`click_rates` to read: DataFrame of text by order."""
    import pandas as pd

    cells = {}
    for rate, name in (("ctr", "CTR"), ("uv_ctr", "UV-CTR")):
        cells[name] = [f"{value:.2%}" for value in rates[rate]]
        bounds = zip(
            rates[f"{rate}_gain"], rates[f"{rate}_low"], rates[f"{rate}_high"], strict=True
        )
        cells[f"{name} gained"] = [
            f"{gain:+.1%} ({low:+.1%} to {high:+.1%})" for gain, low, high in bounds
        ]
    return pd.DataFrame(cells, index=rates.index)
