"""Who gets which version: stable, uniform, and moving nobody who need not move."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from helpers.errors import BadInput


def assign(user: str, weights: Mapping[str, float], *, test: str = "") -> str:
    """The version that a user gets, by weighted rendezvous hashing.

    Each version draws a number for the user from a hash and the largest wins, so that shares follow
    the weights. A version's draw does not depend on the others: when its weight changes, users move
    to it or away from it, and nobody moves between two other versions. (Schindelhauer, Schomaker:
    Weighted distributed hash tables, 2005.)

    Parameters
    ----------
    user : any stable id.
    weights : by version, not negative; they need not sum to 1.
    test : name of the experiment: the same user is drawn anew for another one.

    Raises
    ------
    BadInput : no version has a weight, or one is negative or not finite.
    """
    if any(not math.isfinite(weight) or weight < 0 for weight in weights.values()) or not any(
        weights.values()
    ):
        raise BadInput(f"weights must be finite, not negative, and not all 0: {dict(weights)}")
    return min(
        (version for version in weights if weights[version] > 0),
        key=lambda v: (_draw(user, v, test) / weights[v], v),
    )


def table(steps: Sequence[Mapping[str, float]], *, users: int, test: str = ""):
    """What a sequence of weights does to that many users, to read: DataFrame of text, a row a step.

    Shares by version, how many users have another version than the step before, and how many of
    them moved between two versions whose weights had not changed.
    """
    import pandas as pd

    rows, before, weights_before = [], None, {}
    for weights in steps:
        now = [assign(f"user {i}", weights, test=test) for i in range(users)]
        moves = [pair for pair in zip(before or now, now, strict=True) if pair[0] != pair[1]]
        kept = {version for version in weights if weights_before.get(version) == weights[version]}
        between = sum(old in kept and new in kept for old, new in moves)
        shares = {version: f"{now.count(version) / users:.1%}" for version in weights}
        wanted = ", ".join(f"{version} {weight:g}" for version, weight in weights.items())
        rows.append(
            {
                "weights": wanted,
                "moved": f"{len(moves) / users:.1%}",
                "moved needlessly": between,
                **shares,
            }
        )
        before, weights_before = now, weights
    return pd.DataFrame(rows).fillna("").set_index("weights")


def _draw(user: str, version: str, test: str) -> float:
    """Standard exponential, from a hash: the version with the smallest draw by its weight wins in
    proportion to it.
    """
    content = "\x00".join((test, version, user)).encode()
    number = int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
    return -math.log((number + 0.5) / 2.0**64)
