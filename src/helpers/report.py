"""``report.html``: one page of a run; ``index.html``: all runs of a study. One file each, no
network.
"""

from __future__ import annotations

import base64
import io
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from helpers import (
    code,
    environment,
    figures,
    files,
    notebooks,
    pages,
    points,
    records,
    results,
    runs,
    terminal,
    trained,
)
from helpers import parameters as parameter_table
from helpers.errors import WorkbenchError
from helpers.evaluation import latency
from helpers.evaluation.comparison import latency_label, names
from helpers.tasks.judgement import SHIPS, error_text

_FIRST = {
    "name": "file",
    "bytes": "bytes",
    "max_abs_error": "largest difference",
}
"""What people read of comparison.csv beside the task's columns, and what it is called for them."""
_RATIO = "latency ratio"
_RATIO_WIDTH = 18
"""Characters of a latency ratio with its interval, so that what fits is the same on any machine."""
_LEAST_NAME, _LEAST_VERDICT = 20, 9
"""Characters that names and verdicts keep in a terminal."""
_DIGITS = 7
"""Of a figure in the page over all runs, by which it is sorted and drawn."""
_FIGURES = 1_400_000
"""Bytes that the still figures of a page have, as text; the largest are halved until they fit."""


def readable(model: trained.Trained, comparison):
    """comparison.csv as text cells under readable headings, for the terminal and the page.

    `model` is what the files were made of.

    Cells with times have one width whatever the numbers, so that stored outputs compare once times
    are masked.
    """
    headings = _headings(model, comparison)
    cells = comparison.assign(name=names(comparison))[list(headings)].astype(object)
    for column, form in {
        "bytes": "{:,.0f}",
        **{name: shown.form for name, shown in model.task.shown.items()},
    }.items():
        cells[column] = [_text(form.format, value) for value in comparison[column]]
    bounds = zip(*(comparison[f"latency_ratio{end}"] for end in ("", "_low", "_high")), strict=True)
    cells["latency_ratio"] = [
        "" if bound[0] != bound[0] else latency.interval_text(*bound) for bound in bounds
    ]
    cells["latency_us"] = [_text(latency.time_text, value) for value in comparison["latency_us"]]
    cells["max_abs_error"] = [_text(error_text, value) for value in comparison["max_abs_error"]]
    return cells.rename(columns=headings)


def brief(model: trained.Trained, comparison):
    """The same in short, by file: bytes, the headline, how alike the file decides, verdict."""
    shown = [model.task.shown[name].heading for name in (model.task.headline, model.task.agreement)]
    cells = readable(model, comparison).set_index("file").rename_axis(None)
    return cells[list(dict.fromkeys(["bytes", *shown, "verdict"]))]


def summary(model: trained.Trained, comparison, width: int) -> str:
    """comparison.csv in the lines of a terminal: of each file its bytes, by how much it changes the
    headline, its latency ratio and its verdict; more where there is room, and what is left out.
    """
    cells, task = readable(model, comparison), model.task
    headline, agreement = (task.shown[name] for name in (task.headline, task.agreement))
    label = latency_label(comparison)
    change = []
    if headline.change:
        texts = [_text(_change_text, value) for value in comparison[headline.change]]
        change = [terminal.Column("change", texts)]
    ratio = _headings(model, comparison)["latency_ratio"]
    first = ("file", "bytes", ratio, "verdict")
    others = [heading for heading in cells.columns if heading not in first]
    order = dict.fromkeys([headline.heading, agreement.heading, *reversed(others)])
    rank = {heading: place for place, heading in enumerate(order, start=terminal.SPARE)}
    if not change:
        rank[headline.heading] = 0
    ratios = [text.strip().rjust(_RATIO_WIDTH) for text in cells[ratio]]
    table = [
        terminal.Column("file", list(cells["file"]), right=False, least=_LEAST_NAME),
        terminal.Column("bytes", list(cells["bytes"])),
    ]
    for heading in others:
        table.append(terminal.Column(heading, list(cells[heading]), rank=rank[heading]))
        table += change if heading == headline.heading else []
    table += [
        terminal.Column("latency", ratios),
        terminal.Column("verdict", list(cells["verdict"]), right=False, least=_LEAST_VERDICT),
    ]
    lines, left_out = terminal.lines(table, width)
    said = [f"change: of {headline.heading}"] if headline.change else []
    said.append(f"latency: as a multiple of {label}'s, with a 95 % interval")
    lines.append(textwrap.fill("; ".join(said), width))
    if left_out:
        lines.append(terminal.left_out(left_out, results.COMPARISON, width))
    return "\n".join(lines)


