"""papermill's engine as a stage needs it: it writes nothing between cells, and ends in order."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty

from jupyter_core.utils import run_sync
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.utils import logger

NAME = "workbench"
_QUIET = "--IPKernelApp.log_level=CRITICAL"
"""Argument of a kernel that may be interrupted: it would log that on the terminal as an error."""
_INTERRUPT_SECONDS = 3.0
"""How long an interrupted cell may take to end, and to remove its temporary files."""


class Engine(NBClientEngine):
    """papermill's own engine, without its writing of the notebook before and after every cell.

    papermill itself writes the notebook once, when it is done or a cell has failed. Cells with a
    tag of `left_out` are not in it.
    """

    @classmethod
    def execute_notebook(cls, nb, kernel_name, output_path=None, left_out=frozenset(), **options):
        nb.cells = [cell for cell in nb.cells if not left_out & set(cell.metadata.get("tags", ()))]
        return super().execute_notebook(nb, kernel_name, None, **options)

    @classmethod
    def execute_managed_notebook(
        cls, nb_man, kernel_name, start_timeout=60, execution_timeout=None, **options
    ):
        options.pop("input_path", None)
        client = _NotebookClient(
            nb_man,
            kernel_name=kernel_name,
            startup_timeout=start_timeout,
            timeout=execution_timeout,
            log=logger,
            extra_arguments=[_QUIET],
            **options,
        )
        return client.execute()


papermill_engines.register(NAME, Engine)


class _NotebookClient(PapermillNotebookClient):
    """papermill's client of a kernel, which can be interrupted at any moment.

    An exception that a signal raises somewhere inside asyncio leaves tasks behind, and they
    complain when the kernel is ended. So an interruption cancels what is waited for, as
    ``asyncio.run`` does; the kernel is interrupted too and ends as it does after its last cell.
    """

    interrupted = False

    def execute(self, **options):
        with self._interruptible():
            return super().execute(**options)

    @contextmanager
    def setup_kernel(self, **options) -> Iterator[None]:
        try:
            with super().setup_kernel(**options):
                yield
        finally:
            if self.km is not None:  # it was interrupted, or failed, before it was ready
                self._cleanup_kernel()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Raise KeyboardInterrupt at the end of the body, if a Ctrl-C has ended it."""
        here = threading.current_thread() is threading.main_thread()
        if not here or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self._interrupt)
        try:
            yield
        except BaseException:
            if not self.interrupted:
                raise
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self.interrupted:
            raise KeyboardInterrupt

    def _interrupt(self, *_) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a second one does not wait
        self.interrupted = True
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise KeyboardInterrupt from None
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.call_soon_threadsafe(lambda: None)  # it may be waiting for messages

    async def _async_cleanup_kernel(self) -> None:
        if self.interrupted and not await self._idle():
            self.shutdown_kernel = "immediate"
        await super()._async_cleanup_kernel()

    _cleanup_kernel = run_sync(_async_cleanup_kernel)

    async def _idle(self) -> bool:
        """Interrupt the kernel, and wait until it takes requests again; False if it does not."""
        if self.kc is None or not await self.km.is_alive():
            return False
        await self.km.interrupt_kernel()
        request, deadline = self.kc.kernel_info(), time.monotonic() + _INTERRUPT_SECONDS
        try:
            while (left := deadline - time.monotonic()) > 0:
                reply = await self.kc.shell_channel.get_msg(timeout=left)
                if reply["parent_header"].get("msg_id") == request:
                    return True
        except Empty:
            pass
        return False
