"""Peers on the card: right ones are timed by the kernel's engine, everything else is absent with its reason."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from specforge.backend.worker import Worker
from specforge.check.peers import gather_rounds, measure_round, speedups
from specforge.measure.case import MeasureTask, measure_case
from specforge.measure.cell import Cell
from specforge.measure.peer import PeerCell
from specforge.measure.stopping import StopRule
from specforge.spec.geometry import BufferPlan, LaunchPlan, Plan, Tolerance
from specforge.spec.peers import declared_peers
from specforge.verify.example import Example

pytestmark = pytest.mark.gpu

SOURCE = r"""
extern "C" __global__ void saxpy(const float4* x, const float4* y, float4* out, float a, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n / 4; i += gridDim.x * blockDim.x) {
    float4 u = x[i], v = y[i];
    out[i] = {a * u.x + v.x, a * u.y + v.y, a * u.z + v.z, a * u.w + v.w};
  }
}
"""
REFERENCE = 'def reference(*, x, y):\n    return {"out": 3.0 * x + y}\n'
PEERS = """
from specforge.kernel.peers import Peer


def dies(tensors, parameters, stream):
    import os

    os._exit(3)


def writes(tensors, parameters, stream):
    import torch

    x, y, out = tensors["x"], tensors["y"], tensors["out"]
    assert torch.cuda.current_stream() == stream
    assert (tuple(x.shape), x.dtype, parameters["n"]) == ((parameters["n"],), torch.float32, x.numel())

    def run():
        torch.add(y, x, alpha=3.0, out=out)

    return run


def returns(tensors, parameters, stream):
    import torch

    x, y = tensors["x"], tensors["y"]
    return lambda: torch.add(y, x, alpha=3.0)


def detours(tensors, parameters, stream):
    x, y, out = tensors["x"], tensors["y"], tensors["out"]

    def run():
        out.copy_(x)
        out.mul_(3.0)
        out.add_(y)

    return run


def loose(tensors, parameters, stream):
    import torch

    x, y = tensors["x"], tensors["y"]
    return lambda: torch.add(y, x, alpha=3.0 + 1e-4)


def wrong(tensors, parameters, stream):
    import torch

    x, y = tensors["x"], tensors["y"]
    return lambda: torch.add(y, x, alpha=3.01)


def nothing(tensors, parameters, stream):
    return lambda: None


def remembers(tensors, parameters, stream):
    import torch

    x, y = tensors["x"], tensors["y"].clone()
    return lambda: torch.add(y, x, alpha=3.0)


def waits(tensors, parameters, stream):
    import torch

    x, y = tensors["x"], tensors["y"]
    return lambda: torch.add(y, x, alpha=3.0 + 0.0 * x[0].item())


def missing(tensors, parameters, stream):
    import no_such_package


def refuses(tensors, parameters, stream):
    raise RuntimeError("takes multiples of 7 only")


def misshapes(tensors, parameters, stream):
    x = tensors["x"]
    return lambda: x[:10] * 3.0


def alters(tensors, parameters, stream):
    import torch

    x, y, out = tensors["x"], tensors["y"], tensors["out"]

    def run():
        torch.add(y, x, alpha=3.0, out=out)
        x[7:8].mul_(1.5)

    return run


