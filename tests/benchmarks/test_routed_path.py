"""The routed path without a card: its wiring over the real kernels, its course on an imagined card, its section."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import routed_path
from benchmarks.joined import PathTask, Stage, drawn, expected, join, measure_path
from benchmarks.measurement import command, result
from benchmarks.measurement.subject import ROOTS
from specforge.backend.buffers import check_inputs, lay_out
from specforge.backend.cuda import CudaRunner
from specforge.backend.emulated import EmulatorRunner
from specforge.backend.probe import LiveCard
from specforge.measure.stopping import StopRule
from specforge.roots import shipped
from specforge.spec.facts import load_device
from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan, Tolerance
from specforge.spec.interface import find_kernel
from specforge.verify.example import Example, plan_example
from tests.measure.test_case import NumpyCard

CARD = LiveCard(0, "NVIDIA H100 80GB HBM3", "GPU-0", "9.0", "580", "13.0", 1 << 36, None, None, None, None, None, None)
H100 = load_device(shipped() / "specs" / "devices" / "h100_sxm.yaml")
SIZE = 1 << 16
Arrays = dict[str, np.ndarray]

# --- the wiring -------------------------------------------------------------------------------------------------------


def stages_of(name: str) -> tuple[Stage, ...]:
    """A path's stages, planned and not compiled."""
    links = routed_path.paths(quick=False)[name]
    plans = [plan_example(find_kernel(one.kernel, ROOTS), Example(one.parameters), H100.names) for _, one, _ in links]
    return tuple(Stage(name, plan, f"{name}.cubin", reads) for (name, _, reads), plan in zip(links, plans, strict=True))


@pytest.mark.parametrize("name", routed_path.paths(quick=False))
def test_every_path_is_one_plan(name: str) -> None:
    stages = stages_of(name)
    plan = join(stages)
    normed = len(stages) == 3
    entries = ["rms_norm"] * normed + ["route", "gate_up", "combine"]
    assert [launch.entry for launch in plan.launches] == entries
    known = {buffer.name for buffer in plan.buffers}
    assert {arg for launch in plan.launches for arg in launch.args if isinstance(arg, str)} == known
    _, combine = plan.launches[-2:]
    residual = "norm.sum" if normed else "experts.residual"
    assert {"router.ids", "router.weights", residual, "experts.out"} < {*combine.args}
    assert plan.launches[-3].args[0] == ("norm.y" if normed else "router.x")
    roles = {buffer.name: (buffer.role, buffer.residency) for buffer in plan.buffers}
    assert roles["router.ids"] == roles["router.weights"] == ("out", "hot")
    assert roles["router.finished"] == ("in", "hot")  # a counter that must be 0 again
    assert roles["experts.gate"] == roles["router.w"] == ("in", "cold")
    assert plan.updated == ()
    assert set(plan.tolerances) >= {buffer.name for buffer in plan.buffers if buffer.is_judged}
    assert plan.bytes == sum(stage.plan.bytes for stage in stages)


def test_what_does_not_fit_is_refused() -> None:
    router, experts = stages_of("Qwen3.5-35B-A3B, 1 token, router, experts")
    with pytest.raises(ValueError, match=r"experts reads router\.ids for ids, which no stage ahead of it writes"):
        join([experts, router])
    with pytest.raises(ValueError, match=r"experts reads router\.w for ids"):
        join([router, replace(experts, reads={"ids": "router.w"})])
    with pytest.raises(ValueError, match=r"takes ids as i32\[1, 8\]; router\.weights is f32\[1, 8\]"):
        join([router, replace(experts, reads={"ids": "router.weights"})])
    with pytest.raises(ValueError, match="two stages have an entry of one name"):
        join([router, replace(router, name="again")])


# --- its course on an imagined card -----------------------------------------------------------------------------------


