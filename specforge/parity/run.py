"""`specforge parity`: draw cases of a kernel, build both sides, compare, and say what was found."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from specforge.backend.lock import CardBusy, hold_card
from specforge.backend.probe import LiveCard, probe
from specforge.check.backends import match_device
from specforge.check.fuzzing import EMULATED_STEPS
from specforge.check.progress import Reporter, reporter
from specforge.check.variants import Variant
from specforge.diagnostics import fail
from specforge.expressions import Scalar
from specforge.kernel.nvrtc import compiler_name
from specforge.kernel.render import render
from specforge.parity.builds import build_cubins_of, build_hosts_of, builds
from specforge.parity.cases import draw_cases
from specforge.parity.compare import Case, Side, compare_cases, disagreements, summarise
from specforge.parity.result import VERSION, ParityResult, kernel_files
from specforge.record.history import git_state
from specforge.record.provenance import tool_sha256
from specforge.roots import search_roots
from specforge.settings import Settings
from specforge.spec.facts import Device
from specforge.spec.interface import Kernel, find_kernel
from specforge.verify.coverage import describe_coverage
from specforge.verify.covering import cover
from specforge.verify.example import bindings, plan_example
from specforge.verify.fuzz import isolate_hypothesis
from specforge.verify.row import parse_row

STEPS = EMULATED_STEPS
"""The most thread-steps of one emulated case, as in fuzzing; exact tensor cores take about three times as long."""
WAIT = 600.0
"""Seconds to wait for another run to let go of the card."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for; `row` is one case instead of drawn ones."""

    kernels: tuple[str, ...]
    examples: int
    seed: int
    row: str | None = None


class NoCard(Exception):
    """There is no card to compare with; the text says why."""


def run_parity(request: Request, settings: Settings, *, live: bool) -> list[ParityResult]:
    """Compare each kernel on the first card with the emulator; raises NoCard where there is none."""
    found = probe()
    if not found.cards:
        raise NoCard(found.reason or "no card")
    card = found.cards[0]
    roots = search_roots(Path.cwd() / "kernels")
    kernels = [find_kernel(name, roots) for name in request.kernels]
    device = match_device(card, roots)
    if device is None:
        hint = "add it under specs/devices/: tunables depend on the card's facts"
        raise fail("SF701", f"no device file recognises {card.name}", value=card.name, hint=hint)
    isolate_hypothesis(settings.state / "hypothesis")
    try:
        with (
            hold_card(settings.locks, card.uuid, wait=WAIT, purpose="specforge parity"),
            reporter(live=live) as progress,
        ):
            bench = _Bench(card, device, settings, progress)
            return [_compare(kernel, request, bench) for kernel in kernels]
    except CardBusy as busy:
        raise NoCard(str(busy)) from None


def chosen_cases(kernel: Kernel, request: Request, device: Mapping[str, Scalar]) -> list[Case]:
    """The cases to run, drawn or as the row says, each with its plan and variant."""
    names = kernel.compile_names()
    if request.row is not None:
        example = parse_row(request.row, kernel)
        bound = bindings(kernel, example, device)
        return [Case(example, plan_example(kernel, example, device), Variant(kernel, tuple(bound.items())))]
    variants = cover(kernel, [], request.seed)
    drawn = draw_cases(kernel, variants, request.examples, seed=request.seed, cap=STEPS, device=device)
    return [
        Case(
            example,
            plan_example(kernel, example, device),
            Variant(kernel, tuple((name, variants[place][name]) for name in names)),
        )
        for place, example in drawn
    ]


@dataclass(frozen=True, slots=True)
class _Bench:
    card: LiveCard
    device: Device
    settings: Settings
    progress: Reporter


def _compare(kernel: Kernel, request: Request, bench: _Bench) -> ParityResult:
    card, device, settings, progress = bench.card, bench.device, bench.settings, bench.progress
    started = time.monotonic()
    cases = chosen_cases(kernel, request, device.names)
    rendered = {
        variant: render(kernel, dict(variant.bindings)) for variant in dict.fromkeys(case.variant for case in cases)
    }
    pair = builds(card.compute_capability)
    progress.stage(f"compiling {kernel.identity}, {len(rendered)} variants in two builds", len(rendered))
    cubins = build_cubins_of(rendered, pair, device.architecture, settings, progress.advance)
    hosts = build_hosts_of(rendered, pair, settings, progress.advance)
    progress.stage(f"running {kernel.identity} on {card.name} and on the emulator", len(cases))
    there, here = Side(f"cuda:{card.index}", cubins), Side("emulator", hosts)
    outcomes = compare_cases(cases, there, here, jobs=settings.jobs, progress=progress.advance)
    commit, dirty = git_state(
        kernel.document.path, [kernel.document.path, kernel.template, kernel.reference], results=()
    )
    return ParityResult(
        parity_version=VERSION,
        kernel=kernel.identity,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit or settings.commit,
        tree="supplied" if dirty is None else "changed" if dirty else "clean",
        tool_sha256=tool_sha256(),
        files=kernel_files(kernel),
        card=card.name,
        compute_capability=card.compute_capability,
        driver=card.driver,
        architecture=device.architecture,
        nvrtc=compiler_name(),
        host_compiler=_host_compiler(settings),
        seed=request.seed,
        cases=len(cases),
        variants=len(rendered),
        seconds=round(time.monotonic() - started, 1),
        covered=describe_coverage(kernel, [{**case.plan.parameters, **case.plan.tunables} for case in cases]),
        builds={build.name: summarise(build, outcomes) for build in pair},
        disagreements=disagreements(outcomes),
    )


def _host_compiler(settings: Settings) -> str:
    from specforge.backend.emulator.compiler import find_host_compiler

    return find_host_compiler(settings.cxx).version.splitlines()[0]


def describe(result: ParityResult) -> str:
    """The result in a few lines for a terminal."""
    lines = [f"{result.kernel} on {result.card} and on the emulator: {result.cases} cases, {result.seconds:.0f} s"]
    for name, build in result.builds.items():
        outputs = ", ".join(
            f"{output} {summary.unequal:,} of {summary.elements:,} elements unequal, at most {summary.ulps:,} apart"
            for output, summary in build.outputs.items()
        )
        lines.append(f"  {name}: {build.agreed} of {result.cases} cases agree; {outputs}")
        lines.append(
            f"    of tolerance: {build.card_ratio:.2g} on the card, {build.emulator_ratio:.2g} on the emulator"
        )
    for each in result.disagreements:
        lines.append(f"  {each.build}: {each.failure}")
        lines.append(f"    specforge parity {result.kernel} --case '{each.row}'")
    return "\n".join(lines)
