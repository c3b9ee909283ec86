"""What starts and ends the kernels that execute notebooks."""

from __future__ import annotations

from jupyter_client.manager import AsyncKernelManager

from helpers import kernels
from helpers.kernels.client import NotStarted


class Manager(AsyncKernelManager):
    """Jupyter's manager, for the kernel of this package and interpreter, whatever it is called.

    The kernel is ended by asking it to, so that it removes its temporary files.
    """

    @property
    def kernel_spec(self):
        if self._kernel_spec is None:
            self._kernel_spec = kernels.specification()
        return self._kernel_spec

    @property
    def ipykernel(self) -> bool:
        """It takes IPython's options: nbclient then keeps its history in memory."""
        return True

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options) -> None:
        """Start it; one that ends at once takes the file of its ports with it while that is read.

        Raises
        ------
        NotStarted : it ended at once.
        """
        try:
            await super()._async_launch_kernel(kernel_cmd, **options)
        except FileNotFoundError as error:
            if error.filename != self.connection_file:
                raise
            raise NotStarted(f"kernel {self.kernel_name!r} ended before it was ready") from error

    async def interrupt_kernel(self) -> None:
        """Interrupt what it executes."""
        await super()._async_interrupt_kernel()

    async def _async_interrupt_kernel(self) -> None:
        """Do nothing before a kernel is asked to end, as Jupyter would: it may print that."""
