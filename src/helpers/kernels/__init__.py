"""The ``workbench`` kernel: an ipykernel forked from a process that has TensorFlow imported
already.

A TensorFlow notebook then starts in milliseconds where the ordinary kernel needs seconds.
`provisioner` is what Jupyter asks for a kernel, `helpers.forks` forks it. Wherever forking is not
possible or anything goes wrong, the ordinary kernel is started and the reason is logged.

JupyterLab finds the kernel by its name, where ``make`` has installed it. What this package executes
is never found by name: another environment may have a kernel of the same name, and other code. It
is the specification in this package, with this interpreter.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

from helpers.errors import WorkbenchError

NAME, ORDINARY = "workbench", "python3"
SPECIFICATION = Path(__file__).parent / "spec"
"""Folder of the kernel's specification."""
IMPORTS = "WORKBENCH_KERNEL_IMPORTS"
"""Variable that says which fork server a kernel comes from, `helpers.forks.server.IMPORTS`."""
_WITHOUT_TENSORFLOW = ("01",)
"""Stages that begin while TensorFlow is still being imported for the others."""
NO_HISTORY = "--HistoryManager.hist_file=:memory:"
"""Argument of a kernel that executes what nobody typed: the user's history of input stays as it is.
"""


def specification():
    """Read the ``KernelSpec`` to execute notebooks with: that of this package.

    Raises
    ------
    WorkbenchError : the file of the specification is damaged.
    """
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.provisioning import KernelProvisionerFactory

    try:
        spec = KernelSpec.from_resource_dir(str(SPECIFICATION))
        known = KernelProvisionerFactory.instance().is_provisioner_available(spec)
    except Exception as error:
        file = SPECIFICATION / "kernel.json"
        raise WorkbenchError(
            f"the specification {file} of kernel {NAME!r} is damaged ({error}): install this "
            "package again"
        ) from error
    if not known:
        name = spec.metadata.pop("kernel_provisioner")["provisioner_name"]
        logging.getLogger(__name__).warning(
            "%s is not installed in %s: an ordinary kernel is started", name, sys.prefix
        )
    return spec


def search_path(folder: Path) -> str:
    """Write the specification below `folder`; return a JUPYTER_PATH that leads tools there first.

    They start this interpreter with it, and no history.
    """
    spec = {**specification().to_dict(), "name": NAME}
    spec["argv"] = [sys.executable, *spec["argv"][1:], NO_HISTORY]
    target = folder / "kernels" / NAME
    target.mkdir(parents=True)
    (target / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("JUPYTER_PATH")]))


def imports_of(stage: str) -> str:
    """Which fork server the kernel of a stage comes from, by the stage's number."""
    return "tables" if stage in _WITHOUT_TENSORFLOW else "notebooks"


def warm_up(imports: str = "notebooks", *, wait: bool = True) -> None:
    """Start a fork server if kernels will be forked and it is not running.

    Whatever prevents that is left to the kernels, which say so.

    Parameters
    ----------
    wait : until it listens; else it is started by a thread, which imports nothing: two threads that
        import at once may wait for each other.
    """
    from helpers import forks
    from helpers.forks import server

    def connect() -> None:
        with suppress(OSError, RuntimeError):
            forks.connect(imports).close()

    if sys.platform == "linux" and "kernel_provisioner" in specification().metadata:
        with suppress(OSError):
            server.address(imports)  # imports what the thread needs
        connect() if wait else threading.Thread(target=connect, daemon=True).start()
