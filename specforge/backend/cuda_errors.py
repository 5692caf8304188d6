"""The driver's errors: which are the kernel's fault, which the machine's, and what each means in words."""

from __future__ import annotations

import re
from typing import Any

from specforge.backend.runner import KernelFault

FAULTS = {
    "CUDA_ERROR_ILLEGAL_ADDRESS": ("illegal access", "read or wrote memory that it does not own"),
    "CUDA_ERROR_MISALIGNED_ADDRESS": ("misaligned access", "read or wrote an address that is no multiple of its width"),
    "CUDA_ERROR_INVALID_ADDRESS_SPACE": ("illegal access", "used an address of the wrong memory space"),
    "CUDA_ERROR_ILLEGAL_INSTRUCTION": ("illegal instruction", "ran an illegal instruction"),
    "CUDA_ERROR_INVALID_PC": ("illegal instruction", "jumped to an address that holds no code"),
    "CUDA_ERROR_HARDWARE_STACK_ERROR": ("stack error", "overran its stack"),
    "CUDA_ERROR_ASSERT": ("assertion", "stopped at an assert()"),
    "CUDA_ERROR_LAUNCH_TIMEOUT": ("hang", "ran longer than the driver's watchdog allows"),
    "CUDA_ERROR_LAUNCH_FAILED": ("trap", "stopped at a trap or an access that the driver cannot name"),
}
"""Errors that a running kernel causes. The context cannot be used after any of them."""

REFUSALS = {
    "CUDA_ERROR_INVALID_VALUE": "an argument or a size of the launch is out of range",
    "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES": "too many threads, registers or bytes of shared memory for one block",
    "CUDA_ERROR_INVALID_CONFIGURATION": "the launch's sizes are not possible",
    "CUDA_ERROR_NOT_FOUND": "the binary has no such entry",
    "CUDA_ERROR_NO_BINARY_FOR_GPU": "the binary is for another architecture",
    "CUDA_ERROR_INVALID_IMAGE": "the binary cannot be loaded",
}
"""Errors that say that a kernel cannot be loaded or launched; the context stays usable."""

_NAME = re.compile(r"CUDA_ERROR_[A-Z0-9_]+")


class CudaError(Exception):
    """A driver call failed for a reason that is not the kernel's: no memory, no device, a driver too old."""

    def __init__(self, name: str, doing: str) -> None:
        super().__init__(f"{name} while {doing}")
        self.name = name
        self.doing = doing

    def __reduce__(self) -> tuple[type[CudaError], tuple[str, str]]:
        """Pickle with both parts."""
        return CudaError, (self.name, self.doing)


def checked(result: tuple[Any, ...], doing: str) -> Any:  # noqa: ANN401 -- whatever the call returns
    """Unpack what a cuda.bindings call returned: nothing, one value or a tuple; raise where its code is no success."""
    code, *values = result
    if int(code) != 0:
        raise translate(code.name, doing)
    return values[0] if len(values) == 1 else tuple(values) or None


class driver_calls:
    """Turn the errors of cuda.core calls in the block into KernelFault or CudaError.

    cuda.core keeps its exception's class to itself; the exception's text starts with the driver's name for the error.
    No generator under `contextmanager`: that takes five times as long, ahead of every launch.
    """

    __slots__ = ("_doing",)

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raise what the error means, where it is one of the driver's."""
        if not isinstance(error, Exception) or isinstance(error, KernelFault | CudaError):
            return
        found = _NAME.match(str(error))
        if found is not None:
            raise translate(found[0], self._doing) from None


def translate(name: str, doing: str) -> KernelFault | CudaError:
    """The exception for a driver error that came up while doing something."""
    if name in FAULTS:
        kind, words = FAULTS[name]
        return KernelFault(kind, f"a kernel {words} ({name}, seen while {doing})", poisoned=True)
    if name in REFUSALS:
        return KernelFault("launch refused", f"{REFUSALS[name]} ({name} while {doing})")
    return CudaError(name, doing)
