"""Plain device memory behind one address: reserved, filled, written, read, in the order of one stream."""

from __future__ import annotations

from typing import Any

import numpy as np
from cuda.bindings import driver

from specforge.backend.buffers import Bytes, Place
from specforge.backend.cuda_errors import checked

WIDE_STRIDE = 1 << 20
"""Bytes between copies from which they are handled one by one: strided driver calls have a limit on the stride."""


class DeviceMemory:
    """One allocation that grows to the largest case seen; addresses below are offsets into it, sizes are bytes."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 -- cuda.core's Stream; its package is not imported to type it
        self._stream = stream.handle
        self._base = 0
        self._size = 0

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

    def read_guards(self, place: Place) -> tuple[Bytes, Bytes]:
        """The guard zones before and behind every copy: two arrays of shape (copies, bytes)."""
        end = place.base + place.lead + place.plan.nbytes
        before = self._rows(place.base, place.lead, place.stride, place.copies)
        return before, self._rows(end, place.trail, place.stride, place.copies)

    def fill(self, start: int, size: int, byte: int) -> None:
        """Fill `size` bytes from an address on."""
        checked(driver.cuMemsetD8Async(self._base + start, byte, size, self._stream), "filling memory")

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
