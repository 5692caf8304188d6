from __future__ import annotations

from pathlib import Path

import pytest

from specforge.kernel.cubin import launch_bounds, loadable_bytes, read_sections
from specforge.kernel.nvrtc import compile_source
from specforge.kernel.resources import parse_resources

SOURCE = r"""
extern "C" __global__ void plain(float* a) { a[threadIdx.x] = 1; }

extern "C" __global__ void shared(float* a) {
  __shared__ float s[100];
  s[threadIdx.x] = a[threadIdx.x];
  __syncthreads();
  a[threadIdx.x] = s[99 - threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(96) stack(float* a, int n) {
  float local[64];
  for (int i = 0; i < 64; ++i) local[(i * n) % 64] = a[i];
  a[n] = local[n % 64];
}

extern "C" __global__ void __launch_bounds__(1024, 2) spill(const float* a, float* b) {
  float v[96];
#pragma unroll
  for (int i = 0; i < 96; ++i) v[i] = a[i * 1024 + threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 96; ++i) b[i * 1024 + threadIdx.x] = v[95 - i] * v[(i * 7) % 96];
}

__device__ __noinline__ float inner(float* a, int n) {
  float local[32];
  for (int i = 0; i < 32; ++i) local[i] = a[i];
  return local[n];
}

extern "C" __global__ void calls(float* a, int n) { a[n] = inner(a, n) + inner(a + 1, n); }
"""


@pytest.fixture(scope="module")
def compiled():
    return compile_source(SOURCE, Path("source.cu"), "sm_90", ())


@pytest.fixture(scope="module")
def resources(compiled):
    return parse_resources(compiled.log, launch_bounds(compiled.cubin))


def test_every_entry_is_reported(resources):
    assert set(resources) == {"plain", "shared", "stack", "spill", "calls"}


def test_shared_memory_and_barriers(resources):
    assert (resources["shared"].static_shared_bytes, resources["shared"].barriers) == (400, 1)
    assert (resources["plain"].static_shared_bytes, resources["plain"].barriers) == (0, 0)


def test_a_local_array_is_stack_and_no_spill(resources):
    assert (resources["stack"].stack_bytes, resources["stack"].spill_bytes) == (256, 0)


def test_too_many_values_spill(resources):
    assert resources["spill"].spill_bytes > 0
    assert resources["spill"].registers <= 32


def test_what_an_entry_calls_counts_toward_it(resources):
    assert resources["calls"].stack_bytes >= 128


def test_launch_bounds_come_from_the_cubin(resources):
    assert {name: taken.max_threads for name, taken in resources.items()} == {
        "plain": None, "shared": None, "stack": 96, "spill": 1024, "calls": None,
    }  # fmt: skip


def test_debug_sections_do_not_count(compiled):
    names = {section.name for section in read_sections(compiled.cubin)}
    assert {".text.plain", ".debug_frame"} <= names
    kept = sum(len(section.content) for section in read_sections(compiled.cubin) if "debug" not in section.name)
    assert kept < loadable_bytes(compiled.cubin) < len(compiled.cubin)


@pytest.mark.parametrize(
    "damage", [lambda c: b"", lambda c: b"not an elf", lambda c: c[:64], lambda c: c[:40] + b"\xff" * 24 + c[64:]]
)
def test_what_is_no_cubin_is_refused(compiled, damage):
    with pytest.raises(ValueError, match="ELF"):
        read_sections(damage(compiled.cubin))


def test_a_log_without_a_report_has_no_entries():
    assert parse_resources("warning: nothing\nptxas info    : 0 bytes gmem\n", {}) == {}


LOG = """\
ptxas info    : Compiling entry function 'f' for 'sm_120'
ptxas info    : Function properties for f
ptxas         .     8 bytes stack frame, 12 bytes spill stores, 20 bytes spill loads
ptxas info    : Used 16 registers, used 2 barriers, 8 bytes cumulative stack size, 128 bytes smem, 4 bytes cmem[2]
ptxas info    : Compile time = 3.9 ms
"""


def test_the_report_is_read_number_by_number():
    taken = parse_resources(LOG, {"f": 64})["f"]
    assert (
        taken.registers,
        taken.spill_bytes,
        taken.stack_bytes,
        taken.static_shared_bytes,
        taken.barriers,
        taken.max_threads,
    ) == (16, 32, 8, 128, 2, 64)
