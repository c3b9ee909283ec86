"""A sweep file: which runs it asks for, and in what order their stages are executed.

    study: ranking
    stages: 01-05         # default: all that there are
    base: {epochs: 5}     # for every run; a section below overrides it
    grid: {seed: {range: [0, 10]}, hidden_units: [8, 16]}   # every combination; or a list of grids
    list: [{learning_rate: 0.01}, {learning_rate: 0.003}]   # a run each
    random:
      runs: 20
      seed: 1
      space: {learning_rate: {log_uniform: [0.0003, 0.03]}, epochs: {uniform: [5, 20]}}

The runs of all sections together are the sweep. A sweep file is data from outside: what is not
exactly of this form is refused with the value and the way out, before anything is executed.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers import notebooks, pipeline, registry, results, runs
from helpers import parameters as parameter_table
from helpers.errors import BadInput, meant
from helpers.sweeps import plain_yaml

MOST_RUNS = 10_000
"""More are refused: a year of work at an hour a run, or a mistake in a grid."""
MOST_BYTES = 1_000_000
_LARGEST = 2**62
"""Largest bound of a range, of which Python can still say how many values it has."""
_SECTIONS = ("grid", "list", "random")
_KEYS = ("study", "stages", "base", *_SECTIONS)
_DRAWS = ("uniform", "log_uniform", "choice")


@dataclass(frozen=True, eq=False)
class Task:
    """Stages of one run that are executed in one go, once `after` is done.

    `reuse` are the runs that have executed stages with the same parameters, by stage number; `last`
    is whether the run is finished by this.
    """

    run: str
    stages: str
    parameters: Mapping[str, object]
    reuse: Mapping[str, str]
    last: bool
    after: Task | None


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep: parameters by run name, in the order of the file."""

    study: str
    stages: tuple[str, ...]
    runs: Mapping[str, dict[str, object]]
    duplicates: int = 0

    def tasks(self, before: Mapping[str, str] | None = None) -> list[Task]:
        """The stages to execute, each once for all runs that share it, in the order of the runs.

        Runs share a stage if it and all stages before it have the same parameters. The first of
        them executes it, the others take its files. `before` are runs of other sweeps that may have
        executed it, see `executed_before`.
        """
        known: dict[object, dict] = {}  # names and defaults of the stages, by the model of a run
        tasks: dict[str, Task] = {}  # by the parameters of a stage and of all before it
        result = []
        for name, parameters in self.runs.items():
            prefix, last_task, reuse = [], None, {}
            if (model := parameters.get("model")) not in known:
                known[model] = {
                    number: (path.stem, pipeline.effective(self.study, path, {}))
                    for number, path in pipeline.stages_of(self.study, parameters).items()
                }
            for number in self.stages:
                stage, defaults = known[model][number]
                effective = {key: parameters.get(key, value) for key, value in defaults.items()}
                prefix.append((stage, effective))
                key, last = json.dumps(prefix, sort_keys=True), number == self.stages[-1]
                owner = tasks.get(key)
                if owner is not None:
                    reuse[number] = owner.run
                elif before and (other := before.get(_recorded(prefix))) not in (None, name):
                    reuse[number] = other
                if owner is None or last:
                    same = last_task is not None and last_task.run == name
                    chosen = number if same else ",".join(part[:2] for part, _ in prefix)
                    shared = {n: run for n, run in reuse.items() if n in chosen.split(",")}
                    task = Task(name, chosen, parameters, shared, last, owner or last_task)
                    tasks.setdefault(key, task)
                    result.append(task)
                    owner = task
                last_task = owner
        return result


def executed_before(study: str) -> dict[str, str]:
    """Runs of a study by the parameters of each stage that they have finished, and of all before
    it; of several the first.
    """
    found: dict[str, str] = {}
    for run, record in results.every(study, None):
        prefix = []
        for stage, entry in sorted(record["stages"].items()):
            if entry["status"] != "done":
                break
            own = {"study", "run"}
            prefix.append((stage, {k: v for k, v in entry["parameters"].items() if k not in own}))
            found.setdefault(_recorded(prefix), run.name)
    return found


def _recorded(prefix: list[tuple[str, dict]]) -> str:
    """Stages and their parameters as a key, without what no record has, because it changes nothing
    that is made.
    """
    made = [(stage, {k: v for k, v in given.items() if k != "repeat"}) for stage, given in prefix]
    return json.dumps(made, sort_keys=True)


