"""Who gets which version: stable, uniform, and moving nobody who need not move."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

from helpers.errors import BadInput


def assign(user: str, weights: Mapping[str, float], *, test: str = "") -> str:
    """The version that a user gets, by weighted rendezvous hashing.

    Each version draws a number for the user from a hash and the largest wins, so that shares follow the weights. A
    version's draw does not depend on the others: when its weight changes, users move to it or away from it, and
    nobody moves between two other versions. (Schindelhauer, Schomaker: Weighted distributed hash tables, 2005.)

    Parameters
    ----------
    user : any stable id.
    weights : by version, not negative; they need not sum to 1.
    test : name of the experiment: the same user is drawn anew for another one.

    Raises
    ------
    BadInput : no version has a weight, or one is negative or not finite.
    """
    if any(not math.isfinite(weight) or weight < 0 for weight in weights.values()) or not any(weights.values()):
        raise BadInput(f"weights must be finite, not negative, and not all 0: {dict(weights)}")
    return min(
        (version for version in weights if weights[version] > 0), key=lambda v: (_draw(user, v, test) / weights[v], v)
    )


def _draw(user: str, version: str, test: str) -> float:
    """Standard exponential, from a hash: the version with the smallest draw by its weight wins in proportion to it."""
    content = "\x00".join((test, version, user)).encode()
    number = int.from_bytes(hashlib.sha256(content).digest()[:8], "big")
    return -math.log((number + 0.5) / 2.0**64)
