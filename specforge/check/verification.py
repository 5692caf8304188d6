"""Verify the selected kernels: fuzz each over its declared domains, then run the spec's own cases where they fit."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from specforge.backend.worker import TaskFailed, Worker, WorkerCrashed, WorkerTimeout
from specforge.check.backends import Choice, live_architecture
from specforge.check.context import Context
from specforge.check.options import Options
from specforge.check.prepare import build_hosts, build_variants, render_all
from specforge.check.variants import Variant, variant_of, variants
from specforge.diagnostics import Diagnostic, Position, SpecForgeError, fail
from specforge.expressions import Scalar
from specforge.kernel.build import Binary
from specforge.spec.geometry import Plan, plan, resolve_tunables
from specforge.spec.interface import Kernel
from specforge.spec.load import Spec
from specforge.spec.sweep import Case
from specforge.verify.corruption import RIGHT, Survivor, check_tolerances
from specforge.verify.covering import cover
from specforge.verify.example import Example, bindings, plan_example
from specforge.verify.failures import load_failures, update_failures
from specforge.verify.fuzz import FuzzReport, fuzz, isolate_hypothesis
from specforge.verify.row import parse_row

EMULATED_STEPS = 2e8
"""The most thread-steps of one emulated example, about a second; few examples come near it (`verify/draw.py`)."""
CARD_STEPS = 5e9
"""The same on a card, where the float64 reference on the CPU sets the limit."""
SHRINK_SECONDS = 10.0
"""How long a failure may be made smaller."""
CHECK_SECONDS = 300.0
"""The longest that references may take to check the checker."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found out about results."""

    reports: dict[str, FuzzReport] = field(default_factory=dict)
    """By kernel."""
    own: dict[str, FuzzReport] = field(default_factory=dict)
    """By case id: the spec's own cases, each run as it stands."""
    beyond: frozenset[str] = frozenset()
    """Cases too large to run here; fuzzing stands for them."""
    trouble: dict[str, str] = field(default_factory=dict)
    """By kernel: what on this machine kept it from being run."""
    executed: dict[Variant, Binary] = field(default_factory=dict)
    """On a card: what ran."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One kernel with the cases that use it, the binaries to fuzz, and the example where only one was asked for."""

    kernel: Kernel
    cases: tuple[Case, ...]
    binaries: tuple[tuple[dict[str, Scalar], str], ...]
    example: Example | None


def verify(spec: Spec, cases: Sequence[Case], choice: Choice, context: Context) -> Verification:
    """Fuzz every kernel of these cases on the chosen backend, several at a time; then run the cases themselves."""
    settings, progress, options = context.settings, context.progress, context.options
    isolate_hypothesis(settings.state / "hypothesis")
    device = (choice.device or spec.device).names
    users: dict[str, list[Case]] = {}
    for case in cases:
        if case.kernel is not None:
            users.setdefault(case.kernel.identity, []).append(case)
    kernels = {identity: here[0].kernel for identity, here in users.items() if here[0].kernel is not None}
    example = chosen_example(options, kernels)
    wanted = {name: _wanted(kernel, users[name], device, example, options.seed) for name, kernel in kernels.items()}
    progress.stage("rendering for verification")
    rendered = render_all({variant: shape for group in wanted.values() for variant, shape in group.items()})
    progress.stage(f"compiling {len(rendered)} variants for {choice.name}", len(rendered))
    executed: dict[Variant, Binary] = {}
    paths: dict[Variant, Path]
    if choice.card is None:
        paths = build_hosts(rendered, settings, progress.advance)
    else:
        executed = build_variants(rendered, live_architecture(choice, spec), settings, progress.advance)
        paths = {variant: binary.cubin for variant, binary in executed.items()}
    jobs = [
        _Job(
            kernel,
            tuple(users[name]),
            tuple((dict(known.bindings), str(paths[known])) for known in wanted[name]),
            example,
        )
        for name, kernel in kernels.items()
    ]
    total = (options.examples if example is None else 1) * len(jobs)
    progress.stage(f"fuzzing {', '.join(kernels)}", total)
    return _Bench(choice, context, device, total).run(jobs, executed)


