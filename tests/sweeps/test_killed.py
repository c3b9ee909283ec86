"""SIGKILL at random moments, full disks, two sweeps at once: the same command finishes, nothing is
lost or doubled.
"""

import random
import signal
import subprocess
import time

import pytest
from support import servers, workbench
from sweeping import (
    FIRST_STAGE,
    TWO_WIDTHS,
    check_whole,
    done_stages,
    forked,
    forks_ended,
    records,
    start,
)

from helpers.forks import server

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("runtime")]
MOMENTS = 10
SWEEP = """
study: ranking
stages: 01-02
base: {rows: 1000, epochs: 2}
grid: {seed: [1, 2, 3, 4], hidden_units: [4, 6, 8, 10]}
"""
FILES = ("data.json", "model/model.keras", "model/reference.npz", "model/history.csv")


@pytest.fixture(scope="module")
def undisturbed(runtime, tmp_path_factory):
    """The same sweep, left alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "sweep.yaml").write_text(SWEEP)
    done = workbench("sweep", str(folder / "sweep.yaml"), "--workers", "2", home=folder / "home")
    assert done.returncode == 0, done.stderr
    return folder / "home"


def _equal(home, other) -> None:
    for name in records(other):
        for file in FILES:
            ours, theirs = (place / "artifacts/ranking" / name / file for place in (home, other))
            assert ours.read_bytes() == theirs.read_bytes(), f"{name}/{file}"


def _kill(victim: str, process) -> None:
    if victim == "sweep":
        process.kill()
        process.wait()
        assert forks_ended(), "workers and kernels end with the sweep"
        return
    kinds = {
        "worker": lambda: forked("bare"),
        "kernel": lambda: forked("tables") + forked("notebooks"),
        "server": lambda: servers(server.folder()),
    }
    there = kinds[victim]()
    if there:
        random.choice(there).send_signal(signal.SIGKILL)


@pytest.mark.parametrize("victim", ["worker", "kernel", "server", "sweep"])
def test_killed_at_random_moments(file, home, undisturbed, victim):
    file.write_text(SWEEP)
    rng = random.Random(victim)
    process, done = start(file, home), {}
    for _ in range(MOMENTS):
        time.sleep(rng.uniform(0.3, 3.5))
        if process.poll() is not None:
            process = start(file, home)
            time.sleep(rng.uniform(1.5, 4))
        _kill(victim, process)
        now = done_stages(home)
        assert {key: now.get(key) for key in done} == done, "what is done is not executed again"
        done = now
    said, _ = process.communicate(timeout=300)
    assert "Traceback" not in said
    final = workbench("sweep", str(file), "--workers", "2", home=home)
    assert final.returncode == 0, final.stdout + final.stderr
    now = done_stages(home)
    assert {key: now.get(key) for key in done} == done
    check_whole(home, file)
    _equal(home, undisturbed)
    assert forks_ended()


def test_two_sweeps_at_once_over_the_same_runs(file, home, undisturbed):
    file.write_text(SWEEP)
    both = [start(file, home), start(file, home)]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    check_whole(home, file)
    _equal(home, undisturbed)
    executed = sum(text.count("  done in ") for text in said)
    assert executed == 4 + 16, "each stage by one of the two"


def test_a_disk_that_is_full_in_the_middle_of_a_sweep(small_tmpfs, file, monkeypatch):
    monkeypatch.setenv("WORKBENCH_HOME", str(small_tmpfs))
    file.write_text("study: ranking\nstages: '01'\nbase: {rows: 200}\ngrid: {seed: [1, 2, 3]}\n")
    home = small_tmpfs
    (home / "ballast").write_bytes(b"x" * 60_000)
    done = workbench("sweep", str(file), "--workers", "1", home=home)
    assert done.returncode == 1 and "disk is full" in done.stderr and "Traceback" not in done.stderr
    assert len(done_stages(home)) < 3
    (home / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", str(home)], check=True)
    again = workbench("sweep", str(file), "--workers", "1", home=home)
    assert again.returncode == 0, again.stderr
    check_whole(home, file)


def test_ctrl_c_leaves_everything_resumable_and_no_process_behind(file, home):
    file.write_text(FIRST_STAGE)
    process = start(file, home)
    deadline = time.monotonic() + 60
    while not any(home.glob("artifacts/ranking/*/.executing")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert (
        process.returncode == 130
        and "interrupted; the same command continues where it stopped" in said
    ), said
    assert "Traceback" not in said and forks_ended()
    done = workbench("sweep", str(file), home=home)
    assert done.returncode == 0, done.stderr
    check_whole(home, file)


def test_fail_fast_stops_the_others(file, home):
    file.write_text(FIRST_STAGE)
    spoiled = home / "artifacts/ranking/rows=200,seed=1"
    spoiled.mkdir(parents=True)
    (spoiled / "figures").write_text("")
    done = workbench("sweep", str(file), "--workers", "1", "--fail-fast", home=home)
    assert done.returncode == 1 and list(records(home)) == ["rows=200,seed=1"]
    assert (
        done.stderr.count("not executed: the sweep was stopped at the first failure (--fail-fast)")
        == 2
    )
    assert forks_ended()


def test_runs_that_share_a_failed_stage_say_so(file, home):
    file.write_text(TWO_WIDTHS)
    spoiled = home / "artifacts/ranking/epochs=2,hidden_units=4,rows=1000,seed=1"
    spoiled.mkdir(parents=True)
    (spoiled / "figures").write_text("")
    done = workbench("sweep", str(file), home=home)
    assert done.returncode == 1 and "2 of 2 runs failed" in done.stderr
    assert f"not executed: run {spoiled.name!r} failed in a shared stage" in done.stderr
