"""The field types of the files, and what their faults look like to the person who wrote them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from specforge.diagnostics import Diagnostic, SpecForgeError
from specforge.expressions import Expression
from specforge.spec.document import load_document
from specforge.spec.fields import Day, Formula, Name, Section, Text, Value, quantity, validate


class Inner(Section):
    count: int
    share: float = 0.5
    flag: bool = False


class Whole(Section):
    specforge: Literal[1]
    name: Name = "x"
    text: Text = "x"
    formula: Formula | None = None
    value: Value = 0
    size: quantity("B") | None = None  # type: ignore[valid-type]
    day: Day | None = None
    inner: Inner | None = None
    items: list[Inner] = Field(default=[])
    by_name: dict[Name, Inner] = Field(default={})
    choice: Literal["red", "green"] = "red"
    either: Annotated[Literal["exact"] | Inner, Field()] = "exact"
    scalar: bool | int | float | str = 0


def load(tmp_path: Path, text: str) -> Whole:
    path = tmp_path / "whole.yaml"
    path.write_text(f"specforge: 1\n{text}\n")
    return validate(load_document(path), Whole)


def faults(tmp_path: Path, text: str) -> list[Diagnostic]:
    with pytest.raises(SpecForgeError) as caught:
        load(tmp_path, text)
    return list(caught.value.diagnostics)


def test_everything_is_read(tmp_path):
    found = load(
        tmp_path,
        "name: a_1\ntext: ' hello '\nformula: 2 * x\nvalue: =x + 1\nsize: 96 MiB\nday: 2027-02-01\ninner: {count: 3}\n"
        "items: [{count: 1, flag: true}]\nby_name: {k: {count: 2, share: 1}}\nchoice: green\neither: {count: 9}\n"
        "scalar: t",
    )
    assert (found.name, found.text, found.formula, found.value) == (
        "a_1",
        "hello",
        Expression("2 * x"),
        Expression("x + 1"),
    )
    assert (found.size, found.day, found.inner) == (96 * 2.0**20, date(2027, 2, 1), Inner(count=3))
    assert found.by_name["k"].share == 1
    assert found.either == Inner(count=9)


def test_sections_are_frozen():
    with pytest.raises(ValidationError):
        Inner(count=1).count = 2


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("'3'", "3"), ("true", True), ("1.5", 1.5), ("bf16", "bf16")])
def test_a_value_is_literal_unless_marked(tmp_path, text, value):
    got = load(tmp_path, f"value: {text}").value
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize("text", ["3", "'3'", "0.5", "a.b + 1", "'1 if a else 2'"])
def test_a_formula_needs_no_mark(tmp_path, text):
    assert load(tmp_path, f"formula: {text}").formula == Expression(text.strip("'"))


@pytest.mark.parametrize(
    ("text", "code", "place", "message"),
    [
        ("nme: x", "SF201", (2, 1), "unknown key 'nme'"),
        ("inner: {count: 1, shre: 2}", "SF201", (2, 19), "unknown key 'shre'"),
        ("items: [{count: 1}, {count: 1, x: 1}]", "SF201", (2, 32), "unknown key 'x'"),
        ("by_name: {k: {count: 1, x: 1}}", "SF201", (2, 25), "unknown key 'x'"),
        ("either: {count: 1, x: 1}", "SF201", (2, 20), "unknown key 'x'"),
        ("inner: {}", "SF202", (2, 1), "missing key 'count'"),
        ("items: [{count: 1}, {flag: true}]", "SF202", (2, 21), "missing key 'count'"),
        ("by_name: {k: {}}", "SF202", (2, 11), "missing key 'count'"),
        ("either: {share: 1}", "SF202", (2, 1), "missing key 'count'"),
        ("inner: 3", "SF203", (2, 8), "a mapping is due"),
        ("inner: [1]", "SF203", (2, 8), "a mapping is due"),
        ("items: {count: 1}", "SF203", (2, 8), "a list is due"),
        ("items: [3]", "SF203", (2, 9), "a mapping is due"),
        ("by_name: [1]", "SF203", (2, 10), "a mapping is due"),
        ("by_name: {K: {count: 1}}", "SF203", (2, 11), "a name is due: lower-case letters"),
        ("inner: {count: '3'}", "SF203", (2, 16), "a whole number is due"),
        ("inner: {count: 3.0}", "SF203", (2, 16), "a whole number is due"),
        ("inner: {count: true}", "SF203", (2, 16), "a whole number is due"),
        ("inner: {count: ~}", "SF203", (2, 16), "a whole number is due"),
        ("inner: {count: }", "SF203", (2, 9), "a whole number is due"),
        ("inner: {count: 1, share: x}", "SF203", (2, 26), "a number is due"),
        ("inner: {count: 1, flag: 1}", "SF203", (2, 25), "true or false is due"),
        ("name: Bad Name", "SF203", (2, 7), "a name is due: lower-case letters"),
        ("name: 3", "SF203", (2, 7), "a text is due"),
        ("text: ''", "SF203", (2, 7), "at least 1 character"),
        ("text: ' '", "SF203", (2, 7), "at least 1 character"),
        ("choice: gren", "SF204", (2, 9), "not one of the allowed values"),
        ("choice: 3", "SF204", (2, 9), "not one of the allowed values"),
        ("either: close", "SF204", (2, 9), "not one of the allowed values"),
        ("scalar: [1]", "SF203", (2, 9), "true or false, a number or a text is due"),
        ("scalar: 2027-02-01", "SF203", (2, 9), "true or false, a number or a text is due"),
        ("formula: 1 +", "SF301", (2, 12), "cannot parse"),
        ("formula: '1 + nope()'", "SF302", (2, 15), "no function 'nope'"),
        ("formula: true", "SF203", (2, 10), "an expression or a number is due"),
        ("formula: [1]", "SF203", (2, 10), "an expression or a number is due"),
        ("formula: ''", "SF301", (2, 10), "empty expression"),
        ("value: =1 +", "SF301", (2, 11), "cannot parse"),
        ("value: '= 1 + []'", "SF302", (2, 15), "List is not part"),
        ("value: =", "SF301", (2, 9), "empty expression"),
        ("value: ~", "SF203", (2, 8), "a literal, or an expression"),
        ("size: 3", "SF205", (2, 7), "a quantity with its unit is due, such as '96 MiB'"),
        ("size: 3 GHz", "SF205", (2, 7), "no bytes"),
        ("size: 0 B", "SF203", (2, 7), "above zero"),
        ("size: -1 B", "SF203", (2, 7), "above zero"),
        ("day: soon", "SF203", (2, 6), "a date is due, written 2027-02-01"),
        ("day: 20270201", "SF203", (2, 6), "a date is due"),
    ],
)
def test_a_fault_is_one_diagnostic_in_plain_words(tmp_path, text, code, place, message):
    found = faults(tmp_path, text)
    assert len(found) == 1, found
    (fault,) = found
    assert fault.code == code
    assert message in fault.message
    assert (fault.position.line, fault.position.column) == place
    assert "Input should" not in fault.message
    assert "input should" not in fault.message


def test_several_faults_at_once(tmp_path):
    found = faults(tmp_path, "nme: x\ninner: {cnt: 1}\nchoice: blue\nitems: [{count: a}, {count: b}]")
    assert [(fault.code, fault.position.line) for fault in found] == [
        ("SF202", 3),
        ("SF201", 3),
        ("SF203", 5),
        ("SF203", 5),
        ("SF204", 4),
        ("SF201", 2),
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("nme: x", "did you mean 'name'?"),
        ("inner: {count: 1, shre: 2}", "did you mean 'share'? valid here: count, flag, share"),
        ("items: [{count: 1, flg: true}]", "did you mean 'flag'? valid here: count, flag, share"),
        ("by_name: {k: {count: 1, FLAG: true}}", "did you mean 'flag'? valid here: count, flag, share"),
        ("either: {count: 1, cont: 1}", "did you mean 'count'? valid here: count, flag, share"),
        ("choice: gren", "did you mean 'green'? valid here: green, red"),
    ],
)
def test_hints_name_the_nearest(tmp_path, text, hint):
    (fault,) = faults(tmp_path, text)
    assert fault.hint.startswith(hint)


def test_values_are_shown_short(tmp_path):
    (fault,) = faults(tmp_path, f"choice: {'x' * 500}")
    assert len(fault.value) == 80
