"""A sweep on a Dask cluster: a scheduler and two workers as processes of their own, one of them
killed.
"""

import os
import signal
import subprocess
import sys
import time

import pytest
from support import workbench
from sweeping import check_whole, done_stages, records, start

SWEEP = """
study: ranking
stages: 01-02
base: {rows: 1000, epochs: 2}
grid: {seed: [1, 2, 3], hidden_units: [4, 8]}
"""
FILES = ("data.json", "model/model.keras", "model/reference.npz")


@pytest.fixture
def cluster(tmp_path):
    """The address of a scheduler and its two worker processes."""
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    place, processes = tmp_path / "scheduler.json", []

    def run(module: str, *options: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"distributed.cli.{module}", *options]
        process = subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        processes.append(process)
        return process

    run(
        "dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
        "--scheduler-file",
        str(place),
    )
    deadline = time.monotonic() + 30
    while not place.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    options = (
        "--scheduler-file",
        str(place),
        "--nthreads",
        "1",
        "--no-nanny",
        "--no-dashboard",
        "--host",
        "127.0.0.1",
    )
    workers = [run("dask_worker", *options) for _ in range(2)]
    import distributed

    with distributed.Client(scheduler_file=str(place), set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        address = client.scheduler.address
    yield address, workers
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_killed_worker_loses_and_doubles_nothing(cluster, file, home, tmp_path):
    address, workers = cluster
    file.write_text(SWEEP)
    process = start(file, home, "--scheduler", address)
    deadline = time.monotonic() + 120
    while len(done_stages(home)) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    done = done_stages(home)
    assert done and len(done) < 12, "killed in the middle"
    workers[0].send_signal(signal.SIGKILL)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    now = done_stages(home)
    assert {key: now[key] for key in done} == done, "what was done is not executed again"
    check_whole(home, file)
    executed, recognised = said.count("  done in "), said.count("finished before, nothing to do")
    # A result that only the killed worker held is asked for again, and its stage recognised,
    # whether its line was already printed or not.
    assert executed <= 3 + 6 <= executed + recognised, "every stage, and none twice"

    alone = tmp_path / "alone"
    here = workbench("sweep", str(file), "--workers", "2", home=alone)
    assert here.returncode == 0, here.stderr
    for name in records(alone):
        for output in FILES:
            paths = [place / "artifacts/ranking" / name / output for place in (home, alone)]
            assert paths[0].read_bytes() == paths[1].read_bytes(), f"{name}/{output}"


@pytest.mark.slow
def test_no_scheduler_is_an_error_in_words(file, home, monkeypatch):
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "2s")
    file.write_text(SWEEP)
    done = workbench("sweep", str(file), "--scheduler", "tcp://127.0.0.1:9", home=home)
    assert (
        done.returncode == 2
        and "workbench: no Dask scheduler answers at 'tcp://127.0.0.1:9'" in done.stderr
    )
    assert "Traceback" not in done.stderr and not home.exists()


@pytest.mark.slow
def test_a_cluster_that_does_not_see_the_files_is_refused(cluster, file, home):
    """Two namespaces for two machines: the sweep's home is on a file system that the workers do not
    have.
    """
    address, _ = cluster
    file.write_text(SWEEP)
    sweep = f"{sys.executable} -m helpers.cli sweep {file} --scheduler {address}"
    hidden = f"mkdir -p {home} && mount -t tmpfs tmpfs {home} && exec {sweep}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", hidden],
        env={**os.environ, "WORKBENCH_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    if "unshare" in done.stderr:
        pytest.skip("a mount namespace of its own needs root")
    assert (
        done.returncode == 2
        and "does not see" in done.stderr
        and "shared file system" in done.stderr
    ), done.stderr
