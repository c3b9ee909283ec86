"""The fork server: imports libraries once, then forks a process for each request on a Unix socket.

One server serves one user, one environment (prefix and its packages), one set of imports and one set of the variables
that native libraries read while they are imported. It ends when it has been idle for a while, when its socket or
environment is gone, and when its packages change; what it forked ends when whoever asked for it does.
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
"""How long a server without forks waits for the next request; WORKBENCH_KERNEL_IDLE says another time."""
LONGEST_REQUEST = 1 << 20
SERVER_FOLDER = "/"
"""Working folder of a server: it must not keep a folder of the user busy."""
_CHECK_SECONDS = 5.0
IMPORTS = {
    "bare": ("numpy", "psutil"),
    "quantizer": ("numpy", "ai_edge_quantizer.quantizer"),
    "notebooks": (
        "numpy",
        "psutil",
        "tensorflow",
        "keras",
        "pandas",
        "pyarrow.parquet",
        "scipy.stats",
        "sklearn.linear_model",
        "sklearn.pipeline",
        "matplotlib.figure",
        "matplotlib.backends.backend_agg",
        "IPython",
        "IPython.core.completerlib",
        "IPython.core.debugger",
        "IPython.extensions.storemagic",
        "ipykernel.kernelapp",
        "ipykernel.debugger",
        "tornado.platform.asyncio",
        "sqlite3",
        "jinja2",
        "flatbuffers",
        "ai_edge_litert.interpreter",
        "ai_edge_litert.schema_py_generated",
        "MNN",
    ),
}
"""What a server has imported, by its kind: for processes that call a converter, which cannot live with TensorFlow, or
whose memory is measured; and for notebooks. A module that is missing is left to whoever needs it. pyplot is not among
them: importing it chooses how figures are shown."""
TENSORFLOW_MB = "WORKBENCH_TENSORFLOW_MB"
"""Variable of a fork: by how much importing TensorFlow made the server grow, which the fork cannot measure itself."""
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
"""Prefixes of variables that libraries read once, while they are imported: a fork cannot change them any more."""


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


def address(imports: str) -> Path:
    """The socket of the server with these imports for this environment and these variables."""
    read = sorted((name, value) for name, value in os.environ.items() if name.startswith(_READ_AT_IMPORT))
    key = hashlib.sha256(json.dumps([imports, sys.prefix, sys.executable, read]).encode()).hexdigest()[:16]
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
    """Changes when a package of this environment is installed, removed or replaced, or what the server executes of
    ours is edited: this module and ``quiet``, which imports for it.
    """
    executed = (Path(__file__), Path(__file__).parents[1] / "quiet.py")
    found: list = [sys.version, [path.stat().st_mtime_ns for path in executed]]
    for place in site.getsitepackages():
        with suppress(OSError):
            found += [place, os.stat(place).st_mtime_ns, sorted(n for n in os.listdir(place) if n.endswith("-info"))]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def main(path: Path, imports: str, listens: int, idle_seconds: float = IDLE_SECONDS) -> None:
    """Import, then serve at `path` until there is nothing to do any more; `listens` is a pipe to close when ready."""
    mark = fingerprint()
    os.environ.pop(TENSORFLOW_MB, None)  # whoever started this server may be a fork of another
    _import(IMPORTS[imports])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C in a terminal is for whoever asked for the forks
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = path.with_suffix(f".{os.getpid()}")
    with short(temporary) as name:
        listening.bind(name)
    listening.listen(64)
    os.rename(temporary, path)  # whoever can see it can use it
    os.close(listens)
    try:
        _serve(listening, path, mark, idle_seconds)
    finally:
        listening.close()


def _import(modules: tuple[str, ...]) -> None:
    """Import `modules`, and note in the environment what TensorFlow took."""
    from helpers import quiet

    quietly = {"tensorflow": lambda: quiet.tensorflow(first_operation=False), "MNN": quiet.mnn}  # a fork of a process
    os.environ.setdefault("MPLBACKEND", _INLINE)  # as ipykernel sets it before a notebook imports matplotlib
    for module in modules:  # whose TensorFlow has run an operation hangs
        before = _resident_mb()
        with suppress(ImportError):
            quietly.get(module, lambda name=module: importlib.import_module(name))()
        if module == "tensorflow":
            os.environ[TENSORFLOW_MB] = f"{_resident_mb() - before:.1f}"
    gc.collect()
    gc.freeze()  # what is imported is shared by all forks; collecting it would copy its pages


def _resident_mb() -> float:
    """Memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _serve(listening: socket.socket, path: Path, mark: str, idle_seconds: float) -> None:
    forks: dict[int, socket.socket] = {}
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
        while forks or not stale:
            for key, _ in ready.select(timeout=min(_CHECK_SECONDS, idle_seconds)):
                if key.fileobj is listening:
                    connection, _ = listening.accept()
                    pid = _answer(connection, mark, [listening, waking, wake, *forks.values()])
                    if pid is None:
                        stale = stale or fingerprint() != mark
                        connection.close()
                    else:
                        forks[pid] = connection
                        ready.register(connection, selectors.EVENT_READ)
                elif key.fileobj is waking:
                    with suppress(BlockingIOError):
                        waking.recv(4096)
                else:  # whoever asked for this fork is gone, and so shall it be
                    for pid, connection in forks.items():
                        if connection is key.fileobj:
                            with suppress(ProcessLookupError):
                                os.killpg(pid, signal.SIGKILL)
                            os.kill(pid, signal.SIGKILL)  # it may not have got as far as to lead a group
                    ready.unregister(key.fileobj)
            _reap(forks, ready)
            if forks:
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