def read(path: Path) -> Plan:
    """The plan of a sweep file.

    Raises
    ------
    BadInput : no such file, not YAML, not of the form above, a parameter that a stage would refuse
        or that no chosen stage has, or more than `MOST_RUNS` runs.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadInput(
                f"{path} has {path.stat().st_size:,} bytes, a sweep file at most {MOST_BYTES:,}"
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot read the sweep file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not text: {error}") from error
    try:
        return from_mapping(plain_yaml.read(text))
    except BadInput as error:
        raise BadInput(f"{path.name}: {error}") from error


def from_mapping(content: object) -> Plan:
    """The plan of a sweep file's content; see `read`."""
    content = _mapping("a sweep file", content)
    for key in content:
        if key not in _KEYS:
            raise BadInput(
                f"there is no {key!r} in a sweep file{meant(key, _KEYS)}; there is: "
                f"{', '.join(_KEYS)}"
            )
    if not isinstance(content.get("study"), str):
        raise BadInput(
            f"study must name one of {', '.join(registry.names())}, or a .py file, not "
            f"{content.get('study')!r}"
        )
    study = registry.link(content["study"])
    chosen = content.get("stages")
    if chosen is not None and not isinstance(chosen, str):
        raise BadInput(
            f"stages must be text like 01-03 (in quotes if it is one number), not {chosen!r}"
        )
    numbers = tuple(notebooks.stages(chosen))
    if not any(content.get(section) is not None for section in _SECTIONS):
        raise BadInput(
            f"nothing to sweep over: give {', '.join(_SECTIONS[:-1])} or {_SECTIONS[-1]}"
        )
    base = _mapping("base", content.get("base") or {})
    wanted: list[Mapping] = []
    for section, expand in zip(_SECTIONS, (_grid, _list, _random), strict=True):
        if content.get(section) is not None:
            for parameters in expand(content[section]):
                wanted.append(parameters)
                if len(wanted) > MOST_RUNS:
                    raise BadInput(f"more than {MOST_RUNS:,} runs: sweep over fewer values")
    plan: dict[str, dict] = {}
    having = {name: notebooks.stages_with(name) for name in notebooks.parameters()}
    for parameters in wanted:
        checked = pipeline.requested(study, {**base, **parameters})
        _check_effect(checked, numbers, having)
        name = pipeline.default_name(checked)
        if plan.setdefault(name, checked) != checked:
            raise BadInput(
                f"{plan[name]} and {checked} would both be run {name!r}: change one of the texts"
            )
    _train_once(study, numbers, plan)
    _check_existing(study, plan)
    return Plan(study, numbers, plan, len(wanted) - len(plan))


def _check_existing(study: str, plan: Mapping[str, Mapping[str, object]]) -> None:
    """Refuse a run of a name that exists and was made with other parameters, as a `default` that
    was changed.
    """
    for name, parameters in plan.items():
        record = runs.Run(study, name).record()
        for parameter, before in record["requested"].items() if record["stages"] else ():
            wanted = parameters.get(parameter, pipeline.default(study, parameter))
            if before != wanted:
                again = parameter_table.command(study, name, {parameter: wanted})
                raise BadInput(
                    f"run {name!r} exists and was made with {parameter}={before}, not {wanted}: "
                    f"rename its folder, or start it over with `{again} --force`"
                )


def _train_once(study: str, numbers: tuple[str, ...], plan: Mapping[str, dict]) -> None:
    """Leave out the second training of runs that nobody says anything of: many runs show by
    themselves whether training repeats. A run that exists keeps what it was made with.
    """
    if "02" not in numbers:
        return
    for name, parameters in plan.items():
        training = pipeline.stages_of(study, parameters)["02"]
        if "repeat" in parameter_table.declared(training) and "repeat" not in parameters:
            record = runs.Run(study, name).record()
            if not record["stages"]:
                parameters["repeat"] = False
            elif "repeat" in record["requested"]:
                parameters["repeat"] = record["requested"]["repeat"]


def _check_effect(
    parameters: Mapping[str, object], numbers: tuple[str, ...], having: Mapping[str, list[str]]
) -> None:
    """Refuse a parameter that changes nothing in the chosen stages: its runs would be one run under
    several names.
    """
    for name in parameters:
        if not set(having[name]) & set(numbers):
            raise BadInput(
                f"{name} belongs to stage {', '.join(having[name])}, and the sweep has "
                f"{', '.join(numbers)} only"
            )


