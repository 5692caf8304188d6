"""`specforge check`, step by step: load, render, build, verify, measure, judge, record, report."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path

from specforge.check.against import compared, read_baseline
from specforge.check.ahead import Ahead
from specforge.check.backends import Choice, choose
from specforge.check.context import Context
from specforge.check.evidence import Findings, Scope, gather, waiver_uses
from specforge.check.jobs import Job, jobs_of
from specforge.check.measurement import measure
from specforge.check.options import Options, check_case, check_only, select
from specforge.check.plans import executed_plans, own_plans
from specforge.check.prepare import build_variants, render_all
from specforge.check.progress import reporter
from specforge.check.publish import check_ahead, keep, keep_all, show
from specforge.check.recording import Run, record_of
from specforge.check.resume import check_resume, finish, journal_of
from specforge.check.shared import sharing
from specforge.check.variants import Variant, variant_of, variants
from specforge.check.verification import Prepared, chosen_example, prepare, verify
from specforge.diagnostics import Diagnostic, SpecForgeError
from specforge.judge.verdict import Status, first_of, judge, status_of
from specforge.kernel.occupancy import check_launches
from specforge.record.model import Record
from specforge.settings import Settings
from specforge.spec.geometry import Plan
from specforge.spec.load import Benchmark, Spec, load_spec
from specforge.spec.sweep import Case
from specforge.verify.committed import committed_examples


def check_specs(paths: Sequence[Path], options: Options, form: str, settings: Settings) -> int:
    """Check every spec, print the reports in the asked-for format, and give the exit status."""
    check_case(options)
    check_resume(options)
    specs = load_all(paths)
    check_ahead(specs, options, settings)
    baseline = read_baseline(specs, options)
    hint = check_only(specs, options.only)
    if hint is not None:
        print(f"specforge: --only {options.only!r} selects nothing; {hint}", file=sys.stderr)
    records: list[Record] = []
    found: list[Diagnostic] = []
    shared = sharing(specs, options)
    with reporter(live=sys.stderr.isatty()) as progress, Ahead(settings.jobs) as ahead:
        for spec in specs:  # what one spec's fault ends is that spec; what the others showed is kept
            try:
                records.append(check_spec(spec, Context(options, settings, progress, shared, ahead)))
                if baseline is not None:
                    records[-1], problems = compared(records[-1], baseline, options)
                    found += problems
                if options.held_out_seed is None:
                    keep(records[-1], options, settings)
                    finish(records[-1], settings)
            except SpecForgeError as error:
                found += error.diagnostics
    if options.held_out_seed is not None:  # a record shows the secret, so none is written before the last verdict
        found += keep_all(records, options, settings)
    if records:
        show(records, form, settings)
    if found:
        raise SpecForgeError(*dict.fromkeys(found))
    return int(first_of(Status(record.status) for record in records))


def load_all(paths: Sequence[Path]) -> tuple[Spec, ...]:
    """Load all specs before anything runs; the faults of all are raised together."""
    specs: list[Spec] = []
    found: list[Diagnostic] = []
    for path in paths:
        try:
            specs.append(load_spec(path))
        except SpecForgeError as error:
            found += error.diagnostics
    if found:
        raise SpecForgeError(*dict.fromkeys(found))
    return tuple(specs)


def check_spec(spec: Spec, context: Context) -> Record:
    """Run one spec as far as `--until` says and seal its record."""
    options = context.options
    started = time.monotonic()
    benchmarks = select(spec, options.only)
    cases = _runnable(benchmarks)
    total, targeted = sum(len(part.cases) for part in benchmarks), sum(part.targeted() for part in benchmarks)
    context.progress.stage(f"{spec.name}: {total} cases, {targeted} targeted, {total - targeted} record-only")
    kernels = {case.kernel.identity: case.kernel for case in cases if case.kernel is not None}
    chosen_example(options, kernels)
    for kernel in kernels.values():
        committed_examples(kernel)
    choice: Choice | None = choose(options.backend, spec) if cases and options.reaches("verify") else None
    tunings = spec.tunings if choice is None else choice.tunings
    for notice in dict.fromkeys((*spec.tunings.notices(), *tunings.notices())):
        print(notice, file=sys.stderr)
    findings = Findings(plans=own_plans(cases))
    if cases and options.reaches("render"):
        findings = _build(spec, cases, findings, context)
    if choice is not None:
        findings = _run(spec, benchmarks, findings, choice, context)
    evidence = {
        case.id: gather(Scope(spec, findings, choice, options), benchmark, case)
        for benchmark in benchmarks
        for case in benchmark.cases
    }
    # One example, replayed, decides no target: it is right or wrong.
    targets = [target for benchmark in benchmarks for target in benchmark.targets] if options.case is None else []
    judgements = judge(targets, evidence, until=options.until, today=date.today())
    # A search cut short by its budget is reported and proves what it ran; one that ran nothing proves nothing.
    reports, trouble = findings.verification.reports, findings.verification.trouble
    idle = bool(trouble) or any(
        searched.examples == 0
        for report in reports.values()
        for searched in (report, report.held_out)
        if searched is not None
    )
    idle |= any(use.verdict == "untried" for uses in findings.waivers.values() for use in uses)
    status = status_of(judgements, evidence.values(), selected=bool(evidence), undecided=idle)
    run = Run(spec, benchmarks, findings, choice, targets, evidence, judgements, status, time.monotonic() - started)
    return record_of(run, options, context.settings)


def _build(spec: Spec, cases: Sequence[Case], findings: Findings, context: Context) -> Findings:
    """Render and, where asked for, compile for the spec's own architecture: static targets are always judged for it."""
    chosen, progress = variants(cases), context.progress
    progress.stage(f"rendering {len(chosen)} variants")
    rendered = render_all({variant: findings.plans[case.id] for variant, case in chosen.items()})
    if not context.options.reaches("build"):
        return findings
    progress.stage(f"compiling {len(chosen)} variants for {spec.device.architecture}", len(chosen))
    binaries = build_variants(rendered, spec.device.architecture, context.settings, progress.advance)
    found: list[Diagnostic] = []
    for case in cases:
        assert case.kernel is not None
        resources = binaries[variant_of(case.kernel, case.parameters, case.tunables)].resources
        found += check_launches(case.kernel, findings.plans[case.id], resources, spec.device.file)
    if found:
        raise SpecForgeError(*list(dict.fromkeys(found))[:20])
    return replace(findings, binaries=binaries)


