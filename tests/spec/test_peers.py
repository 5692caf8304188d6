"""Peers as their file declares them, without running it, and targets that are ratios to one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from specforge.diagnostics import Diagnostic, SpecForgeError
from specforge.spec.peers import MOST_TIMES, check_peers, declared_peers
from specforge.spec.target import metric_of, value_key

PEERS = """\
from functools import cache

from specforge.kernel.peers import Peer


@cache
def torch_scale(tensors, parameters, stream):
    import torch

    return lambda: torch.mul(tensors["x"], 2)


def triton_scale(tensors, parameters, stream):
    raise RuntimeError("not today")


PEERS = {
    "torch": torch_scale,
    "triton": Peer(triton_scale, tolerance_times=8, reason="sums in f16", packages=("torch", "triton")),
}
"""
PATH = "kernels/demo/scale/peers.py"
LATENCY = '{metric: latency, at_most: "9 us", when: "rows == 32", level: warn,\n'
MORE = '       known_miss: {reason: "not yet", until: 2027-02-01}}'
PEAK = '{metric: peak_bandwidth_share, at_least: "50 %", when: "rows >= 512"}'


@pytest.fixture
def peered(files):
    files.write(PATH, PEERS)
    files.replace("kernel", "reference: reference.py\n", "reference: reference.py\npeers: peers.py\n")
    return files


def faults(path: Path, text: str) -> list[Diagnostic]:
    path.write_text(text)
    return check_peers(path)


def test_names_are_known_without_the_packages_that_peers_need(peered):
    kernel = peered.kernel()
    assert kernel.peers == peered.path(PATH)
    found = declared_peers(kernel.peers)
    assert list(found) == ["torch", "triton"]
    assert (found["torch"].maker, found["torch"].tolerance_times, found["torch"].packages) == (
        "torch_scale",
        1.0,
        ("torch",),
    )
    triton = found["triton"]
    assert (triton.tolerance_times, triton.reason, triton.packages) == (8, "sums in f16", ("torch", "triton"))
    assert triton.position == peered.find(PATH, '"triton": ')
    assert "peers_scale" not in sys.modules


def test_an_annotated_table_is_one_too(tmp_path):
    text = PEERS.replace("PEERS = {", "PEERS: dict[str, object] = {")
    assert faults(tmp_path / "peers.py", text) == []


def test_a_kernel_without_the_file(files):
    assert files.kernel().peers is None
    files.replace("kernel", "reference: reference.py\n", "reference: reference.py\npeers: pers.py\n")
    files.write(PATH, PEERS)
    fault = files.fault()
    assert (fault.code, fault.position) == ("SF001", files.find("kernel", "pers.py"))
    assert "peers.py" in fault.hint


@pytest.mark.parametrize(
    ("old", "new", "at", "said"),
    [
        ("PEERS = {", "PEERS = dict([(", "PEERS = dict([(", "not valid Python"),
        ("PEERS = {", "PEER = {", None, "0 tables"),
        ("PEERS = {", "PEERS = {}\nPEERS = {", "{", "2 tables"),
        ("PEERS = {", "PEERS = PEERS | {", "PEERS | {", "no literal"),
        ('"torch": torch_scale', "NAME: torch_scale", "NAME: ", "no plain text"),
        ('"torch": torch_scale', "**others", "others,", "no plain text"),
        ('"torch": torch_scale', '"Torch": torch_scale', '"Torch"', "lower case"),
        ('"torch": torch_scale', '"triton": torch_scale', '"triton": Peer', "twice"),
        ('"torch": torch_scale', '"torch": torch_scal', "torch_scal,", "no function of this file"),
        ('"torch": torch_scale', '"torch": lambda t, p, s: None', "lambda t", "no function of this file"),
        ('"torch": torch_scale', '"torch": made(torch_scale)', "made(", "no function of this file"),
        ("Peer(triton_scale", "Peer(make=triton_scale", "triton_scale, tol", "takes no 'make'"),
        ("tolerance_times=8", "tolerance_times=EIGHT", "EIGHT", "plain number"),
        ("tolerance_times=8", "tolerance_times=True", "True", "plain number"),
        ("tolerance_times=8", "tolerance_times=0.5", "0.5", "between 1"),
        ("tolerance_times=8", f"tolerance_times={MOST_TIMES + 1}", f"{MOST_TIMES + 1}", "between 1"),
        ("tolerance_times=8", "tolerance_tims=8", "8, reason", "takes no"),
        ('reason="sums in f16", ', "", "Peer(triton", "says why"),
        ('reason="sums in f16"', 'reason=" "', '" "', "plain text"),
        ('packages=("torch", "triton")', 'packages="torch"', '"torch")', "tuple of names"),
        ("def triton_scale(tensors, parameters, stream)", "def triton_scale(tensors, stream)", "def triton", "takes"),
        ("def triton_scale(tensors", "def triton_scale(tensors, *rest, x", "def triton", "takes"),
        ("from functools import cache", "import torch", "import torch\n", "imported by the whole file"),
        ("from functools import cache", "from .x import cache", "from .x", "imported by the whole file"),
        ('raise RuntimeError("not today")', 'eval("1")', 'eval("1")', "use 'eval'"),
        ('raise RuntimeError("not today")', 'open("/etc/passwd")', "open(", "use 'open'"),
    ],
)
def test_what_its_text_does_not_show_is_refused(tmp_path, old, new, at, said):
    assert PEERS.count(old) == 1
    text = PEERS.replace(old, new)
    found = faults(tmp_path / "peers.py", text)
    assert found, text
    assert all(fault.code == "SF512" for fault in found)
    fault = next(fault for fault in found if said in fault.message)
    if at is not None and "not valid" not in said:
        line = text.splitlines()[fault.position.line - 1]
        assert line[fault.position.column - 1 :].startswith(at.splitlines()[0].rstrip("\n")), (line, fault)
    with pytest.raises(SpecForgeError):
        declared_peers(tmp_path / "peers.py")


def test_an_empty_table_and_an_unreadable_file(tmp_path):
    (only,) = faults(tmp_path / "peers.py", "PEERS = {}\n")
    assert "empty" in only.message
    (tmp_path / "peers.py").write_bytes(b"\xff")
    (only,) = check_peers(tmp_path / "peers.py")
    assert only.code == "SF003"


def test_an_optional_import_may_stand_in_a_try(tmp_path):
    text = "try:\n    import torch\nexcept ImportError:\n    torch = None\n" + PEERS
    assert faults(tmp_path / "peers.py", text) == []


def test_a_malformed_file_is_a_fault_of_the_kernel(peered):
    peered.replace(PATH, '"torch": torch_scale', '"torch": torch_scal')
    fault = peered.fault()
    assert (fault.code, fault.position) == ("SF512", peered.find(PATH, "torch_scal,"))
    assert "torch_scale" in fault.hint


# --- targets ----------------------------------------------------------------------------------------------------------


def speedup(files, text: str) -> None:
    files.replace("spec", LATENCY + MORE, text)


@pytest.mark.parametrize("metric", ["speedup", "amortised_speedup"])
def test_a_target_over_a_peer(peered, metric):
    speedup(peered, f"{{metric: {metric}, at_least: 1.2, peer: triton}}")
    target = peered.load().benchmark("scale").targets[-1]
    assert (target.peer, target.bound, target.metric.scope) == ("triton", 1.2, "portable")
    assert target.value_key == value_key(metric, "triton") == f"{metric}[triton]"
    assert metric_of(target.value_key).name == metric
    assert target.text == f"{metric} >= 1.2 over triton"


def test_one_target_for_each_peer(peered):
    speedup(
        peered,
        "{metric: speedup, at_least: 1.2, peer: triton}\n    - {metric: speedup, at_least: 1.2, peer: torch}",
    )
    targets = peered.load().benchmark("scale").targets
    assert len({target.id for target in targets}) == len(targets)


def test_a_workload_may_bound_a_speedup(peered):
    peered.replace("workload", PEAK, "{metric: speedup, at_least: 1, peer: torch}")
    assert peered.load().benchmark("scale").targets[1].peer == "torch"


@pytest.mark.parametrize(
    ("text", "at", "hint"),
    [
        ("{metric: speedup, at_least: 1.2, peer: tritn}", "tritn", "did you mean 'triton'"),
        ("{metric: speedup, at_least: 1.2}", "{metric: speedup", "torch, triton"),
        ('{metric: latency, at_most: "9 us", peer: torch}', "torch}", "speedup and amortised_speedup"),
    ],
)
def test_a_peer_that_makes_no_sense(peered, text, at, hint):
    speedup(peered, text)
    fault = peered.fault()
    assert (fault.code, fault.position) == ("SF413", peered.find("spec", at))
    assert hint in fault.hint


@pytest.mark.parametrize(
    ("text", "code", "at"),
    [
        ("{metric: speedup, at_least: 1.2, peer: Torch}", "SF203", "Torch"),
        ("{metric: speedup, at_least: 120 %, peer: torch}", "SF205", "120 %"),
        ("{metric: speedup, at_most: 1.2, peer: torch}", "SF410", "1.2"),
        ("{metric: speedup, at_least: -1, peer: torch}", "SF410", "-1"),
        ("{metric: speedup, equals: 1, peer: torch}", "SF410", "1, peer"),
    ],
)
def test_its_bound_is_a_plain_number(peered, text, code, at):
    speedup(peered, text)
    fault = peered.fault()
    assert (fault.code, fault.position) == (code, peered.find("spec", at)), fault


def test_a_kernel_without_peers_has_no_speedup(files):
    speedup(files, "{metric: speedup, at_least: 1.2, peer: torch}")
    fault = files.fault()
    assert (fault.code, fault.position) == ("SF413", files.find("spec", "{metric: speedup"))
    assert "peers.py" in fault.hint


def test_a_step_has_no_peers(peered):
    tokens = '{metric: decode_throughput, at_least: "100 tok/s", baseline: {value: "50 tok/s", source: "somebody"}}'
    peered.replace("spec", tokens, '{metric: decode_throughput, at_least: "100 tok/s", peer: torch}')
    fault = peered.fault()
    assert (fault.code, fault.position) == ("SF413", peered.find("spec", "torch}"))
