"""The driver API for the programs that other tools run: a cubin loaded, its tensors placed, its launches bound.

It shares no code with SpecForge's own way of launching, so that the two can disagree.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cuda.bindings import driver

NOISE = 1 << 20
"""Bytes of random input, repeated: zeros make some cards faster than data does."""


def checked(answer: tuple[Any, ...]) -> Any:  # noqa: ANN401 -- whatever the call gives beside its status
    """The values that a driver call returned; raises RuntimeError with its status otherwise."""
    status, *values = answer
    if int(status) != 0:
        raise RuntimeError(f"the driver reports {status!r}")
    return values[0] if len(values) == 1 else values


def start() -> int:
    """Make the first card current in this thread, whoever else uses its primary context; returns its L2 in bytes."""
    checked(driver.cuInit(0))
    device = checked(driver.cuDeviceGet(0))
    checked(driver.cuCtxSetCurrent(checked(driver.cuDevicePrimaryCtxRetain(device))))
    return int(
        checked(driver.cuDeviceGetAttribute(driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, device))
    )


def bind(job: dict[str, Any], copies: int) -> Callable[[int], None]:
    """Load the job's kernel and place `copies` of its cold tensors; returns what launches the next turn on a stream.

    Arguments are packed once per copy, so that a launch is a single call of the driver.
    """
    library = checked(driver.cuModuleLoadData(Path(job["cubin"]).read_bytes()))
    kernel = checked(driver.cuModuleGetFunction(library, job["entry"].encode()))
    tensors = {name: _place(tensor, copies) for name, tensor in job["tensors"].items()}
    packed = [
        _pack(job["arguments"], {name: at[turn % len(at)] for name, at in tensors.items()}) for turn in range(copies)
    ]
    turns = itertools.cycle(pointers for _, pointers in packed)
    grid, block = job["grid"], job["block"]

    def launch(stream: int) -> None:
        checked(driver.cuLaunchKernel(kernel, *grid, *block, 0, stream, next(turns), 0))

    launch.keep = packed  # type: ignore[attr-defined]  # the driver reads them from here
    return launch


def capture(launch: Callable[[int], None], count: int) -> Callable[[int], None]:
    """A graph of `count` launches, one after the other, as something that is launched itself."""
    stream = checked(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
    checked(driver.cuStreamBeginCapture(stream, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED))
    for _ in range(count):
        launch(int(stream))
    graph = checked(driver.cuGraphInstantiate(checked(driver.cuStreamEndCapture(stream)), 0))

    def replay(into: int) -> None:
        checked(driver.cuGraphLaunch(graph, into))

    return replay


def _place(tensor: dict[str, Any], copies: int) -> list[int]:
    import numpy as np

    size, count = tensor["bytes"], copies if tensor["cold"] else 1
    noise = np.random.default_rng(0).integers(0, 256, min(size, NOISE), np.uint8) if tensor["input"] else None
    found = []
    for _ in range(count):
        address = int(checked(driver.cuMemAlloc(size)))
        if noise is None:
            checked(driver.cuMemsetD8(address, 0xFF, size))
        else:
            for offset in range(0, size, len(noise)):
                checked(driver.cuMemcpyHtoD(address + offset, noise.ctypes.data, min(len(noise), size - offset)))
        found.append(address)
    return found


def _pack(arguments: list[Any], tensors: dict[str, int]) -> tuple[list[Any], int]:
    """Values that stay alive, and the address of the array of pointers to them that a launch takes."""
    values = [
        ctypes.c_void_p(tensors[argument]) if isinstance(argument, str) else ctypes.c_int(argument)
        for argument in arguments
    ]
    pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
    return [*values, pointers], ctypes.addressof(pointers)
