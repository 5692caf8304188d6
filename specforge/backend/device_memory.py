"""Plain device memory behind one address: reserved, filled, written, read, in the order of one stream."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from cuda.bindings import driver

from specforge.backend.buffers import Bytes, Place, equal
from specforge.backend.cuda_errors import checked

WIDE_STRIDE = 1 << 20
"""Bytes between copies from which they are handled one by one: strided driver calls have a limit on the stride."""
PIECE = 1 << 23
"""Bytes that are compared in one go: the next ones come from the card meanwhile."""


class DeviceMemory:
    """One allocation that grows to the largest case seen; addresses below are offsets into it, sizes are bytes."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 -- cuda.core's Stream; its package is not imported to type it
        self._stream = stream.handle
        self._base = 0
        self._size = 0
        self._pieces: list[Bytes] = []

    def reserve(self, size: int) -> int:
        """Make at least `size` bytes usable and return their address; earlier contents are lost where it moves."""
        if size > self._size:
            self.release()
            grown = size + min(size // 4, 1 << 28)
            self._base = int(checked(driver.cuMemAlloc(grown), f"allocating {grown} bytes on the card"))
            self._size = grown
        return self._base

    def release(self) -> None:
        """Give the memory back to the card."""
        if self._size:
            self.wait()
            checked(driver.cuMemFree(self._base), "freeing memory on the card")
        self._base = self._size = 0

    def available(self) -> int:
        """Bytes that `reserve` could hand out: what the card has free and what is held already."""
        free, _ = checked(driver.cuMemGetInfo(), "asking for free memory")
        return int(free) + self._size

    def wait(self) -> None:
        """Wait until everything in the stream is done; a kernel's fault comes up here."""
        checked(driver.cuStreamSynchronize(self._stream), "waiting for the kernels to end")

    def fill_guards(self, place: Place, byte: int) -> None:
        """Fill a tensor's whole stretch, data included."""
        self.fill(place.base, place.copies * place.stride, byte)

    def fill_data(self, place: Place, byte: int) -> None:
        """Fill the data of every copy of a tensor."""
        if place.copies == 1 or place.stride >= WIDE_STRIDE:
            for copy in range(place.copies):
                self.fill(place.address(copy), place.plan.nbytes, byte)
        else:
            start = self._base + place.address(0)
            code = driver.cuMemsetD2D8Async(start, place.stride, byte, place.plan.nbytes, place.copies, self._stream)
            checked(code, "filling memory")

    def write(self, place: Place, data: Bytes) -> None:
        """Write the data of every copy of a tensor; the host's bytes may change once this returns."""
        first = self._base + place.address(0)
        checked(driver.cuMemcpyHtoDAsync(first, data.ctypes.data, len(data), self._stream), "copying to the card")
        for copy in range(1, place.copies):
            to = self._base + place.address(copy)
            checked(driver.cuMemcpyDtoDAsync(to, first, len(data), self._stream), "copying on the card")
        self.wait()

    def read(self, place: Place, copy: int) -> Bytes:
        """Read the data of one copy of a tensor."""
        return self._rows(place.address(copy), place.plan.nbytes, place.stride, 1).reshape(-1)

    def holds(self, place: Place, copy: int, data: Bytes) -> bool:
        """Whether one copy of a tensor holds these bytes.

        They come through two pinned pieces: of a gigabyte, fresh pages would take most of the time.
        """
        size, start = place.plan.nbytes, self._base + place.address(copy)
        pieces = self._pieces or [self._pinned(), self._pinned()]
        self._pieces = pieces

        def fetch(number: int) -> None:
            begin = number * PIECE
            if begin < size:
                to, width = pieces[number % 2].ctypes.data, min(PIECE, size - begin)
                code = driver.cuMemcpyDtoHAsync(to, start + begin, width, self._stream)
                checked(code, "copying from the card")

        same = len(data) == size
        fetch(0)
        for number, begin in enumerate(range(0, size, PIECE)):
            self.wait()
            if not same:
                break
            fetch(number + 1)
            same = equal(pieces[number % 2][: size - begin], data[begin : begin + PIECE])
        self.wait()
        return same

    def read_guards(self, place: Place) -> tuple[Bytes, Bytes]:
        """The guard zones before and behind every copy: two arrays of shape (copies, bytes)."""
        end = place.base + place.lead + place.plan.nbytes
        before = self._rows(place.base, place.lead, place.stride, place.copies)
        return before, self._rows(end, place.trail, place.stride, place.copies)

    def fill(self, start: int, size: int, byte: int) -> None:
        """Fill `size` bytes from an address on."""
        checked(driver.cuMemsetD8Async(self._base + start, byte, size, self._stream), "filling memory")

    def _pinned(self) -> Bytes:
        host = checked(driver.cuMemHostAlloc(PIECE, 0), f"allocating {PIECE} pinned bytes")
        return np.ctypeslib.as_array((ctypes.c_uint8 * PIECE).from_address(int(host)))

    def _rows(self, start: int, width: int, stride: int, rows: int) -> Bytes:
        found = np.empty((rows, width), np.uint8)
        if rows == 1 or stride >= WIDE_STRIDE:
            for row in range(rows):
                source = self._base + start + row * stride
                code = driver.cuMemcpyDtoHAsync(found[row].ctypes.data, source, width, self._stream)
                checked(code, "copying from the card")
        else:
            copy = driver.CUDA_MEMCPY2D()
            copy.srcMemoryType = driver.CUmemorytype.CU_MEMORYTYPE_DEVICE
            copy.srcDevice = self._base + start
            copy.srcPitch = stride
            copy.dstMemoryType = driver.CUmemorytype.CU_MEMORYTYPE_HOST
            copy.dstHost = found.ctypes.data
            copy.dstPitch = width
            copy.WidthInBytes = width
            copy.Height = rows
            checked(driver.cuMemcpy2DAsync(copy, self._stream), "copying from the card")
        self.wait()
        return found
