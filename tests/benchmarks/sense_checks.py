"""How often the checks of a data set's sense are wrong: `learning.check_learnable` and
`overlap.check_separate`.

    python tests/benchmarks/sense_checks.py

Of sound data at most 2 % are to be refused, at any size and share of positives; of labels that
nothing relates to, and of rows that are in both splits, as many as can be told are to be refused,
and the rest warned of.
"""

import argparse
import functools
import warnings
from collections.abc import Callable, Iterator

import numpy as np
from scipy import stats

from helpers import overlap
from helpers.errors import BadInput
from helpers.learning import ranking as learning
from helpers.schema import Dimension, Schema, Tensor

POSITIVES, TEST_ROWS, TRAINING_ROWS = (0.01, 0.1, 0.5), (200, 1000, 5000), 2000
WEAK, STRONG = 0.63, 0.9
"""True AUC of the model where positives are rare; of the weak one .61 where they are half of the
rows.
"""
SHUFFLED = {
    "all labels": ("training", "test"),
    "training labels": ("training",),
    "test labels": ("test",),
}
COARSE = ((32, 2), (10, 4), (2, 10), (2, 13))
"""Values a column, and columns: 1,000 to 10,000 patterns."""
SESSIONS = ((5, 20, 10), (20, 50, 10), (20, 50, 50))
"""Users, items, and requests of 20 items a split."""
_WIDTH = 3
_SCHEMA = Schema(
    "m",
    tuple(
        Tensor(role, role, tuple(Dimension(f"{role}{i}", "") for i in range(_WIDTH)))
        for role in ("user", "item")
    ),
    (Tensor("score", "score", (Dimension("score", ""),)),),
)


