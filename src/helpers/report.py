"""``report.html``: one page of a run, one file, no network."""

from __future__ import annotations

import base64
from pathlib import Path

from helpers import __version__, runs
from helpers.evaluation import parity

TABLE_COLUMNS = {
    "runtime": "runtime",
    "precision": "precision",
    "bytes": "bytes",
    "max_abs_error": "largest difference",
    "accuracy": "accuracy",
    "auc": "AUC",
    "ndcg_at_10": "NDCG@10",
    "kendall_tau": "Kendall tau",
    "top10_overlap": "top-10 overlap",
    "latency_us": "latency",
    "latency_ratio": "ratio",
    "verdict": "verdict",
}
"""What people read of comparison.csv, and what the columns are called for them."""
_FORMATS = {
    "bytes": "{:,.0f}",
    "accuracy": "{:.4f}",
    "auc": "{:.4f}",
    "ndcg_at_10": "{:.4f}",
    "kendall_tau": "{:.4f}",
    "top10_overlap": "{:.4f}",
    "latency_us": "{:9.2f} us",
    "latency_ratio": "{:7.2f}x",
}


def readable(comparison):
    """comparison.csv as text cells under readable headings, for the terminal and the page."""
    cells = comparison[list(TABLE_COLUMNS)].copy().astype(object)
    for column, form in _FORMATS.items():
        cells[column] = [form.format(value) for value in comparison[column]]
    cells["max_abs_error"] = [parity.error_text(value) for value in comparison["max_abs_error"]]
    return cells.rename(columns=TABLE_COLUMNS)


def write(run: runs.Run, target: Path) -> None:
    """Render the page of a run from its record, its comparison.csv and its figures."""
    import jinja2
    import pandas as pd

    record = run.record()
    comparison = run.folder / "comparison.csv"
    figures = {
        Path(file).stem.replace("_", " "): base64.b64encode((run.folder / file).read_bytes()).decode()
        for stage in sorted(record["stages"], reverse=True)  # what was asked first: the comparison's figures
        for file in run.files(".png", stage=stage)
    }
    requested = "".join(f" -p {name}={value}" for name, value in record["requested"].items())
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("helpers"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    target.write_text(
        environment.get_template("report.html").render(
            record=record,
            version=__version__,
            command=f"workbench run {run.study} --run {run.name}{requested}",
            comparison=readable(pd.read_csv(comparison)) if comparison.exists() else None,
            figures=figures,
        )
    )
