from __future__ import annotations

import pytest

from specforge.measure.student import two_sided


@pytest.mark.parametrize(
    ("confidence", "freedom", "value"),
    [
        (0.95, 1, 12.7062),
        (0.95, 2, 4.30265),
        (0.95, 4, 2.77645),
        (0.99, 4, 4.60409),
        (0.95, 7, 2.36462),
        (0.999, 2, 31.5991),
        (0.95, 30, 2.04227),
        (0.95, 1000, 1.96234),
        (0.99, 1e9, 2.57583),
    ],
)
def test_tabulated_values(confidence: float, freedom: float, value: float) -> None:
    assert two_sided(confidence, freedom) == pytest.approx(value, rel=2e-6)


@pytest.mark.parametrize(("confidence", "freedom"), [(0.0, 3), (1.0, 3), (0.95, 0), (0.95, float("nan"))])
def test_what_has_no_quantile_is_refused(confidence: float, freedom: float) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        two_sided(confidence, freedom)