def outcome(check: Callable[[], None]) -> str:
    """What a check says: ``passes``, ``warns`` or ``refuses``."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check()
        except BadInput:
            return "refuses"
    return (
        "warns"
        if any(issubclass(warning.category, UserWarning) for warning in caught)
        else "passes"
    )


def split(x, rng, positives: float = 0.3, labels=None) -> overlap.Split:
    """Rows with labels that are noise, in requests of 20."""
    inputs = x if isinstance(x, dict) else {"x": x}
    rows = len(next(iter(inputs.values())))
    noise = (rng.random(rows) < positives).astype(np.int8)
    return inputs, noise if labels is None else labels, np.arange(rows) // 20


def sessions(rng, users: int, items: int, requests: int, kind: str) -> overlap.Split:
    """A user and 20 items a request: as ids, as what is known of them in two inputs, or in one."""
    world = np.random.default_rng(99)
    of_user, of_item = (world.normal(size=(n, 4)).astype(np.float32) for n in (users, items))
    user = np.repeat(rng.integers(0, users, requests), 20)
    item = np.concatenate([rng.permutation(items)[:20] for _ in range(requests)])
    if kind == "ids":
        return split(np.stack([user, item], 1), rng, 0.2)
    if kind == "one input":
        return split(np.hstack([of_user[user], of_item[item]]), rng, 0.2)
    return split({"user": of_user[user], "item": of_item[item]}, rng, 0.2)


def learnable(rng, positives: float, rows: int, auc: float, shuffled: tuple[str, ...] = ()) -> str:
    """What `learning.check_learnable` says of a model of a true AUC, or of one learned from
    shuffled labels.

    Labels follow a user part and an item part of three features each; users have different shares
    of positives.
    """
    weights, spread = np.array([1.0, 0.6, 0.3]), np.sqrt(2) * stats.norm.ppf(auc)
    splits, logits = {}, {}
    for name, size in (("training", TRAINING_ROWS), ("test", rows)):
        user = np.repeat(rng.normal(size=(size // 20, _WIDTH)), 20, axis=0)
        item = rng.normal(size=(size, _WIDTH))
        logits[name] = spread * (user + item) @ weights / np.sqrt(2 * weights @ weights)
        chance = stats.norm.cdf(
            stats.norm.ppf(positives) * np.sqrt(1 + spread**2 / 2.9) + logits[name] / 1.7
        )
        labels = (rng.random(size) < chance).astype(np.int8)
        labels = rng.permutation(labels) if name in shuffled else labels
        splits[name] = split(
            {"user": user.astype(np.float32), "item": item.astype(np.float32)}, rng, labels=labels
        )
    (inputs, labels, _), test = splits["training"], splits["test"]
    scores = learning.baseline_scores(_SCHEMA, (inputs, labels), test[0])
    scores["this model"] = logits["test"]
    if "training" in shuffled:
        columns = {name: np.hstack(list(part[0].values())) for name, part in splits.items()}
        scores["this model"] = (
            columns["test"] @ np.linalg.lstsq(columns["training"], labels - labels.mean())[0]
        )
    return outcome(lambda: learning.check_learnable(_SCHEMA, splits["training"], scores, test))


def _coarse(rng, values: int, columns: int, sizes: tuple[int, int]) -> str:
    drawn = [split(rng.integers(0, values, (size, columns)), rng) for size in sizes]
    return outcome(lambda: overlap.check_separate(dict(zip(("train", "test"), drawn, strict=True))))


def _met_again(rng, users: int, items: int, requests: int, kind: str) -> str:
    splits = {name: sessions(rng, users, items, requests, kind) for name in ("train", "test")}
    return outcome(lambda: overlap.check_separate(splits))


def _shared(rng, share: float, digits: int) -> str:
    """What `overlap.check_separate` says of a test split of 2,000 rows, a share of which is of
    training.
    """
    train, test = (split(rng.normal(size=(2000, 4)).round(digits), rng) for _ in range(2))
    rows = int(share * 2000)
    for ours, theirs in ((train[0]["x"], test[0]["x"]), (train[1], test[1])):
        theirs[:rows] = ours[:rows]
    return outcome(lambda: overlap.check_separate({"train": train, "test": test}))


def cases() -> Iterator[tuple[str, str, bool, Callable]]:
    """Check, case, whether its data are sound, and what says the outcome for a random generator."""
    for positives in POSITIVES:
        for rows in TEST_ROWS:
            size = f"{positives:.0%} of {rows:,} rows"
            for auc in (WEAK, STRONG):
                yield (
                    "learnable",
                    f"AUC {auc}, {size}",
                    True,
                    functools.partial(learnable, positives=positives, rows=rows, auc=auc),
                )
            for kind, shuffled in SHUFFLED.items():
                yield (
                    "learnable",
                    f"{kind} shuffled, {size}",
                    False,
                    functools.partial(
                        learnable, positives=positives, rows=rows, auc=STRONG, shuffled=shuffled
                    ),
                )
    for values, columns in COARSE:
        for sizes in ((20, 200), (100, 1000), (100, 5000)):
            name = f"{columns} columns of {values} values, {sizes[0]:,} and {sizes[1]:,} rows"
            yield (
                "separate",
                name,
                True,
                functools.partial(_coarse, values=values, columns=columns, sizes=sizes),
            )
    for users, items, requests in SESSIONS:
        for kind in ("ids", "one input", "two inputs"):
            name = f"{users} users, {items} items, {requests} requests, {kind}"
            yield (
                "separate",
                name,
                True,
                functools.partial(
                    _met_again, users=users, items=items, requests=requests, kind=kind
                ),
            )
    for share in (0.02, 0.2):
        for digits in (1, 6):
            name = f"{share:.0%} of the rows shared, {digits} digits"
            yield "separate", name, False, functools.partial(_shared, share=share, digits=digits)


def study(repetitions: int):
    """Count what the checks say, with the same draws each time.

    Returns
    -------
    DataFrame, a row a case: check, case, sound (whether its data are), refused and warned (shares
    of the repetitions).
    """
    import pandas as pd

    rows = []
    for number, (check, name, sound, draw) in enumerate(cases()):
        said = [draw(np.random.default_rng((number, i))) for i in range(repetitions)]
        shares = {
            word: said.count(found) / repetitions
            for word, found in (("refused", "refuses"), ("warned", "warns"))
        }
        rows.append({"check": check, "case": name, "sound": sound, **shares})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repetitions", type=int, default=30, help="of each case")
    table = study(parser.parse_args().repetitions)
    table["found"] = (table["refused"] + table["warned"]).where(~table["sound"])
    print(table.to_string(index=False, na_rep="", float_format="{:.1%}".format))
    sound = table[table["sound"]]
    print(
        f"sound data refused: {sound['refused'].mean():.2%} in the mean, "
        f"{sound['refused'].max():.1%} at most"
    )


if __name__ == "__main__":
    main()
