"""What a sweep file asks for: expansion, sharing, and refusal of what it must not ask for."""

import itertools
import time

import numpy as np
import pytest
import yaml

from helpers import files, notebooks, pipeline, runs
from helpers.errors import BadInput
from helpers.sweeps import plan

DOCUMENTED = """
study: ranking
stages: 01-05
base: {epochs: 5}
grid: {seed: {range: [0, 3]}, hidden_units: [8, 16]}
list: [{learning_rate: 0.01}, {learning_rate: 3e-3}]
random:
  runs: 20
  seed: 1
  space: {learning_rate: {log_uniform: [0.0003, 0.03]}, epochs: {uniform: [5, 20]}}
"""


@pytest.fixture
def read(tmp_path):
    def write_and_read(text: str | bytes) -> plan.Plan:
        path = tmp_path / "sweep.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return plan.read(path)

    return write_and_read


def _said(run: dict) -> dict:
    """What a sweep file says of a run, which trains once where nothing is said of it."""
    assert run["repeat"] is False
    return {name: value for name, value in run.items() if name != "repeat"}


def test_training_is_repeated_where_a_file_says_so_and_in_runs_that_were(read):
    text = "study: ranking\nstages: 01-03\nlist: [{seed: 1}, {seed: 2, repeat: true}]\n"
    assert [run["repeat"] for run in read(text).runs.values()] == [False, True]
    assert "repeat" not in read("study: ranking\nstages: '03'\nlist: [{}]\n").runs["default"]
    stage = runs.Stage("02_keras_training", study="ranking", run="seed=1", seed=1)
    with stage.run.edit() as record:
        record["requested"] = {"seed": 1}
    assert "repeat" not in read(text).runs["seed=1"], "it was made with the default"
    with stage.run.edit() as record:
        record["requested"] = {"seed": 1, "repeat": False}
        record["stages"]["02_keras_training"]["status"] = "done"
    assert read(text).runs["seed=1"]["repeat"] is False, "made by a sweep, and found again"


def test_the_documented_file(read):
    made = read(DOCUMENTED)
    assert made.study == "ranking" and made.stages == ("01", "02", "03", "04", "05")
    given = [_said(run) for run in made.runs.values()]
    grid = [
        {"epochs": 5, "seed": s, "hidden_units": h} for s, h in itertools.product(range(3), (8, 16))
    ]
    assert given[:6] == grid
    assert given[6:8] == [
        {"epochs": 5, "learning_rate": 0.01},
        {"epochs": 5, "learning_rate": 0.003},
    ]
    drawn = given[8:]
    assert len(drawn) == 20 and all(0.0003 <= run["learning_rate"] <= 0.03 for run in drawn)
    assert all(type(run["epochs"]) is int and 5 <= run["epochs"] <= 20 for run in drawn)
    assert list(made.runs)[0] == "epochs=5,hidden_units=8,seed=0", (
        "named as `workbench run` names them"
    )


def test_stored_sweep_files_can_be_read(home):
    stored = sorted((files.project() / "sweeps").glob("*.yaml"))
    assert len(stored) >= 3 and all(plan.read(file).runs for file in stored)


def test_draws_are_seeded_and_do_not_depend_on_how_many_there_are(read):
    text = (
        "study: ranking\nrandom: {{runs: {}, seed: {}, space: {{learning_rate: {{log_uniform: "
        "[0.0001, 1]}}}}}}"
    )
    first, more, other = (list(read(text.format(*how)).runs) for how in ((5, 1), (50, 1), (5, 2)))
    assert more[:5] == first and not set(first) & set(other)
    rates = np.log10([float(name.split("=")[1]) for name in more])
    assert -4 <= rates.min() < -3 and -1 < rates.max() <= 0, (
        "spread over the decades, not near the upper end"
    )


def test_a_list_of_grids_is_each_of_them(read):
    made = read("study: ranking\ngrid:\n - {seed: [1, 2]}\n - {seed: [1], epochs: [7, 8]}\n")
    assert [_said(run) for run in made.runs.values()] == [
        {"seed": 1},
        {"seed": 2},
        {"seed": 1, "epochs": 7},
        {"seed": 1, "epochs": 8},
    ]


def test_the_same_run_twice_is_one(read):
    made = read(
        "study: ranking\nbase: {epochs: 3}\ngrid: {seed: [1, 1]}\nlist: [{seed: 1, epochs: 3}, "
        "{seed: 1, epochs: 4}]"
    )
    assert list(made.runs) == ["epochs=3,seed=1", "epochs=4,seed=1"] and made.duplicates == 2


