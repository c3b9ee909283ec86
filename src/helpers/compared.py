"""Two runs held against each other: what was set differently, which model is better on the same
rows, and what became of each file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import pages, registry, report, results, runs, trained
from helpers.convert import recipes
from helpers.errors import BadInput, WorkbenchError
from helpers.evaluation import latency, parity
from helpers.evaluation.comparison import names
from helpers.tasks.judgement import Judgement, change_text

_KEYS = ["runtime", "precision"]
_RATIO = ["latency_ratio", "latency_ratio_low", "latency_ratio_high"]
_NONE = "none"
"""What a run has not of a file."""


@dataclass(frozen=True)
class Compared:
    """The second run against the first.

    Attributes
    ----------
    parameters : DataFrame, a row a parameter that both runs have and that differs, a column a run,
        as text.
    metrics : DataFrame, a row a figure of the trained models on the test rows: a column a run, and
        ``change`` with its 95 % interval, paired by row; as text.
    rows : how many test rows both were judged on; 0 if these are not the same.
    why : why there are no intervals; empty if there are.
    files : DataFrame, a row a model file: verdict, bytes, loss and latency, as text, ``a -> b``
        where the two differ, latencies if their 95 % intervals do not overlap; None if a run has
        compared none.
    """

    runs: tuple[runs.Run, runs.Run]
    parameters: object
    metrics: object
    rows: int
    why: str
    files: object


def find(name: str) -> runs.Run:
    """A run by ``STUDY/RUN``, or by its name alone if only one study has one of that name.

    Raises
    ------
    BadInput : there is none, or there are several.
    """
    study, slash, run = name.rpartition("/")
    if slash:
        known = {row.run for row in results.rows(registry.link(study))}
        if run not in known:
            there = ", ".join(sorted(known)) or "no run yet"
            raise BadInput(f"there is no run {run!r} of {study}; there is: {there}")
        return runs.Run(registry.link(study), run)
    found = [row for row in results.rows() if row.run == name]
    if len(found) != 1:
        there = " and ".join(f"{row.study}/{row.run}" for row in found)
        raise BadInput(
            f"there are several runs {name!r}: say which, {there}"
            if found
            else f"there is no run {name!r}; `workbench results` shows those that there are"
        )
    return runs.Run(found[0].study, found[0].run)


def compare(first: runs.Run, second: runs.Run) -> Compared:
    """Hold the second run against the first.

    Raises
    ------
    WorkbenchError : they are the same, or decide in different ways, or one has no trained model.
    """
    if (first.study, first.name) == (second.study, second.name):
        raise BadInput(f"{first.study}/{first.name} is one run: give two")
    pair = first, second
    models = [trained.of(run) for run in pair]
    kinds = [model.task.name for model in models]
    if kinds[0] != kinds[1]:
        raise BadInput(
            f"{first.study} is a study of {kinds[0]}, {second.study} one of {kinds[1]}: nothing of "
            "theirs can be compared"
        )
    metrics, rows, why = _metrics(pair, models[0].task)
    return Compared(pair, _parameters(pair), metrics, rows, why, _files(pair, models[0].task))


def labels(pair: tuple[runs.Run, runs.Run]) -> list[str]:
    """What two runs are called side by side."""
    same = pair[0].study == pair[1].study
    return [run.name if same else f"{run.study}/{run.name}" for run in pair]


def _parameters(pair):
    import pandas as pd

    values = [run.record()["parameters"] for run in pair]
    differ = {
        name: [results.exact(value[name]) for value in values]
        for name in results.differing(values)
        if name not in ("study", "run")
    }
    return pd.DataFrame.from_dict(differ, orient="index", columns=labels(pair))


def _metrics(pair, task):
    """Table of both models' figures, rows that both were judged on, and why there are none."""
    try:
        paths = [run.recorded(parity.FILE) for run in pair]
        found = [parity.Reference.load_outputs(path, task) for path in paths]
        _require_same_rows(pair, found)
    except WorkbenchError as error:
        return _recorded(pair), 0, str(error)
    judged = [found[0][0].judge(reference.outputs) for reference, _ in found]
    rows = len(next(iter(found[0][0].outputs.values())))
    return _judged(task, judged, labels(pair)), rows, ""


def _require_same_rows(pair, found) -> None:
    (one, inputs), (other, others) = found
    truths = zip(vars(one.truth).values(), vars(other.truth).values(), strict=True)
    data = [json.loads(run.recorded("data.json").read_text(encoding="utf-8")) for run in pair]
    if (inputs != others and data[0]["folder"] != data[1]["folder"]) or not all(
        np.array_equal(a, b) for a, b in truths
    ):
        raise BadInput("they were judged on other rows, so that no figure can be paired")
    if list(one.outputs) != list(other.outputs):
        raise BadInput("their models have other outputs")


