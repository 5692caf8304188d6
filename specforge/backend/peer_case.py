"""A peer's work where a kernel's launch group stands: the same memory and stream, as PyTorch sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from cuda.bindings import driver

from specforge.backend.cuda_errors import CudaError, checked
from specforge.backend.device_case import DeviceCase
from specforge.backend.graph import capture

if TYPE_CHECKING:
    import numpy as np

    from specforge.expressions import Scalar
    from specforge.kernel.peers import Peer
    from specforge.spec.geometry import BufferPlan

TORCH_TYPES = {
    "f32": "float32",
    "f16": "float16",
    "bf16": "bfloat16",
    "i32": "int32",
    "i8": "int8",
    "u8": "uint8",
    "u32": "uint32",
    "i64": "int64",
}
UNKNOWN_OPERATIONS = 32
"""How many operations of the driver's queue a peer is taken to need where a capture does not tell."""


class PeerUnusable(Exception):
    """The peer cannot be measured for this case; the text says why."""


class PeerCase(DeviceCase):
    """A case whose launch group is what a peer enqueues; tensors, copies, poison and guards are the case's own.

    Rotation r is the work that the peer's maker made of copy r. What a work returns is kept until its rotation's next
    turn, so that no two rotations share an output.
    """

    def __init__(self, case: DeviceCase, ordinal: int) -> None:
        import torch

        vars(self).update(vars(case))  # one case, not a second one beside it
        self._torch: Any = torch
        self._device = torch.device("cuda", ordinal)
        self._external = torch.cuda.ExternalStream(int(case._stream.handle), device=self._device)
        self._works: list[Callable[[], Any]] = []
        self._returned: dict[int, dict[str, Any]] = {}

    def make(self, peer: Peer, parameters: Mapping[str, Scalar], rotations: int) -> None:
        """Have the peer make its work for each rotation, and run each twice: what is loaded or compiled is so then.

        The second time, an operation that waits for the card is refused: timed launches stand behind a held stream.
        Raises PeerUnusable, or a KernelFault that comes up.
        """
        for rotation in range(rotations):
            with self._current():
                work = _attempt(partial(peer.make, self._tensors(rotation), dict(parameters), self._external))
            if not callable(work):
                raise PeerUnusable(f"its maker returned a {type(work).__name__}; something to call is due")
            self._works.append(work)
        for rotation in range(rotations):
            _attempt(partial(self.launch, rotation))
        self.wait()
        mode = self._torch.cuda.get_sync_debug_mode()
        self._torch.cuda.set_sync_debug_mode("error")
        try:
            for rotation in range(rotations):
                _attempt(partial(self.launch, rotation))
        finally:
            self._torch.cuda.set_sync_debug_mode(mode)
        self.wait()

    def measure_length(self) -> str | None:
        """Count the operations of one work, for how many works make a graph; why it cannot be captured, if so."""
        try:
            count, reason = max(1, _operations(self._stream, self.launch)), None
        except Exception as error:
            count, reason = UNKNOWN_OPERATIONS, describe(error)
        self.plan = replace(self.plan, launches=self.plan.launches[:1] * count, chain={})
        return reason

    def launch(self, rotation: int = 0, *, only: int | None = None, linked: bool = False, early: bool = False) -> None:
        """Enqueue the peer's work on one rotation; it is one whole, and starts when the one ahead has ended."""
        slot = rotation % len(self._works)
        with self._current():
            self._returned[slot] = self._named(self._works[slot]())

    def outputs(self, rotation: int = 0) -> dict[str, np.ndarray]:
        """What a rotation wrote or returned: the latter in the peer's own types, in the plan's shapes."""
        found = super().outputs(rotation)
        with self._current():
            for name, tensor in self._returned.get(rotation % len(self._works), {}).items():
                found[name] = self._as_array(tensor, self.plan.buffer(name))
        return found

    def release(self) -> None:
        """Let go of the peer's works and of torch's memory, for the next one."""
        self._works, self._returned = [], {}
        with suppress(RuntimeError):  # in a ruined process nothing can be given back
            self._torch.cuda.empty_cache()

    @contextmanager
    def _current(self) -> Iterator[None]:
        torch = self._torch
        with torch.cuda.device(self._device), torch.cuda.stream(self._external), torch.no_grad():
            yield

    def _tensors(self, rotation: int) -> dict[str, Any]:
        places = self.layout.places
        return {
            buffer.name: self._view(self._base + places[buffer.name].address(rotation), buffer)
            for buffer in self.plan.buffers
            if buffer.role != "scratch"
        }

    def _view(self, address: int, buffer: BufferPlan) -> Any:  # noqa: ANN401 -- a torch tensor
        """The bytes at an address as a tensor; through bytes, as the interface has no name for bf16."""
        torch = self._torch
        flat = torch.as_tensor(_Bytes(address, buffer.nbytes), device=self._device)
        if flat.data_ptr() != address:
            raise PeerUnusable("this torch copies the memory instead of viewing it")
        if buffer.element.is_block:
            return flat.view(buffer.stored_shape)
        return flat.view(getattr(torch, TORCH_TYPES[buffer.dtype])).view(buffer.shape)

    def _named(self, returned: Any) -> dict[str, Any]:  # noqa: ANN401 -- whatever somebody's work returns
        outputs = [buffer.name for buffer in self.plan.buffers if buffer.is_judged]
        if returned is None:
            return {}
        if isinstance(returned, self._torch.Tensor) and len(outputs) == 1:
            return {outputs[0]: returned}
        if isinstance(returned, dict) and set(returned) <= set(outputs):
            return returned
        due = f"None, or a dict of tensors by output ({', '.join(outputs)})"
        given = f"a dict of {', '.join(map(str, returned))}" if isinstance(returned, dict) else type(returned).__name__
        raise PeerUnusable(f"it returned {given}; {due} is due")

    def _as_array(self, tensor: Any, buffer: BufferPlan) -> np.ndarray:  # noqa: ANN401 -- a torch tensor
        given = f"{tuple(tensor.shape)} of {tensor.dtype}"
        if tensor.numel() * buffer.element.size != buffer.nbytes:
            raise PeerUnusable(f"it returned {buffer.name} as {given}; {buffer.shape} is due")
        if tensor.dtype.is_floating_point != buffer.element.is_float:
            raise PeerUnusable(f"it returned {buffer.name} as {given}; {buffer.dtype} is due")
        plain = tensor.detach().reshape(buffer.shape).cpu()
        array: np.ndarray = (plain.float() if plain.dtype == self._torch.bfloat16 else plain).numpy()
        return array


class _Bytes:
    """Device memory for whoever reads the CUDA array interface."""

    def __init__(self, address: int, size: int) -> None:
        self.__cuda_array_interface__ = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (address, False),
            "strides": None,
            "version": 2,
        }


def describe(error: BaseException) -> str:
    """An exception of somebody's code in one line: an unusable peer's own words, else what kind it is and its first."""
    text = " ".join(str(error).split("\n\n")[0].split())[:300]
    if isinstance(error, PeerUnusable | CudaError) or (type(error) is RuntimeError and text):
        return text
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"the Python package {error.name} is not installed"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _attempt(work: Callable[[], Any]) -> Any:  # noqa: ANN401 -- whatever it returns
    """Somebody's code, whose every failure makes the peer unusable and nothing else."""
    try:
        return work()
    except Exception as error:
        raise PeerUnusable(describe(error)) from error


def _operations(stream: Any, enqueue: Callable[[], None]) -> int:  # noqa: ANN401 -- cuda.core's Stream
    """Nodes of the graph that a capture of the work makes; it is thrown away."""
    with capture(stream, enqueue, "a peer's work") as graph:
        _, count = checked(driver.cuGraphGetNodes(graph), "counting a graph's nodes")
    return int(count)
