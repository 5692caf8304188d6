"""Measuring a kernel that updates a tensor in place: what is timed changes it, what is checked begins anew."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from specforge.backend.emulated import EmulatorRunner
from specforge.measure.case import MeasureTask, measure_case, settle, time_case
from specforge.measure.measurement import Measurement
from specforge.measure.peer import PeerTask, measure_peer
from specforge.measure.residency import plan_residency
from specforge.measure.roofline import cold_read
from specforge.spec.geometry import BufferPlan, Plan, Tolerance
from specforge.spec.peers import DeclaredPeer, declared_peers
from tests.measure.test_case import NumpyCard, NumpyCase, task  # noqa: F401 -- a fixture
from tests.measure.test_peer import PeerCard

Update = Callable[[dict[str, np.ndarray]], tuple[np.ndarray, np.ndarray]]
"""From x, y and state to out and the new state."""
REFERENCE = """\
def reference(*, x, y, state):
    new = 0.75 * state + x
    return {"out": 3.0 * new + y, "state": new}
"""
N = 1 << 16


class UpdatedCase(NumpyCase):
    """As many states as there are copies; a launch of a rotation changes that rotation's."""

    def __init__(self, card: NumpyCard, plan: Plan, copies: Mapping[str, int]) -> None:
        super().__init__(card, plan, copies)
        self.states: dict[int, np.ndarray] = {}

    def upload(self, inputs: Mapping[str, np.ndarray]) -> None:
        super().upload(inputs)
        self.restore()

    def replace(self, inputs: Mapping[str, np.ndarray]) -> None:
        super().replace(inputs)
        if "state" in inputs:
            self.restore()

    def restore(self) -> None:
        self.states = {copy: self.inputs["state"].copy() for copy in range(self.copies["state"])}

    def held(self, rotation: int) -> dict[str, np.ndarray]:
        return {"state": self.states[rotation % self.copies["state"]].copy()}

    def _launch(self, rotation: int, *, linked: bool, early: bool) -> None:
        self.card.launched.append(rotation)
        copy = rotation % self.copies["state"]
        given = self.inputs | {"state": self.states[copy]}
        if linked:
            given |= {"y": self.out[(rotation - 1) % self.copies["out"]]}
        self.out[rotation % self.copies["out"]], self.states[copy] = self.work(given)

    def work(self, given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        return self.card.kernel(given)  # type: ignore[return-value]

    def outputs(self, rotation: int = 0) -> dict[str, np.ndarray]:
        return super().outputs(rotation) | self.held(rotation)


class UpdatingCard(NumpyCard):
    made = UpdatedCase

    def __init__(self, kernel: Update) -> None:
        super().__init__(kernel)  # type: ignore[arg-type]

    def prepare(self, plan, binary, *, offset=0, copies=None, spare=0):  # type: ignore[no-untyped-def]
        return self.made(self, plan, copies or {})


def honest(given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    new = np.float32(0.75) * given["state"] + given["x"]
    return np.float32(3) * new + given["y"], new


@pytest.fixture(params=["cold", "hot"])
def updating(task: MeasureTask, request: pytest.FixtureRequest) -> MeasureTask:  # noqa: F811
    Path(task.plan.reference).write_text(REFERENCE)
    state = BufferPlan("state", (N,), "f32", "inout", ("normal",), request.param, ())
    tolerances = {name: Tolerance(False, relative=1e-5, absolute=1e-5) for name in ("out", "state")}
    return replace(task, plan=replace(task.plan, buffers=(*task.plan.buffers, state), tolerances=tolerances))


def wrong_later(seen: Measurement) -> str:
    assert seen.before is not None
    assert seen.before.passed
    assert seen.after is not None
    assert seen.after.kind == "wrong"
    return seen.after.failure or ""


def test_an_honest_kernel(updating: MeasureTask) -> None:
    seen = measure_case(UpdatingCard(honest), updating)
    assert seen.verified, seen.after
    assert set(seen.series) == {"isolated", "amortised"}
    assert seen.copies["state"] == (1 if updating.plan.buffer("state").residency == "hot" else seen.copies["x"])
    assert seen.series["amortised"].groups > seen.copies["state"]  # each copy is used several times
    assert "updated in place, and restored for each check after timing: state" in seen.notes


def test_what_was_timed_is_wrong_unless_restored(updating: MeasureTask, monkeypatch: pytest.MonkeyPatch) -> None:
    def upload(self: UpdatedCase, inputs: Mapping[str, np.ndarray]) -> None:
        NumpyCase.upload(self, inputs)
        self.states = {copy: inputs["state"].copy() for copy in range(self.copies["state"])}

    monkeypatch.setattr(UpdatedCase, "upload", upload)
    monkeypatch.setattr(UpdatedCase, "restore", lambda self: None)
    assert "isolated: " in wrong_later(measure_case(UpdatingCard(honest), updating))


def test_a_kernel_that_updates_only_when_checked_first(updating: MeasureTask) -> None:
    calls: list[int] = []

    def lazy(given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        calls.append(1)
        out, new = honest(given)
        return out, new if len(calls) == 1 else given["state"]

    assert "state[" in wrong_later(measure_case(UpdatingCard(lazy), updating))


def test_a_kernel_that_updates_a_copy_once(updating: MeasureTask) -> None:
    """One launch on fresh content is right; the next one on the same copy does nothing."""
    fresh: list[bytes] = []

    def once(given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        if not fresh:
            fresh.append(b"")
        seen = given["state"][:4].tobytes()
        out, new = honest(given)
        if seen in fresh:
            return out, given["state"]
        fresh.append(new[:4].tobytes())
        return out, new

    assert wrong_later(measure_case(UpdatingCard(once), updating)).startswith("amortised: ")


def test_a_state_that_runs_out_of_range_is_not_amortised(updating: MeasureTask) -> None:
    Path(updating.plan.reference).write_text(REFERENCE.replace("0.75", "1e20"))

    def grows(given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(all="ignore"):
            new = np.float32(1e20) * given["state"] + given["x"]
            return np.float32(3) * new + given["y"], new

    seen = measure_case(UpdatingCard(grows), updating)
    assert set(seen.series) == {"isolated"}
    assert any(
        note.startswith("not amortised: after ") and "'state' is no longer finite" in note for note in seen.notes
    )


def test_a_chain_of_kernels_that_update(updating: MeasureTask) -> None:
    Path(updating.plan.reference).write_text(REFERENCE.replace("3.0 * new + y", "3.0 * new + 0.5 * y"))

    def link(given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        out, new = honest(given)
        return out - np.float32(0.5) * given["y"], new

    plan = replace(updating.plan, chain={"y": "out"})
    modes = ("isolated", "amortised", "overlapped")
    seen = measure_case(UpdatingCard(link), replace(updating, plan=plan, modes=modes))
    assert seen.verified, seen.after
    assert list(seen.series) == list(modes)

    calls: list[int] = []

    def late(given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        calls.append(1)
        out, new = link(given)
        return out, new if len(calls) < before else new + np.float32(1e-3)

    card = UpdatingCard(link)
    measure_case(card, replace(updating, plan=plan, modes=("overlapped",)))
    before = len(card.launched) - 2
    assert "overlapped" in wrong_later(
        measure_case(UpdatingCard(late), replace(updating, plan=plan, modes=("overlapped",)))
    )


PEERS = """\
def right(tensors, parameters, stream):
    def work():
        new = 0.75 * tensors["state"]() + tensors["x"]()
        return 3 * new + tensors["y"](), new.astype("float32")
    return work


def forgets(tensors, parameters, stream):
    return lambda: (3 * (0.75 * tensors["state"]() + tensors["x"]()) + tensors["y"](), tensors["state"]())


PEERS = {"right": right, "forgets": forgets}
"""


class UpdatedPeerCase(UpdatedCase):
    def __init__(self, case: UpdatedCase) -> None:
        vars(self).update(vars(case))

    def make(self, peer, parameters, rotations) -> None:  # type: ignore[no-untyped-def]
        self.peer = peer.make({name: lambda name=name: self.given[name] for name in self.inputs}, parameters, None)
        for rotation in range(rotations):
            self._launch(rotation, linked=False, early=False)

    def work(self, given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        self.given = given
        found: tuple[np.ndarray, np.ndarray] = self.peer()
        return found

    def measure_length(self) -> str | None:
        return None

    def release(self) -> None:
        pass


class UpdatingPeerCard(PeerCard):
    prepare = UpdatingCard.prepare
    made = UpdatedCase

    def for_peer(self, case):  # type: ignore[no-untyped-def, override]
        return UpdatedPeerCase(case)


@pytest.mark.parametrize("name", ["right", "forgets"])
def test_a_peer_updates_too(updating: MeasureTask, name: str) -> None:
    path = Path(updating.plan.reference).with_name("peers.py")
    path.write_text(PEERS)
    declared: DeclaredPeer = declared_peers(path)[name]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    seen = measure_peer(UpdatingPeerCard(), PeerTask(updating, declared, digest))
    assert (seen.absent is None) == (name == "right"), seen.absent
    assert set(seen.series) == ({"isolated", "amortised"} if name == "right" else set())


def test_it_rotates_and_is_no_surely_read_byte(updating: MeasureTask) -> None:
    state = replace(updating.plan.buffer("state"), residency="cold")
    plan = replace(updating.plan, buffers=(state,), bytes=1e12)
    assert plan_residency(plan, 1 << 20, 1 << 40).copies == {"state": 16}
    assert cold_read(plan) == 0


@pytest.mark.parametrize("lost", [0.0, 1e-3])
def test_what_is_owed_is_settled_as_it_would_have_been_at_once(
    updating: MeasureTask, tmp_path: Path, lost: float
) -> None:
    """Both checks wait for the reference: that of the graph's last update, and that of the chain's last link."""
    Path(updating.plan.reference).write_text(REFERENCE.replace("3.0 * new + y", "3.0 * new + 0.5 * y"))
    fresh: list[bytes] = []

    def link(given: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        out, new = honest(given)
        again = given["state"][:4].tobytes() in fresh
        fresh.append(new[:4].tobytes())
        return out - np.float32(0.5) * given["y"], new + np.float32(lost * again)

    plan, modes = replace(updating.plan, chain={"y": "out"}), ("isolated", "amortised", "overlapped")
    due = replace(updating, plan=plan, modes=modes, answers=str(tmp_path))
    timed = time_case(UpdatingCard(link), due)
    assert [owed.mode for owed in timed.owed] == ["amortised", "overlapped"]
    assert not timed.measurement.verified
    seen = timed.settled([settle(EmulatorRunner(), (due, owed)) for owed in timed.owed])
    if lost:
        assert wrong_later(seen).startswith("amortised: ")
    else:
        assert seen.verified, seen.after
        again = time_case(UpdatingCard(link), due)
        assert not again.owed, "the answers are kept"
        assert again.settled(()).verified
