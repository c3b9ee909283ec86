"""`workbench run` and plain papermill, as a user calls them."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import psutil
import pytest
from support import PROJECT, QUICK, QUICKLY, STRACE, workbench

from helpers import code, files, notebooks, pipeline, records, runs, runtimes, tasks
from helpers.convert import recipes
from helpers.datasets import load
from helpers.errors import DamagedFile
from helpers.evaluation import comparison

CONTRACT = [
    "run.json",
    "notebooks/05_accuracy_latency.ipynb",
    "model/model.keras",
    "model/config.json",
    "model/history.csv",
    "model/reference.npz",
    "tflite/fp32.tflite",
    "mnn/fp32.mnn",
    "model/calibration.npz",
    "tflite/recipes.csv",
    "mnn/recipes.csv",
    "comparison.csv",
    "latency.csv",
    "recommendation.json",
    "figures/latency.png",
    "figures/pareto.png",
    "report.html",
]


def _only_words(error: str) -> bool:
    return error.startswith("workbench: ") and "Traceback" not in error


def test_a_finished_run_is_the_folder_of_the_contract(finished):
    folder = finished.home / "artifacts/ranking/default"
    assert all((folder / file).is_file() for file in CONTRACT)
    record = json.loads((folder / "run.json").read_text())
    assert [stage["status"] for stage in record["stages"].values()] == ["done"] * 6
    assert (
        record["parameters"]["epochs"] == 5
        and record["requested"] == QUICK
        and record["seed"] == 42
    )
    for stage in record["stages"].values():
        assert stage["seconds"] > 0
        assert all(
            files.sha256(folder / file) == digest for file, digest in stage["outputs"].items()
        )
    table = pd.read_csv(folder / "comparison.csv")
    assert list(table.columns) == comparison.columns(tasks.get("ranking"))
    variants = [
        ("keras", "fp32"),
        *(
            (recipe.runtime, recipe.precision)
            for runtime in runtimes.PHONE
            for recipe in recipes.of(runtime)
        ),
    ]
    assert list(table[["runtime", "precision"]].itertuples(index=False, name=None)) == variants
    plain = table["precision"].str.startswith("fp32")
    assert set(table["verdict"][plain]) == {"same"} and set(table["verdict"][~plain]) == {
        "ships with loss"
    }
    assert not [path for path in finished.home.rglob("*partial*")], (
        "nothing half-written stays behind"
    )


def test_readme_shows_what_it_prints(finished):
    def untimed(text: str) -> list[str]:
        text = re.sub(r"[\d.]+x \(.*?\)|[\d.]+x the latency", "", text)
        return [" ".join(line.split()) for line in text.splitlines()]

    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    table, recommended = readme.split("ends like this")[1].split("\n\n")[1:3]
    printed = untimed(finished.output.read_text())
    assert len(untimed(table)) == 9 and set(untimed(table)) <= set(printed)
    assert " ".join(untimed(recommended)) in printed


def test_it_prints_the_table_and_where_things_are(finished):
    assert re.search(r"mnn +fp32 .* same", finished.output.read_text())
    assert (
        " bytes): its scores are the model's. Two other files have the same scores; neither is "
        "smaller. All 16 files keep the budget (at most 0.01 AUC lost).\n"
        in finished.output.read_text()
    )
    assert f"run folder  {finished.home}/artifacts/ranking/default" in finished.output.read_text()
    assert "report.html" in finished.output.read_text()


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace is not installed (.ci/run installs it)"
)
def test_no_connection_leaves_the_machine(home, tmp_path, monkeypatch):
    """Every connect() of every process of a whole run, kernels and converters included, as strace
    saw it.
    """
    monkeypatch.setenv(
        "XDG_RUNTIME_DIR", str(tmp_path)
    )  # fork servers of its own, so that what they fork is traced
    monkeypatch.setenv("WORKBENCH_KERNEL_IDLE", "3")
    trace = tmp_path / "connect.txt"
    traced = [*STRACE, "--output-append-mode", f"--output={trace}"]
    for _ in range(
        5
    ):  # strace itself ends now and then, when what it traces is killed; the run goes on from there
        done = workbench("run", "ranking", "--run", "default", *QUICKLY, home=home, before=traced)
        if "strace: ptrace" not in done.stderr:
            break
    assert done.returncode == 0, done.stdout + done.stderr
    calls = [line for line in trace.read_text().splitlines() if "connect(" in line]
    assert any("127.0.0.1" in call for call in calls), (
        "the kernels' own messages must have been seen"
    )
    assert [call for call in calls if leaves(call)] == []


def leaves(call: str) -> bool:
    """Whether a traced connect() goes to another machine: neither a Unix or netlink socket nor
    loopback.
    """
    return "sa_family=AF_INET" in call and not re.search(
        r'inet_addr\("127\.|inet_pton\(AF_INET6, "::1"', call
    )


def test_the_trace_reader_knows_the_difference():
    assert leaves(
        '1 connect(3, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("192.0.2.1")},'
        " 16) = 0"
    )
    assert leaves(
        '1 connect(3, {sa_family=AF_INET6, inet_pton(AF_INET6, "2001:db8::1", &x)}, 28) = -1'
        " ENETUNREACH"
    )
    assert not leaves(
        '1 connect(3, {sa_family=AF_INET, sin_port=htons(99), sin_addr=inet_addr("127.0.0.1")},'
        " 16) = 0"
    )
    assert not leaves('1 connect(3, {sa_family=AF_UNIX, sun_path="/run/x"}, 110) = -1 ENOENT')


def test_a_second_run_does_nothing_and_says_so(finished_copy, home):
    files = [
        path
        for path in finished_copy.folder.rglob("*.*")
        if path.name != "run.json" and not path.name.startswith(".")
    ]
    before = {path: path.stat().st_mtime_ns for path in files}
    done = workbench("run", "ranking", "--run", "default", home=home)
    assert done.returncode == 0 and done.stdout.count("finished before, nothing to do") == 6
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_other_parameters_for_a_run_that_exists_are_refused(finished_copy, home):
    done = workbench("run", "ranking", "--run", "default", "-p", "epochs=10", home=home)
    assert done.returncode == 2 and _only_words(done.stderr)
    assert (
        "made with epochs=5, not 10" in done.stderr
        and "--run" in done.stderr
        and "--force" in done.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["nope"],
            "there is no study 'nope'; there is: digits, feed, images, ",
        ),
        (
            ["ranking", "-p", "epoch=3"],
            "there is no parameter 'epoch' (did you mean epochs?); `workbench run ranking --help`",
        ),
        (["ranking", "-p", "epochs=many"], "epochs must be a whole number, not 'many'"),
        (["ranking", "-p", "epochs=0"], "epochs must be between 1"),
        (["ranking", "-p", "rows=0"], "rows must be at least 20 where rows are drawn, not 0"),
        (["ranking", "-p", "rows=-4"], "not -4"),
        (["ranking", "-p", "learning_rate=nan"], "learning_rate must be between"),
        (["ranking", "-p", "thorough=perhaps"], "thorough must be True or False, not 'perhaps'"),
        (["ranking", "-p", "source=hard"], "no source 'hard'; it has: simple, personalised"),
        (["ranking", "-p", "run=x"], "--run NAME"),
        (["ranking", "--run", "../x"], "folder name"),
        (["ranking", "--stages", "07"], "out of 01, 02, 03, 04, 05"),
        (["ranking", "--stages", "04-02"], "stages '04-02' are not like"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(home, arguments, message):
    done = workbench("run", *arguments, home=home)
    assert done.returncode == 2 and message in done.stderr and _only_words(done.stderr)
    assert not home.exists()


def test_debug_shows_the_traceback(home):
    done = workbench("--debug", "run", "nope", home=home)
    assert done.returncode == 2 and "Traceback" in done.stderr


def test_a_missing_stage_is_named(home):
    done = workbench("run", "ranking", "--run", "new", "--stages", "03", home=home)
    assert done.returncode == 1 and _only_words(done.stderr)
    assert (
        "stage 03_tflite_conversion failed: MissingStage: stage 02 of run 'new' has not been run"
        in done.stderr
    )
    failed = home / "artifacts/ranking/new/notebooks/03_tflite_conversion.failed.ipynb"
    assert str(failed) in done.stderr and failed.exists()


def test_an_unwritable_home_is_an_error_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    done = workbench("run", "ranking", home=tmp_path / "file" / "home")
    assert done.returncode == 1 and _only_words(done.stderr) and "WORKBENCH_HOME" in done.stderr


def test_a_run_on_a_full_disk_fails_in_words(small_tmpfs):
    done = workbench("run", "ranking", "--stages", "01", "-p", "rows=50000", home=small_tmpfs)
    assert done.returncode == 1 and "disk is full" in done.stderr and "Traceback" not in done.stderr


def test_a_changed_artifact_is_made_again(finished_copy, home):
    file = "mnn/fp32.mnn"
    path = finished_copy.folder / file
    good = path.read_bytes()
    damaged = bytearray(good)
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    done = workbench("run", "ranking", "--run", "default", home=home)
    assert done.returncode == 0, done.stderr
    assert (
        f"04_mnn_conversion  recorded {file}, which has been changed since: executing it again"
        in done.stdout
    )
    assert done.stdout.count("nothing to do") == 5, (
        "the same bytes came out, so what used them still holds"
    )
    assert path.read_bytes() == good


def test_a_table_that_no_longer_counts_is_not_shown(finished_copy, home):
    edited = finished_copy.folder / "comparison.csv"
    edited.write_text(edited.read_text().replace("0.99", "0.98"))
    done = workbench("run", "ranking", "--run", "default", "--stages", "01", home=home)
    assert (
        done.returncode == 0
        and "no comparison: artifacts/ranking/default/comparison.csv is not the file" in done.stdout
    )
    assert "verdict" not in done.stdout
    assert "No comparison" in (finished_copy.folder / "report.html").read_text()


def test_forcing_a_stage_keeps_the_parameters_of_the_run(finished_copy):
    assert pipeline._settle(finished_copy, {}, force=True, every_stage=False) == QUICK
    assert pipeline._settle(finished_copy, {"epochs": 3}, force=True, every_stage=False) == {
        **QUICK,
        "epochs": 3,
    }
    finished_copy.record_file.write_text("{ half")
    with pytest.raises(DamagedFile):
        pipeline._settle(finished_copy, {}, force=True, every_stage=False)
    assert pipeline._settle(finished_copy, {}, force=True, every_stage=True) == {}


@pytest.mark.slow
def test_deleted_data_is_made_again(finished_copy, home):
    shutil.rmtree(home / "data")
    done = workbench("run", "ranking", "--run", "default", "--stages", "01", home=home)
    assert done.returncode == 0 and re.search(
        r"made data/ranking/.*, which is gone: executing it again", done.stdout
    )
    assert load(finished_copy.folder / "data.json").arrays("test")


@pytest.mark.slow
def test_the_notebooks_folder_is_only_read(tmp_path):
    home = tmp_path / "a folder with {braces}, spaces and ümlauts"
    before = {path: path.read_bytes() for path in notebooks.folder().iterdir() if path.is_file()}
    done = workbench(
        "run", "ranking", "-p", "rows=400", "--run", "small", "--stages", "01", home=home
    )
    assert done.returncode == 0, done.stderr
    assert {
        path: path.read_bytes() for path in notebooks.folder().iterdir() if path.is_file()
    } == before
    assert load(home / "artifacts/ranking/small/data.json").rows("train") == 400
    again = workbench("run", "ranking", "--run", "small", "--stages", "01", home=home)
    assert "nothing to do" in again.stdout, "a run keeps the parameters it was started with"


def test_a_run_is_named_after_its_parameters(home):
    assert pipeline.default_name({}) == "default"
    assert pipeline.default_name({"seed": 3, "epochs": 10}) == "epochs=10,seed=3"
    assert len(pipeline.default_name({"source": "x" * 200})) <= 100
    assert pipeline.default_name({"learning_rate": 3e-5}) == "learning_rate=3e-05"
    assert pipeline.default_name({"version": "a/b"}).startswith("version=a-b-")


def test_names_of_other_parameters_are_other_names():
    texts = ("a/b", "a-b", "a b", "a&b", "a,b", "a=b", "a,seed=1", "x" * 200, "x" * 201, "ü", "é")
    names = [
        pipeline.default_name({"version": text, **more})
        for text in texts
        for more in ({}, {"seed": 1})
    ]
    assert len(set(names)) == len(names) and all(runs.Run("ranking", name) for name in names)


@pytest.mark.slow
def test_plain_papermill_from_any_folder(finished_copy, home, tmp_path):
    papermill = [
        sys.executable,
        "-m",
        "papermill",
        str(PROJECT / "notebooks/02_keras_training.ipynb"),
        "out.ipynb",
    ]
    environment = {**os.environ, "WORKBENCH_HOME": str(home)}
    done = subprocess.run(
        [*papermill, "-p", "epochs", "3"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.ipynb").exists()
    assert len(pd.read_csv(finished_copy.folder / "model/history.csv")) == 3
    again = workbench("run", "ranking", "--run", "default", "--stages", "01", home=home)
    assert again.returncode == 0
    assert "epochs=3, not 5" in finished_copy.unfinished("02", {"epochs": 5})


@pytest.mark.slow
def test_plain_papermill_refuses_the_same_values(tmp_path, home):
    papermill = [
        sys.executable,
        "-m",
        "papermill",
        str(PROJECT / "notebooks/01_synthetic_data.ipynb"),
        "out.ipynb",
        "-p",
        "rows",
        "0",
    ]
    done = subprocess.run(papermill, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0 and "rows must be at least 20" in done.stderr
    assert not list(home.rglob("*.parquet"))


def test_two_processes_cannot_execute_one_run(home):
    with pipeline._only_one(runs.Run("ranking", "busy")):
        done = workbench("run", "ranking", "--run", "busy", home=home)
    assert done.returncode == 1 and "being executed by another process" in done.stderr


def _children(pid: int) -> list[int]:
    listing = subprocess.run(
        ["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    pairs = [tuple(map(int, line.split())) for line in listing.splitlines()]
    found = [pid]
    for parent in found:
        found += [child for child, of in pairs if of == parent]
    return found[1:]


def _kill_after(seconds: float, home) -> None:
    environment = {**os.environ, "WORKBENCH_HOME": str(home)}
    command = [sys.executable, "-m", "helpers.cli", "run", "ranking", "--run", "killed", *QUICKLY]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(seconds)
    started = psutil.Process(
        process.pid
    ).children()  # a fork server that it has just started lives on
    servers = [child.pid for child in started if "helpers.forks.loop" in child.cmdline()]
    orphans = [pid for pid in _children(process.pid) if pid not in servers]
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.time() + 30
    while orphans and time.time() < deadline:
        orphans = [pid for pid in orphans if os.path.exists(f"/proc/{pid}")]
        time.sleep(0.2)
    assert not orphans, "kernels end with the process that started them"


def _check_killed(home) -> None:
    run = runs.Run("ranking", "killed")
    for stage, entry in run.record()["stages"].items():
        if entry["status"] == "done":
            for file in entry["outputs"]:
                run.verified(stage, file)


@pytest.mark.slow
def test_a_killed_stage_is_executed_again(home):
    _kill_after(4, home)
    _check_killed(home)
    done = workbench("run", "ranking", "--run", "killed", "--stages", "01", home=home)
    assert done.returncode == 0, done.stderr
    assert runs.Run("ranking", "killed").record()["requested"] == QUICK


@pytest.mark.slow
def test_a_run_killed_again_and_again_finishes(finished, home):
    rng = random.Random(20)
    for _ in range(6):
        _kill_after(rng.uniform(1, 25), home)
        _check_killed(home)
    done = workbench("run", "ranking", "--run", "killed", home=home)
    assert done.returncode == 0, done.stderr
    same = ["model/model.keras", "model/reference.npz", "tflite/fp32.tflite", "mnn/fp32.mnn"]
    whole = finished.home / "artifacts/ranking/default"
    assert all(
        (home / "artifacts/ranking/killed" / f).read_bytes() == (whole / f).read_bytes()
        for f in same
    )
    shutil.rmtree(home)


@pytest.mark.slow
def test_other_parameters_all_the_way(home):
    done = workbench(
        "run",
        "ranking",
        "-p",
        "source=personalised",
        *QUICKLY,
        "-p",
        "rows=20000",
        "-p",
        "epochs=10",
        home=home,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (path for path in (home / "artifacts/ranking").iterdir() if path.is_dir())
    assert folder.name == "epochs=10,latency_seconds=1.0,rows=20000,source=personalised"
    table = pd.read_csv(folder / "comparison.csv")
    plain = table["precision"].str.startswith("fp32")
    assert (table["verdict"][plain] == "same").all() and table["auc"][plain].min() > 0.7


@pytest.fixture
def edit(tmp_path, monkeypatch):
    """Edits a module, by the eyes of this process: the package is copied, and its sources are
    looked for there.
    """
    shutil.copytree(code.FOLDER, tmp_path / "package")
    monkeypatch.setattr(code, "FOLDER", tmp_path / "package")

    def edit_module(file: str) -> None:
        with open(tmp_path / "package" / file, "a", encoding="utf-8") as text:
            text.write("\n")

    return edit_module


@pytest.mark.parametrize(
    ("file", "direct", "after"),
    [
        ("evaluation/latency.py", "05 06", ""),
        ("evaluation/choice.py", "05", "06"),
        ("learning/ranking.py", "01 02", "03 04 05 06"),
        ("convert/mnn.py", "03 04 05 06", ""),
        ("runtimes/litert.py", "03 04 05 06", ""),
        ("plots/__init__.py", "01 02 03 04 05 06", ""),
        ("studies/ranking.py", "01 02 06", "03 04 05"),
        ("bundle/make.py", "06", ""),
        ("templates/bundle/c/golden.h", "06", ""),
        ("studies/feed/world.py", "", ""),
        ("templates/report.html", "", ""),
        ("pipeline.py", "", ""),
        ("sweeps/execute.py", "", ""),
        ("cli.py", "", ""),
        ("kernels/client.py", "", ""),
    ],
)
def test_an_edit_makes_stale_what_used_the_module_what_was_made_of_that_and_nothing_else(
    finished_copy, edit, file, direct, after
):
    record = finished_copy.record()
    assert records.stale(record) == {}
    edit(file)
    stale = records.stale(record)
    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    name = file if file.startswith("templates") else f"helpers.{module}"
    executed = [
        stage[:2]
        for stage in stale
        if stale[stage] == f"was executed with other code: {name} has changed since"
    ]
    assert executed == direct.split()
    assert [stage[:2] for stage in stale if stage[:2] not in executed] == after.split()
    assert all(
        f"which was executed with other code: {name}" in stale[stage]
        for stage in stale
        if stage[:2] in after
    )
    assert [stage for stage in record["stages"] if finished_copy.unfinished(stage, {})] == [
        stage for stage in record["stages"] if stage[:2] in executed
    ], "what follows is only executed again if what it reads has changed"
