"""Dependent launches: declared, waited for, run in the order that a card may choose."""

from __future__ import annotations

import numpy as np
import pytest

from specforge.backend.emulated import EmulatorRunner
from specforge.backend.emulator.compile import compile_host, find_host_compiler
from specforge.diagnostics import SpecForgeError
from specforge.kernel.agreement import check_agreement
from specforge.kernel.nvrtc import load_toolchain
from specforge.kernel.render import render
from specforge.spec.geometry import plan

BINDINGS = {"factor": 2, "dtype": "f32", "threads": 32}
INCLUDE = '#include "dependent.cuh"\n'


def declared(texts) -> str:
    return texts["yaml"].replace("{entry: narrow,", "{entry: narrow, dependent: true,")


def waiting(texts) -> str:
    """The template whose second entry waits."""
    body = "  int i = blockIdx.x * blockDim.x + threadIdx.x;\n  if (i < count) y"
    assert body in texts["template"]
    return INCLUDE + texts["template"].replace(body, "  grid_wait();\n" + body)


def planned(kernel, count: int = 100):
    return plan(kernel, {"count": count, "factor": 2, "dtype": "f32"}, {"threads": 32})


def check(kernel):
    return check_agreement(kernel, render(kernel, BINDINGS), planned(kernel))


def test_a_launch_that_waits_agrees(make_kernel, texts):
    kernel = make_kernel(yaml=declared(texts), template=waiting(texts))
    assert check(kernel) == []
    assert [launch.dependent for launch in planned(kernel).launches] == [False, True]


@pytest.mark.parametrize("wait", ["", "  // grid_wait();\n"])
def test_nothing_waits(make_kernel, texts, wait):
    kernel = make_kernel(yaml=declared(texts), template=waiting(texts).replace("  grid_wait();\n", wait))
    (found,) = check(kernel)
    assert found.code == "SF504"
    assert "'narrow' is dependent, and nothing waits" in found.message
    assert found.position.file == kernel.document.path


def test_what_is_waited_for_is_not_taken_for_unchanging(make_kernel, texts):
    template = waiting(texts).replace("const float* partial, T*", "const float* __restrict__ partial, T*")
    (found,) = check(make_kernel(yaml=declared(texts), template=template))
    assert found.code == "SF504"
    assert "'partial' may be read before grid_wait()" in found.message


def test_the_first_launch_depends_on_nothing(make_kernel, texts):
    with pytest.raises(SpecForgeError, match="SF206"):
        make_kernel(yaml=texts["yaml"].replace("{entry: multiply,", "{entry: multiply, dependent: true,"))


@pytest.mark.parametrize("waits", [True, False])
def test_the_emulator_runs_the_dependent_launch_first(make_kernel, texts, tmp_path, waits):
    template = waiting(texts) if waits else texts["template"]
    kernel = make_kernel(yaml=declared(texts), template=template)
    library = compile_host(
        render(kernel, BINDINGS).text,
        ["multiply", "narrow"],
        include_dirs=list(kernel.include_dirs),
        cuda_include_dirs=list(load_toolchain().include_dirs),
        cache_dir=tmp_path,
        compiler=find_host_compiler(),
    )
    x = np.linspace(-3, 3, 100, dtype=np.float32)
    y = EmulatorRunner().run(planned(kernel), str(library), {"x": x}).outputs["y"]
    if waits:
        np.testing.assert_array_equal(y, 2 * x)
    else:
        assert np.isnan(y).all()