def _judged(task, judged: list[Judgement], names: list[str]):
    """The figures that people see: of both, the change, and how alike the two decide."""
    import pandas as pd

    table = {}
    for name, shown in task.shown.items():
        values = [shown.form.format(getattr(each, name)) for each in judged]
        if shown.alike:
            table[shown.heading] = ["", "", _alike(judged[1], name, shown.form)]
        else:
            change = _change(judged[1], shown.change) if shown.change else ""
            table[shown.heading] = [*values, change]
    return pd.DataFrame.from_dict(table, orient="index", columns=[*names, "change, or how alike"])


def _change(found: Judgement, name: str) -> str:
    return change_text(*(getattr(found, f"{name}{end}") for end in ("", "_low", "_high")))


def _alike(found: Judgement, name: str, form: str) -> str:
    """How alike two decide, with the interval unless there is none or all units agree alike."""
    value, *ends = (getattr(found, f"{name}{end}") for end in ("", "_low", "_high"))
    text, low, high = map(form.format, (value, *ends))
    whole = any(map(math.isnan, ends)) or text == low == high
    return text if whole else f"{text} ({low} to {high})"


def _recorded(pair):
    """Metrics of stage 02 side by side."""
    import pandas as pd

    rows = [row for run in pair for row in results.rows(run.study, [run.name])]
    names = sorted({name for row in rows for name in row.metrics if name.startswith("02")})
    table = {name[3:]: results.texts([row.metrics.get(name, "") for row in rows]) for name in names}
    return pd.DataFrame.from_dict(table, orient="index", columns=labels(pair))


def _files(pair, task):
    """Verdict, bytes, loss and latency of each file: one figure where both are equal, else
    ``a -> b``.
    """
    import pandas as pd

    tables = [report.comparison(run)[0] for run in pair]
    if any(table is None for table in tables):
        return None
    forms = {"verdict": "{}", "bytes": "{:,.0f}", task.loss: "{:.4f}"}
    order = names(recipes.ordered(pd.concat(tables).drop_duplicates(_KEYS)))
    sides = [table.set_index(names(table)) for table in tables]
    for side in sides:
        side[task.loss] = (side[task.loss] * task.loss_sign).clip(lower=0) + 0.0  # no -0.0
    one, other = (side.reindex(order) for side in sides)
    cells = {
        column: [
            _pair(_NONE if pd.isna(v) else form.format(v) for v in values)
            for values in zip(one[column], other[column], strict=True)
        ]
        for column, form in forms.items()
    }
    ratios = [zip(*(side[name] for name in _RATIO), strict=True) for side in (one, other)]
    cells["latency"] = list(map(_latency, *ratios))
    headings = {task.loss: f"{task.lost} at most"}
    return pd.DataFrame(cells, index=list(order)).rename(columns=headings)


def _pair(texts: Iterable[str]) -> str:
    return " -> ".join(dict.fromkeys(texts))


def _latency(one: Sequence[float], other: Sequence[float]) -> str:
    """Two latency ratios, each with the ends of its interval: the first alone where the intervals
    overlap, else both with them.
    """
    if one[1] <= other[2] and other[1] <= one[2]:
        return latency.ratio_text(one[0]).strip()
    return _pair(
        _NONE if math.isnan(each[0]) else latency.interval_text(*each).strip()
        for each in (one, other)
    )


def text(found: Compared) -> str:
    """For a terminal."""
    one, other = labels(found.runs)
    parts = [f"{other} against {one}, study {found.runs[0].study}"]
    for heading, table in sections(found):
        shown = "" if table is None or table.empty else f"\n{table.to_string()}"
        parts.append(f"{heading}{shown}")
    return "\n\n".join(parts) + "\n"


def sections(found: Compared) -> list[tuple[str, object]]:
    """Headings, each with its table; None where there is nothing to show."""
    same = found.parameters.empty
    judged = f"the same {found.rows:,} test rows" if found.rows else f"no interval: {found.why}"
    return [
        ("no parameter differs" if same else "parameters that differ", found.parameters),
        (f"trained models; {judged}", found.metrics),
        (_files_heading(found), found.files),
    ]


def _files_heading(found: Compared) -> str:
    if found.files is None:
        return "no files to compare: stage 05 is not finished in both"
    return (
        f"files; {' -> '.join(labels(found.runs))}, one figure where they are equal, of latency "
        "where the 95 % intervals overlap"
    )


def write(found: Compared, place: Path) -> Path:
    """Write the page; returns its path."""
    values = {"labels": labels(found.runs), "found": found, "parts": sections(found)}
    return pages.write(place.resolve(), pages.render("compare.html", ["compare.js"], {}, **values))
