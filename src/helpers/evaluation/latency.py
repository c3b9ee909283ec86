"""Latency that can be repeated: interleaved blocks in fresh processes, ratios to a reference, a measured floor.

A single call is shorter than the timer's step, and a machine drifts between speeds up to a factor of two
apart. So calls are timed in blocks of at least 4 ms; every file is open in a process of its own, and in each
round every file is timed once in every way, in random order, one process at a time. What is compared is the
ratio of two files within a round, where the drift cancels. The reference is also timed against other processes of
itself: how far their ratios stray from 1 is the noise floor, and no smaller difference is claimed.

What is timed is the runtime: `timeit` compiles the runtime's own calls into its loop (`helpers.runtimes.Steps`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from helpers.child import Child
from helpers.errors import BadInput, DamagedFile, WorkbenchError
from helpers.evaluation.parity import BATCH_ERROR, Reference
from helpers.forks.server import TENSORFLOW_MB
from helpers.runtimes import Steps, open_model, runtime_of
from helpers.schema import Schema

BLOCK_SECONDS = 0.004
"""Shortest block: 100,000 timer steps of 40 ns."""
LEAST_ROUNDS = 5
"""Rounds that are made whatever they take: the interval of a median of five is from its smallest to its largest."""
THOROUGH_PROCESSES, THOROUGH_TIMES = 3, 10
"""A thorough measurement: fresh sets of processes, because memory layout differs, and how much longer each is timed."""
AGAIN = ("reference again", "reference a third time")
"""Names of the further processes of the reference file, that the noise floor is measured with."""
BATCHES = (1, 8, 64, 512, 4096)
THREADS = (1, 2)
MODES = ("copy_and_run", "run", "open")
"""With the copy in and out; the runtime's run alone; opening the file and scoring one row."""
_COLUMNS = ["variant", "batch", "mode", "threads", "process", "round", "calls", "seconds"]