def _mapping(what: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise BadInput(
            f"{what} must be names with values, like {{epochs: 5}}, not {str(value)[:80]!r}"
        )
    return value


def _grid(section: object) -> Iterator[dict]:
    """Every combination; of a list of grids, each one's."""
    for grid in section if isinstance(section, list) else [section]:
        axes = {name: _values(name, values) for name, values in _mapping("grid", grid).items()}
        if not axes:
            raise BadInput("grid is empty: give names with lists of values, like {seed: [0, 1, 2]}")
        combinations = math.prod(len(values) for values in axes.values())
        if combinations > MOST_RUNS:
            sizes = " x ".join(f"{len(values):,} {name}" for name, values in axes.items())
            raise BadInput(
                f"grid asks for {combinations:,} runs ({sizes}), at most {MOST_RUNS:,} are made"
            )
        for values in itertools.product(*axes.values()):
            yield dict(zip(axes, values, strict=True))


def _values(name: str, values: object) -> list | range:
    """The values of one axis of a grid: a list, or ``{range: [first, end]}``."""
    if isinstance(values, dict) and list(values) == ["range"]:
        bounds = values["range"]
        whole = (
            isinstance(bounds, list)
            and len(bounds) in (2, 3)
            and all(type(bound) is int for bound in bounds)
        )
        if not whole or (len(bounds) == 3 and bounds[2] == 0):
            raise BadInput(
                f"grid: {name}: range must be [first, end] or [first, end, step], not "
                f"{str(bounds)[:80]}"
            )
        if max(map(abs, bounds)) > _LARGEST:
            raise BadInput(
                f"grid: {name}: range {str(bounds)[:80]} goes beyond {_LARGEST:,}: no parameter is "
                "as large"
            )
        values = range(*bounds)
    if not isinstance(values, list | range):
        raise BadInput(
            f"grid: {name} must be a list of values or {{range: [first, end]}}, not "
            f"{str(values)[:80]!r}"
        )
    if not values:
        raise BadInput(f"grid: {name} has no values")
    return values


def _list(section: object) -> Iterator[dict]:
    """A run an entry; an entry without parameters is the run of the defaults."""
    if not isinstance(section, list) or not section:
        raise BadInput(
            "list must be a list of runs, like [{epochs: 5}, {epochs: 20}], not "
            f"{str(section)[:80]!r}"
        )
    for entry in section:
        yield dict(_mapping("an entry of list", entry))


def _random(section: object) -> Iterator[dict]:
    """Seeded draws; run i is the same however many there are."""
    section = _mapping("random", section)
    if set(section) - {"runs", "seed", "space"}:
        raise BadInput(
            "random has runs, seed and space, not "
            f"{', '.join(set(section) - {'runs', 'seed', 'space'})}"
        )
    count, seed = section.get("runs"), section.get("seed", 0)
    if type(count) is not int or not 1 <= count <= MOST_RUNS:
        raise BadInput(f"random: runs must be between 1 and {MOST_RUNS:,}, not {count!r}")
    if type(seed) is not int or seed < 0:
        raise BadInput(f"random: seed must be a whole number from 0 on, not {seed!r}")
    space = _mapping("random: space", section.get("space"))
    if not space:
        raise BadInput(
            "random: space is empty: give names with draws, like {learning_rate: {uniform: [0.001, "
            "0.01]}}"
        )
    whole = {name for name, declared in notebooks.parameters().items() if declared.kind is int}
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        yield {name: _draw(name, how, name in whole, rng) for name, how in space.items()}


def _draw(name: str, how: object, whole: bool, rng: np.random.Generator) -> object:
    """One value: a whole number for a parameter that is one, else six significant digits."""
    if not isinstance(how, dict) or len(how) != 1 or next(iter(how)) not in _DRAWS:
        raise BadInput(
            f"random: {name} must be one of {', '.join(f'{{{d}: [...]}}' for d in _DRAWS)}, not "
            f"{how!r}"
        )
    ((kind, values),) = how.items()
    if not isinstance(values, list) or not values:
        raise BadInput(f"random: {name}: {kind} needs a list, not {values!r}")
    if kind == "choice":
        return values[rng.integers(len(values))]
    numbers = all(type(value) in (int, float) and math.isfinite(value) for value in values)
    if (
        len(values) != 2
        or not numbers
        or values[0] > values[1]
        or (kind == "log_uniform" and values[0] <= 0)
    ):
        positive = " positive" if kind == "log_uniform" else ""
        raise BadInput(
            f"random: {name}: {kind} needs two{positive} numbers [low, high], not {values!r}"
        )
    low, high = (math.log(value) for value in values) if kind == "log_uniform" else values
    drawn = rng.uniform(low, high)
    value = math.exp(drawn) if kind == "log_uniform" else drawn
    return round(value) if whole else float(f"{value:.6g}")
