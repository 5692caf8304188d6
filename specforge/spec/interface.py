"""A kernel folder as the rest of SpecForge sees it, with every name in its expressions checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from specforge.diagnostics import Diagnostic, Position, SpecForgeError, fail, shorten, suggest
from specforge.dtypes import DTYPES
from specforge.expressions import Expression, ExpressionError, Scalar
from specforge.roots import include_dirs, is_file, tidy
from specforge.spec.device import Facts
from specforge.spec.document import Document, Location, load_document
from specforge.spec.fields import validate
from specforge.spec.kernel import ErrorBound, KernelFile, Parameter, Tensor, Tunable, ValueRange
from specforge.spec.peers import check_peers
from specforge.spec.ranges import check_values, values_at

_SAID_OF_IT = ("equivalent_mutants", "peers", "specialised")
"""Keys of kernel.yaml that no result depends on."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A loaded kernel. `identity` is `<family>/<name>`; headers are searched in `include_dirs` in order."""

    identity: str
    folder: Path
    document: Document
    file: KernelFile
    include_dirs: tuple[Path, ...]

    @property
    def template(self) -> Path:
        """The jinja2 template of the CUDA source."""
        return self.folder / self.file.template

    @property
    def reference(self) -> Path:
        """The Python file that holds the reference function."""
        return self.folder / self.file.reference

    @property
    def peers(self) -> Path | None:
        """The Python file of other implementations, where there is one."""
        return self.folder / self.file.peers if self.file.peers is not None else None

    @property
    def examples(self) -> Path:
        """The file of committed examples, which need not be there."""
        return self.folder / "examples.yaml"

    def said_sha256(self) -> str:
        """SHA-256 of what kernel.yaml says, less what no result of the kernel depends on."""
        said = {key: value for key, value in self.document.data.items() if key not in _SAID_OF_IT}
        return hashlib.sha256(json.dumps(said, default=str, sort_keys=True).encode()).hexdigest()

    def compile_names(self) -> tuple[str, ...]:
        """Parameters and tunables that reach the template, in the file's order."""
        parameters = [name for name, declared in self.file.parameters.items() if declared.bind == "compile"]
        return (*parameters, *(name for name, declared in self.file.tunables.items() if declared.bind == "compile"))

    def outputs(self) -> tuple[str, ...]:
        """Names of the tensors that are judged, those updated in place among them, in the file's order."""
        return tuple(name for name, tensor in self.file.tensors.items() if tensor.role in ("out", "inout"))

    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that are drawn, those updated in place among them, in the file's order."""
        return tuple(name for name, tensor in self.file.tensors.items() if tensor.role in ("in", "inout"))


def find_kernel(identity: str, roots: tuple[Path, ...], position: Position | None = None) -> Kernel:
    """Load `<root>/kernels/<identity>` from the first root that has it; raises SF401 with the nearest name."""
    for root in roots:
        path = root / "kernels" / identity / "kernel.yaml"
        if is_file(path):
            return load_kernel(tidy(path), identity, roots)
    known = list_kernels(roots)
    raise fail("SF401", f"no kernel {identity!r}", position, value=identity, hint=suggest(identity, known))


def list_kernels(roots: tuple[Path, ...]) -> dict[str, Path]:
    """Every kernel's identity and file, the first root winning."""
    found: dict[str, Path] = {}
    for root in roots:
        for path in sorted((root / "kernels").glob("*/*/kernel.yaml")):
            found.setdefault(f"{path.parent.parent.name}/{path.parent.name}", path)
    return found


def load_kernel(path: Path, identity: str, roots: tuple[Path, ...]) -> Kernel:
    """Read and check a kernel file; every fault is positioned, all are raised together."""
    document = load_document(path)
    file = validate(document, KernelFile)
    kernel = Kernel(identity, path.parent, document, file, include_dirs(roots))
    found = list(_check(kernel))
    if found:
        raise SpecForgeError(*found)
    return kernel


def _check(kernel: Kernel) -> Iterator[Diagnostic]:
    document, file = kernel.document, kernel.file
    if file.kernel != kernel.folder.name:
        message = f"the kernel is named {file.kernel!r} but its folder {kernel.folder.name!r}"
        yield Diagnostic("SF206", message, document.at(("kernel",)), file.kernel)
    for key, path in (("template", kernel.template), ("reference", kernel.reference), ("peers", kernel.peers)):
        if path is not None and not is_file(path):
            hint = suggest(path.name, [entry.name for entry in kernel.folder.iterdir()])
            yield Diagnostic("SF001", f"no such file: {shorten(str(path))}", document.at((key,)), None, hint)
    if kernel.peers is not None and is_file(kernel.peers):
        yield from check_peers(kernel.peers)
    for name, parameter in file.parameters.items():
        yield from _check_parameter(kernel, name, parameter)
    for name, tunable in file.tunables.items():
        if name in DTYPES or name in file.tensors:
            message = f"{name!r} names both a tunable and a tensor or an element type"
            yield Diagnostic("SF206", message, document.at(("tunables", name), key=True))
        yield from _check_listed(kernel, ("tunables", name), tunable)
    for name, tensor in file.tensors.items():
        yield from _check_tensor(kernel, name, tensor)
    yield from _check_chain(kernel)
    yield from _check_tolerances(kernel)
    yield from _check_reductions(kernel)
    yield from _check_waivers(kernel)
    yield from _check_equivalent_mutants(kernel)
    yield from _check_formulas(kernel)


