"""Verifying the selected kernels: what there is to fuzz, rendered and compiled for the backend that runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from specforge.check.backends import Choice, live_architecture
from specforge.check.context import Context
from specforge.check.fuzzing import HYPOTHESIS, Due, Fuzzing, Verification
from specforge.check.options import Options
from specforge.check.plans import executed_plans
from specforge.check.prepare import build_hosts, build_variants, render_all
from specforge.check.variants import Variant, variant_of
from specforge.diagnostics import fail
from specforge.expressions import Scalar
from specforge.kernel.build import Binary
from specforge.spec.geometry import Plan, plan, resolve_tunables
from specforge.spec.interface import Kernel
from specforge.spec.load import Spec
from specforge.spec.sweep import Case
from specforge.verify.committed import committed_examples
from specforge.verify.covering import cover
from specforge.verify.example import Example, bindings, plan_example
from specforge.verify.failures import load_failures
from specforge.verify.fuzz import FuzzReport, isolate_hypothesis
from specforge.verify.row import parse_row


@dataclass(frozen=True, slots=True)
class Prepared:
    """Kernels that are rendered and compiled for the backend that runs them."""

    plans: dict[str, Plan]
    """By case, as it will be launched."""
    executed: dict[Variant, Binary]
    """On a card: what will run."""
    due: list[Due]
    """What there is to fuzz."""


def prepare(spec: Spec, cases: Sequence[Case], choice: Choice, context: Context) -> Prepared:
    """Render and compile the kernels of these cases for the chosen backend, with all that fuzzing will run."""
    settings, progress, options = context.settings, context.progress, context.options
    isolate_hypothesis(settings.state / HYPOTHESIS)
    device = (choice.device or spec.device).names
    plans = executed_plans(spec, cases, choice)
    users: dict[str, list[Case]] = {}
    for case in cases:
        if case.kernel is not None:
            users.setdefault(case.kernel.identity, []).append(case)
    kernels = {identity: here[0].kernel for identity, here in users.items() if here[0].kernel is not None}
    example = chosen_example(options, kernels)
    if example is not None:
        (kernel,) = kernels.values()
        runs = _of_examples(kernel, [example], device)
        chosen = [_Chosen(kernel, runs, runs, tuple(plans[case.id] for case in users[kernel.identity]))]
    else:
        chosen = [
            _choose(kernel, [plans[case.id] for case in users[name]], spec, choice, context)
            for name, kernel in kernels.items()
        ]
    progress.stage("rendering for verification")
    rendered = render_all({variant: shape for one in chosen for variant, shape in one.every.items()})
    progress.stage(f"compiling {len(rendered)} variants for {choice.name}", len(rendered))
    executed: dict[Variant, Binary] = {}
    paths: dict[Variant, Path]
    if choice.card is None:
        paths = build_hosts(rendered, settings, progress.advance, sanitize=options.sanitize)
    else:
        executed = build_variants(rendered, live_architecture(choice, spec), settings, progress.advance)
        paths = {variant: binary.cubin for variant, binary in executed.items()}
    due = [
        Due(
            one.kernel,
            tuple((case.id, plans[case.id]) for case in users[one.kernel.identity]),
            tuple((dict(variant.bindings), str(paths[variant])) for variant in one.wanted),
            tuple((dict(variant.bindings), str(paths[variant])) for variant in one.every if variant not in one.wanted),
            example,
            options.profile_of(one.kernel),
            one.known,
            one.committed,
            one.searched,
            one.report,
        )
        for one in chosen
    ]
    return Prepared(plans, executed, due)


def verify(spec: Spec, prepared: Prepared, choice: Choice, context: Context) -> Verification:
    """Fuzz every kernel, several at a time; then run the cases themselves."""
    options, progress = context.options, context.progress
    fresh = [job for job in prepared.due if job.report is None]
    if fresh:
        rounds = 1 if options.held_out_seed is None else 2
        total = sum(job.profile.examples * rounds if job.example is None else 1 for job in fresh)
        progress.stage(f"fuzzing {', '.join(job.kernel.identity for job in fresh)}", total)
    else:
        total = 0
        progress.stage("running the spec's own cases", total)
    device = (choice.device or spec.device).names
    return Fuzzing(spec, choice, context, device, total).run(prepared.due, prepared.executed)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """What there is to run of one kernel."""

    kernel: Kernel
    wanted: dict[Variant, Plan]
    """To search, each with some plan."""
    every: dict[Variant, Plan]
    """Those and what replayed examples need."""
    searched: tuple[Plan, ...]
    """Plans of all cases that the search is for."""
    known: tuple[Example, ...] = ()
    committed: tuple[Example, ...] = ()
    report: FuzzReport | None = None
    """What an earlier spec of this run found."""


def _choose(kernel: Kernel, cases: Sequence[Plan], spec: Spec, choice: Choice, context: Context) -> _Chosen:
    """What to run of a kernel for these cases of the spec and for those of the specs that share the search."""
    device, options = (choice.device or spec.device).names, context.options
    known, committed = load_failures(kernel, context.settings.state), committed_examples(kernel)
    own = {variant_of(kernel, case.parameters, case.tunables): case for case in reversed(cases)}
    report = context.shared.search(kernel, choice, frozenset(own))
    if report is not None:
        return _Chosen(kernel, own, own, tuple(cases), known, committed, report)
    searched = [*cases, *context.shared.others(kernel, spec, choice, options)]
    wanted = _wanted(kernel, searched, device, options.seed)
    every = wanted | _of_examples(kernel, [*committed, *known], device)
    return _Chosen(kernel, wanted, every, tuple(searched), known, committed)


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


def _of_examples(kernel: Kernel, examples: Sequence[Example], device: Mapping[str, Scalar]) -> dict[Variant, Plan]:
    """The variants that examples run, each with the plan of one of them."""
    return {
        Variant(kernel, tuple(bindings(kernel, example, device).items())): plan_example(kernel, example, device)
        for example in examples
    }


def _wanted(kernel: Kernel, cases: Sequence[Plan], device: dict[str, Scalar], seed: int) -> dict[Variant, Plan]:
    """The variants to verify, each with some plan: those the cases run, then as few as cover every compile value."""
    own: dict[Variant, Plan] = {}
    for case in cases:
        own.setdefault(variant_of(kernel, case.parameters, case.tunables), case)
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
