"""What a run found out, gathered case by case into what judging needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import reduce

from specforge.backend.runner import KernelFault
from specforge.check.backends import Choice
from specforge.check.measurement import Outcome, Trouble
from specforge.check.options import Options
from specforge.check.variants import Variant, variant_of
from specforge.check.verification import Verification
from specforge.judge.verdict import Evidence, Value
from specforge.kernel.build import Binary
from specforge.kernel.occupancy import occupancy
from specforge.measure.measurement import Measurement
from specforge.spec.geometry import Plan
from specforge.spec.load import Benchmark, Spec
from specforge.spec.metrics import METRICS
from specforge.spec.sweep import Case
from specforge.verify.example import Example
from specforge.verify.fuzz import FuzzReport
from specforge.verify.waiver import Waivers, WaiverUse

STAND_INS = 10
"""Examples of a case's own binary that stand for the case where it is too large to be emulated itself."""


@dataclass(frozen=True, slots=True)
class Findings:
    """The results of every step that ran; a step that did not run left its part empty."""

    plans: dict[str, Plan] = field(default_factory=dict)
    """By case id, for the spec's own device."""
    binaries: dict[Variant, Binary] = field(default_factory=dict)
    """For the spec's own architecture."""
    verification: Verification = field(default_factory=Verification)
    executed_plans: dict[str, Plan] = field(default_factory=dict)
    """By case id, for the card that ran."""
    measured: dict[str, Outcome] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scope:
    """A spec, what was found, where it ran (None: nothing was to be executed), and what was asked for."""

    spec: Spec
    findings: Findings
    choice: Choice | None
    options: Options


def gather(scope: Scope, benchmark: Benchmark, case: Case) -> Evidence:
    """Everything known about one case."""
    findings = scope.findings
    if case.kernel is None:
        covered = sum(part.benchmark is not None for part in benchmark.parts)
        reason = f"{covered} of {len(benchmark.parts)} kernels of the step exist; the whole cannot be timed yet"
        return Evidence(case.id, missing={"*": reason})
    values: dict[str, Value] = {}
    missing: dict[str, str] = {}
    if findings.binaries:
        values |= _static(scope, case)
    report = findings.verification.reports.get(case.kernel.identity)
    own = findings.verification.own.get(case.id)
    outcome = findings.measured.get(case.id)
    wrong, fault = _failure(report, f"{case.kernel.identity} fails")
    if wrong is None and fault is None:
        wrong, fault = _failure(own, "this case fails")
    uses = waiver_uses(findings, case.kernel.identity) if scope.options.case is None else ()
    if wrong is None and fault is None:
        wrong = next((str(use) for use in uses if use.verdict == "unneeded"), None)
    waived = _waived(case)
    doubt = _doubt(scope, case, report, own)
    if doubt is None:
        doubt = next((str(use) for use in uses if use.verdict == "untried"), None)
    verified = report is not None and wrong is None and fault is None and doubt is None
    if doubt is not None:
        missing["*"] = doubt
    ratio = _own_ratio(own)
    trouble, implausible = findings.verification.trouble.get(case.kernel.identity), None
    match outcome:
        case Measurement():
            bad = _measured_wrong(outcome)
            wrong = wrong or (bad if waived is None or not _is_waived(case, outcome) else None)
            verified = outcome.verified and wrong is None and fault is None
            missing.pop("*", None)
            implausible = _implausible(outcome)
            values |= _timed(scope, case, outcome)
            if outcome.refusal:
                missing["*"] = outcome.refusal if bad is None or wrong is not None or waived is None else waived
            ratio = max((check.ratio for check in (outcome.before, outcome.after) if check is not None), default=ratio)
        case KernelFault():
            fault = fault or str(outcome)
        case Trouble():
            trouble = str(outcome)
    if ratio is not None and math.isfinite(ratio):
        values["error_ratio"] = Value(ratio)
    missing |= {
        name: reason for name, reason in _missing(scope, case).items() if name not in values and "*" not in missing
    }
    return Evidence(case.id, verified, wrong, implausible, fault, trouble, values, missing, waived)


def waiver_uses(findings: Findings, kernel: str) -> tuple[WaiverUse, ...]:
    """What each waiver of a kernel was used for, in fuzzing, on held-out inputs and in the spec's own cases together.

    Empty where the search ended with a failure: then it says nothing of what is no longer needed.
    """
    report = findings.verification.reports.get(kernel)
    if report is None or report.failure is not None:
        return ()
    own = [found for found in findings.verification.own.values() if found.kernel == kernel]
    searches = [report, *([report.held_out] if report.held_out is not None else []), *own]
    first, *others = (search.waivers for search in searches)
    return tuple(reduce(WaiverUse.merged, found) for found in zip(first, *others, strict=True))


def _waived(case: Case) -> str | None:
    """Why wrong values of a case are accepted for now; None where no waiver is in force."""
    assert case.kernel is not None
    use = Waivers(case.kernel, date.today()).active({**case.parameters, **case.tunables})
    if use is None:
        return None
    return f"wrong values waived until {use.until} ({use.position.file}:{use.position.line}): {use.reason}"


