"""Checks that timing left owed: without them a case is not verified, and the worst of all checks decides."""

from __future__ import annotations

import pytest

from specforge.measure.measurement import Measurement
from specforge.measure.owed import Owed, Timed, worst
from specforge.verify.compare import OutputError
from specforge.verify.example import ExampleResult

OK = ExampleResult("ok")
WRONG = ExampleResult("wrong", "out[0] = 1, not 2")
OWED = Owed("overlapped", "the last link: ", {}, {})
SEEN = Measurement("card", "uuid", "0" * 64, before=OK)


def off(ratio: float) -> ExampleResult:
    return ExampleResult("ok", None, (OutputError("out", ratio, (0,), (0,), 1.0, 1.0, 1.0, 0, 1, 0, 1, 0),))


def test_what_is_owed_must_be_settled() -> None:
    timed = Timed(SEEN, OK, (OWED, OWED))
    assert not timed.measurement.verified
    for few in ((), (OK,), (OK, OK, OK)):
        with pytest.raises(ValueError, match="2"):
            timed.settled(few)
    assert timed.settled((OK, OK)).verified
    assert timed.settled((OK, WRONG)).after == WRONG


def test_nothing_checked_is_nothing_verified() -> None:
    assert Timed(SEEN).settled(()).after is None


def test_the_worst_check() -> None:
    assert worst((off(0.1), off(0.7), off(0.3))).ratio == 0.7
    assert worst((off(0.7), WRONG, ExampleResult("violation", "y"))) == WRONG
