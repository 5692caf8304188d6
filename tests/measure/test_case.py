"""The course of a measurement, with a card whose kernels are numpy functions; tests/gpu does the same on a real one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from specforge.backend.buffers import lay_out
from specforge.backend.cuda import CudaRunner
from specforge.measure.case import MeasureTask, measure_case
from specforge.measure.floors import NODES, SAMPLES, measure_floors
from specforge.measure.stopping import StopRule
from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan, Tolerance
from specforge.verify.example import Example

Kernel = Callable[[dict[str, np.ndarray]], np.ndarray]


class NumpyCase:
    """Stands where DeviceCase does; keeps one set of inputs and as many outputs as there are copies."""

    def __init__(self, card: NumpyCard, plan: Plan, copies: Mapping[str, int]) -> None:
        self.plan, self.card, self.copies = plan, card, copies
        self.layout = lay_out(plan, copies=copies)
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

    def launch(self, rotation: int = 0, *, only: int | None = None, linked: bool = False, early: bool = False) -> None:
        if self.card.capturing is not None:
            self.card.capturing.append(lambda: self._launch(rotation, linked=linked, early=early))
        elif only is None or only == len(self.plan.launches) - 1:
            self._launch(rotation, linked=linked, early=early)

    def _launch(self, rotation: int, *, linked: bool, early: bool) -> None:
        self.card.launched.append(rotation)
        given = self.inputs
        if linked:
            waits = not early or self.card.waits_for_the_link
            taken = self.out[(rotation - 1) % self.copies["out"]]
            given = given | {"y": taken if waits else np.full_like(taken, np.nan)}
        self.out[rotation % self.copies["out"]] = self.card.kernel(given)

    def wait(self) -> None:
        pass

    def scrub(self, size: int, turn: int) -> None:
        self.card.scrubbed.append((size, turn))

    def warm(self) -> None:
        pass

    def outputs(self, rotation: int = 0) -> dict[str, np.ndarray]:
        return {"out": self.out[rotation % self.copies["out"]]}

    def violations(self, rotations: int = 1) -> tuple[str, ...]:
        return self.card.damage


class NumpyCard(CudaRunner):
    """A card whose launch groups take `seconds` each."""

    overlaps = True

    def __init__(self, kernel: Kernel, seconds: float = 20e-6) -> None:
        self.name, self.uuid, self.l2_bytes = "cuda:0 Test", "GPU-test", 1 << 20
        self.kernel, self.seconds = kernel, seconds
        self.launched: list[int] = []
        self.replaced: list[str] = []
        self.scrubbed: list[tuple[int, int]] = []
        self.capturing: list[Callable[[], None]] | None = None
        self.graphs = 0
        self.waits_for_the_link = True
        self.damage: tuple[str, ...] = ()
        self.free = 1 << 34

    def prepare(self, plan, binary, *, offset=0, copies=None, spare=0):  # type: ignore[no-untyped-def]
        return NumpyCase(self, plan, copies or {})

    def available_bytes(self) -> int:
        return self.free

    def reset_persisting_l2(self) -> None:
        pass

    @contextmanager
    def without_persisting_l2(self) -> Iterator[None]:
        yield

    def launch_empty(self, *, early: bool = False) -> None:
        if self.capturing is not None:
            self.capturing.append(lambda: self.launched.append(-1))
        else:
            self.launched.append(-1)

    def wait(self) -> None:
        pass

    @contextmanager
    def captured(self, enqueue: Callable[[], None]) -> Iterator[Callable[[], None]]:
        self.capturing = captured = []
        enqueue()
        self.capturing = None
        self.graphs += 1
        yield lambda: [work() for work in captured] and None
        self.graphs -= 1

    def time(self, works, *, ahead=None):  # type: ignore[no-untyped-def]
        found = []
        for number, work in enumerate(works):
            if ahead is not None:
                ahead(number)
            before = len(self.launched)
            work()
            found.append(self.seconds * (len(self.launched) - before))
        return found


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
    rule = StopRule(warmup_seconds=0.0, warmup_launches=5, batch=10, minimum=30)
    digest = hashlib.sha256(b"cubin").hexdigest()
    return MeasureTask(plan, str(tmp_path / "k.cubin"), digest, Example({}), 1e12, rule=rule)


def honest(inputs: dict[str, np.ndarray]) -> np.ndarray:
    return np.float32(3) * inputs["x"] + inputs["y"]


def test_an_honest_kernel(task: MeasureTask) -> None:
    card = NumpyCard(honest)
    seen = measure_case(card, task)
    assert seen.verified
    assert seen.refusal is None
    alone, among = seen.series["isolated"], seen.series["amortised"]
    assert (alone.groups, alone.median.value) == (1, 20e-6)
    assert among.groups == 64  # 50 to 60 groups make a good sample, 8 copies each have their turn
    assert among.median.value == pytest.approx(20e-6)
    assert (len(alone.samples), len(among.samples)) == (32, 24)
    assert alone.stop.converged
    assert seen.launches == {}
    assert seen.copies == {"x": 8, "y": 1, "out": 8}
    assert (seen.cold, card.graphs, card.replaced) == ("proven", 0, ["y"])


def test_every_isolated_launch_is_on_the_next_copy(task: MeasureTask) -> None:
    card = NumpyCard(honest)
    measure_case(card, replace(task, modes=("isolated",)))
    assert card.launched == list(range(len(card.launched)))


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
    assert (seen.series, seen.refusal, seen.verified) == ({}, "not timed: the result is wrong", False)


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


def test_faster_than_memory_is_not_proven_cold(task: MeasureTask) -> None:
    seen = measure_case(NumpyCard(honest, seconds=0.2e-6), task)  # 1.3 TB/s where memory gives 1
    assert seen.cold == "unproven"
    assert any("1.311 TB/s (isolated)" in note for note in seen.notes), seen.notes
    unknown = measure_case(NumpyCard(honest), replace(task, memory_bandwidth=None))
    assert unknown.cold == "unproven"
    assert any("nobody knows" in note for note in unknown.notes)


def test_all_hot(task: MeasureTask) -> None:
    buffers = tuple(replace(buffer, residency="hot") for buffer in task.plan.buffers)
    card = NumpyCard(honest, seconds=0.2e-6)
    seen = measure_case(card, replace(task, plan=replace(task.plan, buffers=buffers)))
    assert (seen.cold, seen.rotated_bytes, card.scrubbed) == ("hot", 0, [])


def test_small_cold_tensors_are_scrubbed(task: MeasureTask) -> None:
    """Ahead of every isolated launch some bytes, ahead of every replay and every batch all of it."""
    buffers = tuple(replace(buffer, shape=(8,)) for buffer in task.plan.buffers)
    card = NumpyCard(honest)
    seen = measure_case(card, replace(task, plan=replace(task.plan, buffers=buffers)))
    whole = 4 * card.l2_bytes
    small = [turn for size, turn in card.scrubbed if size < whole]
    assert seen.series["amortised"].groups <= 1024
    assert len(small) >= 30 + 10
    assert sum(size == whole for size, _ in card.scrubbed) >= 30
    assert seen.rotated_bytes >= whole
    assert seen.cold == "proven"


def test_two_launches_are_timed_one_by_one_too(task: MeasureTask) -> None:
    launch = task.plan.launches[0]
    plan = replace(task.plan, launches=(replace(launch, entry="split"), launch, launch))
    seen = measure_case(NumpyCard(honest), replace(task, plan=plan))
    assert list(seen.launches) == ["split", "saxpy", "saxpy#2"]
    assert len({len(series.samples) for series in seen.launches.values()}) == 1
    assert seen.launches["saxpy#2"].median.value == 20e-6  # in this card's time, only the last launch does anything
    assert seen.launches["split"].median.value == 0
    assert seen.verified


def chained(task: MeasureTask) -> MeasureTask:
    """out = 3 x + y, the next group's y: the reference of a link is that of the case."""
    return replace(task, plan=replace(task.plan, chain={"y": "out"}), modes=("isolated", "amortised", "overlapped"))


