"""A kernel folder as the rest of SpecForge sees it, with every name in its expressions checked."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from specforge.diagnostics import Diagnostic, Position, SpecForgeError, fail, suggest
from specforge.dtypes import DTYPES
from specforge.expressions import Expression, ExpressionError, Scalar
from specforge.roots import include_dirs, tidy
from specforge.spec.document import Document, Location, load_document
from specforge.spec.fields import validate
from specforge.spec.kernel import ErrorBound, KernelFile


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

    def compile_names(self) -> tuple[str, ...]:
        """Parameters and tunables that reach the template, in the file's order."""
        both = [*self.file.parameters.items(), *self.file.tunables.items()]
        return tuple(name for name, declared in both if declared.bind == "compile")

    def outputs(self) -> tuple[str, ...]:
        """Names of the output tensors, in the file's order."""
        return tuple(name for name, tensor in self.file.tensors.items() if tensor.role == "out")

    def inputs(self) -> tuple[str, ...]:
        """Names of the input tensors, in the file's order."""
        return tuple(name for name, tensor in self.file.tensors.items() if tensor.role == "in")


def find_kernel(identity: str, roots: tuple[Path, ...], position: Position | None = None) -> Kernel:
    """Load `<root>/kernels/<identity>` from the first root that has it; raises SF401 with the nearest name."""
    for root in roots:
        path = root / "kernels" / identity / "kernel.yaml"
        if path.is_file():
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
        yield Diagnostic(
            "SF206",
            f"the kernel is named {file.kernel!r} but its folder {kernel.folder.name!r}",
            document.at(("kernel",)),
            file.kernel,
        )
    for key, path in (("template", kernel.template), ("reference", kernel.reference)):
        if not path.is_file():
            names = [entry.name for entry in kernel.folder.iterdir()]
            yield Diagnostic(
                "SF001", f"no such file: {path}", document.at((key,)), path.name, suggest(path.name, names)
            )
    yield from _check_declarations(kernel)
    parameters, tunables, tensors = set(file.parameters), set(file.tunables), set(file.tensors)
    sizes = parameters | tunables
    for name, scope, location, formula in _formulas(kernel):
        names = {"parameters": parameters, "sizes": sizes, "args": sizes | tensors}[scope]
        if name == "default":
            names = names | {used for used in formula.names() if used.startswith("device.")}
        yield from check_names(formula, names, document, location)
    for index, launch in enumerate(file.launches):
        for place, argument in enumerate(launch.args):
            used = set(argument.names()) & tensors
            if used and argument.text.strip() not in tensors:
                yield Diagnostic(
                    "SF504",
                    "a tensor is passed by its name alone",
                    document.at(("launches", index, "args", place)),
                    argument.text,
                )


