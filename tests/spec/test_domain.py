"""Domains hold what they say and refuse what nobody can mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from specforge.spec.domain import Domain, DomainField, axis_values

ADAPTER: TypeAdapter[Domain] = TypeAdapter(DomainField)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(-5, 10**9 + 5))
def test_a_range_holds_its_whole_numbers(a, b, value):
    low, high = sorted((a, b))
    domain = ADAPTER.validate_python(f"{low}..{high}")
    assert (value in domain) == (low <= value <= high)
    assert low in domain
    assert high in domain
    assert float(low) not in domain
    assert set(domain.edges()) == {low, high}
    assert str(domain) == f"{low}..{high}"


@given(
    st.lists(st.one_of(st.integers(), st.booleans(), st.text(min_size=1)), min_size=1, unique_by=lambda x: (type(x), x))
)
def test_a_list_holds_its_values_with_their_types(values):
    domain = ADAPTER.validate_python(values)
    assert domain.edges() == tuple(values)
    for value in values:
        assert value in domain
        if isinstance(value, int) and not isinstance(value, bool):
            assert float(value) not in domain
    assert "not in it, surely" not in domain


def test_truth_and_numbers_are_different_values():
    assert True not in Domain(listed=(0, 1))
    assert 1 not in Domain(listed=(False, True))
    assert 64.0 not in Domain(listed=(64, 128))
    assert True not in Domain(low=0, high=2)
    assert "1" not in Domain(low=0, high=2)


@given(st.integers(0, 20), st.integers(0, 20))
def test_powers_of_two(a, b):
    low, high = sorted((a, b))
    domain = ADAPTER.validate_python(f"pow2({2**low}..{2**high})")
    assert domain.listed == tuple(2**power for power in range(low, high + 1))


@pytest.mark.parametrize(
    "value",
    [
        "4..1",
        "-1..4",
        "1...4",
        "1-4",
        "1..",
        "..4",
        "a..b",
        "1.0..2.0",
        "",
        "pow2(3..8)",
        "pow2(8..1)",
        "pow2(0..8)",
        "pow2(1..9)",
        "pow2(1)",
        "pow3(1..9)",
        "9" * 30 + "..1",
        [],
        [1.5],
        [None],
        [[1]],
        [1, 1],
        ["a", "b", "a"],
        None,
        3,
        True,
        {"low": 1},
    ],
)
def test_refused(value):
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python(value)
    assert caught.value.errors()[0]["type"] == "SF203"


def test_true_is_no_duplicate_of_one():
    assert ADAPTER.validate_python([1, True, "1"]).listed == (1, True, "1")


def test_prints_as_written():
    assert str(Domain(listed=(False, True))) == "false, true"
    assert str(Domain(listed=("bf16", "f16"))) == "bf16, f16"


# --- axes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "values"),
    [
        ([1, 2], (1, 2)),
        (5, (5,)),
        (True, (True,)),
        (1.5, (1.5,)),
        ("bf16", ("bf16",)),
        ("1..4", (1, 2, 3, 4)),
        (" 3 .. 3 ", (3,)),
        ("pow2(4..32)", (4, 8, 16, 32)),
        ([], ()),
    ],
)
def test_axis(value, values):
    assert axis_values(value) == values


@pytest.mark.parametrize(
    ("value", "code"),
    [("9..1", "SF406"), ("1..99999", "SF406"), ("pow2(1..3)", "SF203"), (None, "SF203"), ({"a": 1}, "SF203")],
)
def test_axis_refused(value, code):
    with pytest.raises(PydanticCustomError) as caught:
        axis_values(value)
    assert caught.value.type == code
