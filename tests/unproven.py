"""Shipped kernels whose proofs are still to be made; an entry that has its result is an error (strict xfail)."""

from __future__ import annotations

import pytest

UNSCORED = frozenset(
    {
        "attention/flash_decode",
    }
)
"""Without a mutation score."""
UNCOMPARED: frozenset[str] = frozenset()
"""Without a parity result from a card."""


def expecting(kernels: list[str], missing: frozenset[str], what: str) -> list[object]:
    """Each kernel as a parameter; those that miss a result must fail for it."""
    marks = pytest.mark.xfail(strict=True, raises=AssertionError, reason=f"no {what} yet")
    return [pytest.param(name, marks=marks if name in missing else ()) for name in kernels]
