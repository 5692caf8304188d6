"""parity.cuh's functions against float64: the error that its comment states, over the whole range."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specforge.backend.emulator.module import EmulatedModule
from tests.parity.conftest import INCLUDE

with np.errstate(all="ignore"):
    WANT = {
        "exp2f": np.exp2,
        "expf": np.exp,
        "exp10f": lambda x: np.power(10.0, x),
        "logf": np.log,
        "log2f": np.log2,
        "log10f": np.log10,
        "tanhf": np.tanh,
        "rsqrtf": lambda x: 1.0 / np.sqrt(x),
    }
HEADER = (INCLUDE / "parity.cuh").read_text()
STATED = {name: float(error) for name, error in re.findall(r"\b(\w+f) (\d\.\d\d)\b", HEADER.partition("#ifndef")[0])}
SOURCE = "\n".join(
    f'extern "C" __global__ void run_{name}(const float* x, float* y, int n) {{\n'
    f"  for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = {name}(x[i]);\n}}"
    for name in WANT
)


@pytest.fixture(scope="module")
def module(build) -> EmulatedModule:
    return build(SOURCE, [f"run_{name}" for name in WANT])


def ulps(got: np.ndarray, want: np.ndarray) -> np.ndarray:
    """|got - want| in units in the last place of want as f32; 0 where both are the same infinity or both NaN."""
    with np.errstate(all="ignore"):
        exponent = np.maximum(np.frexp(want)[1] - 24, -149)
        distance = np.abs(got.astype(np.float64) - want) / np.ldexp(1.0, exponent)
        end = np.isnan(got) & np.isnan(want) | np.isinf(got) & (np.sign(got) * want >= float(np.finfo(np.float32).max))
    return np.where(end, 0.0, np.nan_to_num(distance, nan=math.inf))


def worst(module, launch, name: str, x: np.ndarray) -> tuple[float, float]:
    """The largest error and where it is."""
    y = np.empty_like(x)
    launch(module, f"run_{name}", x, y, x.size)
    with np.errstate(all="ignore"):
        error = ulps(y, WANT[name](x.astype(np.float64)))
    place = int(np.argmax(error))
    return float(error[place]), float(x[place])


def test_the_header_states_them_all():
    assert set(STATED) == set(WANT)
    assert max(STATED.values()) <= 2, "kernels' tolerances count on two units"


@pytest.mark.parametrize("name", WANT)
def test_every_bit_pattern_sampled(module, launch, name):
    """Every 4,099th of all floats: subnormals, infinities, NaNs and both signs are among them."""
    x = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    error, place = worst(module, launch, name, x)
    assert error <= STATED[name], place
    assert error > 0.5, "a bound so far from what happens says nothing"


@settings(max_examples=300, deadline=None)
@given(x=st.lists(st.floats(width=32), min_size=1, max_size=64), name=st.sampled_from(sorted(WANT)))
def test_any_float(module, launch, x, name):
    error, place = worst(module, launch, name, np.array(x, np.float32))
    assert error <= STATED[name], place


@pytest.mark.parametrize(
    ("name", "x", "want"),
    [
        ("expf", 0.0, 1.0),
        ("exp2f", -149.0, 2.0**-149),
        ("exp2f", -150.0, 0.0),
        ("exp2f", 127.0, 2.0**127),
        ("exp2f", 128.0, math.inf),
        ("exp2f", -1e30, 0.0),
        ("expf", -math.inf, 0.0),
        ("logf", 1.0, 0.0),
        ("logf", 0.0, -math.inf),
        ("log2f", 2.0**-149, -149.0),
        ("log2f", 8.0, 3.0),
        ("tanhf", 20.0, 1.0),
        ("tanhf", -math.inf, -1.0),
        ("rsqrtf", 4.0, 0.5),
    ],
)
def test_what_is_exact(module, launch, name, x, want):
    y = np.empty(1, np.float32)
    launch(module, f"run_{name}", np.array([x], np.float32), y, 1)
    assert y[0] == want


def test_a_function_without_a_definition_does_not_compile(build):
    from specforge.backend.emulator.prebuilt import HostCompileError

    with pytest.raises(HostCompileError, match="specforge_parity_does_not_define_sinf"):
        build('extern "C" __global__ void wave(float* x) { x[0] = sinf(x[0]); }', ["wave"])
