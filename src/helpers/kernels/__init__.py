"""The ``workbench`` kernel: an ipykernel forked from a process that has TensorFlow imported already.

A TensorFlow notebook then starts in milliseconds where the ordinary kernel needs seconds. `provisioner` is what
Jupyter asks for a kernel, `helpers.forks` forks it. Wherever forking is not possible or anything goes wrong,
the ordinary kernel is started and the reason is logged.
"""

from __future__ import annotations

import sys
from contextlib import suppress

NAME, ORDINARY = "workbench", "python3"


def name() -> str:
    """The kernel to execute notebooks with: ``workbench`` where it is installed, else the ordinary one.

    ``make`` installs it: ``jupyter kernelspec install --sys-prefix --name workbench src/helpers/kernels/spec``.
    """
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        KernelSpecManager().get_kernel_spec(NAME)
    except NoSuchKernel:
        return ORDINARY
    return NAME


def warm_up() -> None:
    """Start the fork server if kernels will be forked and it is not running; whatever prevents that is left to them."""
    from helpers import forks

    if sys.platform == "linux" and name() == NAME:
        with suppress(OSError, RuntimeError):
            forks.connect("notebooks").close()
