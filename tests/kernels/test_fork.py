"""The ``workbench`` kernel: forked in milliseconds, the same as an ordinary one, and never left
behind.
"""

import copy
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from jupyter_client import KernelManager
from nbclient import NotebookClient
from support import servers
from traitlets.config import Config

from helpers import forks, kernels, notebooks
from helpers.child import Child
from helpers.forks import server
from helpers.kernels import provisioner

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernels are forked on Linux only")


class Kernel:
    """A kernel with a client, shut down at the end of the with block."""

    def __init__(self, name: str = kernels.NAME, **environment: str):
        self.manager = KernelManager(kernel_name=name, transport_encryption="auto")
        self.manager.start_kernel(env={**os.environ, **environment})
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    @property
    def pid(self) -> int:
        return self.manager.provisioner.process.pid

    def run(self, code: str) -> str:
        said = []

        def hear(message) -> None:
            content = message["content"]
            said.append(content.get("text") or content.get("ename") or "")

        self.client.execute_interactive(code, timeout=60, output_hook=hear)
        return "".join(said).strip()

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def _in_both(code: str) -> list[str]:
    """What `code` prints in a forked and in an ordinary kernel."""
    said = []
    for name in (kernels.NAME, kernels.ORDINARY):
        with Kernel(name) as kernel:
            said.append(kernel.run(code))
    return said


def _gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_it_is_installed_with_the_environment():
    installed = Path(sys.prefix, "share/jupyter/kernels", kernels.NAME, "kernel.json")
    assert installed.read_text() == (kernels.SPECIFICATION / "kernel.json").read_text()
    assert "kernel_provisioner" in kernels.specification().metadata


def test_tensorflow_is_there_and_the_kernel_is_a_process_of_its_own(runtime):
    with Kernel(FOO="bar") as kernel:
        said = kernel.run(
            "import os, sys; print('tensorflow' in sys.modules, 'helpers' in sys.modules, "
            "os.getsid(0) == os.getpid(), os.environ['FOO'], '/' in sys.path, os.getcwd())"
        )
        assert said == f"True False True bar False {os.getcwd()}"
        with Kernel() as other:
            assert other.pid != kernel.pid and other.run("print(os.environ.get('FOO'))").startswith(
                "NameError"
            )


def test_tables_and_figures_look_as_in_the_ordinary_kernel(runtime):
    code = (
        "import matplotlib, pandas as pd\nfrom matplotlib import pyplot\nnames = [name for name in "
        "pd._config.config._registered_options if name.startswith('display')]\nprint({name: "
        "pd.get_option(name) for name in names})\nprint(matplotlib.get_backend(), sorted(map(str, "
        "matplotlib.rcParams.items())))"
    )
    forked, ordinary = _in_both(code)
    assert forked == ordinary and "inline" in forked


def test_kernels_do_not_share_random_numbers(runtime):
    with Kernel() as one, Kernel() as other:
        code = "import random, numpy as np; print(random.random(), np.random.random())"
        assert not set(one.run(code).split()) & set(other.run(code).split())


def test_interrupt_restart_and_shutdown(runtime):
    with Kernel() as kernel:
        threading.Timer(0.5, kernel.manager.interrupt_kernel).start()
        assert kernel.run("import time; time.sleep(30)") == "KeyboardInterrupt"
        assert kernel.run("x = 1; print(x)") == "1", "still usable"
        before = kernel.pid
        kernel.manager.restart_kernel(now=True)
        kernel.client.wait_for_ready(timeout=30)
        assert (
            kernel.pid != before
            and _gone(before)
            and kernel.run("print('x' in globals())") == "False"
        )
        kernel.manager.shutdown_kernel()
        assert not kernel.manager.is_alive()


def test_output_of_native_code_goes_where_the_askers_does(runtime, capfd):
    with Kernel() as kernel:
        kernel.run("import os; os.system('echo from a child process >&2')")
    assert "from a child process" in capfd.readouterr().err


@pytest.mark.slow
def test_weights_are_those_of_the_ordinary_kernel(runtime):
    code = (
        "import hashlib\nfrom helpers import registry, simulation\nfrom helpers.frameworks import "
        "keras\nfrom helpers.tasks.ranking import RANKING\nstudy = registry.get('ranking')\nsplits "
        "= []\nfor split in ('train', 'validation'):\n    frame = simulation.sample(study, "
        "'simple', rows=2000, seed=3, split=split)\n    splits.append((study.schema.arrays(frame), "
        "frame[simulation.LABEL].to_numpy()))\nbuild = study.models['hidden_layer'].build\noptions "
        "= {'epochs': 2, 'seed': 3, 'progress': False}\nmodel, _ = keras.train(build, "
        "study.schema, RANKING, *splits, **options)\nprint(hashlib.sha256(b''.join(w.tobytes() for "
        "w in model.get_weights())).hexdigest())"
    )
    forked, ordinary = _in_both(code)
    assert len(forked) == 64 and forked == ordinary