def _is_waived(case: Case, outcome: Measurement) -> bool:
    """Whether what was wrong around the timing is nothing but what the case's waivers cover."""
    assert case.kernel is not None
    waivers, known = Waivers(case.kernel, date.today()), {**case.parameters, **case.tunables}
    example = Example(dict(case.parameters))
    checks = [check for check in (outcome.before, outcome.after) if check is not None]
    return all(waivers.weigh(known, example, check).passed for check in checks)


def _failure(report: FuzzReport | None, subject: str) -> tuple[str | None, str | None]:
    """What a failing report says, as a wrong result or as a fault."""
    if report is None or report.failure is None:
        return None, None
    sentence = f"{subject}: {report.failure.result.failure}"
    return (None, sentence) if report.failure.result.kind == "fault" else (sentence, None)


def _doubt(scope: Scope, case: Case, report: FuzzReport | None, own: FuzzReport | None) -> str | None:
    """Why this case's result is not verified; None where it is.

    A case is verified by running it. Beyond what can be emulated, examples of the binary that it runs stand for it.
    """
    if report is None:
        return None if not scope.options.reaches("verify") else "the kernel was not run"
    if own is not None and own.failure is None and own.examples > 0:
        return None
    if scope.findings.measured:
        return "the case was to be verified where it is measured, and was not"
    if case.id not in scope.findings.verification.beyond:
        return "the case was not run: the wall budget of its kernel was used up (--seconds)"
    plan = scope.findings.plans[case.id]
    wanted = {name: {**plan.parameters, **plan.tunables}[name] for name in report.tried[0][0]} if report.tried else {}
    count = sum(number for bindings, number in report.tried if bindings == wanted)
    if count >= STAND_INS:
        return None
    return f"too large to emulate, and {count} examples of its binary ran where {STAND_INS} are due (--examples)"


def _own_ratio(own: FuzzReport | None) -> float | None:
    if own is None or own.examples == 0:
        return None
    return own.failure.result.ratio if own.failure is not None else own.worst_ratio


def _measured_wrong(outcome: Measurement) -> str | None:
    for when, check in (("before timing", outcome.before), ("in a timed launch", outcome.after)):
        if check is not None and not check.passed:
            return f"wrong {when}: {check.failure}"
    return None


def _implausible(outcome: Measurement) -> str | None:
    if not outcome.implausible or outcome.median is None or outcome.floor is None:
        return None
    return f"{outcome.median * 1e6:.3f} us is faster than the roofline's {outcome.floor * 1e6:.3f} us"


def _static(scope: Scope, case: Case) -> dict[str, Value]:
    assert case.kernel is not None
    findings = scope.findings
    plan = findings.plans[case.id]
    binary = findings.binaries[variant_of(case.kernel, case.parameters, case.tunables)]
    used = [binary.resources[launch.entry] for launch in plan.launches]
    shares = [
        occupancy(binary.resources[launch.entry], launch, scope.spec.device.file).share for launch in plan.launches
    ]
    return {
        "registers": Value(max(entry.registers for entry in used)),
        "spill_bytes": Value(sum(entry.spill_bytes for entry in used)),
        "stack_bytes": Value(max(entry.stack_bytes for entry in used)),
        "static_shared_bytes": Value(max(entry.static_shared_bytes for entry in used)),
        "cubin_bytes": Value(binary.cubin_bytes),
        "occupancy": Value(min(shares)),
    }


def _timed(scope: Scope, case: Case, outcome: Measurement) -> dict[str, Value]:
    """Metrics that follow from the samples; absolute ones only on the spec's own card."""
    if outcome.median is None or outcome.low is None or outcome.high is None:
        return {}
    choice, findings = scope.choice, scope.findings
    plan = findings.executed_plans[case.id]
    found: dict[str, Value] = {}
    if choice is not None and choice.matches:
        found["latency"] = Value(outcome.median, outcome.low, outcome.high)
        found["bandwidth"] = Value(*(plan.bytes / time for time in (outcome.median, outcome.high, outcome.low)))
    if choice is not None and choice.device is not None:
        bandwidth = float(choice.device.names["device.memory_bandwidth"])
        rate = float(choice.device.names["device.bf16_rate"])
        least = max(plan.bytes / bandwidth, plan.flops / rate)
        times = (outcome.median, outcome.high, outcome.low)
        found["peak_bandwidth_share"] = Value(*(plan.bytes / time / bandwidth for time in times))
        found["roofline_share"] = Value(*(least / time for time in times))
    return found


def _missing(scope: Scope, case: Case) -> Mapping[str, str]:
    """Why each metric that has no value has none."""
    findings, choice, options = scope.findings, scope.choice, scope.options
    found: dict[str, str] = {}
    if case.id in findings.verification.beyond:
        found["error_ratio"] = "this case is too large for the emulator; a card runs it"
    if choice is None or not options.reaches("measure"):
        return found
    if choice.card is None:
        reason = choice.absent
    elif not choice.matches:
        reason = f"this ran on {choice.card.name}; the figure is {scope.spec.device.file.name}'s"
    else:
        reason = "no time was obtained"
    for metric in METRICS.values():
        if metric.stage == "measure":
            found[metric.name] = reason
    if choice.card is not None and choice.device is None:
        for name in ("peak_bandwidth_share", "roofline_share"):
            found[name] = f"no device file knows {choice.card.name}, so there is no peak to take a share of"
    return found
