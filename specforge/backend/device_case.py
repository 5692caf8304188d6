"""A case made ready on a card: its tensors in memory, its launches bound to them. Checked and timed as one thing."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from cuda.bindings import driver
from cuda.core import LaunchConfig, launch

from specforge.backend.buffers import (
    GUARD_BYTE,
    POISON_BYTE,
    Bytes,
    Layout,
    as_bytes,
    as_tensor,
    check_inputs,
    find_change,
    find_damage,
)
from specforge.backend.cuda_errors import checked, driver_calls
from specforge.backend.device_memory import DeviceMemory
from specforge.backend.own_kernels import starts_early
from specforge.expressions import Scalar

if TYPE_CHECKING:
    from specforge.spec.geometry import LaunchPlan, Plan


class DeviceCase:
    """The one set of bytes, binary and launch configuration that verification and timing share.

    Tensors with several copies rotate: rotation r uses copy r modulo their number. A memory serves one case at a time.
    """

    def __init__(
        self,
        plan: Plan,
        library: Any,  # noqa: ANN401 -- cuda.core's ObjectCode
        memory: DeviceMemory,
        stream: Any,  # noqa: ANN401 -- cuda.core's Stream
        layout: Layout,
        *,
        sweep: Callable[[int, int], None],
        differs: Callable[[int, int, int, int], bool],
    ) -> None:
        self.plan = plan
        self.layout = layout
        self._memory = memory
        self._stream = stream
        self._sweep, self._differs = sweep, differs
        self._base = memory.reserve(layout.nbytes)
        self._given: dict[str, Bytes] = {}
        self._launches = [_Launch(planned, library) for planned in plan.launches]
        self._period = math.lcm(*(place.copies for place in layout.places.values()))
        """After so many rotations every tensor is at its first copy again."""
        self._kept: dict[tuple[int, int], list[Any]] = {}
        for place in layout.places.values():
            memory.fill_guards(place, GUARD_BYTE)

    def upload(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Write the inputs into every copy; raises ValueError where they do not fit the plan."""
        check_inputs(self.plan, inputs)
        self._given = {name: as_bytes(array) for name, array in inputs.items()}
        for name, data in self._given.items():
            self._memory.write(self.layout.places[name], data)

    def replace(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Write other values into some of the inputs, in every copy."""
        given = {name: as_bytes(array) for name, array in inputs.items()}
        for name, data in given.items():
            if len(data) != self.layout.places[name].plan.nbytes:
                raise ValueError(f"input {name} has {len(data)} bytes")
            self._memory.write(self.layout.places[name], data)
        self._given |= given

    def scrub(self, size: int, turn: int) -> None:
        """Enqueue reading `size` bytes of the spare stretch, each turn the next ones: they push others out of L2."""
        room = self.layout.nbytes - self.layout.spare
        self._sweep(self._base + self.layout.spare + turn % max(1, room // size) * size, size)

    def warm(self) -> None:
        """Enqueue reading every copy of the hot tensors: they are in L2 then, as far as it holds them."""
        for place in self.layout.places.values():
            if place.plan.residency == "hot":
                self._sweep(self._base + place.base, place.copies * place.stride)

    def restore(self) -> None:
        """Write the given values into every copy of the tensors that launches update in place."""
        for name in self.plan.updated:
            self._memory.write(self.layout.places[name], self._given[name])

    def held(self, rotation: int) -> dict[str, np.ndarray]:
        """What a rotation's tensors that are updated in place hold now, in storage types."""
        places = [self.layout.places[name] for name in self.plan.updated]
        return {place.plan.name: as_tensor(self._memory.read(place, rotation), place.plan) for place in places}

    def poison(self) -> None:
        """Fill every copy of outputs and scratch with 0xFF."""
        for place in self.layout.places.values():
            if not place.plan.is_given:
                self._memory.fill_data(place, POISON_BYTE)

    def launch(self, rotation: int = 0, *, only: int | None = None, linked: bool = False, early: bool = False) -> None:
        """Enqueue the launch group on one rotation of the tensors; with `only`, one launch of it.

        `linked`: inputs of the plan's chain are what the rotation before wrote. `early`: the group may start before
        the one ahead has ended, as far as its first launch is a dependent one.
        """
        chain = self.plan.chain if linked else {}
        for index, bound in enumerate(self._launches):
            if only is not None and index != only:
                continue
            arguments = self._arguments(index, rotation, chain)
            config = bound.dependent if only is None and (index > 0 or early) else bound.alone
            with driver_calls(f"launching {bound.entry}"):
                launch(self._stream, config, bound.kernel, *arguments)

    def _arguments(self, index: int, rotation: int, chain: Mapping[str, str]) -> list[Any]:
        """What one launch is called with: kept by rotation, as working it out would be a good part of a launch."""
        kept = (index, rotation % self._period)
        if not chain and kept in self._kept:
            return self._kept[kept]
        found = [
            self._address(argument, rotation, chain) if isinstance(argument, str) else argument
            for argument in self._launches[index].arguments
        ]
        if not chain:
            self._kept[kept] = found
        return found

    def _address(self, name: str, rotation: int, chain: Mapping[str, str]) -> int:
        name, rotation = (chain[name], rotation - 1) if name in chain else (name, rotation)
        return self._base + self.layout.places[name].address(rotation)

    def wait(self) -> None:
        """Wait for everything enqueued; a kernel's fault comes up here."""
        self._memory.wait()

    def outputs(self, rotation: int = 0) -> dict[str, np.ndarray]:
        """The outputs that a rotation wrote, in storage types."""
        places = [place for place in self.layout.places.values() if place.plan.is_judged]
        return {place.plan.name: as_tensor(self._memory.read(place, rotation), place.plan) for place in places}

    def violations(self, rotations: int = 1) -> tuple[str, ...]:
        """Guard zones that were overwritten, and inputs of the first rotations that are no longer as given."""
        found: list[str] = []
        for name, place in self.layout.places.items():
            before, after = self._memory.read_guards(place)
            for copy in _damaged(before) | _damaged(after):
                found += find_damage(name, before[copy], after[copy])
            if name in self._given and place.plan.role == "in":
                copies = min(place.copies, rotations)
                first = self._base + place.address(0)
                if copies > 1 and not self._differs(first, place.stride, place.plan.nbytes, copies):
                    copies = 1  # what holds for the first holds for all
                for copy in range(copies):
                    if not self._memory.holds(place, copy, self._given[name]):
                        found += find_change(place.plan, self._given[name], self._memory.read(place, copy))
        return tuple(dict.fromkeys(found))


def _damaged(zones: Bytes) -> set[int]:
    return set(np.flatnonzero((zones != GUARD_BYTE).any(axis=1)).tolist())


class _Launch:
    """A launch with its kernel, configuration and scalars in the types that the binary declares."""

    def __init__(self, planned: LaunchPlan, library: Any) -> None:  # noqa: ANN401
        self.entry = planned.entry
        with driver_calls(f"loading {planned.entry}"):
            self.kernel = library.get_kernel(planned.entry)
            sizes = [info.size for info in self.kernel.arguments_info]
            if planned.shared_bytes:
                limit = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
                device = checked(driver.cuCtxGetDevice(), "asking for the device")
                code = driver.cuKernelSetAttribute(limit, planned.shared_bytes, self.kernel.handle, device)
                checked(code, f"asking for {planned.shared_bytes} bytes of shared memory for {planned.entry}")
            size = {"grid": planned.grid, "block": planned.block, "shmem_size": planned.shared_bytes}
            self.alone = LaunchConfig(**size)
            early = planned.dependent and starts_early()
            self.dependent = LaunchConfig(**size, programmatic_stream_serialization=True) if early else self.alone
        if len(sizes) != len(planned.args):
            raise ValueError(f"{planned.entry} takes {len(sizes)} arguments, {len(planned.args)} are planned")
        self.arguments = [_typed(planned.entry, *pair) for pair in zip(planned.args, sizes, strict=True)]


def _typed(entry: str, argument: Scalar, size: int) -> Any:  # noqa: ANN401 -- a buffer's name or a numpy scalar
    if isinstance(argument, str):
        if size != 8:
            raise ValueError(f"{entry} takes {size} bytes where tensor {argument} is planned")
        return argument
    if isinstance(argument, bool):
        kinds: dict[int, Any] = {1: np.bool_, 4: np.int32}
    elif isinstance(argument, int):
        kinds = {4: np.int32, 8: np.int64}
    else:
        kinds = {4: np.float32, 8: np.float64}
    if size not in kinds:
        raise ValueError(f"{entry} takes {size} bytes where {argument!r} is planned")
    if isinstance(argument, int) and size == 4 and not -(2**31) <= argument < 2**31:
        raise ValueError(f"{entry} takes 32 bits where {argument} is planned")
    return kinds[size](argument)