@pytest.mark.parametrize(("name", "times"), [(kernels.NAME, 12), (kernels.ORDINARY, 2)])
def test_no_output_is_lost_by_a_client_that_does_not_wait_for_silence(runtime, name, times):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print('heard')\n1")])
    for _ in range(times):
        config = Config({"KernelManager": notebooks.KERNEL["KernelManager"]})
        client = NotebookClient(copy.deepcopy(notebook), kernel_name=name, config=config)
        (cell,) = client.execute().cells
        assert [
            output.get("text") or output["data"]["text/plain"] for output in cell["outputs"]
        ] == ["heard\n", "1"]


def test_a_kernel_whose_port_was_taken_ends_at_once(runtime):
    """Jupyter chooses free ports and the kernel takes them later: another process may have been
    faster.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        manager = KernelManager(
            kernel_name=kernels.NAME, iopub_port=taken.getsockname()[1], cache_ports=False
        )
        manager.start_kernel()
        assert manager.provisioner.process.wait(timeout=10) == 1
        manager.shutdown_kernel(now=True)


def test_a_server_that_a_fork_has_started_does_not_pass_on_its_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("WORKBENCH_KERNEL_IDLE", "1")
    monkeypatch.setenv(server.TENSORFLOW_MB, "700")
    with Child("look", imports="bare") as child:
        assert child.call("os:getenv", key=server.TENSORFLOW_MB) is None


def test_a_killed_kernel_is_reported_dead(runtime):
    with Kernel() as kernel:
        process = kernel.manager.provisioner.process
        os.kill(kernel.pid, signal.SIGKILL)
        assert process.wait(timeout=5) == -signal.SIGKILL and not kernel.manager.is_alive()


def test_a_kernel_ends_with_whoever_asked_for_it(runtime):
    code = (
        "import time\nfrom jupyter_client import KernelManager\nmanager = "
        "KernelManager(kernel_name='workbench')\nmanager.start_kernel()\nprint(manager.provisioner.process.pid,"
        " flush=True)\ntime.sleep(60)"
    )
    asker = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    pid = int(asker.stdout.readline())
    asker.kill()
    asker.wait()
    assert _gone(pid)


@pytest.mark.parametrize("imports", ["bare", "notebooks"])
def test_a_fork_ends_whose_asker_was_gone_before_it_was_made(runtime, imports):
    """The request is sent and the connection closed at once, as by an asker that is killed just
    then.
    """
    request = {
        "fingerprint": server.fingerprint(),
        "module": "helpers.child",
        "arguments": [],
        "cwd": "/",
    }
    content = json.dumps({**request, "env": dict(os.environ)}).encode() + b"\n"
    keeps_open, _ = os.pipe()
    for _ in range(20):
        connection = forks.connect(imports)
        socket.send_fds(connection, [content], [keeps_open, 1, 2])
        connection.close()
    forks.connect(imports).close()
    (parent,) = servers(server.address(imports))
    deadline = time.monotonic() + 10
    while (left := parent.children()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [child for child in left if child.is_running()]


@pytest.mark.slow
def test_kernels_end_with_a_killed_server_and_the_next_one_is_started(runtime):
    with Kernel() as kernel:
        (process,) = servers(server.address("notebooks"))
        process.kill()
        assert _gone(kernel.pid) and not kernel.manager.is_alive()
    with Kernel() as kernel:
        assert kernel.run("print(1)") == "1"
        assert [p.pid for p in servers(server.address("notebooks"))] == [
            psutil.Process(kernel.pid).ppid()
        ]


def test_many_who_ask_at_once_share_one_server(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("WORKBENCH_KERNEL_IDLE", "1")
    code = (
        "from helpers import forks; from helpers.forks import loop; "
        "print(loop._peer(forks.connect('bare'))[0])"
    )
    askers = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)
    ]
    said = {int(asker.communicate()[0]) for asker in askers}
    assert said == {process.pid for process in servers(server.address("bare"))}
    started = servers(server.address("bare"))
    assert len(started) == 1
    assert _gone(started[0].pid, seconds=15), "ended by itself when idle"
    assert not server.address("bare").exists()


def test_a_server_is_started_beside_other_imports_by_a_thread_that_imports_nothing(tmp_path):
    """Two threads that import packages which need each other's wait for each other: Python ends one
    of them with an error.
    """
    code = """
import sys, threading
from helpers import kernels

class Late(threading.Thread):
    started = []
    def start(self):
        self.started.append(self)