def _check_parameter(kernel: Kernel, name: str, parameter: Parameter) -> Iterator[Diagnostic]:
    document, file = kernel.document, kernel.file
    here = ("parameters", name)
    if name in DTYPES:
        message = f"{name!r} is an element type and cannot name a parameter"
        yield Diagnostic("SF206", message, document.at(here, key=True))
    if name in file.tunables or name in file.tensors:
        message = f"{name!r} is declared twice: as parameter and as tunable or tensor"
        yield Diagnostic("SF206", message, document.at(here, key=True))
    yield from _check_listed(kernel, here, parameter)
    if parameter.type != "int" and not parameter.domain.listed:
        where = document.at((*here, "domain"))
        yield Diagnostic("SF203", f"a range holds whole numbers, not {parameter.type}", where, str(parameter.domain))
    for value in parameter.domain.listed:
        if not _fits(value, parameter.type):
            hint = suggest(value, DTYPES) if parameter.type == "dtype" and isinstance(value, str) else None
            where = document.at((*here, "domain"))
            yield Diagnostic(
                "SF203", f"{shorten(repr(value))} is no {parameter.type}", where, shorten(str(value)), hint
            )
    for index, edge in enumerate(parameter.edges):
        if edge not in parameter.domain:
            message = f"edge {edge} lies outside the domain {parameter.domain}"
            yield Diagnostic("SF405", message, document.at((*here, "edges", index)), str(edge))


def _check_listed(kernel: Kernel, here: Location, declared: Parameter | Tunable) -> Iterator[Diagnostic]:
    if declared.bind == "compile" and not declared.domain.listed:
        hint = "every value costs a compilation; a range belongs to `bind: launch`"
        where = kernel.document.at((*here, "domain"))
        message = f"a compile {str(here[0])[:-1]} lists its values"
        yield Diagnostic("SF203", message, where, str(declared.domain), hint)


def _check_tensor(kernel: Kernel, name: str, tensor: Tensor) -> Iterator[Diagnostic]:
    document = kernel.document
    known = [*DTYPES, *(name for name, parameter in kernel.file.parameters.items() if parameter.type == "dtype")]
    if tensor.dtype not in known:
        where, hint = document.at(("tensors", name, "dtype")), suggest(tensor.dtype, known)
        yield Diagnostic("SF204", "neither an element type nor a parameter of type dtype", where, tensor.dtype, hint)
    elif tensor.role != "in":
        for dtype in _dtypes(kernel, tensor):
            if DTYPES[dtype].is_block:
                where, hint = document.at(("tensors", name, "dtype")), "kernels read blocks and write plain elements"
                message = f"only a tensor of role in holds {dtype} blocks"
                yield Diagnostic("SF203", message, where, tensor.dtype, hint)
    yield from check_values(document, name, tensor, _dtypes(kernel, tensor))
    for index, axis in enumerate(tensor.rows or []):
        if not 0 <= axis < len(tensor.shape):
            where = document.at(("tensors", name, "rows", index))
            yield Diagnostic("SF203", f"the tensor has no axis {axis}", where, str(axis))
    if tensor.role in ("out", "inout") and not _is_passed(kernel, name):
        where = document.at(("tensors", name), key=True)
        yield Diagnostic("SF504", f"no launch takes the output {name!r}, so nothing can write it", where)


def _dtypes(kernel: Kernel, tensor: Tensor) -> list[str]:
    """The element types that a tensor may have."""
    declared = kernel.file.parameters.get(tensor.dtype)
    listed = [tensor.dtype] if declared is None else map(str, declared.domain.listed)
    return [dtype for dtype in listed if dtype in DTYPES]


