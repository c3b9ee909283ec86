"""The fork server: imports what notebooks import, then forks a kernel for each request on a Unix socket.

One server serves one user, one environment (prefix and its packages) and one set of the variables that native libraries
read while they are imported. It ends when it has been idle for a while, when its socket or environment is gone, and
when its packages change; its kernels end when whoever asked for them does.
"""

from __future__ import annotations

import array
import gc
import hashlib
import importlib
import json
import os
import runpy
import selectors
import signal
import site
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

IDLE_SECONDS = 300.0
"""How long a server without kernels waits for the next request; WORKBENCH_KERNEL_IDLE says another time."""
LONGEST_REQUEST = 1 << 20
SERVER_FOLDER = "/"
"""Working folder of a server: it must not keep a folder of the user busy."""
_CHECK_SECONDS = 5.0
_IMPORTS = (
    "numpy",
    "pandas",
    "pyarrow.parquet",
    "scipy.stats",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "IPython",
    "ipykernel.kernelapp",
    "psutil",
    "jinja2",
    "flatbuffers",
    "ai_edge_litert.interpreter",
    "ai_edge_litert.schema_py_generated",
)
"""What notebooks import besides TensorFlow, Keras and MNN; one that is missing is left to the notebook. pyplot is not
among them: importing it chooses how figures are shown."""
_INLINE = "module://matplotlib_inline.backend_inline"
_READ_AT_IMPORT = (
    "TF_",
    "XLA_",
    "KERAS_",
    "OMP_",
    "OPENBLAS_",
    "MKL_",
    "NPY_",
    "CUDA_",
    "GLIBC_",
    "MALLOC_",
    "LD_",
    "PYTHON",
)
"""Prefixes of variables that libraries read once, while they are imported: a kernel cannot change them any more."""


def folder() -> Path:
    """Where this user's sockets are; only this user may enter it.

    Raises
    ------
    PermissionError : somebody else owns it, or others may enter it.
    """
    given = os.environ.get("XDG_RUNTIME_DIR")
    base = Path(given if given and os.path.isdir(given) else tempfile.gettempdir())
    path = base / f"workbench-kernels-{os.getuid()}"
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{path} is not a folder that only this user can enter: remove it")
    return path


def address() -> Path:
    """The socket of the server for this environment and these variables."""
    read = sorted((name, value) for name, value in os.environ.items() if name.startswith(_READ_AT_IMPORT))
    key = hashlib.sha256(json.dumps([sys.prefix, sys.executable, read]).encode()).hexdigest()[:16]
    return folder() / f"{key}.sock"


@contextmanager
def short(path: Path) -> Iterator[str]:
    """Another name of `path`, short enough for a socket, whose names end at 107 bytes."""
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def fingerprint() -> str:
    """Changes when a package of this environment is installed, removed or replaced, or this module is edited."""
    found: list = [sys.version, Path(__file__).stat().st_mtime_ns]
    for place in site.getsitepackages():
        with suppress(OSError):
            found += [place, os.stat(place).st_mtime_ns, sorted(n for n in os.listdir(place) if n.endswith("-info"))]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def main(path: Path, idle_seconds: float = IDLE_SECONDS) -> None:
    """Import, then serve at `path` until there is nothing to do any more."""
    mark = fingerprint()
    _import_everything()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in a terminal is for whoever asked for the kernels
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = path.with_suffix(f".{os.getpid()}")
    with short(temporary) as name:
        listening.bind(name)
    listening.listen(64)
    os.rename(temporary, path)  # whoever can see it can use it
    try:
        _serve(listening, path, mark, idle_seconds)
    finally:
        listening.close()


def _import_everything() -> None:
    from helpers import quiet

    os.environ.setdefault("MPLBACKEND", _INLINE)  # as ipykernel sets it before a notebook imports matplotlib
    for module in _IMPORTS:
        with suppress(ImportError):
            importlib.import_module(module)
    with suppress(ImportError):
        quiet.tensorflow(first_operation=False)  # a fork of a process whose TensorFlow has run hangs
        import keras  # noqa: F401
    with suppress(ImportError):
        quiet.mnn()
    gc.collect()
    gc.freeze()  # what is imported is shared by all kernels; collecting it would copy its pages


