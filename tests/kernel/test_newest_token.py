"""flash_decode behind a launch that writes the newest token's row and the query, as in a step: both are waited for."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from specforge.backend.emulated import EmulatorRunner
from specforge.backend.emulator.compile import compile_host, find_host_compiler
from specforge.kernel.nvrtc import load_toolchain
from specforge.kernel.render import render
from specforge.roots import shipped
from specforge.spec.geometry import plan
from specforge.spec.interface import Kernel, load_kernel
from specforge.verify.example import Example, draw_inputs

IDENTITY = "attention/flash_decode"
PUT = """
extern "C" __global__ void put(const T* new_q, const KV* new_k, T* q, KV* k, const int* length, int places) {
  for (int i = threadIdx.x; i < {{ q_heads }} * HEAD_DIM; i += 32) q[i] = new_q[i];
  const int row = {{ kv_heads }} * HEAD_DIM;
  for (int i = threadIdx.x; i < row; i += 32) k[(long long)(length[0] - 1) * row + i] = new_k[i];
}
"""
OF_K = "kv_heads, head_dim], dtype: cache, role: in, values: [normal, wide, tiny, spiky, ties, constant]"
WAIT = "  if (last - lead + GANG_TILES * TILE >= tokens) grid_wait();\n"
BINDINGS = {"q_heads": 8, "kv_heads": 1, "head_dim": 64, "dtype": "f16", "cache": "f16"}
BINDINGS |= {"paged": False, "gated": False, "emit": False}
TUNABLES = {"warps": 4, "early": True}  # with `early` values, too, are loaded ahead of the wait


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Binaries of this module."""
    return tmp_path_factory.mktemp("binaries")


def behind_a_writer(folder: Path, removed: str = "") -> Kernel:
    """The kernel with one more launch ahead, and without a piece of its template."""
    own = folder / "kernels" / IDENTITY
    shutil.copytree(shipped() / "kernels" / IDENTITY, own)
    text = (own / "kernel.cu.j2").read_text()
    assert removed in text
    (own / "kernel.cu.j2").write_text(text.replace(removed, "") + PUT)
    declared = (own / "kernel.yaml").read_text()
    for old, new in {
        "  k:       {shape: [batch": "  new_q:   {shape: [batch, q_heads, head_dim], dtype: dtype, role: in}\n"
        "  new_k:   {shape: [batch, kv_heads, head_dim], dtype: cache, role: in}\n  k:       {shape: [batch",
        "dtype: dtype, role: in, values: [normal": "dtype: dtype, role: inout, values: [normal",
        f"{OF_K}, residency: cold}}\n  v:": "kv_heads, head_dim], dtype: cache, role: inout, residency: cold}\n  v:",
        "chain: {q: out}\n": "",
        "launches:\n": "launches:\n  - {entry: put, grid: [batch], block: ['32'],"
        " args: [new_q, new_k, q, k, length, 'ceil_div(context, 16)']}\n",
        "tolerance:\n": "tolerance:\n  q: exact\n  k: exact\n",
    }.items():
        assert declared.count(old) == 1, old
        declared = declared.replace(old, new)
    (own / "kernel.yaml").write_text(declared)
    return load_kernel(own / "kernel.yaml", IDENTITY, (folder, shipped()))


def outputs(kernel: Kernel, entries: list[str], context: int, cache_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    """What comes out behind the writer, and what does where its rows were there from the beginning."""
    library = compile_host(
        render(kernel, BINDINGS | TUNABLES).text,
        entries,
        include_dirs=[kernel.folder, *kernel.include_dirs],
        cuda_include_dirs=list(load_toolchain().include_dirs),
        cache_dir=cache_dir,
        compiler=find_host_compiler(),
    )
    parameters = {"batch": 1, "context": context, **BINDINGS}
    case = plan(kernel, parameters, {**TUNABLES, "splits": 1})
    inputs = draw_inputs(case, Example(parameters))
    there = inputs | {"q": inputs["new_q"], "k": inputs["k"].copy()}
    there["k"][0, context - 1] = inputs["new_k"][0]
    runner = EmulatorRunner()
    late, early = (runner.run(case, str(library), given).outputs["out"] for given in (inputs, there))
    return late, early


@pytest.mark.parametrize("context", [10, 100, 130])
def test_rows_of_the_launch_ahead_are_waited_for(tmp_path: Path, cache_dir: Path, context: int) -> None:
    late, early = outputs(behind_a_writer(tmp_path), ["put", "attend", "combine"], context, cache_dir)
    np.testing.assert_array_equal(late, early)


def test_a_missing_wait_is_seen(tmp_path: Path, cache_dir: Path) -> None:
    late, early = outputs(behind_a_writer(tmp_path, WAIT), ["put", "attend", "combine"], 10, cache_dir)
    assert (late != early).any()
