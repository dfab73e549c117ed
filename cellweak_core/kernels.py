"""The Python process in which a chapter's cells run."""

import os
from typing import IO, Any


def kernel_environment(scheduler: str | None = None) -> dict[str, str]:
    """Environment variables of a chapter's process.

    Args:
        scheduler: address of a Dask scheduler for ``parallel.map_runs``.
    """
    # A bar prints a line per step into a page; the terminal has papermill's bar, one step per cell.
    quiet = {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore:IProgress not found"}
    if given := os.environ.get("PYTHONWARNINGS"):
        quiet["PYTHONWARNINGS"] += f",{given}"
    # Figures must land in the notebook even where the user's shell asks for another backend.
    figures = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    order = {"PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "0")}
    cluster = {"CELLWEAK_SCHEDULER": scheduler} if scheduler else {}
    return {**os.environ, **quiet, **figures, **order, **cluster}


def kernel_manager(log: IO[bytes], scheduler: str | None = None) -> type:
    """A kernel manager class that starts this interpreter, whatever kernelspecs are installed.

    Args:
        log: takes what the process itself says, such as a crash; the cells' output goes to the notebook.
        scheduler: address of a Dask scheduler.
    """
    import zmq
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager

    environment = kernel_environment(scheduler)

    class ThisInterpreter(AsyncKernelManager):
        def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - passed through
            super().__init__(**kwargs)
            self.shutdown_wait_time = 3.0  # after Ctrl-C people wait this long at most
            if self.has_trait("transport_encryption") and zmq.has("curve"):
                self.transport_encryption = "auto"  # other users of a shared machine read no output

        def _kernel_spec_manager_default(self) -> KernelSpecManager:
            # Without folders it falls back to ipykernel's own specification: sys.executable.
            return KernelSpecManager(kernel_dirs=[])

        async def _async_start_kernel(self, **kwargs: Any) -> None:  # noqa: ANN401 - passed through
            await super()._async_start_kernel(**{"env": environment, "stdout": log, "stderr": log, **kwargs})

        start_kernel = _async_start_kernel

    return ThisInterpreter