def measure(
    files: Mapping[str, Path],
    schema: Schema,
    inputs_file: Path,
    *,
    reference: str,
    batches: tuple[int, ...] = BATCHES,
    threads: tuple[int, ...] = THREADS,
    seconds: float = 12.0,
    thorough: bool = False,
    seed: int = 0,
):
    """Time model files against each other.

    With the first of `threads` every batch size is timed with the copies and without, and opening the file; with the
    others every batch size with the copies.

    Parameters
    ----------
    files : by name, the model files; each is opened in a fresh process.
    inputs_file : ``reference.npz`` of the run; batches are taken from its first rows, repeated if need be.
    reference : the name in `files` that is timed several times, for ratios and the noise floor.
    threads : numbers of threads a runtime may use.
    seconds : how long rounds go on; starting the processes and the warm-up round come on top.
    thorough : `THOROUGH_PROCESSES` sets of processes in place of one, each timed `THOROUGH_TIMES` as long.
    seed : of the random order.

    Returns
    -------
    blocks : DataFrame, one row a timed block: variant, batch, mode (of `MODES`), threads, process (which set), round
        (0 is warm-up), calls, seconds (of the block), microseconds (a call).
    memory : Series by variant, MB that a process grows by when it loads the runtime, opens the file and scores a row
        (median over processes).
    failed : by variant, why a file could not be timed: it crashed, hung, or what is timed is not its scoring. Nothing
        of it is in the other two.

    Raises
    ------
    DamagedFile : the reference itself could not be timed.
    """
    import pandas as pd

    if reference not in files:
        raise BadInput(f"the reference {reference!r} is not among the files: {', '.join(files)}")
    every = {**files, **dict.fromkeys(AGAIN, files[reference])}
    first, *others = threads
    ways = [(batch, mode, first) for batch in batches for mode in MODES[:2]] + [(1, "open", first)]
    ways += [(batch, "copy_and_run", count) for count in others for batch in batches]
    cells = [(variant, *way) for variant in every for way in ways]
    processes, seconds = (THOROUGH_PROCESSES, THOROUGH_TIMES * seconds) if thorough else (1, seconds)
    rng = np.random.default_rng(seed)
    rows, grown, failed = [], [], {}
    for process in range(1, processes + 1):
        with ExitStack() as stack:
            children = {
                variant: stack.enter_context(Child(f"time {path.name}", _limits(max(threads)), _imports(path)))
                for variant, path in every.items()
            }
            with ThreadPoolExecutor(2) as pool:  # starting is not timed

                def start(variant, children=children):
                    request = {"path": str(every[variant]), "schema": schema.to_json(), "inputs_file": str(inputs_file)}
                    try:
                        return children[variant].call(f"{__name__}:_open", ways=ways, **request)
                    except WorkbenchError as error:
                        failed[variant] = str(error)

                grown += zip(every, pool.map(start, every), strict=True)
            with _alone():
                rows += _rounds(children, cells, process, processes, seconds, rng, failed)
    for variant in (reference, *AGAIN):
        if variant in failed:
            raise DamagedFile(f"{reference}, which all others are held against, cannot be timed: {failed[variant]}")
    blocks = pd.DataFrame(rows, columns=_COLUMNS)
    blocks = blocks[~blocks["variant"].isin(list(failed))].reset_index(drop=True)
    blocks["microseconds"] = blocks["seconds"] / blocks["calls"] * 1e6
    memory = pd.DataFrame(grown, columns=["variant", "memory_mb"]).groupby("variant")["memory_mb"].median()
    return blocks, memory.drop(list(failed)), failed


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other process measures on this machine: timings must not run at the same time.

    The lock is on a folder that every user and every environment of a machine has, whatever TMPDIR or WORKBENCH_HOME
    say; nothing is written there.
    """
    import fcntl

    folder = os.open("/tmp", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _imports(path: Path) -> str:
    """A phone runtime loads in milliseconds, and how much memory that takes is measured; TensorFlow takes seconds."""
    return "notebooks" if runtime_of(path) == "keras" else "bare"


def _limits(threads: int) -> dict[str, str]:
    return {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": "1"}


def _rounds(
    children: Mapping[str, Child], cells: list, process: int, processes: int, seconds: float, rng, failed: dict
) -> list[tuple]:
    """A warm-up round and then rounds until `seconds` are over, at least `LEAST_ROUNDS`; without what has `failed`."""
    from tqdm import tqdm

    rows, calls, number = [], {}, 0
    started = time.monotonic()
    label = f"timing, processes {process} of {processes}" if processes > 1 else "timing"
    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}"
    with tqdm(total=100, desc=label, bar_format=form, delay=2, leave=False) as bar:
        while number <= LEAST_ROUNDS or time.monotonic() - started < seconds:
            for i in rng.permutation(len(cells)):
                variant, batch, mode, threads = cell = cells[i]
                if variant in failed:
                    continue
                request = {"batch": batch, "mode": mode, "threads": threads, "calls": calls.get(cell)}
                try:
                    calls[cell], block = children[variant].call(f"{__name__}:_block", **request)
                except WorkbenchError as error:
                    failed[variant] = str(error)
                else:
                    rows.append((*cell, process, number, calls[cell], block))
            if number == 0:
                started = time.monotonic()
            number += 1
            done = min((time.monotonic() - started) / seconds, number / (LEAST_ROUNDS + 1))
            bar.update(min(100, int(100 * done)) - bar.n)
    return rows


def summarise(blocks, *, reference: str, seed: int = 0):
    """Medians and paired ratios of measured blocks.

    Returns
    -------
    DataFrame indexed by (variant, batch, mode, threads): microseconds (median a call), p90, ratio (median over rounds
    of this file's time by the reference's in the same round), ratio_low, ratio_high (95 % percentile bootstrap of that
    median), floor (the noise floor of this batch, mode and number of threads: the farthest that an interval of the
    reference's further processes strays from 1), verdict (``faster``, ``slower`` or ``no difference``: the interval
    holds 1, or the ratio is within the floor).
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    way = ["batch", "mode", "threads"]
    timed = blocks[blocks["round"] > 0]
    rows = []
    for key, part in timed.groupby(way):
        here = part.pivot_table(index=["process", "round"], columns="variant", values="microseconds")
        base = here[reference].to_numpy()
        draws = rng.integers(0, len(base), (1000, len(base)))
        ratios = here.to_numpy() / base[:, None]
        lows, highs = np.quantile(np.median(ratios[draws], axis=1), [0.025, 0.975], axis=0)
        figures = (here.median(), here.quantile(0.9), np.median(ratios, axis=0), lows, highs)
        rows += [(variant, *key, *values) for variant, *values in zip(here.columns, *figures, strict=True)]
    names = ["variant", *way, "microseconds", "p90", "ratio", "ratio_low", "ratio_high"]
    table = pd.DataFrame(rows, columns=names)
    strays = table[["ratio_low", "ratio_high"]].sub(1).abs().max(axis=1).where(table["variant"].isin(AGAIN))
    table["floor"] = strays.groupby([table[name] for name in way]).transform("max")
    same = table["ratio_low"].le(1) & table["ratio_high"].ge(1) | table["ratio"].sub(1).abs().le(table["floor"])
    faster = np.where(table["ratio"] < 1, "faster", "slower")
    table["verdict"] = np.where(same, "no difference", faster)
    return table.set_index(["variant", *way]).sort_index()


