"""The device functions by which threads work together, on the emulator, bit for bit against numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specforge.backend.emulator.module import EmulationFault
from tests.backend.emulator.collective_models import COLLECTIVES

SOURCE = (Path(__file__).parent / "collectives.cu").read_text()
WRONG = """
#include "ldmatrix.cuh"
#include "mma.cuh"
#include "warp.cuh"
extern "C" __global__ void misaligned_row(unsigned* y) {
  __shared__ __align__(16) unsigned rows[40][4];
  unsigned words[1]; for (int i = 0; i < 4; ++i) rows[threadIdx.x][i] = i; __syncthreads();
  ldmatrix(words, &rows[threadIdx.x][threadIdx.x == 3 ? 1 : 0]);
}
extern "C" __global__ void global_row(unsigned* y) {
  unsigned words[4];
  ldmatrix(words, y + threadIdx.x * 4);
}
extern "C" __global__ void past_the_end(unsigned* y) {
  DYNAMIC_SHARED(unsigned, rows);
  unsigned words[2]; for (int i = 0; i < 4 && threadIdx.x < 15; ++i) rows[threadIdx.x * 4 + i] = i; __syncthreads();
  ldmatrix(words, rows + threadIdx.x * 4);
}
extern "C" __global__ void half_a_warp(unsigned* y) {
  int d[4] = {};
  const unsigned a[4] = {}, b[2] = {};
  if (threadIdx.x < 16) mma_m16n8k32<signed char, signed char>(d, a, b);
}
extern "C" __global__ void two_kinds(unsigned* y) {
  int d[4] = {};
  const unsigned a[4] = {}, b[2] = {};
  if (threadIdx.x < 16) mma_m16n8k32<signed char, signed char>(d, a, b);
  else mma_m16n8k32<signed char, unsigned char>(d, a, b);
}
extern "C" __global__ void sum_of_some(unsigned* y) {
  if (threadIdx.x < 16)
    y[0] = unsigned(warp_sum(1.0f));
}
"""


@pytest.fixture(scope="module")
def kernels(build):
    return build(SOURCE, list(COLLECTIVES))


@pytest.fixture(scope="module")
def wrong(build):
    names = ["misaligned_row", "global_row", "past_the_end", "half_a_warp", "two_kinds", "sum_of_some"]
    return build(WRONG, names)


def check(kernels, name: str, x: np.ndarray, schedule: int) -> None:
    collective = COLLECTIVES[name]
    y = np.full(collective.words_out, 0xDEADBEEF, np.uint32)
    kernels.launch(name, x, y, block=collective.threads, schedule=schedule)
    np.testing.assert_array_equal(y, collective.compute(x))


@pytest.mark.parametrize("schedule", [0, 1, 7])
@pytest.mark.parametrize("name", COLLECTIVES)
def test_drawn_words(kernels, name, schedule):
    collective = COLLECTIVES[name]
    check(kernels, name, collective.draw(np.random.default_rng(schedule), collective.words_in), schedule)


@pytest.mark.parametrize("name", COLLECTIVES)
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32), schedule=st.integers(0, 2**64 - 1))
def test_any_schedule(kernels, name, seed, schedule):
    collective = COLLECTIVES[name]
    check(kernels, name, collective.draw(np.random.default_rng(seed), collective.words_in), schedule)


@pytest.mark.parametrize(
    ("entry", "kind", "text"),
    [
        (
            "misaligned_row",
            "alignment",
            r"ldmatrix: lane 3's row is 4 bytes past a multiple of 16 \(.*kernel.cu.j2:8\)",
        ),
        ("global_row", "bounds", r"ldmatrix: lane 0's row lies not in shared memory, .*\(.*kernel.cu.j2:12\)"),
        ("past_the_end", "bounds", r"ldmatrix: lane 15's row lies not in shared memory, .*\(.*kernel.cu.j2:17\)"),
        ("half_a_warp", "shuffle", r"exits while lane 0 waits for it at mma_m16n8k32<s8, s8> .*kernel.cu.j2:22"),
        ("two_kinds", "shuffle", r"mma_m16n8k32<s8, u8> .* meets mma_m16n8k32<s8, s8> "),
        ("sum_of_some", "shuffle", r"exits while lane 0 waits for it at __shfl_xor_sync .*kernel.cu.j2:32"),
    ],
)
def test_misuse_is_named(wrong, entry, kind, text):
    with pytest.raises(EmulationFault, match=text) as caught:
        wrong.launch(entry, np.zeros(256, np.uint32), shared=15 * 16)
    assert caught.value.kind == kind
