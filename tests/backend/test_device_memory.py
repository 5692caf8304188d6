"""Comparing what the card holds, with a driver that copies only once it is waited for."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest

from specforge.backend import device_memory
from specforge.backend.buffers import Place
from specforge.backend.device_memory import DeviceMemory
from specforge.spec.geometry import BufferPlan


class Driver:
    """Memory of the host for the card's; a copy is made when the stream is waited for."""

    handle = 0

    def __init__(self) -> None:
        self.due: list[Callable[[], object]] = []
        self.kept: list[ctypes.Array[ctypes.c_char]] = []

    def _take(self, size: int) -> tuple[int, int]:
        self.kept.append(ctypes.create_string_buffer(size))
        return 0, ctypes.addressof(self.kept[-1])

    def cuMemAlloc(self, size: int) -> tuple[int, int]:
        return self._take(size)

    def cuMemHostAlloc(self, size: int, flags: int) -> tuple[int, int]:
        return self._take(size)

    def cuMemcpyDtoHAsync(self, to: int, source: int, width: int, stream: int) -> tuple[int]:
        self.due.append(lambda: ctypes.memmove(to, source, width))
        return (0,)

    def cuStreamSynchronize(self, stream: int) -> tuple[int]:
        for copy in self.due:
            copy()
        self.due.clear()
        return (0,)


@pytest.mark.parametrize("size", [1, 63, 64, 65, 128, 1000])
def test_every_byte_is_compared(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    driver = Driver()
    monkeypatch.setattr(device_memory, "driver", driver)
    monkeypatch.setattr(device_memory, "PIECE", 64)
    memory = DeviceMemory(driver)
    place = Place(BufferPlan("x", (size,), "u8", "in", ("normal",), "cold", ()), base=16, lead=8, stride=2048, copies=2)
    base = memory.reserve(2 * 2048 + 16)
    data = np.random.default_rng(1).integers(0, 256, size, dtype=np.uint8)
    for copy in range(2):
        ctypes.memmove(base + place.address(copy), data.ctypes.data, size)
    assert memory.holds(place, 0, data)
    assert memory.holds(place, 1, data)
    assert not memory.holds(place, 0, data[:-1])
    for byte in {0, size // 2, size - 1}:
        other = data.copy()
        other[byte] ^= 1
        assert not memory.holds(place, 1, other)
    changed = (ctypes.c_uint8 * size).from_address(base + place.address(1))
    changed[size - 1] ^= 0x80
    assert memory.holds(place, 0, data)
    assert not memory.holds(place, 1, data)
    assert driver.due == []
