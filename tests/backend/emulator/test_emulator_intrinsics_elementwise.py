"""The elementwise device functions of kernels/include on the emulator, bit for bit against numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from tests.backend.emulator.intrinsic_models import MODELS, draw, expected

SOURCE = (Path(__file__).parent / "intrinsics.cu").read_text()


@pytest.fixture(scope="module")
def kernels(build):
    return build(SOURCE, [f"run_{name}" for name in MODELS])


def run(kernels, name: str, x: np.ndarray) -> np.ndarray:
    model = MODELS[name]
    x = np.require(x, np.uint32, ["C"])
    y = np.full((len(x), model.words_out), 0xDEADBEEF, np.uint32)
    kernels.launch(f"run_{name}", x, y, len(x), grid=-(-len(x) // 64), block=64)
    return model.canonical(y)


@pytest.mark.parametrize("name", MODELS)
def test_drawn_words(kernels, name):
    x = draw(MODELS[name], 4000, 1)
    np.testing.assert_array_equal(run(kernels, name, x), expected(MODELS[name], x))


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=10)
@given(data=st.data())
def test_any_words(kernels, name, data):
    model = MODELS[name]
    size = data.draw(st.integers(1, 5))
    x = data.draw(npst.arrays(np.uint32, (size, model.words_in), elements=st.integers(0, 2**32 - 1)))
    np.testing.assert_array_equal(run(kernels, name, x), expected(model, x))


@pytest.mark.parametrize("name", ["unpack_u8_f16", "unpack_s8_f16", "unpack_u8", "unpack_s8", "unpack_u4_f16"])
def test_every_byte_pair(kernels, name):
    x = (np.arange(2**16, dtype=np.uint32) * 0x10001)[:, None]
    np.testing.assert_array_equal(run(kernels, name, x), expected(MODELS[name], x))


@pytest.mark.parametrize("name", ["unpack_half", "unpack_f16", "unpack_bf16"])
def test_every_half(kernels, name):
    x = np.arange(2**16, dtype=np.uint32)[:, None]
    np.testing.assert_array_equal(run(kernels, name, x), expected(MODELS[name], x))


def test_ties_go_to_even(kernels):
    x = np.array([[0.5, 1.5, 2.5, -0.5], [-1.5, 126.5, 127.5, -128.5]], np.float32).view(np.uint32)
    assert run(kernels, "pack_s8", x).view(np.int8).tolist() == [[0, 2, 2, 0], [-2, 126, 127, -128]]


@pytest.mark.parametrize("name", MODELS)
def test_a_wrong_model_is_noticed(name):
    x = draw(MODELS[name], 4000, 2)
    want = expected(MODELS[name], x)
    assert (expected(MODELS[name], x ^ np.uint32(0x00010001)) != want).any()