def _check_declarations(kernel: Kernel) -> Iterator[Diagnostic]:
    document, file = kernel.document, kernel.file
    for name, parameter in file.parameters.items():
        here = ("parameters", name)
        if name in DTYPES:
            yield Diagnostic(
                "SF206", f"{name!r} is an element type and cannot name a parameter", document.at(here, key=True)
            )
        if name in file.tunables or name in file.tensors:
            yield Diagnostic(
                "SF206",
                f"{name!r} is declared twice: as parameter and as tunable or tensor",
                document.at(here, key=True),
            )
        if parameter.bind == "compile" and not parameter.domain.listed:
            yield Diagnostic(
                "SF203",
                "a compile parameter lists its values",
                document.at((*here, "domain")),
                str(parameter.domain),
                "every value costs a compilation; a range belongs to `bind: launch`",
            )
        for value in parameter.domain.listed:
            if not _fits(value, parameter.type):
                hint = suggest(value, DTYPES) if parameter.type == "dtype" and isinstance(value, str) else None
                yield Diagnostic(
                    "SF203", f"{value!r} is no {parameter.type}", document.at((*here, "domain")), str(value), hint
                )
        for edge in parameter.edges:
            if edge not in parameter.domain:
                yield Diagnostic(
                    "SF405",
                    f"edge {edge} lies outside the domain {parameter.domain}",
                    document.at((*here, "edges")),
                    str(edge),
                )
    dtype_parameters = {name for name, parameter in file.parameters.items() if parameter.type == "dtype"}
    for name, tensor in file.tensors.items():
        here = ("tensors", name)
        if tensor.dtype not in DTYPES and tensor.dtype not in dtype_parameters:
            yield Diagnostic(
                "SF204",
                "neither an element type nor a parameter of type dtype",
                document.at((*here, "dtype")),
                tensor.dtype,
                suggest(tensor.dtype, [*DTYPES, *dtype_parameters]),
            )
        for axis in tensor.rows or []:
            if not 0 <= axis < len(tensor.shape):
                yield Diagnostic("SF203", f"the tensor has no axis {axis}", document.at((*here, "rows")), str(axis))
    outputs = set(kernel.outputs())
    if not outputs:
        yield Diagnostic("SF202", "a kernel has at least one tensor of role out", document.at(("tensors",), key=True))
    for name in outputs - set(file.tolerance):
        yield Diagnostic(
            "SF202",
            f"output {name!r} has no tolerance",
            document.at(("tolerance",), key=True),
            None,
            f"add `{name}: exact` or an error bound",
        )
    for name, bound in file.tolerance.items():
        here = ("tolerance", name)
        if name not in outputs:
            yield Diagnostic(
                "SF201", f"{name!r} is no output", document.at(here, key=True), None, suggest(name, outputs)
            )
        elif (
            isinstance(bound, ErrorBound)
            and file.tensors[name].dtype in DTYPES
            and not DTYPES[file.tensors[name].dtype].is_float
        ):
            yield Diagnostic("SF203", "integer outputs are exact", document.at(here), None, "write `exact`")


def _fits(value: Scalar, kind: str) -> bool:
    return {
        "int": isinstance(value, int) and not isinstance(value, bool),
        "bool": isinstance(value, bool),
        "dtype": isinstance(value, str) and value in DTYPES,
    }[kind]


def _formulas(kernel: Kernel) -> Iterator[tuple[str, str, Location, Expression]]:
    """Every expression of the file: its key, which names it may use, where it stands, itself."""
    file = kernel.file
    for index, constraint in enumerate(file.constraints):
        yield "that", "parameters", ("constraints", index, "that"), constraint.that
    for name, tunable in file.tunables.items():
        yield "default", "parameters", ("tunables", name, "default"), tunable.default
    for name, tensor in file.tensors.items():
        for axis, size in enumerate(tensor.shape):
            yield "shape", "sizes", ("tensors", name, "shape", axis), size
    for index, launch in enumerate(file.launches):
        for key in ("grid", "block", "args"):
            for place, formula in enumerate(getattr(launch, key)):
                yield key, "args" if key == "args" else "sizes", ("launches", index, key, place), formula
        yield "shared_bytes", "sizes", ("launches", index, "shared_bytes"), launch.shared_bytes
    yield "bytes", "sizes", ("work", "bytes"), file.work.bytes
    yield "flops", "sizes", ("work", "flops"), file.work.flops
    yield "steps", "sizes", ("emulation", "steps"), file.emulation.steps
    for name, bound in file.tolerance.items():
        if isinstance(bound, ErrorBound):
            for key in ("relative", "conditioned", "absolute"):
                yield key, "sizes", ("tolerance", name, key), getattr(bound, key)


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
    start = document.at(location)
    written: object = document.data
    for part in location:
        if isinstance(written, dict) and part in written:
            written = written[part]
        elif isinstance(written, list) and isinstance(part, int) and part < len(written):
            written = written[part]
    mark = 1 if isinstance(written, str) and written.startswith("=") else 0
    position = Position(start.file, start.line, start.column + error.offset + mark)
    return Diagnostic(
        error.code, error.message, position, str(written) if not isinstance(written, dict | list) else None, hint
    )