def _check_chain(kernel: Kernel) -> Iterator[Diagnostic]:
    """A chain leads from an output to an input that can hold it, and its groups can overlap."""
    document, file = kernel.document, kernel.file
    first = file.launches[0].dependent
    if first and not file.chain:
        where = document.at(("launches", 0, "dependent"))
        hint = "only a later launch can depend on the one before it, or one of a kernel with a `chain`"
        yield Diagnostic("SF206", "the first launch depends on none of its group", where, "true", hint)
    if file.chain and not first:
        hint = "write `dependent: true` there, and call grid_wait() before touching what the group ahead touches"
        message = "the groups of a chain overlap, so the first launch is a dependent one"
        yield Diagnostic("SF206", message, document.at(("launches", 0), key=True), None, hint)
    for name, source in file.chain.items():
        known = True
        for place, given, role, names in (
            (document.at(("chain", name), key=True), name, "input", kernel.inputs()),
            (document.at(("chain", name)), source, "output", kernel.outputs()),
        ):
            if given not in names:
                known = False
                yield Diagnostic("SF201", f"{given!r} is no {role}", place, given, suggest(given, names))
            elif file.tensors[given].role == "inout":
                known = False
                message = f"{given!r} is updated in place, so it is no link of a chain"
                yield Diagnostic("SF206", message, place, given, "leave it out: it stays where it is")
        if not known:
            continue
        taker, giver = file.tensors[name], file.tensors[source]
        for key, one, other in (
            ("shape", [size.text for size in taker.shape], [size.text for size in giver.shape]),
            ("dtype", taker.dtype, giver.dtype),
        ):
            if one != other:
                where, hint = document.at(("chain", name)), f"{name!r}: {one}, {source!r}: {other}"
                message = f"{source!r} cannot take the place of {name!r}: another {key}"
                yield Diagnostic("SF504", message, where, source, hint)
    sources = list(file.chain.values())
    for name in {source for source in sources if sources.count(source) > 1}:
        message = f"the output {name!r} takes the place of two inputs"
        yield Diagnostic("SF206", message, document.at(("chain",), key=True), name)


def _is_passed(kernel: Kernel, name: str) -> bool:
    return any(argument.text.strip() == name for launch in kernel.file.launches for argument in launch.args)


def _check_tolerances(kernel: Kernel) -> Iterator[Diagnostic]:
    document, file = kernel.document, kernel.file
    outputs = kernel.outputs()
    if not outputs:
        message = "a kernel has at least one tensor of role out or inout"
        yield Diagnostic("SF202", message, document.at(("tensors",), key=True))
    for name in outputs:
        if name not in file.tolerance:
            hint = f"add `{name}: exact` or an error bound"
            yield Diagnostic(
                "SF202", f"output {name!r} has no tolerance", document.at(("tolerance",), key=True), None, hint
            )
    for name, bound in file.tolerance.items():
        here = ("tolerance", name)
        if name not in outputs:
            yield Diagnostic(
                "SF201", f"{name!r} is no output", document.at(here, key=True), None, suggest(name, outputs)
            )
            continue
        dtype = DTYPES.get(file.tensors[name].dtype)
        if isinstance(bound, ErrorBound) and dtype is not None and not dtype.is_float and not _only_conditioned(bound):
            hint = "write `exact`, or `conditioned` alone: how far an error ahead of its rounding may move it"
            yield Diagnostic("SF203", "integer outputs are exact", document.at(here), None, hint)


def _only_conditioned(bound: ErrorBound) -> bool:
    """Whole numbers that an error ahead of their rounding may tip, as a quantised value near a tie."""
    return bound.relative.text == bound.absolute.text == "0"


def _check_reductions(kernel: Kernel) -> Iterator[Diagnostic]:
    document, file = kernel.document, kernel.file
    for name, reduction in file.reductions.items():
        here = ("reductions", name)
        if not reduction.axes and name not in file.parameters:
            hint = suggest(name, file.parameters) + "; or say where it lies with `axes:`"
            yield Diagnostic("SF201", f"{name!r} is no parameter", document.at(here, key=True), name, hint)
        for tensor, axis in reduction.axes.items():
            if tensor not in kernel.inputs():
                where, hint = document.at((*here, "axes", tensor), key=True), suggest(tensor, kernel.inputs())
                yield Diagnostic("SF201", f"{tensor!r} is no input", where, tensor, hint)
            elif not 0 <= axis < len(file.tensors[tensor].shape):
                where = document.at((*here, "axes", tensor))
                yield Diagnostic("SF203", f"{tensor!r} has no axis {axis}", where, str(axis))


def _check_waivers(kernel: Kernel) -> Iterator[Diagnostic]:
    for index, waiver in enumerate(kernel.file.waivers):
        if waiver.output is not None and waiver.output not in kernel.outputs():
            where, hint = kernel.document.at(("waivers", index, "output")), suggest(waiver.output, kernel.outputs())
            yield Diagnostic("SF201", f"{waiver.output!r} is no output", where, waiver.output, hint)


