"""Running cases on both sides, several at a time, and summing up what they showed."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from specforge.backend.runner import KernelFault
from specforge.backend.worker import Worker, WorkerCrashed, WorkerTimeout
from specforge.check.prepare import Progress
from specforge.check.variants import Variant
from specforge.parity.builds import Build, Name
from specforge.parity.case import BuildOutcome, CaseTask, compare_sides, run_builds
from specforge.parity.result import BuildSummary, Disagreement, OutputSummary
from specforge.spec.geometry import Plan
from specforge.verify.example import Example
from specforge.verify.session import time_limit

SHOWN = 5
"""Disagreements that a result lists."""


@dataclass(frozen=True, slots=True)
class Side:
    """Where one side runs, as a Worker takes it, and its binaries by build and variant."""

    runner: str
    binaries: Mapping[Name, Mapping[Variant, Path]]

    def of(self, variant: Variant) -> dict[Name, str]:
        """The binaries of a variant, by build."""
        return {name: str(paths[variant]) for name, paths in self.binaries.items()}


@dataclass(frozen=True, slots=True)
class Case:
    """A drawn example with its plan and the variant that it runs."""

    example: Example
    plan: Plan
    variant: Variant


Outcome = tuple[Case, dict[Name, BuildOutcome]]


def compare_cases(cases: Sequence[Case], card: Side, emulator: Side, *, jobs: int, progress: Progress) -> list[Outcome]:
    """Run every case on both sides, `jobs` at a time, each with processes of its own; results in the cases' order.

    A crash or hang of either side is that case's failure.
    """
    with _pairs(card, emulator, min(jobs, len(cases))) as pairs, ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(_compare, case, card, emulator, pairs) for case in cases]
        try:
            found: list[Outcome] = []
            for case, future in zip(cases, futures, strict=True):
                found.append((case, future.result()))
                progress(len(found), len(cases))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


Pair = tuple[Worker, Worker]


@contextmanager
def _pairs(card: Side, emulator: Side, count: int) -> Iterator[queue.SimpleQueue[Pair]]:
    """Workers for each thread; all are ended with the block, whatever happens in it."""
    idle: queue.SimpleQueue[Pair] = queue.SimpleQueue()
    with ExitStack() as stack:
        for _ in range(count):
            idle.put((stack.enter_context(Worker(card.runner)), stack.enter_context(Worker(emulator.runner))))
        yield idle


def _compare(case: Case, card: Side, emulator: Side, pairs: queue.SimpleQueue[Pair]) -> dict[Name, BuildOutcome]:
    there, here = pair = pairs.get()
    task = CaseTask(case.plan, case.example, card.of(case.variant), {})
    limit = 4 * time_limit(case.plan)
    side = "the card"
    try:
        outputs = there.call(run_builds, task, timeout=limit)
        side = "the emulator"
        task = task._replace(binaries=emulator.of(case.variant), card=outputs)
        return here.call(compare_sides, task, timeout=limit)
    except (KernelFault, WorkerCrashed, WorkerTimeout) as error:
        return {name: BuildOutcome((), (0.0, 0.0), f"on {side}: {error}") for name in card.binaries}
    finally:
        pairs.put(pair)


def summarise(build: Build, outcomes: Sequence[Outcome]) -> BuildSummary:
    """All cases of one build."""
    found = [outcome[build.name] for _, outcome in outcomes]
    outputs: dict[str, OutputSummary] = {}
    for each in (difference for outcome in found for difference in outcome.differences):
        so_far = outputs.get(each.output, OutputSummary(elements=0, unequal=0, ulps=0))
        outputs[each.output] = OutputSummary(
            elements=so_far.elements + each.elements,
            unequal=so_far.unequal + each.unequal,
            ulps=max(so_far.ulps, each.ulps),
        )
    return BuildSummary(
        card_flags=list(build.card),
        emulator_flags=list(build.emulator),
        agreed=sum(outcome.failure is None for outcome in found),
        outputs=outputs,
        card_ratio=max((outcome.ratios[0] for outcome in found), default=0.0),
        emulator_ratio=max((outcome.ratios[1] for outcome in found), default=0.0),
    )


def disagreements(outcomes: Sequence[Outcome]) -> list[Disagreement]:
    """The failures of the cheapest cases, which are the easiest to read."""
    ordered = sorted(outcomes, key=lambda outcome: outcome[0].plan.steps)
    failed = [
        Disagreement(build=name, row=case.example.to_row(), failure=found.failure)
        for case, by_build in ordered
        for name, found in by_build.items()
        if found.failure is not None
    ]
    return failed[:SHOWN]