def _change_text(change: float) -> str:
    return f"{change:+.4f}".replace("-0.0000", "+0.0000")


def _headings(model: trained.Trained, comparison) -> dict[str, str]:
    """What people read of comparison.csv, and what it is called for them."""
    headings = {**_FIRST, **{name: shown.heading for name, shown in model.task.shown.items()}}
    headings["latency_us"] = f"batch {model.schema.batch or 1}"
    return headings | {
        "latency_ratio": f"time / {latency_label(comparison)}'s",
        "verdict": "verdict",
    }


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
        path = run.recorded(results.COMPARISON)
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
    rows = comparison.loc[~comparison["verdict"].isin(SHIPS), columns].fillna("")
    called = list(names(rows))
    wide = max([23, *map(len, called)])

    def why(verdict: str, reason: str) -> str:
        line = reason.partition("\n")[0]  # a tool's log follows
        return line if line.startswith(verdict) else f"{verdict}: {line}"

    return [
        f"{name:{wide}} {why(row.verdict, row.reason)}"
        for name, row in zip(called, rows.itertuples(), strict=True)
    ]


def recommendation(run: runs.Run) -> str | None:
    """The sentence that says which file of a run to ship; None where `results.recommended` is."""
    found = results.recommended(run)
    return found and found.sentence


def render(run: runs.Run) -> str:
    """The page of a run from its record, its comparison and its figures; what does not count is
    left out and told.
    """
    record = run.record()
    stale = records.stale(record)
    table, reason = comparison(run)
    model = None if table is None else trained.of(run)
    chosen = results.recommended(run)
    stages = [_stage(run, name, entry, stale) for name, entry in sorted(record["stages"].items())]
    _shrink([figure for stage in stages for figure in stage["figures"]])
    return pages.render(
        "report.html",
        ["points.js", "report.js"],
        {} if table is None else points.of(run, model, table, chosen and chosen.file),
        study=run.study,
        run=run.name,
        record=record,
        stale=stale,
        again=parameter_table.command(run.study, run.name, {}),
        command=parameter_table.command(run.study, run.name, record["requested"]),
        headings=[] if table is None else list(_headings(model, table).values()),
        rows=[] if table is None else list(_rows(model, table, chosen)),
        refused=[] if table is None else refused(table),
        reason=reason,
        chosen=chosen,
        bundle=[file for file in run.files(".zip") if file.startswith("bundle/")],
        stages=stages,
        others=[
            path.parent.name
            for path in sorted(run.folder.parent.glob("*/report.html"))
            if path.parent != run.folder
        ],
        mixed=environment.MIXED,
    )


def write(run: runs.Run) -> Path:
    """Write the page of a run, unless what stands there already says the same, and the one over all
    runs, which it leads to, if there is none; returns its path.
    """
    with code.at_once():
        text = render(run)
    page = pages.write(run.folder / "report.html", text)
    if not (run.folder.parent / "index.html").is_file():
        write_index(run.study)
    return page


def write_index(study: str) -> Path:
    """Write the page over all runs of a study, the last one first; returns its path."""
    rows = results.rows(study)
    with code.at_once():
        lines = [_line(row) for row in rows]
    lines.sort(key=lambda line: line["ended"], reverse=True)
    columns = _columns(lines)
    text = pages.render(
        "index.html",
        ["points.js", "index.js"],
        {
            "study": study,
            "names": [line["run"] for line in lines],
            "columns": [
                {**column, **{name: _packed(column[name]) for name in ("texts", "values")}}
                for column in columns
            ],
        },
        study=study,
        lines=lines,
        columns=columns,
    )
    return pages.write(files.home() / "artifacts" / study / "index.html", text)


