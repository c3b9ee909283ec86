"""Which fork servers there are, and where: each imports libraries once and forks a process for each
request.

One server serves one user, one environment (prefix and its packages), one set of imports, one set
of the variables that native libraries read while they are imported, and askers that inherited the
same, see `attributes.fixed`. `loop` is what it does: it stops listening when it has been idle for
a while, when its socket or environment is gone, and when its packages change, and ends with the
last of its forks; a fork ends when whoever asked for it does.
"""

from __future__ import annotations

import hashlib
import json
import os
import site
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from helpers.forks import attributes

IDLE_SECONDS = 300.0
"""How long a server without forks waits for the next request; WORKBENCH_KERNEL_IDLE says another
time.
"""
SERVER_FOLDER = "/"
"""Working folder of a server: it must not keep a folder of the user busy."""
_TABLES = (
    "numpy",
    "psutil",
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
)
IMPORTS = {
    "bare": ("numpy", "psutil"),
    "runtimes": ("numpy", "psutil", "ai_edge_litert.interpreter", "MNN"),
    "quantizer": ("numpy", "ai_edge_quantizer.quantizer"),
    "tables": _TABLES,
    "notebooks": (
        "tensorflow",
        "keras",
        *_TABLES,
        "flatbuffers",
        "ai_edge_litert.interpreter",
        "ai_edge_litert.schema_py_generated",
        "MNN",
    ),
}
"""What a server has imported, by its kind: for processes that call a converter, which cannot live
with TensorFlow, or whose memory is measured; that score files of the phones' runtimes; and for
notebooks, those of data only and all. A module that is missing is left to whoever needs it. pyplot
is not among them: importing it chooses how figures are shown."""
TENSORFLOW_MB = "WORKBENCH_TENSORFLOW_MB"
"""Variable of a fork: by how much importing TensorFlow made the server grow, which the fork cannot
measure itself.
"""
STALE = "stale"
"""How a server's refusal begins that another server would not give."""
INLINE = "module://matplotlib_inline.backend_inline"
"""The matplotlib backend of kernels."""
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
    "LANG",
    "LC_",
    "HOME",
    "XDG_CONFIG_HOME",
    "MATPLOTLIBRC",
    "MPLCONFIGDIR",
)
"""Prefixes of variables that Python and libraries read once, while they are started and imported:
a fork cannot change them any more."""


def folder() -> Path:
    """Where this user's sockets are; only this user may enter it.

    Raises
    ------
    PermissionError : somebody else owns it, or others may enter it.
    """
    place = os.environ.get("XDG_RUNTIME_DIR")
    base = Path(place if place and os.path.isdir(place) else tempfile.gettempdir())
    path = base / f"workbench-kernels-{os.getuid()}"
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{path} is not a folder that only this user can enter: remove it")
    return path


def address(imports: str) -> Path:
    """The socket of the server with these imports for this environment and this process."""
    read = sorted(item for item in os.environ.items() if item[0].startswith(_READ_AT_IMPORT))
    asker = [sys.prefix, sys.executable, read, attributes.fixed()]
    key = hashlib.sha256(json.dumps([imports, asker]).encode()).hexdigest()[:16]
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
    """Changes when a package of this environment is installed, removed or replaced, or what the
    server executes of ours is edited: the modules here, and ``quiet``, which imports for it."""
    here = Path(__file__).parent
    executed = sorted([*here.glob("*.py"), here.parent / "quiet.py"])
    found: list = [sys.version, *(path.stat().st_mtime_ns for path in executed)]
    for place in site.getsitepackages():
        with suppress(OSError):
            found += [
                place,
                os.stat(place).st_mtime_ns,
                sorted(n for n in os.listdir(place) if n.endswith("-info")),
            ]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()
