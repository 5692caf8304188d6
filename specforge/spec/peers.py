"""What a kernel's peers.py declares, read from its syntax tree without running it: no peer's package is needed here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from specforge.diagnostics import Diagnostic, Position, SpecForgeError, suggest
from specforge.spec.document import read_text

TABLE = "PEERS"
WRAPPER = "Peer"
ARGUMENTS = ("tensors", "parameters", "stream")
MOST_TIMES = 1000
"""A peer that errs by more of the kernel's tolerance does not do the same operation."""
IMPORTS = frozenset({"__future__", "collections", "functools", "itertools", "math", "specforge", "typing"})
"""What may be imported at the top; everything else inside a maker, so that only the peers that need it are absent."""
WAYS_OUT = frozenset({"eval", "exec", "compile", "open", "input", "globals", "breakpoint", "__import__"})
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_OPTIONS = ("tolerance_times", "reason", "packages")


@dataclass(frozen=True, slots=True)
class DeclaredPeer:
    """One entry of PEERS: its maker's name, by how much its error may exceed the kernel's tolerance, and why."""

    name: str
    maker: str
    position: Position
    tolerance_times: float = 1.0
    reason: str | None = None
    packages: tuple[str, ...] = ("torch",)
    """Distributions whose versions the record names beside its times."""


@dataclass(slots=True)
class _Reading:
    path: Path
    tree: ast.Module
    found: list[Diagnostic] = field(default_factory=list)
    peers: dict[str, DeclaredPeer] = field(default_factory=dict)

    def fault(self, node: ast.AST, message: str, value: str | None = None, hint: str | None = None) -> None:
        where = Position(self.path, getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1)
        self.found.append(Diagnostic("SF512", message, where, value, hint))


def declared_peers(path: Path) -> Mapping[str, DeclaredPeer]:
    """The peers of a file by name, in its order; raises SpecForgeError with every SF512 of the file."""
    reading = _read(path)
    if reading.found:
        raise SpecForgeError(*reading.found)
    return reading.peers


def check_peers(path: Path) -> list[Diagnostic]:
    """Every fault of a peers.py that its syntax tree shows."""
    try:
        return _read(path).found
    except SpecForgeError as error:
        return list(error.diagnostics)


def _read(path: Path) -> _Reading:
    return _parse(path, read_text(path))


@lru_cache(maxsize=64)
def _parse(path: Path, text: str) -> _Reading:
    """A spec's targets ask for the same file many times over."""
    try:
        tree = ast.parse(text, filename=str(path))
    except SyntaxError as error:
        where = Position(path, error.lineno or 1, error.offset or 1)
        raise SpecForgeError(Diagnostic("SF512", f"the peers are not valid Python: {error.msg}", where)) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise SpecForgeError(Diagnostic("SF512", f"the peers cannot be parsed: {error}", Position(path))) from None
    reading = _Reading(path, tree)
    _check_top(reading)
    tables = list(_tables(tree))
    if len(tables) != 1 or not isinstance(tables[0], ast.Dict):
        message = f"the file has {len(tables)} tables named {TABLE}" if len(tables) != 1 else f"{TABLE} is no literal"
        hint = f'write `{TABLE} = {{"torch": make_torch}}` once: names are read without running the file'
        reading.fault(tables[-1] if tables else ast.Pass(), f"{message}; one dict display is due", None, hint)
        return reading
    makers = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for key, value in zip(tables[0].keys, tables[0].values, strict=True):
        _entry(reading, key, value, makers)
    if not tables[0].keys:
        reading.fault(tables[0], f"{TABLE} is empty", None, "remove the file and `peers:`, or add a peer")
    return reading


def _tables(tree: ast.Module) -> Iterator[ast.expr]:
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        else:
            continue
        if any(isinstance(target, ast.Name) and target.id == TABLE for target in targets) and node.value is not None:
            yield node.value


