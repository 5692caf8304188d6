"""The jinja2 environment of kernel templates: plain arithmetic and control flow, bounded in steps and size.

Whatever a template does ends after MAX_STEPS loop turns and calls and MAX_OUTPUT characters; numbers keep to 64 bits.
Filters are a short list, methods of values are out of reach. Expressions outside `{{ }}` never see the marks of
`lines.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from jinja2 import StrictUndefined, TemplateRuntimeError, Undefined, nodes, pass_context
from jinja2.environment import TemplateModule
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from specforge.dtypes import DTYPES
from specforge.kernel.instrument import Instrument
from specforge.kernel.lines import unmark
from specforge.kernel.loader import KernelLoader

MAX_OUTPUT = 1 << 20
MAX_STEPS = 100_000
MAX_ITEMS = 10_000
_INT_LIMIT = 2**63
T = TypeVar("T", str, list[Any])
_FILTERS = (
    "abs",
    "first",
    "float",
    "int",
    "last",
    "length",
    "list",
    "lower",
    "max",
    "min",
    "reverse",
    "round",
    "sort",
    "string",
    "unique",
    "upper",
)


@dataclass(slots=True)
class _Budget:
    """What is left of a rendering's steps and characters; marks count, hence the head room."""

    steps: int = MAX_STEPS
    characters: int = 16 * MAX_OUTPUT

    def spend(self, steps: int, characters: int = 0) -> None:
        self.steps -= steps
        self.characters -= characters
        if self.steps < 0:
            raise TemplateRuntimeError(f"the template takes more than {MAX_STEPS:,} loop turns and calls")
        if self.characters < 0:
            raise TemplateRuntimeError(f"the template writes more than {MAX_OUTPUT:,} characters")


_BUDGET: ContextVar[_Budget] = ContextVar("template_budget")


@contextmanager
def limited() -> Iterator[None]:
    """Give what is rendered inside its own budget."""
    token = _BUDGET.set(_Budget())
    try:
        yield
    finally:
        _BUDGET.reset(token)


@dataclass(frozen=True, slots=True)
class Reference:
    """An include, import or extends: the template's name (None where it is computed), the line, whether it may lack."""

    name: str | None
    line: int
    optional: bool


@dataclass(frozen=True, slots=True)
class Examined:
    """What a template's syntax tree says: variables it needs and sets, templates it names."""

    text: str
    path: Path
    tree: nodes.Template
    undeclared: frozenset[str]
    assigned: frozenset[str]
    references: tuple[Reference, ...]


