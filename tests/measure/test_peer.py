"""The course of a peer's measurement, on a card whose work is numpy's; tests/gpu/test_peers.py has a real one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from specforge.backend.emulated import EmulatorRunner
from specforge.backend.peer_case import PeerUnusable
from specforge.measure.case import MeasureTask
from specforge.measure.peer import PeerCell, PeerMeasurement, PeerTask, loosened, measure_peer
from specforge.measure.stopping import StopRule
from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan, Tolerance
from specforge.spec.peers import declared_peers
from specforge.verify.example import Example
from tests.measure.test_case import NumpyCard, NumpyCase

PEERS = """\
import math

from specforge.kernel.peers import Peer

HEADER = 1


def right(tensors, parameters, stream):
    return lambda: tensors["x"]() * 3 + tensors["y"]()


def wrong(tensors, parameters, stream):
    return lambda: tensors["x"]() * 3.01 + tensors["y"]()


def remembers(tensors, parameters, stream):
    y = tensors["y"]()
    return lambda: tensors["x"]() * 3 + y


def missing(tensors, parameters, stream):
    import no_such_package


def refuses(tensors, parameters, stream):
    raise RuntimeError("takes multiples of 7 only")


def breaks(tensors, parameters, stream):
    return lambda: 1 // 0


def forgets(tensors, parameters, stream):
    pass


PEERS = {
    "right": right,
    "wrong": wrong,
    "loose": Peer(wrong, tolerance_times=1000, reason="three digits"),
    "remembers": remembers,
    "missing": Peer(missing, packages=("no-such-package",)),
    "refuses": refuses,
    "breaks": breaks,
    "forgets": forgets,
}
"""


class NumpyPeerCase(NumpyCase):
    """Stands where PeerCase does: tensors are functions that give the inputs as they are now."""

    def __init__(self, case: NumpyCase) -> None:
        vars(self).update(vars(case))

    def make(self, peer, parameters, rotations) -> None:  # type: ignore[no-untyped-def]
        tensors = {name: lambda name=name: self.inputs[name] for name in self.inputs}
        try:
            self.work: Callable[[], np.ndarray] = peer.make(tensors, parameters, None)
        except (ImportError, RuntimeError) as error:
            raise PeerUnusable(f"{type(error).__name__}: {error}") from error
        if not callable(self.work):
            raise PeerUnusable("its maker returned a NoneType; something to call is due")
        try:
            self.work()
        except ZeroDivisionError as error:
            raise PeerUnusable(f"ZeroDivisionError: {error}") from error

    def measure_length(self) -> str | None:
        self.plan = replace(self.plan, launches=self.plan.launches[:1] * 3)
        return self.card.uncapturable  # type: ignore[attr-defined]

    def _launch(self, rotation: int, *, linked: bool, early: bool) -> None:
        self.card.launched.append(rotation)
        self.out[rotation % self.copies["out"]] = self.work()

    def release(self) -> None:
        self.card.released = True  # type: ignore[attr-defined]


class PeerCard(NumpyCard):
    uncapturable: str | None = None
    released = False
    waited = 0

    def __init__(self) -> None:
        super().__init__(lambda inputs: np.full_like(inputs["x"], np.nan))  # the kernel is not what runs here
        self.processes_before = None

    def for_peer(self, case):  # type: ignore[no-untyped-def, override]
        return NumpyPeerCase(case)

    def wait(self) -> None:
        self.waited += 1


@pytest.fixture
def kernel(tmp_path: Path) -> MeasureTask:
    (tmp_path / "reference.py").write_text('def reference(*, x, y):\n    return {"out": 3.0 * x + y}\n')
    (tmp_path / "peers.py").write_text(PEERS)
    (tmp_path / "k.cubin").write_bytes(b"cubin")
    n = 1 << 16
    buffers = (
        BufferPlan("x", (n,), "f32", "in", ("normal",), "cold", ()),
        BufferPlan("y", (n,), "f32", "in", ("normal",), "hot", ()),
        BufferPlan("out", (n,), "f32", "out", (), "cold", ()),
    )
    launch = LaunchPlan("saxpy", (1, 1, 1), (32, 1, 1), 0, ("x", "y", "out", 3.0, n))
    tolerance = {"out": Tolerance(False, relative=1e-5, absolute=5e-5)}
    plan = Plan("k", str(tmp_path / "reference.py"), {}, {}, buffers, (launch,), 12.0 * n, 2.0 * n, n, tolerance)
    digest = hashlib.sha256(b"cubin").hexdigest()
    rule = StopRule(warmup_seconds=0.0, warmup_launches=5, batch=10, minimum=30)
    return MeasureTask(plan, str(tmp_path / "k.cubin"), digest, Example({}), 1e12, rule=rule)


def task(kernel: MeasureTask, name: str) -> PeerTask:
    path = Path(kernel.plan.reference).with_name("peers.py")
    return PeerTask(kernel, declared_peers(path)[name], hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_right_peer_has_both_times(kernel):
    card = PeerCard()
    seen = measure_peer(card, task(kernel, "right"))
    assert seen.absent is None
    assert set(seen.series) == {"isolated", "amortised"}
    assert seen.series["isolated"].median.value == 20e-6
    assert seen.before is not None
    assert seen.before.passed
    assert seen.after is not None
    assert seen.after.passed
    assert (seen.operations, seen.copies["x"], card.released) == (3, 8, True)
    assert card.replaced == ["y"]
    assert "torch" in seen.versions


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wrong", "it is wrong, by"),
        ("remembers", "it is wrong, by"),
        ("missing", "No module named 'no_such_package'"),
        ("refuses", "takes multiples of 7 only"),
        ("breaks", "ZeroDivisionError"),
        ("forgets", "returned a NoneType"),
    ],
)
def test_what_is_no_peer_is_absent(kernel, name, said):
    seen = measure_peer(PeerCard(), task(kernel, name))
    assert seen.absent is not None
    assert said in seen.absent
    assert PeerCell((seen,)).estimate("isolated") is None


def test_one_that_remembers_is_right_at_first(kernel):
    seen = measure_peer(PeerCard(), task(kernel, "remembers"))
    assert seen.before is not None
    assert seen.before.passed
    assert seen.after is not None
    assert not seen.after.passed


def test_a_wider_tolerance_is_declared_and_kept(kernel):
    seen = measure_peer(PeerCard(), task(kernel, "loose"))
    assert (seen.absent, seen.tolerance_times, seen.reason) == (None, 1000, "three digits")
    assert 0.1 < seen.ratio <= 1
    assert kernel.plan.tolerances["out"].absolute == 5e-5


def test_what_cannot_be_captured_is_timed_alone(kernel):
    card = PeerCard()
    card.uncapturable = "operation not permitted when stream is capturing"
    seen = measure_peer(card, task(kernel, "right"))
    assert (seen.absent, set(seen.series), seen.operations) == (None, {"isolated"}, 0)
    assert any(note.startswith("not amortised") and "not permitted" in note for note in seen.notes)
    alone = measure_peer(card, task(replace(kernel, modes=("amortised",)), "right"))
    assert alone.absent is not None
    assert "not permitted" in alone.absent


def test_damage_makes_it_absent(kernel):
    card = PeerCard()
    card.damage = ("x: input changed in 4 bytes",)
    seen = measure_peer(card, task(kernel, "right"))
    assert seen.absent == "it wrote where it must not: x: input changed in 4 bytes"
    assert seen.series == {}


def test_short_memory_makes_it_absent(kernel):
    card = PeerCard()
    card.free = 1 << 30
    assert "GiB are needed" in (measure_peer(card, task(kernel, "right")).absent or "")


def test_a_failure_of_the_card_is_looked_for(kernel, monkeypatch):
    """A RuntimeError may be the peer's words, or a ruined process: only the card can tell."""
    card = PeerCard()

    def fails(*_: object, **__: object) -> list[float]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(card, "time", fails)
    seen = measure_peer(card, task(kernel, "right"))
    assert "illegal memory access" in (seen.absent or "")
    assert card.waited > 0


