"""Verify the selected kernels: fuzz each over its declared domains, then run the spec's own cases where they fit."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from specforge.backend.worker import Worker
from specforge.check.backends import Choice, live_architecture
from specforge.check.options import Options
from specforge.check.prepare import build_hosts, build_variants, render_all
from specforge.check.progress import Reporter
from specforge.check.variants import Variant, variant_of, variants
from specforge.diagnostics import fail
from specforge.expressions import Scalar
from specforge.kernel.build import Binary
from specforge.settings import Settings
from specforge.spec.geometry import Plan, plan, resolve_tunables
from specforge.spec.interface import Kernel
from specforge.spec.load import Spec
from specforge.spec.sweep import Case
from specforge.verify.covering import cover
from specforge.verify.example import Example, bindings, plan_example
from specforge.verify.failures import load_failures, update_failures
from specforge.verify.fuzz import FuzzReport, fuzz, isolate_hypothesis
from specforge.verify.row import parse_row

EMULATED_STEPS = 6e8
"""The most thread-steps of one emulated example, a few seconds; few examples come near it (`verify/draw.py`)."""
CARD_STEPS = 5e9
"""The same on a card, where the float64 reference on the CPU sets the limit."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found out about results. `own` holds, by case id, the run of a spec's case itself; `replay` its commands."""

    reports: dict[str, FuzzReport] = field(default_factory=dict)
    own: dict[str, FuzzReport] = field(default_factory=dict)
    beyond: frozenset[str] = frozenset()
    """Cases too large for the emulator; fuzzing stands for them."""
    executed: dict[Variant, Binary] = field(default_factory=dict)
    """On a card: what ran."""


@dataclass(frozen=True, slots=True)
class _Kernel:
    """One kernel with the cases that use it and the binaries to fuzz."""

    kernel: Kernel
    cases: tuple[Case, ...]
    binaries: tuple[tuple[dict[str, Scalar], str], ...]
    example: Example | None


def verify(spec: Spec, cases: Sequence[Case], choice: Choice, options: Options, settings: Settings, progress: Reporter) -> Verification:
    """Fuzz every kernel of these cases on the chosen backend, several at a time; then run the cases themselves."""
    isolate_hypothesis(settings.state / "hypothesis")
    device = _device_names(spec, choice)
    kernels = {case.kernel.identity: case.kernel for case in cases if case.kernel is not None}
    example = _example(options, kernels)
    wanted = {identity: _wanted(kernel, [case for case in cases if case.kernel is not None and case.kernel.identity == identity], device, example, options.seed) for identity, kernel in kernels.items()}
    plans = {variant: shape for group in wanted.values() for variant, shape in group.items()}
    progress.stage("rendering for verification")
    rendered = render_all(plans)
    executed: dict[Variant, Binary] = {}
    paths: dict[Variant, Path]
    progress.stage(f"compiling {len(rendered)} variants for {choice.name}", len(rendered))
    if choice.card is None:
        paths = build_hosts(rendered, settings, progress.advance)
    else:
        executed = build_variants(rendered, live_architecture(choice, spec), settings, progress.advance)
        paths = {variant: binary.cubin for variant, binary in executed.items()}
    groups = [
        _Kernel(kernel, tuple(case for case in cases if case.kernel is not None and case.kernel.identity == identity), tuple((dict(variant.bindings), str(paths[variant])) for variant in wanted[identity]), example)
        for identity, kernel in kernels.items()
    ]
    progress.stage(f"fuzzing {', '.join(kernels)}", options.examples * len(groups) if example is None else len(groups))
    counter = _Counter(progress, options.examples * len(groups) if example is None else len(groups))
    return _run(groups, choice, options, settings, device, counter, executed)


def _run(groups: list[_Kernel], choice: Choice, options: Options, settings: Settings, device: dict[str, Scalar], counter: _Counter, executed: dict[Variant, Binary]) -> Verification:
    """One worker per kernel on the emulator; on a card, one after another."""
    reports: dict[str, FuzzReport] = {}
    own: dict[str, FuzzReport] = {}
    beyond: set[str] = set()
    workers: list[Worker] = []
    width = min(len(groups), settings.jobs) if choice.card is None else 1
    with _closing(workers), ThreadPoolExecutor(max(1, width)) as pool:

        def one(group: _Kernel) -> tuple[FuzzReport, dict[str, FuzzReport], set[str]]:
            worker = Worker(choice.runner)
            workers.append(worker)
            with worker:
                report = _fuzz(group, worker, choice, options, settings, device, counter)
                measured = choice.card is not None and options.reaches("measure")  # and verified there, around the timing
                if report.failure is not None or group.example is not None or measured:
                    return report, {}, set()
                return report, *_own_cases(group, worker, choice, device)

        futures = [pool.submit(one, group) for group in groups]
        try:
            for group, future in zip(groups, futures, strict=True):
                report, mine, large = future.result()
                reports[group.kernel.identity] = report
                own |= mine
                beyond |= large
        except BaseException:
            for worker in workers:
                worker.close()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return Verification(reports, own, frozenset(beyond), executed)


