"""From findings and judgements to the record of one run."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Iterable
from datetime import UTC, datetime

from specforge.check.backends import Choice
from specforge.check.cells import measurement_entry, peer_entry, ratio_entry, session_entry
from specforge.check.evidence import Findings
from specforge.check.held_out import digest_of
from specforge.check.jobs import timing_of
from specforge.check.judged import judgement_entry, target_entry
from specforge.check.options import Options
from specforge.check.profile import PROFILES
from specforge.check.variants import Variant, variant_of
from specforge.judge.verdict import Evidence, Judgement, Status
from specforge.kernel.build import Binary
from specforge.measure.cell import Cell
from specforge.record.model import (
    BenchmarkEntry,
    BinaryEntry,
    CaseEntry,
    EffortEntry,
    EntryResources,
    Environment,
    FuzzEntry,
    HeldOutEntry,
    HeldOutSeed,
    MetricEntry,
    OutputErrorEntry,
    Record,
    Request,
    TimingEntry,
    WaiverEntry,
)
from specforge.record.provenance import input_files, input_paths, package_versions, sources
from specforge.record.store import seal
from specforge.settings import Settings
from specforge.spec.interface import Kernel
from specforge.spec.load import Benchmark, Spec
from specforge.spec.peers import declared_peers
from specforge.spec.sweep import Case
from specforge.spec.target import Target, metric_of
from specforge.verify.compare import OutputError
from specforge.verify.fuzz import FuzzReport
from specforge.verify.waiver import WaiverUse


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """Everything about one spec's run that the record is made from."""

    spec: Spec
    benchmarks: tuple[Benchmark, ...]
    findings: Findings
    choice: Choice | None
    targets: list[Target]
    evidence: dict[str, Evidence]
    judgements: list[Judgement]
    status: Status
    seconds: float


def record_of(run: Run, options: Options, settings: Settings) -> Record:
    """The sealed record of a run."""
    spec = run.spec
    tunings = [run.choice.tunings] if run.choice is not None else []
    binaries = [*run.findings.binaries.items(), *run.findings.verification.executed.items()]
    kernels = {benchmark.kernel.identity: benchmark.kernel for benchmark in run.benchmarks if benchmark.kernel}
    return seal(
        Record(
            record_version=2,
            digest="",
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            spec=spec.name,
            spec_path=str(spec.path),
            device=spec.device.file.device,
            device_name=spec.device.file.name,
            architecture=spec.device.architecture,
            request=Request(
                arguments=list(options.arguments),
                until=options.until,
                only=options.only,
                seed=options.seed,
                examples=options.examples or PROFILES[options.profile].examples,
                profile=options.profile,
                held_out=_held_out_seed(run, options),
                sanitize=options.sanitize if run.choice is not None and run.choice.card is None else None,
                timing=_timings(run, options),
            ),
            sources=sources(spec.path, input_paths(spec, *tunings), settings.commit),
            environment=_environment(run, settings),
            inputs=input_files(spec, *tunings),
            trusted=trusted(kernels.values()),
            benchmarks=[_benchmark(benchmark) for benchmark in run.benchmarks],
            binaries=[_binary(variant, binary) for variant, binary in binaries],
            fuzz=[_fuzz(report, run, options) for report in run.findings.verification.reports.values()],
            cases=[_case(case, run) for benchmark in run.benchmarks for case in benchmark.cases],
            targets=[target_entry(target) for target in run.targets],
            judgements=[judgement_entry(judgement) for judgement in run.judgements],
            status=int(run.status),
            seconds=round(run.seconds, 3),
            session=session_entry(run.findings.measured),
            resumed=list(run.findings.measured.resumed),
        )
    )


