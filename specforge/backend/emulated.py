"""Running a case on the CPU: the unchanged kernel source, compiled for the host, in this process's own memory."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from specforge.backend.buffers import (
    ALIGNMENT,
    GUARD_BYTE,
    POISON_BYTE,
    Bytes,
    Layout,
    Place,
    as_bytes,
    as_tensor,
    check_inputs,
    find_change,
    find_damage,
    lay_out,
)
from specforge.backend.emulator.module import Buffer, Call, EmulatedModule, EmulationFault
from specforge.backend.runner import Execution, KernelFault
from specforge.expressions import Scalar

if TYPE_CHECKING:
    from specforge.spec.geometry import Plan

STACKS = 8
"""Modules that keep the stacks of their threads mapped, at most; a module that lost them maps them again."""


class EmulatorRunner:
    """Keeps loaded modules by path and one stretch of memory that grows to the largest case seen."""

    name = "emulator"

    def __init__(self) -> None:
        self._modules: dict[str, _Module] = {}
        self._memory: Bytes = np.empty(0, np.uint8)

    def run(
        self, plan: Plan, binary: str, inputs: Mapping[str, np.ndarray], *, schedule: int = 0, offset: int = 0
    ) -> Execution:
        """See Runner.run; the outputs are copies, the memory behind them serves the next case."""
        check_inputs(plan, inputs)
        layout = lay_out(plan, offset=offset)
        memory = self._reserve(layout)
        given = {name: as_bytes(array) for name, array in inputs.items()}
        tensors = {name: _fill(memory, place, given.get(name)) for name, place in layout.places.items()}
        module = self._module(binary)
        module.loaded.watch([_watched(memory, place) for place in layout.places.values()])
        calls: list[Call] = []
        for launch in plan.launches:
            arguments = [
                tensors[argument].ctypes.data if isinstance(argument, str) else _typed(launch.entry, argument, size)
                for argument, size in zip(launch.args, module.sizes(launch.entry, len(launch.args)), strict=True)
            ]
            sizes = launch.grid, launch.block, launch.shared_bytes
            dependent = launch.dependent and bool(calls)  # ahead of the first there is nothing here
            calls.append(Call(launch.entry, *sizes, arguments, dependent))
        try:
            module.loaded.launch_all(calls, schedule=schedule)
        except EmulationFault as fault:
            raise KernelFault(fault.kind, f"{_where(fault)}: {fault.message}") from None
        violations = [sentence for place in layout.places.values() for sentence in _check(memory, place, given)]
        outputs = {buffer.name: tensors[buffer.name].copy() for buffer in plan.buffers if buffer.is_judged}
        return Execution(outputs, tuple(violations))

    def _module(self, binary: str) -> _Module:
        module = self._modules.pop(binary, None) or _Module(binary)
        self._modules[binary] = module  # the last one is the one used last
        if len(self._modules) > STACKS:
            list(self._modules.values())[-STACKS - 1].loaded.close()
        return module

    def _reserve(self, layout: Layout) -> Bytes:
        if len(self._memory) < layout.nbytes + ALIGNMENT:
            # A quarter more than is due: cases that grow little by little do not each allocate anew.
            self._memory = np.empty(layout.nbytes + layout.nbytes // 4 + ALIGNMENT, np.uint8)
        start = -self._memory.ctypes.data % ALIGNMENT
        return self._memory[start : start + layout.nbytes]


def _watched(memory: Bytes, place: Place) -> Buffer:
    plan = place.plan
    address = memory.ctypes.data + place.address(0)
    writable, set_before = plan.role != "in", plan.is_given
    return Buffer(plan.name, address, plan.nbytes, plan.element.size, writable, place.lead, place.trail, set_before)


def _where(fault: EmulationFault) -> str:
    block = f", block {fault.block}" if fault.block else ""
    thread = f", thread {fault.thread}" if fault.thread else ""
    return f"{fault.entry}{block}{thread}"


class _Module:
    """A loaded library with the argument sizes that its entries declare."""

    def __init__(self, binary: str) -> None:
        self.loaded = EmulatedModule(Path(binary))
        self._library = ctypes.CDLL(binary)
        self._sizes: dict[str, list[int]] = {}

    def sizes(self, entry: str, count: int) -> list[int]:
        """Bytes of each argument; raises ValueError where the entry takes another number of them."""
        if entry not in self._sizes:
            describe = getattr(self._library, f"specforge_emulator_signature_{entry}")
            describe.restype = ctypes.c_char_p
            signature = describe().decode()
            self._sizes[entry] = [ord(size) - ord("0") for size in signature[len(signature) // 2 :]]
        if len(self._sizes[entry]) != count:
            raise ValueError(f"{entry} takes {len(self._sizes[entry])} arguments, {count} are planned")
        return self._sizes[entry]


def _typed(entry: str, argument: Scalar, size: int) -> ctypes._SimpleCData[Any]:
    kinds: dict[tuple[type, int], type[ctypes._SimpleCData[Any]]] = {
        (bool, 1): ctypes.c_bool,
        (bool, 4): ctypes.c_int,
        (int, 4): ctypes.c_int,
        (int, 8): ctypes.c_longlong,
        (float, 4): ctypes.c_float,
        (float, 8): ctypes.c_double,
    }
    kind = kinds.get((type(argument), size))
    if kind is None:
        raise ValueError(f"{entry} takes {size} bytes where {argument!r} is planned")
    if kind is ctypes.c_int and not -(2**31) <= argument < 2**31:  # type: ignore[operator]
        raise ValueError(f"{entry} takes 32 bits where {argument} is planned")
    return kind(argument)


def _fill(memory: Bytes, place: Place, given: Bytes | None) -> np.ndarray:
    start = place.address(0)
    end = start + place.plan.nbytes
    memory[place.base : start] = GUARD_BYTE
    memory[start:end] = POISON_BYTE if given is None else given
    memory[end : place.base + place.stride] = GUARD_BYTE
    return as_tensor(memory[start:end], place.plan)


def _check(memory: Bytes, place: Place, given: Mapping[str, Bytes]) -> list[str]:
    start = place.address(0)
    end = start + place.plan.nbytes
    found = find_damage(place.plan.name, memory[place.base : start], memory[end : place.base + place.stride])
    if place.plan.role == "in":
        found += find_change(place.plan, given[place.plan.name], memory[start:end])
    return found
