"""Rows: what is printed is read back, and every mistake is named with its column."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specforge.diagnostics import SpecForgeError
from specforge.spec.interface import Kernel
from specforge.verify.example import Example
from specforge.verify.row import parse_row

ROW = "{rows: 4, width: 65, dtype: bf16, group: 2, signed: true, seed: 7}"


def test_a_row_is_one_readable_line(blend: Kernel) -> None:
    example = Example(
        {"rows": 4, "width": 65, "dtype": "bf16", "group": 2, "signed": True},
        {"splits": 8},
        {"x": "ties"},
        seed=7,
        schedule=12,
        offset=32,
    )
    row = example.to_row()
    assert row == (
        "{rows: 4, width: 65, dtype: bf16, group: 2, signed: true, splits: 8, values: {x: ties}, seed: 7, "
        "schedule: 12, offset: 32}"
    )
    assert parse_row(row, blend) == example
    command = shlex.split(example.command("specs/a b.yaml", blend.identity, "cuda:0 NVIDIA H100"))
    assert command[2] == "specs/a b.yaml"
    assert command[-2:] == ["--case", row]
    assert command[command.index("--backend") + 1] == "cuda:0"


_PARAMETERS = st.fixed_dictionaries(
    {
        "rows": st.integers(1, 1024).map(lambda n: 4 * n),
        "width": st.integers(1, 65536),
        "dtype": st.sampled_from(["f32", "bf16", "f16"]),
        "group": st.sampled_from([1, 2, 4]),
        "signed": st.booleans(),
    }
)
_EXAMPLES = st.builds(
    Example,
    _PARAMETERS,
    st.fixed_dictionaries({}, optional={"splits": st.integers(1, 8), "warps": st.sampled_from([4, 8])}),
    st.fixed_dictionaries({}, optional={"x": st.sampled_from(["wide", "ties"]), "scale": st.just("constant")}),
    seed=st.integers(0, 2**63 - 1),
    schedule=st.integers(0, 2**32 - 1),
    offset=st.integers(0, 15).map(lambda n: 16 * n),
)


def test_round_trip(blend: Kernel) -> None:
    @given(_EXAMPLES)
    def check(example: Example) -> None:
        assert parse_row(example.to_row(), blend) == example

    check()


def test_parameters_with_reserved_names_stand_apart(make_kernel, blend: Kernel) -> None:
    text = (blend.folder / "kernel.yaml").read_text().replace("width", "seed")
    kernel = make_kernel(text, (blend.folder / "reference.py").read_text())
    example = Example({"rows": 4, "seed": 65, "dtype": "f32", "group": 1, "signed": False}, seed=3)
    assert "parameters: {seed: 65}, seed: 3" in example.to_row()
    assert parse_row(example.to_row(), kernel) == example


@pytest.mark.parametrize(
    ("row", "code", "words", "place"),
    [
        ("{rows: 4", "SF101", "not valid YAML", None),
        ("[1, 2]", "SF106", "mapping", None),
        ("", "SF106", "mapping", None),
        (ROW.replace("width", "widht"), "SF404", "widht", "widht"),
        (ROW.replace("rows: 4, ", ""), "SF403", "rows", "{"),
        (ROW.replace("bf16", "bf61"), "SF405", "bf16", "dtype"),
        (ROW.replace("true", "1"), "SF405", "signed", "signed"),
        (ROW.replace("65", "65.5"), "SF405", "width", "width"),
        (ROW.replace("65", "[65]"), "SF405", "width", "width"),
        (ROW.replace("rows: 4", "rows: 5"), "SF409", "rows come in groups", "{"),
        (ROW.replace("seed: 7", "seed: -7"), "SF203", "seed", "seed"),
        (ROW.replace("seed: 7", "offset: 8"), "SF203", "multiple of 16", "offset"),
        (ROW.replace("seed: 7", "values: {x: tie}"), "SF204", "ties", "x: tie"),
        (ROW.replace("seed: 7", "values: {y: ties}"), "SF404", "no input 'y'", "y: ties"),
        (ROW.replace("seed: 7", "values: ties"), "SF203", "mapping", None),
        (ROW.replace("seed: 7", "parameters: 3"), "SF203", "mapping", None),
        (ROW.replace("seed: 7", "splits: 9"), "SF405", "splits", "splits"),
    ],
)
def test_mistakes(blend: Kernel, row: str, code: str, words: str, place: str | None) -> None:
    with pytest.raises(SpecForgeError) as caught:
        parse_row(row, blend)
    diagnostic = caught.value.diagnostics[0]
    assert diagnostic.code == code
    assert words in str(diagnostic)
    assert str(diagnostic.position.file) == "--case"
    assert place is None or diagnostic.position.column == row.index(place) + 1


def test_all_mistakes_at_once(blend: Kernel) -> None:
    with pytest.raises(SpecForgeError) as caught:
        parse_row("{rows: 0, width: x, dtype: bf16, group: 3, singed: true}", blend)
    assert len(caught.value.diagnostics) == 5