def stage(folder: Path, name: str, formula: str, given: tuple[str, str], reads: Mapping[str, str]) -> Stage:
    """A stage of one launch: `out` from a hot `x` and a cold `w`, and a `count` that stays as it is."""
    path = folder / f"{name}.py"
    path.write_text(f"def reference(*, x, w, count):\n    return {{'out': {formula}, 'count': count}}\n")
    buffers = (
        BufferPlan("x", (SIZE,), "f32", "in", (given[0],), "hot", ()),
        BufferPlan("w", (SIZE,), "f32", "in", (given[1],), "cold", ()),
        BufferPlan("count", (1,), "u32", "inout", ("constant",), "hot", ()),
        BufferPlan("out", (SIZE,), "f32", "out", (), "hot", ()),
    )
    launch = LaunchPlan(name, (1, 1, 1), (32, 1, 1), 0, ("x", "w", "count", "out"))
    tolerances = {"out": Tolerance(False, relative=1e-5, absolute=1e-5), "count": Tolerance(True)}
    size = 4.0 * SIZE
    plan = Plan(f"test/{name}", str(path), {}, {}, buffers, (launch,), 3 * size, SIZE, SIZE, tolerances)
    return Stage(name, plan, f"{name}.cubin", reads)


@pytest.fixture
def task(tmp_path: Path) -> PathTask:
    first = stage(tmp_path, "first", "2 * x + w", ("normal", "normal"), {})
    second = stage(tmp_path, "second", "x - w", ("normal", "normal"), {"x": "first.out"})
    rule = StopRule(warmup_seconds=0.0, warmup_launches=5, batch=10, minimum=30)
    return PathTask((first, second), 1e13, rule=rule)


KERNELS: dict[str, Callable[[Any, Any], Any]] = {"first": lambda x, w: 2 * x + w, "second": lambda x, w: x - w}


class PathCase:
    """Stands where DeviceCase does: runs the plan's launches by the names that they are given."""

    def __init__(self, card: PathCard, plan: Plan, copies: Mapping[str, int]) -> None:
        self.card, self.plan, self.layout = card, plan, lay_out(plan, copies=copies)
        self.tensors: Arrays = {}

    def upload(self, inputs: Arrays) -> None:
        check_inputs(self.plan, inputs)
        self.given = dict(inputs)
        self.tensors |= inputs

    def poison(self) -> None:
        for buffer in self.plan.buffers:
            if not buffer.is_given:
                self.tensors[buffer.name] = np.full(buffer.shape, np.nan, np.float32)

    def launch(self, rotation: int = 0, *, only: int | None = None, linked: bool = False, early: bool = False) -> None:
        for index, launch in enumerate(self.plan.launches):
            if only in (None, index):
                work = self.card.work(self, launch)
                if self.card.capturing is None:
                    self.card.launched.append(rotation)
                    work()
                else:
                    self.card.capturing.append(lambda work=work: (self.card.launched.append(rotation), work())[0])

    def outputs(self, rotation: int = 0) -> Arrays:
        return {buffer.name: self.tensors[buffer.name].copy() for buffer in self.plan.buffers if buffer.is_judged}

    def violations(self, rotations: int = 1) -> tuple[str, ...]:
        changed = [name for name, array in self.given.items() if not np.array_equal(array, self.tensors[name])]
        return tuple(f"{name}: input changed" for name in changed)

    def wait(self) -> None: ...

    def warm(self) -> None: ...

    def scrub(self, size: int, turn: int) -> None: ...


