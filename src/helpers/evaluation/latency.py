"""Latency that can be repeated: interleaved blocks in fresh processes, ratios to a reference, a
measured floor.

A single call is shorter than the timer's step, and a machine drifts between speeds up to a factor
of two apart. So calls are timed in blocks of at least 2 ms; every file is open in a process of its
own, and in a round every file is timed once in each way, one process at a time, all files in one
way after each other and in random order: the call with its copies, at the first number of threads,
in every round, other ways in every third. What is compared is the difference within a round, where
the drift cancels. Processes of one file differ for as long as they live: so each file is timed in
several sets of fresh processes, one after another, and the reference in several processes of a set.
How far processes of one file stray is the noise floor, and no smaller difference is claimed;
`helpers.evaluation.latency_statistics` says how.

What is timed is the runtime: `timeit` compiles the runtime's own calls into its loop
(`helpers.runtimes.Steps`).
"""

from __future__ import annotations

import functools
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from helpers.child import Child
from helpers.errors import BadInput, DamagedFile, WorkbenchError
from helpers.evaluation import latency_statistics
from helpers.forks.server import TENSORFLOW_MB
from helpers.runtimes import PHONE, Steps, imports, open_model, runtime_of, scale_of
from helpers.schema import Schema
from helpers.tasks.judgement import BATCH_ERROR

BLOCK_SECONDS = 0.002
"""Shortest block: 50,000 timer steps of 40 ns."""
PROCESSES = 2
"""Sets of fresh processes that share the time of a measurement."""
OTHER_WAYS = 3
"""In every so many rounds all ways are timed; in those between only what apps do."""
LEAST_ROUNDS = 3
"""Rounds that are made in each set whatever they take."""
THOROUGH_PROCESSES, THOROUGH_TIMES = 3, 10
"""A thorough measurement: sets of processes, and how many times the whole of a usual measurement
each is timed.
"""
AGAIN = ("reference again", "reference a third time")
"""Names of the further processes of the reference file in each set."""
LARGEST_FLOOR = 0.06
"""Noise floor up to which a true difference of 10 % is claimed nine times in ten."""
BATCHES = (1, 8, 64, 512, 4096)
BATCH_BYTES = 8 << 20
THREADS = (1, 2)
MODES = ("copy_and_run", "run", "open")
"""With the copy in and out; the runtime's run alone; opening the file and scoring one row."""
_COLUMNS = ["variant", "batch", "mode", "threads", "process", "round", "calls", "seconds"]


