"""Calibrating a card: what runs there, what a failure costs, and that the kernels themselves are checked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from specforge.backend.probe import LiveCard
from specforge.backend.runner import KernelFault
from specforge.backend.telemetry import Telemetry
from specforge.backend.worker import TaskFailed, Worker, WorkerTimeout
from specforge.check import calibrate as room
from specforge.check.backends import Choice
from specforge.check.calibrate import RULE, calibrate, read_floor
from specforge.check.context import Context
from specforge.check.options import Options
from specforge.check.prepare import build_hosts, render_all
from specforge.check.progress import PlainReporter
from specforge.check.variants import variant_of
from specforge.measure.case import MeasureTask, measure_case
from specforge.measure.measurement import Measurement
from specforge.measure.series import Batch, Series
from specforge.measure.stopping import Stop
from specforge.roots import shipped
from specforge.settings import read_settings
from specforge.spec.facts import load_device
from specforge.spec.geometry import plan, resolve_tunables
from specforge.spec.interface import find_kernel
from specforge.verify.example import ExampleResult
from specforge.verify.fuzz import fuzz

H100 = load_device(shipped() / "specs" / "devices" / "h100_sxm.yaml")
CARD = LiveCard(0, "H100", "GPU-0", "9.0", "580", "13.0", 80 << 30, None, None, None, None, None, None)
ON_H100 = Choice("cuda:0", CARD, H100, True, "")
BANDWIDTH, RATE = 3e12, 6e14


def answer(task: MeasureTask) -> Measurement:
    """A card that verifies everything and reads 3 TB/s."""
    right = ExampleResult("ok", None, ())
    seconds = max(task.plan.bytes / BANDWIDTH, task.plan.flops / RATE)
    batch = Batch((seconds,) * 20, Telemetry())
    series = {mode: Series(mode, 1, (batch,), 20, Stop("precision", 0.0, 0.02)) for mode in task.modes}
    cold = "proven" if any(buffer.residency == "cold" for buffer in task.plan.buffers) else "hot"
    return Measurement("H100", "GPU-0", task.binary_sha256, series=series, cold=cold, before=right, after=right)


@pytest.fixture
def context(cache_dir: Path) -> Context:
    return Context(Options(), replace(read_settings(), state=cache_dir, jobs=1), PlainReporter())


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp().parent / "calibration-state"


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[MeasureTask]]:
    """A worker on a card that is not there: keeps its tasks, and fails as it is told to by kernel and bindings."""

    def make(fails: Callable[[MeasureTask], Exception | None] = lambda _: None) -> list[MeasureTask]:
        asked: list[MeasureTask] = []

        class Canned(Worker):
            def call(self, task: Any, payload: Any, *, timeout: float) -> Any:
                assert task is measure_case
                assert timeout > 0
                asked.append(payload)
                error = fails(payload)
                if error is not None:
                    raise error
                return answer(payload)

        monkeypatch.setattr(room, "Worker", Canned)
        return asked

    return make


def test_an_h100_is_calibrated(card, context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    asked = card()
    found = calibrate(ON_H100, context)
    assert (found.read, found.copy) == (pytest.approx(BANDWIDTH), pytest.approx(BANDWIDTH))
    assert found.matrix == {"bf16": pytest.approx(RATE), "int8": pytest.approx(RATE)}
    assert set(found.missing) == {"fp8"}
    assert [task.modes for task in asked] == [("amortised",)] * 5
    assert all(task.memory_bandwidth == 3.35e12 for task in asked)
    assert {point.binary_sha256 for point in found.points} == {task.binary_sha256 for task in asked}
    assert "calibrating cuda:0 H100 (5)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (KernelFault("illegal access", "far out", poisoned=True), "failed: illegal access: far out"),
        (WorkerTimeout(60.0), "failed: no answer within 60 s"),
        (TaskFailed("CudaError: out of memory", "trace"), "CudaError: out of memory"),
    ],
)
def test_a_failure_costs_its_own_name_only(card, context: Context, error: Exception, reason: str) -> None:
    card(lambda task: error if task.plan.kernel == "calibration/copy" else None)
    found = calibrate(ON_H100, context)
    assert found.copy is None
    assert reason in found.missing["copy"]
    assert found.read == pytest.approx(BANDWIDTH)
    assert set(found.missing) == {"copy", "fp8"}


def test_a_card_that_no_device_file_knows_reads_and_copies(card, context: Context) -> None:
    asked = card()
    found = calibrate(Choice("cuda:0", CARD, None, False, ""), context)
    assert found.read == pytest.approx(BANDWIDTH)
    assert set(found.missing) == {"bf16", "int8", "fp8"}
    assert {task.memory_bandwidth for task in asked} == {float("inf")}


def test_a_floor_of_any_size(card, context: Context) -> None:
    asked = card()
    found = read_floor([1, 4096, 10_000_003], ("isolated", "amortised"), RULE, ON_H100, context)
    assert list(found) == [1, 4096, 10_000_003]
    assert [task.plan.parameters["words"] for task in asked] == [1, 1024, 2_500_001]
    assert isinstance(found[4096], Measurement)
    assert set(found[4096].series) == {"isolated", "amortised"}


@pytest.fixture
def search(tmp_path: Path, context: Context):
    """Fuzzing on the emulator of a calibration kernel with one piece of its source replaced."""

    def run(name: str, parameters: dict[str, Any], old: str = "", new: str = ""):
        folder = tmp_path / "kernels" / "calibration" / name
        shutil.copytree(shipped() / "kernels" / "calibration" / name, folder)
        template = folder / "kernel.cu.j2"
        text = template.read_text()
        assert not old or text.count(old) == 1
        template.write_text(text.replace(old, new) if old else text)
        kernel = find_kernel(f"calibration/{name}", (tmp_path, shipped()))
        tunables = resolve_tunables(kernel, parameters, H100.names)
        variant = variant_of(kernel, parameters, tunables)
        rendered = render_all({variant: plan(kernel, parameters, tunables)})
        library = build_hosts(rendered, context.settings, lambda _done, _total: None)[variant]
        options: dict[str, Any] = {"examples": 40, "seed": 5, "budget": 60.0, "cap": 2e7, "device": H100.names}
        with Worker("emulator") as worker:
            return fuzz(kernel, [(dict(variant.bindings), str(library))], worker, **options)

    return run


WORDS = {"words": 10_000}
E4M3 = {"floating": True, "bits": 8, "warps": 4, "rounds": 65}
BF16, INT8 = E4M3 | {"bits": 16}, E4M3 | {"floating": False}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("read", WORDS), ("copy", WORDS), ("matrix_rate", BF16), ("matrix_rate", INT8), ("matrix_rate", E4M3)],
)
def test_the_shipped_kernels_pass(search, name: str, parameters: dict[str, Any]) -> None:
    report = search(name, parameters)
    assert report.failure is None
    assert report.examples == 40


@pytest.mark.parametrize(
    ("name", "parameters", "old", "new"),
    [
        ("read", WORDS, "i < UNROLL; ++i) sum", "i < UNROLL / 2; ++i) sum"),
        ("read", WORDS, "start += warps", "start += 2 * warps"),
        ("copy", WORDS, "i < UNROLL; ++i) store", "i < UNROLL / 2; ++i) store"),
        ("copy", WORDS, "start += warps", "start += 2 * warps"),
        ("matrix_rate", BF16, "round < stretch", "round < stretch / 2"),
        ("matrix_rate", INT8, "done += STRETCH)", "done += 2 * STRETCH)"),
    ],
)
def test_a_kernel_that_skips_half_is_wrong(search, name: str, parameters: dict[str, Any], old: str, new: str) -> None:
    report = search(name, parameters, old, new)
    assert report.failure is not None
    assert report.failure.result.kind in ("wrong", "fault")
