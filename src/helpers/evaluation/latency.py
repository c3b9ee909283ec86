"""Latency that can be repeated: interleaved blocks in fresh processes, ratios to a reference, a measured floor.

A single call is shorter than the timer's step, and a machine drifts between speeds up to a factor of two
apart. So calls are timed in blocks of at least 4 ms; every file is open in a process of its own, and in each
round every file is timed once at every batch size, in random order, one process at a time. What is
compared is the ratio of two files within a round, where the drift cancels. The reference is also
timed against a second process of itself: how far that ratio strays from 1 is the noise floor, and no
smaller difference is claimed.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from helpers.child import Child
from helpers.errors import BadInput
from helpers.schema import Schema

BLOCK_SECONDS = 0.004
"""Shortest block: 100,000 timer steps of 40 ns."""
QUICK_ROUNDS, THOROUGH_ROUNDS = 30, 120
THOROUGH_PROCESSES = 3
"""Fresh sets of processes in a thorough measurement: memory layout differs from one to the next."""
AGAIN = "reference again"
"""Name of the second process of the reference file in the measured blocks."""
BATCHES = (1, 64, 4096)
MODES = ("copy_and_run", "run")


def measure(
    files: dict[str, Path],
    schema: Schema,
    inputs_file: Path,
    *,
    reference: str,
    batches: tuple[int, ...] = BATCHES,
    threads: int = 1,
    thorough: bool = False,
    seed: int = 0,
):
    """Time model files against each other.

    Parameters
    ----------
    files : by name, the model files; each is opened in a fresh process.
    inputs_file : ``reference.npz`` of the run; batches are taken from its first rows, repeated if need be.
    reference : the name in `files` that is timed twice, for ratios and the noise floor.
    threads : threads a runtime may use.
    thorough : `THOROUGH_ROUNDS` in each of `THOROUGH_PROCESSES` sets of processes, in place of one set of
        `QUICK_ROUNDS`.
    seed : of the random order.

    Returns
    -------
    DataFrame, one row a timed block: variant, batch, mode (``copy_and_run`` or ``run``), process (which set),
    round (0 is warm-up), calls, seconds (of the block), microseconds (a call).
    """
    import pandas as pd
    from tqdm import tqdm

    if reference not in files:
        raise BadInput(f"the reference {reference!r} is not among the files: {', '.join(files)}")
    every = {**files, AGAIN: files[reference]}
    processes, rounds = (THOROUGH_PROCESSES, THOROUGH_ROUNDS) if thorough else (1, QUICK_ROUNDS)
    rng = np.random.default_rng(seed)
    cells = [(variant, batch, mode) for variant in every for batch in batches for mode in MODES]
    rows = []
    bar = tqdm(total=processes * (rounds + 1) * len(cells), desc="timing", unit=" blocks", delay=2, leave=False)
    with bar:
        for process in range(1, processes + 1):
            with ExitStack() as stack:
                children = {}
                for variant, path in every.items():
                    limits = {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": "1"}
                    children[variant] = stack.enter_context(Child(f"time {path.name}", limits))
                    children[variant].call(
                        f"{__name__}:_open",
                        path=str(path),
                        schema=schema.to_json(),
                        inputs_file=str(inputs_file),
                        batches=list(batches),
                        threads=threads,
                    )
                calls = {}
                for number in range(rounds + 1):
                    for i in rng.permutation(len(cells)):
                        variant, batch, mode = cell = cells[i]
                        request = {"batch": batch, "mode": mode, "calls": calls.get(cell)}
                        calls[cell], seconds = children[variant].call(f"{__name__}:_block", **request)
                        rows.append((*cell, process, number, calls[cell], seconds))
                        bar.update()
    frame = pd.DataFrame(rows, columns=["variant", "batch", "mode", "process", "round", "calls", "seconds"])
    frame["microseconds"] = frame["seconds"] / frame["calls"] * 1e6
    return frame


def summarise(blocks, *, reference: str, seed: int = 0):
    """Medians and paired ratios of measured blocks.

    Returns
    -------
    DataFrame indexed by (variant, batch, mode): microseconds (median a call), p90, ratio (median over
    rounds of this file's time by the reference's in the same round), ratio_low, ratio_high (95 % percentile
    bootstrap of that median), floor (largest distance from 1 of the reference-again interval, at this batch
    and mode), verdict (``faster``, ``slower`` or ``no difference``: the interval holds 1, or the ratio is
    within the floor).
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    timed = blocks[blocks["round"] > 0]
    table = timed.pivot_table(index=["process", "round"], columns=["batch", "mode", "variant"], values="microseconds")
    rows = []
    for batch, mode in {(b, m): None for b, m, _ in table.columns}:
        here = table[batch][mode]
        base = here[reference].to_numpy()
        draws = rng.integers(0, len(base), (1000, len(base)))
        found = {}
        for variant in here.columns:
            ratio = here[variant].to_numpy() / base
            low, high = np.quantile(np.median(ratio[draws], axis=1), [0.025, 0.975])
            found[variant] = (float(np.median(ratio)), float(low), float(high))
        floor = max(abs(bound - 1) for bound in found[AGAIN][1:])
        for variant, (ratio, low, high) in found.items():
            same = low <= 1 <= high or abs(ratio - 1) <= floor
            rows.append(
                {
                    "variant": variant,
                    "batch": batch,
                    "mode": mode,
                    "microseconds": float(here[variant].median()),
                    "p90": float(here[variant].quantile(0.9)),
                    "ratio": ratio,
                    "ratio_low": low,
                    "ratio_high": high,
                    "floor": floor,
                    "verdict": "no difference" if same else "faster" if ratio < 1 else "slower",
                }
            )
    return pd.DataFrame(rows).set_index(["variant", "batch", "mode"]).sort_index()