def _line(row: results.Row) -> dict:
    """A run as the index shows it: whether it has a page, when it ended, and its figures by their
    headings.
    """
    run = runs.Run(row.study, row.run)
    record = run.record()
    chosen = results.recommended(run)
    figures: dict[str, object] = {}
    file: dict[str, object] = {}
    with suppress(WorkbenchError):
        task = trained.of(run).task
        heading, measured = task.shown[task.headline].heading, f"02 {task.headline}"
        figures[heading] = row.metrics.get(measured, "")
        if chosen:
            table, _ = comparison(run)
            made = table[table["file"] == chosen.file].iloc[0]
            figures[heading] = row.metrics.get(measured, points.number(made[task.headline]))
            figures |= {"bytes": chosen.bytes, _RATIO: chosen.latency_ratio}
            figures["verdict"] = chosen.verdict
            file["to ship"] = chosen.name
            file[f"its {task.agreement_name}"] = points.number(made[task.agreement])
    return {
        "run": row.run,
        "page": (run.folder / "report.html").is_file(),
        "ended": max(
            map(_ended, record["stages"].values()), default=datetime.fromtimestamp(0, UTC)
        ),
        "stale": row.stale,
        "stages": " ".join(row.stages),
        "parameters": row.parameters,
        "requested": record["requested"],
        "figures": figures,
        "file": file,
        "metrics": row.metrics,
    }


def _ended(entry: dict) -> datetime:
    """When a stage ended, or was last heard of."""
    return datetime.fromisoformat(entry["started"]) + timedelta(seconds=entry["seconds"])


def _columns(lines: Sequence[dict]) -> list[dict]:
    """What runs have, a column each, those `first` that everybody reads: see `_column`."""

    def of(group: str, names: Iterable[str] | None = None) -> list[dict]:
        there = dict.fromkeys(name for line in lines for name in line[group])
        return [
            _column(name, group, [line[group].get(name, "") for line in lines])
            for name in (there if names is None else names)
        ]

    usual = _usual(lines)
    about = {
        "what differs": [_differs(line, usual) for line in lines],
        "finished": [f"{line['ended']:%Y-%m-%d %H:%M}" for line in lines],
        "stale": [" ".join(stage[:2] for stage in line["stale"]) for line in lines],
        "stages": [line["stages"] for line in lines],
    }
    differs, finished, stale, stages = (_column(name, "run", about[name]) for name in about)
    first = [differs, *of("figures"), finished, *([stale] if any(about["stale"]) else [])]
    more = [*of("file"), stages, *of("parameters", usual), *of("metrics")]
    return [{**column, "first": column in first} for column in (*first, *more)]


def _usual(lines: Sequence[dict]) -> dict[str, str]:
    """The parameters in which runs differ, each with what more than half of those that have it
    have; empty where there is none.
    """
    found, parameters = {}, [line["parameters"] for line in lines]
    for name in results.differing(parameters):
        values = [results.exact(each[name]) for each in parameters if each.get(name) is not None]
        value, count = Counter(values).most_common(1)[0]
        found[name] = value if 2 * count > len(values) else ""
    return found


def _differs(line: dict, usual: Mapping[str, str]) -> str:
    """In what a run differs from others: what it was asked for, and what is not usual."""
    return ", ".join(
        f"{name}={line['parameters'][name]}"
        for name, value in usual.items()
        if name in line["parameters"]
        and (name in line["requested"] or str(line["parameters"][name]) != value)
    )


