"""SpecForge's own kernels: two that do nothing, one that reads, and one that compares."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from cuda.bindings import driver
from cuda.core import LaunchConfig, ObjectCode, launch

from specforge.backend.cuda_errors import checked, driver_calls

_EMPTY = b".version 7.0\n.target sm_75\n.address_size 64\n.visible .entry empty()\n{\n  ret;\n}\n"
_DEPENDENT = b"""
.version 7.8
.target sm_90
.address_size 64
.visible .entry dependent()
{
  griddepcontrol.launch_dependents;
  griddepcontrol.wait;
  ret;
}
"""
# Of a grid of one row or several: the first vector of this thread, %d8, and the step to its next, %d9.
_STRIDE = b"""
  mov.u32 %r0, %ctaid.x;
  mov.u32 %r1, %ntid.x;
  mov.u32 %r2, %tid.x;
  mov.u32 %r3, %nctaid.x;
  cvt.u64.u32 %d8, %r2;
  mad.wide.u32 %d8, %r0, %r1, %d8;
  mul.wide.u32 %d9, %r3, %r1;
"""
# Reads `count` vectors of 16 bytes from `start` on. The store, which hardly ever happens, keeps the loads.
_SWEEP = (
    b"""
.version 7.0
.target sm_75
.address_size 64
.visible .entry sweep(.param .u64 start, .param .u64 count, .param .u64 sink)
{
  .reg .pred %p<3>;
  .reg .b32 %r<12>;
  .reg .b64 %d<10>;
  ld.param.u64 %d0, [start];
  ld.param.u64 %d1, [count];
  ld.param.u64 %d2, [sink];
  mov.u32 %r4, 0;
"""
    + _STRIDE
    + b"""
more:
  setp.ge.u64 %p0, %d8, %d1;
  @%p0 bra done;
  shl.b64 %d5, %d8, 4;
  add.u64 %d5, %d0, %d5;
  ld.global.v4.u32 {%r5, %r6, %r7, %r8}, [%d5];
  xor.b32 %r5, %r5, %r6;
  xor.b32 %r7, %r7, %r8;
  xor.b32 %r5, %r5, %r7;
  add.u32 %r4, %r4, %r5;
  add.u64 %d8, %d8, %d9;
  bra more;
done:
  setp.ne.u32 %p1, %r4, 0x5EEDF00D;
  @%p1 ret;
  st.global.u32 [%d2], %r4;
  ret;
}
"""
)
# Compares copies 1.. of `count` vectors of 16 bytes, `stride` bytes apart, with copy 0: one row of blocks each.
_DIFFERS = (
    b"""
.version 7.0
.target sm_75
.address_size 64
.visible .entry differs(.param .u64 start, .param .u64 stride, .param .u64 count, .param .u64 flag)
{
  .reg .pred %p<3>;
  .reg .b32 %r<16>;
  .reg .b64 %d<12>;
  ld.param.u64 %d0, [start];
  ld.param.u64 %d1, [stride];
  ld.param.u64 %d2, [count];
  ld.param.u64 %d3, [flag];
  mov.u32 %r4, %ctaid.y;
  add.u32 %r4, %r4, 1;
  cvt.u64.u32 %d4, %r4;
  mad.lo.u64 %d5, %d4, %d1, %d0;
"""
    + _STRIDE
    + b"""
more:
  setp.ge.u64 %p0, %d8, %d2;
  @%p0 bra done;
  shl.b64 %d6, %d8, 4;
  add.u64 %d7, %d0, %d6;
  add.u64 %d10, %d5, %d6;
  ld.global.v4.u32 {%r5, %r6, %r7, %r8}, [%d7];
  ld.global.v4.u32 {%r9, %r10, %r11, %r12}, [%d10];
  xor.b32 %r5, %r5, %r9;
  xor.b32 %r6, %r6, %r10;
  xor.b32 %r7, %r7, %r11;
  xor.b32 %r8, %r8, %r12;
  or.b32 %r5, %r5, %r6;
  or.b32 %r7, %r7, %r8;
  or.b32 %r5, %r5, %r7;
  setp.ne.u32 %p1, %r5, 0;
  @%p1 st.global.u32 [%d3], %r5;
  add.u64 %d8, %d8, %d9;
  bra more;
done:
  ret;
}
"""
)


def starts_early() -> bool:
    """Whether the card knows dependent launches (compute capability 9.0 on); on another they follow one another."""
    device = checked(driver.cuCtxGetDevice(), "asking for the device")
    major = driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    return int(checked(driver.cuDeviceGetAttribute(major, device), "asking for the compute capability")) >= 9


class OwnKernels:
    """Loaded on first use, each enqueued in one stream."""

    def __init__(self, stream: Any, processors: int) -> None:  # noqa: ANN401 -- cuda.core's Stream
        self._stream = stream
        self._blocks = 8 * processors
        self._loaded: dict[str, Any] = {}
        self._sink = 0

    def empty(self, *, early: bool = False) -> None:
        """Do nothing; `early`: start before the launch ahead has ended, let the next one start, and wait."""
        kernel = self._kernel("dependent", _DEPENDENT) if early else self._kernel("empty", _EMPTY)
        config = LaunchConfig(grid=1, block=32, programmatic_stream_serialization=early)
        with driver_calls("launching an empty kernel"):
            launch(self._stream, config, kernel)

    def sweep(self, start: int, size: int) -> None:
        """Read `size` bytes, rounded up to 16, from an address that is a multiple of 16: they displace others in L2.

        Reading leaves no modified lines, which a write would: those go back to memory in the time of what comes next.
        """
        kernel, sink = self._kernel("sweep", _SWEEP), self._spare()
        count = -(-size // 16)
        config = LaunchConfig(grid=max(1, min(self._blocks, -(-count // 256))), block=256)
        with driver_calls("launching a kernel that reads"):
            launch(self._stream, config, kernel, start, count, sink)

    def differs(self, start: int, stride: int, size: int, copies: int) -> bool:
        """Whether one of 2 to 65536 copies, `stride` bytes apart, differs from the first in its `size` bytes.

        `start` and `stride` are multiples of 16, `size` is rounded up to one. Waits for the card.
        """
        kernel, flag, found = self._kernel("differs", _DIFFERS), self._spare(), ctypes.c_uint32(0)
        count, stream = -(-size // 16), self._stream.handle
        checked(driver.cuMemsetD32Async(flag, 0, 1, stream), "filling memory")
        blocks = max(1, min(-(-self._blocks // copies), -(-count // 256)))
        config = LaunchConfig(grid=(blocks, copies - 1), block=256)
        with driver_calls("launching a kernel that compares"):
            launch(self._stream, config, kernel, start, stride, count, flag)
        checked(driver.cuMemcpyDtoHAsync(ctypes.addressof(found), flag, 4, stream), "copying from the card")
        checked(driver.cuStreamSynchronize(stream), "waiting for the kernels to end")
        return found.value != 0

    def _spare(self) -> int:
        """Four words that a kernel may write."""
        if not self._sink:
            self._sink = int(checked(driver.cuMemAlloc(16), "allocating 16 bytes on the card"))
        return self._sink

    def _kernel(self, name: str, text: bytes) -> Callable[..., Any]:
        if name not in self._loaded:
            with driver_calls(f"loading the kernel {name}"):
                self._loaded[name] = ObjectCode.from_ptx(text).get_kernel(name)
        return self._loaded[name]  # type: ignore[no-any-return]
