"""The registry of metrics is consistent with the units and the steps."""

from __future__ import annotations

import pytest

from specforge.spec.metrics import METRICS, STAGES
from specforge.units import UNITS


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_well_formed(name):
    metric = METRICS[name]
    assert metric.name == name
    assert metric.unit in UNITS or metric.unit == "1"
    assert metric.stage in STAGES
    assert metric.summary.endswith(".")
    assert metric.summary[0].isupper()
    assert metric.better in ("lower", "higher")


def test_scopes_follow_from_the_stage():
    for metric in METRICS.values():
        assert (metric.scope == "static") == (metric.stage in ("validate", "build")), metric.name
        if metric.scope == "portable":
            assert metric.unit in ("%", "1"), f"{metric.name}: only a share or a ratio can hold on every card"


def test_stages_are_in_the_order_of_the_flow():
    assert STAGES == ("validate", "render", "build", "verify", "measure", "judge")
