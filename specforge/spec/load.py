"""From a spec's path to everything it means: device, model, benchmarks, cases, targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from specforge.diagnostics import Diagnostic, SpecForgeError, fail, suggest
from specforge.expressions import Expression, ExpressionError, Scalar
from specforge.roots import home, search_roots, tidy
from specforge.spec.document import Document, Location, load_document
from specforge.spec.facts import Device, Model, load_device, load_model
from specforge.spec.fields import validate
from specforge.spec.files import expect_kind, resolve
from specforge.spec.interface import Kernel, expression_diagnostic, find_kernel
from specforge.spec.sweep import Case, Excluded, Frame, expand
from specforge.spec.target import Target, check_decidable, resolve_target
from specforge.spec.timing import Timing, TimingSection, resolve_timing
from specforge.spec.tuning import Tunings, load_tunings
from specforge.spec.workload import KernelBenchmark, SpecFile, StepBenchmark, TargetSection, WorkloadFile

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Part:
    """One kernel-sized part of a decode step; `launches` and `bytes` may use the step's axes and `model.*`.

    A part that is `fused_with` another has neither launches nor benchmarks of its own.
    """

    name: str
    launches: Expression | None
    bytes: Expression
    benchmarks: tuple[str, ...]
    fused_with: str | None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark with its cases and targets; `kernel` is None and `parts` set for a decode step."""

    name: str
    kernel: Kernel | None
    parts: tuple[Part, ...]
    cases: tuple[Case, ...]
    excluded: tuple[Excluded, ...]
    targets: tuple[Target, ...]
    document: Document
    location: Location
    timing: Timing = field(default_factory=Timing)

    @property
    def covered(self) -> dict[str, tuple[str, ...]]:
        """The parts that kernels do, by name, and whose they are."""
        own = {part.name: part.benchmarks for part in self.parts}
        found = {part.name: own.get(part.fused_with or part.name, ()) for part in self.parts}
        return {name: benchmarks for name, benchmarks in found.items() if benchmarks}

    def targeted(self) -> int:
        """How many cases at least one target holds for."""
        return len({case for target in self.targets for case in target.cases})


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole spec, resolved. `documents` are all files it was made from, itself first."""

    path: Path
    name: str
    document: Document
    device: Device
    model: Model | None
    benchmarks: tuple[Benchmark, ...]
    documents: tuple[Document, ...]
    roots: tuple[Path, ...]
    tunings: Tunings = field(default_factory=Tunings)
    """Those of the spec's own device."""

    def benchmark(self, name: str) -> Benchmark:
        """The benchmark of that name."""
        return next(benchmark for benchmark in self.benchmarks if benchmark.name == name)

    def names(self) -> dict[str, Scalar]:
        """`model.*` and `device.*`."""
        return {**(self.model.names if self.model else {}), **self.device.names}


class _Findings:
    """Collects the diagnostics of independent parts, so that one run reports several."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []

    def attempt(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return work(*args, **kwargs)
        except SpecForgeError as error:
            self.found += [diagnostic for diagnostic in error.diagnostics if diagnostic not in self.found]
            return None

    def finish(self) -> None:
        if self.found:
            raise SpecForgeError(*self.found)


def load_spec(path: Path) -> Spec:
    """Load a spec and everything it names; raises SpecForgeError with every fault found."""
    path = tidy(path)
    document = load_document(path)
    expect_kind(document, "spec")
    file = validate(document, SpecFile)
    roots = search_roots(path)
    findings = _Findings()
    device = findings.attempt(_device, file.device, document)
    workload: tuple[Document, WorkloadFile] | None = None
    model_at: tuple[str, Document] | None = (file.model, document) if file.model else None
    if file.workload is not None:
        workload = findings.attempt(_workload, file.workload, document)
        if workload and workload[1].model:
            model_at = (workload[1].model, workload[0])
    model = findings.attempt(_model, *model_at) if model_at else None
    findings.finish()
    assert device is not None
    names = dict(model.names) if model else {}
    sources = [(name, part, workload[0], True) for name, part in workload[1].benchmarks.items()] if workload else []
    sources += [(name, part, document, False) for name, part in file.benchmarks.items()]
    _check_benchmark_names(file, document, [name for name, *_ in sources], findings)
    benchmarks = []
    for name, section, owner, shared in sources:
        timing = (workload[1].timing if workload and shared else None, file.timing)
        frame = _Frame(path, name, section, owner, shared, document, file, names, device, roots, timing)
        benchmark = findings.attempt(_benchmark, frame)
        if benchmark is not None:
            benchmarks.append(benchmark)
    findings.finish()
    _check_parts(benchmarks, findings)
    findings.finish()
    documents = [document, *([workload[0]] if workload else []), device.document, *([model.document] if model else [])]
    kernels = [benchmark.kernel for benchmark in benchmarks if benchmark.kernel is not None]
    tunings = load_tunings(home(path), device.file.device, kernels)
    return Spec(path, file.spec, document, device, model, tuple(benchmarks), tuple(documents), roots, tunings)


def _device(text: str, document: Document) -> Device:
    return load_device(resolve(text, document, ("device",), "device"))


def _workload(text: str, document: Document) -> tuple[Document, WorkloadFile]:
    found = load_document(resolve(text, document, ("workload",), "workload"))
    return found, validate(found, WorkloadFile)


def _model(text: str, document: Document) -> Model:
    return load_model(resolve(text, document, ("model",), "model"))


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where one benchmark stands and what it is resolved against."""

    spec: Path
    name: str
    section: KernelBenchmark | StepBenchmark
    home: Document
    shared: bool
    document: Document
    file: SpecFile
    names: dict[str, Scalar]
    device: Device
    roots: tuple[Path, ...]
    timing: tuple[TimingSection | None, ...]


