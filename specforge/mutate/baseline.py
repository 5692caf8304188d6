"""What a mutant is compared with: the kernel's own binaries, the examples that `check` draws, and their times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from specforge.backend.worker import Worker
from specforge.check.fuzzing import EMULATED_STEPS
from specforge.check.options import Options
from specforge.check.prepare import render_all
from specforge.check.variants import Variant
from specforge.diagnostics import Position, fail
from specforge.expressions import Scalar
from specforge.kernel.render import render
from specforge.mutate.apart import run
from specforge.mutate.build import Build, Way, build_with, code_of, size_of
from specforge.mutate.outcome import Outcome
from specforge.mutate.watch import Watch
from specforge.settings import Settings
from specforge.spec.facts import Device
from specforge.spec.geometry import plan, resolve_tunables
from specforge.spec.interface import Kernel
from specforge.verify.committed import committed_examples
from specforge.verify.covering import cover, least_steps
from specforge.verify.example import Example, ExampleResult, Task, bindings
from specforge.verify.fuzz import fuzz
from specforge.verify.session import Failure
from specforge.verify.waiver import Waivers

Bindings = tuple[tuple[str, Scalar], ...]

BUDGET = 3600.0
"""Seconds that no search needs: what ends one is the count of examples, or the limit of a single one."""
QUICK = 8
"""Examples of a variant that are tried before the next one is compiled."""
EVERY_PAIR = 10_000


class Ran(NamedTuple):
    """The first failure, and the processor time of each example by row."""

    failure: Failure | None
    seconds: dict[str, float]


@dataclass(slots=True)
class Baseline:
    """The unchanged kernel, built and run. Safe to share between threads."""

    kernel: Kernel
    device: Mapping[str, Scalar]
    build: Build
    variants: tuple[Bindings, ...]
    """Those that `check` compiles, committed examples' included, the one with the most code first: see `attempt`."""
    texts: dict[Bindings, str]
    tasks: list[tuple[Bindings, Task]]
    """What `check` runs, in its order, with its fresh values; the binaries are those of the unchanged kernel."""
    seconds: dict[str, float]
    """Of processor time, by row, as `check` builds."""
    plain_seconds: dict[str, float]
    """The same of the plain build; of the examples of `quick` alone."""
    originals: dict[tuple[Way, Bindings], tuple[Path, str]] = field(default_factory=dict)
    """Unsanitized libraries and their code, by variant; filled as they are asked for."""
    cubins: dict[Bindings, str] = field(default_factory=dict)
    """Digests of the card's code; the same."""
    tried: dict[tuple[Bindings, str], tuple[str, Outcome | None]] = field(default_factory=dict)
    """By variant and digest, what became of code that passed plain as `check` builds it: the card's code, and what
    killed it. Other mutants may compile to the same."""
    passed: set[tuple[Bindings, str]] = field(default_factory=set)
    """What of it passed all examples, plain."""
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

    def original(self, variant: Bindings, way: Way = "plain") -> tuple[Path, str]:
        """The unchanged kernel's unsanitized library, and the digest of its code."""
        with self._lock:
            if (way, variant) not in self.originals:
                library = self.build.library(self.kernel, render(self.kernel, dict(variant)), way)
                self.originals[way, variant] = library, code_of(library)
            return self.originals[way, variant]

    def cubin(self, variant: Bindings) -> str:
        """The digest of the unchanged kernel's code for the card."""
        with self._lock:
            if variant not in self.cubins:
                self.cubins[variant] = self.build.cubin(self.kernel, render(self.kernel, dict(variant)))
            return self.cubins[variant]

    def quick(self, variant: Bindings) -> list[Task]:
        """A few of a variant's examples, from the shortest to nearly the longest."""
        ordered = sorted(self.every(variant), key=lambda task: self.seconds[task.example.to_row()])
        return [ordered[(2 * place + 1) * len(ordered) // (2 * QUICK)] for place in range(QUICK)] if ordered else []

    def every(self, variant: Bindings) -> list[Task]:
        """All of a variant's examples, in `check`'s order."""
        return [task for here, task in self.tasks if here == variant]

    def run(self, worker: Worker, library: Path, tasks: Sequence[Task], known: Mapping[str, float]) -> Ran:
        """Run tasks with a library of their variant, up to the first failure, within limits made of known times."""
        left = [task._replace(binary=str(library)) for task in tasks]
        seconds: dict[str, float] = {}
        while left:
            answers = run(worker, left, known)
            seconds |= {task.example.to_row(): answer.seconds for task, answer in zip(left, answers, strict=False)}
            example, result = left[len(answers) - 1].example, answers[-1].result
            left = left[len(answers) :]
            shown = result.example or example
            result = self._waive(shown, result)
            if not result.passed:
                return Ran(Failure(shown, result), seconds)
        return Ran(None, seconds)

    def _waive(self, example: Example, result: ExampleResult) -> ExampleResult:
        """What the kernel's waivers leave of a failure."""
        known = example.parameters | resolve_tunables(self.kernel, example.parameters, self.device) | example.tunables
        return Waivers(self.kernel, date.today()).weigh(known, example, result)


def examples_of(kernel: Kernel) -> int:
    """Examples of a search: those of `check` at its default profile."""
    return Options().profile_of(kernel).examples


def prepare(kernel: Kernel, card: Device, settings: Settings) -> Baseline:
    """Build the unchanged kernel and search it; raises SF510 where it fails: its mutants would say nothing."""
    device = card.names
    build = build_with(settings, card.architecture)
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
    libraries = {variant: build.library(kernel, text, "checked") for variant, text in rendered.items()}
    plain = {variant.bindings: build.library(kernel, text, "plain") for variant, text in rendered.items()}
    ordered = sorted(plain, key=lambda variant: (-size_of(plain[variant]), least_steps(kernel, dict(variant))))
    baseline = Baseline(
        kernel,
        device,
        build,
        tuple(ordered),
        {variant.bindings: text.text for variant, text in rendered.items()},
        [],
        {},
        {},
    )
    with Worker("emulator") as worker:
        watch = Watch(worker)
        _require(kernel, _search(baseline, watch, {one.bindings: library for one, library in libraries.items()}))
        baseline.seconds.update(watch.seconds)
        baseline.tasks += [
            (tuple(bindings(kernel, task.example, device).items()), task) for task in watch.tasks.values()
        ]
        for variant in baseline.variants:
            ran = baseline.run(worker, baseline.original(variant)[0], baseline.quick(variant), {})
            _require(kernel, ran.failure)
            baseline.plain_seconds.update(ran.seconds)
    return baseline


def _search(baseline: Baseline, watch: Watch, libraries: Mapping[Bindings, Path]) -> Failure | None:
    """`check`'s fuzzing of the unchanged kernel."""
    report = fuzz(
        baseline.kernel,
        [(dict(variant), str(path)) for variant, path in libraries.items()],
        watch,
        examples=examples_of(baseline.kernel),
        committed=committed_examples(baseline.kernel),
        seed=0,
        budget=BUDGET,
        cap=EMULATED_STEPS,
        shrink_seconds=0.0,
        device=baseline.device,
    )
    return report.failure


def _require(kernel: Kernel, failure: Failure | None) -> None:
    if failure is not None:
        hint = f"the first failure: {failure.result.failure}"
        raise fail("SF510", f"{kernel.identity} fails its own check, unchanged", Position(kernel.template), hint=hint)
