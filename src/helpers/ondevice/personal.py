"""What training on the device is for: a model that learns its owner, and what that costs everybody
else.

Owners are simulated. A writer has a hand: slant, width, turn and weight of stroke, applied to
genuine digits. A shopper has a taste: likes and dislikes of item features that nobody else shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from helpers.errors import BadInput
from helpers.metrics import ranking as metrics
from helpers.ondevice.program import State
from helpers.ondevice.rows import Rows, at, joined
from helpers.ondevice.trainer import Trainer, batches, with_weights
from helpers.studies import ranking as shop


@dataclass(frozen=True)
class Writer:
    """A hand.

    Attributes
    ----------
    slant : how far the top is moved to the side, as a part of the height.
    width : of letters, 1 as in the genuine digits.
    turn : of the whole, in degrees.
    weight : of the stroke: above 0 thicker, below thinner, in parts of a pixel on each side.
    """

    slant: float
    width: float
    turn: float
    weight: float

    def write(self, images: np.ndarray) -> np.ndarray:
        """Digits ``(n, height, width, 1)`` in this hand."""
        from scipy import ndimage

        angle = np.radians(self.turn)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn @ np.array([[1.0, 0.0], [self.slant, 1.0 / self.width]])
        middle = (np.array(images.shape[1:3]) - 1) / 2
        offset = middle - matrix @ middle
        result = np.empty_like(images)
        for row, image in enumerate(images[..., 0]):
            written = ndimage.affine_transform(image, matrix, offset, order=1)
            spread = ndimage.grey_dilation if self.weight > 0 else ndimage.grey_erosion
            other = spread(written, footprint=_CROSS)
            result[row, ..., 0] = written + abs(self.weight) * (other - written)
        return result


_CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)


def writer(rng: np.random.Generator) -> Writer:
    """A hand that is far from the usual one."""
    side = rng.choice([-1.0, 1.0])
    return Writer(
        slant=side * rng.uniform(0.45, 0.75),
        width=rng.uniform(0.6, 0.8),
        turn=side * rng.uniform(5, 20),
        weight=rng.uniform(-0.6, 0.9),
    )


def learn(
    trainer: Trainer,
    state: State,
    own: Rows,
    *,
    rehearsed: Rows | None = None,
    epochs: int = 10,
    batch_size: int = 16,
    learning_rate: float = 0.001,
    seed: int = 42,
) -> State:
    """Train from a state on the owner's rows, with a fresh optimiser; what the trainer then holds.

    Parameters
    ----------
    rehearsed : shipped rows that are mixed in, the same number of them into each batch, so that
        what everybody needs is not forgotten.
    """
    trainer.restore(with_weights(state, state["weights"]))
    rng = np.random.default_rng(seed)
    for _, places in batches(len(own[1]), batch_size, epochs, seed):
        batch = at(own, places)
        if rehearsed is not None:
            batch = joined(batch, at(rehearsed, rng.integers(0, len(rehearsed[1]), len(places))))
        trainer.train(*batch, learning_rate)
    return trainer.save()


def gains(
    ways: Mapping[str, tuple[Trainer, State, Rows | None]],
    digits: Rows,
    everyone: Rows,
    *,
    writers: int = 6,
    samples: Sequence[int] = (10, 50, 200),
    tested: int = 400,
    seed: int = 42,
    progress: bool = True,
    **settings,
):
    """What writers gain by training on samples of their own, and what everybody else loses.

    Parameters
    ----------
    ways : by name, a trainer, the shipped state, and rows to rehearse or None.
    digits : that nothing was trained on, for the writers to write: the first are samples, the next
        `tested` the writers' test.
    everyone : rows of usual hands.

    Raises
    ------
    BadInput : there are fewer digits than samples and test rows.

    Returns
    -------
    DataFrame of a row a writer, way and number of samples: ``owner`` and ``everyone``, the change
    of accuracy; ``shipped``, the accuracy for the writer before.
    """
    import pandas as pd
    from tqdm import tqdm

    name, images = next(iter(digits[0].items()))
    rows, most = [], max(samples)
    if len(images) < most + tested:
        raise BadInput(f"{len(images)} rows are too few for {most} samples and {tested} to test")
    total = writers * len(ways) * len(samples)
    with tqdm(
        total=total,
        desc="writers",
        unit=" trainings",
        delay=2,
        leave=False,
        disable=not progress or None,
    ) as bar:
        for number in range(writers):
            rng = np.random.default_rng([seed, number])
            hand, order = writer(rng), rng.permutation(len(images))[: most + tested]
            written, labels = hand.write(images[order]), digits[1][order]
            test = ({name: written[most:]}, labels[most:])
            for way, (trainer, state, rehearsed) in ways.items():
                trainer.restore(state)
                before = [trainer.evaluate(*each)["correct"] for each in (test, everyone)]
                for count in samples:
                    own = ({name: written[:count]}, labels[:count])
                    learn(trainer, state, own, rehearsed=rehearsed, seed=number, **settings)
                    after = [trainer.evaluate(*each)["correct"] for each in (test, everyone)]
                    change = [a - b for a, b in zip(after, before, strict=True)]
                    rows.append([number, way, count, before[0], *change])
                    bar.update()
    columns = ["writer", "way", "samples", "shipped", "owner", "everyone"]
    return pd.DataFrame(rows, columns=columns)


def spread(table, value: str):
    """Mean over the writers with its 95 % interval, by way and samples: DataFrame of ``mean``,
    ``low``, ``high``.
    """
    return _means(table.groupby(["way", "samples"], sort=False)[value])


def _means(grouped):
    import pandas as pd
    from scipy import stats

    found = grouped.agg(["mean", "sem", "count"])
    reach = found["sem"] * stats.t.ppf(0.975, found["count"] - 1)
    low, high = found["mean"] - reach, found["mean"] + reach
    return pd.DataFrame({"mean": found["mean"], "low": low, "high": high})


@dataclass(frozen=True)
class Shopper:
    """An owner whose taste adds ``taste @ (item features - .5)`` to what the study's users like."""

    taste: np.ndarray

    def rows(self, rng: np.random.Generator, requests: int) -> Rows:
        """Requests of 20 candidates and the probability of a click of each."""
        source = shop.STUDY.sources["personalised"]
        inputs = source.draw(rng, requests * source.candidates)
        liked = source.utility(inputs) + (inputs[shop.ITEM.name] - 0.5) @ self.taste
        return inputs, source.probability(liked, source.threshold)


