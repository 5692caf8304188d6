"""Running a case on a card: one process, one context, one stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from specforge.backend.buffers import lay_out
from specforge.backend.cuda_errors import checked, driver_calls
from specforge.backend.runner import Execution
from specforge.diagnostics import fail

if TYPE_CHECKING:
    import numpy as np

    from specforge.backend.device_case import DeviceCase
    from specforge.spec.geometry import Plan

QUEUE = 400
"""Operations enqueued behind a held stream, at most: the driver's queue blocks the host at about a thousand."""

_EMPTY = b".version 7.0\n.target sm_75\n.address_size 64\n.visible .entry empty()\n{\n  ret;\n}\n"


class CudaRunner:
    """A card. Keeps loaded binaries by path and one allocation that grows to the largest case seen."""

    def __init__(self, index: int) -> None:
        device = _find_device(index)
        from specforge.backend.device_memory import DeviceMemory
        from specforge.backend.stopwatch import Stopwatch

        with driver_calls(f"starting cuda:{index}"):
            device.set_current()
            self._stream: Any = device.create_stream()
        self._device = device
        self._libraries: dict[str, Any] = {}
        self._memory = DeviceMemory(self._stream)
        self._stopwatch = Stopwatch(device, self._stream)
        self._empty: Callable[[], None] | None = None
        self.name = f"cuda:{index} {device.name}"
        self.uuid = normal_uuid(device.uuid)
        self.l2_bytes = int(device.properties.l2_cache_size)

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
        self, plan: Plan, binary: str, *, offset: int = 0, copies: Mapping[str, int] | None = None, spare: int = 0
    ) -> DeviceCase:
        """Load the binary and place the tensors, `copies` of those it names. Ends the use of the case before.

        `spare` bytes more are for `DeviceCase.scrub`.

        Raises KernelFault where the binary or a launch is refused, CudaError where memory is short.
        """
        from specforge.backend.device_case import DeviceCase

        layout = lay_out(plan, offset=offset, copies=copies, spare=spare)
        return DeviceCase(plan, self._library(binary), self._memory, self._stream, layout)

    def time(self, works: Sequence[Callable[[], None]], ahead: Callable[[int], None] | None = None) -> list[float]:
        """Seconds of each piece of enqueued work, between two events, launched from a queue; see Stopwatch."""
        return self._stopwatch.time(works, ahead)

    def launch_empty(self) -> None:
        """Enqueue a kernel that does nothing: what a launch costs at least."""
        if self._empty is None:
            from cuda.core import LaunchConfig, ObjectCode, launch

            with driver_calls("loading the empty kernel"):
                kernel = ObjectCode.from_ptx(_EMPTY).get_kernel("empty")
            config = LaunchConfig(grid=1, block=32)
            self._empty = lambda: launch(self._stream, config, kernel)
        self._empty()

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

    def _library(self, binary: str) -> Any:  # noqa: ANN401 -- cuda.core's ObjectCode
        if binary not in self._libraries:
            from cuda.core import ObjectCode

            with driver_calls(f"loading {binary}"):
                self._libraries[binary] = ObjectCode.from_cubin(binary)
        return self._libraries[binary]


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
