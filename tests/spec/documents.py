"""Documents that tests write, read and have refused; and the shipped ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from specforge.diagnostics import Diagnostic, SpecForgeError
from specforge.spec.document import Document, load_document

ROOT = Path(__file__).parents[2]
SHIPPED = sorted([*ROOT.glob("specs/**/*.yaml"), *ROOT.glob("kernels/**/kernel.yaml")])


def read(file: Path, content: bytes | str) -> Document:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_document(file)


def refusal(path: Path, content: bytes | str | None = None) -> Diagnostic:
    """The one diagnostic that a file gives."""
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SpecForgeError) as caught:
        load_document(path)
    (finding,) = caught.value.diagnostics
    return finding


def place(finding: Diagnostic) -> tuple[int, int]:
    assert finding.position is not None
    return finding.position.line, finding.position.column
