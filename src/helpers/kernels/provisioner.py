"""What Jupyter asks for a ``workbench`` kernel: forks one from the server, or starts an ordinary one and says why."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

from jupyter_client.provisioning import LocalProvisioner

from helpers.kernels import server

START_SECONDS = 90.0
"""How long a server may take to import everything on a slow machine."""


class ForkedKernel:
    """A kernel that is another process's child, with the part of ``subprocess.Popen`` that Jupyter uses."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, connection: socket.socket):
        self.pid = pid
        self.returncode: int | None = None
        self._connection = connection
        self._unread = b""

    def poll(self) -> int | None:
        """Exit status, or None while it runs."""
        while self.returncode is None and select.select([self._connection], [], [], 0)[0]:
            self._hear()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise subprocess.TimeoutExpired("workbench kernel", timeout)
            select.select([self._connection], [], [], left)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _hear(self) -> None:
        """Take in the exit status; a server that is gone takes its kernels along."""
        try:
            part = self._connection.recv(4096)
        except OSError:
            part = b""
        self._unread += part
        if self._unread.endswith(b"\n") or not part:
            self.returncode = json.loads(self._unread)["exit"] if self._unread.endswith(b"\n") else -signal.SIGKILL
            self._connection.close()


class ForkProvisioner(LocalProvisioner):
    """Forks kernels; see the package. Named ``workbench-fork`` in the kernel specification."""

    async def launch_kernel(self, cmd: list[str], **kwargs):
        try:
            self.process = await asyncio.to_thread(fork, cmd, **kwargs)  # a server's start must not stop Jupyter's loop
        except Exception as error:
            self.log.warning("workbench kernel: %s; an ordinary kernel is started", error)
            return await super().launch_kernel(cmd, **kwargs)
        self.pid = self.pgid = self.process.pid
        return self.connection_info


def fork(cmd: list[str], *, env: dict[str, str], cwd: str | None = None, stdout=None, stderr=None, **_) -> ForkedKernel:
    """Have the server fork the kernel that `cmd` (``python -m ipykernel_launcher -f FILE``) would start.

    Raises
    ------
    RuntimeError, OSError : it cannot be done here or now; the message says why.
    """
    if sys.platform != "linux":
        raise RuntimeError(f"forking a process with imported libraries is not safe on {sys.platform}")
    if cmd[1:3] != ["-m", "ipykernel_launcher"]:
        raise RuntimeError(f"it cannot fork {' '.join(cmd[:3])}")
    request = {"fingerprint": server.fingerprint(), "argv": cmd[2:], "env": env, "cwd": cwd or os.getcwd()}
    with open(os.devnull) as nothing:
        descriptors = [nothing.fileno(), _descriptor(stdout, 1), _descriptor(stderr, 2)]
        for attempt in (1, 2):
            connection = _connect()
            connection.settimeout(30.0)
            content = json.dumps(request).encode() + b"\n"
            sent = socket.send_fds(connection, [content], descriptors)
            connection.sendall(content[sent:])
            reply = _reply(connection)
            if "pid" in reply:
                connection.setblocking(True)
                return ForkedKernel(reply["pid"], connection)
            connection.close()
            if attempt == 2 or not reply["error"].startswith("stale"):
                raise RuntimeError(f"the fork server refused: {reply['error']}")
    raise AssertionError


def _descriptor(stream, default: int) -> int:
    if stream is None:
        return default
    return stream if isinstance(stream, int) and stream >= 0 else stream.fileno()


def _reply(connection: socket.socket) -> dict:
    content = b""
    while not content.endswith(b"\n"):
        part = connection.recv(4096)
        if not part:
            return {"error": "stale: it ended"}
        content += part
    return json.loads(content)


def _connect() -> socket.socket:
    """A connection to the server of this environment, which is started if there is none."""
    path = server.address()
    connection = _try_connect(path)
    if connection is not None:
        return connection
    with open(path.with_suffix(".lock"), "w") as lock:  # of several who want one, one starts it
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = _try_connect(path)
        if connection is not None:
            return connection
        path.unlink(missing_ok=True)
        with open(path.with_suffix(".log"), "w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "helpers.kernels.server", str(path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=server.SERVER_FOLDER,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            connection = _try_connect(path)
            if connection is not None:
                return connection
            if process.poll() is not None:
                last = path.with_suffix(".log").read_text(errors="replace").strip().splitlines()[-1:]
                raise RuntimeError(f"the fork server ended with status {process.returncode}: {' '.join(last)}")
            time.sleep(0.02)
        process.kill()
        raise RuntimeError(f"the fork server was not ready in {START_SECONDS:g} s")


def _try_connect(path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with server.short(path) as name:
            connection.connect(name)
    except OSError:
        connection.close()
        return None
    return connection
