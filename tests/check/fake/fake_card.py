"""A card that is not there: every launch does what the reference says, at a speed that follows from the case alone.

It stands where CudaRunner does, in the worker processes of a whole command (`fake_check.py`). What a case does wrong
when it is measured is said by the environment variable FAKE_FAULTS: a JSON mapping from a text that stands in
`str(parameters)` to `hang`, `crash`, `illegal`, `memory`, `once` (trouble the first time) or `lost` (from then on no
process can use the card).
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np

from specforge.backend.buffers import lay_out
from specforge.backend.cuda import CudaRunner
from specforge.backend.probe import LiveCard, Probe
from specforge.backend.runner import KernelFault, Runner, create_runner
from specforge.verify.compare import stored
from specforge.verify.reference import call_reference

UUID = "GPU-fake"
CARD = LiveCard(
    0, "NVIDIA H100 80GB HBM3", UUID, "9.0", "580.00", "13.0", 80 << 30, None, True, False, 700.0, 1.98e9, 2.6e9
)


def probe() -> Probe:
    return Probe((CARD,), None)


def lost() -> Path:
    return Path(os.environ["SPECFORGE_STATE"]) / "lost"


def create(name: str) -> Runner:
    if name == "emulator":
        return create_runner(name)
    if lost().exists():
        raise RuntimeError("no CUDA-capable device is detected")
    assert name == "cuda:0"
    return FakeCard()


def stand_in(worker: ModuleType) -> None:
    """Have this process's workers find this card, and theirs."""
    worker._CHILD = (  # type: ignore[attr-defined]
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}, sys.argv[2]]; import fake_card; "
        "from specforge.backend import serve, worker; fake_card.stand_in(worker); "
        "serve.create_runner = fake_card.create; serve.main(int(sys.argv[1]))"
    )


class FakeCase:
    def __init__(self, card: FakeCard, plan, copies: Mapping[str, int] | None) -> None:  # type: ignore[no-untyped-def]
        self.plan, self._card, self._timed = plan, card, copies is not None
        self.layout = lay_out(plan, copies=copies)
        self._inputs: dict[str, np.ndarray] = {}
        self._answer: dict[str, np.ndarray] | None = None
        self._written = False

    def upload(self, inputs: Mapping[str, np.ndarray]) -> None:
        self._inputs, self._answer = dict(inputs), None

    def replace(self, inputs: Mapping[str, np.ndarray]) -> None:
        self._inputs, self._answer = self._inputs | dict(inputs), None

    def poison(self) -> None:
        self._written = False

    def restore(self) -> None:
        pass

    def held(self, rotation: int) -> dict[str, np.ndarray]:
        return {name: self._inputs[name] for name in self.plan.updated}

    def launch(self, rotation: int = 0, *, only: int | None = None, linked: bool = False, early: bool = False) -> None:
        self._card.groups += 1
        self._written = True

    def wait(self) -> None:
        if self._timed:
            misbehave(self.plan.parameters)

    def scrub(self, size: int, turn: int) -> None:
        pass

    def warm(self) -> None:
        pass

    def outputs(self, rotation: int = 0) -> dict[str, np.ndarray]:
        if self._answer is None:
            self._answer = call_reference(self.plan, self._inputs)
        outs = [buffer for buffer in self.plan.buffers if buffer.is_judged]
        found = {buffer.name: stored(buffer, self._answer) for buffer in outs}
        return found if self._written else {name: np.full_like(array, -1) for name, array in found.items()}

    def violations(self, rotations: int = 1) -> tuple[str, ...]:
        return ()


def misbehave(parameters: Mapping[str, object]) -> None:
    for text, fault in json.loads(os.environ.get("FAKE_FAULTS", "{}")).items():
        if text not in str(parameters):
            continue
        mark = Path(os.environ["SPECFORGE_STATE"]) / f"once-{zlib.crc32(text.encode())}"
        if fault == "hang":
            time.sleep(3600)
        elif fault == "crash":
            os.abort()
        elif fault == "illegal":
            raise KernelFault("illegal access", "an illegal memory access was encountered", poisoned=True)
        elif fault == "memory" or (fault == "once" and not mark.exists()):
            mark.touch()
            raise MemoryError("CUDA_ERROR_OUT_OF_MEMORY")
        elif fault == "lost":
            lost().touch()
            raise RuntimeError("CUDA_ERROR_DEVICE_UNAVAILABLE")


class FakeCard(CudaRunner):
    overlaps = False

    def __init__(self) -> None:
        self.name, self.uuid, self.l2_bytes = "cuda:0 NVIDIA H100 80GB HBM3", UUID, 1 << 16
        self.groups = 0
        self.seconds = 20e-6
        self._own = SimpleNamespace(sweep=None)

    def prepare(self, plan, binary, *, offset=0, copies=None, spare=0):  # type: ignore[no-untyped-def]
        time.sleep(0.05)  # a case takes a while, so that a kill meets it in the midst
        self.seconds = 20e-6 + zlib.crc32(repr(plan.parameters).encode()) % 1000 * 1e-8
        return FakeCase(self, plan, copies)

    def available_bytes(self) -> int:
        return 1 << 36

    def reset_persisting_l2(self) -> None:
        pass

    @contextmanager
    def without_persisting_l2(self) -> Iterator[None]:
        yield

    def launch_empty(self, *, early: bool = False) -> None:
        self.groups += 1

    def wait(self) -> None:
        pass

    @contextmanager
    def captured(self, enqueue: Callable[[], None]) -> Iterator[Callable[[], None]]:
        yield enqueue

    def time(self, works, *, ahead=None):  # type: ignore[no-untyped-def]
        found = []
        for number, work in enumerate(works):
            before = self.groups
            work()
            found.append(self.seconds * (self.groups - before) * (1 + number % 7 / 1000))
        return found
