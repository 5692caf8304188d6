"""Fuzz kernels side by side, each in a worker of its own; then run the spec's own cases where they fit."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from specforge.backend.worker import TaskFailed, Worker
from specforge.check import held_out
from specforge.check.backends import Choice
from specforge.check.checker import Bench, Benches, examine
from specforge.check.context import Context
from specforge.check.crew import Crew
from specforge.check.profile import Profile
from specforge.check.search import Search
from specforge.check.variants import Variant, variant_of
from specforge.expressions import Scalar
from specforge.kernel.build import Binary
from specforge.spec.geometry import Plan, resolve_tunables
from specforge.spec.interface import Kernel
from specforge.spec.load import Spec
from specforge.verify.example import FRESH, SEEDS, Example
from specforge.verify.failures import update_failures
from specforge.verify.fuzz import FuzzReport, fuzz

W = TypeVar("W", Worker, Crew)

EMULATED_STEPS = 2e8
"""The most thread-steps of one emulated example, about a second; few examples come near it (`verify/draw.py`)."""
CARD_STEPS = 5e9
"""The same on a card, where the float64 reference on the CPU sets the limit."""
STAND_INS = 10
"""Examples of a case's own binary that stand for the case where it is too large to be emulated itself."""
CARD_WORKERS = 24
"""Processes side by side on one card: the reference on the CPU is what takes the time."""
HYPOTHESIS = "hypothesis"
"""Folder of the state for Hypothesis's own files."""
OWN_STEPS = EMULATED_STEPS / 64
"""Emulated steps up to which the spec's own cases, too, are run again under another schedule and with fresh values."""


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
class Due:
    """One kernel with the cases that use it, the binaries to fuzz, and the example where only one was asked for."""

    kernel: Kernel
    cases: tuple[tuple[str, Plan], ...]
    """Their ids and plans."""
    binaries: tuple[tuple[dict[str, Scalar], str], ...]
    replayed: tuple[tuple[dict[str, Scalar], str], ...]
    """Binaries of examples that are replayed, where the search has no use for them."""
    example: Example | None
    profile: Profile
    known: tuple[Example, ...]
    """Failures of before."""
    committed: tuple[Example, ...]
    searched: tuple[Plan, ...]
    """Plans of all cases that the search is for: its own, and those of specs that will share it."""
    report: FuzzReport | None
    """What an earlier spec of this run found, so that only the cases are left."""


@dataclass(frozen=True, slots=True)
class _Beside:
    """Where there are more processors than kernels: threads, and as many places as processors that are free."""

    pool: ThreadPoolExecutor
    places: threading.Semaphore
    apart: bool
    """Several kernels are searched, each in a process of its own: threads would wait for one interpreter."""