PEERS = {
    "dies": dies,
    "writes": writes,
    "returns": returns,
    "detours": detours,
    "loose": Peer(loose, tolerance_times=100, reason="a constant of four digits"),
    "wrong": wrong,
    "nothing": nothing,
    "remembers": remembers,
    "waits": waits,
    "missing": missing,
    "refuses": refuses,
    "misshapes": misshapes,
    "alters": alters,
}
"""
ABSENT = {
    "dies": "exit status 3",
    "wrong": "it is wrong, by",
    "nothing": "never written",
    "remembers": "it is wrong, by",
    "waits": "synchroniz",
    "missing": "the Python package no_such_package is not installed",
    "refuses": "takes multiples of 7 only",
    "misshapes": "returned out as (10,)",
    "alters": "input changed",
}
RIGHT = ("writes", "returns", "detours", "loose")
N = 1 << 21
ROUNDS = 2


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> MeasureTask:
    from cuda.core import Device, Program, ProgramOptions

    folder = tmp_path_factory.mktemp("peers")
    device = Device(0)
    device.set_current()
    code = Program(SOURCE, "c++", ProgramOptions(arch=f"sm_{device.arch}")).compile("cubin").code
    (folder / "k.cubin").write_bytes(code)
    (folder / "reference.py").write_text(REFERENCE)
    (folder / "peers.py").write_text(PEERS)
    buffers = (
        BufferPlan("x", (N,), "f32", "in", ("normal",), "cold", ()),
        BufferPlan("y", (N,), "f32", "in", ("normal",), "hot", ()),
        BufferPlan("out", (N,), "f32", "out", (), "cold", ()),
    )
    launch = LaunchPlan("saxpy", (1056, 1, 1), (256, 1, 1), 0, ("x", "y", "out", 3.0, N))
    tolerance = {"out": Tolerance(False, relative=1e-6, absolute=1e-5)}
    parameters = {"n": N}
    plan = Plan(
        "test/saxpy", str(folder / "reference.py"), parameters, {}, buffers, (launch,), 12.0 * N, 2.0 * N, N, tolerance
    )
    rule = StopRule(seconds=0.25, warmup_seconds=0.02, maximum=300)
    digest = hashlib.sha256(code).hexdigest()
    (folder / "answers").mkdir()
    answers = str(folder / "answers")
    return MeasureTask(plan, str(folder / "k.cubin"), digest, Example(parameters), None, rule=rule, answers=answers)


@pytest.fixture(scope="module")
def session(task: MeasureTask) -> tuple[Cell, dict[str, PeerCell]]:
    """Kernel, peers, kernel, peers: what `check` does; after the first round only with those that were right."""
    peers = tuple(declared_peers(Path(task.plan.reference).with_name("peers.py")).values())
    kernels, rounds = [], []
    for number in range(ROUNDS):
        with Worker("cuda:0") as worker:
            kernels.append(worker.call(measure_case, task, timeout=120))
        chosen = peers if number == 0 else [peer for peer in peers if peer.name in RIGHT]
        with Worker("cuda:0") as worker:
            rounds.append(measure_round(worker, task, chosen))
    cell, found = Cell(tuple(kernels)), gather_rounds(rounds)
    values, missing = speedups(cell, found)
    for mode in ("isolated", "amortised"):
        print(f"\nkernel {mode}: {cell.estimate(mode)}")
    for name, peer in found.items():
        seconds = ", ".join(f"{one.seconds:.1f}" for one in peer.rounds)
        print(
            f"{name}: absent {peer.absent!r}; operations {peer.rounds[0].operations}; ratio {peer.rounds[0].ratio:.3g}"
        )
        print(f"  took {seconds} s; versions {peer.rounds[0].versions}; notes {peer.rounds[0].notes}")
        print(f"  isolated {peer.estimate('isolated')}\n  amortised {peer.estimate('amortised')}")
    for key, value in values.items():
        print(f"{key}: {value.value:.4f} [{value.low:.4f}, {value.high:.4f}]")
    for key, reason in missing.items():
        print(f"{key}: {reason}")
    return cell, found


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_peer_is_timed_in_both_modes(session: tuple[Cell, dict[str, PeerCell]], name: str) -> None:
    cell, found = session
    peer = found[name]
    assert peer.absent is None
    assert len(peer.rounds) == ROUNDS
    assert peer.rounds[0].copies == cell.rounds[0].copies  # as cold as the kernel
    values, _ = speedups(cell, {name: peer})
    assert set(values) == {f"speedup[{name}]", f"amortised_speedup[{name}]"}
    for value in values.values():
        assert value.low is not None
        assert value.high is not None
        assert value.low <= value.value <= value.high
        assert (0.5 < value.value < 2) or name == "detours"
    assert peer.rounds[0].operations == (3 if name == "detours" else 1)


def test_three_passes_take_longer_than_one(session: tuple[Cell, dict[str, PeerCell]]) -> None:
    cell, found = session
    values, _ = speedups(cell, found)
    for metric in ("speedup", "amortised_speedup"):
        slow, fast = values[f"{metric}[detours]"], values[f"{metric}[writes]"]
        assert slow.low is not None
        assert fast.high is not None
        assert slow.low > 1.2 * fast.high, metric


@pytest.mark.parametrize("name", ABSENT)
def test_what_is_no_peer_is_absent_and_says_why(session: tuple[Cell, dict[str, PeerCell]], name: str) -> None:
    cell, found = session
    absent = found[name].absent
    assert absent is not None
    assert ABSENT[name] in absent
    values, missing = speedups(cell, {name: found[name]})
    assert values == {}
    assert set(missing) == {f"speedup[{name}]", f"amortised_speedup[{name}]"}