def _brute_force(made: plan.Plan) -> set:
    """Every different (stage, parameters of it and all before it), the slow way."""
    paths, wanted = notebooks.stages(), set()
    for given in made.runs.values():
        for i in range(len(made.stages)):
            prefix = [
                (n, tuple(sorted(pipeline.effective("ranking", paths[n], given).items())))
                for n in made.stages[: i + 1]
            ]
            wanted.add(tuple(prefix))
    return wanted


@pytest.mark.parametrize(
    "sections",
    [
        "grid: {seed: [1, 2], hidden_units: [4, 8], budget_bytes: [0, 5000]}",
        "grid: {prefer: [bytes, latency], rows: [100, 200]}",
        "list: [{}, {seed: 42}, {epochs: 6}]",
        (
            "random: {runs: 30, space: {epochs: {choice: [5, 6]}, seed: {choice: [1, 2, 3]}, "
            "threads: {choice: [1, 2]}}}"
        ),
    ],
)
def test_every_stage_is_executed_once_for_all_runs_that_share_it(read, sections):
    """Replays the tasks: each must find what it builds on, and together they must do every stage
    exactly once.
    """
    made = read(f"study: ranking\n{sections}")
    executed: dict[tuple, str] = {}
    has: dict[str, set] = {name: set() for name in made.runs}
    done: set[int] = set()
    for task in made.tasks():
        assert task.after is None or id(task.after) in done, "what it needs stands before it"
        done.add(id(task))
        for number in task.stages.split(","):
            before = [n for n in made.stages if n <= number]
            prefix = tuple(
                (
                    n,
                    tuple(
                        sorted(
                            pipeline.effective(
                                "ranking", notebooks.stages()[n], task.parameters
                            ).items()
                        )
                    ),
                )
                for n in before
            )
            assert has[task.run] >= set(before[:-1]), "a stage follows the one before it"
            if number in task.reuse:
                assert executed[prefix] == task.reuse[number]
            else:
                assert prefix not in executed, "executed twice"
                executed[prefix] = task.run
            has[task.run].add(number)
    assert set(executed) == _brute_force(made)
    assert all(stages == set(made.stages) for stages in has.values())
    assert [t.run for t in made.tasks() if t.last] == list(made.runs)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(f'*{old}' for _ in range(9))}]\n"
    for old, new in itertools.pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, r"line 2: aliases \(\*name\) are not taken"),
        ("study: ranking\ngrid: " + "[" * 5000, "not "),
        ("study: ranking\ngrid: {seed: [1}", "not YAML: while parsing"),
        ("!!python/object/apply:os.system [ls]", "not YAML: could not determine a constructor"),
        ("- 1\n- 2", "a sweep file must be names with values"),
        ("", "a sweep file must be names with values"),
        ("study: nope\nlist: [{}]", "there is no study 'nope'"),
        (
            "list: [{}]",
            "study must name one of digits, feed, images, images_224, images_digits, movies, "
            "ranking",
        ),
        ("study: 3\nlist: [{}]", "study must name one of"),
        ("study: ranking", "nothing to sweep over: give grid, list or random"),
        (
            "study: ranking\ngird: {seed: [1]}",
            r"there is no 'gird' in a sweep file \(did you mean grid\?\)",
        ),
        ("study: ranking\ngrid: {}", "grid is empty"),
        ("study: ranking\ngrid: {seed: []}", "seed has no values"),
        ("study: ranking\ngrid: {seed: {range: [5, 5]}}", "seed has no values"),
        ("study: ranking\ngrid: {seed: {range: [0, 5, 0]}}", "range must be"),
        ("study: ranking\ngrid: {seed: {range: [0, 1.5]}}", "range must be"),
        ("study: ranking\ngrid: {seed: 3}", "seed must be a list of values or"),
        ("study: ranking\ngrid: [1, 2]", "grid must be names with values"),
        ("study: ranking\ngrid: {seed: [1], seed: [2]}", "line 2: seed is given twice"),
        ("study: ranking\ngrid: {seeed: [1]}", r"no parameter 'seeed' \(did you mean seed\?\)"),
        ("study: ranking\ngrid: {epochs: [0]}", "epochs must be between 1"),
        ("study: ranking\ngrid: {epochs: [1.5]}", "epochs must be a whole number, not 1.5"),
        ("study: ranking\ngrid: {epochs: [true]}", "epochs must be a whole number, not True"),
        ("study: ranking\ngrid: {epochs: [null]}", "epochs must be a whole number, not None"),
        ("study: ranking\ngrid: {learning_rate: [.nan]}", "learning_rate must be between"),
        ("study: ranking\ngrid: {run: [a]}", "run is not set"),
        ("study: ranking\ngrid: {source: [hard]}", "no source 'hard'"),
        ("study: ranking\nbase: [1]\nlist: [{}]", "base must be names with values"),
        (
            "study: ranking\nstages: 01-02\ngrid: {threads: [1, 2]}",
            "threads belongs to stage 05, and the sweep has 01, 02 only",
        ),
        ("study: ranking\nstages: 3\nlist: [{}]", r"stages must be text like 01-03 \(in quotes"),
        ("study: ranking\nstages: '09'\nlist: [{}]", "stages '09' are not like"),
        (
            "study: ranking\nstages: 05\nlist: [{}]",
            "line 2: 05 is read as octal by some: .* or in quotes",
        ),
        (
            "study: ranking\ngrid:\n  seed: [1, 010]",
            "line 3: 010 is read as octal by some: write it without the zero",
        ),
        ("study: ranking\ngrid: {seed: [-010]}", "line 2: -010 is read as octal"),
        ("study: ranking\ngrid: {epochs: [1:30]}", "epochs must be a whole number, not '1:30'"),
        ("study: ranking\ngrid: {seed: [0x10]}", "seed must be a whole number, not '0x10'"),
        ("study: ranking\ngrid: {thorough: [yes]}", "thorough must be True or False, not 'yes'"),
        (
            "study: ranking\ngrid: {epochs: [2024-01-01]}",
            "epochs must be a whole number, not '2024-01-01'",
        ),
        ("study: ranking\ngrid: {epochs: [!!int '1:30']}", "not a sweep file: ValueError"),
        (
            "study: ranking\ngrid: {seed: [" + "9" * 5000 + "]}",
            "not a sweep file: ValueError: Exceeds the limit",
        ),
        (
            "study: ranking\ngrid: {seed: {range: [0, 1000000000000000000000]}}",
            "goes beyond 4,611,686,018,427,387,904",
        ),
        ("study: ranking\ngrid: {seed: {range: [-1000000000000000000000, 0]}}", "goes beyond"),
        ("study: ranking\ngrid: {seed: {range: [0, 5, 1000000000000000000000]}}", "goes beyond"),
        ("study: ranking\ngrid: {seed: {range: [0, 1e21]}}", "range must be"),
        ("study: ranking\nlist: {seed: 1}", "list must be a list of runs"),
        ("study: ranking\nlist: []", "list must be a list of runs"),
        ("study: ranking\nlist: [5]", "an entry of list must be names with values"),
        (
            "study: ranking\nrandom: {runs: 0, space: {seed: {choice: [1]}}}",
            "runs must be between 1 and 10,000",
        ),
        ("study: ranking\nrandom: {runs: 2}", "space must be names"),
        ("study: ranking\nrandom: {runs: 2, space: {}}", "space is empty"),
        (
            "study: ranking\nrandom: {runs: 2, space: {seed: [1, 2]}}",
            "seed must be one of {uniform",
        ),
        (
            "study: ranking\nrandom: {runs: 2, space: {seed: {uniform: [5, 1]}}}",
            r"needs two numbers \[low, high\]",
        ),
        (
            "study: ranking\nrandom: {runs: 2, space: {seed: {uniform: [1, .inf]}}}",
            r"needs two numbers \[low, high\]",
        ),
        (
            "study: ranking\nrandom: {runs: 2, space: {learning_rate: {log_uniform: [0, 1]}}}",
            "two positive numbers",
        ),
        (
            "study: ranking\nrandom: {run: 2, space: {seed: {choice: [1]}}}",
            "random has runs, seed and space, not run",
        ),
        (b"\xff\xfe\x00", "is not text"),
        ("x" * 1_100_000, "has 1,100,000 bytes, a sweep file at most 1,000,000"),
    ],
)
def test_a_bad_file_is_refused_with_the_value_and_the_way_out(read, home, text, message):
    with pytest.raises(BadInput, match=message):
        read(text)
    assert not home.exists()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            "grid: {seed: {range: [0, 1000]}, epochs: {range: [1, 10001]}}",
            r"10,000,000 runs \(1,000 seed x 10,000 epochs\)",
        ),
        ("grid: {seed: {range: [0, 1000000000000000]}}", "1,000,000,000,000,000 runs"),
        (
            "grid: [{seed: {range: [0, 9000]}}, {seed: {range: [0, 9000]}, epochs: [2]}]",
            "more than 10,000 runs",
        ),
    ],
)
def test_millions_of_runs_are_refused_at_once(read, sections, message):
    started = time.monotonic()
    with pytest.raises(BadInput, match=message):
        read(f"study: ranking\n{sections}")
    assert time.monotonic() - started < 5


