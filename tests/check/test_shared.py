"""Several specs in one run: a kernel is searched once for all of them, and what is wrong for one is wrong for each."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from specforge.record.model import FuzzEntry, Record
from specforge.record.store import read_record

OPTIONS = ("--until", "verify", "--examples", "20")


@pytest.fixture
def two(demo: Callable) -> Path:
    """A folder with specs of the README's kernel: `demo`, and `other` of another card, another type and other rows."""
    home = demo([1, 7]).parents[2]
    spec = home / "specs" / "demo.yaml"
    text = spec.read_text().replace("spec: demo", "spec: other").replace("rtx4090", "rtx5090")
    (home / "specs" / "other.yaml").write_text(text.replace("[1, 7]", "[1, 8]").replace("bf16", "f32"))
    return home


def records(home: Path) -> dict[str, Record]:
    """By spec, what the run left."""
    found = [read_record(path) for path in sorted((home / ".specforge" / "records").rglob("*.json"))]
    return {record.spec: record for record in found}


def fuzzed(home: Path) -> dict[str, FuzzEntry]:
    return {name: record.fuzz[0] for name, record in records(home).items()}


def test_the_second_spec_takes_the_first_ones_search(two: Path, specforge: Callable) -> None:
    ended = specforge("check", "specs/demo.yaml", "specs/other.yaml", *OPTIONS)
    assert ended.status == 0, ended.text
    found = fuzzed(two)
    assert (found["demo"].searched_for, found["other"].searched_for) == (None, "demo")
    assert found["demo"].model_dump(exclude={"searched_for"}) == found["other"].model_dump(exclude={"searched_for"})
    assert found["demo"].covered["dtype"].startswith("all of ")
    assert " ".join(ended.text.split()).count("in the turn of demo, whose search this spec shares") == 1
    assert all(case.verified for record in records(two).values() for case in record.cases)


def test_alone_each_is_searched_for_itself(two: Path, specforge: Callable) -> None:
    assert specforge("check", "specs/other.yaml", *OPTIONS).status == 0
    assert fuzzed(two)["other"].searched_for is None


def test_what_is_wrong_is_wrong_in_both(two: Path, specforge: Callable) -> None:
    template = two / "kernels/activation/silu/kernel.cu.j2"
    template.write_text(template.read_text().replace("(i >= count)", "(i > count)"))
    assert specforge("check", "specs/demo.yaml", "specs/other.yaml", *OPTIONS).status == 3
    found = records(two)
    assert [found[name].status for name in ("demo", "other")] == [3, 3]
    assert all(case.wrong or case.fault for record in found.values() for case in record.cases)


def test_a_kernel_of_the_same_name_elsewhere_is_another(two: Path, specforge: Callable) -> None:
    away = two / "away"
    for name in ("specs", "kernels"):
        shutil.copytree(two / name, away / name)
    template = away / "kernels/activation/silu/kernel.cu.j2"
    template.write_text(template.read_text().replace("(i >= count)", "(i > count)"))
    assert specforge("check", "specs/demo.yaml", "away/specs/other.yaml", *OPTIONS).status == 3
    found = records(two)
    assert [found[name].status for name in ("demo", "other")] == [0, 3]
    assert found["other"].fuzz[0].searched_for is None


def test_held_out_inputs_are_each_specs_own(two: Path, specforge: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECFORGE_HELD_OUT_SEED", "a secret of thirty-two characters")
    ended = specforge("check", "specs/demo.yaml", "specs/other.yaml", *OPTIONS)
    assert ended.status == 0, ended.text + ended.errors
    assert {entry.searched_for for entry in fuzzed(two).values()} == {None}
    assert all(entry.held_out is not None and entry.held_out.examples for entry in fuzzed(two).values())