threading.Thread, now = Late, threading.Thread
kernels.warm_up("bare", wait=False)
threading.Thread, before = now, set(sys.modules)
(thread,) = Late.started
thread.run()
from helpers import forks
assert forks._try_connect(forks.server.address("bare")) is not None, "it listens"
print(sorted(set(sys.modules) - before))
"""
    own = {"XDG_RUNTIME_DIR": str(tmp_path), "WORKBENCH_KERNEL_IDLE": "10"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | own
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


def test_a_changed_environment_replaces_the_server(runtime, monkeypatch):
    with Kernel() as kernel:
        first = psutil.Process(kernel.pid).ppid()
        mark = server.fingerprint()
        connection = forks.connect("notebooks")
        line = (
            json.dumps(
                {"fingerprint": "another", "module": "x", "arguments": [], "env": {}, "cwd": "/"}
            ).encode()
            + b"\n"
        )
        with open(os.devnull) as nothing:
            socket.send_fds(connection, [line], [nothing.fileno()])
        assert forks.read_reply(connection)["error"].startswith("stale")
        assert server.fingerprint() == mark and kernel.run("print(1)") == "1", (
            "running kernels stay"
        )
        assert psutil.pid_exists(first)


@pytest.mark.parametrize(
    ("request_line", "why"),
    [(b"not json\n", "Expecting value"), (b'{"fingerprint": 1}\n', "stale"), (b"[]\n", "")],
)
def test_a_bad_request_is_answered_and_the_server_lives_on(runtime, request_line, why):
    connection = forks.connect("notebooks")
    connection.sendall(request_line)
    assert why in forks.read_reply(connection)["error"]
    with Kernel() as kernel:
        assert kernel.run("print(2)") == "2"


@pytest.mark.parametrize("fault", ["open folder", "another platform", "another command"])
def test_where_it_cannot_fork_an_ordinary_kernel_is_started_and_says_why(
    tmp_path, monkeypatch, caplog, fault
):
    if fault == "open folder":
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        (tmp_path / f"workbench-kernels-{os.getuid()}").mkdir(mode=0o755)
        os.chmod(tmp_path / f"workbench-kernels-{os.getuid()}", 0o755)
        why = "is not a folder that only this user can enter"
    elif fault == "another platform":
        monkeypatch.setattr(forks.sys, "platform", "darwin")
        why = "not safe on darwin"
    else:
        monkeypatch.setattr(provisioner, "_fork", lambda cmd, **how: 1 / 0)
        why = "division by zero"
    with caplog.at_level("WARNING"), Kernel() as kernel:
        assert kernel.run("print(3)") == "3" and isinstance(
            kernel.manager.provisioner.process, subprocess.Popen
        )
    assert why in caplog.text and "an ordinary kernel is started" in caplog.text


_OPENED = """
import sys
from jupyter_client import KernelManager
from jupyter_client.kernelspec import KernelSpec
manager = KernelManager(kernel_name="python3", transport_encryption="auto")
if len(sys.argv) > 1:  # a kernel of another environment
    words = [sys.argv[1], "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    manager._kernel_spec = KernelSpec(argv=words, display_name="x", language="python")
manager.start_kernel()
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=60)
shown = lambda message: print(message["content"].get("text", ""), end="")
client.execute_interactive(
    "import sys; print('ready' if 'tensorflow' in sys.modules else 'ordinary')",
    timeout=60, output_hook=shown,
)
client.stop_channels()
manager.shutdown_kernel(now=True)
"""


def test_where_lab_says_so_a_notebook_of_python3_is_forked_and_others_are_not(runtime, tmp_path):
    """What ``make lab`` sets."""
    said = {"JUPYTER_DEFAULT_PROVISIONER_NAME": "workbench-fork"}
    other = tmp_path / "bin" / "python"
    other.parent.mkdir()
    other.symlink_to(sys.executable)

    def opened(*arguments, **environment) -> str:
        command = [sys.executable, "-c", _OPENED, *map(str, arguments)]
        changed = {**os.environ, **environment}
        done = subprocess.run(command, env=changed, capture_output=True, text=True, timeout=120)
        return done.stdout.strip() or done.stderr

    assert opened(**said) == "ready" and opened() == "ordinary"
    assert opened(other, PYTHONPATH=os.pathsep.join(filter(None, sys.path)), **said) == "ordinary"


def test_only_this_user_can_reach_the_socket(runtime):
    assert runtime.stat().st_mode & 0o777 == 0o700 and runtime.stat().st_uid == os.getuid()


def test_a_runtime_folder_that_is_not_there_is_no_reason_not_to_fork(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    assert server.folder().is_dir() and tmp_path not in server.folder().parents


def test_variables_that_libraries_read_once_have_a_server_of_their_own(runtime, monkeypatch):
    usual = server.address("notebooks")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    assert server.address("notebooks") != usual
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("WORKBENCH_HOME", "/elsewhere")
    assert server.address("notebooks").parent == usual.parent