def test_no_file_and_a_folder_are_told_apart(tmp_path):
    with pytest.raises(BadInput, match="cannot read the sweep file .*: No such file"):
        plan.read(tmp_path / "nope.yaml")
    with pytest.raises(BadInput, match="Is a directory"):
        plan.read(tmp_path)


def test_a_run_that_was_made_with_other_parameters_is_refused_before_anything_starts(read, home):
    work = runs.Run("ranking", "default")
    with work.edit() as record:
        record["requested"] = {"epochs": 9}
    runs.Stage("01_synthetic_data", study="ranking", run="default").finish()
    with pytest.raises(
        BadInput, match="run 'default' exists and was made with epochs=9, not 5: rename its folder"
    ):
        read("study: ranking\nlist: [{seed: 1}, {}]")
    assert list(read("study: ranking\nlist: [{seed: 1}]").runs) == ["seed=1"]


def test_the_command_of_a_message_can_be_pasted_into_a_shell(read, home):
    with runs.Run("ranking", "default").edit() as record:
        record["requested"] = {"variant": "mnn fp16"}
    runs.Stage("06_device_bundle", study="ranking", run="default").finish()
    with pytest.raises(
        BadInput, match="`workbench run ranking --run default -p variant=recommended --force`"
    ):
        read("study: ranking\nlist: [{}]")


