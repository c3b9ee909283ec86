"""Processes forked from a server that has heavy imports done: ready in milliseconds, not seconds.

There is a server for each user, environment, set of imports and whatever else its forks inherit,
see `server`; `loop` is what it runs. It is started by whoever needs it first, and ends when idle.
A forked process has what a child of its asker would have, and ends when whoever asked for it does.
`start` runs a fresh Python where forking is not possible, so that what is run never depends on it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from helpers.forks import attributes, server

START_SECONDS = 90.0
"""How long a server may take to import everything on a slow machine."""
_ANSWER_SECONDS = 30.0


class Forked:
    """A process that is the server's child, with what Jupyter and `helpers.child` use of
    ``subprocess.Popen``.
    """

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
                raise subprocess.TimeoutExpired(f"forked process {self.pid}", timeout)
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
        """Take in the exit status; a server that is gone takes its forks along."""
        try:
            part = self._connection.recv(4096)
        except OSError:
            part = b""
        self._unread += part
        if self._unread.endswith(b"\n") or not part:
            self.returncode = (
                json.loads(self._unread)["exit"]
                if self._unread.endswith(b"\n")
                else -signal.SIGKILL
            )
            self._connection.close()


def start(
    module: str,
    *,
    imports: str,
    stdin: int,
    stdout: int,
    stderr: int,
    environment: Mapping[str, str],
) -> Forked | subprocess.Popen:
    """Run ``python -m module``: in a fork of a server with `imports`, or in a fresh Python where
    that cannot be.

    `stdin`, `stdout` and `stderr` are file descriptors, which stay open here.
    """
    try:
        return fork(
            module,
            [],
            imports=imports,
            descriptors=[stdin, stdout, stderr],
            environment=environment,
        )
    except (OSError, RuntimeError) as error:
        logging.getLogger(__name__).info("a fresh Python is started: %s", error)
        passed = {
            name: value for name, value in environment.items() if name != server.TENSORFLOW_MB
        }
        command = [sys.executable, "-m", module]
        return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, env=passed)


def fork(
    module: str,
    arguments: list[str],
    *,
    imports: str,
    descriptors: list[int],
    environment: Mapping[str, str],
    folder: str | None = None,
) -> Forked:
    """Have a server fork the process that ``python -m module *arguments`` would be.

    Parameters
    ----------
    imports : key of `server.IMPORTS`.
    arguments : ``{server}`` in one stands for the server's process id.
    descriptors : standard input, output and error of the process.
    folder : its working folder; default the current one.

    Raises
    ------
    RuntimeError, OSError : it cannot be done here or now; the message says why.
    """
    if sys.platform != "linux":
        raise RuntimeError(
            f"forking a process with imported libraries is not safe on {sys.platform}"
        )
    request = {
        "module": module,
        "arguments": arguments,
        "env": dict(environment),
        "cwd": folder or os.getcwd(),
    }
    request |= {"fingerprint": server.fingerprint(), "attributes": attributes.settable()}
    content = json.dumps(request).encode() + b"\n"
    reply = {}
    for _ in range(2):  # a server that has just gone stale is replaced
        connection = connect(imports)
        try:
            sent = socket.send_fds(connection, [content], descriptors)
            connection.sendall(content[sent:])
            reply = read_reply(connection)
        except ConnectionError as error:  # it stopped listening just now
            reply = {"error": f"{server.STALE}: {error}"}
        except BaseException:
            connection.close()
            raise
        if "pid" in reply:
            connection.setblocking(True)
            return Forked(reply["pid"], connection)
        connection.close()
        if not reply["error"].startswith(server.STALE):
            break
    raise RuntimeError(f"the fork server refused: {reply['error']}")


def read_reply(connection: socket.socket) -> dict:
    """The server's line of JSON."""
    content = b""
    while not content.endswith(b"\n"):
        part = connection.recv(4096)
        if not part:
            return {"error": f"{server.STALE}: it ended"}
        content += part
    return json.loads(content)


def connect(imports: str) -> socket.socket:
    """A connection to the server of this environment, which is started if there is none."""
    path = server.address(imports)
    connection = _try_connect(path)
    if connection is not None:
        return connection
    with open(
        path.with_suffix(".lock"), "w", encoding="utf-8"
    ) as lock:  # of several who want one, one starts it
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _try_connect(path) or _start_server(path, imports)


def _start_server(path: Path, imports: str) -> socket.socket:
    """Start a server and wait until it listens: it closes a pipe then, or by ending."""
    path.unlink(missing_ok=True)
    listens, signal_end = os.pipe()
    try:
        with open(path.with_suffix(".log"), "w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "helpers.forks.loop", str(path), imports, str(signal_end)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=server.SERVER_FOLDER,
                pass_fds=[signal_end],
            )
        os.close(signal_end)
        if not select.select([listens], [], [], START_SECONDS)[0]:
            process.kill()
            raise RuntimeError(f"the fork server was not ready in {START_SECONDS:g} s")
    finally:
        os.close(listens)
    connection = _try_connect(path)
    if connection is None:
        last = (
            path.with_suffix(".log")
            .read_text(encoding="utf-8", errors="replace")
            .strip()
            .splitlines()[-1:]
        )
        raise RuntimeError(f"the fork server ended with status {process.wait()}: {' '.join(last)}")
    return connection


def _try_connect(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_ANSWER_SECONDS)  # a server that hangs lets nobody in
    try:
        with server.short(path) as name:
            connection.connect(name)
    except OSError:
        connection.close()
        return None
    return connection
