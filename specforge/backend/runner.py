"""What every backend offers: run one planned case on given inputs and say what came out and what was damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from specforge.spec.geometry import Plan


@dataclass(frozen=True, slots=True)
class Execution:
    """What one run left behind: outputs in their storage types and shapes, and every rule that was broken.

    A violation is one sentence: which guard zone was overwritten and where, or which input was changed.
    """

    outputs: dict[str, np.ndarray]
    violations: tuple[str, ...]


class KernelFault(Exception):
    """The kernel itself went wrong: an illegal access, a deadlock, a trap, a launch that the device refused.

    `kind` is a short stable name such as `illegal access`; `message` tells a reader what happened. `poisoned` says that
    the process that raised it cannot run anything else, as after an illegal access on a card.
    """

    def __init__(self, kind: str, message: str, *, poisoned: bool = False) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message
        self.poisoned = poisoned

    def __reduce__(self) -> tuple[object, tuple[str, str, bool]]:
        """Pickle with all three parts; an exception's own way would keep the text only."""
        return _fault, (self.kind, self.message, self.poisoned)


def _fault(kind: str, message: str, poisoned: bool) -> KernelFault:
    return KernelFault(kind, message, poisoned=poisoned)


class Runner(Protocol):
    """One way to run kernels, living in one process."""

    @property
    def name(self) -> str:
        """`emulator`, or the card, such as `cuda:0 NVIDIA H100 80GB HBM3`."""

    def run(
        self, plan: Plan, binary: str, inputs: Mapping[str, np.ndarray], *, schedule: int = 0, offset: int = 0
    ) -> Execution:
        """Run a plan's launches once, in order, over poisoned outputs between guard zones.

        `binary` is a cubin on a card and a shared library on the emulator; `schedule` varies the order of threads
        where the backend can; `offset` shifts inputs and outputs from 256-byte alignment, in bytes, a multiple of 16
        below 256; scratch, which callers never choose, stays aligned.
        Raises KernelFault, or ValueError where inputs do not fit the plan.
        """


def create_runner(name: str) -> Runner:
    """Build the runner that `emulator` or `cuda:N` names; raises SpecForgeError SF702 where it cannot be had."""
    if name == "emulator":
        from specforge.backend.emulated import EmulatorRunner

        return EmulatorRunner()
    if name.startswith("cuda:") and name[5:].isdecimal():
        from specforge.backend.cuda import CudaRunner

        return CudaRunner(int(name[5:]))
    from specforge.diagnostics import fail

    raise fail("SF702", "no such backend", value=name, hint="emulator, cuda:0, cuda:1, ...")