def measure(
    files: Mapping[str, Path],
    schema: Schema,
    inputs: Mapping[str, np.ndarray],
    *,
    reference: str,
    batches: tuple[int, ...] | None = None,
    threads: tuple[int, ...] = THREADS,
    seconds: float = 5.0,
    thorough: bool = False,
    seed: int = 0,
):
    """Time model files against each other.

    With the first of `threads` every batch size is timed with the copies and without, and opening
    the file; with the others every batch size with the copies. All but the calls with the copies at
    the first of `threads` are timed in one round of `OTHER_WAYS` only.

    Parameters
    ----------
    files : by name, the model files; each is opened in a fresh process.
    inputs : named inputs; batches are taken from the first rows, repeated if need be.
    batches : rows a call, by default those of `BATCHES` that the schema takes and that have at most
        `BATCH_BYTES`.
    reference : the name in `files` that is timed several times, for ratios and the noise floor.
    threads : numbers of threads a runtime may use.
    seconds : how long rounds go on, in all `PROCESSES` sets together; starting the processes and
        the warm-up rounds come on top.
    thorough : `THOROUGH_PROCESSES` sets of processes, each timed `THOROUGH_TIMES` these seconds.
    seed : of the random order.

    Returns
    -------
    blocks : DataFrame, one row a timed block: variant, batch, mode (of `MODES`), threads, process
        (which set), round (0 is warm-up), calls, seconds (of the block), microseconds (a call).
    memory : Series by variant, MB that a process grows by when it loads the runtime, opens the file
        and scores a row.
    failed : by variant, why a file could not be timed: it crashed, hung, or what is timed is not
        its scoring. Nothing of it is in the other two.

    Raises
    ------
    DamagedFile : the reference itself could not be timed.
    """
    import pandas as pd

    if reference not in files:
        raise BadInput(f"the reference {reference!r} is not among the files: {', '.join(files)}")
    every = {**files, **dict.fromkeys(AGAIN, files[reference])}
    batches = batches or schema.batch_sizes(BATCHES, BATCH_BYTES)
    first, *others = threads
    ways = [(batch, mode, first) for batch in batches for mode in MODES[:2]] + [
        (min(batches), "open", first)
    ]
    ways += [(batch, "copy_and_run", count) for count in others for batch in batches]
    sample = {name: array[: max(batches)] for name, array in inputs.items()}
    processes, each = (
        (THOROUGH_PROCESSES, THOROUGH_TIMES * seconds)
        if thorough
        else (PROCESSES, seconds / PROCESSES)
    )
    rng = np.random.default_rng(seed)
    rows, grown, calls, failed = [], [], {}, {}
    for process in range(1, processes + 1):
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            np.savez(f"{folder}/inputs.npz", **sample)
            children = {
                variant: stack.enter_context(
                    Child(f"time {path.name}", _limits(max(threads)), _imports(path, process))
                )
                for variant, path in every.items()
                if variant not in failed
            }
            with ThreadPoolExecutor(2) as pool:  # starting is not timed

                def start(variant, children=children, inputs_file=f"{folder}/inputs.npz"):
                    request = {
                        "path": str(every[variant]),
                        "schema": schema.to_json(),
                        "inputs_file": inputs_file,
                    }
                    try:
                        return children[variant].call(f"{__name__}:_open", ways=ways, **request)
                    except WorkbenchError as error:
                        failed[variant] = str(error)

                took = list(zip(children, pool.map(start, children), strict=True))
            grown = grown or took
            with _alone():
                rows += _rounds(children, ways, process, processes, each, rng, calls, failed)
        for variant in (reference, *AGAIN):
            if variant in failed:
                raise DamagedFile(
                    f"{reference}, which all others are held against, cannot be timed: "
                    f"{failed[variant]}"
                )
    blocks = pd.DataFrame(rows, columns=_COLUMNS)
    blocks = blocks[~blocks["variant"].isin(list(failed))].reset_index(drop=True)
    blocks["microseconds"] = blocks["seconds"] / blocks["calls"] * 1e6
    memory = pd.Series(dict(grown), name="memory_mb").rename_axis("variant")
    return blocks, memory.drop(list(failed)), failed


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other process measures on this machine: timings must not run at the same time.

    The lock is on a folder that every user and every environment of a machine has, whatever TMPDIR
    or WORKBENCH_HOME say; nothing is written there.
    """
    import fcntl

    folder = os.open("/tmp", os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _imports(path: Path, process: int) -> str:
    """In the first set of processes a phone's runtime is not loaded before, because how much memory
    that takes is measured.
    """
    return "bare" if runtime_of(path) in PHONE and process == 1 else imports(path)


def _limits(threads: int) -> dict[str, str]:
    return {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": "1"}


def _rounds(
    children: Mapping[str, Child],
    ways: list,
    process: int,
    processes: int,
    seconds: float,
    rng,
    calls: dict,
    failed: dict,
) -> Iterator[tuple]:
    """Yield the blocks of a warm-up round and of rounds until `seconds` are over, at least
    `LEAST_ROUNDS`.

    `calls` of a block, by variant and way, and what has `failed` are added to.
    """
    from tqdm import tqdm

    number, started, variants = 0, time.monotonic(), list(children)
    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}"
    label = f"timing, processes {process} of {processes}"
    with tqdm(total=100, desc=label, bar_format=form, delay=2, leave=False) as bar:
        while number <= LEAST_ROUNDS or time.monotonic() - started < seconds:
            first = ways[0][1:]  # the mode and the number of threads of most calls
            now = [way for way in ways if number % OTHER_WAYS == 0 or way[1:] == first]
            if number == 0:  # every process has opened its file many times by now
                now = [way for way in now if way[1] != "open"]
            cells = [
                (variants[i], now[j])
                for j in rng.permutation(len(now))
                for i in rng.permutation(len(variants))
            ]
            for variant, way in cells:
                if variant in failed:
                    continue
                request = dict(
                    zip(("batch", "mode", "threads"), way, strict=True),
                    calls=calls.get((variant, way)),
                )
                try:
                    count, block = children[variant].call(f"{__name__}:_block", **request)
                except WorkbenchError as error:
                    failed[variant] = str(error)
                else:
                    calls[variant, way] = count
                    yield variant, *way, process, number, count, block
            if number == 0:
                started = time.monotonic()
            number += 1
            done = min((time.monotonic() - started) / seconds, number / (LEAST_ROUNDS + 1))
            bar.update(min(100, int(100 * done)) - bar.n)


def summarise(blocks, *, reference: str, order: Sequence[str] = ()):
    """Medians, and ratios to the reference with what can be claimed of them.

    Parameters
    ----------
    order : of the files in tables and figures; default by name.

    Returns
    -------
    DataFrame indexed by (variant, batch, mode, threads): microseconds (median a call), p90, ratio
    (of this file's time to the reference's, by processes, see `latency_statistics`; of the
    reference's further processes to its other ones), ratio_low, ratio_high (its 95 % interval),
    floor (the noise floor of this batch, mode and number of threads: the smallest change, 0.05 for
    5 %, that the interval of any file can leave 1 with), verdict (``faster``, ``slower`` or ``no
    difference``: the interval holds 1).
    """
    import pandas as pd

    timed = blocks[blocks["round"] > 0]
    values = latency_statistics.process_values(timed)
    ways = values.index.droplevel("process").unique()
    names = values.columns
    array = values.to_numpy().reshape(len(ways), -1, len(names))
    ratio, low, high, half = latency_statistics.compare(array, names.isin([reference, *AGAIN]))
    keys = [(variant, *way) for way in ways for variant in names]
    table = pd.DataFrame(index=pd.MultiIndex.from_tuples(keys, names=["variant", *ways.names]))
    times = timed.groupby(table.index.names)["microseconds"]
    table["microseconds"], table["p90"] = times.median(), times.quantile(0.9)
    for name, logs in (("ratio", ratio), ("ratio_low", low), ("ratio_high", high)):
        logs[:, names == reference] = 0.0
        table[name] = np.exp(logs).ravel()
    table["floor"] = np.repeat(np.expm1(half), len(names))
    same = table["ratio_low"].le(1) & table["ratio_high"].ge(1)
    table["verdict"] = np.where(
        same, "no difference", np.where(table["ratio"] < 1, "faster", "slower")
    )
    table = table.sort_index()
    table.attrs["order"] = list(order)
    return table


def warning(summary) -> str:
    """Say where the measurement is too noisy, or too short, to see a difference of 10 %; empty if
    nowhere.
    """
    floors = summary["floor"].groupby(level=latency_statistics.WAY).first()
    above = int((floors > LARGEST_FLOOR).sum())
    if not above:
        return ""
    batch, mode, threads = floors.idxmax()
    return (
        f"Too noisy, or timed too briefly: a true difference of 10 % may go unseen in {above} of "
        f"{len(floors)} ways of timing, whose noise floor is above {100 * LARGEST_FLOOR:.0f} % "
        f"(largest: {100 * floors.max():.0f} %, batch {batch}, {mode}, threads {threads}). Let "
        "nothing else run, and time longer: a larger latency_seconds, or thorough."
    )


def noise_floor(summary) -> float:
    """The noise floor of what ``comparison.csv`` takes: a call at batch 1 with the copies and the
    fewest threads.
    """
    part = summary.xs((_smallest(summary), "copy_and_run"), level=("batch", "mode"))
    return float(part.xs(min(part.index.unique("threads")), level="threads")["floor"].max())


def _smallest(summary) -> int:
    """The smallest batch that was timed: 1, unless it is fixed."""
    return min(summary.index.unique("batch"))


def variants(summary) -> list[str]:
    """The files of a summary in its order, without the reference's further processes."""
    timed = summary.index.unique("variant")
    order = [name for name in summary.attrs.get("order", ()) if name in timed]
    return [name for name in dict.fromkeys([*order, *timed]) if name not in AGAIN]


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
            f"{time_text(r['microseconds'])} {ratio_text(r['ratio'])} {_MARKS[r['verdict']]}"
            for r in rows
        ]
    return pd.DataFrame(cells, index=order)


