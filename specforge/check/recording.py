"""From findings and judgements to the record of one run."""

from __future__ import annotations

import dataclasses
import math
import platform
from datetime import UTC, datetime
from typing import Any, Literal

from specforge.check.backends import Choice
from specforge.check.evidence import Findings, waiver_uses
from specforge.check.held_out import digest_of
from specforge.check.options import PROFILES, Options
from specforge.check.variants import Variant, variant_of
from specforge.judge.verdict import Evidence, Judgement, Status
from specforge.kernel.build import Binary
from specforge.measure.measurement import Measurement
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
    JudgementEntry,
    MetricEntry,
    OutputErrorEntry,
    Record,
    Request,
    TargetEntry,
    WaiverEntry,
)
from specforge.record.provenance import input_files, input_paths, package_versions, sources
from specforge.record.store import seal
from specforge.settings import Settings
from specforge.spec.load import Benchmark, Spec
from specforge.spec.metrics import METRICS
from specforge.spec.sweep import Case
from specforge.spec.target import Target
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
    binaries = [*run.findings.binaries.items(), *run.findings.verification.executed.items()]
    kernels = {benchmark.kernel.identity for benchmark in run.benchmarks if benchmark.kernel}
    return seal(
        Record(
            record_version=1,
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
            ),
            sources=sources(spec.path, input_paths(spec), settings.commit),
            environment=_environment(run, settings),
            inputs=input_files(spec),
            trusted=sorted(f"reference of {identity}" for identity in kernels),
            benchmarks=[_benchmark(benchmark) for benchmark in run.benchmarks],
            binaries=[_binary(variant, binary) for variant, binary in binaries],
            fuzz=[_fuzz(report, run, options) for report in run.findings.verification.reports.values()],
            cases=[_case(case, run) for benchmark in run.benchmarks for case in benchmark.cases],
            targets=[target_entry(target) for target in run.targets],
            judgements=[judgement_entry(judgement) for judgement in run.judgements],
            status=int(run.status),
            seconds=round(run.seconds, 3),
        )
    )


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
        covered_parts=[part.name for part in benchmark.parts if part.benchmark is not None],
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
        worst_ratio=_ratio(report.worst_ratio),
        worst_row=report.worst.to_row() if report.worst else None,
        failure=failure.result.failure if failure else None,
        failure_kind=failure.result.kind if failure else None,
        failure_row=failure.example.to_row() if failure else None,
        replay=failure.example.command(str(spec.path), report.kernel, report.backend) if failure else None,
        repeated=report.repeated,
        waivers=[
            _waiver(use)
            for use in waiver_uses(run.findings, report.kernel) or report.waivers
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
            worst_ratio=_ratio(held.worst_ratio),
            failed=held.failure is not None,
        ),
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
        worst_ratio=_ratio(use.worst_ratio),
        worst_row=use.worst.to_row() if use.worst else None,
        sentence=str(use),
    )


def _case(case: Case, run: Run) -> CaseEntry:
    evidence = run.evidence[case.id]
    outcome = run.findings.measured.get(case.id)
    measured = outcome if isinstance(outcome, Measurement) else None
    checks = (measured.before, measured.after) if measured else ()
    errors = [error for check in checks if check is not None for error in check.errors]
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
            name: MetricEntry(value=value.value, unit=METRICS[name].unit, low=value.low, high=value.high)
            for name, value in evidence.values.items()
        },
        missing=dict(evidence.missing),
        errors=[_error(error) for error in errors],
        measurement=_measurement(measured) if measured else None,
        waived=evidence.waived,
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


def _measurement(measured: Measurement) -> dict[str, Any]:
    plain = {key: value for key, value in dataclasses.asdict(measured).items() if key not in ("before", "after")}
    return _plain(plain)  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON-like data
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value


def _error(error: OutputError) -> OutputErrorEntry:
    return OutputErrorEntry(
        output=error.output,
        ratio=_ratio(error.ratio),
        index=list(error.index),
        got=error.got,
        want=error.want,
        allowed=error.allowed,
        wrong_rows=error.wrong_rows,
        total_rows=error.total_rows,
    )


def _ratio(value: float) -> float | Literal["inf"]:
    return value if math.isfinite(value) else "inf"


def target_entry(target: Target) -> TargetEntry:
    """A target as a record holds it."""
    return TargetEntry(
        id=target.id,
        benchmark=target.benchmark,
        metric=target.metric.name,
        unit=target.metric.unit,
        comparison=target.comparison,
        bound=target.bound,
        when=target.when,
        level=target.level,
        baseline=target.baseline[0] if target.baseline else None,
        baseline_source=target.baseline[1] if target.baseline else None,
        known_miss=target.known_miss[0] if target.known_miss else None,
        known_miss_until=target.known_miss[1].isoformat() if target.known_miss else None,
        cases=list(target.cases),
        file=str(target.position.file),
        line=target.position.line,
        column=target.position.column,
        stage=target.metric.stage,
    )


def judgement_entry(judgement: Judgement) -> JudgementEntry:
    """A verdict as a record holds it."""
    return JudgementEntry(
        target=judgement.target,
        case=judgement.case,
        verdict=judgement.verdict.value,
        value=judgement.value,
        margin=judgement.margin,
        reason=judgement.reason,
        infrastructure=judgement.infrastructure,
    )