def _check_top(reading: _Reading) -> None:
    for node in ast.walk(reading.tree):
        if isinstance(node, ast.Name) and node.id in WAYS_OUT:
            reading.fault(node, f"the peers use {node.id!r}; what they run stands in this file", node.id)
    for node in reading.tree.body:
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += ["." * node.level + (node.module or "")] if isinstance(node, ast.ImportFrom) else []
        for module in modules:
            if module.split(".")[0] not in IMPORTS:
                hint = "import it inside the function that makes the peer: where it is missing, that peer is absent"
                reading.fault(node, f"{module!r} is imported by the whole file", module, hint)


def _entry(reading: _Reading, key: ast.expr | None, value: ast.expr, makers: Mapping[str, ast.FunctionDef]) -> None:
    if not (isinstance(key, ast.Constant) and isinstance(key.value, str)):
        reading.fault(key or value, "a peer's name is no plain text", None, "names are read without running the file")
        return
    name = key.value
    if not _NAME.match(name):
        reading.fault(key, "a peer's name is lower case, digits and underscores", name)
        return
    if name in reading.peers:
        reading.fault(key, f"peer {name!r} stands twice", name)
        return
    maker, options = _unwrap(reading, value)
    if not isinstance(maker, ast.Name) or maker.id not in makers:
        given = maker.id if isinstance(maker, ast.Name) else None
        hint = suggest(given or name, makers) + f"; or {WRAPPER}(function, tolerance_times=..., reason=...)"
        reading.fault(maker or value, f"peer {name!r} is made by no function of this file", given, hint)
        return
    _check_maker(reading, makers[maker.id])
    where = Position(reading.path, key.lineno, key.col_offset + 1)
    reading.peers[name] = DeclaredPeer(name, maker.id, where, **options)  # type: ignore[arg-type]  # checked below


def _unwrap(reading: _Reading, value: ast.expr) -> tuple[ast.expr | None, dict[str, object]]:
    """The maker, and the options of `Peer(maker, ...)` as literals."""
    if not isinstance(value, ast.Call):
        return value, {}
    if not (isinstance(value.func, ast.Name) and value.func.id == WRAPPER):
        return None, {}
    options: dict[str, object] = {}
    for keyword in value.keywords:
        option = keyword.arg or "**"
        try:
            given = ast.literal_eval(keyword.value)
        except ValueError:
            given = None
        good = {
            "tolerance_times": isinstance(given, int | float) and not isinstance(given, bool),
            "reason": isinstance(given, str) and bool(given.strip()),
            "packages": isinstance(given, tuple | list) and all(isinstance(package, str) for package in given),
        }
        if option not in good:
            reading.fault(keyword.value, f"{WRAPPER} takes no {option!r}", option, suggest(option, _OPTIONS))
        elif not good[option]:
            kind = {"tolerance_times": "number", "reason": "text", "packages": "tuple of names"}[option]
            reading.fault(keyword.value, f"{option} is a plain {kind}", None, "it is read without running the file")
        elif option == "tolerance_times" and not 1 <= given <= MOST_TIMES:
            message = f"tolerance_times lies between 1 and {MOST_TIMES}: a peer does the same operation"
            reading.fault(keyword.value, message, str(given))
        else:
            options[option] = tuple(given) if option == "packages" else given
    if options.get("tolerance_times", 1) != 1 and "reason" not in options:
        reading.fault(value, "a peer that may err more than the kernel says why", None, "add `reason=`")
    return (value.args[0] if len(value.args) == 1 else None), options


def _check_maker(reading: _Reading, maker: ast.FunctionDef) -> None:
    given = maker.args
    names = tuple(argument.arg for argument in (*given.posonlyargs, *given.args))
    if names != ARGUMENTS or given.kwonlyargs or given.vararg or given.kwarg:
        message = f"{maker.name} makes a peer and takes ({', '.join(names)})"
        reading.fault(maker, message, None, f"write `def {maker.name}({', '.join(ARGUMENTS)}):`")