def noise_floor(summary) -> float:
    """The noise floor of what ``comparison.csv`` takes: a call at batch 1 with the copies and the fewest threads."""
    part = summary.xs((1, "copy_and_run"), level=("batch", "mode"))
    return float(part.xs(min(part.index.unique("threads")), level="threads")["floor"].max())


def variants(summary) -> list[str]:
    """The files of a summary, without the reference's further processes."""
    return [variant for variant in summary.index.unique("variant") if variant not in AGAIN]


_MARKS = {"faster": "faster", "slower": "slower", "no difference": "=     "}
_CLAIMS = {"faster": "    is faster", "slower": "    is slower", "no difference": "no difference"}


def table(summary, mode: str = "copy_and_run", threads: int = 1):
    """Medians, ratios and verdicts by batch size to read: DataFrame of text, a row a process.

    Cells have one width whatever the numbers, so that stored outputs compare once times are masked.
    """
    import pandas as pd

    part = summary.xs((mode, threads), level=("mode", "threads"))
    cells = {}
    order = [*variants(summary), *AGAIN]
    for batch in sorted(part.index.unique("batch")):
        rows = (part.loc[(variant, batch)] for variant in order)
        cells[f"batch {batch}"] = [
            f"{time_text(r['microseconds'])} {ratio_text(r['ratio'])} {_MARKS[r['verdict']]}" for r in rows
        ]
    return pd.DataFrame(cells, index=order)


def interval_table(summary, batch: int = 1, mode: str = "copy_and_run", threads: int = 1):
    """One batch size in full: median, 90th percentile, ratio with its 95 % interval, floor and verdict, as text."""
    import pandas as pd

    part = summary.xs((batch, mode, threads), level=("batch", "mode", "threads"))
    rows = {}
    for variant in [*variants(summary), *AGAIN]:
        r = part.loc[variant]
        rows[variant] = {
            "median": time_text(r["microseconds"]),
            "p90": time_text(r["p90"]),
            "ratio": ratio_text(r["ratio"]),
            "95 % interval": f"{ratio_text(r['ratio_low'])} to {ratio_text(r['ratio_high'])}",
            "noise floor": floor_text(r["floor"]),
            "claim": _CLAIMS[r["verdict"]],
        }
    return pd.DataFrame(rows).T


def footprint_table(summary, memory):
    """What a file costs before its first score: DataFrame of text with the time to open it and the memory it takes."""
    import pandas as pd

    opened = summary.xs("open", level="mode").reset_index(level=("batch", "threads"), drop=True)
    rows = {}
    for variant in variants(summary):
        r = opened.loc[variant]
        rows[variant] = {
            "open and score a row": time_text(r["microseconds"]),
            "ratio": ratio_text(r["ratio"]),
            "claim": _CLAIMS[r["verdict"]],
            "memory with its runtime": f"{memory[variant]:6.1f} MB",
        }
    return pd.DataFrame(rows).T


def time_text(microseconds: float) -> str:
    """Microseconds to read, in twelve characters whatever the number."""
    return f"{microseconds:9.2f} us"