def _benchmark(frame: _Frame) -> Benchmark:
    location: Location = ("benchmarks", frame.name)
    section = frame.section
    kernel = None
    if isinstance(section, KernelBenchmark):
        kernel = find_kernel(section.kernel, frame.roots, frame.home.at((*location, "kernel")))
    narrowing = frame.file.narrow.get(frame.name)
    narrowed = (narrowing, frame.document, ("narrow", frame.name)) if narrowing else None
    device = frame.device
    tunings = load_tunings(home(frame.spec), device.file.device, [kernel] if kernel is not None else [])
    cases, excluded = expand(
        section, Frame(frame.name, frame.home, location, kernel, frame.names, device.names, narrowed, tunings)
    )
    timing = resolve_timing(*frame.timing, section.timing if isinstance(section, KernelBenchmark) else None)
    findings = _Findings()
    targets: list[Target] = []
    for given, document, place, shared in _target_sections(frame, location):
        target = findings.attempt(resolve_target, given, frame.name, cases, document, place, shared=shared)
        if target is not None and any(target.id == other.id for other in targets):
            message = f"this target of {frame.name!r} stands there already: {target.text}"
            hint = "change its bound or its condition, or remove one of the two"
            findings.found.append(Diagnostic("SF410", message, target.position, None, hint))
        elif target is not None:
            targets.append(target)
            findings.attempt(check_decidable, target, kernel, timing, document)
    steps = section.step if isinstance(section, StepBenchmark) else []
    parts = tuple(Part(step.part, step.launches, step.bytes, tuple(step.benchmark), step.fused_with) for step in steps)
    known = [{**frame.names, **case.parameters} for case in cases]
    for index, part in enumerate(parts):
        here = (*location, "step", index)
        if part.launches is not None:
            findings.attempt(_check_count, part.launches.integer, known, frame.home, (*here, "launches"))
        others = [other.name for other in parts if other.fused_with is None]
        if part.fused_with is not None and part.fused_with not in others:
            where, hint = frame.home.at((*here, "fused_with")), suggest(part.fused_with, others)
            message = f"no part {part.fused_with!r} of this step with launches of its own"
            findings.found.append(Diagnostic("SF411", message, where, part.fused_with, hint))
        findings.attempt(_check_count, part.bytes.number, known, frame.home, (*here, "bytes"))
    findings.finish()
    return Benchmark(frame.name, kernel, parts, cases, excluded, tuple(targets), frame.home, location, timing)


def _check_count(
    compute: Callable[[dict[str, Scalar]], float],
    known: list[dict[str, Scalar]],
    document: Document,
    location: Location,
) -> None:
    """Check that a part's launches or bytes can be computed for every case, and are not below zero."""
    for names in known:
        try:
            value = compute(names)
        except ExpressionError as error:
            hint = suggest(error.name, names) if error.name else None
            raise SpecForgeError(expression_diagnostic(error, document, location, hint)) from None
        if value < 0:
            raise fail("SF304", f"a part of a step takes {value:g}; nothing below zero is meant", document.at(location))


def _target_sections(frame: _Frame, location: Location) -> Iterator[tuple[TargetSection, Document, Location, bool]]:
    for index, section in enumerate(frame.section.targets):
        yield section, frame.home, (*location, "targets", index), frame.shared
    for index, section in enumerate(frame.file.targets.get(frame.name, [])):
        yield section, frame.document, ("targets", frame.name, index), False


def _check_benchmark_names(file: SpecFile, document: Document, names: list[str], findings: _Findings) -> None:
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        findings.found.append(
            Diagnostic(
                "SF404",
                f"benchmark {name!r} exists in the workload already",
                document.at(("benchmarks", name), key=True),
                name,
                "a spec adds targets to it under `targets:`",
            )
        )
    for section, keys in (("targets", file.targets), ("narrow", file.narrow)):
        for name in keys:
            if name not in names:
                findings.found.append(
                    Diagnostic(
                        "SF411",
                        f"no benchmark {name!r}",
                        document.at((section, name), key=True),
                        name,
                        suggest(name, names),
                    )
                )


def _check_parts(benchmarks: list[Benchmark], findings: _Findings) -> None:
    names = {benchmark.name for benchmark in benchmarks if benchmark.kernel}
    for benchmark in benchmarks:
        for index, part in enumerate(benchmark.parts):
            for name in part.benchmarks:
                if name not in names:
                    where = benchmark.document.at((*benchmark.location, "step", index, "benchmark"))
                    message, hint = f"no kernel benchmark {name!r}", suggest(name, names)
                    findings.found.append(Diagnostic("SF411", message, where, name, hint))
