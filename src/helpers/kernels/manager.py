"""What starts and ends the kernels that execute notebooks."""

from __future__ import annotations

from jupyter_client.manager import AsyncKernelManager

from helpers import kernels


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

    async def interrupt_kernel(self) -> None:
        """Interrupt what it executes."""
        await super()._async_interrupt_kernel()

    async def _async_interrupt_kernel(self) -> None:
        """Do nothing before a kernel is asked to end, as Jupyter would: it may print that."""
