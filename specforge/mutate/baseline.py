"""What a mutant is compared with: the kernel's own binaries, the examples that `check` draws, and their times."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from specforge.backend.runner import Runner
from specforge.backend.worker import Worker
from specforge.check.options import Options
from specforge.check.prepare import render_all
from specforge.check.variants import Variant
from specforge.check.verification import EMULATED_STEPS
from specforge.diagnostics import Position, fail
from specforge.expressions import Scalar
from specforge.kernel.render import render
from specforge.mutate.build import Build
from specforge.settings import Settings
from specforge.spec.geometry import plan, resolve_tunables
from specforge.spec.interface import Kernel
from specforge.verify.committed import committed_examples
from specforge.verify.covering import cover, least_steps
from specforge.verify.example import Example, bindings
from specforge.verify.fuzz import FuzzReport, fuzz

R = TypeVar("R")
Bindings = tuple[tuple[str, Scalar], ...]

BUDGET = 3600.0
"""Seconds that no search needs: what ends one is the count of examples, or the limit of a single one."""
PATIENCE = 3.0, 20.0
"""An example hangs beyond so many seconds of processor time and so many times what the unchanged kernel took."""
QUICK = 8
"""Examples of a variant that are tried before the next one is compiled."""
EVERY_PAIR = 10_000


@dataclass(slots=True)
class Watch:
    """A worker whose calls are timed, and cut where a mutant takes far longer than the kernel did."""

    worker: Worker
    known: Mapping[str, float] = field(default_factory=dict)
    """Seconds that examples took the unchanged kernel, by row."""
    slowest: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)

    def call(self, task: Callable[[Any, Any], R], payload: Any, *, timeout: float) -> R:  # noqa: ANN401 - as the worker's
        """Run a task of the fuzzing; `payload[2]` is its example."""
        example: Example = payload[2]
        least, times = PATIENCE
        limit = least + times * self.known.get(example.to_row(), self.slowest) if self.slowest else timeout
        started = time.monotonic()
        try:
            return self.worker.call(run_limited, (limit, task, payload), timeout=timeout)
        finally:
            self.seconds[example.to_row()] = time.monotonic() - started
            self.examples.append(example)

    def restart(self) -> None:
        """Refuse: a restart serves the explanation of a failure, which nobody reads here."""
        raise RuntimeError("failures of mutants are not explained")


def run_limited(runner: Runner, payload: tuple[float, Callable[[Runner, Any], R], Any]) -> R:
    """Run a task within so many seconds of this process's own time; SIGPROF ends the process, as nothing else could.

    Not seconds of the clock: on a busy machine every mutant would hang.
    """
    limit, task, given = payload
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        return task(runner, given)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


@dataclass(slots=True)
class Baseline:
    """The unchanged kernel, built and run. Safe to share between threads."""

    kernel: Kernel
    device: Mapping[str, Scalar]
    build: Build
    variants: tuple[Bindings, ...]
    """Those that `check` compiles, committed examples' included, the cheapest to emulate first."""
    texts: dict[Bindings, str]
    codes: dict[Bindings, str]
    """Digests of the code, by variant; filled as they are asked for."""
    examples: dict[Bindings, list[Example]]
    seconds: dict[str, float]
    _lock: Lock = field(default_factory=Lock)

    def further(self) -> list[Bindings]:
        """Variants beyond those of `check`, until every pair of compile values is met."""
        every = cover(self.kernel, [dict(variant) for variant in self.variants], 0, fewest=EVERY_PAIR)
        return [variant for choice in every if (variant := tuple(choice.items())) not in self.variants]

    def text(self, variant: Bindings) -> str:
        """The unchanged kernel's rendered text."""
        with self._lock:
            if variant not in self.texts:
                self.texts[variant] = render(self.kernel, dict(variant)).text
            return self.texts[variant]

    def code(self, variant: Bindings) -> str:
        """The digest of the unchanged kernel's code."""
        with self._lock:
            if variant not in self.codes:
                self.codes[variant] = self.build.code(self.kernel, render(self.kernel, dict(variant)))
            return self.codes[variant]

    def quick(self, variant: Bindings) -> list[Example]:
        """A few of a variant's examples, from the shortest to nearly the longest."""
        ordered = sorted(self.examples[variant], key=lambda example: self.seconds[example.to_row()])
        return [ordered[(2 * place + 1) * len(ordered) // (2 * QUICK)] for place in range(QUICK)] if ordered else []

    def search(self, watch: Watch, binaries: Mapping[Bindings, Path], examples: list[Example] | None) -> FuzzReport:
        """`check`'s fuzzing with these binaries: its own draws, or only the examples given."""
        return fuzz(
            self.kernel,
            [(dict(variant), str(path)) for variant, path in binaries.items()],
            watch,
            examples=examples_of(self.kernel) if examples is None else 0,
            committed=committed_examples(self.kernel) if examples is None else examples,
            seed=0,
            budget=BUDGET,
            cap=EMULATED_STEPS,
            shrink_seconds=0.0,
            device=self.device,
        )

    def watch(self, worker: Worker) -> Watch:
        """A worker that cuts hanging mutants."""
        return Watch(worker, self.seconds, max(self.seconds.values(), default=1.0))


def examples_of(kernel: Kernel) -> int:
    """Examples of a search: those of `check` at its default profile."""
    return Options().profile_of(kernel).examples


def prepare(kernel: Kernel, device: Mapping[str, Scalar], settings: Settings) -> Baseline:
    """Build the unchanged kernel and search it; raises SF510 where it fails: its mutants would say nothing."""
    build = Build(settings)
    build.folder.mkdir(parents=True, exist_ok=True)
    plans = {}
    for choice in [*cover(kernel, [], 0), *(bindings(kernel, one, device) for one in committed_examples(kernel))]:
        parameters = {
            name: choice.get(name, parameter.domain.edges()[0]) for name, parameter in kernel.file.parameters.items()
        }
        chosen = {name: value for name, value in choice.items() if name in kernel.file.tunables}
        tunables = resolve_tunables(kernel, parameters, device) | chosen
        plans[Variant(kernel, tuple(choice.items()))] = plan(kernel, parameters, tunables)
    rendered = render_all(plans)
    libraries = {variant: build.library(kernel, text) for variant, text in rendered.items()}
    ordered = sorted(libraries, key=lambda variant: least_steps(kernel, dict(variant.bindings)))
    baseline = Baseline(
        kernel,
        device,
        build,
        tuple(variant.bindings for variant in ordered),
        {variant.bindings: text.text for variant, text in rendered.items()},
        {},
        {variant.bindings: [] for variant in ordered},
        {},
    )
    with Worker("emulator") as worker:
        watch = Watch(worker)
        report = baseline.search(watch, {variant.bindings: libraries[variant] for variant in ordered}, None)
    if report.failure is not None:
        hint = f"the first failure: {report.failure.result.failure}"
        raise fail("SF510", f"{kernel.identity} fails its own check, unchanged", Position(kernel.template), hint=hint)
    baseline.seconds.update(watch.seconds)
    for example in watch.examples:
        baseline.examples[tuple(bindings(kernel, example, device).items())].append(example)
    return baseline
