"""Sweeps: matrix, zip, explicit cases and exclusions, expanded into cases with every parameter bound."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from specforge.diagnostics import Diagnostic, Position, SpecForgeError, fail, shorten, suggest
from specforge.expressions import ExpressionError, Scalar
from specforge.spec.document import Document, Location
from specforge.spec.interface import Kernel, check_names, expression_diagnostic
from specforge.spec.tuning import Tunings
from specforge.spec.workload import KernelBenchmark, Narrowing, Sweep

MAX_CASES = 10_000
MAX_FINDINGS = 20


@dataclass(frozen=True, slots=True)
class Case:
    """One point of a sweep. `axes` are the parameters that vary; `origins` says which line bound each parameter.

    It names the line of each tunable, too, that a tuning file sets.
    """

    benchmark: str
    kernel: Kernel | None
    parameters: dict[str, Scalar]
    tunables: dict[str, Scalar]
    axes: tuple[str, ...]
    origins: dict[str, Position]

    @property
    def id(self) -> str:
        """Stable name: the benchmark and the values on its axes."""
        row = ",".join(f"{name}={_plain(self.parameters[name])}" for name in self.axes)
        return f"{self.benchmark}[{row}]" if row else self.benchmark


@dataclass(frozen=True, slots=True)
class Excluded:
    """A case that was left out, and why."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Frame:
    """What a sweep is expanded against: where it stands and which names its bindings may use."""

    name: str
    document: Document
    location: Location
    kernel: Kernel | None
    names: dict[str, Scalar]
    device_names: dict[str, Scalar]
    narrowing: tuple[Narrowing, Document, Location] | None = None
    tunings: Tunings = field(default_factory=Tunings)


def expand(section: Sweep, frame: Frame) -> tuple[tuple[Case, ...], tuple[Excluded, ...]]:
    """All cases in author order and those excluded; every fault positioned, all raised together."""
    if isinstance(section, KernelBenchmark):
        fixed, origins = _bindings(section, frame)
    else:
        fixed, origins = {}, {}
    axes = _axes(section, frame)
    _check_parameters(frame, fixed, axes)
    cases: list[Case] = []
    found: list[Diagnostic] = []
    for row, places in _rows(section, frame):
        if len(found) >= MAX_FINDINGS:
            break
        parameters = _ordered(frame.kernel, {**fixed, **row})
        here = {**origins, **places}
        problems = list(_check_values(frame, parameters, here, axes))
        found += [problem for problem in problems if problem not in found]
        if not problems:
            cases.append(Case(frame.name, frame.kernel, parameters, {}, tuple(axes), here))
    if found:
        raise SpecForgeError(*found[:MAX_FINDINGS])
    kept, excluded = _exclude(section, frame, cases)
    _check_duplicates(frame, kept)
    for case in kept:
        _check_constraints(frame, case)
    if frame.kernel is not None:
        kernel = frame.kernel
        kept = [
            Case(
                case.benchmark,
                kernel,
                case.parameters,
                frame.tunings.tunables(kernel, case.parameters, frame.device_names),
                case.axes,
                case.origins | frame.tunings.origins(kernel, case.parameters),
            )
            for case in kept
        ]
    return tuple(kept), tuple(excluded)


def _bindings(section: KernelBenchmark, frame: Frame) -> tuple[dict[str, Scalar], dict[str, Position]]:
    values: dict[str, Scalar] = {}
    origins: dict[str, Position] = {}
    found: list[Diagnostic] = []
    for name, value in section.bind.items():
        location = (*frame.location, "bind", name)
        origins[name] = frame.document.at(location)
        try:
            values[name] = value if isinstance(value, bool | int | float | str) else value.evaluate(frame.names)
        except ExpressionError as error:
            hint = suggest(error.name, frame.names) if error.name else None
            found.append(expression_diagnostic(error, frame.document, location, hint))
    if found:
        raise SpecForgeError(*found)
    return values, origins


def _axes(section: Sweep, frame: Frame) -> list[str]:
    """Names that vary, in author order; a name on two axes is an error."""
    names = [*section.matrix, *section.zip]
    for name in section.zip:
        if name in section.matrix:
            raise fail(
                "SF404",
                f"{name!r} stands in both matrix and zip",
                frame.document.at((*frame.location, "zip", name), key=True),
            )
    lengths = {len(values) for values in section.zip.values()}
    if len(lengths) > 1:
        counts = ", ".join(f"{name}: {len(values)}" for name, values in section.zip.items())
        raise fail(
            "SF406",
            f"zip runs its lists in step, but their lengths differ ({counts})",
            frame.document.at((*frame.location, "zip"), key=True),
        )
    total = math.prod(len(values) for values in section.matrix.values()) * (lengths.pop() if lengths else 1) + len(
        section.cases
    )
    if total > MAX_CASES:
        raise fail(
            "SF412",
            f"the sweep makes {total:,} cases; at most {MAX_CASES:,} are allowed",
            frame.document.at(frame.location, key=True),
        )
    for row in section.cases:
        names += [name for name in row if name not in names]
    return names


def _check_parameters(frame: Frame, fixed: dict[str, Scalar], axes: list[str]) -> None:
    if frame.kernel is None:
        return
    declared = frame.kernel.file.parameters
    found = []
    for name in [*fixed, *(name for name in axes if name not in fixed)]:
        if name not in declared:
            place: Location = (*frame.location, "bind", name) if name in fixed else _place(frame, name)
            message, where = (
                f"kernel {frame.kernel.identity} has no parameter {name!r}",
                frame.document.at(place, key=True),
            )
            found.append(Diagnostic("SF404", message, where, name, suggest(name, declared)))
    for name in axes:
        if name in fixed:
            where = frame.document.at(_place(frame, name), key=True)
            found.append(Diagnostic("SF404", f"{name!r} is both bound and swept", where, name, "keep one of the two"))
    if found:
        raise SpecForgeError(*found)


