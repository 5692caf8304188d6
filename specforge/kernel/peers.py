"""Other implementations of a kernel's operation, to be timed beside it: what an author writes, and loading it.

A kernel folder may have a `peers.py` (kernel.yaml: `peers: peers.py`):

    from specforge.kernel.peers import Peer

    def torch_softmax(tensors, parameters, stream):
        import torch                       # inside: where it is missing, only this peer is absent

        x = tensors["x"]                   # the kernel's own buffers, as torch tensors
        torch.softmax(x, -1)               # warm up, compile, plan: outside the clock
        return lambda: {"out": torch.softmax(x, -1)}

    PEERS = {
        "torch_softmax": torch_softmax,
        "torch_half": Peer(make_half, tolerance_times=8, reason="accumulates in f16", packages=("torch", "triton")),
    }

A maker gets `tensors` (every input and output by name: views of the device memory, in the kernel's shapes and types;
blocks such as q4_k as uint8, bytes along the last axis), `parameters` (the case's scalars) and `stream` (a torch
stream, current during the call). It is called once for each cold copy of the tensors and returns a callable without
arguments that enqueues the work in that stream, and neither waits for the card nor changes an input. The callable
writes the outputs it was given and returns None, or it returns tensors of its own (a dict by output, or the one tensor
of the one output), which are compared instead: no copy is charged. A tensor of role inout is both: it may be updated
in place, and is as drawn again whenever the peer is checked. A maker that raises, ImportError and RuntimeError above
all, makes its peer absent, with the reason.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

Work = Callable[[], Any]
"""Enqueues one launch group's worth of work; returns None, a tensor, or tensors by output."""
Maker = Callable[[Mapping[str, Any], Mapping[str, Any], Any], Work]


@dataclass(frozen=True, slots=True)
class Peer:
    """A maker with what it needs said about it; options are literals, as they are read without running the file."""

    make: Maker
    tolerance_times: float = 1.0
    """Its error may be so many times the kernel's tolerance; above 1 with a reason.

    Where that has a `conditioned` part, its `relative` part is not widened: everybody rounds the output alike.
    """
    reason: str | None = None
    packages: tuple[str, ...] = ("torch",)
    """Distributions whose versions stand in the record."""


def load_peer(path: Path, name: str, sha256: str) -> Peer:
    """Execute a peers.py and give the peer of that name; for a worker, as this is somebody's host code.

    Raises ValueError where the file is not the one of that hash, KeyError where it has no such peer, and whatever the
    file raises.
    """
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{path} is no longer the file that the record names")
    module = ModuleType(f"peers_{path.parent.name}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where compilers of functions look for a function's source
    exec(compile(data, str(path), "exec", dont_inherit=True), module.__dict__)  # an import would write beside the file
    found = module.__dict__["PEERS"][name]
    return found if isinstance(found, Peer) else Peer(found)
