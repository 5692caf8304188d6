"""Theoretical occupancy and launch limits from a card's facts: the rules of NVIDIA's cuda_occupancy.h."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from specforge.diagnostics import Diagnostic
from specforge.kernel.resources import EntryResources
from specforge.spec.device import DeviceFile
from specforge.spec.geometry import LaunchPlan, Plan
from specforge.spec.interface import Kernel

WARP = 32
MAX_BLOCK_THREADS = 1024
MAX_BLOCK = (1024, 1024, 64)
MAX_GRID = (2**31 - 1, 65535, 65535)
_REGISTERS_PER_WARP_STEP = 256
_SHARED_STEP = 128
_SHARED_RESERVED = 1024
"""Bytes per block that the driver keeps for itself, from compute capability 8.0 on."""
_PARTITIONS = 4
"""Of a multiprocessor; each has a quarter of the registers and schedules a quarter of the warps."""


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Blocks and warps that one multiprocessor can hold; `share` is of the warps it could hold at most."""

    blocks: int
    warps: int
    share: float
    limited_by: tuple[str, ...]
    """Which of `warps`, `blocks`, `registers`, `shared memory`, `barriers` ends it."""


def occupancy(resources: EntryResources, launch: LaunchPlan, device: DeviceFile) -> Occupancy:
    """Occupancy of one launch; 0 blocks where it cannot run at all."""
    facts = device.facts
    warps = -(-math.prod(launch.block) // WARP)
    limits = {
        "warps": facts.warps_per_multiprocessor.value // warps if math.prod(launch.block) <= MAX_BLOCK_THREADS else 0,
        "blocks": facts.blocks_per_multiprocessor.value,
        "registers": _by_registers(resources.registers, warps, facts.registers_per_multiprocessor.value),
        "shared memory": _by_shared(resources.static_shared_bytes + launch.shared_bytes, device),
    }
    barriers = _barriers(device)
    if resources.barriers and barriers:
        limits["barriers"] = barriers // resources.barriers
    blocks = min(limits.values())
    return Occupancy(
        blocks,
        blocks * warps,
        blocks * warps / facts.warps_per_multiprocessor.value,
        tuple(name for name, limit in limits.items() if limit == blocks),
    )


def _by_registers(registers: int, warps: int, available: int) -> int:
    if registers == 0:
        return available
    per_warp = _round_up(registers * WARP, _REGISTERS_PER_WARP_STEP)
    if per_warp * _round_up(warps, _PARTITIONS) > available:
        return 0
    return available // _PARTITIONS // per_warp * _PARTITIONS // warps


def _by_shared(asked: int, device: DeviceFile) -> int:
    taken = _round_up(asked + _SHARED_RESERVED, _SHARED_STEP)
    if taken > int(device.facts.shared_per_block.value) + _SHARED_RESERVED:
        return 0
    return int(device.facts.shared_per_multiprocessor.value) // taken


def _barriers(device: DeviceFile) -> int:
    """Hardware barriers of a multiprocessor; 0 where the rules name none (before 9.0)."""
    capability = device.match.compute_capability
    blocks = device.facts.blocks_per_multiprocessor.value
    if capability in {"9.0", "10.0"}:
        return 2 * blocks
    return blocks if int(capability.split(".")[0]) >= 10 else 0


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def check_launches(
    kernel: Kernel, plan: Plan, resources: Mapping[str, EntryResources], device: DeviceFile
) -> list[Diagnostic]:
    """An SF508 for every launch that the card would refuse, at its line of kernel.yaml."""
    return [
        Diagnostic(
            "SF508", f"launch of {launch.entry!r}: {message}", kernel.document.at(("launches", index, key)), value
        )
        for index, launch in enumerate(plan.launches)
        if launch.entry in resources
        for key, message, value in _refusals(launch, resources[launch.entry], device)
    ]


def _refusals(launch: LaunchPlan, taken: EntryResources, device: DeviceFile) -> Iterator[tuple[str, str, str]]:
    """Key of the launch at fault, message, value."""
    threads = math.prod(launch.block)
    registers = device.facts.registers_per_multiprocessor.value
    block = _times(launch.block)
    if threads > MAX_BLOCK_THREADS or _exceeds(launch.block, MAX_BLOCK):
        yield "block", f"a block has at most {MAX_BLOCK_THREADS} threads and {_times(MAX_BLOCK)} along x, y, z", block
    elif taken.max_threads is not None and threads > taken.max_threads:
        yield "block", f"__launch_bounds__ of the entry allows {taken.max_threads} threads, not {threads}", block
    elif _by_registers(taken.registers, -(-threads // WARP), registers) == 0:
        yield "block", f"{threads} threads of {taken.registers} registers each; the card has {registers}", block
    if _exceeds(launch.grid, MAX_GRID):
        yield "grid", f"a grid has at most {_times(MAX_GRID)} blocks", _times(launch.grid)
    asked, most = taken.static_shared_bytes + launch.shared_bytes, int(device.facts.shared_per_block.value)
    if launch.shared_bytes < 0 or asked > most:
        yield "shared_bytes", f"a block has at most {most} bytes of shared memory on {device.name}", str(asked)


def _exceeds(sizes: tuple[int, int, int], limits: tuple[int, int, int]) -> bool:
    return any(size > limit for size, limit in zip(sizes, limits, strict=True))


def _times(sizes: tuple[int, int, int]) -> str:
    return "x".join(map(str, sizes))