def test_another_file_is_refused(kernel):
    with pytest.raises(ValueError, match="no longer the file"):
        measure_peer(PeerCard(), replace(task(kernel, "right"), sha256="0" * 64))


def test_the_emulator_times_nobody(kernel):
    with pytest.raises(TypeError, match="measures nothing"):
        measure_peer(EmulatorRunner(), task(kernel, "right"))


def test_a_cell_needs_every_process(kernel):
    seen = measure_peer(PeerCard(), task(kernel, "right"))
    absent = PeerMeasurement("right", 1.0, None, absent="gone")
    assert PeerCell((seen, seen)).estimate("isolated") is not None
    assert PeerCell((seen, absent)).absent == "gone"
    assert PeerCell((seen, absent)).estimate("isolated") is None
    assert PeerCell((seen, replace(seen, series={}))).samples("isolated") == ()
    assert PeerCell(()).absent == "it was not run"


def test_the_outputs_own_rounding_is_not_widened(kernel):
    parts = {
        "a": Tolerance(False, relative=1.0, conditioned=2.0, absolute=3.0),
        "b": Tolerance(False, relative=1.0, absolute=3.0),
        "c": Tolerance(True),
    }
    found = loosened(replace(kernel.plan, tolerances=parts), 8.0).tolerances
    assert found == {
        "a": Tolerance(False, relative=1.0, conditioned=16.0, absolute=24.0),
        "b": Tolerance(False, relative=8.0, absolute=24.0),
        "c": Tolerance(True),
    }