def _run(
    spec: Spec,
    benchmarks: Sequence[Benchmark],
    findings: Findings,
    choice: Choice,
    context: Context,
) -> Findings:
    """Verify on the chosen backend; on a card, measure the cases whose kernels that left standing."""
    options = context.options
    cases = _runnable(benchmarks)
    prepared = prepare(spec, cases, choice, context)
    on_card = choice.card is not None and options.case is None
    if on_card:
        findings = replace(findings, executed_plans=prepared.plans)
    ahead = context.ahead if on_card and options.reaches("measure") else None
    jobs: list[Job] = []
    if ahead is not None:
        jobs = jobs_of(benchmarks, cases, prepared.plans, prepared.executed, choice=choice, options=options)
        if not options.resume:  # else the journal will tell what is left to time
            ahead.begin(spec.name, jobs, choice.runner)
            for other, theirs in context.shared.later(spec, choice, options):
                ahead.begin(other.name, _compiled(other, theirs, prepared, options), theirs.runner)
    verification = verify(spec, prepared, choice, context)
    waivers = waiver_uses(verification) if options.case is None else {}
    findings = replace(findings, verification=verification, waivers=waivers)
    if ahead is None:
        return findings
    ahead.wait(spec.name, context.progress)  # it uses the card, which measuring takes for itself
    standing = {name for name, report in verification.reports.items() if report.failure is None}
    right = [job for job in jobs if job.task.plan.kernel in standing]  # a wrong kernel is not timed
    opened = partial(journal_of, spec, benchmarks, choice, context)
    return replace(findings, measured=measure(spec.name, right, choice, opened, context, ahead=ahead))


def _compiled(spec: Spec, choice: Choice, prepared: Prepared, options: Options) -> list[Job]:
    """What there will be to time of another spec, as far as it is compiled already."""
    benchmarks, executed = select(spec, options.only), prepared.executed
    cases = _runnable(benchmarks)
    plans = executed_plans(spec, cases, choice)
    here = [case for case in cases if _variant(case, plans[case.id]) in executed]
    return jobs_of(benchmarks, here, plans, executed, choice=choice, options=options)


def _variant(case: Case, plan: Plan) -> Variant:
    assert case.kernel is not None
    return variant_of(case.kernel, plan.parameters, plan.tunables)


def _runnable(benchmarks: Sequence[Benchmark]) -> list[Case]:
    """The cases of kernels; a decode step has none."""
    return [case for benchmark in benchmarks for case in benchmark.cases if case.kernel is not None]
