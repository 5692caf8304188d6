from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specforge.report.github import LIMIT, escape_message, escape_property, render, step_summary

COMMAND = re.compile(r"::(error|warning|notice) ([^:]*?)::(.*)")


def commands(text):
    found = []
    for line in text.splitlines():
        match = COMMAND.fullmatch(line)
        assert match, line
        level, properties, message = match.groups()
        found.append((level, dict(part.split("=", 1) for part in properties.split(",")), message))
    return found


def test_the_missed_target_is_annotated_on_its_line(samples):
    (missed,) = [item for item in commands(render(samples.missed())) if item[0] == "error"]
    assert missed[1]["file"] == samples.SAMPLE
    assert (missed[1]["line"], missed[1]["col"]) == ("11", "9")
    assert missed[1]["title"] == "missed%3A attention%3A spill_bytes == 0 B"
    assert missed[2].startswith("48 B is not == 0 B (in 1 of its 5 cases, worst batch=1,context=131072)%0Areplay: ")


def test_the_worst_comes_first_and_warnings_are_what_does_not_count(samples):
    found = commands(render(samples.every_verdict()))
    levels = [level for level, *_ in found]
    assert levels == ["error"] * 7 + ["warning"] * 2 + ["notice"]
    assert found[0][1]["title"].startswith("wrong")
    assert [item[1]["title"].split("%3A")[0] for item in found if item[0] == "warning"] == ["missed", "unexpected_met"]


@pytest.mark.parametrize("name", ["verified", "built"])
def test_a_good_run_annotates_nothing(samples, name):
    found = commands(render(samples.SAMPLES[name]()))
    assert [level for level, *_ in found] == ["notice"]
    assert found[0][2] == "every_verdict ended with exit status 0; the step's summary has the whole table"


@pytest.mark.parametrize("level", ["required", "warn"])
def test_github_is_given_no_more_than_it_shows(samples, level):
    record = samples.undecided()
    first = next(item for item in record.judgements if item.verdict == "unmeasured")
    target = next(item for item in record.targets if item.id == first.target)
    targets = [target.model_copy(update={"id": f"t{n}", "level": level, "line": n + 1}) for n in range(25)]
    judgements = [first.model_copy(update={"target": f"t{n}", "verdict": "missed"}) for n in range(25)]
    found = commands(render(record.model_copy(update={"targets": targets, "judgements": judgements, "fuzz": []})))
    shown = "error" if level == "required" else "warning"
    assert [item[0] for item in found] == [shown] * LIMIT + ["notice"]
    assert f"15 more {shown}s are not shown here" in found[-1][2]


def test_the_limit_holds_for_all_records_of_a_step(samples):
    record = samples.undecided()
    found = commands(render(record, record, record))
    assert sum(item[0] == "error" for item in found) == LIMIT
    assert found[-1][2].count("ended with exit status 4") == 3


def test_the_summary_is_the_table(samples):
    assert "| benchmark | target |" in step_summary(samples.missed())


@given(st.text())
def test_escaping_keeps_a_command_on_one_line_and_can_be_undone(text):
    for escaped in (escape_message(text), escape_property(text)):
        assert "\n" not in escaped
        assert "\r" not in escaped
        undone = (
            escaped.replace("%2C", ",")
            .replace("%3A", ":")
            .replace("%0A", "\n")
            .replace("%0D", "\r")
            .replace("%25", "%")
        )
        assert undone == text or "%" in text
    assert not set(",:") & set(escape_property(text))


def test_a_percent_sign_is_escaped_once():
    assert escape_message("50 %\n") == "50 %25%0A"
    assert escape_property("a:b,c%") == "a%3Ab%2Cc%25"
