"""The course of a measurement, with a card whose kernels are numpy functions; tests/gpu does the same on a real one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from specforge.backend.cuda import CudaRunner
from specforge.measure.case import MeasureTask, measure_case
from specforge.measure.timing import StopRule
from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan, Tolerance
from specforge.verify.example import Example

Kernel = Callable[[dict[str, np.ndarray]], np.ndarray]


class NumpyCase:
    """Stands where DeviceCase does; keeps one set of inputs and an output per rotation."""

    def __init__(self, card: NumpyCard, plan: Plan, copies: Mapping[str, int]) -> None:
        self.plan, self.card, self.copies = plan, card, copies
        self.inputs: dict[str, np.ndarray] = {}
        self.out: dict[int, np.ndarray] = {}

    def upload(self, inputs: Mapping[str, np.ndarray]) -> None:
        self.inputs = dict(inputs)

    def replace(self, inputs: Mapping[str, np.ndarray]) -> None:
        self.card.replaced += list(inputs)
        self.inputs |= inputs

    def poison(self) -> None:
        shape = self.plan.buffer("out").shape
        self.out = {copy: np.full(shape, np.nan, np.float32) for copy in range(self.copies["out"])}

    def launch(self, rotation: int = 0) -> None:
        self.card.launched.append(rotation)
        self.out[rotation % self.copies["out"]] = self.card.kernel(self.inputs)

    def wait(self) -> None:
        self.card.waits += 1

    def scrub(self, size: int, turn: int) -> None:
        self.card.scrubbed.append((size, turn))

    def outputs(self, rotation: int = 0) -> dict[str, np.ndarray]:
        return {"out": self.out[rotation % self.copies["out"]]}

    def violations(self, rotations: int = 1) -> tuple[str, ...]:
        return self.card.damage


class NumpyCard(CudaRunner):
    def __init__(self, kernel: Kernel, seconds: float = 20e-6) -> None:
        self.name, self.uuid, self.l2_bytes = "cuda:0 Test", "GPU-test", 1 << 20
        self.kernel, self.seconds = kernel, seconds
        self.launched: list[int] = []
        self.replaced: list[str] = []
        self.scrubbed: list[tuple[int, int]] = []
        self.damage: tuple[str, ...] = ()
        self.free = 1 << 34
        self.waits = 0

    def prepare(self, plan, binary, *, offset=0, copies=None, spare=0):  # type: ignore[no-untyped-def]
        return NumpyCase(self, plan, copies or {})

    def available_bytes(self) -> int:
        return self.free

    def reset_persisting_l2(self) -> None:
        pass

    def launch_empty(self) -> None:
        pass

    def wait(self) -> None:
        pass

    def time(self, works: Sequence[Callable[[], None]], ahead: Callable[[int], None] | None = None) -> list[float]:
        for number, work in enumerate(works):
            if ahead is not None:
                ahead(number)
            work()
        return [self.seconds] * len(works)


@pytest.fixture
def task(tmp_path: Path) -> MeasureTask:
    (tmp_path / "reference.py").write_text('def reference(*, x, y):\n    return {"out": 3.0 * x + y}\n')
    (tmp_path / "k.cubin").write_bytes(b"cubin")
    n = 1 << 16
    buffers = (
        BufferPlan("x", (n,), "f32", "in", ("normal",), "cold", ()),
        BufferPlan("y", (n,), "f32", "in", ("normal",), "hot", ()),
        BufferPlan("out", (n,), "f32", "out", (), "cold", ()),
    )
    launch = LaunchPlan("saxpy", (1, 1, 1), (32, 1, 1), 0, ("x", "y", "out", 3.0, n))
    tolerance = {"out": Tolerance(False, relative=1e-5, absolute=1e-5)}
    plan = Plan("k", str(tmp_path / "reference.py"), {}, {}, buffers, (launch,), 12.0 * n, 2.0 * n, n, tolerance)
    rule = StopRule(warmup_seconds=0.0, warmup_launches=5, batch=10)
    digest = hashlib.sha256(b"cubin").hexdigest()
    return MeasureTask(plan, str(tmp_path / "k.cubin"), digest, Example({}), 1e12, 1e15, rule)


def honest(inputs: dict[str, np.ndarray]) -> np.ndarray:
    return np.float32(3) * inputs["x"] + inputs["y"]


def test_an_honest_kernel(task: MeasureTask) -> None:
    card = NumpyCard(honest)
    seen = measure_case(card, task)
    assert seen.verified
    assert seen.refusal is None
    assert (seen.median, len(seen.samples), seen.warmup, seen.converged) == (20e-6, 30, 10, True)
    assert seen.copies == {"x": 8, "y": 1, "out": 8}
    assert card.launched == list(range(41))  # the check, then every launch on the next copy
    assert card.replaced == ["y"]
    assert not seen.implausible
    assert seen.floor == pytest.approx(4 * (1 << 16) / 1e12)


def test_a_kernel_that_remembers_the_check(task: MeasureTask) -> None:
    memory: list[np.ndarray] = []

    def remembers(inputs: dict[str, np.ndarray]) -> np.ndarray:
        memory.append(honest(inputs))
        return memory[0]

    seen = measure_case(NumpyCard(remembers), task)
    assert seen.before is not None
    assert seen.before.passed
    assert seen.after is not None
    assert seen.after.kind == "wrong"
    assert not seen.verified


def test_a_kernel_that_is_lazy_once_checked(task: MeasureTask) -> None:
    calls: list[int] = []

    def lazy(inputs: dict[str, np.ndarray]) -> np.ndarray:
        calls.append(1)
        return honest(inputs) if len(calls) == 1 else np.full_like(inputs["x"], np.nan)

    assert not measure_case(NumpyCard(lazy), task).verified


def test_a_wrong_kernel_is_not_timed(task: MeasureTask) -> None:
    card = NumpyCard(lambda inputs: honest(inputs) * np.float32(1.01))
    seen = measure_case(card, task)
    assert card.launched == [0]
    assert (seen.samples, seen.refusal, seen.verified) == ((), "not timed: the result is wrong", False)


def test_damage_is_no_success(task: MeasureTask) -> None:
    card = NumpyCard(honest)
    card.damage = ("out: 4 bytes overwritten past its end",)
    seen = measure_case(card, task)
    assert seen.before is not None
    assert (seen.before.kind, seen.before.failure) == ("violation", card.damage[0])


def test_short_memory_is_refused(task: MeasureTask) -> None:
    card = NumpyCard(honest)
    card.free = 1 << 20
    seen = measure_case(card, task)
    assert card.launched == []
    assert "GiB are needed" in (seen.refusal or "")


def test_too_fast_is_implausible(task: MeasureTask) -> None:
    assert measure_case(NumpyCard(honest, seconds=0.2e-6), task).implausible
    unknown = replace(task, memory_bandwidth=None)
    assert not measure_case(NumpyCard(honest, seconds=0.2e-6), unknown).implausible


def test_small_cold_tensors_are_scrubbed_before_every_timed_launch(task: MeasureTask) -> None:
    buffers = tuple(replace(buffer, shape=(8,)) for buffer in task.plan.buffers)
    card = NumpyCard(honest)
    seen = measure_case(card, replace(task, plan=replace(task.plan, buffers=buffers)))
    assert seen.scrub_bytes > 0
    assert [turn for _, turn in card.scrubbed] == list(range(1, 41))


def test_large_hot_inputs_keep_their_values(task: MeasureTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specforge.measure.case.FRESH_BYTES", task.plan.buffer("y").nbytes - 1)
    card = NumpyCard(honest)
    assert measure_case(card, task).verified
    assert card.replaced == []


def test_another_binary_is_refused(task: MeasureTask) -> None:
    card = NumpyCard(honest)
    with pytest.raises(ValueError, match="SHA-256"):
        measure_case(card, replace(task, binary_sha256="0" * 64))
    assert card.launched == []