class Fuzzing:
    """Runs jobs side by side, each in a worker of its own."""

    def __init__(self, spec: Spec, choice: Choice, context: Context, device: Mapping[str, Scalar], total: int) -> None:
        self._spec = spec
        self._choice = choice
        self._context = context
        self._device = device
        self._cap = EMULATED_STEPS if choice.card is None else CARD_STEPS
        self._total = total
        self._done: dict[str, int] = {}
        self._turn = threading.Lock()
        self._workers: list[Worker | Crew] = []
        self._ended = False

    def run(self, jobs: Sequence[Due], executed: dict[Variant, Binary]) -> Verification:
        """Every job's report; Ctrl-C ends the workers first, so that nothing is waited for."""
        found = Verification(executed=executed)
        beyond: set[str] = set()
        width = self._context.settings.jobs
        if self._choice.card is not None:
            width = min(width, CARD_WORKERS)
        # Where every kernel has a processor and some are left, the checker is checked beside the search it is for.
        # A thread of either kind mostly waits for its processes.
        spare = width - len(jobs)
        with ThreadPoolExecutor(width if spare <= 0 else max(1, 2 * len(jobs))) as pool:
            beside = _Beside(pool, threading.Semaphore(spare), len(jobs) > 1) if spare > 0 else None
            futures = {job.kernel.identity: pool.submit(self._job, job, found, beyond, beside) for job in jobs}
            try:
                for name, future in futures.items():
                    try:
                        future.result()
                    except TaskFailed as failed:
                        found.trouble[name] = failed.summary
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._ended = True
                for worker in self._workers:
                    worker.close()
                raise
        ordered = {name: found.reports[name] for name in futures if name in found.reports}
        return replace(found, reports=ordered, beyond=frozenset(beyond))

    def _job(self, job: Due, found: Verification, beyond: set[str], beside: _Beside | None) -> None:
        options = self._context.options
        last = time.monotonic() + job.profile.seconds
        held = options.held_out_seed if job.example is None else None
        deadline = last if held is None else last - held_out.SHARE * job.profile.seconds
        with self._enlist(Worker(self._choice.runner)) as worker:
            # On a card that measures, each case is verified there, around its timing.
            measured = self._choice.card is not None and options.reaches("measure")
            report = job.report
            if report is None:
                examined: Future[None] | None = None
                if job.example is None and beside is not None:
                    examined = beside.pool.submit(self._examine_apart, job, beside.places)
                elif job.example is None:  # where the deadline comes first, no time is left for examples either
                    self._examine(job, Bench(worker, self._device, options.seed, deadline))
                search = self._search(job, deadline, stand_ins=job.example is None and not measured)
                report = self._fuzz(job, search, worker, beside)
                if examined is not None:
                    examined.result()
                self._context.shared.keep_search(job.kernel, self._choice, report, self._spec)
            found.reports[job.kernel.identity] = report
            if report.failure is None and job.example is None and not measured:
                self._own_cases(job, worker, found, beyond, deadline)
            own_right = all(found.own[case].failure is None for case, _ in job.cases if case in found.own)
            if held is not None and report.failure is None and own_right:
                found.reports[job.kernel.identity] = self._hold_out(job, worker, report, held, last)

    def _enlist(self, worker: W) -> W:
        """Note whom Ctrl-C ends; who comes after it is ended at once."""
        self._workers.append(worker)
        if self._ended:
            worker.close()
        return worker

    def _examine(self, job: Due, benches: Benches) -> bool:
        """Raise what is wrong with the kernel's tolerances; False where the deadline came before all was tried."""
        return examine(job.kernel, job.searched, [choice for choice, _ in job.binaries], benches)

    def _examine_apart(self, job: Due, places: threading.Semaphore) -> None:
        """The same beside the search, with the Crew's time; raises TaskFailed where that was too little."""
        seconds = job.profile.seconds
        with self._enlist(Crew(places, self._device, self._context.options.seed, seconds)) as crew:
            if not self._examine(job, crew):
                said = f"its tolerances could not be tried in time: {seconds:g} s for a case, twice that for all"
                raise TaskFailed(said, said)

    def _search(self, job: Due, deadline: float, *, stand_ins: bool) -> Search:
        large = [
            variant_of(job.kernel, case.parameters, case.tunables) for case in job.searched if case.steps > self._cap
        ]
        return Search(
            kernel=job.kernel,
            variants=job.binaries,
            replayed=job.replayed,
            examples=1 if job.example is not None else job.profile.examples,
            seed=self._context.options.seed,
            deadline=deadline,
            cap=self._cap,
            known=job.known if job.example is None else (job.example,),
            committed=job.committed,
            shrink_seconds=job.profile.shrink_seconds,
            device=self._device,
            backend=self._choice.name,
            singled=tuple(dict(variant.bindings) for variant in dict.fromkeys(large)) if stand_ins else (),
            enough=STAND_INS,
        )

    def _fuzz(self, job: Due, search: Search, worker: Worker, beside: _Beside | None) -> FuzzReport:
        kernel, state = job.kernel, self._context.settings.state
        note = partial(self._note, kernel.identity)
        try:
            if beside is not None and beside.apart:
                with self._enlist(Worker("emulator")) as process:
                    report = search.run_apart(process, self._choice.runner, state / HYPOTHESIS, note)
            else:
                report = search.run(worker, note)
        finally:
            if beside is not None:
                beside.places.release()  # its processor is free for what is still to be tried
        failed = [report.failure.example] if report.failure is not None else []
        failed = [example for example in failed if example not in job.committed]
        if failed or report.repaired:
            update_failures(kernel, state, failed=failed, repaired=report.repaired)
        return report

    def _hold_out(self, job: Due, worker: Worker, passed: FuzzReport, seed: str, deadline: float) -> FuzzReport:
        """The report with what as many examples showed that the secret drew; a failure among them is its own."""
        kernel = job.kernel
        report = fuzz(
            kernel,
            job.binaries,
            worker,
            examples=job.profile.examples,
            seed=held_out.search_seed(seed, kernel.identity),
            budget=deadline - time.monotonic(),
            cap=self._cap,
            shrink_seconds=job.profile.shrink_seconds,
            progress=lambda count: self._note(kernel.identity, passed.examples + count),
            device=self._device,
            backend=self._choice.name,
            excluded=held_out.known_to(job.committed, passed.inputs),
        )
        failure = report.failure
        if failure is not None:
            update_failures(kernel, self._context.settings.state, failed=[failure.example])
            said = f"on held-out inputs: {failure.result.failure}"
            failure = replace(failure, result=replace(failure.result, failure=said))
        return replace(passed, held_out=report, failure=failure)

    def _note(self, kernel: str, count: int) -> None:
        with self._turn:
            self._done[kernel] = count
            self._context.progress.advance(min(sum(self._done.values()), self._total), self._total)

    def _own_cases(self, job: Due, worker: Worker, found: Verification, beyond: set[str], deadline: float) -> None:
        """Run each case of the spec until one fails or time is up; those above the cap are named as beyond it."""
        binaries = {Variant(job.kernel, tuple(choices.items())): path for choices, path in job.binaries}
        for place, (case, shape) in enumerate(job.cases):
            if shape.steps > self._cap:
                beyond.add(case)
                continue
            left = deadline - time.monotonic()
            if left <= 0 or any(report.failure is not None for report in found.own.values()):
                continue
            known = self._context.shared.case(job.kernel, self._choice, shape)
            if known is not None:
                found.own[case] = known
                continue
            variant = variant_of(job.kernel, shape.parameters, shape.tunables)
            usual = resolve_tunables(job.kernel, shape.parameters, self._device)
            tuned = {name: value for name, value in shape.tunables.items() if value != usual[name]}
            seed = (self._context.options.seed + place * FRESH) % SEEDS  # no two begin with the same bytes
            found.own[case] = fuzz(
                job.kernel,
                [(dict(variant.bindings), binaries[variant])],
                worker,
                examples=1,
                seed=self._context.options.seed,
                budget=left,
                cap=self._cap,
                known_failures=[Example(dict(shape.parameters), tuned, seed=seed)],
                rounds=int(shape.steps <= OWN_STEPS),
                device=self._device,
                backend=self._choice.name,
            )
            self._context.shared.keep_case(job.kernel, self._choice, shape, found.own[case])
