"""What a run found out, gathered case by case into what judging needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import reduce

from specforge.check.backends import Choice
from specforge.check.fuzzing import STAND_INS, Verification
from specforge.check.measurement import Measured, Outcome
from specforge.check.metrics import floors_of, measured_values
from specforge.check.options import Options
from specforge.check.peers import speedups
from specforge.check.variants import Variant, variant_of
from specforge.judge.verdict import Evidence, Value
from specforge.kernel.build import Binary
from specforge.kernel.occupancy import occupancy
from specforge.measure.cell import Cell
from specforge.measure.peer import PeerCell
from specforge.spec.geometry import Plan, is_specialised
from specforge.spec.load import Benchmark, Spec
from specforge.spec.metrics import METRICS
from specforge.spec.sweep import Case
from specforge.verify.example import Example
from specforge.verify.fuzz import FuzzReport
from specforge.verify.waiver import Waivers, WaiverUse


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
    measured: Measured = field(default_factory=Measured)
    waivers: dict[str, tuple[WaiverUse, ...]] = field(default_factory=dict)
    """By kernel, as `waiver_uses` gives them; one example that is replayed says nothing of what is needed."""

    @property
    def peers(self) -> dict[str, dict[str, PeerCell]]:
        """By case id and peer."""
        return {case: outcome.peers for case, outcome in self.measured.outcomes.items()}


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
        covered = len(benchmark.covered)
        reason = f"{covered} of {len(benchmark.parts)} kernels of the step exist; the whole cannot be timed yet"
        return Evidence(case.id, missing={"*": reason})
    values: dict[str, Value] = {}
    missing: dict[str, str] = {}
    fast = is_specialised(case.kernel, case.parameters)
    if fast is not None:
        values["specialised"] = Value(int(fast))
    if findings.binaries:
        values |= _static(scope, case)
    report = findings.verification.reports.get(case.kernel.identity)
    own = findings.verification.own.get(case.id)
    outcome = findings.measured.outcomes.get(case.id)
    wrong, fault = _failure(report, f"{case.kernel.identity} fails")
    if wrong is None and fault is None:
        wrong, fault = _failure(own, "this case fails")
    uses = findings.waivers.get(case.kernel.identity, ())
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
    if outcome is not None and outcome.cell.rounds:
        cell = outcome.cell
        bad = _measured_wrong(cell)
        wrong = wrong or (bad if waived is None or not _is_waived(case, cell) else None)
        verified = cell.verified and wrong is None and fault is None
        missing.pop("*", None)
        found, why, implausible = _timed(scope, case, outcome)
        values |= found
        missing |= why
        if cell.refusal:
            missing["*"] = cell.refusal if bad is None or wrong is not None or waived is None else waived
        ratio = max((check.ratio for check in cell.checks), default=ratio)
    if outcome is not None and outcome.fault is not None:
        fault = fault or str(outcome.fault)
    if outcome is not None and outcome.trouble is not None:
        trouble = outcome.trouble
    if ratio is not None and math.isfinite(ratio):
        values["error_ratio"] = Value(ratio)
    known = values.keys() | missing.keys()
    missing |= {name: reason for name, reason in _missing(scope, case).items() if not {name, "*"} & known}
    return Evidence(case.id, verified, wrong, implausible, fault, trouble, values, missing, waived)


def waiver_uses(verification: Verification) -> dict[str, tuple[WaiverUse, ...]]:
    """By kernel, what each waiver was used for, in fuzzing, on held-out inputs and in the spec's own cases together.

    Without the kernels whose search ended with a failure: it says nothing of what is no longer needed.
    """
    uses: dict[str, tuple[WaiverUse, ...]] = {}
    for kernel, report in verification.reports.items():
        if report.failure is None:
            own = [found for found in verification.own.values() if found.kernel == kernel]
            held_out = [report.held_out] if report.held_out is not None else []
            searches = (search.waivers for search in (report, *held_out, *own))
            uses[kernel] = tuple(reduce(WaiverUse.merged, found) for found in zip(*searches, strict=True))
    return uses


def _waived(case: Case) -> str | None:
    """Why wrong values of a case are accepted for now; None where no waiver is in force."""
    assert case.kernel is not None
    use = Waivers(case.kernel, date.today()).active({**case.parameters, **case.tunables})
    if use is None:
        return None
    return f"wrong values waived until {use.until} ({use.position.file}:{use.position.line}): {use.reason}"


def _is_waived(case: Case, cell: Cell) -> bool:
    """Whether what was wrong around the timing is nothing but what the case's waivers cover."""
    assert case.kernel is not None
    waivers, known = Waivers(case.kernel, date.today()), {**case.parameters, **case.tunables}
    example = Example(dict(case.parameters))
    return all(waivers.weigh(known, example, check).passed for check in cell.checks)


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
        assert case.kernel is not None
        why = scope.findings.verification.trouble.get(case.kernel.identity, "the kernel was not run")
        return why if scope.options.reaches("verify") else None
    if own is not None and own.failure is None and own.examples > 0:
        return None
    if scope.findings.measured.outcomes:
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


def _measured_wrong(cell: Cell) -> str | None:
    for one in cell.rounds:
        for when, check in (("before timing", one.before), ("in a timed launch", one.after)):
            if check is not None and not check.passed:
                return f"wrong {when}: {check.failure}"
    return None


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


def _timed(scope: Scope, case: Case, outcome: Outcome) -> tuple[dict[str, Value], dict[str, str], str | None]:
    """Metrics that follow from the samples, by name why others do not, and what is implausible about them.

    A case that trouble kept from some of its processes has none: its interval would be another than was asked for.
    """
    choice, cell = scope.choice, outcome.cell
    assert choice is not None
    plan = scope.findings.executed_plans[case.id]
    implausible = cell.implausible(floors_of(plan, choice))
    if outcome.fault is not None or outcome.trouble is not None or cell.refusal is not None:
        return {}, {}, implausible
    values, missing = measured_values(plan, cell, choice, scope.findings.measured.session)
    ratios, absent = speedups(cell if cell.cold != "unproven" else None, outcome.peers)
    return values | ratios, missing | absent, implausible


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
    timed = (metric for metric in METRICS.values() if metric.stage == "measure")
    return found | {metric.name: "no target names a peer" if metric.peer else reason for metric in timed}
