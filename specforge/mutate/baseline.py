"""What a mutant is compared with: the kernel's own binaries, the examples that `check` draws, and their times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from specforge.backend.worker import Worker
from specforge.check.options import Options
from specforge.check.prepare import render_all
from specforge.check.variants import Variant
from specforge.check.verification import EMULATED_STEPS
from specforge.diagnostics import Position, fail
from specforge.expressions import Scalar
from specforge.kernel.render import render
from specforge.mutate.build import Build, Way, build_with, code_of
from specforge.mutate.outcome import Outcome
from specforge.mutate.watch import Watch
from specforge.settings import Settings
from specforge.spec.facts import Device
from specforge.spec.geometry import plan, resolve_tunables
from specforge.spec.interface import Kernel
from specforge.verify.committed import committed_examples
from specforge.verify.covering import cover, least_steps
from specforge.verify.example import Example, bindings
from specforge.verify.fuzz import FuzzReport, fuzz

Bindings = tuple[tuple[str, Scalar], ...]

BUDGET = 3600.0
"""Seconds that no search needs: what ends one is the count of examples, or the limit of a single one."""
QUICK = 8
"""Examples of a variant that are tried before the next one is compiled."""
EVERY_PAIR = 10_000


@dataclass(slots=True)
class Baseline:
    """The unchanged kernel, built and run. Safe to share between threads."""

    kernel: Kernel
    device: Mapping[str, Scalar]
    build: Build
    variants: tuple[Bindings, ...]
    """Those that `check` compiles, committed examples' included, the cheapest to emulate first."""
    texts: dict[Bindings, str]
    examples: dict[Bindings, list[Example]]
    seconds: dict[str, float]
    """By row, as `check` builds."""
    plain_seconds: dict[str, float]
    """The same of the plain build; of the examples of `quick` alone."""
    originals: dict[tuple[Way, Bindings], tuple[Path, str]] = field(default_factory=dict)
    """Unsanitized libraries and their code, by variant; filled as they are asked for."""
    tried: dict[tuple[tuple[Bindings, str], ...], Outcome] = field(default_factory=dict)
    """What became of code that passed plain, by variant and digest: other mutants may compile to the same."""
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
            explained=False,  # nobody reads why a mutant fails, and a fresh process costs more than most mutants
        )

    def watch(self, worker: Worker, *, plain: bool) -> Watch:
        """A worker that cuts hanging mutants; plain builds and others have limits of their own."""
        return Watch(worker, self.plain_seconds if plain else self.seconds)


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
    ordered = sorted(libraries, key=lambda variant: least_steps(kernel, dict(variant.bindings)))
    baseline = Baseline(
        kernel,
        device,
        build,
        tuple(variant.bindings for variant in ordered),
        {variant.bindings: text.text for variant, text in rendered.items()},
        {variant.bindings: [] for variant in ordered},
        {},
        {},
    )
    with Worker("emulator") as worker:
        watch = Watch(worker)
        binaries = {variant.bindings: libraries[variant] for variant in ordered}
        _require(kernel, baseline.search(watch, binaries, None))
        baseline.seconds.update(watch.seconds)
        for example in watch.examples:
            baseline.examples[tuple(bindings(kernel, example, device).items())].append(example)
        plain = Watch(worker)
        for variant in baseline.variants:
            _require(kernel, baseline.search(plain, {variant: baseline.original(variant)[0]}, baseline.quick(variant)))
        baseline.plain_seconds.update(plain.seconds)
    return baseline


def _require(kernel: Kernel, report: FuzzReport) -> None:
    if report.failure is not None:
        hint = f"the first failure: {report.failure.result.failure}"
        raise fail("SF510", f"{kernel.identity} fails its own check, unchanged", Position(kernel.template), hint=hint)