def interval_table(summary, batch: int | None = None, mode: str = "copy_and_run", threads: int = 1):
    """One batch size in full, by default the smallest: DataFrame of text.

    Median, 90th percentile, ratio with its 95 % interval, floor and verdict.
    """
    import pandas as pd

    batch = _smallest(summary) if batch is None else batch
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
    """What a file costs before its first score: DataFrame of text with the time to open it and the
    memory it takes.
    """
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
    """A ratio of times to read, in eight characters whatever the number; only the digits that mean
    something.
    """
    return f"{_digits(ratio):>7}x"


def floor_text(floor: float) -> str:
    """A noise floor to read, ``±4 %``, in seven characters whatever the number."""
    return f"±{100 * floor:.0f} %".rjust(7)


def interval_text(ratio: float, low: float, high: float) -> str:
    """A ratio with its interval, ``186x (174-197x)``, in 24 characters whatever the numbers."""
    return f"{_digits(ratio)}x ({_digits(low)}-{_digits(high)}x)".rjust(24)


def _digits(ratio: float) -> str:
    return f"{ratio:.{2 if ratio < 10 else 1 if ratio < 100 else 0}f}"


_timers: dict[tuple[int, str, int], object] = {}


def _open(path: str, schema: dict, inputs_file: str, ways: list) -> float:
    """Open a file and bind its calls to each way to time it; runs in a child process. Returns MB of
    growth.
    """
    import gc
    from timeit import Timer

    import psutil

    declared = Schema.from_json(schema)
    with np.load(inputs_file, allow_pickle=False) as file:
        sample = dict(file)
    resident = psutil.Process().memory_info

    def rows(batch: int) -> dict[str, np.ndarray]:
        return {
            name: np.resize(array, (batch, *array.shape[1:])).copy()
            for name, array in sample.items()
        }

    def opened(threads: int):
        return open_model(Path(path), declared, threads=threads, trusted=True)

    first = rows(min(batch for batch, *_ in ways))
    before = resident().rss
    shared = functools.cache(opened)
    kept = shared(ways[0][2])
    kept.predict(first)
    grown = (resident().rss - before) / 1e6
    for batch, mode, threads in ways:
        if mode == "open":
            _timers[batch, mode, threads] = Timer(lambda t=threads: opened(t).predict(first))
        elif mode == "copy_and_run":  # one model a batch size: no resizing between blocks
            inputs = rows(batch)
            model = opened(threads) if runtime_of(path) in PHONE else shared(threads)
            steps = model.steps(inputs)
            check_steps(steps, inputs, kept.predict(inputs))
            _timers[batch, "copy_and_run", threads], _timers[batch, "run", threads] = (
                steps.copy_and_run,
                steps.run,
            )
    gc.collect()
    gc.disable()
    return grown + float(os.environ.get(TENSORFLOW_MB, 0.0))


