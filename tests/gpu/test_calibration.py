"""The calibration kernels on a card: all rates, printed, within what a datasheet allows; a wrong kernel gives none."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from specforge.backend.probe import probe
from specforge.check import calibrate as room
from specforge.check.backends import Choice, match_device
from specforge.check.calibrate import RULE, calibrate, read_floor
from specforge.check.context import Context
from specforge.check.options import Options
from specforge.check.progress import PlainReporter
from specforge.measure.measurement import Measurement
from specforge.roots import shipped
from specforge.settings import read_settings

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def choice() -> Choice:
    card = probe().cards[0]
    device = match_device(card, (shipped(),))
    return Choice(f"cuda:{card.index}", card, device, device is not None, "")


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(Options(), replace(read_settings(), state=tmp_path), PlainReporter())


def test_the_card_is_calibrated(choice: Choice, context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    begin = time.monotonic()
    found = calibrate(choice, context)
    with capsys.disabled():
        print(f"\ncalibrated in {time.monotonic() - begin:.1f} s, compilation included")
        print(f"read {found.read}, copy {found.copy} B/s, matrix {found.matrix} op/s, missing {found.missing}")
        for point in found.points:
            width = (point.high - point.low) / 2 / point.seconds
            print(f"  {point.name} {point.parameters}: {point.seconds * 1e6:.2f} us +- {width:.2%}, {point.rate:.4g}/s")
    assert set(found.missing) <= {"fp8"} if choice.device is not None else set(found.missing) == {"bf16", "int8", "fp8"}
    assert found.read is not None
    assert found.copy is not None
    if choice.device is not None:
        peak = float(choice.device.names["device.memory_bandwidth"])
        assert 0.7 * peak < found.read <= peak
        assert 0.6 * peak < found.copy <= peak
        assert found.matrix["bf16"] <= float(choice.device.names["device.bf16_rate"])
        assert found.matrix["int8"] > found.matrix["bf16"]


def test_a_floor_grows_with_its_bytes(choice: Choice, context: Context, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [1 << shift for shift in (12, 21, 23, 26)]
    found = read_floor(sizes, ("isolated", "amortised"), RULE, choice, context)
    medians: dict[str, list[float]] = {"isolated": [], "amortised": []}
    for size, one in found.items():
        assert isinstance(one, Measurement), one
        assert one.verified, one
        for mode, series in one.series.items():
            medians[mode].append(series.median.value)
        with capsys.disabled():
            texts = [f"{mode} {series.median.value * 1e6:.2f} us" for mode, series in one.series.items()]
            print(f"\n{size:>10} B: {', '.join(texts)}", end="")
    assert medians["amortised"] == sorted(medians["amortised"])
    assert all(graph < alone for graph, alone in zip(medians["amortised"], medians["isolated"], strict=True))


def test_a_read_of_half_the_bytes_is_no_number(
    choice: Choice, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(shipped() / "kernels", tmp_path / "kernels")
    template = tmp_path / "kernels" / "calibration" / "read" / "kernel.cu.j2"
    text = template.read_text()
    assert text.count("i < UNROLL; ++i) sum") == 1
    template.write_text(text.replace("i < UNROLL; ++i) sum", "i < UNROLL / 2; ++i) sum"))
    monkeypatch.setattr(room, "shipped", lambda: tmp_path)
    found = calibrate(choice, context)
    assert found.read is None
    assert "the calibration kernel is wrong" in found.missing["read"]
    assert found.copy is not None