def _timings(run: Run, options: Options) -> dict[str, TimingEntry]:
    """How each benchmark was to be timed, where the run was to time anything."""
    if not run.findings.measured.outcomes:
        return {}
    found = {}
    for benchmark in run.benchmarks:
        if benchmark.kernel is not None:
            timing = timing_of(benchmark, options)
            modes = list(timing.modes_of(chained=bool(benchmark.kernel.file.chain)))
            found[benchmark.name] = TimingEntry(
                precision=timing.precision,
                processes=timing.processes,
                seconds=timing.seconds,
                modes=modes,
                peer_processes=timing.peer_processes,
            )
    return found


def trusted(kernels: Iterable[Kernel]) -> list[str]:
    """Host code that has a say in a record: every kernel's reference and peers."""
    found = []
    for kernel in kernels:
        found.append(f"reference of {kernel.identity}")
        peers = declared_peers(kernel.peers) if kernel.peers is not None else {}
        found += [f"peer {name} of {kernel.identity}" for name in peers]
    return sorted(found)


def _environment(run: Run, settings: Settings) -> Environment:
    choice = run.choice
    compiler = next((binary.compiler for binary in run.findings.binaries.values()), "none")
    return Environment(
        backend=choice.name if choice else "none",
        python=platform.python_version(),
        platform=platform.platform(),
        compiler=compiler,
        host_compiler=_host_compiler(settings) if choice is not None and choice.card is None else None,
        packages=package_versions(),
        card=dataclasses.asdict(choice.card) if choice and choice.card else None,
        device_matches=bool(choice and choice.matches),
    )


def _host_compiler(settings: Settings) -> str:
    from specforge.backend.emulator.compiler import find_host_compiler

    found = find_host_compiler(settings.cxx)
    return f"{found.kind} {found.version}"


def _benchmark(benchmark: Benchmark) -> BenchmarkEntry:
    return BenchmarkEntry(
        name=benchmark.name,
        kernel=benchmark.kernel.identity if benchmark.kernel else None,
        cases=len(benchmark.cases),
        targeted=benchmark.targeted(),
        excluded={excluded.id: excluded.reason for excluded in benchmark.excluded},
        parts=[part.name for part in benchmark.parts],
        covered_parts=list(benchmark.covered),
    )


def _binary(variant: Variant, binary: Binary) -> BinaryEntry:
    return BinaryEntry(
        kernel=variant.kernel.identity,
        bindings=dict(variant.bindings),
        arch=binary.arch,
        compiler=binary.compiler,
        flags=list(binary.flags),
        source_sha256=binary.source_sha256,
        cubin_sha256=binary.cubin_sha256,
        cubin_bytes=binary.cubin_bytes,
        entries={
            name: EntryResources(
                registers=entry.registers,
                spill_bytes=entry.spill_bytes,
                stack_bytes=entry.stack_bytes,
                static_shared_bytes=entry.static_shared_bytes,
            )
            for name, entry in binary.resources.items()
        },
    )


def _held_out_seed(run: Run, options: Options) -> HeldOutSeed | None:
    """The secret, where it was used: otherwise it is still one."""
    seed = options.held_out_seed
    used = any(report.held_out is not None for report in run.findings.verification.reports.values())
    return HeldOutSeed(seed=seed, sha256=digest_of(seed)) if seed is not None and used else None


def _fuzz(report: FuzzReport, run: Run, options: Options) -> FuzzEntry:
    spec, held = run.spec, report.held_out
    kernel = next(item.kernel for item in run.benchmarks if item.kernel and item.kernel.identity == report.kernel)
    profile = options.profile_of(kernel)
    failure = report.failure
    return FuzzEntry(
        kernel=report.kernel,
        backend=report.backend,
        examples=report.examples,
        variants=report.variants,
        seconds=round(report.seconds, 3),
        out_of_time=report.out_of_time,
        covered=report.covered,
        worst_ratio=ratio_entry(report.worst_ratio),
        worst_row=report.worst.to_row() if report.worst else None,
        failure=failure.result.failure if failure else None,
        failure_kind=failure.result.kind if failure else None,
        failure_row=failure.example.to_row() if failure else None,
        replay=failure.example.command(str(spec.path), report.kernel, report.backend) if failure else None,
        repeated=report.repeated,
        waivers=[
            _waiver(use)
            for use in run.findings.waivers.get(report.kernel) or report.waivers
            if options.case is None or use.failed  # one example says nothing of what is no longer needed
        ],
        effort=None
        if options.case is not None
        else EffortEntry(examples=profile.examples, seconds=profile.seconds, shrink_seconds=profile.shrink_seconds),
        held_out=None
        if held is None
        else HeldOutEntry(
            examples=held.examples,
            dropped=held.dropped,
            seconds=round(held.seconds, 3),
            out_of_time=held.out_of_time,
            worst_ratio=ratio_entry(held.worst_ratio),
            failed=held.failure is not None,
        ),
        searched_for=report.searched_for,
    )