class PathCard(NumpyCard):
    """A card whose plain launches take longer; where `spoil(in a graph)` holds, the second's result is wrong."""

    def __init__(self, spoil: Callable[[bool], bool] = lambda _: False, counts: int = 0) -> None:
        super().__init__(lambda inputs: inputs["x"])
        self.spoil, self.counts = spoil, counts
        self.binaries: Mapping[str, str] = {}
        self.replaying = False

    def prepare(self, plan, binary, *, offset=0, copies=None, spare=0):  # type: ignore[no-untyped-def]
        self.binaries = binary
        return PathCase(self, plan, copies or {})

    def work(self, case: PathCase, launch: LaunchPlan) -> Callable[[], None]:
        x, w, count, out = map(str, launch.args)

        def run() -> None:
            case.tensors[out] = KERNELS[launch.entry](case.tensors[x], case.tensors[w]).astype(np.float32)
            if launch.entry == "second" and self.spoil(self.replaying):
                case.tensors[out] = case.tensors[out] * np.float32(1.01)
            case.tensors[count] = case.tensors[count] + np.uint32(self.counts)

        return run

    def captured(self, enqueue):  # type: ignore[no-untyped-def]
        from contextlib import contextmanager

        @contextmanager
        def graph():  # type: ignore[no-untyped-def]
            with super(PathCard, self).captured(enqueue) as replay:

                def replayed() -> None:
                    self.replaying = True
                    replay()
                    self.replaying = False

                yield replayed

        return graph()

    def time(self, works, *, ahead=None):  # type: ignore[no-untyped-def]
        found = []
        for number, work in enumerate(works):
            if ahead is not None:
                ahead(number)
            before, graph = len(self.launched), "replayed" in getattr(work, "__qualname__", "")
            work()
            found.append((10e-6 if graph else 12e-6) * (len(self.launched) - before))
        return found

    def chunks(self, group):  # type: ignore[no-untyped-def]
        card = self

        class Chunks:
            def enqueue(self, count: int) -> None:
                self.before = len(card.launched)
                group()

            def wait(self) -> tuple[float, float]:
                return 0.0, 50e-6 * (len(card.launched) - self.before)

        return Chunks()


def test_the_four_ways(task: PathTask) -> None:
    card = PathCard()
    found = measure_path(card, task)
    assert card.binaries == {"first": "first.cubin", "second": "second.cubin"}
    medians = {name: mode["median"] for name, mode in found["modes"].items()}
    assert medians == {
        "alone": pytest.approx(24e-6),
        "graph": pytest.approx(20e-6),
        "plain": pytest.approx(24e-6),
        "hosted": pytest.approx(100e-6),
    }
    assert {name: one["median"] for name, one in found["launches"].items()} == pytest.approx(
        {"first": 12e-6, "second": 12e-6}
    )
    assert found["cold"] == "proven"
    assert found["groups"] % found["copies"] == 0
    assert 0 <= found["ratio"] <= 1
    json.dumps(found)


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (PathCard(spoil=lambda _: True), "the first run: second.out"),
        (PathCard(spoil=lambda replaying: replaying), "amortised: second.out"),
        (PathCard(counts=1), "first.count: input changed; second.count: input changed"),
    ],
)
def test_what_is_wrong_is_not_timed(task: PathTask, card: PathCard, said: str) -> None:
    with pytest.raises(ValueError, match=r"test/first . test/second: ") as caught:
        measure_path(card, task)
    assert said in str(caught.value)


def test_plain_launches_are_checked_apart(task: PathTask) -> None:
    card = PathCard()
    card.spoil = lambda replaying: not replaying and card.graphs > 0  # as long as a graph is there to compare with
    with pytest.raises(ValueError, match=r"plain launches: second\.out"):
        measure_path(card, task)


def test_a_stage_is_held_to_what_it_was_given(task: PathTask) -> None:
    inputs = drawn(task.stages, 1)
    assert set(inputs) == {"first.x", "first.w", "first.count", "second.w", "second.count"}
    other = np.ones(SIZE, np.float32)
    want = expected(task.stages, inputs | {"first.out": other})
    assert np.array_equal(want["second.out"], 1.0 - inputs["second.w"].astype(np.float64))
    assert np.array_equal(want["first.out"], 2.0 * inputs["first.x"].astype(np.float64) + inputs["first.w"])


def test_only_a_card_measures(task: PathTask) -> None:
    with pytest.raises(TypeError, match="emulator measures nothing"):
        measure_path(EmulatorRunner(), task)


