"""Where templates are read from: the kernel's folder and the shared include folders, nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from jinja2 import BaseLoader, Environment, TemplateNotFound, TemplateSyntaxError
from jinja2.loaders import split_template_path

from specforge.kernel.lines import is_clean

MAX_TEMPLATE = 1 << 20


class KernelLoader(BaseLoader):
    """Templates of the kernel's folder and the shared include folders, by name; nothing outside them."""

    def __init__(self, folders: Mapping[str, tuple[Path, ...]]) -> None:
        self._folders = folders

    def find(self, name: str) -> tuple[str, Path]:
        """The short name that `#line` carries, and the file; raises TemplateNotFound."""
        parts = split_template_path(name)
        for short, folders in self._folders.items():
            for folder in folders:
                path = folder.joinpath(*parts)
                if path.is_file():
                    return "/".join((short, *parts)), path
        raise TemplateNotFound(name)

    def has(self, name: str) -> bool:
        """Whether there is a template of that name."""
        try:
            self.find(name)
        except TemplateNotFound:
            return False
        return True

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        """Read a template, to be read again when its file has changed."""
        _, path = self.find(template)
        text = _read(path, template)
        return text, str(path), lambda: path.is_file() and path.read_bytes() == text.encode()


def _read(path: Path, name: str) -> str:
    raw = path.read_bytes()
    if len(raw) > MAX_TEMPLATE:
        raise TemplateSyntaxError(
            f"a template of {len(raw):,} bytes; at most {MAX_TEMPLATE:,} are read", 1, name, str(path)
        )
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise TemplateSyntaxError("not UTF-8 text", raw.count(b"\n", 0, error.start) + 1, name, str(path)) from None
    if not is_clean(text):
        raise TemplateSyntaxError("control characters have no place in a template", 1, name, str(path))
    return text