def shopper(rng: np.random.Generator, strength: float = 3.0) -> Shopper:
    """A taste, each feature's liking drawn from a normal distribution of that deviation."""
    return Shopper(rng.normal(0.0, strength, shop.ITEM.shape[0]))


FEEDBACK = {
    "honest": lambda rng, probability: rng.random(len(probability)) < probability,
    "hostile": lambda rng, probability: rng.random(len(probability)) >= probability,
    "empty": lambda rng, probability: np.zeros(len(probability), bool),
}
"""What becomes of a day's rows: clicks, clicks on what is disliked, and none at all."""


def days(
    trainer: Trainer,
    state: State,
    owner: Shopper,
    rehearsed: Rows,
    *,
    feedback: str = "honest",
    days: int = 10,
    requests: int = 10,
    margin: float = 0.03,
    epochs: int = 3,
    learning_rate: float = 0.003,
    seed: int = 42,
):
    """A phone that learns its owner's taste from each day's clicks, and is put back where it would
    be worse for the shipped rows by more than `margin`. A day on which nothing or everything was
    clicked says nothing, and is not learnt from.

    Returns
    -------
    DataFrame by day, 0 the shipped model: ``personal``, ``shipped`` and ``best`` AUC on 200
    requests of the owner's that nobody learns from; ``rehearsed``, the accuracy on the shipped
    rows; ``kept``, whether the day's training counted.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    test, probability = owner.rows(rng, 200)
    clicked = (rng.random(len(probability)) < probability).astype(np.int32)

    def auc() -> float:
        (scores,) = trainer.infer(test).values()
        return metrics.auc(scores[:, 0].astype(float), clicked)

    trainer.restore(state)
    shipped, best = auc(), metrics.auc(probability, clicked)
    held = trainer.evaluate(*rehearsed)["correct"]
    least, table = held - margin, [[shipped, shipped, best, held, True]]
    for day in range(days):
        inputs, liked = owner.rows(rng, requests)
        labels = FEEDBACK[feedback](rng, liked).astype(np.int32)
        settings = {"epochs": epochs, "batch_size": 20, "learning_rate": learning_rate}
        learnt, kept = state, False
        trainer.restore(state)
        if labels.min() < labels.max():
            more = {"rehearsed": rehearsed, "seed": day}
            learnt = learn(trainer, state, (inputs, labels), **more, **settings)
            kept = trainer.evaluate(*rehearsed)["correct"] >= least
        said = trainer.evaluate(*rehearsed)["correct"]
        state = learnt if kept else state
        trainer.restore(state)
        table.append([auc(), shipped, best, said, kept])
    columns = ["personal", "shipped", "best", "rehearsed", "kept"]
    return pd.DataFrame(table, columns=columns, index=pd.RangeIndex(days + 1, name="day"))


def owners(
    trainer: Trainer, state: State, rehearsed: Rows, *, count: int = 8, seed: int = 42, **settings
):
    """AUC on the lists of owners of different tastes, before and after `days` of honest clicks, and
    how much of it is possible: DataFrame of ``mean``, ``low``, ``high`` (95 % interval over the
    owners) by ``shipped``, ``personal``, ``gain``, ``best``.
    """
    import pandas as pd

    last = []
    for number in range(count):
        taste = shopper(np.random.default_rng([seed, number]))
        lived = days(trainer, state, taste, rehearsed, seed=seed + number, **settings)
        last.append(lived[["shipped", "personal", "best"]].iloc[-1])
    table = pd.DataFrame(last, index=pd.RangeIndex(count, name="owner"))
    table.insert(2, "gain", table["personal"] - table["shipped"])
    long = table.melt(var_name="AUC")
    return _means(long.groupby("AUC", sort=False)["value"])