def test_a_chain(task: MeasureTask) -> None:
    seen = measure_case(NumpyCard(honest), chained(task))
    assert seen.verified, seen.after
    assert list(seen.series) == ["isolated", "amortised", "overlapped"]
    assert seen.notes == ()


def test_a_link_that_does_not_wait(task: MeasureTask) -> None:
    card = NumpyCard(honest)
    card.waits_for_the_link = False
    seen = measure_case(card, chained(task))
    assert seen.after is not None
    assert seen.after.kind == "wrong"
    assert "a grid_wait() is missing" in (seen.after.failure or "")
    assert "overlapped" not in seen.series
    assert card.graphs == 0


@pytest.mark.parametrize("waits", [True, False])
def test_a_chain_whose_bits_vary(task: MeasureTask, waits: bool) -> None:
    """Links that overlap are checked with the reference alone; what they read too early is no number."""
    noise = np.random.default_rng(1)

    def shaky(inputs: dict[str, np.ndarray]) -> np.ndarray:
        return honest(inputs) * np.float32(1 + noise.choice([0.0, 2.0**-23]))

    card = NumpyCard(shaky)
    card.waits_for_the_link = waits
    seen = measure_case(card, chained(task))
    assert seen.verified is waits, seen.after
    assert ("overlapped" in seen.series) is waits
    if waits:
        assert any("bits vary" in note for note in seen.notes)
    else:
        assert seen.after is not None
        assert "a grid_wait() is missing" in (seen.after.failure or "")


def test_a_chain_that_runs_out_of_range(task: MeasureTask) -> None:
    reference = Path(task.plan.reference)
    reference.write_text('def reference(*, x, y):\n    return {"out": 1e20 * y}\n')

    def grows(inputs: dict[str, np.ndarray]) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.float32(1e20) * inputs["y"]

    seen = measure_case(NumpyCard(grows), chained(task))
    assert seen.verified
    assert "overlapped" not in seen.series
    assert any("no longer finite" in note for note in seen.notes)


def test_a_chain_on_a_card_without_dependent_launches(task: MeasureTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NumpyCard, "overlaps", False)
    seen = measure_case(NumpyCard(honest), chained(task))
    assert seen.verified
    assert seen.notes == ("not overlapped: cuda:0 Test knows no dependent launches",)


def test_nothing_to_time_is_a_refusal(task: MeasureTask) -> None:
    seen = measure_case(NumpyCard(honest), replace(task, modes=("overlapped",)))
    assert "none of the modes" in (seen.refusal or "")
    assert not seen.verified


def test_floors() -> None:
    card = NumpyCard(honest, seconds=1e-6)
    found = measure_floors(card)
    assert found.event_overhead == 0
    assert found.null == pytest.approx({"isolated": 1e-6, "amortised": 1e-6, "overlapped": 1e-6})
    assert len(card.launched) > 2 * SAMPLES * NODES
    assert card.graphs == 0


def test_large_hot_inputs_keep_their_values(task: MeasureTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specforge.measure.answers.FRESH_BYTES", task.plan.buffer("y").nbytes - 1)
    card = NumpyCard(honest)
    assert measure_case(card, task).verified
    assert card.replaced == []


def test_another_binary_is_refused(task: MeasureTask) -> None:
    card = NumpyCard(honest)
    with pytest.raises(ValueError, match="SHA-256"):
        measure_case(card, replace(task, binary_sha256="0" * 64))
    assert card.launched == []
