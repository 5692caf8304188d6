"""Codes are documented, positions print as compilers print them, suggestions are near."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import specforge
from specforge.diagnostics import (
    CODES,
    Diagnostic,
    Position,
    Severity,
    SpecForgeError,
    fail,
    nearest,
    shorten,
    suggest,
)

PACKAGE = Path(specforge.__file__).parent


def codes_used() -> dict[str, list[str]]:
    """Every code that stands as a text in the package's code, with where; docstrings do not count."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        documented = {id(key) for node in ast.walk(tree) if isinstance(node, ast.Dict) for key in node.keys}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"SF\d+", node.value):
                is_entry = path.name == "diagnostics.py" and id(node) in documented
                if not is_entry:
                    found.setdefault(node.value, []).append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    return found


def test_every_code_that_is_used_is_documented():
    used = codes_used()
    assert len(used) > 30, "the search itself has broken"
    undocumented = {code: places for code, places in used.items() if code not in CODES}
    assert not undocumented


def test_every_documented_code_is_used():
    assert sorted(set(CODES) - set(codes_used())) == []


def test_codes_have_one_form_and_a_sentence_each():
    assert list(CODES) == sorted(CODES)
    for code, meaning in CODES.items():
        assert re.fullmatch(r"SF[1-8]\d\d|SF0\d\d", code)
        assert meaning[0].isupper()
        assert meaning.endswith(".")
        assert len(meaning) < 120
    assert len(set(CODES.values())) == len(CODES)


def test_a_diagnostic_prints_as_compilers_do():
    finding = Diagnostic("SF203", "a number is due", Position(Path("specs/a.yaml"), 3, 7), "x", "write 3")
    assert str(finding) == "specs/a.yaml:3:7: error SF203: a number is due (value: x)\n  hint: write 3"
    assert str(Diagnostic("SF801", "no", severity=Severity.WARNING)) == "warning SF801: no"


def test_an_error_carries_all_its_diagnostics():
    one, two = Diagnostic("SF101", "first"), Diagnostic("SF102", "second")
    error = SpecForgeError(one, two)
    assert error.diagnostics == (one, two)
    assert str(error) == "error SF101: first\nerror SF102: second"


def test_fail_shows_values_in_one_line():
    (finding,) = fail("SF203", "no", value="a\n  b\tc").diagnostics
    assert finding.value == "a b c"
    (finding,) = fail("SF203", "no", value=0).diagnostics
    assert finding.value == "0"
    (finding,) = fail("SF203", "no").diagnostics
    assert finding.value is None


@given(st.text() | st.binary() | st.lists(st.integers()), st.integers(1, 100))
def test_shortened_is_one_short_line(value, limit):
    text = shorten(value, limit)
    assert len(text) <= limit
    assert len(text.splitlines()) <= 1


def test_nearest_knows_typos_and_strangers():
    names = ["matrix", "zip", "cases", "exclude", "Targets"]
    assert nearest("matrx", names) == "matrix"
    assert nearest("MATRIX", names) == "matrix"
    assert nearest("target", names) == "Targets"
    assert nearest("qqqq", names) is None
    assert nearest("matrix", []) is None


def test_suggestions_name_the_nearest_and_list_what_is_short():
    assert suggest("matrx", ["zip", "matrix"]) == "did you mean 'matrix'? valid here: matrix, zip"
    assert suggest("q", []) == "nothing is valid here"
    many = [f"name{index}" for index in range(30)]
    assert suggest("name7x", many).endswith("valid here: 30 names")


@pytest.mark.parametrize("severity", Severity)
def test_severities_print_as_words(severity):
    assert f"{severity}" == severity.value
