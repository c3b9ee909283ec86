"""What timed blocks allow to claim: ratios of latencies to a reference, their intervals, the noise
floor.

The process is the unit, not the block: a process may be a few per cent faster than the next one of
the same file as long as it lives (memory layout), and what slows a block often slows the next one
too. So a process gives one value, the first quartile of its log times once what all processes of
the round have in common is taken off. How far values of one file differ between its processes is
pooled over all files, so that two processes a file are enough.
"""

from __future__ import annotations

import numpy as np

WAY = ["batch", "mode", "threads"]
"""What is compared with each other was timed in the same way."""
CONFIDENCE = 0.96
"""Of the intervals, which are shown as 95 %: the rest is for noise with longer tails than the
normal distribution's.
"""
QUANTILE = 0.25
"""Of a process's blocks: whatever disturbs a block makes it slower, so the quicker ones tell more
of the file.
"""
WILDEST = 12.0
"""How many times the variance of the other files the wildest file's may count in the pool."""


def process_values(blocks):
    """Reduce timed blocks to one value a process.

    Parameters
    ----------
    blocks : DataFrame, one row a block: variant, the columns of `WAY`, process, round,
        microseconds.

    Returns
    -------
    DataFrame indexed by (batch, mode, threads, process), a column a variant: the `QUANTILE` over
    rounds of the log time less the drift of that round, which is the median over variants of how
    far each is from its own median.
    """
    blocks = blocks.assign(log=np.log(blocks["microseconds"]))
    process = [*WAY, "process"]
    stray = blocks["log"] - blocks.groupby([*process, "variant"])["log"].transform("median")
    drift = stray.groupby([blocks[name] for name in (*process, "round")]).transform("median")
    blocks["log"] -= drift
    return (
        blocks.groupby([*process, "variant"])["log"]
        .quantile(QUANTILE, interpolation="nearest")
        .unstack("variant")
    )


def compare(
    values: np.ndarray, is_reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Compare every variant with the reference.

    Parameters
    ----------
    values : log times ``(n_ways, n_sets, n_variants)``; a set is a process of every variant, open
        at the same time.
    is_reference : ``(n_variants,)``, true for the variants that are the reference's file.

    Returns
    -------
    log ratio, low, high : ``(n_ways, n_variants)``: the mean over sets of the difference to the
        mean of the set's reference processes (for one of these to the mean of the others), and
        Student's interval around it; widened, if need be, to hold the difference of every set.
    half_width : ``(n_ways,)``, of the interval of a file that is not the reference before it is
        widened.
    """
    from scipy.special import stdtrit

    _, sets, _ = values.shape
    references = int(is_reference.sum())
    others = np.where(is_reference, references - 1, references)
    difference = values - values[:, :, is_reference].mean(axis=2, keepdims=True)
    difference = np.where(is_reference, difference * references / (references - 1), difference)
    ratio = difference.mean(axis=1)

    deviation, freedom = process_deviation(values, is_reference)
    student = stdtrit(freedom, (1 + CONFIDENCE) / 2)
    half = student * deviation[:, None] * np.sqrt((1 + 1 / others) / sets)
    low = np.minimum(ratio - half, difference.min(axis=1))
    high = np.maximum(ratio + half, difference.max(axis=1))
    return ratio, low, high, student * deviation * np.sqrt((1 + 1 / references) / sets)


def process_deviation(values: np.ndarray, is_reference: np.ndarray) -> tuple[np.ndarray, int]:
    """Estimate by how much processes of one file differ, pooled over files.

    Parameters
    ----------
    values, is_reference : as in `compare`.

    Returns
    -------
    deviation : ``(n_ways,)``, standard deviation of the log times between processes of one file in
        one set.
    freedom : its degrees of freedom: values less files less sets but one.
    """
    _, sets, variants = values.shape
    references = int(is_reference.sum())
    files = variants - references + 1
    level = values.mean(axis=1)
    level[:, is_reference] = level[:, is_reference].mean(axis=1, keepdims=True)
    rest = values - level[:, None, :]
    shift = np.median(rest, axis=2, keepdims=True)  # of a set; a mean would follow a wild file
    squares = ((rest - shift) ** 2).sum(axis=1)
    squares = np.column_stack(
        [squares[:, is_reference].sum(axis=1), squares[:, ~is_reference]]
    )  # (n_ways, n_files)
    freedom = np.array([references * sets - 1] + [sets - 1] * (files - 1))
    variances = np.divide(squares, freedom, out=np.zeros_like(squares), where=freedom > 0)
    wildest = variances.argmax(axis=1)
    largest, own_freedom = (
        np.take_along_axis(squares, wildest[:, None], axis=1)[:, 0],
        freedom[wildest],
    )
    others, others_freedom = squares.sum(axis=1) - largest, freedom.sum() - own_freedom
    limit = np.full(len(largest), np.inf)
    np.divide(WILDEST * own_freedom * others, others_freedom, out=limit, where=others_freedom > 0)
    total = sets * variants - files - (sets - 1)
    return np.sqrt((others + np.minimum(largest, limit)) / total), total
