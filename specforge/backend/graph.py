"""Launches captured once and replayed as one piece of work: nothing of the host lies between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from cuda.bindings import driver

from specforge.backend.cuda_errors import checked


@contextmanager
def capture(stream: Any, enqueue: Callable[[], None], what: str) -> Iterator[Any]:  # noqa: ANN401 -- the driver's
    """What `enqueue` enqueues, as the driver's graph for the length of the block; `what` names it in an error."""
    handle = stream.handle
    mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    with ExitStack() as owned:
        checked(driver.cuStreamBeginCapture(handle, mode), f"starting the capture of {what}")
        try:
            enqueue()
        finally:  # a stream left capturing would take nothing else
            code, graph = driver.cuStreamEndCapture(handle)
            if graph is not None and int(graph):
                owned.callback(driver.cuGraphDestroy, graph)
        checked((code,), f"capturing {what}")
        yield graph


@contextmanager
def captured(stream: Any, enqueue: Callable[[], None]) -> Iterator[Callable[[], None]]:  # noqa: ANN401 -- cuda.core's Stream
    """What `enqueue` enqueues, as a graph for the length of the block; gives what enqueues one replay of it.

    Kernels launched as dependents get programmatic edges. Whatever is launched has run before: a kernel is not loaded
    during a capture. Raises KernelFault or CudaError; the graph is destroyed however the block ends.
    """
    handle = stream.handle
    with capture(stream, enqueue, "a graph") as graph, ExitStack() as owned:
        replay = checked(driver.cuGraphInstantiate(graph, 0), "instantiating a graph")
        owned.callback(driver.cuGraphExecDestroy, replay)
        owned.callback(driver.cuStreamSynchronize, handle)
        checked(driver.cuGraphUpload(replay, handle), "uploading a graph")
        yield lambda: checked(driver.cuGraphLaunch(replay, handle), "launching a graph")
