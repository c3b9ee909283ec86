"""The fork server: it ends no living fork, passes on nothing of its own, waits for no client."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from support import PROJECT, servers

from helpers import forks
from helpers.child import Child
from helpers.forks import server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks are made on Linux only")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Where the servers of this test are, which check every second whether they are needed."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("WORKBENCH_KERNEL_IDLE", "1")
    yield server.folder()
    for process in servers(tmp_path):
        process.kill()


@pytest.fixture
def environment(tmp_path) -> Path:
    """An environment that may be changed: this one's packages below a prefix of its own."""
    place = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    there = [str(PROJECT / "src"), *(path for path in sys.path if path.endswith("site-packages"))]
    (packages / "those_of_the_tests.pth").write_text("\n".join(there))
    return place


def _wait_for(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(condition())


def _parent(child: Child) -> psutil.Process:
    return psutil.Process(child.pid).parent()


STALE = """
import os, shutil, sys, time
from pathlib import Path
from helpers.child import Child
from helpers.forks import server

child = Child("work")
first = child.call("os:getppid")
if sys.argv[1] == "a package is installed":
    Path(sys.argv[2], "x-1.0.dist-info").mkdir()
    with Child("work") as other:
        assert other.call("os:getppid") != first, "another server serves the changed environment"
elif sys.argv[1] == "the environment is removed":
    shutil.rmtree(sys.prefix)
else:
    server.address("bare").unlink()
    with Child("work") as other:
        assert other.call("os:getppid") != first, "another server is started"
for _ in range(8):
    time.sleep(0.5)
    assert child.call("os:getppid") == first
child.close()
print(first)
"""


@pytest.mark.parametrize(
    "change",
    [
        "a package is installed",
        pytest.param("the environment is removed", marks=pytest.mark.slow),
        pytest.param("the socket is removed", marks=pytest.mark.slow),
    ],
)
def test_a_stale_server_waits_for_its_forks_however_often_it_looks(folder, environment, change):
    (packages,) = environment.glob("lib/python*/site-packages")
    command = [str(environment / "bin/python"), "-c", STALE, change, str(packages)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert _wait_for(lambda: not psutil.pid_exists(int(done.stdout))), "it ends with them"


def test_a_server_that_fails_keeps_its_forks(folder):
    """It may open no more files: accepting the next client fails."""
    with Child("work") as child:
        parent = _parent(child)
        hard = parent.rlimit(psutil.RLIMIT_NOFILE)[1]
        resource.prlimit(parent.pid, resource.RLIMIT_NOFILE, (parent.num_fds(), hard))
        with Child("work") as other:
            assert _parent(other).pid != parent.pid, "the next asker is served by another"
        time.sleep(2.5)
        assert child.call("os:getppid") == parent.pid
    assert _wait_for(lambda: parent.status() == psutil.STATUS_ZOMBIE), "it ends with them"


def test_silent_clients_delay_nobody(folder):
    with Child("start the server"):
        pass
    silent = [forks.connect("bare") for _ in range(60)]
    for half in silent[::2]:
        half.sendall(b'{"fingerprint": ')
    started = time.monotonic()
    with Child("work") as child:
        assert isinstance(child._process, forks.Forked) and child.call("json:loads", s="1") == 1
    assert time.monotonic() - started < 2
    for connection in silent:
        connection.close()


def test_a_request_has_one_deadline_however_steadily_it_comes(folder):
    path, (listens, signal_end) = server.address("bare"), os.pipe()
    code = (
        "import sys; from pathlib import Path; from helpers.forks import loop; "
        "loop.REQUEST_SECONDS = 1.0; loop.main(Path(sys.argv[1]), 'bare', int(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(path), str(signal_end)]
    process = subprocess.Popen(command, pass_fds=[signal_end])
    os.close(signal_end)
    os.read(listens, 1)
    started = time.monotonic()
    with forks.connect("bare") as connection, pytest.raises(ConnectionError):
        while time.monotonic() - started < 10:
            connection.sendall(b" ")
            time.sleep(0.1)
    assert 0.9 < time.monotonic() - started < 3
    assert forks.read_reply(forks.connect("bare"))["error"] == "the request was not complete in 1 s"
    process.kill()
    process.wait()


LOOK = """
import json, os
from pathlib import Path
import psutil
from helpers import forks
from helpers.child import Child

names = ("Umask", "Cpus_allowed", "SigBlk", "SigIgn", "CapEff", "Gid", "Groups")

def look(child):
    process = psutil.Process(child.pid)
    lines = Path(f"/proc/{child.pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    seen = {name: status[name].strip() for name in names}
    seen["nice"], seen["ionice"] = process.nice(), list(process.ionice())
    seen["limits"] = Path(f"/proc/{child.pid}/limits").read_text().splitlines()
    seen["policy"] = os.sched_getscheduler(child.pid)
    for name in ("oom_score_adj", "cgroup"):
        seen[name] = Path(f"/proc/{child.pid}/{name}").read_text()
    return seen

with Child("look") as child:
    child.call("json:loads", s="1")
    assert isinstance(child._process, forks.Forked)
    forked = look(child)
forks.sys.platform = "another, where nothing is forked"
with Child("look") as child:
    child.call("json:loads", s="1")
    assert not isinstance(child._process, forks.Forked)
    print(json.dumps([forked, look(child)]))
"""
RESTRICTED = (
    "umask 077; ulimit -Sn 256; ulimit -Sc 0; trap '' HUP USR2; echo 500 > "
    "/proc/self/oom_score_adj; exec nice -n 15 taskset -c 0 chrt --batch 0 ionice -c 3 "
)
PLAIN = "umask 022; exec "
UNPRIVILEGED = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
UNPRIVILEGED += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
"""It may read this environment, wherever that is."""


@pytest.fixture(params=["this user", "an unprivileged user"])
def user(request, monkeypatch) -> list[str]:
    """What to run a command with; fork servers of that user are in a folder of the test."""
    with tempfile.TemporaryDirectory() as place:
        monkeypatch.setenv("XDG_RUNTIME_DIR", place)
        monkeypatch.setenv("WORKBENCH_KERNEL_IDLE", "5")
        if request.param == "this user":
            yield []
        elif os.geteuid() != 0:
            pytest.skip("only root can become another user (and this user is one already)")
        else:
            os.chown(place, 65534, 65534)
            import_it = [*UNPRIVILEGED, sys.executable, "-c", "import helpers"]
            able = shutil.which("setpriv") and subprocess.run(import_it).returncode == 0
            if not able:
                pytest.skip("setpriv is missing, or other users cannot read this environment")
            yield UNPRIVILEGED
        for process in servers(Path(place)):
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("order", [(RESTRICTED, PLAIN), (PLAIN, RESTRICTED)], ids=["down", "up"])
def test_a_fork_inherits_from_its_asker_what_a_child_process_would(user, order):
    seen = []
    for shell in order:
        command = [*user, "bash", "-c", f'{shell} "$0" -c "$1"', sys.executable, LOOK]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        forked, child = json.loads(done.stdout)
        assert forked == child
        seen.append(forked)
    for name in ("Umask", "SigIgn", "nice", "ionice", "limits", "policy", "oom_score_adj"):
        assert seen[0][name] != seen[1][name], name
    if os.cpu_count() > 1:
        assert seen[0]["Cpus_allowed"] != seen[1]["Cpus_allowed"]


def test_a_harder_limit_has_a_server_that_cannot_pass_it(folder):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with Child("work") as child:
        look = (
            "from helpers.child import Child; import psutil\nwith Child('look') as child:\n "
            "   limits = psutil.Process(child.pid).rlimit(psutil.RLIMIT_NOFILE)\n "
            "   print(child.call('os:getppid'), *limits)"
        )
        shell = ["bash", "-c", 'ulimit -n 300; exec "$0" -c "$1"', sys.executable, look]
        done = subprocess.run(shell, capture_output=True, text=True, check=True)
        parent, soft, harder = map(int, done.stdout.split())
        assert (soft, harder) == (300, 300) and parent != _parent(child).pid
        assert psutil.Process(child.pid).rlimit(psutil.RLIMIT_NOFILE)[1] == hard


def test_blocked_signals_are_the_askers(folder):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        with Child("look") as child:
            child.call("json:loads", s="1")
            assert isinstance(child._process, forks.Forked)
            status = Path(f"/proc/{child.pid}/status").read_text()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    assert f"SigBlk:\t{1 << signal.SIGUSR1 - 1:016x}" in status
    with Child("look") as child:
        child.call("json:loads", s="1")
        assert "SigBlk:\t0000000000000000" in Path(f"/proc/{child.pid}/status").read_text()


def test_more_descriptors_than_streams_are_refused_and_closed(folder):
    with Child("start the server") as child:
        parent = _parent(child)
        before = parent.num_fds()
        with forks.connect("bare") as connection, open(os.devnull) as nothing:
            socket.send_fds(connection, [b"{"], [nothing.fileno()] * 3)
            socket.send_fds(connection, [b"}\n"], [nothing.fileno()] * 3)
            assert "too long" in forks.read_reply(connection)["error"]
        assert _wait_for(lambda: parent.num_fds() <= before)


def test_a_fork_has_none_of_the_servers_files(folder):
    with Child("work") as first, Child("work") as second, forks.connect("bare") as pending:
        socket.send_fds(pending, [b"{"], [0, 1, 2])
        with Child("work") as third:
            for child in (first, second, third):
                child.call("json:loads", s="1")
            files = [os.readlink(path) for path in Path(f"/proc/{third.pid}/fd").iterdir()]
            assert not [name for name in files if name.startswith(("socket:", "anon_inode:"))]
