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


def emulated(kernel, cache_dir) -> str:
    library = compile_host(
        render(kernel, BINDINGS).text,
        ["multiply", "narrow"],
        include_dirs=list(kernel.include_dirs),
        cuda_include_dirs=list(load_toolchain().include_dirs),
        cache_dir=cache_dir,
        compiler=find_host_compiler(),
    )
    return str(library)


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


CHAIN = "work: {bytes"
PARTIAL = {"tolerance:\n": "tolerance:\n  partial: exact\n"}


def chained(texts, chain: str = "{x: y}") -> str:
    """Both launches dependent, and y the next group's x."""
    yaml = declared(texts).replace("{entry: multiply,", "{entry: multiply, dependent: true,")
    return yaml.replace(CHAIN, f"chain: {chain}\n{CHAIN}")


def waiting_both(texts, x: str = "const T* x") -> str:
    body = "  int i = blockIdx.x * blockDim.x + threadIdx.x;\n  if (i < count) partial"
    assert body in texts["template"]
    template = waiting(texts).replace(body, "  grid_wait();\n" + body).replace("const T* __restrict__ x", x)
    return template.replace("float* __restrict__ partial", "float* partial")


def test_a_chain_agrees(make_kernel, texts):
    kernel = make_kernel(yaml=chained(texts), template=waiting_both(texts))
    assert check(kernel) == []
    assert planned(kernel).chain == {"x": "y"}
    assert [launch.dependent for launch in planned(kernel).launches] == [True, True]


def test_what_the_group_ahead_wrote_is_not_taken_for_unchanging(make_kernel, texts):
    (found,) = check(make_kernel(yaml=chained(texts), template=waiting_both(texts, "const T* __restrict__ x")))
    assert found.code == "SF504"
    assert "'x' may be read before grid_wait()" in found.message


def test_the_emulator_runs_one_group_of_a_chain(make_kernel, texts, tmp_path):
    kernel = make_kernel(yaml=chained(texts), template=waiting_both(texts))
    x = np.linspace(-3, 3, 100, dtype=np.float32)
    y = EmulatorRunner().run(planned(kernel), emulated(kernel, tmp_path), {"x": x}).outputs["y"]
    np.testing.assert_array_equal(y, 2 * x)


@pytest.mark.parametrize(
    ("change", "code", "message", "spot"),
    [
        ({"{x: y}": "{z: y}"}, "SF201", "'z' is no input", "z: y"),
        ({"{x: y}": "{x: partial}"}, "SF201", "'partial' is no output", "partial}"),
        ({"role: scratch": "role: inout", "{x: y}": "{x: partial}", **PARTIAL}, "SF206", "no link", "partial}"),
        ({"y: {shape: [count], dtype": "y: {shape: [2], dtype"}, "SF504", "another shape", "y}\nwork"),
        ({"y: {shape: [count], dtype: dtype": "y: {shape: [count], dtype: f32"}, "SF504", "another dtype", "y}\nwork"),
        ({"{entry: multiply, dependent: true,": "{entry: multiply,"}, "SF206", "the first launch is a", "{entry: mult"),
    ],
)
def test_a_chain_that_cannot_be(make_kernel, texts, change, code, message, spot):
    yaml = chained(texts)
    for old, new in change.items():
        assert old in yaml
        yaml = yaml.replace(old, new)
    with pytest.raises(SpecForgeError) as caught:
        make_kernel(yaml=yaml, template=waiting_both(texts))
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert message in found.message
    assert found.position is not None
    assert yaml.splitlines()[found.position.line - 1][found.position.column - 1 :].startswith(spot.split("\n")[0])


def test_an_output_takes_one_place(make_kernel, texts):
    yaml = chained(texts, "{x: y, w: y}").replace(
        "  partial: {", "  w: {shape: [count], dtype: dtype, role: in}\n  partial: {"
    )
    with pytest.raises(SpecForgeError, match="takes the place of two inputs"):
        make_kernel(yaml=yaml, template=waiting_both(texts))


@pytest.mark.parametrize("waits", [True, False])
def test_the_emulator_runs_the_dependent_launch_first(make_kernel, texts, tmp_path, waits):
    template = waiting(texts) if waits else texts["template"]
    kernel = make_kernel(yaml=declared(texts), template=template)
    x = np.linspace(-3, 3, 100, dtype=np.float32)
    y = EmulatorRunner().run(planned(kernel), emulated(kernel, tmp_path), {"x": x}).outputs["y"]
    if waits:
        np.testing.assert_array_equal(y, 2 * x)
    else:
        assert np.isnan(y).all()
