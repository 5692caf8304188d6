"""From a spec's path to everything it means: device, model, benchmarks, cases, targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from specforge.diagnostics import Diagnostic, SpecForgeError, fail, suggest
from specforge.expressions import Expression, ExpressionError, Scalar
from specforge.roots import search_roots, shipped, tidy
from specforge.spec.document import Document, Location, load_document
from specforge.spec.facts import Device, Model, load_device, load_model
from specforge.spec.fields import validate
from specforge.spec.interface import Kernel, expression_diagnostic, find_kernel
from specforge.spec.sweep import Case, Excluded, Frame, expand
from specforge.spec.target import Target, resolve_target
from specforge.spec.workload import KernelBenchmark, SpecFile, StepBenchmark, TargetSection, WorkloadFile

T = TypeVar("T")
KINDS = ("spec", "workload", "device", "model", "kernel")
"""The key that names a file also says what kind of file it is."""


@dataclass(frozen=True, slots=True)
class Part:
    """One kernel-sized part of a decode step; `launches` and `bytes` may use the step's axes and `model.*`."""

    name: str
    launches: Expression
    bytes: Expression
    benchmark: str | None


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

    def attempt(self, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except SpecForgeError as error:
            self.found += [diagnostic for diagnostic in error.diagnostics if diagnostic not in self.found]
            return None

    def finish(self) -> None:
        if self.found:
            raise SpecForgeError(*self.found)


def load_spec(path: Path) -> Spec:
    """Load a spec and everything it names; raises SpecForgeError with every fault found."""
    document = load_document(path)
    _expect_kind(document, "spec")
    file = validate(document, SpecFile)
    roots = search_roots(path)
    findings = _Findings()
    device = findings.attempt(lambda: load_device(_resolve(file.device, document, ("device",), "device")))
    workload: tuple[Document, WorkloadFile] | None = None
    model_at: tuple[str, Document] | None = (file.model, document) if file.model else None
    if file.workload is not None:
        name = file.workload
        workload = findings.attempt(lambda: _load_workload(_resolve(name, document, ("workload",), "workload")))
        if workload and workload[1].model:
            model_at = (workload[1].model, workload[0])
    model = (
        findings.attempt(lambda: load_model(_resolve(model_at[0], model_at[1], ("model",), "model")))
        if model_at
        else None
    )
    findings.finish()
    assert device is not None
    sources = (
        [(name, section, workload[0], True) for name, section in workload[1].benchmarks.items()] if workload else []
    )
    sources += [(name, section, document, False) for name, section in file.benchmarks.items()]
    _check_benchmark_names(file, document, [name for name, *_ in sources], findings)
    names = {**(model.names if model else {})}
    benchmarks = []
    for name, section, home, shared in sources:
        frame = _Frame(name, section, home, shared, document, file, names, device, roots)
        benchmark = findings.attempt(lambda frame=frame: _benchmark(frame))  # type: ignore[misc]
        if benchmark is not None:
            benchmarks.append(benchmark)
    findings.finish()
    _check_parts(benchmarks)
    documents = [document, *([workload[0]] if workload else []), device.document, *([model.document] if model else [])]
    return Spec(path, file.spec, document, device, model, tuple(benchmarks), tuple(documents), roots)


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where one benchmark stands and what it is resolved against."""

    name: str
    section: KernelBenchmark | StepBenchmark
    home: Document
    shared: bool
    document: Document
    file: SpecFile
    names: dict[str, Scalar]
    device: Device
    roots: tuple[Path, ...]


def _benchmark(frame: _Frame) -> Benchmark:
    location: Location = ("benchmarks", frame.name)
    section = frame.section
    kernel = None
    if isinstance(section, KernelBenchmark):
        kernel = find_kernel(section.kernel, frame.roots, frame.home.at((*location, "kernel")))
    narrowing = frame.file.narrow.get(frame.name)
    narrowed = (narrowing, frame.document, ("narrow", frame.name)) if narrowing else None
    cases, excluded = expand(
        section, Frame(frame.name, frame.home, location, kernel, frame.names, frame.device.names, narrowed)
    )
    findings = _Findings()
    targets = []
    for part, document, place, shared in _target_sections(frame, location):
        target = findings.attempt(
            lambda part=part, document=document, place=place, shared=shared: resolve_target(
                part, frame.name, cases, document, place, shared=shared
            )  # type: ignore[misc]
        )
        if target is not None:
            targets.append(target)
    parts = (
        tuple(Part(part.part, part.launches, part.bytes, part.benchmark) for part in section.step)
        if isinstance(section, StepBenchmark)
        else ()
    )
    for index, part in enumerate(parts):
        for key, formula in (("launches", part.launches), ("bytes", part.bytes)):
            for case in cases:
                findings.attempt(
                    lambda index=index, key=key, formula=formula, case=case: _number(
                        formula, {**frame.names, **case.parameters}, frame.home, (*location, "step", index, key)
                    )
                )  # type: ignore[misc]
    findings.finish()
    return Benchmark(frame.name, kernel, parts, cases, excluded, tuple(targets), frame.home, location)


def _number(formula: Expression, names: dict[str, Scalar], document: Document, location: Location) -> float:
    try:
        return formula.number(names)
    except ExpressionError as error:
        hint = suggest(error.name, names) if error.name else None
        raise SpecForgeError(expression_diagnostic(error, document, location, hint)) from None


def _target_sections(frame: _Frame, location: Location) -> Iterator[tuple[TargetSection, Document, Location, bool]]:
    for index, section in enumerate(frame.section.targets):
        yield section, frame.home, (*location, "targets", index), frame.shared
    for index, section in enumerate(frame.file.targets.get(frame.name, [])):
        yield section, frame.document, ("targets", frame.name, index), False


def _check_benchmark_names(file: SpecFile, document: Document, names: list[str], findings: _Findings) -> None:
    for name in {name for name in names if names.count(name) > 1}:
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


def _check_parts(benchmarks: list[Benchmark]) -> None:
    names = {benchmark.name for benchmark in benchmarks if benchmark.kernel}
    for benchmark in benchmarks:
        for index, part in enumerate(benchmark.parts):
            if part.benchmark is not None and part.benchmark not in names:
                where = benchmark.document.at((*benchmark.location, "step", index, "benchmark"))
                raise fail(
                    "SF411",
                    f"no kernel benchmark {part.benchmark!r}",
                    where,
                    value=part.benchmark,
                    hint=suggest(part.benchmark, names),
                )


def _load_workload(path: Path) -> tuple[Document, WorkloadFile]:
    document = load_document(path)
    file = validate(document, WorkloadFile)
    return document, file


def _resolve(text: str, document: Document, location: Location, kind: str) -> Path:
    """A named file: relative to the file that names it, else among the shipped specs."""
    position = document.at(location)
    own = document.path.parent / text
    candidates = [own, shipped() / "specs" / text.replace("../", "")]
    for path in candidates:
        if path.is_file():
            if path.resolve() == document.path.resolve():
                raise fail("SF005", f"the file names itself as its {kind}", position, value=text)
            tidied = tidy(path)
            _expect_kind(load_document(tidied), kind)
            return tidied
    if own.is_dir():
        raise fail("SF002", f"a {kind} file is due, this is a folder", position, value=text)
    folder = own.parent if own.parent.is_dir() else candidates[1].parent
    known = [f"{Path(text).parent / entry.name}" for entry in sorted(folder.glob("*.yaml"))] if folder.is_dir() else []
    raise fail(
        "SF401",
        f"no {kind} file {text!r}, neither beside {document.path} nor among the shipped ones",
        position,
        value=text,
        hint=suggest(text, known),
    )


def _expect_kind(document: Document, kind: str) -> None:
    found = [
        key
        for key in KINDS
        if key in document.data
        and not (key in ("device", "model", "workload") and "spec" in document.data)
        and not (key == "model" and "workload" in document.data)
    ]
    if found and found[0] != kind and kind not in found[:1]:
        hint = "specforge check takes specs: files with `spec:`" if kind == "spec" else None
        raise fail(
            "SF005",
            f"a {kind} file is due, this is a {found[0]} file",
            document.at((found[0],), key=True),
            value=found[0],
            hint=hint,
        )
