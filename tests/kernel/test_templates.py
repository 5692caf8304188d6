from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXTS = sorted(path for end in ("*.j2", "*.cuh", "*.h") for path in (ROOT / "kernels").rglob(end))
GENERIC = re.compile(r"\]\s*\([^)]*\bauto\b")
"""Captures and, among parameters, `auto`: NVRTC 13.0 takes such a lambda for a host function, 13.5 does not."""


def generic_lambdas(text: str) -> list[int]:
    """Lines on which a generic lambda begins."""
    return [text.count("\n", 0, found.start()) + 1 for found in GENERIC.finditer(text)]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT / "kernels").as_posix())
def test_no_lambda_is_generic(path):
    assert generic_lambdas(path.read_text()) == []


@pytest.mark.parametrize(
    ("planted", "lines"),
    [
        ("\nconst auto load = [&](auto step) {};\n", [2]),
        ("each([=, &sum] (int base,\n  const auto& first) {});", [1]),
        ("f([](auto... all) {}); g([&](auto&& one) {});", [1, 1]),
        ("const auto load = [&](int step, float (&to)[4]) { const auto x = to[0]; };\nfloat automatic = a[i](b);", []),
    ],
)
def test_a_generic_lambda_is_found(planted, lines):
    shipped = (ROOT / "kernels" / "gemm" / "quant_gemv" / "kernel.cu.j2").read_text()
    assert generic_lambdas(planted) == lines
    assert len(generic_lambdas(shipped + planted)) == len(lines)


def test_templates_and_headers_are_looked_at():
    assert {"kernel.cu.j2", "gguf.cuh"} <= {path.name for path in TEXTS}
