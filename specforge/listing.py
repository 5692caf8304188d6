"""The specs and kernels that can be named from a folder."""

from __future__ import annotations

from pathlib import Path

from specforge.diagnostics import SpecForgeError
from specforge.roots import search_roots, tidy
from specforge.spec.document import load_document
from specforge.spec.interface import list_kernels


def listing(folder: Path) -> str:
    """A text of two sections; a file that cannot be read is listed with its first diagnostic."""
    roots = search_roots(folder / "specs")
    lines = ["Specs:"]
    for root in roots:
        lines += (f"  {tidy(path)}  {_summary(path)}" for path in sorted((root / "specs").glob("*.yaml")))
    lines.append("Kernels:")
    lines += (f"  {identity}  {_summary(path)}" for identity, path in list_kernels(roots).items())
    return "\n".join(lines) + "\n"


def _summary(path: Path) -> str:
    try:
        return str(load_document(path).data.get("summary", ""))
    except SpecForgeError as error:
        return f"({error.diagnostics[0].message})"
