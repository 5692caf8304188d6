"""Where a case's tensors lie in memory: guard zones around each, and what a run did to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from specforge.dtypes import DTYPES

if TYPE_CHECKING:
    from specforge.spec.geometry import BufferPlan, Plan

ALIGNMENT = 256
"""Bytes to which every tensor is aligned before `offset` shifts it, as fresh memory of the driver is."""
GUARD = 1024
"""Bytes of guard zone on either side of a tensor, at least."""
GUARD_BYTE = 0xA5
POISON_BYTE = 0xFF
"""What outputs and scratch are filled with: NaN in every float type, -1 or the largest value in every integer type."""

Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor's stretch of memory: `copies` times guard, data, guard. All numbers are bytes.

    Copy c has its data at `base + c * stride + lead`; everything of the stretch that is not data is guard zone.
    """

    plan: BufferPlan
    base: int
    lead: int
    stride: int
    copies: int

    def address(self, copy: int) -> int:
        """Where the data of a copy starts, from the start of the whole layout."""
        return self.base + copy % self.copies * self.stride + self.lead

    @property
    def trail(self) -> int:
        """Bytes of guard zone behind the data."""
        return self.stride - self.lead - self.plan.nbytes


@dataclass(frozen=True, slots=True)
class Layout:
    """The places of all tensors of a case by name, a spare stretch behind them, and the bytes of it all."""

    places: dict[str, Place]
    spare: int
    """Where the spare stretch starts; it ends where the layout does."""
    nbytes: int


def lay_out(plan: Plan, *, offset: int = 0, copies: Mapping[str, int] | None = None, spare: int = 0) -> Layout:
    """Place every tensor of a plan, each in one copy where `copies` names no other number, and `spare` bytes more.

    `offset` shifts inputs and outputs, in bytes. Raises ValueError unless it is a multiple of 16 below 256.
    """
    if offset not in range(0, ALIGNMENT, 16):
        raise ValueError(f"an offset is a multiple of 16 from 0 to {ALIGNMENT - 16}, not {offset}")
    places: dict[str, Place] = {}
    base = 0
    for buffer in plan.buffers:
        lead = GUARD + (0 if buffer.role == "scratch" else offset)
        stride = _align(lead + buffer.nbytes) + GUARD
        place = Place(buffer, base, lead, stride, (copies or {}).get(buffer.name, 1))
        places[buffer.name] = place
        base += place.copies * stride
    return Layout(places, base, base + spare)


def check_inputs(plan: Plan, inputs: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless `inputs` holds exactly the plan's inputs in their storage types and shapes."""
    due = {buffer.name: buffer for buffer in plan.buffers if buffer.is_given}
    if set(due) != set(inputs):
        raise ValueError(f"inputs {sorted(inputs)} were given where {sorted(due)} are due")
    for name, buffer in due.items():
        given = inputs[name]
        if given.shape != buffer.stored_shape or given.dtype != buffer.element.numpy():
            raise ValueError(f"input {name} is {given.dtype}{given.shape}, not {buffer.dtype}{buffer.stored_shape}")


def as_bytes(array: np.ndarray) -> Bytes:
    """The bytes of an array, C-contiguous; a view where it already is."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def as_tensor(data: Bytes, buffer: BufferPlan) -> np.ndarray:
    """Bytes as the tensor they hold, blocks as bytes; a view."""
    return data.view(DTYPES[buffer.dtype].numpy()).reshape(buffer.stored_shape)


def equal(given: Bytes, found: Bytes) -> bool:
    """Whether two stretches of as many bytes are the same; eight at a time, which takes an eighth of the memory."""
    whole = len(given) // 8 * 8
    wide, rest = (given[:whole].view(np.uint64), found[:whole].view(np.uint64)), (given[whole:], found[whole:])
    return np.array_equal(*wide) and np.array_equal(*rest)


def find_damage(name: str, before: Bytes, after: Bytes) -> list[str]:
    """Sentences on guard zones that no longer hold their pattern, nearest overwritten byte first."""
    found = []
    hit = np.flatnonzero(before != GUARD_BYTE)
    if hit.size:
        near, far = len(before) - int(hit[-1]), len(before) - int(hit[0])
        found.append(f"{name}: {hit.size} bytes overwritten before its start, {near} to {far} bytes ahead of it")
    hit = np.flatnonzero(after != GUARD_BYTE)
    if hit.size:
        near, far = int(hit[0]), int(hit[-1])
        found.append(f"{name}: {hit.size} bytes overwritten past its end, from byte {near} to byte {far} behind it")
    return found


def find_change(buffer: BufferPlan, given: Bytes, found: Bytes) -> list[str]:
    """A sentence on an input that is no longer what was given."""
    if np.array_equal(given, found):
        return []
    differs = np.flatnonzero(given != found)
    element = int(differs[0]) // buffer.element.size
    index = tuple(int(axis) for axis in np.unravel_index(element, buffer.stored_shape))
    was, now = as_tensor(given, buffer)[index], as_tensor(found, buffer)[index]
    return [f"{buffer.name}: input changed in {differs.size} bytes, first at {list(index)}: {was} became {now}"]


def _align(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
