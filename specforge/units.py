"""Quantities with units: text such as `1792 GB/s` or `12.5 us` to a number in base units, and back."""

from __future__ import annotations

import math
import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from specforge.diagnostics import shorten

UNITS: dict[str, str] = {
    "B": "bytes",
    "B/s": "bandwidth",
    "s": "time",
    "Hz": "frequency",
    "W": "power",
    "FLOPS": "arithmetic rate",
    "tok/s": "token rate",
    "J": "energy",
    "tok/J": "token count per energy",
    "%": "share",
}
"""Unit symbol -> dimension. A share is kept as a fraction: `80 %` is 0.8."""

ROUNDED = 0.005
"""Of a value: the most by which `round_outward` moves it."""

_BINARY_PREFIXES = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_EXAMPLES = {
    "B": "96 MiB",
    "B/s": "1792 GB/s",
    "s": "12.5 us",
    "Hz": "2407 MHz",
    "W": "575 W",
    "FLOPS": "209.5 TFLOPS",
    "tok/s": "130 tok/s",
    "J": "2.5 mJ",
    "tok/J": "40 tok/J",
    "%": "80 %",
}
_SHAPE = re.compile(r"\s*([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z%µμ/]*)\s*\Z", re.ASCII)
"""Both signs for micro: U+00B5 and the Greek letter."""


class QuantityError(ValueError):
    """The text is not a quantity of the unit that is due."""


def parse_quantity(text: str, unit: str) -> float:
    """Read a quantity whose unit must be `unit` (with an SI or binary prefix) and give it in base units."""
    found = _SHAPE.match(text)
    if not found:
        raise QuantityError(f"{shorten(text)!r} is not a quantity; write it like {_EXAMPLES[unit]!r}")
    number, symbol = found.groups()
    if not symbol:
        raise QuantityError(f"{shorten(text)!r} has no unit; write it like {_EXAMPLES[unit]!r}")
    if unit == "%":
        if symbol != "%":
            raise QuantityError(f"{shorten(text)!r} is no share; write it like {_EXAMPLES[unit]!r}")
        value = float(number) / 100
    else:
        if not symbol.endswith(unit):
            raise QuantityError(f"{shorten(text)!r} is no {UNITS[unit]} in {unit}; write it like {_EXAMPLES[unit]!r}")
        value = float(number) * _scale(symbol.removesuffix(unit), text, unit)
    if not math.isfinite(value):
        raise QuantityError(f"{shorten(text)!r} is out of range")
    return value


def _scale(prefix: str, text: str, unit: str) -> float:
    if not prefix:
        return 1.0
    if prefix in _BINARY_PREFIXES and unit in {"B", "B/s"}:
        return _BINARY_PREFIXES[prefix]
    from quantiphy import QuantiPhyError, Quantity

    try:
        scaled = Quantity(f"1 {prefix.replace('μ', 'µ')}{unit}")
    except QuantiPhyError:
        scaled = None
    if scaled is None or scaled.units != unit:
        raise QuantityError(
            f"{shorten(text)!r} has an unknown prefix {shorten(prefix, 20)!r}; write it like {_EXAMPLES[unit]!r}"
        )
    return float(scaled)


def format_quantity(value: float, unit: str) -> str:
    """Print a value in base units for people: four significant digits and a prefix that fits."""
    if unit == "%":
        return f"{value * 100:.4g} %"
    if unit == "1":
        return f"{value:g}"
    if unit == "B" and abs(value) < 1e5 and value == int(value):
        return f"{int(value)} B"
    if unit in ("tok/s", "tok/J"):
        return f"{value:.4g} {unit}"
    from quantiphy import Quantity

    return str(Quantity(value, unit).render(prec=3, strip_zeros=True))


def round_outward(value: float, unit: str, *, upward: bool) -> str:
    """A value above zero with its unit in the fewest digits, two at least, that move it by no more than ROUNDED."""
    symbol = format_quantity(value, unit).partition(" ")[2]
    scale = parse_quantity(f"1 {symbol}", unit) if symbol else 1.0
    exact = Decimal(f"{value / scale:.12g}")  # the quotient's own rounding is no reason for one more step
    for digits in range(2, 13):
        place = Decimal(1).scaleb(exact.adjusted() - digits + 1)
        rounded = exact.quantize(place, rounding=ROUND_CEILING if upward else ROUND_FLOOR)
        if abs(rounded - exact) <= Decimal(ROUNDED) * exact:
            break
    number = f"{rounded:f}"
    number = number.rstrip("0").rstrip(".") if "." in number else number
    return f"{number} {symbol}".strip()
