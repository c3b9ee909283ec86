"""The server at work: ``python -m helpers.forks.loop SOCKET IMPORTS PIPE``.

It is one process with one thread, since a process with several cannot be forked safely. It never
waits for any one of its clients: a request is read as it comes, and has a deadline.

A fork lives until it ends by itself or whoever asked for it is gone. Whatever happens to the
server (its socket or its environment is removed, packages change, a step of it fails) makes it
stop listening, and wait for its forks.

What a kernel itself has started ends with it where Jupyter would end it too: when its owner ends
the kernel, which ends the whole process group. It ends also when the owner is gone, where an
ordinary kernel leaves it running. When the kernel alone is killed, or the server, it goes on as it
would after an ordinary kernel that was killed or lost its parent: it may be what somebody meant to
keep. What has left the process group outlives the kernel in any case.
"""

from __future__ import annotations

import array
import gc
import importlib
import io
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from helpers.forks import attributes, process
from helpers.forks.server import (
    IDLE_SECONDS,
    IMPORTS,
    INLINE,
    STALE,
    TENSORFLOW_MB,
    fingerprint,
    short,
)

REQUEST_SECONDS = 10.0
"""How long a client may take from its connection to the end of its request."""
_LONGEST_REQUEST = 1 << 20
_CHECK_SECONDS = 5.0
_STREAMS = 3


def main(path: Path, imports: str, listens: int, idle_seconds: float = IDLE_SECONDS) -> None:
    """Import, then serve at `path` until there is nothing to do any more.

    `listens` is the end of a pipe, which is closed as soon as it listens.
    """
    mark = fingerprint()
    attributes.unrestrict()
    os.environ.pop(TENSORFLOW_MB, None)  # whoever started this server may be a fork of another
    _import(IMPORTS[imports])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for those who asked for forks
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = path.with_suffix(f".{os.getpid()}")
    with short(temporary) as name:
        listening.bind(name)
    listening.listen(64)
    os.rename(temporary, path)  # whoever can see it can use it
    os.close(listens)
    Server(listening, path, mark, idle_seconds).serve()


def _import(modules: tuple[str, ...]) -> None:
    """Import `modules`, and note in the environment what TensorFlow took."""
    from helpers import quiet

    # a fork of a process whose TensorFlow has run an operation hangs
    quietly = {"tensorflow": lambda: quiet.tensorflow(first_operation=False), "MNN": quiet.mnn}
    os.environ.setdefault("MPLBACKEND", INLINE)  # as ipykernel does before matplotlib is imported
    for module in modules:
        before = _resident_mb()
        with suppress(ImportError):
            quietly.get(module, lambda name=module: importlib.import_module(name))()
        if module == "tensorflow":
            os.environ[TENSORFLOW_MB] = f"{_resident_mb() - before:.1f}"
    if "matplotlib.figure" in modules:
        with suppress(ImportError):
            _draw()
    gc.collect()
    gc.freeze()  # what is imported is shared by all forks; collecting it would copy its pages


def _draw() -> None:
    """Draw a figure that nobody sees: fonts are found and the grammar of exponents is made once."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    figure.subplots().loglog([1, 10, 100])
    FigureCanvasAgg(figure).print_png(io.BytesIO())


def _resident_mb() -> float:
    """Memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@dataclass(eq=False)
class _Request:
    """A connection whose request is not complete yet."""

    connection: socket.socket
    deadline: float
    content: bytes = b""
    descriptors: list[int] = field(default_factory=list)

    def receive(self) -> bool:
        """Take in what has come of a line of JSON and of file descriptors; True when it is whole.

        Raises
        ------
        ValueError : it ends before its line does, is too long, or has more descriptors than a
            process has streams.
        """
        try:
            part, descriptors, flags, _ = socket.recv_fds(self.connection, 65536, _STREAMS)
        except BlockingIOError:
            return False
        self.content += part
        self.descriptors += descriptors
        too_many = len(self.descriptors) > _STREAMS or flags & socket.MSG_CTRUNC
        if not part or len(self.content) > _LONGEST_REQUEST or too_many:
            raise ValueError("the request is cut short or too long")
        return self.content.endswith(b"\n")

    def close_descriptors(self) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())