def ratio_text(ratio: float) -> str:
    """A ratio of times to read, in eight characters whatever the number; only the digits that mean something."""
    return f"{_digits(ratio):>7}x"


def floor_text(floor: float) -> str:
    """A noise floor to read, ``+-4 %``, in eight characters whatever the number."""
    return f"+-{100 * floor:.0f} %".rjust(8)


def interval_text(ratio: float, low: float, high: float) -> str:
    """A ratio with its interval, ``186x (174-197x)``, in 24 characters whatever the numbers."""
    return f"{_digits(ratio)}x ({_digits(low)}-{_digits(high)}x)".rjust(24)


def _digits(ratio: float) -> str:
    return f"{ratio:.{2 if ratio < 10 else 1 if ratio < 100 else 0}f}"


_timers: dict[tuple[int, str, int], object] = {}


def _open(path: str, schema: dict, inputs_file: str, ways: list) -> float:
    """Open a file and bind its calls to each way to time it; runs in a child process. Returns MB of growth."""
    import gc
    from timeit import Timer

    import psutil

    declared = Schema.from_json(schema)
    inputs = Reference.load(Path(inputs_file)).inputs
    resident = psutil.Process().memory_info

    def rows(batch: int) -> dict[str, np.ndarray]:
        return {name: np.resize(array, (batch, array.shape[1])).copy() for name, array in inputs.items()}

    def opened(threads: int):
        return open_model(Path(path), declared, threads=threads, trusted=True)

    one = rows(1)
    before = resident().rss
    kept = opened(ways[0][2])
    kept.score(one)
    grown = (resident().rss - before) / 1e6
    for batch, mode, threads in ways:
        if mode == "open":
            _timers[batch, mode, threads] = Timer(lambda t=threads: opened(t).score(one))
        elif mode == "copy_and_run":  # one model a batch size: no resizing between blocks
            inputs = rows(batch)
            steps = opened(threads).steps(inputs)
            check_steps(steps, inputs, kept.score(inputs))
            _timers[batch, "copy_and_run", threads], _timers[batch, "run", threads] = steps.copy_and_run, steps.run
    gc.collect()
    gc.disable()
    return grown + float(os.environ.get(TENSORFLOW_MB, 0.0))


def check_steps(steps: Steps, inputs: Mapping[str, np.ndarray], expected: np.ndarray) -> None:
    """Refuse calls that do not do what they are timed for: take these inputs in, score every row, give all scores out.

    Parameters
    ----------
    inputs : the arrays that the steps were bound to, all rows; zeroed meanwhile, so that nothing is left of an earlier
        call.
    expected : scores ``(n_rows, 1)`` of these inputs. A thread more may round another way, hence `parity.BATCH_ERROR`.

    Raises
    ------
    DamagedFile : says how far the scores of the timed calls are from those.
    """
    kept = {name: array.copy() for name, array in inputs.items()}
    for array in inputs.values():
        array[...] = 0
    steps.scores()
    for name, array in inputs.items():
        array[...] = kept[name]
    scores = np.asarray(steps.scores())
    if scores.shape != expected.shape:
        raise DamagedFile(f"what is timed is not the scoring: {scores.size} scores for {len(expected)} rows")
    difference = np.abs(scores - expected).max()
    if not difference <= BATCH_ERROR and np.isfinite(expected).all():
        raise DamagedFile(
            f"what is timed is not the scoring: {len(expected)} rows score differently, by {difference:.1e}"
        )


def _block(batch: int, mode: str, threads: int, calls: int | None) -> tuple[int, float]:
    """Time a block of `calls` (None finds how many); runs in a child process.

    A block that ends before `BLOCK_SECONDS`, because the machine was slower when the calls were counted, is dropped and
    timed again with more calls, so that no shorter one is ever reported.
    """
    timer = _timers[batch, mode, threads]
    calls = calls or 1
    while (seconds := timer.timeit(calls)) < BLOCK_SECONDS:
        calls = int(calls * min(16.0, 1.1 * BLOCK_SECONDS / max(seconds, 1e-9))) + 1
    if mode == "open":
        import gc

        gc.collect()  # a Keras model is full of cycles
    return calls, seconds