def test_each_entry_comes_from_its_own_binary() -> None:
    class Library:
        def __init__(self, name: str) -> None:
            self.name = name

        def get_kernel(self, entry: str) -> str:
            return f"{entry} of {self.name}"

    runner = object.__new__(CudaRunner)
    runner._libraries = {path: Library(path) for path in ("a.cubin", "b.cubin")}
    both = runner._library({"route": "a.cubin", "combine": "b.cubin"})
    assert both.get_kernel("route") == "route of a.cubin"
    assert both.get_kernel("combine") == "combine of b.cubin"
    assert runner._library("a.cubin").get_kernel("route") == "route of a.cubin"


# --- the command and its section --------------------------------------------------------------------------------------


def imagined_round(scale: float, cold: str = "proven") -> dict[str, Any]:
    medians = {"alone": 16e-6, "plain": 14e-6, "hosted": 60e-6, "graph": 12e-6}
    modes = {name: result.median_of([scale * value] * 30) for name, value in medians.items()}
    return {"modes": modes, "launches": {}, "groups": 90, "copies": 15, "cold": cold, "notes": [], "ratio": 0.5}


class ImaginedWorker:
    """Answers at once; the third process of all fails."""

    calls = 0

    def __init__(self, runner: str) -> None:
        assert runner == "cuda:0"

    def __enter__(self) -> ImaginedWorker:
        return self

    def __exit__(self, *_: object) -> None: ...

    def restart(self) -> None: ...

    def call(self, task: object, payload: PathTask, *, timeout: float) -> dict[str, Any]:
        assert task is measure_path
        type(self).calls += 1
        if self.calls == 3:
            raise RuntimeError("router.ids is\nwrong")
        return imagined_round(1 + 0.001 * self.calls)


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(result, "live_card", lambda: CARD)
    monkeypatch.setattr(command, "l2_size", lambda: 50 << 20)
    monkeypatch.setattr(ImaginedWorker, "calls", 0)
    monkeypatch.setattr(routed_path, "Worker", ImaginedWorker)
    arguments = ["--quick", "--results", str(tmp_path / "results"), "--state", str(tmp_path / "state")]
    assert routed_path.main(arguments) == 1  # a process failed
    text, progress = capsys.readouterr()
    assert progress.splitlines()[-1] == "process 5 of 5: Qwen3.5-35B-A3B, 1 token, router, experts"
    (row,) = [line for line in text.splitlines() if line.startswith("| Qwen3.5-35B-A3B, 1 token, router, experts |")]
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[2].startswith("12.0")
    assert cells[5].startswith("1.167 (1.1")
    assert cells[-2] == "proven"
    assert "- failed: Qwen3.5-35B-A3B, 1 token, router, experts, process 2: router.ids is wrong" in text
    found = json.loads((tmp_path / "results" / "routed_path.json").read_text())
    assert (found["card"]["name"], found["processes"]) == (CARD.name, 5)
    assert all(len(path["rounds"]) == 4 for path in found["paths"].values())


def test_one_process_alone_says_less(tmp_path: Path) -> None:
    found = routed_path.summary([imagined_round(1.0, cold="unproven")])
    assert found["times"]["graph"] is None  # one median bounds nothing
    path = tmp_path / "routed_path.json"
    data = {"card": {"name": "A card", "driver": "580"}, "created": "2026-11-22T10:00", "commit": None, "dirty": True}
    path.write_text(json.dumps({**data, "processes": 1, "failures": [], "paths": {"a path": found}}))
    text = routed_path.section(path)
    assert "commit unknown with changes; 1 processes." in text
    assert "| a path | - | - .. - | - | " in text
    assert "| unproven |" in text


def test_no_result_is_said_to_be_missing(tmp_path: Path) -> None:
    text = routed_path.section(tmp_path / "routed_path.json")
    assert text == "Not measured yet: `python -m benchmarks.routed_path` on a card makes this section.\n"