def _column(title: str, group: str, values: Sequence) -> dict:
    """A column of the index: title, group, texts, and values where some are numbers. A parameter is
    written exactly, other numbers are rounded: more to be read than to be sorted by.
    """
    numbers = [None if isinstance(v, str | bool) else v for v in values]
    if group != "parameters":
        numbers = [float(f"{v:.{_DIGITS}g}") if isinstance(v, float) else v for v in numbers]
    fraction = any(value % 1 for value in numbers if value is not None)

    def text(value) -> str:
        if isinstance(value, str) or group == "parameters":
            return str(value)
        if title == _RATIO and value is not None:
            return latency.ratio_text(value).strip()
        return results.rounded(value, fraction=fraction)

    return {
        "title": title,
        "group": group,
        "texts": list(map(text, values)),
        "values": numbers if any(value is not None for value in numbers) else None,
    }


def _packed(values: Sequence | None) -> Sequence | dict | None:
    """A column as the page holds it: each value once, and where it is, if many are equal."""
    if values is None:
        return None
    different = list(dict.fromkeys(values))
    if 2 * len(different) > len(values):
        return values
    places = {value: place for place, value in enumerate(different)}
    return {"of": different, "at": [places[value] for value in values]}


def _rows(model: trained.Trained, table, chosen: results.Recommended | None) -> Iterator[dict]:
    """The comparison for the page, a row a file: its cells, each with what it is sorted by."""
    texts = readable(model, table)
    values = table.assign(name=names(table))[list(_headings(model, table))].astype(object)
    for place, file in enumerate(table["file"].fillna("")):
        cells = zip(texts.iloc[place], map(points.number, values.iloc[place]), strict=True)
        yield {
            "file": file,
            "ship": bool(chosen and chosen.file == file),
            "verdict": table["verdict"].iloc[place],
            "cells": [(text, "" if value is None else value) for text, value in cells],
        }


def _stage(run: runs.Run, name: str, entry: dict, stale: dict[str, str]) -> dict:
    """A stage as the page shows it: what it asks, when it ran, what it measured, drew and wrote."""
    executed = run.folder / "notebooks" / f"{name}.ipynb"
    title, question = notebooks.about(executed if executed.is_file() else files.notebook(name))
    written = []
    for file in entry["outputs"]:
        with suppress(OSError):
            written.append((file, (run.folder / file).stat().st_size))
    return {
        "name": name,
        "number": name[:2],
        "title": title or name,
        "question": question,
        "stale": stale.get(name),
        "started": datetime.fromisoformat(entry["started"]),
        "ended": _ended(entry),
        "seconds": entry["seconds"],
        "from_run": entry.get("from_run"),
        "environment": entry.get("environment", {}),
        "notebook": f"notebooks/{name}.ipynb" if executed.is_file() else None,
        "metrics": {}
        if name in stale
        else {key: results.rounded(value) for key, value in entry["metrics"].items()},
        "figures": [] if name in stale else list(_figures(run, name)),
        "files": written,
    }


def _figures(run: runs.Run, stage: str) -> Iterator[dict]:
    """The pictures of a stage in the order of their making, each with the sentence that it says of
    itself.
    """
    import PIL.Image

    for file in run.files(".png", stage=stage):
        if not file.startswith("figures/"):  # a golden picture of the bundle
            continue
        with suppress(WorkbenchError, PIL.UnidentifiedImageError):
            content = run.verified(stage, file).read_bytes()
            with PIL.Image.open(io.BytesIO(content)) as picture:
                name = Path(file).stem.replace("_", " ")
                dots = picture.info.get("dpi", (100,))[0]
                yield {
                    "file": file,
                    "name": name,
                    "says": picture.info.get(figures.DESCRIPTION, ""),
                    "width": round(100 * picture.width / dots),
                    "height": round(100 * picture.height / dots),
                    "data": base64.b64encode(content).decode(),
                }


def _shrink(figures: Sequence[dict]) -> None:
    """Halve the largest picture until all of them have `_FIGURES` bytes."""
    import PIL.Image

    while sum(len(figure["data"]) for figure in figures) > _FIGURES:
        largest, smaller = max(figures, key=lambda figure: len(figure["data"])), io.BytesIO()
        with PIL.Image.open(io.BytesIO(base64.b64decode(largest["data"]))) as picture:
            picture.convert("RGB").reduce(2).save(smaller, "png")
        largest["data"] = base64.b64encode(smaller.getvalue()).decode()
