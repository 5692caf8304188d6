"""What other tools print, read back: small outputs in their own formats."""

from __future__ import annotations

import array
import copy
import json

import pytest

from benchmarks.measurement import ncu, nvbench, tuner
from benchmarks.measurement.nvbench_driver import GRAPH
from benchmarks.measurement.subject import build, read, spin

NCU = """==PROF== Connected to process 4242 (/usr/bin/python3.12)
==PROF== Profiling "read_tiles" - 0: 0%....50%....100% - 1 pass
a line that the program printed
==PROF== Disconnected from process 4242
"ID","Process ID","Process Name","Host Name","Kernel Name","Context","Stream","Block Size","Grid Size","Device","CC",\
"Section Name","Metric Name","Metric Unit","Metric Value"
"0","4242","python3.12","127.0.0.1","read_tiles","1","7","(256, 1, 1)","(64, 1, 1)","0","9.0",\
"Command line profiler metrics","gpu__time_duration.sum","ns","3,936"
"1","4242","python3.12","127.0.0.1","read_tiles","1","7","(256, 1, 1)","(64, 1, 1)","0","9.0",\
"Command line profiler metrics","gpu__time_duration.sum","us","4.1"
"""


def test_ncu_in_any_unit():
    assert ncu.parse(NCU) == pytest.approx([3.936e-6, 4.1e-6])


@pytest.mark.parametrize(
    ("output", "said"),
    [("==ERROR== The user does not have permission", "no table"), (NCU.replace('"us"', '"fortnight"'), "fortnight")],
)
def test_ncu_that_is_not_understood(output, said):
    with pytest.raises(ValueError, match=said):
        ncu.parse(output)


def test_ncu_launches_without_their_warm_up():
    seconds = [float(number) for number in range(10)]
    assert ncu.share_out(seconds, ["a", "b"], 5) == {"a": (3.0, 4.0), "b": (8.0, 9.0)}
    with pytest.raises(ValueError, match="saw 9 launches"):
        ncu.share_out(seconds[:9], ["a", "b"], 5)


def state(summaries):
    return {"name": "Device=0", "is_skipped": False, "summaries": summaries}


def number(tag, value):
    return {"tag": tag, "data": [{"name": "value", "type": "float64", "value": str(value)}]}


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "nvbench.json-bin"
    folder.mkdir()
    (folder / "0.bin").write_bytes(array.array("f", [4e-6, 5e-6, 6e-6]).tobytes())
    samples = {
        "tag": nvbench.SAMPLES,
        "data": [
            {"name": "filename", "type": "string", "value": "elsewhere/nvbench.json-bin/0.bin"},
            {"name": "size", "type": "int64", "value": "3"},
        ],
    }
    plain = state([samples, number(nvbench.WALL, 0.5), number(nvbench.BATCH, 3.5e-6)])
    graph = state([number(nvbench.BATCH, 80e-6)])
    document = {"benchmarks": [{"name": "read", "states": [plain]}, {"name": "read" + GRAPH, "states": [graph]}]}
    return document, tmp_path


def test_nvbench_samples_batches_and_graphs(results):
    document, folder = results
    found = nvbench.parse(document, folder, {"read": 40})
    assert list(found) == ["read"]
    timed = found["read"]
    assert timed.cold == pytest.approx((4e-6, 5e-6, 6e-6))
    assert (timed.cold_wall, timed.batch, timed.graph) == pytest.approx((0.5, 3.5e-6, 2e-6))
    assert timed.skipped is None


def test_nvbench_with_samples_cut_short_or_gone(results):
    document, folder = results
    other = copy.deepcopy(document)
    other["benchmarks"][0]["states"][0]["summaries"][0]["data"][1]["value"] = "4"
    with pytest.raises(ValueError, match="holds 3 samples"):
        nvbench.parse(other, folder, {"read": 40})
    (folder / "nvbench.json-bin" / "0.bin").unlink()
    with pytest.raises(ValueError, match="not where it says"):
        nvbench.parse(document, folder, {"read": 40})


def test_nvbench_that_skipped(tmp_path):
    skipped = {"name": "Device=0", "is_skipped": True, "skip_reason": "too short", "summaries": None}
    found = nvbench.parse({"benchmarks": [{"name": "x", "states": [skipped]}]}, tmp_path, {"x": 1})
    assert found["x"] == nvbench.Timed((), None, None, None, "too short")


def test_kernel_tuner_in_milliseconds():
    report = {
        "startup_seconds": 1.5,
        "sweep_seconds": 2.5,
        "configurations": [
            {"tunables": {"threads": 64}, "times": [0.025, 0.026], "compile_time": 80.0, "benchmark_time": 3.0},
            {"tunables": {"threads": 128}, "error": "InvalidConfig"},
        ],
    }
    found = tuner.parse(report, "CUPY")
    first, second = found.configurations
    assert first.samples == pytest.approx((25e-6, 26e-6))
    assert (first.compiling, first.benchmarking) == pytest.approx((0.08, 0.003))
    assert (second.samples, second.error) == ((), "InvalidConfig")
    assert (found.startup_seconds, found.sweep_seconds, found.language) == (1.5, 2.5, "CUPY")


def test_every_tool_gets_the_same_launch(tmp_path):
    ready, wait = build([read(64, threads=128, tile_count=2), spin(5000)], "sm_90", tmp_path, {})
    job = json.loads(json.dumps(ready.to_job()))
    assert (job["entry"], job["grid"], job["block"]) == ("read_tiles", [32, 1, 1], [128, 1, 1])
    assert job["arguments"] == ["x", "out", 64, 1]
    assert job["tensors"]["x"] == {"bytes": 1 << 20, "cold": True, "input": True}
    assert (ready.copies(50 << 20), wait.copies(50 << 20)) == (200, 1)
    text = tuner.plain(ready.source)
    assert "#define threads" not in text
    assert "#line" not in text
    assert 'extern "C" __global__' in text
    with pytest.raises(ValueError, match="no line"):
        tuner.plain(wait.source)
