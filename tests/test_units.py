"""Quantities: what is written is what is read, and what is printed can be read again."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specforge.units import UNITS, QuantityError, format_quantity, parse_quantity

PREFIXES = {"": 0, "k": 3, "M": 6, "G": 9, "T": 12, "m": -3, "u": -6, "µ": -6, "n": -9, "p": -12}


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("1792 GB/s", "B/s", 1792e9),
        ("12.5 us", "s", 12.5e-6),
        ("12.5 µs", "s", 12.5e-6),
        ("12.5 μs", "s", 12.5e-6),
        ("9us", "s", 9e-6),
        ("  3 ms  ", "s", 3e-3),
        ("2407 MHz", "Hz", 2407e6),
        ("575 W", "W", 575.0),
        ("209.5 TFLOPS", "FLOPS", 209.5e12),
        ("2 PFLOPS", "FLOPS", 2e15),
        ("96 MiB", "B", 96 * 2**20),
        ("96 MB", "B", 96e6),
        ("32 GB", "B", 32e9),
        ("1.5 KiB", "B", 1536.0),
        ("2 GiB/s", "B/s", 2.0**31),
        ("7 B", "B", 7.0),
        ("80 %", "%", 0.8),
        ("80%", "%", 0.8),
        ("130 tok/s", "tok/s", 130.0),
        ("1.2 ktok/s", "tok/s", 1200.0),
        ("-3 s", "s", -3.0),
        ("+3 s", "s", 3.0),
        (".5 s", "s", 0.5),
        ("5. s", "s", 5.0),
        ("1e-3 s", "s", 1e-3),
        ("1E3 W", "W", 1000.0),
    ],
)
def test_reads(text, unit, value):
    assert parse_quantity(text, unit) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    ("text", "unit", "why"),
    [
        ("1792", "B/s", "has no unit"),
        ("1792 GB", "B/s", "no bandwidth"),
        ("1792 GB/s", "B", "no bytes"),
        ("12 us", "Hz", "no frequency"),
        ("1 tok/s", "s", "unknown prefix"),
        ("1 GB/s", "s", "unknown prefix"),
        ("1 /s", "s", "unknown prefix"),
        ("1 min", "s", "no time"),
        ("1 xs", "s", "unknown prefix"),
        ("1 dB", "B", "unknown prefix"),
        ("1 MiFLOPS", "FLOPS", "unknown prefix"),
        ("1 miB", "B", "unknown prefix"),
        ("1 Gb", "B", "no bytes"),
        ("0.8", "%", "has no unit"),
        ("80 percent", "%", "no share"),
        ("80 %%", "%", "no share"),
        ("GB/s", "B/s", "not a quantity"),
        ("", "s", "not a quantity"),
        (" ", "s", "not a quantity"),
        ("1 2 s", "s", "not a quantity"),
        ("1,5 s", "s", "not a quantity"),
        ("0x10 B", "B", "not a quantity"),
        ("nan s", "s", "not a quantity"),
        ("inf s", "s", "not a quantity"),
        ("1e400 s", "s", "out of range"),
        ("1e305 TB", "B", "out of range"),
        ("٣ s", "s", "not a quantity"),
        ("1 s\n1 s", "s", "not a quantity"),
    ],
)
def test_refuses_and_shows_how_to_write_it(text, unit, why):
    with pytest.raises(QuantityError, match=why) as caught:
        parse_quantity(text, unit)
    if why != "out of range":
        assert "write it like" in str(caught.value)


@pytest.mark.parametrize("unit", UNITS)
def test_the_example_of_a_hint_is_itself_valid(unit):
    with pytest.raises(QuantityError) as caught:
        parse_quantity("nonsense", unit)
    example = str(caught.value).split("write it like ")[1].strip("'\"")
    assert parse_quantity(example, unit) > 0


@given(
    st.floats(1e-3, 1e6).map(lambda value: float(f"{value:.6g}")),
    st.sampled_from(sorted(PREFIXES)),
    st.sampled_from(["B", "B/s", "s", "Hz", "W", "FLOPS", "tok/s"]),
)
def test_prefixes_scale(number, prefix, unit):
    assert parse_quantity(f"{number!r} {prefix}{unit}", unit) == pytest.approx(
        number * 10.0 ** PREFIXES[prefix], rel=1e-12
    )


@given(st.floats(1e-15, 1e20), st.sampled_from(sorted(UNITS)), st.booleans())
def test_what_is_printed_reads_as_the_same_to_four_digits(value, unit, negative):
    value = -value if negative else value
    text = format_quantity(value, unit)
    assert parse_quantity(text, unit) == pytest.approx(value, rel=5.1e-4)
    assert len(text) < 24


@given(st.integers(0, 99_999))
def test_small_byte_counts_are_exact(count):
    assert parse_quantity(format_quantity(count, "B"), "B") == count


@pytest.mark.parametrize("unit", [*UNITS, "1"])
def test_zero_prints(unit):
    text = format_quantity(0, unit)
    assert float(text.split()[0]) == 0
    if unit != "1":
        assert parse_quantity(text, unit) == 0


@pytest.mark.parametrize("unit", [*UNITS, "1"])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_prints_as_such(value, unit):
    assert any(word in format_quantity(value, unit).lower() for word in ("inf", "nan"))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.8, "%", "80 %"),
        (0.12345, "%", "12.35 %"),
        (9e-6, "s", "9 us"),
        (1.792e12, "B/s", "1.792 TB/s"),
        (65536, "B", "65536 B"),
        (130.0, "tok/s", "130 tok/s"),
        (255, "1", "255"),
        (0.5, "1", "0.5"),
    ],
)
def test_prints_for_people(value, unit, text):
    assert format_quantity(value, unit) == text