def _waiver(use: WaiverUse) -> WaiverEntry:
    return WaiverEntry(
        file=str(use.position.file),
        line=use.position.line,
        when=use.when,
        reason=use.reason,
        until=use.until.isoformat(),
        output=use.output,
        verdict=use.verdict,
        inside=use.inside,
        failed=use.failed,
        worst_ratio=ratio_entry(use.worst_ratio),
        worst_row=use.worst.to_row() if use.worst else None,
        sentence=str(use),
    )


def _case(case: Case, run: Run) -> CaseEntry:
    evidence = run.evidence[case.id]
    measured = run.findings.measured
    cell = measured.outcomes[case.id].cell if case.id in measured.outcomes else Cell(())
    errors = _worst(error for check in cell.checks for error in check.errors)
    own = run.findings.verification.own.get(case.id)
    if not errors and own is not None and own.failure is not None:
        errors = list(own.failure.result.errors)
    executed = _executed_index(case, run)
    return CaseEntry(
        id=case.id,
        benchmark=case.benchmark,
        kernel=case.kernel.identity if case.kernel else None,
        parameters=case.parameters,
        tunables=run.findings.executed_plans[case.id].tunables
        if case.id in run.findings.executed_plans
        else case.tunables,
        binary=_static_index(case, run),
        executed_binary=executed,
        verified=evidence.verified,
        wrong=evidence.wrong,
        implausible=evidence.implausible,
        fault=evidence.fault,
        trouble=evidence.trouble,
        metrics={
            name: MetricEntry(
                value=value.value, unit=metric_of(name).unit, low=value.low, high=value.high, doubt=value.doubt
            )
            for name, value in evidence.values.items()
        },
        missing=dict(evidence.missing),
        errors=[_error(error) for error in errors],
        measurement=measurement_entry(cell, measured.session.overhead if measured.session else 0.0),
        waived=evidence.waived,
        peers={name: peer_entry(peer) for name, peer in run.findings.peers.get(case.id, {}).items()},
    )


def _static_index(case: Case, run: Run) -> int | None:
    if case.kernel is None or not run.findings.binaries:
        return None
    return list(run.findings.binaries).index(variant_of(case.kernel, case.parameters, case.tunables))


def _executed_index(case: Case, run: Run) -> int | None:
    plan = run.findings.executed_plans.get(case.id)
    executed = list(run.findings.verification.executed)
    if case.kernel is None or plan is None or not executed:
        return None
    return len(run.findings.binaries) + executed.index(variant_of(case.kernel, plan.parameters, plan.tunables))


def _worst(errors: Iterable[OutputError]) -> list[OutputError]:
    """Of each output the largest error that any check of any process found."""
    found: dict[str, OutputError] = {}
    for error in errors:
        if error.output not in found or error.ratio > found[error.output].ratio:
            found[error.output] = error
    return list(found.values())


def _error(error: OutputError) -> OutputErrorEntry:
    return OutputErrorEntry(
        output=error.output,
        ratio=ratio_entry(error.ratio),
        index=list(error.index),
        got=error.got,
        want=error.want,
        allowed=error.allowed,
        wrong_rows=error.wrong_rows,
        total_rows=error.total_rows,
    )