@contextmanager
def _closing(workers: list[Worker]) -> Iterator[None]:
    try:
        yield
    finally:
        for worker in workers:
            worker.close()


class _Counter:
    """Adds up the examples of kernels that are fuzzed side by side."""

    def __init__(self, progress: Reporter, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done: dict[str, int] = {}
        self._turn = threading.Lock()

    def note(self, kernel: str, count: int) -> None:
        """`count` examples of this kernel are done."""
        with self._turn:
            self._done[kernel] = count
            self._progress.advance(min(sum(self._done.values()), self._total), self._total)


def _device_names(spec: Spec, choice: Choice) -> dict[str, Scalar]:
    """`device.*` of the card that runs; the spec's own on the emulator or where the card has no file."""
    return choice.device.names if choice.device is not None else spec.device.names


def _example(options: Options, kernels: Mapping[str, Kernel]) -> Example | None:
    if options.case is None:
        return None
    if len(kernels) != 1:
        raise fail("SF801", "--case is a row of one kernel, and this selects several", value=", ".join(kernels), hint="add --only with the kernel's name")
    return parse_row(options.case, next(iter(kernels.values())))


def _wanted(kernel: Kernel, cases: Sequence[Case], device: dict[str, Scalar], example: Example | None, seed: int) -> dict[Variant, Plan]:
    """The variants to verify, each with some plan: those the cases run, then as few as cover every compile value."""
    if example is not None:
        variant = Variant(kernel, tuple(bindings(kernel, example, device).items()))
        return {variant: plan_example(kernel, example, device)}
    own = {variant: plan(kernel, case.parameters, resolve_tunables(kernel, case.parameters, device)) for variant, case in variants(cases).items()}
    found = dict(own)
    for choice in cover(kernel, [dict(variant.bindings) for variant in own], seed):
        variant = Variant(kernel, tuple((name, choice[name]) for name in kernel.compile_names()))
        if variant not in found:
            parameters = {name: choice.get(name, parameter.domain.edges()[0]) for name, parameter in kernel.file.parameters.items()}
            tunables = resolve_tunables(kernel, parameters, device) | {name: choice[name] for name in kernel.file.tunables if name in choice}
            found[variant] = plan(kernel, parameters, tunables)
    return found


def _fuzz(group: _Kernel, worker: Worker, choice: Choice, options: Options, settings: Settings, device: dict[str, Scalar], counter: _Counter) -> FuzzReport:
    kernel = group.kernel
    known = [group.example] if group.example is not None else _known(kernel, settings)
    report = fuzz(
        kernel,
        group.binaries,
        worker,
        examples=1 if group.example is not None else options.examples,
        seed=options.seed,
        budget=options.seconds,
        cap=EMULATED_STEPS if choice.card is None else CARD_STEPS,
        known_failures=known,
        progress=lambda count: counter.note(kernel.identity, count),
        device=device,
        backend=choice.name,
    )
    failed = [report.failure.example] if report.failure is not None else []
    if failed or report.repaired:
        update_failures(kernel, settings.state, failed=failed, repaired=report.repaired)
    return report


def _known(kernel: Kernel, settings: Settings) -> list[Example]:
    return list(load_failures(kernel, settings.state))


def _own_cases(group: _Kernel, worker: Worker, choice: Choice, device: dict[str, Scalar]) -> tuple[dict[str, FuzzReport], set[str]]:
    """Run each case of the spec itself where it stays under the cap; the rest are named as beyond it."""
    found: dict[str, FuzzReport] = {}
    beyond: set[str] = set()
    binaries = {Variant(group.kernel, tuple(choices.items())): path for choices, path in group.binaries}
    cap = EMULATED_STEPS if choice.card is None else CARD_STEPS
    for case in group.cases:
        tunables = resolve_tunables(group.kernel, case.parameters, device)
        if plan(group.kernel, case.parameters, tunables).steps > cap:
            beyond.add(case.id)
            continue
        variant = variant_of(group.kernel, case.parameters, tunables)
        example = Example(dict(case.parameters))
        found[case.id] = fuzz(
            group.kernel, [(dict(variant.bindings), binaries[variant])], worker, examples=1, seed=0, budget=600.0, cap=cap, known_failures=[example], device=device, backend=choice.name
        )
    return found, beyond