def _serve(listening: socket.socket, path: Path, mark: str, idle_seconds: float) -> None:
    kernels: dict[int, socket.socket] = {}
    waking, wake = socket.socketpair()
    for end in (waking, wake):
        end.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    own = _inode(path)
    idle_since, stale = time.monotonic(), False
    with selectors.DefaultSelector() as ready:
        ready.register(listening, selectors.EVENT_READ)
        ready.register(waking, selectors.EVENT_READ)
        while kernels or not stale:
            for key, _ in ready.select(timeout=min(_CHECK_SECONDS, idle_seconds)):
                if key.fileobj is listening:
                    connection, _ = listening.accept()
                    pid = _answer(connection, mark, [listening, waking, wake, *kernels.values()])
                    if pid is None:
                        stale = stale or fingerprint() != mark
                        connection.close()
                    else:
                        kernels[pid] = connection
                        ready.register(connection, selectors.EVENT_READ)
                elif key.fileobj is waking:
                    with suppress(BlockingIOError):
                        waking.recv(4096)
                else:  # whoever asked for this kernel is gone, and so shall it be
                    for pid, connection in kernels.items():
                        if connection is key.fileobj:
                            with suppress(ProcessLookupError):
                                os.killpg(pid, signal.SIGKILL)
                    ready.unregister(key.fileobj)
            _reap(kernels, ready)
            if kernels:
                idle_since = time.monotonic()
            gone = not Path(sys.prefix).exists() or _inode(path) != own
            stale = stale or gone or time.monotonic() - idle_since > idle_seconds
            if stale:
                with suppress(KeyError):
                    ready.unregister(listening)
                    listening.close()
                    if not gone:
                        path.unlink(missing_ok=True)


def _inode(path: Path) -> int | None:
    """Which file stands there; None if there is none (any more)."""
    try:
        return path.stat().st_ino
    except OSError:
        return None


def _reap(kernels: dict[int, socket.socket], ready: selectors.BaseSelector) -> None:
    """Tell whoever waits for a kernel that has ended how it ended."""
    while kernels:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        connection = kernels.pop(pid)
        with suppress(KeyError, ValueError):
            ready.unregister(connection)
        with suppress(OSError):
            connection.sendall(json.dumps({"exit": os.waitstatus_to_exitcode(status)}).encode() + b"\n")
        connection.close()


def _answer(connection: socket.socket, mark: str, others: list[socket.socket]) -> int | None:
    """Fork the kernel that a request asks for and answer with its process id; None if there is none."""
    descriptors: list[int] = []
    try:
        connection.settimeout(5.0)
        request, descriptors = _receive(connection)
        if _peer(connection)[1] != os.getuid():
            raise PermissionError("this server forks for its own user only")
        if request["fingerprint"] != mark or fingerprint() != mark:
            raise RuntimeError("stale: the environment's packages have changed")
        pid = os.fork()
        if pid == 0:
            _become_kernel(request, descriptors, [connection, *others])
        connection.sendall(json.dumps({"pid": pid, "server": os.getpid()}).encode() + b"\n")
        return pid
    except Exception as error:  # the asker starts an ordinary kernel then, and shows this
        with suppress(OSError):
            connection.sendall(json.dumps({"error": str(error) or type(error).__name__}).encode() + b"\n")
        return None
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _receive(connection: socket.socket) -> tuple[dict, list[int]]:
    """A line of JSON and the file descriptors that came with its beginning."""
    content, descriptors, flags, _ = socket.recv_fds(connection, 65536, 3)
    while not content.endswith(b"\n"):
        part = connection.recv(65536)
        if not part or len(content) > LONGEST_REQUEST:
            raise ValueError("the request is cut short or too long")
        content += part
    return json.loads(content), list(descriptors)


def _peer(connection: socket.socket) -> tuple[int, int]:
    """Process and user id at the other end."""
    credentials = array.array("i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return credentials[0], credentials[1]


def _become_kernel(request: dict, descriptors: list[int], inherited: list[socket.socket]) -> None:
    """Turn this fork into the process that ``python -m ipykernel_launcher`` would be; never returns."""
    code = 1
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for end in inherited:
            end.close()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        os.environ.clear()
        os.environ.update(request["env"])
        os.chdir(request["cwd"])
        _forget()
        parent = f"--IPKernelApp.parent_handle={os.getppid()}"  # the kernel ends when this is no longer its parent
        sys.argv = [*request["argv"], parent]
        runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        import atexit

        with suppress(BaseException):
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _forget() -> None:
    """Undo what a fresh kernel would not have: shared random states, our own modules, which may be edited, and what
    libraries chose while they were imported outside a kernel.
    """
    import random

    import matplotlib
    import numpy as np
    import pandas as pd

    random.seed()
    np.random.seed()
    pd.set_option("display.max_columns", 20)  # pandas took the server for a terminal, which has a width
    pd.set_option("display.encoding", "UTF-8")  # as ipykernel's streams call theirs
    matplotlib.rcParams["backend"] = os.environ.get("MPLBACKEND", _INLINE)
    for name in [name for name in sys.modules if name == "helpers" or name.startswith("helpers.")]:
        del sys.modules[name]
    sys.path[:] = [place for place in sys.path if place != SERVER_FOLDER]
    importlib.invalidate_caches()
    time.tzset()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(os.environ.get("WORKBENCH_KERNEL_IDLE", IDLE_SECONDS)))
