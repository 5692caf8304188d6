"""A shape that misses the fast variant of its kernel, planted: `check` says how many hit it, and a target turns red."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

TARGET = "      - {metric: specialised, equals: 1}\n"


@pytest.fixture
def check(demo: Callable, specforge: Callable) -> Callable:
    """Run a spec of 1, 7 and 8 rows, of whose kernel some are fast; as far as `until`."""

    def run(formula: str | None, *arguments: str, until: str = "validate"):
        folder = demo([1, 7, 8])
        spec = folder.parents[2] / "specs" / "demo.yaml"
        spec.write_text(spec.read_text() + TARGET)
        if formula is not None:
            kernel = folder / "kernel.yaml"
            kernel.write_text(kernel.read_text() + f'specialised: "{formula}"\n')
        return specforge("check", "specs/demo.yaml", "--until", until, *arguments)

    return run


def test_all_cases_are_fast(check: Callable) -> None:
    ended = check("columns % 128 == 0")
    assert ended.status == 0, ended.errors
    assert "all 3 cases that have a fast variant hit it" in ended.text


@pytest.mark.parametrize("until", ["validate", "build"])
def test_a_case_that_misses_it_is_red(check: Callable, until: str) -> None:
    ended = check("rows % 8 == 0 or rows == 1", "--format", "json", until=until)
    assert ended.status == 1, ended.errors
    judged = {item["case"]: item for item in json.loads(ended.text)["judgements"] if "specialised" in item["target"]}
    assert {case: item["verdict"] for case, item in judged.items()} == {
        "silu[rows=1]": "met",
        "silu[rows=7]": "missed",
        "silu[rows=8]": "met",
    }
    said = " ".join(check("rows % 8 == 0 or rows == 1").text.split())
    assert "2 of 3 cases that have a fast variant hit it, not 1 of 3 of silu" in said


def test_a_kernel_that_declares_none_cannot_be_asked(check: Callable) -> None:
    ended = check(None)
    assert ended.status == 2
    assert "SF410" in ended.errors
    assert "does not say which cases hit a fast variant" in ended.errors
    assert "specialised: FORMULA" in ended.errors


def test_a_number_is_no_answer(check: Callable) -> None:
    ended = check("rows % 8")
    assert ended.status == 2
    assert "SF304" in ended.errors
