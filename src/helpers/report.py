"""``report.html``: one page of a run; ``index.html``: all runs of a study. One file each, no
network.
"""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from pathlib import Path

from helpers import __version__, code, environment, files, records, results, runs, trained
from helpers import parameters as parameter_table
from helpers.errors import WorkbenchError
from helpers.evaluation import latency
from helpers.evaluation.comparison import latency_label
from helpers.tasks.judgement import SHIPS, error_text

_COMPARISON, _RECOMMENDATION = "comparison.csv", "recommendation.json"
_FIRST = {
    "runtime": "runtime",
    "precision": "precision",
    "bytes": "bytes",
    "max_abs_error": "largest difference",
}
"""What people read of comparison.csv beside the task's columns, and what it is called for them."""


def readable(model: trained.Trained, comparison):
    """comparison.csv as text cells under readable headings, for the terminal and the page.

    `model` is what the files were made of.

    Cells with times have one width whatever the numbers, so that stored outputs compare once times
    are masked.
    """
    task, batch = model.task, model.schema.batch or 1
    headings = {**_FIRST, **{name: shown.heading for name, shown in task.shown.items()}}
    headings["latency_us"] = f"batch {batch}"
    headings |= {"latency_ratio": f"by {latency_label(comparison)}'s", "verdict": "verdict"}
    cells = comparison[list(headings)].copy().astype(object)
    for column, form in {
        "bytes": "{:,.0f}",
        **{name: shown.form for name, shown in task.shown.items()},
    }.items():
        cells[column] = [_text(form.format, value) for value in comparison[column]]
    bounds = zip(*(comparison[f"latency_ratio{end}"] for end in ("", "_low", "_high")), strict=True)
    cells["latency_ratio"] = [
        "" if bound[0] != bound[0] else latency.interval_text(*bound) for bound in bounds
    ]
    cells["latency_us"] = [_text(latency.time_text, value) for value in comparison["latency_us"]]
    cells["max_abs_error"] = [_text(error_text, value) for value in comparison["max_abs_error"]]
    return cells.rename(columns=headings)


def _text(form, value) -> str:
    """A figure to read; nothing for one that a file does not have, because it was not made or could
    not be scored.
    """
    import pandas as pd

    return "" if pd.isna(value) else form(value)


def comparison(run: runs.Run):
    """The comparison table of a run, or None and the reason why it does not count (any more)."""
    import pandas as pd

    try:
        path = run.recorded(_COMPARISON)
    except WorkbenchError as error:
        return None, str(error)
    return (
        (None, "no finished stage has compared the files yet")
        if path is None
        else (pd.read_csv(path), "")
    )


def refused(comparison) -> list[str]:
    """A line for each file that is not to be shipped, and for each that was not made: why."""
    columns = ["runtime", "precision", "verdict", "reason"]
    rows = comparison.loc[~comparison["verdict"].isin(SHIPS), columns]
    return [
        f"{row.runtime + ' ' + row.precision:24s}{row.verdict}: {row.reason.partition(chr(10))[0]}"
        for row in rows.fillna("").itertuples()  # a tool's log follows its first line
    ]


def recommendation(run: runs.Run) -> str | None:
    """The sentence that says which file of a run to ship.

    None if nothing says so, or if the recommendation, the comparison it was chosen from or the file
    itself does not count any more or is damaged.
    """
    try:
        path = run.recorded(_RECOMMENDATION)
        if path is None or run.recorded(_COMPARISON) is None:
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        return content["sentence"] if run.recorded(content["file"]) else None
    except WorkbenchError:
        return None


def render(run: runs.Run) -> str:
    """The page of a run from its record, its comparison and its figures; what does not count is
    left out and told.
    """
    record = run.record()
    table, reason = comparison(run)
    figures = {}
    for stage in sorted(
        record["stages"], reverse=True
    ):  # what was asked first: the conclusion, then what led to it
        for file in reversed(run.files(".png", stage=stage)):
            if not file.startswith("figures/"):  # a golden picture of the bundle
                continue
            with suppress(WorkbenchError):
                content = run.verified(stage, file).read_bytes()
                figures[Path(file).stem.replace("_", " ")] = base64.b64encode(content).decode()
    return _page(
        "report.html",
        study=run.study,
        run=run.name,
        record=record,
        stale=records.stale(record),
        again=parameter_table.command(run.study, run.name, {}),
        command=parameter_table.command(run.study, run.name, record["requested"]),
        comparison=None if table is None else readable(trained.of(run), table),
        reason=reason,
        recommendation=recommendation(run),
        figures=figures,
        rounded=results.rounded,
        mixed=environment.MIXED,
    )


def write(run: runs.Run) -> Path:
    """Write the page of a run, unless what stands there already says the same; returns its path."""
    return _write(run.folder / "report.html", render(run))


def write_index(study: str) -> Path:
    """Write the page over all runs of a study; returns its path."""
    rows = results.rows(study)
    cells = {
        name: list(texts) for name, texts in results.readable(rows).drop(columns="study").items()
    }
    pages, ships, reasons = [], [], []
    with code.at_once():
        for row in rows:
            run = runs.Run(study, row.run)
            pages.append((run.folder / "report.html").is_file())
            ships.append((recommendation(run) or "").partition(":")[0].removeprefix("Ship "))
            reasons.append(
                "; ".join(f"stage {stage[:2]} {reason}" for stage, reason in row.stale.items())
            )
    if any(ships):
        first = {name: cells.pop(name) for name in ("run", "stages", "stale") if name in cells}
        cells = {**first, "to ship": ships, **cells}
    lines = zip(pages, reasons, zip(*cells.values(), strict=True), strict=True)
    text = _page("index.html", study=study, columns=list(cells), rows=list(lines))
    return _write(files.home() / "artifacts" / study / "index.html", text)


def _page(template: str, **values) -> str:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("helpers"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(version=__version__, **values)


def _write(page: Path, text: str) -> Path:
    if not page.is_file() or page.read_text(encoding="utf-8", errors="replace") != text:
        with files.atomic(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return page
