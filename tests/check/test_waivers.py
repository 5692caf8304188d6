"""Waivers through whole commands: known wrong values only, until their day, and not a moment longer than needed."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

RIGHT = "value / (1.0f + expf(-value))"
WRONG = "(count % 7 == 0 ? 2.0f : 1.0f) * value / (1.0f + expf(-value))"
"""Wrong where the number of elements is a multiple of seven."""
SEVENS = "rows * columns % 7 == 0"
WAIVER = 'waivers:\n  - {{when: "{when}", reason: issue 17, until: {until}{more}}}\n'
LINE = 20
"""Of the waiver in kernel.yaml."""


@pytest.fixture
def check(demo: Callable, specforge: Callable) -> Callable:
    """Run the demo with a body for the kernel and a waiver."""
    folder = demo([1, 7])

    def run(body: str, waiver: str, *arguments: str):
        template, kernel = folder / "kernel.cu.j2", folder / "kernel.yaml"
        assert template.read_text().count(RIGHT) == 1
        template.write_text(template.read_text().replace(RIGHT, body))
        kernel.write_text(kernel.read_text() + waiver)
        return specforge("check", "specs/demo.yaml", "--until", "verify", "--examples", "60", *arguments)

    return run


def waiver(when: str = SEVENS, until: str = "2999-01-01", more: str = "") -> str:
    return WAIVER.format(when=when, until=until, more=more)


def verdicts(text: str) -> dict[str, str]:
    return {item["case"]: item["verdict"] for item in json.loads(text)["judgements"]}


def test_a_waived_result_does_not_end_the_search_and_is_never_met(check: Callable) -> None:
    ended = check(WRONG, waiver(), "--format", "json")
    record = json.loads(ended.text)
    assert ended.status == 0, ended.errors
    assert verdicts(ended.text) == {"silu[rows=1]": "met", "silu[rows=7]": "known_miss"}
    fuzz = record["fuzz"][0]
    assert fuzz["failure"] is None
    assert fuzz["examples"] >= 60
    (entry,) = fuzz["waivers"]
    assert (entry["verdict"], entry["line"], entry["reason"], entry["until"]) == (
        "used",
        LINE,
        "issue 17",
        "2999-01-01",
    )
    assert entry["inside"] == entry["failed"] >= 20
    assert entry["worst_ratio"] > 10
    assert entry["worst_row"]
    reason = next(item["reason"] for item in record["judgements"] if item["verdict"] == "known_miss")
    assert "issue 17" in reason
    assert "until 2999-01-01" in reason


def test_the_report_says_what_was_waived(check: Callable) -> None:
    ended = check(WRONG, waiver())
    assert ended.status == 0
    text = " ".join(ended.text.split())
    assert f"waived the waiver at kernels/activation/silu/kernel.yaml:{LINE}:" in text
    assert f"examples where {SEVENS} wrong, at worst" in text
    assert "(issue 17)" in text


def test_what_is_wrong_outside_is_found(check: Callable) -> None:
    ended = check(WRONG.replace("count % 7 == 0", "count % 7 == 0 || count > 300"), waiver(), "--format", "json")
    assert ended.status == 3
    row = json.loads(ended.text)["fuzz"][0]["failure_row"]
    assert "rows: 1" in row
    assert set(verdicts(ended.text).values()) == {"wrong"}


def test_an_output_that_the_waiver_does_not_name_is_refused(check: Callable) -> None:
    ended = check(WRONG, waiver(more=", output: z"))
    assert ended.status == 2
    assert f"kernel.yaml:{LINE}:" in ended.errors
    assert "'z' is no output" in ended.errors


def test_past_its_day_it_is_wrong(check: Callable) -> None:
    ended = check(WRONG, waiver(until="2020-01-01"), "--format", "json")
    assert ended.status == 3
    assert f"kernel.yaml:{LINE} expired on 2020-01-01" in json.loads(ended.text)["fuzz"][0]["failure"]
    assert set(verdicts(ended.text).values()) == {"wrong"}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (f"(count % 7 == 0 ? (__trap(), 1.0f) : 1.0f) * {RIGHT}", "trap"),
        (f"(count % 7 == 0 ? (y[count] = static_cast<T>(value), 1.0f) : 1.0f) * {RIGHT}", "bounds:"),
    ],
)
def test_a_fault_is_never_waived(check: Callable, body: str, named: str) -> None:
    ended = check(body, waiver(), "--format", "json")
    assert ended.status == 3
    failure = json.loads(ended.text)["fuzz"][0]["failure"]
    assert named in failure


def test_a_waiver_that_is_not_needed_fails(check: Callable) -> None:
    ended = check(RIGHT, waiver())
    assert ended.status == 3
    text = " ".join(ended.text.split())
    assert f"the waiver at kernels/activation/silu/kernel.yaml:{LINE} is no longer needed: remove it" in text


def test_a_waiver_that_nothing_tried_leaves_it_undecided(check: Callable) -> None:
    ended = check(RIGHT, waiver(when="rows * columns > 10000000"))
    assert ended.status == 4, ended.text
    text = " ".join(ended.text.split())
    assert f"the waiver at kernels/activation/silu/kernel.yaml:{LINE} is not decided: no example ran" in text


def test_a_case_that_chance_would_not_meet_is_drawn(check: Callable) -> None:
    body = WRONG.replace("count % 7 == 0", "count == 29 * 4096")
    ended = check(body, waiver(when="rows == 29 and columns == 4096"), "--format", "json")
    assert ended.status == 0, ended.text
    assert json.loads(ended.text)["fuzz"][0]["waivers"][0]["failed"] >= 20


def test_one_waived_example_is_replayed_without_a_verdict(check: Callable) -> None:
    ended = check(WRONG, waiver(), "--case", "{rows: 7, columns: 1, dtype: bf16}")
    assert ended.status == 0
    assert "1 of 1 examples" in ended.text


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ('waivers:\n  - {when: "rows == 1", until: 2999-01-01}\n', "SF202", "reason"),
        ('waivers:\n  - {when: "rows == 1", reason: issue 17}\n', "SF202", "until"),
        ('waivers:\n  - {when: "rows == 1", reason: issue 17, until: soon}\n', "SF203", "date"),
        ('waivers:\n  - {when: "row == 1", reason: issue 17, until: 2999-01-01}\n', "SF303", "row"),
    ],
)
def test_a_malformed_waiver_is_refused_with_its_line(check: Callable, text: str, code: str, said: str) -> None:
    ended = check(RIGHT, text)
    assert ended.status == 2
    assert f"error {code}" in ended.errors
    assert f"kernel.yaml:{LINE}:" in ended.errors
    assert said in ended.errors