class KernelEnvironment(ImmutableSandboxedEnvironment):
    """jinja2 for CUDA sources. Compiled templates stay in the environment and follow their files."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self, loader: KernelLoader) -> None:
        super().__init__(
            loader=loader,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,
            finalize=_write,
        )
        self.kernel_loader = loader
        self._examined: dict[str, Examined] = {}
        self.globals = {"range": _range, "namespace": Namespace}
        self.filters = {name: self.filters[name] for name in _FILTERS} | {
            "ctype": _ctype,
            "join": _join,
            "plain": _plain,
            "counted": _counted,
        }

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        short = self.kernel_loader.find(name)[0] if name else ""
        result = Instrument(short, name, filename).visit(tree)
        assert isinstance(result, nodes.Template)
        return result

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:  # noqa: ANN401 - jinja's signature
        """Attributes of loops, macros, namespaces, imports and dictionaries; no methods of texts and numbers."""
        return isinstance(obj, LoopContext | Macro | Namespace | TemplateModule | dict) and super().is_safe_attribute(
            obj, attr, value
        )

    def wrap_str_format(self, value: Any) -> None:  # noqa: ANN401 - jinja's signature
        """No `format` either: jinja would hand out a safe one whose widths nothing bounds."""

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - jinja's signature
        """Call a macro or a global; every call is a step."""
        _BUDGET.get().spend(1)
        return super().call(__context, __obj, *args, **kwargs)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401 - jinja's signature
        """Arithmetic within 64 bits; `+` also joins texts and lists, nothing repeats or formats them."""
        for operand in (left, right):
            if isinstance(operand, Undefined):
                str(operand)  # raises, naming the variable
        if operator == "+":
            if isinstance(left, str) and isinstance(right, str):
                return _limited(left + right, MAX_OUTPUT)
            if isinstance(left, list) and isinstance(right, list):
                return _limited(left + right, MAX_ITEMS)
        if not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise TemplateRuntimeError(f"`{operator}` takes numbers here, not {_kind(left)} and {_kind(right)}")
        if operator == "**" and (abs(right) > 1024 or (isinstance(left, int) and abs(left) > 1 and right > 63)):
            raise TemplateRuntimeError(f"{left} ** {right} is out of range")
        return _bounded(super().call_binop(context, operator, left, right))

    def examine(self, name: str) -> Examined:
        """Parse a template and note its variables; remembered for as long as its text stays the same."""
        text, filename, _ = self.kernel_loader.get_source(self, name)
        known = self._examined.get(name)
        if known is None or known.text != text:
            tree = self.parse(text, name, filename)
            assigned = {node.name for node in tree.find_all(nodes.Name) if node.ctx == "store"}
            undeclared = frozenset(find_undeclared_variables(tree))
            known = Examined(text, Path(filename), tree, undeclared, frozenset(assigned), tuple(_references(tree)))
            self._examined[name] = known
        return known


@pass_context
def _write(context: Context, value: object) -> str:
    """What `{{ value }}` writes: C++ spells true, false and numbers its own way."""
    match value:
        case bool():
            text = "true" if value else "false"
        case int() | float():
            text = repr(_bounded(value))
        case str():
            text = value
        case Undefined():
            text = str(value)  # raises, naming the variable
        case _:
            raise TemplateRuntimeError(f"{{{{ }}}} writes texts, numbers and true or false, not {_kind(value)}")
    _BUDGET.get().spend(0, len(text))
    return text


def _plain(value: object) -> object:
    return unmark(value) if isinstance(value, str) else value


def _counted(items: Iterable[object], weight: int) -> Iterator[object]:
    for item in items:
        _BUDGET.get().spend(1, weight)
        yield item


def _ctype(name: object) -> str:
    if not isinstance(name, str) or name not in DTYPES:
        raise TemplateRuntimeError(f"`ctype` takes the name of an element type ({', '.join(DTYPES)}), not {name!r}")
    return DTYPES[name].ctype


def _join(items: Iterable[object], separator: str = "") -> str:
    texts = [_plain_text(item) for item in items]
    if sum(map(len, texts)) + len(texts) * len(separator) > MAX_OUTPUT:
        raise TemplateRuntimeError(f"`join` makes something longer than {MAX_OUTPUT:,}")
    return separator.join(texts)


def _plain_text(item: object) -> str:
    if not isinstance(item, str | int | float):
        raise TemplateRuntimeError(f"`join` takes texts and numbers, not {_kind(item)}")
    return unmark(item) if isinstance(item, str) else str(item).lower()


def _range(*bounds: int) -> range:
    result = range(*bounds)
    if len(result) > MAX_ITEMS:
        raise TemplateRuntimeError(f"a range of {len(result):,}; at most {MAX_ITEMS:,} are allowed")
    return result


def _references(tree: nodes.Template) -> Iterator[Reference]:
    for node in tree.find_all((nodes.Extends, nodes.FromImport, nodes.Import, nodes.Include)):
        named = cast(nodes.Include, node).template
        name = named.value if isinstance(named, nodes.Const) and isinstance(named.value, str) else None
        yield Reference(name, node.lineno, isinstance(node, nodes.Include) and node.ignore_missing)


def _limited(joined: T, limit: int) -> T:
    if len(joined) > limit:
        raise TemplateRuntimeError(f"`+` makes something longer than {limit:,}")
    return joined


def _bounded(value: int | float) -> int | float:
    if abs(value) >= _INT_LIMIT if isinstance(value, int) else not math.isfinite(value):
        raise TemplateRuntimeError("a number beyond 64 bits or not finite")
    return value


def _kind(value: object) -> str:
    return (
        f"{value!r}" if isinstance(value, str | int | float) and len(str(value)) < 40 else f"a {type(value).__name__}"
    )
