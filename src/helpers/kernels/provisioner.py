"""What Jupyter asks for a ``workbench`` kernel: has one forked, or starts an ordinary one and says
why.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from jupyter_client.provisioning import LocalProvisioner

from helpers import forks, kernels


class ForkProvisioner(LocalProvisioner):
    """Forks kernels; see the package. Named ``workbench-fork`` in the kernel specification, and by
    ``make lab`` for kernels that name none, as ``python3``; others than this environment's are
    started as ever.
    """

    async def launch_kernel(self, cmd: list[str], **kwargs):
        try:
            self.process = await asyncio.to_thread(
                _fork, cmd, **kwargs
            )  # must not stop Jupyter's loop
        except Exception as error:
            self.log.warning("workbench kernel: %s; an ordinary kernel is started", error)
            return await super().launch_kernel(cmd, **kwargs)
        self.pid = self.pgid = self.process.pid
        return self.connection_info


def _fork(
    cmd: list[str], *, env: dict[str, str], cwd: str | None = None, stdout=None, stderr=None, **_
):
    """Have the server fork the kernel that `cmd` (``python -m ipykernel_launcher -f FILE``) would
    start.
    """
    if cmd[1:3] != ["-m", "ipykernel_launcher"]:
        raise RuntimeError(f"it cannot fork {' '.join(cmd[:3])}")
    if Path(cmd[0]).absolute().parent != Path(sys.executable).absolute().parent:
        raise RuntimeError(f"{cmd[0]} is of another environment")
    ends_with = (
        "--IPKernelApp.parent_handle={server}"  # the kernel ends when this is no longer its parent
    )
    with open(os.devnull, encoding="utf-8") as nothing:
        streams = [nothing.fileno(), _descriptor(stdout, 1), _descriptor(stderr, 2)]
        where = None if cwd is None else str(cwd)
        own = {name: value for name, value in env.items() if name != kernels.IMPORTS}
        return forks.fork(
            cmd[2],
            [*cmd[3:], ends_with],
            imports=env.get(kernels.IMPORTS, "notebooks"),
            descriptors=streams,
            environment=own,
            folder=where,
        )


def _descriptor(stream, default: int) -> int:
    if stream is None:
        return default
    return stream if isinstance(stream, int) and stream >= 0 else stream.fileno()
