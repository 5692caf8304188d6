"""Running a case on a card: one process, one context, one stream."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from specforge.backend.buffers import lay_out
from specforge.backend.cuda_errors import checked, driver_calls
from specforge.backend.probe import NvmlUnavailable, nvml
from specforge.backend.processes import Listing, processes_on
from specforge.backend.runner import Execution
from specforge.diagnostics import fail

if TYPE_CHECKING:
    import numpy as np

    from specforge.backend.device_case import DeviceCase
    from specforge.backend.peer_case import PeerCase
    from specforge.backend.stopwatch import Chunks
    from specforge.spec.geometry import Plan


class CudaRunner:
    """A card. Keeps loaded binaries by path and one allocation that grows to the largest case seen."""

    processes_before: Listing | None = None
    """Those on the card before this one made its context: it knows itself among them by having come since."""

    def __init__(self, index: int) -> None:
        device = _find_device(index)
        from specforge.backend.device_memory import DeviceMemory
        from specforge.backend.own_kernels import OwnKernels, starts_early
        from specforge.backend.stopwatch import Stopwatch

        self.processes_before = processes_on(normal_uuid(device.uuid))
        open_nvml = ExitStack()  # for as long as the process lives: opening it is slow, and each case looks
        with suppress(NvmlUnavailable):
            open_nvml.enter_context(nvml())
        atexit.register(open_nvml.close)
        with driver_calls(f"starting cuda:{index}"):
            device.set_current()
            self._stream: Any = device.create_stream()
        self._device = device
        self._libraries: dict[str, Any] = {}
        self._memory = DeviceMemory(self._stream)
        self._stopwatch = Stopwatch(device, self._stream)
        self._own = OwnKernels(self._stream, int(device.properties.multiprocessor_count))
        self.name = f"cuda:{index} {device.name}"
        self.uuid = normal_uuid(device.uuid)
        self.l2_bytes = int(device.properties.l2_cache_size)
        self.overlaps = starts_early()
        """Whether the card knows dependent launches."""

    def run(
        self, plan: Plan, binary: str, inputs: Mapping[str, np.ndarray], *, schedule: int = 0, offset: int = 0
    ) -> Execution:
        """See Runner.run; the card orders threads as it likes, so `schedule` only repeats the launches' order."""
        case = self.prepare(plan, binary, offset=offset)
        case.upload(inputs)
        case.poison()
        case.launch()
        case.wait()
        return Execution(case.outputs(), case.violations())

    def prepare(
        self,
        plan: Plan,
        binary: str | Mapping[str, str],
        *,
        offset: int = 0,
        copies: Mapping[str, int] | None = None,
        spare: int = 0,
    ) -> DeviceCase:
        """Load the binary and place the tensors, `copies` of those it names. Ends the use of the case before.

        `spare` bytes more are for `DeviceCase.scrub`. A plan of several kernels has several binaries, by entry.

        Raises KernelFault where the binary or a launch is refused, CudaError where memory is short.
        """
        from specforge.backend.device_case import DeviceCase

        layout = lay_out(plan, offset=offset, copies=copies, spare=spare)
        own, library = self._own, self._library(binary)
        return DeviceCase(plan, library, self._memory, self._stream, layout, sweep=own.sweep, differs=own.differs)

    def for_peer(self, case: DeviceCase) -> PeerCase:
        """The same case with a peer's work in its launches' place; raises ImportError where PyTorch is not there."""
        from specforge.backend.peer_case import PeerCase

        return PeerCase(case, int(self._device.device_id))

    def time(self, works: Sequence[Callable[[], None]], *, ahead: Callable[[int], None] | None = None) -> list[float]:
        """Seconds of each piece of enqueued work, between two events, launched from a queue; see Stopwatch."""
        return self._stopwatch.time(works, ahead=ahead)

    def chunks(self, group: Callable[[], None]) -> Chunks:
        """What enqueues this work over and over, in chunks whose ends the card's clock tells."""
        from specforge.backend.stopwatch import Chunks

        return Chunks(self._device, self._stream, group)

    def captured(self, enqueue: Callable[[], None]) -> AbstractContextManager[Callable[[], None]]:
        """A graph of what `enqueue` enqueues, for the length of a block; gives what enqueues one replay of it."""
        from specforge.backend.graph import captured

        return captured(self._stream, enqueue)

    def launch_empty(self, *, early: bool = False) -> None:
        """Enqueue a kernel that does nothing: what a launch costs at least. `early`: as a dependent that waits."""
        self._own.empty(early=early)

    def wait(self) -> None:
        """Wait for everything enqueued."""
        self._memory.wait()

    def available_bytes(self) -> int:
        """Bytes that the next case may take: free memory and what this runner holds already."""
        return self._memory.available()

    def reset_persisting_l2(self) -> None:
        """Return L2 lines that somebody marked as persisting to ordinary use, where a card has such lines."""
        from cuda.bindings import driver

        if self._device.properties.max_persisting_l2_cache_size > 0:
            checked(driver.cuCtxResetPersistingL2Cache(), "resetting persisting L2 lines")

    @contextmanager
    def without_persisting_l2(self) -> Iterator[None]:
        """No part of L2 is set aside for persisting lines during the block; afterwards as much as before."""
        from cuda.bindings import driver

        limit = driver.CUlimit.CU_LIMIT_PERSISTING_L2_CACHE_SIZE
        if self._device.properties.max_persisting_l2_cache_size <= 0:
            yield
            return
        before = checked(driver.cuCtxGetLimit(limit), "asking for the persisting part of L2")
        checked(driver.cuCtxSetLimit(limit, 0), "setting the persisting part of L2")
        try:
            self.reset_persisting_l2()
            yield
        finally:
            driver.cuCtxSetLimit(limit, before)  # no check: what went wrong in the block says more

    def _library(self, binary: str | Mapping[str, str]) -> Any:  # noqa: ANN401 -- cuda.core's ObjectCode
        if not isinstance(binary, str):
            return _Libraries({entry: self._library(path) for entry, path in binary.items()})
        if binary not in self._libraries:
            from cuda.core import ObjectCode

            with driver_calls(f"loading {binary}"):
                self._libraries[binary] = ObjectCode.from_cubin(binary)
        return self._libraries[binary]


class _Libraries:
    """Several binaries as one: each entry comes from its own."""

    def __init__(self, by_entry: Mapping[str, Any]) -> None:
        self._by_entry = by_entry

    def get_kernel(self, entry: str) -> Any:  # noqa: ANN401 -- cuda.core's Kernel
        return self._by_entry[entry].get_kernel(entry)


def normal_uuid(uuid: str) -> str:
    """A card's UUID as NVML writes it, whichever library it came from."""
    return uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"


def _find_device(index: int) -> Any:  # noqa: ANN401 -- cuda.core's Device
    """The card that NVML gives this index: CUDA may count in another order, or see fewer."""
    from specforge.backend.probe import probe

    try:
        from cuda.core import Device

        devices = Device.get_all_devices()
    except Exception as error:  # no driver, no card, a driver too old: each library has exceptions of its own
        raise fail("SF702", f"CUDA cannot be used here: {error}", value=f"cuda:{index}") from None
    wanted = {card.uuid for card in probe().cards if card.index == index}
    for device in devices:
        if normal_uuid(device.uuid) in wanted:
            return device
    if not wanted and index < len(devices):  # NVML is not there to ask
        return devices[index]
    have = f"{len(devices)} visible to CUDA" if devices else "none visible to CUDA"
    hint = "`specforge doctor` lists the cards"
    raise fail("SF702", f"no card of index {index} ({have})", value=f"cuda:{index}", hint=hint)