_CELL_WIDTH = 48
"""Under pandas' limit of 50, so that no cell is cut."""


def table(summary, mode: str = "copy_and_run"):
    """Medians, ratios and verdicts to read: DataFrame of text, a row a variant, then the noise floor.

    Cells have one width whatever the numbers, so that stored outputs compare once times are masked.
    """
    import pandas as pd

    def cell(row) -> str:
        ratio = f"{row['ratio']:.2f}x, {row['ratio_low']:.2f}-{row['ratio_high']:.2f}x"
        return f"{row['microseconds']:.2f} us ({ratio}) {row['verdict']}".rjust(_CELL_WIDTH)

    part = summary.xs(mode, level="mode")
    variants = [v for v in part.index.unique("variant") if v != AGAIN] + [AGAIN]
    cells = {}
    for batch in sorted(part.index.unique("batch")):
        floor = f"{part.loc[(AGAIN, batch), 'floor']:.2f}x".rjust(_CELL_WIDTH)
        cells[f"batch {batch}"] = [cell(part.loc[(variant, batch)]) for variant in variants] + [floor]
    return pd.DataFrame(cells, index=[*variants, "noise floor"])


_steps: dict[tuple[int, str], object] = {}


def _open(path: str, schema: dict, inputs_file: str, batches: list[int], threads: int) -> None:
    """Open a file and bind its calls to each batch; runs in a child process."""
    import gc

    from helpers.evaluation.parity import Reference
    from helpers.runtimes import open_model

    declared = Schema.from_json(schema)
    inputs = Reference.load(Path(inputs_file)).inputs
    for batch in batches:
        batch_inputs = {name: np.resize(array, (batch, array.shape[1])) for name, array in inputs.items()}
        model = open_model(Path(path), declared, threads=threads, trusted=True)  # one a batch: no resizing between
        for mode, step in model.steps(batch_inputs)._asdict().items():
            _steps[batch, mode] = step
    gc.collect()
    gc.disable()


def _block(batch: int, mode: str, calls: int | None) -> tuple[int, float]:
    """Time a block of `calls` (None finds how many); runs in a child process.

    A block that ends before `BLOCK_SECONDS`, because the machine was slower when the calls were counted, is dropped and
    timed again with more calls, so that no shorter one is ever reported.
    """
    step = _steps[batch, mode]
    calls = calls or 1
    while (seconds := _loop(step, calls)) < BLOCK_SECONDS:
        calls = int(calls * min(16.0, 1.5 * BLOCK_SECONDS / max(seconds, 1e-9))) + 1
    return calls, seconds


def _loop(step, calls: int) -> float:
    repeat = range(calls)
    start = time.perf_counter()
    for _ in repeat:
        step()
    return time.perf_counter() - start