def test_values_that_look_alike_as_a_folder_are_two_runs(read):
    entries = '[{version: a/b}, {version: a-b}, {version: "a-b,seed=1"}, {version: a-b, seed: 1}]'
    made = read(f"study: ranking\nlist: {entries}")
    assert len(made.runs) == 4 and made.duplicates == 0
    assert list(made.runs)[1] == "version=a-b" and all(
        runs.Run("ranking", name) for name in made.runs
    )


def test_numbers_are_read_as_people_mean_them(read):
    made = read(
        "study: ranking\nbase: {thorough: true}\nlist: [{learning_rate: 1e-4, version: 1:30}, "
        "{version: no}, {epochs: 10, version: '010'}, {epochs: +7, version: 2024-01-01}, "
        "{learning_rate: .5, version: 1_000}]\nrandom: {runs: 1, space: {learning_rate: {uniform: "
        "[1e-4, 1E-3]}}}"
    )
    *listed, drawn = (_said(run) for run in made.runs.values())
    assert listed == [
        {"thorough": True, "learning_rate": 0.0001, "version": "1:30"},
        {"thorough": True, "version": "no"},
        {"thorough": True, "epochs": 10, "version": "010"},
        {"thorough": True, "epochs": 7, "version": "2024-01-01"},
        {"thorough": True, "learning_rate": 0.5, "version": "1_000"},
    ]
    assert 1e-4 <= drawn["learning_rate"] <= 1e-3


def test_entries_that_would_be_one_folder_are_two_runs_or_refused(read):
    """Never one of them, silently."""
    for one, other in (("a/b", "a-b"), ("a b", "a-b"), ("a:b", "a;b")):
        try:
            made = read(f"study: ranking\nlist: [{{version: '{one}'}}, {{version: '{other}'}}]")
        except BadInput as refused:
            assert (
                f"'{one}'" in str(refused)
                and f"'{other}'" in str(refused)
                and "would both be run" in str(refused)
            )
        else:
            assert [run["version"] for run in made.runs.values()] == [
                one,
                other,
            ] and made.duplicates == 0


def test_many_keys_take_no_longer_than_reading_them(read):
    text = f"study: ranking\nbase: {{{', '.join(f'k{i}: 1' for i in range(15_000))}}}\nlist: [{{}}]"
    started = time.process_time()
    yaml.safe_load(text)
    plainly = time.process_time() - started
    started = time.process_time()
    with pytest.raises(BadInput, match="there is no parameter 'k0'"):
        read(text)
    assert time.process_time() - started < 2 * plainly + 0.5
    with pytest.raises(BadInput, match="k14999 is given twice"):
        read(text.replace("k0:", "k14999:"))


def test_planning_does_not_take_the_square_of_the_runs(read):
    notebooks.parameters()
    seconds = []
    for seeds in (100, 400):
        started = time.process_time()
        made = read(
            f"study: ranking\ngrid: {{seed: {{range: [0, {seeds}]}}, hidden_units: [4, 8, 16]}}"
        )
        assert len(made.runs) == 3 * seeds == sum(task.last for task in made.tasks())
        seconds.append(time.process_time() - started)
    assert seconds[1] < 8 * seconds[0], "the square takes sixteen times"
