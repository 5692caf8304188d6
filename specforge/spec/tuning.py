"""Tuning files: the tunables that `specforge tune` found best for the cases of one kernel on one device.

They stand at `tunings/<device>/<family>__<name>.yaml` under the root of the spec (the folder with `kernels/`, else the
spec's own); where none does, a shipped kernel has the shipped one. A case is tuned by exactly its parameters. Nothing
in a file counts once the kernel has changed: its kernel.yaml, templates, reference and the headers these reach are
named by digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from specforge.diagnostics import Diagnostic, Position, Severity, SpecForgeError, shorten, suggest
from specforge.expressions import Scalar
from specforge.roots import is_file, shipped, tidy
from specforge.spec.document import Document, load_document, read_text
from specforge.spec.fields import Literal_, Name, Section, Text, quantity, validate
from specforge.spec.geometry import resolve_tunables
from specforge.spec.headers import local_headers
from specforge.spec.interface import Kernel

TunedMetric = Literal["latency", "amortised_latency"]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Identity = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}/[a-z][a-z0-9_]{0,63}$")]


class Span(Section):
    """A time with its interval of 95 %."""

    value: quantity("s")  # type: ignore[valid-type]  # a type made by a function
    low: quantity("s")  # type: ignore[valid-type]  # a type made by a function
    high: quantity("s")  # type: ignore[valid-type]  # a type made by a function


class TuningRun(Section):
    """Where and with what some of the cases were tuned."""

    at: Text
    """When, UTC."""
    card: Text
    driver: Text
    clocks: Text
    """The clocks policy, in words."""
    compiler: Text
    tool_version: Text
    tool_sha256: Digest
    commit: Text | None
    dirty: bool | None
    """Whether the sources differed from the commit; nothing where there is no git history to ask."""
    facts: dict[Name, int | float | str] = Field(default={})
    """What the device file says of the card, in base units."""


class TunedCase(Section):
    """The tunables of one case; those that its kernel would choose by itself where none was found faster."""

    parameters: dict[Name, Literal_]
    tunables: dict[Name, Literal_]
    metric: TunedMetric
    run: Annotated[int, Field(ge=0)]
    """Index of one of `runs`."""
    tried: Annotated[int, Field(ge=1)]
    """Configurations that were measured."""
    time: Span
    default: Span
    """The same measured beside it in the same processes, with the tunables that kernel.yaml chooses."""


class TuningFile(Section):
    """What `specforge tune` found for one kernel on one device."""

    specforge: Literal[1]
    tuning: Identity
    """The kernel."""
    device: Name
    inputs: dict[Text, Digest] = Field(min_length=1)
    """The kernel's files as they were."""
    runs: list[TuningRun] = Field(min_length=1)
    cases: list[TunedCase] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Tuning:
    """A tuning file and what has changed since it was written."""

    document: Document
    file: TuningFile
    changed: tuple[str, ...]
    """The kernel's files that differ; with any, nothing of the file is used."""

    def find(self, parameters: Mapping[str, Scalar]) -> int | None:
        """The index of a case."""
        wanted = dict(parameters)
        return next((index for index, case in enumerate(self.file.cases) if case.parameters == wanted), None)


@dataclass(frozen=True, slots=True)
class Tunings:
    """All tuning files of one device that matter to a spec, by kernel; without any, every tunable has its default."""

    found: Mapping[str, Tuning] = field(default_factory=dict)

    def tunables(
        self, kernel: Kernel, parameters: Mapping[str, Scalar], device: Mapping[str, Scalar]
    ) -> dict[str, Scalar]:
        """What a case runs with: tuned, or else the defaults for the device; raises what `resolve_tunables` does."""
        tuning, index = self._case(kernel, parameters)
        if tuning is None or index is None:
            return resolve_tunables(kernel, parameters, device)
        tuned = tuning.file.cases[index].tunables
        return {name: tuned[name] for name in kernel.file.tunables}

    def origins(self, kernel: Kernel, parameters: Mapping[str, Scalar]) -> dict[str, Position]:
        """By tunable, the line of the tuning file that sets it; empty where the case is not tuned."""
        tuning, index = self._case(kernel, parameters)
        if tuning is None or index is None:
            return {}
        return {
            name: tuning.document.at(("cases", index, "tunables", name)) for name in tuning.file.cases[index].tunables
        }

    def used(self) -> tuple[Document, ...]:
        """The files that are in force."""
        return tuple(tuning.document for tuning in self.found.values() if not tuning.changed)

    def notices(self) -> tuple[Diagnostic, ...]:
        """An SF414 for every file that is not."""
        return tuple(
            Diagnostic(
                "SF414",
                f"{name} was tuned before its {', '.join(tuning.changed)} changed; its defaults are used",
                tuning.document.at(("inputs",), key=True),
                hint="run `specforge tune` again",
                severity=Severity.WARNING,
            )
            for name, tuning in self.found.items()
            if tuning.changed
        )

    def _case(self, kernel: Kernel, parameters: Mapping[str, Scalar]) -> tuple[Tuning | None, int | None]:
        tuning = self.found.get(kernel.identity)
        if tuning is None or tuning.changed:
            return None, None
        return tuning, tuning.find(parameters)


