from __future__ import annotations

import itertools
import shutil
import subprocess

import pytest

from specforge.kernel.nvrtc import load_toolchain
from specforge.kernel.occupancy import check_launches, occupancy
from specforge.kernel.resources import EntryResources
from specforge.roots import shipped
from specforge.spec.device import DeviceFile
from specforge.spec.document import load_document
from specforge.spec.fields import validate
from specforge.spec.geometry import LaunchPlan, plan

COMPILER = shutil.which("g++") or shutil.which("clang++")
DEVICES = ["h100_sxm", "rtx5090", "rtx4090", "jetson_thor", "rtx_spark"]

JUDGE = r"""
#include <cstdio>
#include <climits>
#include <cuda_occupancy.h>
int main(int, char** argv) {
  cudaOccDeviceProp p;
  int major, minor, registers, shared, barriers, dynamic, block;
  unsigned long long regs, sm, per_block; int warps, sms;
  sscanf(argv[1], "%d.%d %d %llu %llu %llu %d", &major, &minor, &warps, &regs, &sm, &per_block, &sms);
  p.computeMajor = major; p.computeMinor = minor;
  p.maxThreadsPerBlock = 1024; p.maxThreadsPerMultiprocessor = warps * 32;
  p.regsPerBlock = p.regsPerMultiprocessor = regs; p.warpSize = 32;
  p.sharedMemPerBlock = 48 * 1024; p.sharedMemPerMultiprocessor = sm; p.numSms = sms;
  p.sharedMemPerBlockOptin = per_block; p.reservedSharedMemPerBlock = 1024;
  cudaOccDeviceState state;
  while (scanf("%d %d %d %d %d", &registers, &shared, &barriers, &dynamic, &block) == 5) {
    cudaOccFuncAttributes a;
    a.maxThreadsPerBlock = 1024; a.numRegs = registers; a.sharedSizeBytes = shared;
    a.partitionedGCConfig = PARTITIONED_GC_OFF; a.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    a.maxDynamicSharedSizeBytes = dynamic; a.numBlockBarriers = barriers; a.virtualResourceCount = 0;
    cudaOccResult r;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&r, &p, &a, &state, block, dynamic)) return 1;
    printf("%d\n", r.activeBlocksPerMultiprocessor);
  }
}
"""


def device_file(name):
    return validate(load_document(shipped() / "specs" / "devices" / f"{name}.yaml"), DeviceFile)


def launch(block, shared=0, grid=(1, 1, 1)):
    return LaunchPlan("f", grid, block if isinstance(block, tuple) else (block, 1, 1), shared, ())


def taken(registers, shared=0, barriers=1, most=None):
    return EntryResources(registers, 0, 0, shared, barriers, most)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    (folder / "judge.cpp").write_text(JUDGE)
    includes = [f"-I{path}" for path in load_toolchain().include_dirs]
    subprocess.run([COMPILER, "-O1", "-w", *includes, "judge.cpp", "-o", "judge"], cwd=folder, check=True)
    return folder / "judge"


@pytest.mark.skipif(COMPILER is None, reason="needs a host C++ compiler for NVIDIA's own header")
@pytest.mark.parametrize("name", DEVICES)
def test_the_header_of_nvidia_agrees_on_a_grid(judge, name):
    device = device_file(name)
    facts = device.facts
    registers = (0, 1, 8, 16, 17, 31, 32, 33, 40, 48, 63, 64, 65, 80, 96, 127, 128, 129, 168, 255)
    shared, dynamic = (0, 1, 128, 5000, 20992, 49152), (0, 4096, 30000, 51200, 100000, 101376, 116736, 232448)
    blocks = (1, 32, 33, 64, 96, 128, 192, 256, 320, 384, 512, 768, 1000, 1024)
    points = list(itertools.product(registers, shared, (0, 1, 2, 16), dynamic, blocks))[::7]
    numbers = (
        facts.warps_per_multiprocessor.value,
        facts.registers_per_multiprocessor.value,
        int(facts.shared_per_multiprocessor.value),
        int(facts.shared_per_block.value),
        facts.multiprocessors.value,
    )
    properties = " ".join(map(str, (device.match.compute_capability, *numbers)))
    asked = "\n".join(" ".join(map(str, point)) for point in points)
    said = subprocess.run([judge, properties], input=asked, capture_output=True, text=True, check=True).stdout.split()
    ours = [
        occupancy(taken(regs, static, barriers), launch(block, extra), device).blocks
        for regs, static, barriers, extra, block in points
    ]
    wrong = [(point, int(his), mine) for point, his, mine in zip(points, said, ours, strict=True) if int(his) != mine]
    assert wrong == []
    assert len(set(ours)) > 10


@pytest.mark.parametrize(
    ("registers", "shared", "block", "blocks", "share", "limit"),
    [
        (32, 0, 1024, 2, 1.0, "warps"),
        (255, 20992, 256, 1, 0.125, "registers"),
        (64, 0, 256, 4, 0.5, "registers"),
        (16, 0, 32, 32, 0.5, "blocks"),
        (16, 100_000, 256, 2, 0.25, "shared memory"),
    ],
)
def test_known_values_of_an_h100(*, registers, shared, block, blocks, share, limit):
    found = occupancy(taken(registers), launch(block, shared), device_file("h100_sxm"))
    assert (found.blocks, found.share) == (blocks, share)
    assert limit in found.limited_by


def test_a_block_counts_all_its_axes():
    device = device_file("h100_sxm")
    assert occupancy(taken(32), launch((16, 8, 2)), device) == occupancy(taken(32), launch(256), device)


@pytest.mark.parametrize(
    ("launched", "resources", "key", "message"),
    [
        (launch((1025, 1, 1)), taken(16), "block", "at most 1024 threads"),
        (launch((8, 1, 128)), taken(16), "block", "1024x1024x64"),
        (launch(256), taken(16, most=128), "block", "__launch_bounds__"),
        (launch(1024), taken(128), "block", "128 registers each"),
        (launch(32, grid=(1, 65536, 1)), taken(16), "grid", "65535"),
        (launch(32, shared=102_400), taken(16), "shared_bytes", "101376 bytes"),
        (launch(32, shared=100_000), taken(16, shared=4096), "shared_bytes", "101376 bytes"),
        (launch(32, shared=-1), taken(16), "shared_bytes", "101376 bytes"),
        (launch(1024, shared=101_376, grid=(2**31 - 1, 65535, 65535)), taken(64, most=1024), None, None),
    ],
)
def test_what_the_card_would_refuse_is_said_beforehand(make_kernel, launched, resources, key, message):
    import dataclasses

    kernel = make_kernel()
    planned = plan(kernel, {"count": 12, "factor": 2, "dtype": "f32"}, {"threads": 32})
    found = check_launches(
        kernel, dataclasses.replace(planned, launches=(launched,)), {"f": resources}, device_file("rtx5090")
    )
    if key is None:
        assert found == []
        return
    (one,) = found
    assert (one.code, one.position) == ("SF508", kernel.document.at(("launches", 0, key)))
    assert message in one.message
