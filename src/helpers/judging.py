"""Every file of a run beside the trained model and the others: judged, timed, in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import runtimes
from helpers.convert import recipes, variants
from helpers.evaluation import comparison, latency, parity
from helpers.runs import Stage
from helpers.schema import Schema
from helpers.tasks.judgement import SHIPS, Judgement


@dataclass(frozen=True)
class Judged:
    """What stage 05 finds of a run.

    Attributes
    ----------
    files : path of the trained model and of each converted file, by the name that it has in tables.
    parities : the judgement of each of them.
    scores : what each converted file gave for the test split, ``(n_rows, ...) float32``.
    blocks, summary, memory : times as `latency.measure` took them, `latency.summarise` of them, and
        MB of each file's process.
    table : ``comparison.csv``, see `comparison.build`; what could not be made is in it, too.
    """

    files: Mapping[str, Path]
    parities: Mapping[str, Judgement]
    scores: Mapping[str, np.ndarray]
    blocks: object
    summary: object
    memory: Mapping[str, float]
    table: object


def judge(
    stage: Stage,
    schema: Schema,
    reference: parity.Reference,
    *,
    seed: int,
    threads: int,
    latency_seconds: float,
    thorough: bool,
) -> Judged:
    """Judge and time every file that stages 02 to 04 recorded.

    Files that have been scored since they were made are not scored again, see
    `parity.judged_files`. One that cannot be timed is broken.

    Parameters
    ----------
    reference : outputs of the trained model on the test split.
    seed, threads, latency_seconds, thorough : of `latency.measure`; besides one thread it takes
        `threads`.
    """
    files = _recorded(stage)
    named = {comparison.name_of(file): path for file, path in files.items()}
    converted = {name: path for name, path in named.items() if runtimes.is_converted(path)}
    kept = [stage.input(n, file) for n in ("03", "04") for file in stage.made(n, "judged.npz")]
    judged, scores = parity.judged_files(converted, schema, reference, kept)
    itself = reference.judge(reference.outputs)
    parities = {name: judged.get(name, itself) for name in named}
    base = comparison.latency_reference(parities)
    blocks, memory, failed = latency.measure(
        {name: path for name, path in named.items() if name in scores or name not in converted},
        schema,
        reference.inputs,
        reference=base,
        threads=tuple(dict.fromkeys((1, threads))),
        seconds=latency_seconds,
        thorough=thorough,
        seed=seed,
    )
    parities |= {
        name: Judgement.broken(reason)
        for name, reason in failed.items()
        if parities[name].verdict in SHIPS
    }
    summary = latency.summarise(blocks, reference=base, order=list(parities))
    tried = [stage.input(n, file) for n in ("03", "04") for file in stage.made(n, "recipes.csv")]
    table = comparison.build(
        reference.task, files, parities, summary, memory, variants.not_judged(tried)
    )
    return Judged(named, parities, scores, blocks, summary, memory, recipes.ordered(table))


def _recorded(stage: Stage) -> dict[str, Path]:
    """The trained model and the converted files by name in the run, in the order of tables."""
    found = {
        file: number
        for number in ("02", "03", "04")
        for file in stage.made(number, *runtimes.MODULES)
        if (number == "02") != runtimes.is_converted(file)
    }

    def place(file: str) -> int:
        return recipes.place(comparison.name_of(file), trained=not runtimes.is_converted(file))

    return {file: stage.input(found[file], file) for file in sorted(found, key=place)}
