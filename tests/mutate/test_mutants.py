"""What is changed in a template, what is left alone, and ids that stay."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specforge.mutate.mutant import Mutant, make
from specforge.mutate.operators import changes
from specforge.mutate.tokens import read
from tests.mutate.conftest import TEMPLATE

ROOT = Path(__file__).parents[2]


def mutants(text: str) -> list[Mutant]:
    source = read(text)
    return make(source, changes(source))


def changed(text: str, operator: str) -> set[str]:
    """The changed text of each mutant of an operator, in single spaces."""
    return {" ".join(mutant.template.split()) for mutant in mutants(text) if mutant.operator == operator}


@pytest.mark.parametrize(
    ("operator", "text", "wanted"),
    [
        ("relational", "x = a < b;", {"x = a <= b;", "x = a >= b;"}),
        ("relational", "x = y<int>(a);", set()),
        ("relational", "x = reinterpret_cast<const uint2*>(p)[i];", set()),
        ("arithmetic", "x = a + b;", {"x = a - b;"}),
        ("arithmetic", "float* x = &a;", set()),
        ("arithmetic", "x = -a;", {"x = a;"}),
        ("arithmetic", "x = fmaxf(a, b);", {"x = fminf(a, b);"}),
        ("constant", "x = 7;", {"x = 6;", "x = 8;"}),
        ("constant", "x = 0.5f;", {"x = (0.5f + 1.0f);", "x = (0.5f - 1.0f);"}),
        ("constant", "x = {{ head_dim ** -0.5 }};", set()),
        ("guard", "if (i < n) x = 1;", {"if (true) x = 1;", "if (false) x = 1;"}),
        ("guard", "x = a ? b : c;", {"x = true ? b : c;", "x = false ? b : c;"}),
        ("guard", "x = min(a + 1, b);", {"x = (a + 1);", "x = (b);"}),
        ("guard", "x = a && b;", {"x = b;", "x = a ;"}),
        ("barrier", "__syncthreads(); x = 1;", {"; x = 1;"}),
        ("initialisation", "float a = 1, b[2] = {3, 4};", {"float a , b[2] = {3, 4};", "float a = 1, b[2] ;"}),
        ("initialisation", "const float a = 1;", set()),
        ("index", "x = a[i][j];", {"x = a[j][i];"}),
        ("index", "x = threadIdx.x;", {"x = threadIdx.y;"}),
        ("argument", "x = f(a, b + 1, c);", {"x = f(b + 1, a, c);", "x = f(a, c, b + 1);"}),
        ("argument", "void f(int a, int b) { }", set()),
        (
            "shuffle",
            "x = __shfl_xor_sync(ALL, v, 4);",
            {
                "x = __shfl_xor_sync(((ALL) >> 1), v, 4);",
                "x = __shfl_xor_sync(ALL, v, ((4) ^ 1));",
                "x = __shfl_down_sync(ALL, v, 4);",
            },
        ),
        ("stride", "p = q + row * PITCH;", {"p = q + row * (PITCH + 1);"}),
        ("cast", "x = (float)a / b;", {"x = a / b;"}),
        ("cast", "x = sizeof(float) / b;", set()),
        ("cast", "x = __bfloat162float(a);", {"x = (a);"}),
        ("statement", "int a = 1; a += 2; f(a);", {"int a = 1; ; f(a);", "int a = 1; a += 2; ;"}),
        ("statement", "if (a) return;", {"if (a) ;"}),
    ],
)
def test_operators(operator: str, text: str, wanted: set[str]) -> None:
    assert changed(text, operator) == wanted


def test_what_cannot_change_a_result_is_left_alone() -> None:
    for number, (before, *others) in enumerate(
        zip(TEMPLATE.split("\n"), *(mutant.template.split("\n") for mutant in mutants(TEMPLATE)), strict=True)
    ):
        if number not in {6, 7}:
            assert set(others) == {before}
    kept = "#pragma unroll 4\n/* 1 + 1 */ // 2 + 2\n{% if a < b %}{# 1 + 1 #}\n{% endif %}"
    assert mutants(kept) == []


@pytest.mark.parametrize("name", ["moe/router_topk", "attention/flash_decode"])
def test_mutants_of_a_shipped_kernel_keep_its_lines_and_have_ids_of_their_own(name: str) -> None:
    text = (ROOT / "kernels" / name / "kernel.cu.j2").read_text()
    found = mutants(text)
    assert len({mutant.id for mutant in found}) == len({mutant.template for mutant in found}) == len(found) > 150
    for mutant in found:
        pairs = zip(text.split("\n"), mutant.template.split("\n"), strict=True)
        assert mutant.line in [number for number, (old, new) in enumerate(pairs, start=1) if old != new]


def test_ids_survive_edits_elsewhere() -> None:
    edited = "// New first line.\n" + TEMPLATE.replace("static_assert", "constexpr int MORE = 4 + 4;\nstatic_assert")
    before, after = {mutant.id for mutant in mutants(TEMPLATE)}, {mutant.id for mutant in mutants(edited)}
    assert before < after
    reformatted = TEMPLATE.replace("y[i] = x[i] + 3", "y[ i ] =  x[i]\n    + 3")
    assert {mutant.id for mutant in mutants(reformatted)} == before
    other = TEMPLATE.replace("x[i] + 3", "x[i] + 5")
    assert {mutant.id for mutant in mutants(other)} != before


def test_equal_statements_are_told_apart_by_their_order() -> None:
    ids = [mutant.id for mutant in mutants("a = b + 1;\nc();\na = b + 1;") if mutant.operator == "arithmetic"]
    assert len(ids) == 2
    assert ids[1] == f"{ids[0]}-2"


def test_a_diff_names_the_changed_line() -> None:
    mutant = next(mutant for mutant in mutants(TEMPLATE) if mutant.operator == "guard")
    diff = mutant.diff(TEMPLATE, "kernel.cu.j2")
    assert "-  if (i < n) y[i] = x[i] + 3;\n+  if (true) y[i] = x[i] + 3;" in diff


@given(st.text(alphabet="ab1 <>(){}[];,=+-*/%&|?:!\"'#\n.f"))
def test_any_text_can_be_read(text: str) -> None:
    for mutant in mutants(text):
        assert mutant.template != text
        assert mutant.template.count("\n") >= text.count("\n")