def _reap(forks: dict[int, socket.socket], ready: selectors.BaseSelector) -> None:
    """Tell whoever waits for a fork that has ended how it ended."""
    while forks:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        connection = forks.pop(pid)
        with suppress(KeyError, ValueError):
            ready.unregister(connection)
        with suppress(OSError):
            connection.sendall(json.dumps({"exit": os.waitstatus_to_exitcode(status)}).encode() + b"\n")
        connection.close()


def _answer(connection: socket.socket, mark: str, others: list[socket.socket]) -> int | None:
    """Fork the process that a request asks for and answer with its process id; None if there is none."""
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
            _become(request, descriptors, [connection, *others])
        with suppress(OSError):  # an asker that is gone is noticed where its fork is ended
            connection.sendall(json.dumps({"pid": pid}).encode() + b"\n")
        return pid
    except Exception as error:  # the asker starts a fresh Python then
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


def _become(request: dict, descriptors: list[int], inherited: list[socket.socket]) -> None:
    """Turn this fork into the process that ``python -m module *arguments`` would be; never returns."""
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
            os.close(descriptor)
        grown = os.environ.get(TENSORFLOW_MB)
        os.environ.clear()
        os.environ.update(request["env"])
        os.environ.pop(TENSORFLOW_MB, None)  # the asker may be a fork itself
        os.environ.update({} if grown is None else {TENSORFLOW_MB: grown})
        os.chdir(request["cwd"])
        _forget()
        arguments = [word.replace("{server}", str(os.getppid())) for word in request["arguments"]]
        sys.argv = [request["module"], *arguments]
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        os._exit(code)  # what would run at exit may wait for what did not get as far as to be there
    finally:
        import atexit

        with suppress(BaseException):
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _forget() -> None:
    """Undo what a fresh process would not have: shared random states, our own modules, which may be edited, and what
    libraries chose while they were imported outside a kernel.
    """
    import random

    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "pandas" in sys.modules:
        pandas = sys.modules["pandas"]
        pandas.set_option("display.max_columns", 20)  # it took the server for a terminal, which has a width
        pandas.set_option("display.encoding", "UTF-8")  # as ipykernel's streams call theirs
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].rcParams["backend"] = os.environ.get("MPLBACKEND", _INLINE)
    for name in [name for name in sys.modules if name == "helpers" or name.startswith("helpers.")]:
        del sys.modules[name]
    sys.path[:] = [place for place in sys.path if place != SERVER_FOLDER]
    importlib.invalidate_caches()
    time.tzset()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(os.environ.get("WORKBENCH_KERNEL_IDLE", IDLE_SECONDS)))