def tuning_path(home: Path, device: str, kernel: str) -> Path:
    """Where `tune` writes the tuning file of a kernel; `home` is what `roots.home` gives for the spec."""
    return home / "tunings" / device / f"{kernel.replace('/', '__')}.yaml"


def find_tuning(home: Path, device: str, kernel: Kernel) -> Path | None:
    """The tuning file that counts: the spec's own, else the shipped one, which is of no use to a kernel that is not."""
    roots = (home, shipped()) if kernel.folder.absolute().is_relative_to(shipped()) else (home,)
    paths = (tuning_path(root, device, kernel.identity) for root in roots)
    return next((path for path in paths if is_file(path)), None)


def load_tunings(home: Path, device: str, kernels: Iterable[Kernel]) -> Tunings:
    """The tuning files of these kernels on a device; raises SpecForgeError with every fault found in any of them."""
    tunings: dict[str, Tuning] = {}
    found: list[Diagnostic] = []
    for kernel in {kernel.identity: kernel for kernel in kernels}.values():
        path = find_tuning(home, device, kernel)
        if path is None:
            continue
        try:
            tunings[kernel.identity] = load_tuning(path, device, kernel)
        except SpecForgeError as error:
            found += error.diagnostics
    if found:
        raise SpecForgeError(*dict.fromkeys(found))
    return Tunings(tunings)


def load_tuning(path: Path, device: str, kernel: Kernel) -> Tuning:
    """Read one file. A stale one is not held against a kernel that has changed since: it is only not used."""
    document = load_document(tidy(path))
    file = validate(document, TuningFile)
    today = kernel_inputs(kernel)
    names = (*today, *(name for name in file.inputs if name not in today))
    changed = tuple(name for name in names if today.get(name) != file.inputs.get(name))
    tuning = Tuning(document, file, changed)
    faults = list(_check(tuning, device, kernel))
    if faults:
        raise SpecForgeError(*faults)
    return tuning


def kernel_inputs(kernel: Kernel) -> dict[str, str]:
    """SHA-256 of everything that decides how fast a configuration of a kernel is, and whether it is right."""
    paths = (kernel.document.path, kernel.template, kernel.reference)
    templates = sorted({kernel.template, *kernel.folder.glob("*.j2")})
    found = {
        path.relative_to(kernel.folder).as_posix() if path.is_relative_to(kernel.folder) else path.name: hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in dict.fromkeys((*paths, *templates))
    }
    text = "\n".join(read_text(path) for path in templates)
    headers = local_headers(text, (kernel.folder, *kernel.include_dirs))
    return found | {name.partition(":")[2] or name: digest for name, digest in headers.items()}


def _check(tuning: Tuning, device: str, kernel: Kernel) -> Iterator[Diagnostic]:
    document, file = tuning.document, tuning.file
    for key, written, due in (("tuning", file.tuning, kernel.identity), ("device", file.device, device)):
        if written != due:
            message = f"the file's place says {due!r}, its own `{key}` {written!r}"
            yield Diagnostic("SF206", message, document.at((key,)), written)
    seen: list[dict[str, Scalar]] = []
    for index, case in enumerate(file.cases):
        if case.run >= len(file.runs):
            where = document.at(("cases", index, "run"))
            yield Diagnostic("SF204", f"there are {len(file.runs)} runs", where, str(case.run))
        if case.parameters in seen:
            where = document.at(("cases", index, "parameters"), key=True)
            yield Diagnostic("SF406", "a case with these parameters stands there already", where)
        seen.append(case.parameters)
        if not tuning.changed:
            for section, declared in (("parameters", kernel.file.parameters), ("tunables", kernel.file.tunables)):
                domains = {name: item.domain for name, item in declared.items()}
                yield from _check_values(tuning, kernel, (index, section), getattr(case, section), domains)


def _check_values(
    tuning: Tuning, kernel: Kernel, place: tuple[int, str], given: Mapping[str, Scalar], domains: Mapping[str, object]
) -> Iterator[Diagnostic]:
    index, section = place
    kind = section.removesuffix("s")
    for name, value in given.items():
        here = ("cases", index, section, name)
        if name not in domains:
            where = tuning.document.at(here, key=True)
            message = f"kernel {kernel.identity} has no {kind} {name!r}"
            yield Diagnostic("SF404", message, where, name, suggest(name, domains))
        elif value not in domains[name]:  # type: ignore[operator]  # a Domain
            message = f"{name} = {shorten(str(value))} lies outside the kernel's domain: {domains[name]}"
            yield Diagnostic("SF405", message, tuning.document.at(here), shorten(str(value)))
    for name in domains:
        if name not in given:
            where = tuning.document.at(("cases", index, section), key=True)
            yield Diagnostic("SF403", f"{kind} {name!r} of {kernel.identity} is left open", where)
