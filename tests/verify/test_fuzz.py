"""Fuzzing with a numpy stand-in for the compiled kernel: a right one passes, ten wrong ones shrink to readable rows."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from specforge.backend.runner import KernelFault
from specforge.backend.worker import WorkerCrashed, WorkerTimeout
from specforge.diagnostics import SpecForgeError
from specforge.spec.geometry import Plan
from specforge.spec.interface import Kernel
from specforge.verify.covering import cover
from specforge.verify.crash import describe_crash
from specforge.verify.example import Example
from specforge.verify.fuzz import FuzzReport, fuzz

Outputs = dict[str, np.ndarray]


@pytest.fixture
def search(blend: Kernel, blend_runner, in_process) -> Callable[..., FuzzReport]:
    variants = [(variant, f"variant {index}") for index, variant in enumerate(cover(blend, [], 0))]

    def run(fault=None, *, worker=None, **options) -> FuzzReport:
        options = {"examples": 100, "seed": 1, "budget": 60.0, "cap": 2e5} | options
        return fuzz(blend, variants, worker or in_process(blend_runner(fault=fault)), **options)

    return run


def test_a_right_kernel_passes(search) -> None:
    counts: list[int] = []
    report = search(progress=counts.append)
    assert report.failure is None
    assert report.examples == 100
    assert counts == list(range(1, 101))
    assert not report.out_of_time
    assert 0 < report.worst_ratio <= 1
    assert report.worst is not None
    assert report.covered["dtype"] == "all of f32, bf16, f16"
    assert report.covered["width"].endswith("of 1..65536")
    assert report.covered["width"].startswith("1..")
    assert report.variants == 6


def test_variants_that_are_singled_out_have_their_examples(search) -> None:
    few = search(examples=12)
    short = [bound for bound, count in few.tried if count < 10]
    assert len(short) > 3
    more = search(examples=12, singled=short[:2], enough=10)
    counts = {tuple(bound.items()): count for bound, count in more.tried}
    assert all(counts[tuple(bound.items())] >= 10 for bound in short[:2])
    assert any(count < 10 for count in counts.values())
    assert more.examples == sum(counts.values()) < 40


def test_what_only_a_variant_singled_out_shows_is_found(search) -> None:
    least = min(search(examples=6).tried, key=lambda tried: tried[1])[0]

    def spoilt(case: Plan, outputs: Outputs, schedule: int) -> None:
        if least.items() <= {**case.parameters, **case.tunables}.items() and case.parameters["width"] > 1:
            outputs["out"][:] = 7

    assert search(spoilt, examples=6).failure is None
    report = search(spoilt, examples=6, singled=[least], enough=6)
    assert report.failure is not None
    assert least["dtype"] == report.failure.example.parameters["dtype"]


def scaled(case: Plan, outputs: Outputs, schedule: int) -> None:
    outputs["out"][:] = (outputs["out"].astype(np.float32) * np.float32(1.02)).astype(outputs["out"].dtype)


def unchecked_tail(case: Plan, outputs: Outputs, schedule: int) -> None:
    if case.parameters["width"] > 64 and case.parameters["width"] % 64:
        outputs["out"][:, -1] = 0


def one_row_nan(case: Plan, outputs: Outputs, schedule: int) -> None:
    if case.parameters["rows"] >= 100:
        outputs["out"][77] = np.nan


def unwritten(case: Plan, outputs: Outputs, schedule: int) -> None:
    if case.tunables["splits"] >= 5:
        outputs["out"].view(np.uint8)[..., -4:] = 0xFF


def tie_the_wrong_way(case: Plan, outputs: Outputs, schedule: int) -> None:
    if case.parameters["dtype"] == "bf16" and case.parameters["width"] >= 33:
        outputs["best"][-1] += 1


def missing_barrier(case: Plan, outputs: Outputs, schedule: int) -> None:
    if schedule % 7 == 3:
        outputs["out"][0, 0] += 3


def stale(case: Plan, outputs: Outputs, schedule: int) -> None:
    if case.parameters["rows"] > 1:
        outputs["out"][1] = outputs["out"][0]


def lost_precision(case: Plan, outputs: Outputs, schedule: int) -> None:
    if case.parameters["dtype"] == "f32":
        outputs["out"][:] = outputs["out"].astype(np.float16)


def out_of_bounds(case: Plan, outputs: Outputs, schedule: int) -> tuple[str, ...] | None:
    return ("4 bytes past the end of out",) if case.parameters["width"] > 1000 else None


def trap(case: Plan, outputs: Outputs, schedule: int) -> None:
    if case.parameters["group"] == 4 and case.parameters["rows"] > 4:
        raise KernelFault("deadlock", "32 threads wait at a barrier that 1 has left")


@pytest.mark.parametrize(
    ("fault", "kind", "shrunk", "sentence"),
    [
        (scaled, "wrong", {"rows": 1, "width": 1}, "x the tolerance"),
        (unchecked_tail, "wrong", {"rows": 1, "width": 65}, "64] is 0, the reference says"),
        (one_row_nan, "wrong", {"rows": 100, "width": 1}, "is NaN, the reference says"),
        (unwritten, "wrong", {"rows": 1}, "was never written (the reference says"),
        (tie_the_wrong_way, "wrong", {"width": 33, "dtype": "bf16"}, "they must be equal"),
        (missing_barrier, "wrong", {"rows": 1, "width": 1}, "under schedule 0, the natural order, it is right, under "),
        (stale, "wrong", {"rows": 2, "width": 1}, "out["),
        (lost_precision, "wrong", {"dtype": "f32"}, "out["),
        (out_of_bounds, "violation", {"rows": 1, "width": 1001}, "past the end of out"),
        (trap, "fault", {"rows": 8, "width": 1, "group": 4}, "deadlock: 32 threads"),
    ],
)
def test_ten_faults_are_found_and_shrunk(search, fault, kind: str, shrunk: dict, sentence: str) -> None:
    report = search(fault)
    assert report.failure is not None
    assert report.failure.result.kind == kind
    assert shrunk.items() <= report.failure.example.parameters.items()
    assert sentence in report.failure.result.failure
    assert report.examples < 200
    again = search(fault, known_failures=[report.failure.example])
    assert again.examples == 1
    assert again.failure is not None
    assert again.failure.example == report.failure.example
    assert again.failure.result.failure == report.failure.result.failure
    assert again.repeated == 1
    repaired = search(known_failures=[report.failure.example], examples=3)
    assert repaired.failure is None
    assert repaired.repaired == (report.failure.example,)


def test_the_same_seed_gives_the_same_examples(search, blend_runner, in_process) -> None:
    def rows(seed: int) -> list[str]:
        found: list[str] = []

        class Listening(in_process):
            def call(self, task, payload, *, timeout):
                found.append(payload[2].to_row())
                return super().call(task, payload, timeout=timeout)

        search(worker=Listening(blend_runner()), seed=seed, examples=30)
        return found

    first = rows(5)
    assert len(set(first)) == 30
    assert rows(5) == first
    assert rows(6) != first


def test_the_budget_ends_the_search(search, blend_runner, in_process) -> None:
    class Slow(in_process):
        def call(self, task, payload, *, timeout):
            time.sleep(0.02)
            return super().call(task, payload, timeout=timeout)

    started = time.monotonic()
    report = search(worker=Slow(blend_runner()), examples=10_000, budget=0.5)
    assert time.monotonic() - started < 2
    assert report.out_of_time
    assert 5 < report.examples < 30
    assert report.failure is None


def test_the_budget_ends_shrinking_with_the_failure_kept(search, blend_runner, in_process) -> None:
    class SlowToFail(in_process):
        def call(self, task, payload, *, timeout):
            result = super().call(task, payload, timeout=timeout)
            if not result.passed:
                time.sleep(0.3)
            return result

    started = time.monotonic()
    report = search(worker=SlowToFail(blend_runner(fault=out_of_bounds)), shrink_seconds=0.5)
    assert time.monotonic() - started < 4
    assert report.out_of_time
    assert report.failure is not None
    assert report.failure.result.kind == "violation"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (WorkerCrashed("killed by SIGSEGV"), "illegal memory access (killed by SIGSEGV)"),
        (WorkerTimeout(17.0), "hang: no answer within 17 s"),
        (KernelFault("illegal access", "at 0x1", poisoned=True), "illegal access: at 0x1"),
    ],
)
def test_crashes_are_faults_of_the_kernel(search, blend_runner, in_process, error: Exception, sentence: str) -> None:
    class Crashing(in_process):
        def call(self, task, payload, *, timeout):
            if payload[0].parameters["width"] >= 10:
                raise error
            return super().call(task, payload, timeout=timeout)

    report = search(worker=Crashing(blend_runner()))
    assert report.failure is not None
    assert report.failure.result.kind == "fault"
    assert report.failure.result.failure == sentence
    assert report.failure.example.parameters["width"] == 10


def test_crash_output_is_kept() -> None:
    assert describe_crash("ended with exit status 3", "a\n b \n\n") == "the process ended (ended with exit status 3: b)"


def test_a_bad_reference_is_not_the_kernels_fault(make_kernel, blend, blend_runner, in_process) -> None:
    kernel = make_kernel((blend.folder / "kernel.yaml").read_text(), "def reference(*, x):\n    return x.nothing\n")
    runner = blend_runner()
    with pytest.raises(SpecForgeError) as caught:
        fuzz(
            kernel,
            [(variant, "") for variant in cover(kernel, [], 0)],
            in_process(runner),
            examples=9,
            seed=0,
            budget=9.0,
            cap=1e4,
        )
    assert str(caught.value.diagnostics[0].position).endswith("reference.py:2:1")
    assert runner.runs == 0


def test_errors_of_ours_come_through_unshrunk(search, blend_runner, in_process) -> None:
    calls = itertools.count()

    class Broken(in_process):
        def call(self, task, payload, *, timeout):
            if next(calls) == 5:
                raise RuntimeError("out of disk")
            return super().call(task, payload, timeout=timeout)

    with pytest.raises(RuntimeError, match="out of disk"):
        search(worker=Broken(blend_runner()))
    assert next(calls) == 6


def test_an_outcome_that_changes_is_still_a_failure(search, blend_runner, in_process) -> None:
    calls = itertools.count()

    def sometimes(case: Plan, outputs: Outputs, schedule: int) -> None:
        if next(calls) in (10, 13, 17):
            outputs["out"][0, 0] += 9

    report = search(sometimes)
    assert report.failure is not None


def test_known_failures_of_other_variants_are_left_alone(search) -> None:
    other = Example({"rows": 4, "width": 5, "dtype": "f16", "group": 1, "signed": True}, {"warps": 8})
    report = search(known_failures=[other], examples=2)
    assert report.repaired == ()
    assert report.examples == 2


def test_unsatisfiable_constraints(make_kernel, blend, blend_runner, in_process) -> None:
    text = (blend.folder / "kernel.yaml").read_text().replace('"rows % group == 0"', '"rows * width == -1"')
    kernel = make_kernel(text, (blend.folder / "reference.py").read_text())
    variants = [({"dtype": "f32", "group": 1, "signed": False, "warps": 4}, "")]
    with pytest.raises(SpecForgeError) as caught:
        fuzz(kernel, variants, in_process(blend_runner()), examples=9, seed=0, budget=9.0, cap=1e4)
    assert caught.value.diagnostics[0].code == "SF409"


def test_in_threads_and_silently(search, capfd) -> None:
    reports: dict[str, FuzzReport] = {}
    faults = {"right": None, "tail": unchecked_tail, "nan": one_row_nan}
    threads = [
        threading.Thread(target=lambda name=name, fault=fault: reports.update({name: search(fault, examples=40)}))
        for name, fault in faults.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reports["right"].failure is None
    assert reports["tail"].failure == search(unchecked_tail, examples=40).failure
    assert reports["nan"].failure is not None
    assert capfd.readouterr() == ("", "")


def test_what_fails_only_far_out_is_bisected(search) -> None:
    def far(case: Plan, outputs: Outputs, schedule: int) -> None:
        if case.parameters["width"] >= 40_000:
            outputs["out"][0, 0] += 9

    report = search(far, examples=5, cap=1e9)
    assert report.failure is not None
    assert report.failure.example.parameters["width"] == 40_000
