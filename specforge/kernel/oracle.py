"""What reference.py promises, read from its syntax tree without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from specforge.diagnostics import Diagnostic, Position, suggest
from specforge.spec.document import read_text
from specforge.spec.interface import Kernel
from specforge.spec.kernel import ErrorBound

WAYS_OUT = frozenset({"eval", "exec", "compile", "open", "input", "globals", "locals", "vars", "breakpoint"})
"""Names by which a reference could reach what it must not depend on."""
ALLOWED_IMPORTS = frozenset({"__future__", "gguf", "math", "ml_dtypes", "numpy"})
"""Independent of this project and of any accelerator."""

FUNCTION = "reference"


def check_reference(kernel: Kernel) -> list[Diagnostic]:
    """Every SF505 of a kernel's reference: imports, arguments and the keys it returns."""
    path = kernel.reference
    try:
        tree = ast.parse(read_text(path), filename=str(path))
    except SyntaxError as error:
        return [
            Diagnostic(
                "SF505",
                f"the reference is not valid Python: {error.msg}",
                Position(path, error.lineno or 1, error.offset or 1),
            )
        ]
    except (ValueError, RecursionError, MemoryError) as error:
        return [Diagnostic("SF505", f"the reference cannot be parsed: {error}", Position(path))]
    found = list(_check_imports(tree, path))
    functions = [
        node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == FUNCTION
    ]
    if len(functions) != 1 or isinstance(functions[0], ast.AsyncFunctionDef):
        where = _at(path, functions[-1]) if functions else Position(path)
        message = f"the reference has {len(functions)} functions named {FUNCTION!r}; exactly one plain function is due"
        return [
            *found,
            Diagnostic("SF505", message, where, None, f"write `def {FUNCTION}(*, ...) -> dict[str, np.ndarray]:`"),
        ]
    return [*found, *_check_arguments(kernel, functions[0], path), *_check_returns(kernel, functions[0], path)]


def _check_imports(tree: ast.Module, path: Path) -> Iterator[Diagnostic]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and _is_way_out(name := _last_name(node)):
            message = f"the reference uses {name!r}; it computes from its arguments and nothing else"
            yield Diagnostic("SF505", message, Position(path, node.lineno, node.col_offset + 1), name)
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = ["." * node.level + (node.module or "")]
        else:
            continue
        for module in modules:
            if module.split(".")[0] not in ALLOWED_IMPORTS:
                message = f"the reference imports {module!r}; to share no fault with the kernel it stands alone"
                where = Position(path, node.lineno, node.col_offset + 1)
                yield Diagnostic("SF505", message, where, module, "numpy, math, gguf and ml_dtypes may be imported")


def _last_name(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr


def _is_way_out(name: str) -> bool:
    return name in WAYS_OUT or name.startswith("__")


def _check_arguments(kernel: Kernel, function: ast.FunctionDef, path: Path) -> Iterator[Diagnostic]:
    given = function.args
    known = {*kernel.inputs(), *kernel.file.parameters}
    for argument in (*given.posonlyargs, *given.args, *filter(None, (given.vararg, given.kwarg))):
        message = f"argument {argument.arg!r} of the reference is not keyword-only"
        yield Diagnostic("SF505", message, _at(path, argument), argument.arg, "write `def reference(*, a, b, ...)`")
    for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        name = argument.arg
        if default is not None:
            message = f"argument {name!r} of the reference has a default; a missing value must not pass"
            yield Diagnostic("SF505", message, _at(path, default), name, "remove the default")
        if name not in known:
            yield Diagnostic("SF505", _unknown(kernel, name), _at(path, argument), name, suggest(name, known))


def _unknown(kernel: Kernel, name: str) -> str:
    if name in kernel.file.tunables:
        return f"the reference takes tunable {name!r}; the right result does not depend on the author's choices"
    if name in kernel.file.tensors:
        return f"the reference takes {name!r}, which is no input"
    return f"the reference takes {name!r}, which is neither an input nor a parameter of kernel.yaml"


def _check_returns(kernel: Kernel, function: ast.FunctionDef, path: Path) -> Iterator[Diagnostic]:
    outputs = kernel.outputs()
    due = {*outputs, *(f"{name}_magnitude" for name in outputs if _is_conditioned(kernel, name))}
    returns = list(_returns(function.body))
    if not returns:
        yield Diagnostic(
            "SF505",
            "the reference returns nothing",
            _at(path, function),
            None,
            f"return {{{', '.join(map(repr, sorted(due)))}: ...}}",
        )
    for node in returns:
        if not isinstance(node.value, ast.Dict):
            message = "the reference returns something other than a dict display, whose keys could be checked"
            yield Diagnostic(
                "SF505", message, _at(path, node), None, f"return {{{', '.join(map(repr, sorted(due)))}: ...}}"
            )
            continue
        yield from _check_keys(node.value, due, outputs, path)


def _check_keys(display: ast.Dict, due: set[str], outputs: tuple[str, ...], path: Path) -> Iterator[Diagnostic]:
    keys: set[str] = set()
    for key in display.keys:
        if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
            yield Diagnostic(
                "SF505", "a key of what the reference returns is not a plain text", _at(path, key or display)
            )
            continue
        if key.value in keys:
            yield Diagnostic("SF505", f"the reference returns {key.value!r} twice", _at(path, key), key.value)
        if key.value not in due:
            needless = key.value.removesuffix("_magnitude") in outputs
            message = f"the reference returns {key.value!r}, " + (
                "but its tolerance has no `conditioned` part" if needless else "which is no output"
            )
            yield Diagnostic("SF505", message, _at(path, key), key.value, suggest(key.value, due))
        keys.add(key.value)
    for name in sorted(due - keys):
        yield Diagnostic(
            "SF505", f"the reference does not return {name!r}", _at(path, display), None, _reason(name, outputs)
        )


def _reason(name: str, outputs: tuple[str, ...]) -> str:
    if name in outputs:
        return "kernel.yaml declares it as an output"
    output = name.removesuffix("_magnitude")
    return f"the `conditioned` tolerance of {output!r} multiplies it: how far a relative error of one moves an element"


def _is_conditioned(kernel: Kernel, output: str) -> bool:
    bound = kernel.file.tolerance.get(output)
    return isinstance(bound, ErrorBound) and bound.conditioned.text.strip() != "0"


def _returns(body: list[ast.stmt]) -> Iterator[ast.Return]:
    """Return statements of a function, not those of functions inside it."""
    for statement in body:
        if isinstance(statement, ast.Return):
            yield statement
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            for field in ("body", "orelse", "finalbody"):
                yield from _returns(getattr(statement, field, []))
            for handler in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
                yield from _returns(handler.body)


def _at(path: Path, node: ast.stmt | ast.expr | ast.arg) -> Position:
    return Position(path, node.lineno, node.col_offset + 1)
