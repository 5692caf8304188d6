"""The device functions' PTX: NVRTC and ptxas take every one of them for every architecture that SpecForge names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from specforge.kernel.nvrtc import compile_source, load_toolchain

HERE = Path(__file__).parent
INCLUDE = HERE.parents[2] / "kernels" / "include"
SOURCES = ["mma.cu", "intrinsics.cu", "collectives.cu", "dependent.cu", "cluster.cu"]
ARCHITECTURES = ["sm_80", "sm_89", "sm_90a", "sm_100a", "sm_110", "sm_120", "sm_121"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("source", SOURCES)
def test_it_assembles(source, architecture):
    assert int(re.findall(r"\d+", architecture)[0]) in load_toolchain().architectures
    path = HERE / source
    done = compile_source('#include "specforge.cuh"\n' + path.read_text(), path, architecture, (INCLUDE,))
    assert done.cubin is not None, done.log
    assert "warning" not in done.log
    assert not re.search(r"[1-9]\d* bytes spill", done.log)


def test_every_function_is_tested_and_documented():
    """Each device function of the headers occurs in a source that is compiled and run here, and in the docs."""
    table = (HERE.parents[2] / "docs" / "intrinsics.md").read_text()
    text = "\n".join((HERE / source).read_text() for source in [*SOURCES, "intrinsic_faults.cu"])
    missing = []
    for header in sorted(INCLUDE.glob("*.cuh")):
        if header.name in ("specforge.cuh", "parity.cuh"):
            continue
        code = header.read_text()
        names = set(re.findall(r"__device__ __forceinline__ [\w<> ]+?[ &*](\w+)(?:<[\w ,]+>)?\(", code))
        names |= set(re.findall(r"SPECFORGE_DOT\((dp4a_\w+),", code))
        assert names, header
        missing += [f"{header.name}: {name}" for name in names - {"NAME"} if not re.search(rf"\b{name}\b", text)]
        short = [name for name in names - {"NAME"} if not re.search(rf"\b{name}\b|`_{name[5:]}`", table)]
        assert not short, f"docs/intrinsics.md lacks {short}"
    assert not missing


def test_a_wrong_instruction_is_refused():
    source = 'extern "C" __global__ void wrong(int* y) { asm("dp4a.s32.s32 %0, 1, 2;" : "=r"(y[0])); }'
    assert compile_source(source, HERE / "wrong.cu", "sm_90", (INCLUDE,)).cubin is None
