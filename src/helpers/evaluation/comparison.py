"""comparison.csv: one row a model file, what it scores beside what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from helpers.evaluation.parity import Parity
from helpers.runtimes import variant_of

COLUMNS = (
    "runtime",
    "precision",
    "file",
    "bytes",
    "max_abs_error",
    "accuracy",
    "auc",
    "auc_delta",
    "auc_delta_low",
    "auc_delta_high",
    "ndcg_at_10",
    "kendall_tau",
    "top10_overlap",
    "distinct_scores",
    "latency_us",
    "latency_ratio",
    "latency_ratio_low",
    "latency_ratio_high",
    "verdict",
    "reason",
    "mean_abs_error",
    "log_loss",
    "request_auc",
    "ndcg_delta",
    "ndcg_delta_low",
    "ndcg_delta_high",
    "calibration_error",
    "open_ms",
    "memory_mb",
)
LATENCY_REFERENCE = "litert fp32"
"""What latency ratios are taken to: the plain file that an app would ship, not the training framework."""


def name_of(file: str) -> str:
    """How a file of a run is called in tables: ``mnn fp32`` for ``mnn/fp32.mnn``."""
    return " ".join(variant_of(file))


def build(files: Mapping[str, Path], parities: Mapping[str, Parity], latency, memory):
    """The comparison table, with the columns and order of `COLUMNS`.

    Parameters
    ----------
    files : paths by file name within the run.
    parities : by variant name, see `name_of`.
    latency : table of `latency.summarise`; batch 1 with the copy in and out and the fewest threads is taken.
    memory : MB by variant name, of `latency.measure`.
    """
    import pandas as pd

    threads = min(latency.index.unique("threads"))
    rows = []
    for file, path in files.items():
        name = name_of(file)
        runtime, precision = variant_of(file)
        time, opened = (latency.loc[(name, 1, mode, threads)] for mode in ("copy_and_run", "open"))
        measured = {
            "runtime": runtime,
            "precision": precision,
            "file": file,
            "bytes": path.stat().st_size,
            "latency_us": time["microseconds"],
            "latency_ratio": time["ratio"],
            "latency_ratio_low": time["ratio_low"],
            "latency_ratio_high": time["ratio_high"],
            "open_ms": opened["microseconds"] / 1000,
            "memory_mb": memory[name],
        }
        rows.append({**vars(parities[name]), **measured})
    return pd.DataFrame(rows)[list(COLUMNS)]