class Server:
    """Answers requests at a socket with forks, and waits for those.

    Parameters
    ----------
    listening : the socket, bound at `path`.
    mark : the environment's fingerprint when the imports began.
    idle_seconds : how long it waits for a request when it has no forks.
    """

    def __init__(self, listening: socket.socket, path: Path, mark: str, idle_seconds: float):
        self._listening: socket.socket | None = listening
        self._path, self._inode = path, _inode(path)
        self._mark = mark
        self._idle_seconds, self._idle_since = idle_seconds, time.monotonic()
        self._requests: dict[socket.socket, _Request] = {}
        self._forks: dict[int, socket.socket] = {}
        self._waking, self._wake = socket.socketpair()  # the end of a child writes to it
        self._ready = selectors.DefaultSelector()

    def serve(self) -> None:
        """Serve until nobody can ask any more and every fork has ended."""
        for end in (self._waking, self._wake, self._listening):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._ready.register(self._listening, selectors.EVENT_READ, self._accept)
        self._ready.register(self._waking, selectors.EVENT_READ, self._empty)
        while self._listening or self._requests or self._forks:
            for key, _ in self._ready.select(self._longest_wait()):
                self._take(key.data)
            for step in (self._reap, self._refuse_late, self._check):
                self._take(step)

    def _take(self, step: Callable[[], None]) -> None:
        """Take one step; one that fails costs the next askers this server, and nobody a fork."""
        try:
            step()
        except Exception:
            traceback.print_exc()
            self._retire()
            time.sleep(0.1)  # one that fails again and again must not keep a processor busy

    def _longest_wait(self) -> float:
        deadlines = [request.deadline - time.monotonic() for request in self._requests.values()]
        return max(0.0, min(_CHECK_SECONDS, self._idle_seconds, *deadlines))

    def _accept(self) -> None:
        if self._listening is None:  # retired in this very pass
            return
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        connection.setblocking(False)
        request = _Request(connection, time.monotonic() + REQUEST_SECONDS)
        self._requests[connection] = request
        self._ready.register(connection, selectors.EVENT_READ, lambda: self._read(request))
        if _peer(connection)[1] != os.getuid():
            self._refuse(request, "this server forks for its own user only")

    def _read(self, request: _Request) -> None:
        """Take in what has come of a request, and answer it when it is whole."""
        if request.connection not in self._requests:  # refused in this very pass
            return
        try:
            if not request.receive():
                return
            pid = self._fork(request)
        except Exception as error:  # the asker starts a fresh Python then
            self._refuse(request, str(error) or type(error).__name__)
            return
        connection = self._done(request)
        self._forks[pid] = connection
        self._ready.register(connection, selectors.EVENT_READ, lambda: self._heard(pid))
        _send(connection, {"pid": pid})  # `_heard` notices an asker that is gone

    def _fork(self, request: _Request) -> int:
        """Fork the process that a request asks for; its process id."""
        wanted, now = json.loads(request.content), fingerprint()
        if wanted["fingerprint"] != self._mark or now != self._mark:
            if now != self._mark:
                self._retire()
            raise RuntimeError(f"{STALE}: the environment's packages have changed")
        if len(request.descriptors) != _STREAMS:
            raise ValueError(f"a process has {_STREAMS} streams, not {len(request.descriptors)}")
        pid = os.fork()
        if pid == 0:
            process.become(wanted, request.descriptors, lambda: self._close_all(request))
        return pid

    def _close_all(self, fork: _Request) -> None:
        """Close in a fork what is the server's."""
        self._ready.close()
        ends = [self._listening, self._waking, self._wake, *self._forks.values(), *self._requests]
        for end in filter(None, ends):
            end.close()
        for request in self._requests.values():
            if request is not fork:
                request.close_descriptors()

    def _refuse(self, request: _Request, why: str) -> None:
        connection = self._done(request)
        _send(connection, {"error": why})
        connection.close()

    def _refuse_late(self) -> None:
        for request in list(self._requests.values()):
            if time.monotonic() > request.deadline:
                self._refuse(request, f"the request was not complete in {REQUEST_SECONDS:g} s")

    def _done(self, request: _Request) -> socket.socket:
        """Forget a request; its connection, which nothing listens to now."""
        del self._requests[request.connection]
        self._ready.unregister(request.connection)
        request.close_descriptors()
        return request.connection

    def _heard(self, pid: int) -> None:
        """End a fork whose asker is gone: that is all that its connection can say."""
        connection = self._forks.get(pid)
        if connection is None:
            return
        try:
            if connection.recv(4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._ready.unregister(connection)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)  # it may not have got as far as to lead a group

    def _empty(self) -> None:
        with suppress(BlockingIOError):
            self._waking.recv(4096)

    def _reap(self) -> None:
        """Tell whoever waits for a fork that has ended how it ended."""
        while self._forks:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            connection = self._forks.pop(pid, None)
            if connection is not None:
                with suppress(KeyError):  # its asker was gone
                    self._ready.unregister(connection)
                _send(connection, {"exit": os.waitstatus_to_exitcode(status)})
                connection.close()

    def _check(self) -> None:
        """Stop listening when nobody can find this server, or nobody has needed it for a while."""
        if self._forks or self._requests:
            self._idle_since = time.monotonic()
        gone = not Path(sys.prefix).exists() or _inode(self._path) != self._inode
        if gone or time.monotonic() - self._idle_since > self._idle_seconds:
            self._retire()

    def _retire(self) -> None:
        """Stop listening, once: who comes now starts another server."""
        listening, self._listening = self._listening, None
        if listening is None:
            return
        self._ready.unregister(listening)
        if _inode(self._path) == self._inode:
            self._path.unlink(missing_ok=True)
        listening.close()


def _send(connection: socket.socket, reply: dict) -> None:
    """Send a line of JSON, for which any buffer has room, unless nobody is there to read it."""
    with suppress(OSError):
        connection.sendall(json.dumps(reply).encode() + b"\n")


def _inode(path: Path) -> int | None:
    """Which file stands there; None if there is none (any more)."""
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _peer(connection: socket.socket) -> tuple[int, int]:
    """Process and user id at the other end."""
    credentials = array.array("i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return credentials[0], credentials[1]


if __name__ == "__main__":
    idle = float(os.environ.get("WORKBENCH_KERNEL_IDLE", IDLE_SECONDS))
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), idle)
