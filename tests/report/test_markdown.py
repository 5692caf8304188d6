from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specforge.record.model import WaiverEntry
from specforge.report.markdown import code, escape, render
from specforge.report.rows import rows


def cells(line):
    return re.split(r"(?<!\\)\|", line)[1:-1]


@pytest.mark.parametrize("name", ["every_verdict", "wrong", "undecided", "verified", "missed", "empty"])
def test_tables_have_as_many_cells_as_heads(samples, name):
    record = samples.SAMPLES[name]()
    lines = [line for line in render(record).splitlines() if line.startswith("|")]
    assert len(lines) == (len(rows(record)) + 2 if record.targets else 0)
    assert {len(cells(line)) for line in lines} <= {8}


def test_everything_that_the_text_shortens_is_there(samples):
    text = render(samples.every_verdict())
    assert text.startswith("## every_verdict: exit status 3\n")
    assert "`attention[batch=4,context=131072]`: four long streams do not fit beside the weights" in text
    assert "**exit status 3**: wrong or implausible result" in text


def test_what_was_waived_is_there(samples):
    waiver = WaiverEntry(
        file="kernel.yaml",
        line=20,
        when="rows == 7",
        reason="issue 17",
        until="2999-01-01",
        output=None,
        verdict="used",
        inside=21,
        failed=20,
        worst_ratio=12.0,
        worst_row=None,
        sentence="the waiver at kernel.yaml:20: 20 of 21 examples where rows == 7 wrong (issue 17)",
    )
    record = samples.verified()
    fuzz = [record.fuzz[0].model_copy(update={"waivers": [waiver]}), *record.fuzz[1:]]
    assert f"\n  - waived: {waiver.sentence}\n" in render(record.model_copy(update={"fuzz": fuzz}))


def test_the_replay_is_code_to_copy(samples):
    assert f"- smallest failing case: `{samples.ROW}`" in render(samples.wrong())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a | b", r"a \| b"),
        ("x * y", r"x \* y"),
        ("spill_bytes", "spill_bytes"),
        ("_emphasis_", r"\_emphasis\_"),
        ("<script>", r"\<script>"),
        ("a <= b", "a <= b"),
        ("&lt;", r"\&lt;"),
        ("a\nb", "a b"),
        ("see `x_y` and", "see `x_y` and"),
        ("a `lone", r"a \`lone"),
        ("[link](x)", r"\[link\](x)"),
    ],
)
def test_markup_is_shown_and_not_obeyed(text, shown):
    assert escape(text) == shown


@given(st.text(alphabet="`a b|\n", min_size=1))
def test_code_is_fenced_by_more_backticks_than_it_holds(text):
    shown = code(text)
    fence = re.match("`+", shown).group()
    inner = shown[len(fence) : -len(fence)]
    assert shown.endswith(fence)
    assert "\n" not in shown
    assert fence not in re.findall("`+", inner)


@given(st.text(alphabet="`|*a _<&;\n"))
def test_an_escaped_cell_never_breaks_the_table(text):
    assert len(cells(f"| {escape(text)} |")) == 1