def check_steps(
    steps: Steps, inputs: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> None:
    """Refuse calls that do not do what they are timed for: take these inputs in, compute every row,
    give all outputs.

    Parameters
    ----------
    inputs : the arrays that the steps were bound to, all rows; zeroed meanwhile, so that nothing is
        left of an earlier call.
    expected : outputs ``(n_rows, *shape)`` of these inputs. A thread more may round another way,
        hence `helpers.tasks.judgement.BATCH_ERROR`.

    Raises
    ------
    DamagedFile : says how far the scores of the timed calls are from those.
    """
    kept = {name: array.copy() for name, array in inputs.items()}
    for array in inputs.values():
        array[...] = 0
    steps.outputs()
    for name, array in inputs.items():
        array[...] = kept[name]
    for name, found in steps.outputs().items():
        wanted = expected[name]
        if found.shape != wanted.shape:
            raise DamagedFile(
                f"what is timed is not the scoring: {found.size} scores for {len(wanted)} rows"
            )
        difference = np.abs(found - wanted).max() / scale_of(wanted)
        if not difference <= BATCH_ERROR and np.isfinite(wanted).all():
            raise DamagedFile(
                f"what is timed is not the scoring: {len(wanted)} rows score differently, by "
                f"{difference:.1e}"
            )


def _block(batch: int, mode: str, threads: int, calls: int | None) -> tuple[int, float]:
    """Time a block of `calls` (None finds how many); runs in a child process.

    A block that ends before `BLOCK_SECONDS`, because the machine was slower when the calls were
    counted, is dropped and timed again with more calls, so that no shorter one is ever reported.
    """
    timer = _timers[batch, mode, threads]
    calls = calls or 1
    while (seconds := timer.timeit(calls)) < BLOCK_SECONDS:
        calls = int(calls * min(16.0, 1.1 * BLOCK_SECONDS / max(seconds, 1e-9))) + 1
    if mode == "open":
        import gc

        gc.collect()  # a Keras model is full of cycles
    return calls, seconds