class _Bench:
    """Runs jobs: side by side on the emulator, each in a worker of its own; one after another on a card."""

    def __init__(self, choice: Choice, context: Context, device: Mapping[str, Scalar], total: int) -> None:
        self._choice = choice
        self._context = context
        self._device = device
        self._cap = EMULATED_STEPS if choice.card is None else CARD_STEPS
        self._total = total
        self._done: dict[str, int] = {}
        self._turn = threading.Lock()
        self._workers: list[Worker] = []

    def run(self, jobs: Sequence[_Job], executed: dict[Variant, Binary]) -> Verification:
        """Every job's report; Ctrl-C ends the workers first, so that nothing is waited for."""
        found = Verification(executed=executed)
        beyond: set[str] = set()
        width = min(len(jobs), self._context.settings.jobs) if self._choice.card is None else 1
        with ThreadPoolExecutor(width) as pool:
            futures = {job.kernel.identity: pool.submit(self._job, job, found, beyond) for job in jobs}
            try:
                for name, future in futures.items():
                    try:
                        future.result()
                    except TaskFailed as failed:
                        found.trouble[name] = failed.summary
            except BaseException:
                for worker in self._workers:
                    worker.close()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        ordered = {name: found.reports[name] for name in futures if name in found.reports}
        return replace(found, reports=ordered, beyond=frozenset(beyond))

    def _job(self, job: _Job, found: Verification, beyond: set[str]) -> None:
        options = self._context.options
        deadline = time.monotonic() + options.seconds
        with Worker(self._choice.runner) as worker:
            self._workers.append(worker)
            if job.example is None:
                self._check_checker(job, worker)
            report = found.reports[job.kernel.identity] = self._fuzz(job, worker)
            # On a card that measures, each case is verified there, around its timing.
            measured = self._choice.card is not None and options.reaches("measure")
            if report.failure is None and job.example is None and not measured:
                self._own_cases(job, worker, found, beyond, deadline)

    def _check_checker(self, job: _Job, worker: Worker) -> None:
        """Refuse a kernel file whose tolerances would let known corruptions of the smallest case pass."""
        kernel = job.kernel
        plans = [
            plan(kernel, case.parameters, resolve_tunables(kernel, case.parameters, self._device)) for case in job.cases
        ]
        least = min(plans, key=lambda shape: shape.steps)
        example = Example(least.parameters, seed=self._context.options.seed)
        try:
            survivors = worker.call(check_tolerances, (least, example), timeout=CHECK_SECONDS)
        except (WorkerCrashed, WorkerTimeout) as error:
            where = Position(kernel.reference)
            raise fail("SF507", f"the reference ended its process: {error}", where, value=example.to_row()) from None
        found = [_survived(kernel, survivor, example) for survivor in survivors]
        if found:
            raise SpecForgeError(*found)

    def _fuzz(self, job: _Job, worker: Worker) -> FuzzReport:
        kernel, options, state = job.kernel, self._context.options, self._context.settings.state
        known = [job.example] if job.example is not None else load_failures(kernel, state)
        report = fuzz(
            kernel,
            job.binaries,
            worker,
            examples=1 if job.example is not None else options.examples,
            seed=options.seed,
            budget=options.seconds,
            cap=self._cap,
            known_failures=known,
            shrink_seconds=SHRINK_SECONDS,
            progress=lambda count: self._note(kernel.identity, count),
            device=self._device,
            backend=self._choice.name,
        )
        failed = [report.failure.example] if report.failure is not None else []
        if failed or report.repaired:
            update_failures(kernel, state, failed=failed, repaired=report.repaired)
        return report

    def _note(self, kernel: str, count: int) -> None:
        with self._turn:
            self._done[kernel] = count
            self._context.progress.advance(min(sum(self._done.values()), self._total), self._total)

    def _own_cases(self, job: _Job, worker: Worker, found: Verification, beyond: set[str], deadline: float) -> None:
        """Run each case of the spec until one fails or time is up; those above the cap are named as beyond it."""
        binaries = {Variant(job.kernel, tuple(choices.items())): path for choices, path in job.binaries}
        for case in job.cases:
            tunables = resolve_tunables(job.kernel, case.parameters, self._device)
            if plan(job.kernel, case.parameters, tunables).steps > self._cap:
                beyond.add(case.id)
                continue
            left = deadline - time.monotonic()
            if left <= 0 or any(report.failure is not None for report in found.own.values()):
                continue
            variant = variant_of(job.kernel, case.parameters, tunables)
            found.own[case.id] = fuzz(
                job.kernel,
                [(dict(variant.bindings), binaries[variant])],
                worker,
                examples=1,
                seed=self._context.options.seed,
                budget=left,
                cap=self._cap,
                known_failures=[Example(dict(case.parameters), seed=self._context.options.seed)],
                device=self._device,
                backend=self._choice.name,
            )


def _survived(kernel: Kernel, survivor: Survivor, example: Example) -> Diagnostic:
    where = kernel.document.at(("tolerance", survivor.output))
    row = f"in {example.to_row()}"
    if survivor.corruption == RIGHT:
        message = f"the tolerance of {survivor.output!r} rejects {RIGHT}, by {survivor.ratio:.3g}x"
        return Diagnostic(
            "SF509", message, where, row, "no kernel could pass it: allow at least for the output's rounding"
        )
    hint = f"its error is {survivor.ratio:.3g}x the tolerance; one below that share would reject it"
    message = f"the tolerance of {survivor.output!r} lets this pass: {survivor.corruption}"
    return Diagnostic("SF509", message, where, row, hint)


def chosen_example(options: Options, kernels: Mapping[str, Kernel]) -> Example | None:
    """The example of `--case`; raises SF801 unless one kernel is selected, and the row's own faults."""
    if options.case is None:
        return None
    if len(kernels) != 1:
        raise fail(
            "SF801",
            f"--case is a row of one kernel, and this selects {len(kernels)}",
            value=", ".join(kernels) or None,
            hint="add --only with the kernel's name",
        )
    return parse_row(options.case, next(iter(kernels.values())))


def _wanted(
    kernel: Kernel, cases: Sequence[Case], device: dict[str, Scalar], example: Example | None, seed: int
) -> dict[Variant, Plan]:
    """The variants to verify, each with some plan: those the cases run, then as few as cover every compile value."""
    if example is not None:
        variant = Variant(kernel, tuple(bindings(kernel, example, device).items()))
        return {variant: plan_example(kernel, example, device)}
    own = {
        variant: plan(kernel, case.parameters, resolve_tunables(kernel, case.parameters, device))
        for variant, case in variants(cases).items()
    }
    found = dict(own)
    for choice in cover(kernel, [dict(variant.bindings) for variant in own], seed):
        variant = Variant(kernel, tuple((name, choice[name]) for name in kernel.compile_names()))
        if variant not in found:
            parameters = {
                name: choice.get(name, parameter.domain.edges()[0])
                for name, parameter in kernel.file.parameters.items()
            }
            tunables = resolve_tunables(kernel, parameters, device) | {
                name: choice[name] for name in kernel.file.tunables if name in choice
            }
            found[variant] = plan(kernel, parameters, tunables)
    return found
