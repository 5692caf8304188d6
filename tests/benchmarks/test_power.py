from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.measurement.power import Cell, binomial_interval, cells_of, main, power_of
from specforge.record.store import read_record

PUBLISHED = Path(__file__).parents[2] / "results/h100_sxm/qwen35_h100/2026-11-21-6c6212b1506d.json"


def cell(processes: int, spread: float, *, recorded: bool = True) -> Cell:
    chance = random.Random(5)

    def process() -> list[list[float]]:
        centre = 1e-5 * (1 + spread * chance.gauss(0, 1))
        return [[centre * (1 + 0.01 * chance.gauss(0, 1)) for _ in range(25)] for _ in range(4)]

    return Cell("cell isolated", tuple(process() for _ in range(processes)), spread, recorded)


@pytest.mark.parametrize("processes", [1, 3, 8])
def test_quiet_processes_are_told_apart_and_equals_are_not(processes: int) -> None:
    found = power_of(cell(processes, 0.001), processes=3, slower=0.02, trials=40, like_trials=40, seed=0)
    assert found.found >= 38
    assert found.alarms == 0


def test_processes_that_differ_hide_a_slow_down() -> None:
    found = power_of(cell(1, 0.02), processes=3, slower=0.02, trials=40, like_trials=40, seed=0)
    assert found.found < 20
    assert found.alarms <= 2


def test_a_published_record(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cells = cells_of([read_record(PUBLISHED)], 0.002)
    assert len(cells) == 16
    assert {one.recorded for one in cells} == {False}
    out = tmp_path / "power.json"
    main([str(PUBLISHED), "--trials", "2", "--like-trials", "3", "--write", str(out)])
    assert "32 = " in capsys.readouterr().out
    assert '"spread": 0.002' in out.read_text()


def test_several_cards_are_refused() -> None:
    record = read_record(PUBLISHED)
    card = {**(record.environment.card or {}), "uuid": "GPU-other"}
    other = record.model_copy(update={"environment": record.environment.model_copy(update={"card": card})})
    with pytest.raises(ValueError, match="several cards"):
        cells_of([record, other], 0.002)
    assert len(cells_of([record, record], 0.002)[0].processes) == 2


def test_the_binomial_interval() -> None:
    assert binomial_interval(0, 200) == pytest.approx((0.0, 0.01885), abs=1e-5)
    assert binomial_interval(95, 100) == pytest.approx((0.8882, 0.9785), abs=1e-4)
    assert binomial_interval(10, 10)[1] == pytest.approx(1.0)