def _check_equivalent_mutants(kernel: Kernel) -> Iterator[Diagnostic]:
    seen: set[str] = set()
    for index, entry in enumerate(kernel.file.equivalent_mutants):
        if entry.mutant in seen:
            where = kernel.document.at(("equivalent_mutants", index, "mutant"))
            yield Diagnostic("SF203", "the mutant is listed twice", where, entry.mutant, "one reason is enough")
        seen.add(entry.mutant)


def _check_formulas(kernel: Kernel) -> Iterator[Diagnostic]:
    document, file = kernel.document, kernel.file
    parameters, tensors = set(file.parameters), set(file.tensors)
    sizes = parameters | set(file.tunables)
    scopes = {
        "parameters": parameters,
        "default": parameters | {f"device.{name}" for name in Facts.model_fields},
        "sizes": sizes,
        "args": sizes | tensors,
    }
    for scope, location, formula in _formulas(kernel):
        yield from check_names(formula, scopes[scope], document, location)
    for index, launch in enumerate(file.launches):
        for place, argument in enumerate(launch.args):
            if set(argument.names()) & tensors and argument.text.strip() not in tensors:
                where = document.at(("launches", index, "args", place))
                yield Diagnostic("SF504", "a tensor is passed by its name alone", where, argument.text)


def _fits(value: Scalar, kind: str) -> bool:
    return {
        "int": isinstance(value, int) and not isinstance(value, bool),
        "bool": isinstance(value, bool),
        "dtype": isinstance(value, str) and value in DTYPES,
    }[kind]


def _formulas(kernel: Kernel) -> Iterator[tuple[str, Location, Expression]]:
    """Every expression of the file: which names it may use, where it stands, itself."""
    file = kernel.file
    for index, constraint in enumerate(file.constraints):
        yield "parameters", ("constraints", index, "that"), constraint.that
    fast = [file.specialised] if file.specialised is not None else []
    yield from (("parameters", ("specialised",), formula) for formula in fast)
    for name, tunable in file.tunables.items():
        yield "default", ("tunables", name, "default"), tunable.default
    for name, tensor in file.tensors.items():
        yield from (("sizes", *pair) for pair in _tensor_formulas(kernel, name, tensor))
    for index, launch in enumerate(file.launches):
        for key in ("grid", "block", "args"):
            for place, formula in enumerate(getattr(launch, key)):
                yield "args" if key == "args" else "sizes", ("launches", index, key, place), formula
        yield "sizes", ("launches", index, "shared_bytes"), launch.shared_bytes
    work = {"bytes": file.work.bytes, "flops": file.work.flops, "tokens": file.work.tokens}
    yield from (("sizes", ("work", key), formula) for key, formula in work.items() if formula is not None)
    yield "sizes", ("emulation", "steps"), file.emulation.steps
    for name, bound in file.tolerance.items():
        if isinstance(bound, ErrorBound):
            for key in ("relative", "conditioned", "absolute"):
                yield "sizes", ("tolerance", name, key), getattr(bound, key)
    for name, reduction in file.reductions.items():
        yield "sizes", ("reductions", name, "parts"), reduction.parts
        yield "sizes", ("reductions", name, "granule"), reduction.granule
    for index, waiver in enumerate(file.waivers):
        yield "sizes", ("waivers", index, "when"), waiver.when


def _tensor_formulas(kernel: Kernel, name: str, tensor: Tensor) -> Iterator[tuple[Location, Expression]]:
    for axis, size in enumerate(tensor.shape):
        yield ("tensors", name, "shape", axis), size
    if tensor.touched is not None:
        yield ("tensors", name, "touched"), tensor.touched
    for index, entry in enumerate(tensor.values):
        if isinstance(entry, ValueRange):
            yield from zip(values_at(kernel.document, name, index, entry), entry.formulas(), strict=True)


def check_names(
    formula: Expression, declared: Collection[str], document: Document, location: Location
) -> Iterator[Diagnostic]:
    """A diagnostic for the first undeclared name of an expression, at its own column."""
    try:
        formula.check_names(declared)
    except ExpressionError as error:
        yield expression_diagnostic(error, document, location, suggest(error.name or "", declared))


def expression_diagnostic(
    error: ExpressionError, document: Document, location: Location, hint: str | None = None
) -> Diagnostic:
    """An expression's fault at the file's own line and column."""
    written: object = document.data
    for part in location:
        inside = part in written if isinstance(written, dict) else isinstance(part, int) and part < _length(written)
        written = written[part] if inside else written  # type: ignore[index]  # a mapping, or a list that is long enough
    mark = 1 if isinstance(written, str) and written.startswith("=") else 0
    value = shorten(str(written)) if not isinstance(written, dict | list) else None
    return Diagnostic(error.code, error.message, document.inside(location, error.offset + mark), value, hint)


def _length(node: object) -> int:
    return len(node) if isinstance(node, list) else 0