def _place(frame: Frame, name: str) -> Location:
    for section in ("matrix", "zip"):
        location = (*frame.location, section, name)
        if location in frame.document.keys:
            return location
    return (*frame.location, "cases")


def _rows(section: Sweep, frame: Frame) -> Iterator[tuple[dict[str, Scalar], dict[str, Position]]]:
    """The product of matrix and zip, then the explicit cases; one empty row where there is no sweep at all."""
    axes: list[list[tuple[dict[str, Scalar], dict[str, Position]]]] = []
    axes += (
        [({name: value}, {name: _value_at(frame, ("matrix", name), index)}) for index, value in enumerate(values)]
        for name, values in section.matrix.items()
    )
    if section.zip:
        names = list(section.zip)
        steps = zip(*section.zip.values(), strict=True)
        axes.append(
            [
                (dict(zip(names, step, strict=True)), {name: _value_at(frame, ("zip", name), index) for name in names})
                for index, step in enumerate(steps)
            ]
        )
    if axes or not section.cases:
        for combination in itertools.product(*axes):
            row: dict[str, Any] = {}
            places: dict[str, Position] = {}
            for values_here, places_here in combination:
                row |= values_here
                places |= places_here
            yield row, places
    for index, explicit in enumerate(section.cases):
        yield dict(explicit), {name: frame.document.at((*frame.location, "cases", index, name)) for name in explicit}


def _value_at(frame: Frame, axis: tuple[str, str], index: int) -> Position:
    return frame.document.at((*frame.location, *axis, index))


def _ordered(kernel: Kernel | None, parameters: dict[str, Scalar]) -> dict[str, Scalar]:
    if kernel is None:
        return parameters
    known = {name: parameters[name] for name in kernel.file.parameters if name in parameters}
    return known | parameters


def _check_values(
    frame: Frame, parameters: dict[str, Scalar], origins: dict[str, Position], axes: list[str]
) -> Iterator[Diagnostic]:
    if frame.kernel is None:
        for name in axes:
            if name not in parameters:
                where = next(iter(origins.values()), frame.document.at(frame.location, key=True))
                advice = "every case of a decode step binds the same axes"
                yield Diagnostic("SF403", f"{name!r} is not bound in this case", where, None, advice)
        return
    for name, declared in frame.kernel.file.parameters.items():
        if name not in parameters:
            where = frame.document.at(frame.location, key=True)
            message = f"parameter {name!r} of {frame.kernel.identity} is not bound"
            yield Diagnostic("SF403", message, where, None, f"bind it, or sweep it; its domain: {declared.domain}")
        elif parameters[name] not in declared.domain:
            value = parameters[name]
            listed = [str(item) for item in declared.domain.listed]
            hint = suggest(value, listed) if isinstance(value, str) and listed else None
            message = f"{name} = {shorten(_plain(value))} lies outside the kernel's domain: {declared.domain}"
            yield Diagnostic("SF405", message, origins.get(name), shorten(_plain(value)), hint)


def _exclude(section: Sweep, frame: Frame, cases: list[Case]) -> tuple[list[Case], list[Excluded]]:
    rules = [
        (rule.when, True, rule.reason, frame.document, (*frame.location, "exclude", index, "when"))
        for index, rule in enumerate(section.exclude)
    ]
    if frame.narrowing:
        narrowing, document, location = frame.narrowing
        rules.append((narrowing.keep, False, narrowing.reason, document, (*location, "keep")))
    excluded: list[Excluded] = []
    for formula, drop_when, reason, document, location in rules:
        problems = list(check_names(formula, cases[0].parameters, document, location))
        if problems:
            raise SpecForgeError(*problems)
        kept = []
        for case in cases:
            try:
                hit = formula.truth(case.parameters) == drop_when
            except ExpressionError as error:
                raise SpecForgeError(expression_diagnostic(error, document, location)) from None
            if hit:
                excluded.append(Excluded(case.id, reason))
            else:
                kept.append(case)
        if len(kept) == len(cases):
            hint = "remove it, or correct its condition"
            raise fail("SF407", "this leaves no case out", document.at(location), value=formula.text, hint=hint)
        if not kept:
            message, hint = "this leaves out every case that was left", "drop the benchmark, or keep some of its cases"
            raise fail("SF406", message, document.at(location), value=formula.text, hint=hint)
        cases = kept
    return cases, excluded


def _check_duplicates(frame: Frame, cases: list[Case]) -> None:
    seen: set[str] = set()
    for case in cases:
        if case.id in seen:
            where = case.origins.get(case.axes[0]) if case.axes else None
            where = where or frame.document.at(frame.location, key=True)
            raise fail("SF406", f"the case {case.id} stands twice in the sweep", where, value=case.id)
        seen.add(case.id)


def _check_constraints(frame: Frame, case: Case) -> None:
    if frame.kernel is None:
        return
    for constraint in frame.kernel.file.constraints:
        try:
            holds = constraint.that.truth(case.parameters)
        except ExpressionError as error:
            raise SpecForgeError(
                Diagnostic(error.code, error.message, frame.document.at(frame.location, key=True), constraint.that.text)
            ) from None
        if not holds:
            raise fail(
                "SF409",
                f"{case.id} violates the kernel's constraint {constraint.that.text!r}: {constraint.reason}",
                frame.document.at(frame.location, key=True),
                hint="exclude such cases with a reason, or change the sweep",
            )


def _plain(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
