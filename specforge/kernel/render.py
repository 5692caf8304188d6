"""A kernel's template and the values of its compile parameters -> CUDA source that points back into the template."""

from __future__ import annotations

import hashlib
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from specforge.diagnostics import Diagnostic, Position, SpecForgeError, fail, suggest
from specforge.expressions import Scalar
from specforge.kernel.lines import Place, place_lines, read_places, unmark
from specforge.spec.interface import Kernel

if TYPE_CHECKING:
    from specforge.kernel.sandbox import Examined, KernelEnvironment


@dataclass(frozen=True, slots=True)
class Rendered:
    """CUDA source with `#line` directives; the emulator and NVRTC compile the same text.

    `files` maps the names in the directives, which do not depend on where a checkout lies, to the templates.
    """

    text: str
    sha256: str
    template: Path
    files: Mapping[str, Path]

    def position(self, offset: int) -> Position:
        """Where in a template the text at an offset comes from; the column is 1 where only the line is known."""
        line = self.text.count("\n", 0, offset)
        start = self.text.rfind("\n", 0, offset) + 1
        place = read_places(self.text)[line]
        if place is None:
            return Position(self.template)
        return self.locate(place, self.text[start:].split("\n", 1)[0], offset - start)

    def locate(self, place: Place, shown: str, column: int) -> Position:
        """Position of `column` (from 0) of a rendered line `shown` in the template line that it comes from."""
        path = self.files.get(place.name, self.template)
        lines = path.read_text(encoding="utf-8").split("\n")
        written = lines[place.line - 1] if place.line <= len(lines) else ""
        if written[: column + 1] == shown[: column + 1]:
            return Position(path, place.line, column + 1)
        word = re.match(r"\w+|\W", shown[column:])
        return Position(path, place.line, _column(written, word.group()) if word and word.group().isidentifier() else 1)


def render(kernel: Kernel, bindings: Mapping[str, Scalar]) -> Rendered:
    """Render a kernel for one choice of its compile parameters and tunables.

    Raises SF501 where the template cannot be parsed or rendered, SF502 where it uses what kernel.yaml does not
    declare, SF503 where a declared compile parameter or tunable never reaches it.
    """
    names = kernel.compile_names()
    if set(bindings) != set(names):
        raise ValueError(f"{kernel.identity} renders with {', '.join(names)}, not with {', '.join(bindings)}")
    from jinja2.exceptions import TemplateError

    from specforge.kernel.sandbox import MAX_OUTPUT, limited

    environment = _environment(kernel.identity, kernel.folder, kernel.include_dirs)
    pieces: list[str] = []
    size = 0
    try:
        files = _check_names(kernel, environment)
        with limited():
            for piece in environment.get_template(kernel.file.template).generate(bindings):
                pieces.append(piece)
                size += len(unmark(piece))
                if size > MAX_OUTPUT:
                    raise fail(
                        "SF501", f"the template writes more than {MAX_OUTPUT:,} characters", Position(kernel.template)
                    )
    except SpecForgeError:
        raise
    except (TemplateError, ArithmeticError, TypeError, ValueError, LookupError, RecursionError, OSError) as error:
        raise _failure(kernel, environment, error) from None
    text = place_lines("".join(pieces))
    return Rendered(text, hashlib.sha256(text.encode()).hexdigest(), kernel.template, files)


@lru_cache(maxsize=64)
def _environment(identity: str, folder: Path, include_dirs: tuple[Path, ...]) -> KernelEnvironment:
    from specforge.kernel.loader import KernelLoader
    from specforge.kernel.sandbox import KernelEnvironment

    return KernelEnvironment(KernelLoader({f"kernels/{identity}": (folder,), "kernels/include": include_dirs}))


def _check_names(kernel: Kernel, environment: KernelEnvironment) -> dict[str, Path]:
    """Compare the variables of the template and of all it includes with kernel.yaml; gives the files by short name."""
    reached = _reach(kernel, environment)
    declared = set(kernel.compile_names())
    assigned = {name for template in reached.values() for name in template.assigned}
    used = {name for template in reached.values() for name in template.undeclared}
    found: list[Diagnostic] = []
    for name, template in reached.items():
        known = declared if name == kernel.file.template else declared | assigned
        found += [_undeclared(kernel, template, variable) for variable in sorted(template.undeclared - known)]
    for section in ("parameters", "tunables"):
        for name in getattr(kernel.file, section):
            if name in declared - used:
                where = kernel.document.at((section, name), key=True)
                message = f"{name!r} is bound at compile time but the template never uses it"
                found.append(Diagnostic("SF503", message, where, None, "use it, remove it, or declare `bind: launch`"))
    if found:
        raise SpecForgeError(*found)
    return {environment.kernel_loader.find(name)[0]: template.path for name, template in reached.items()}


def _reach(kernel: Kernel, environment: KernelEnvironment) -> dict[str, Examined]:
    """The template and every one that it includes, imports or extends; itself first."""
    first = kernel.file.template
    reached = {first: environment.examine(first)}
    waiting = [first]
    while waiting:
        here = reached[waiting.pop()]
        for reference in here.references:
            where = Position(here.path, reference.line)
            if reference.name is None:
                raise fail("SF501", "a template is included by a computed name", where, hint="write its name as a text")
            if reference.name in reached:
                continue
            if environment.kernel_loader.has(reference.name):
                reached[reference.name] = environment.examine(reference.name)
                waiting.append(reference.name)
            elif not reference.optional:
                hint = "templates stand in the kernel's folder and in kernels/include"
                raise fail("SF501", f"no template {reference.name!r}", where, value=reference.name, hint=hint)
    return reached


def _undeclared(kernel: Kernel, template: Examined, name: str) -> Diagnostic:
    from jinja2 import nodes

    line = min(
        (node.lineno for node in template.tree.find_all(nodes.Name) if node.name == name and node.ctx == "load"),
        default=1,
    )
    position = Position(template.path, line, _column(template.text.split("\n")[line - 1], name))
    if name in kernel.file.parameters or name in kernel.file.tunables:
        hint = f"{name!r} is bound at launch: declare `bind: compile`, or pass it as an argument"
    else:
        hint = suggest(name, kernel.compile_names())
    return Diagnostic("SF502", f"the template uses {name!r}, which kernel.yaml does not declare", position, name, hint)


def _column(line: str, word: str) -> int:
    found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", line)
    return found.start() + 1 if found else 1


def _failure(kernel: Kernel, environment: KernelEnvironment, error: Exception) -> SpecForgeError:
    """A template's error at the line that jinja gives: its own, or the innermost template frame of the traceback."""
    from jinja2.exceptions import TemplateNotFound, TemplateSyntaxError, UndefinedError

    position = Position(kernel.template)
    if isinstance(error, TemplateSyntaxError):
        position = Position(Path(error.filename) if error.filename else kernel.template, error.lineno)
    else:
        folders = tuple(str(folder) for folder in (kernel.folder, *kernel.include_dirs))
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename.startswith(folders) and frame.lineno:
                position = Position(Path(frame.filename), frame.lineno)
    message = str(error) or type(error).__name__
    if isinstance(error, TemplateNotFound):
        position = kernel.document.at(("template",))
        return fail(
            "SF501", f"no template {message!r} in the kernel's folder or the include folders", position, value=message
        )
    if isinstance(error, RecursionError):
        message = "macros call each other without end"
    code = "SF502" if isinstance(error, UndefinedError) else "SF501"
    return fail(
        code,
        f"the template fails: {message}" if code == "SF501" else f"the template uses what is not there: {message}",
        position,
    )
