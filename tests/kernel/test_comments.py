"""What is a comment in a template, and what only looks like one."""

from __future__ import annotations

from specforge.kernel.comments import without_comments
from tests.mutate.conftest import TEMPLATE


def test_comments_are_told_from_code() -> None:
    said = without_comments(TEMPLATE)
    assert "A comment" not in said
    assert without_comments(f"// More\n{TEMPLATE.replace('  if (i', '  /* or */ if (i')}{{# and more #}}\n\n") == said
    for before, after in (
        ("+ 3", "+ 4"),
        ("}} T", "}}* T"),
        ('"four', '"// four'),
        ('"specforge.cuh"', "<specforge.cuh>"),
    ):
        assert without_comments(TEMPLATE.replace(before, after)) != said
    assert without_comments("#define A 1\nint a;") != without_comments("#define A 1 int a;")
