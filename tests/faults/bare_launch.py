"""Launches a kernel with nothing around it, for compute-sanitizer to watch: every tensor is an allocation of its own.

A script that needs numpy and cuda.bindings only: `python bare_launch.py JOB...`. A job is a pickle of
`{"cubin": bytes, "cases": [[tensors, launches]]}`; tensors maps names to an array (an input) or a number of bytes,
launches are (entry, grid, block, shared bytes, arguments), each argument a tensor's name, or the name of a ctypes type
and a value.
"""

from __future__ import annotations

import ctypes
import pickle
import sys
from pathlib import Path

from cuda.bindings import driver


def checked(answer, what):
    """The results of a driver call, without the code; raises RuntimeError with the error's name."""
    code, *results = answer
    if code != driver.CUresult.CUDA_SUCCESS:
        raise RuntimeError(f"{what}: {code.name}")
    return results[0] if results else None


def run(library, tensors, launches):
    """Allocate, copy, launch in order, wait, free. What outputs and scratch hold before is left to the driver."""
    addresses = {}
    for name, content in tensors.items():
        size = content if isinstance(content, int) else content.nbytes
        addresses[name] = checked(driver.cuMemAlloc(size), "allocating")
        if not isinstance(content, int):
            checked(driver.cuMemcpyHtoD(addresses[name], content.ctypes.data, size), "copying")
    for entry, grid, block, shared, arguments in launches:
        function = checked(driver.cuModuleGetFunction(library, entry.encode()), "finding the entry")
        values = tuple(int(addresses[given]) if isinstance(given, str) else given[1] for given in arguments)
        types = tuple(ctypes.c_void_p if isinstance(given, str) else getattr(ctypes, given[0]) for given in arguments)
        checked(driver.cuLaunchKernel(function, *grid, *block, shared, 0, (values, types), 0), "launching")
    checked(driver.cuCtxSynchronize(), "waiting")
    for address in addresses.values():
        checked(driver.cuMemFree(address), "freeing")


def main(jobs):
    """Run every case of every job in one context, up to the first that ruins it."""
    checked(driver.cuInit(0), "starting")
    device = checked(driver.cuDeviceGet(0), "finding the card")
    context = checked(driver.cuDevicePrimaryCtxRetain(device), "making a context")
    checked(driver.cuCtxSetCurrent(context), "using it")
    for path in jobs:
        job = pickle.loads(Path(path).read_bytes())
        library = checked(driver.cuModuleLoadData(job["cubin"]), "loading")
        for tensors, launches in job["cases"]:
            run(library, tensors, launches)
        print(f"ran {Path(path).stem}", flush=True)
    checked(driver.cuDevicePrimaryCtxRelease(device), "releasing the context")  # some tools report only here


if __name__ == "__main__":
    main(sys.argv[1:])
