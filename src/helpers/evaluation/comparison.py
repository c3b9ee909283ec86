"""comparison.csv: one row a model file, what it scores beside what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from helpers.runtimes import NAMES, PHONE, variant_of
from helpers.tasks import Task
from helpers.tasks.judgement import SHIPS, Judgement

FIRST = ("runtime", "precision", "file", "bytes", "max_abs_error")
LATENCY = (
    "latency_us",
    "latency_ratio",
    "latency_ratio_low",
    "latency_ratio_high",
    "verdict",
    "reason",
)
FOOTPRINT = ("open_ms", "memory_mb")
"""Columns that every task has: before its own, between them, and behind."""
LATENCY_REFERENCES = {
    "litert fp32": "LiteRT fp32",
    "litert given": "the given file",
    "mnn fp32": "MNN fp32",
    **{f"{runtime} fp32": name for runtime, name in NAMES.items() if runtime not in PHONE},
}
"""What latency ratios are taken to, the first that there is: a plain file that an app would ship,
before the training framework. With what it is called."""
NOT_MADE, NOT_JUDGED = "not made", "not judged"
"""Verdicts of a recipe that the tools could not make a file of, and of a file that runs elsewhere
only; the reason says more."""


def name_of(file: str) -> str:
    """How a file of a run is called in tables: ``mnn fp32`` for ``mnn/fp32.mnn``."""
    return " ".join(variant_of(file))


def names(comparison):
    """How the files of a comparison are called in tables: Series of text, ``mnn fp32``."""
    return comparison["runtime"] + " " + comparison["precision"]


def latency_reference(parities: Mapping[str, Judgement]) -> str:
    """The variant that latency ratios are taken to: the first of `LATENCY_REFERENCES` that can be
    shipped.
    """
    return next(
        name for name in LATENCY_REFERENCES if name in parities and parities[name].verdict in SHIPS
    )


def latency_label(comparison) -> str:
    """What the latency reference of a comparison is called: its ratio to itself has no interval."""
    alike = comparison["latency_ratio_low"] == comparison["latency_ratio_high"]
    exact = set(names(comparison)[alike])
    return next(
        (label for name, label in LATENCY_REFERENCES.items() if name in exact), "the reference"
    )


def columns(task: Task) -> list[str]:
    """Columns of ``comparison.csv`` in order."""
    return [*FIRST, *task.columns, *LATENCY, *task.more_columns, *FOOTPRINT]


def build(
    task: Task,
    files: Mapping[str, Path],
    parities: Mapping[str, Judgement],
    latency,
    memory,
    missing=None,
):
    """The comparison table, with the columns of `columns`.

    Parameters
    ----------
    files : paths by file name within the run.
    parities : by variant name, see `name_of`.
    latency : table of `latency.summarise`; the smallest batch with the copy in and
        out and the fewest threads is taken. A file that could not be timed is not in it.
    memory : MB by variant name, of `latency.measure`.
    missing : what has no verdict, of `helpers.convert.variants.not_judged`; each is a row of its
        own.
    """
    import pandas as pd

    threads, batch = (min(latency.index.unique(level)) for level in ("threads", "batch"))
    timed = set(latency.index.unique("variant"))
    rows = []
    for file, path in files.items():
        name = name_of(file)
        runtime, precision = variant_of(file)
        found = parities[name]
        row = {
            **found.figures,
            "verdict": found.verdict,
            "reason": found.reason,
            "runtime": runtime,
            "precision": precision,
            "file": file,
        }
        row["bytes"] = path.stat().st_size
        if name in timed:
            time, opened = (
                latency.loc[(name, batch, mode, threads)] for mode in ("copy_and_run", "open")
            )
            row |= {f"latency_{key}": time[key] for key in ("ratio", "ratio_low", "ratio_high")}
            row |= {"latency_us": time["microseconds"], "open_ms": opened["microseconds"] / 1000}
            row["memory_mb"] = memory[name]
        rows.append(row)
    for name, row in () if missing is None else missing.iterrows():
        runtime, _, precision = name.partition(" ")
        verdict = NOT_MADE if pd.isna(row["file"]) else NOT_JUDGED
        rows.append({"runtime": runtime, "precision": precision, **row, "verdict": verdict})
    table = pd.DataFrame(rows, columns=columns(task))
    whole = [name for name in ("bytes", "distinct_scores") if name in table]
    return table.astype({name: "Int64" if table[name].isna().any() else "int64" for name in whole})
