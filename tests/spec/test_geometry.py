"""The plan of a case: shapes, launches, work and tolerances as plain numbers."""

from __future__ import annotations

import math
import pickle

import pytest

from specforge.diagnostics import SpecForgeError
from specforge.spec.bounds import Bounds
from specforge.spec.geometry import Tolerance, plan, resolve_tunables
from specforge.spec.load import load_spec

PARAMETERS = {"rows": 5, "width": 64, "dtype": "bf16", "flip": True}
TUNABLES = {"splits": 3, "warps": 8}


def test_a_plan_in_full(files):
    found = plan(files.kernel(), PARAMETERS, TUNABLES)
    assert (found.kernel, found.parameters, found.tunables) == ("demo/scale", PARAMETERS, TUNABLES)
    assert found.reference == str(files.path("kernels/demo/scale/reference.py"))
    assert [(item.name, item.shape, item.dtype, item.role, item.nbytes) for item in found.buffers] == [
        ("x", (5, 64), "bf16", "in", 640),
        ("partial", (5, 3, 2), "f32", "scratch", 120),
        ("out", (5, 64), "bf16", "out", 640),
        ("best", (5,), "i32", "out", 20),
    ]
    assert [(item.entry, item.grid, item.block, item.shared_bytes, item.args) for item in found.launches] == [
        ("find", (5, 3, 1), (256, 1, 1), 32, ("x", "partial", 5)),
        ("apply", (5, 1, 1), (64, 2, 1), 0, ("x", "partial", "out", "best", 2.0, 3)),
    ]
    assert (found.bytes, found.flops, found.steps) == (2 * 2 * 5 * 64, 2 * 5 * 64, 5 * 64 * 3)
    assert found.tolerances == {
        "out": Tolerance(exact=False, relative=2 * 2**-8, conditioned=64 * 2**-24, absolute=0.0),
        "best": Tolerance(exact=True),
    }


def test_scalars_keep_their_kind(files):
    args = plan(files.kernel(), PARAMETERS, TUNABLES).launches[1].args
    assert [type(argument) for argument in args] == [str, str, str, str, float, int]


def test_rows_of_an_output_are_all_axes_but_the_last_unless_said(files):
    found = plan(files.kernel(), PARAMETERS, TUNABLES)
    assert found.buffer("out").rows == (0,)
    assert found.buffer("best").rows == (0,)
    assert found.buffer("partial").rows == (0, 1)


def test_a_buffer_knows_its_element(files):
    found = plan(files.kernel(), PARAMETERS, TUNABLES)
    assert found.buffer("x").element.ctype == "__nv_bfloat16"
    assert found.buffer("x").values == ("normal", "ties")
    assert found.buffer("x").residency == "cold"


def test_a_plan_crosses_processes(files):
    found = plan(files.kernel(), PARAMETERS, TUNABLES)
    assert pickle.loads(pickle.dumps(found)) == found


# --- tunables ---------------------------------------------------------------------------------------------------------


def test_tunables_follow_parameters_and_card(files):
    kernel, device = files.kernel(), {"device.multiprocessors": 100}
    assert resolve_tunables(kernel, {**PARAMETERS, "rows": 20}, device) == {"splits": 5, "warps": 8}
    assert resolve_tunables(kernel, {**PARAMETERS, "rows": 1000, "width": 32}, device) == {"splits": 1, "warps": 4}


def test_a_default_of_a_fact_that_this_card_lacks(files):
    files.replace("kernel", "device.multiprocessors // rows", "device.fp4_rate // rows")
    kernel = files.kernel()
    with pytest.raises(SpecForgeError) as caught:
        resolve_tunables(kernel, PARAMETERS, {"device.multiprocessors": 100})
    (fault,) = caught.value.diagnostics
    assert (fault.code, fault.position) == ("SF303", files.find("kernel", "device.fp4_rate"))


# --- what cannot be planned -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "at"),
    [
        ("[rows, splits, 2]", "[rows, splits - 3, 2]", "splits - 3"),
        ("[rows, splits, 2]", '[rows, "splits // (rows - 5)", 2]', "splits // (rows"),
        ("[rows, splits, 2]", "[rows, rows / 2, 2]", "rows / 2,"),
        ("[rows, splits, 2]", "[rows, dtype, 2]", "dtype, 2"),
        ("[rows, splits, 2]", "[rows, flip, 2]", "flip, 2"),
        ("grid: [rows, splits]", "grid: [rows, 0]", "0], block"),
        ('block: ["32 * warps"]', 'block: ["0 - warps"]', '"0 - warps"'),
        ('"4 * warps"', '"0 - warps"', '"0 - warps"'),
        ('"4 * warps"', '"warps / 3"', "warps / 3"),
        ('"rows / 2.5"', "flip", "flip, splits"),
        ('"rows / 2.5"', "dtype", "dtype, splits"),
        ('"2 * sizeof(dtype) * rows * width"', '"0 - rows"', '"0 - rows"'),
        ('flops: "2 * rows * width"', 'flops: "rows // 0"', "rows // 0"),
        ('"rows * width * splits"', '"10 ** (rows * 20)"', "10 ** (rows"),
        ('"2 * roundoff(dtype)"', '"0 - roundoff(dtype)"', '"0 - roundoff(dtype)"'),
        ('"width * roundoff(f32)"', '"roundoff(width)"', "roundoff(width)"),
    ],
)  # fmt: skip
def test_a_fault_is_found_at_its_expression(files, old, new, at):
    files.replace("kernel", old, new)
    kernel = files.kernel()
    with pytest.raises(SpecForgeError) as caught:
        plan(kernel, PARAMETERS, TUNABLES)
    (fault,) = caught.value.diagnostics
    assert fault.code == "SF304"
    where = files.find("kernel", at)
    if at.startswith('"'):
        assert fault.position == where  # the value as a whole
    else:
        assert (fault.position.file, fault.position.line) == (where.file, where.line)
        assert where.column <= fault.position.column < where.column + len(at)


# --- the shipped kernels ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["qwen35_h100", "qwen35_rtx5090"])
def test_every_shipped_case_can_be_planned(path, project):
    spec = load_spec(project / "specs" / f"{path}.yaml")
    planned = 0
    for benchmark in spec.benchmarks:
        for case in benchmark.cases:
            if case.kernel is None:
                continue
            found = plan(case.kernel, case.parameters, case.tunables)
            planned += 1
            moved = [2 * buffer.nbytes if buffer.role == "inout" else buffer.nbytes for buffer in found.buffers]
            most = sum(size for size, buffer in zip(moved, found.buffers, strict=True) if buffer.role != "scratch")
            # The work model counts the bytes of inputs and outputs once each, those updated in place twice, at most.
            assert 0 < found.bytes <= most * (1 + 1e-12)
            assert found.bytes == pytest.approx(most, rel=1e-12) or case.kernel.identity != "moe/router_topk"
            assert found.flops > 0
            assert all(math.prod(launch.block) <= 1024 for launch in found.launches)
            assert all(max(launch.grid[1:]) <= 65535 for launch in found.launches)
            for buffer in found.buffers:
                if buffer.role == "out" and buffer.element.is_float and not found.tolerances[buffer.name].exact:
                    allowed = found.tolerances[buffer.name]
                    assert 0 < allowed.relative + allowed.conditioned < 1e-2
    assert planned > 10


# --- blocks and ranges ------------------------------------------------------------------------------------------------


def test_blocks_count_elements_and_hold_bytes(files):
    files.replace(
        "kernel", "{shape: [rows, width], dtype: dtype, role: in", "{shape: [rows, width], dtype: q8_0, role: in"
    )
    x = plan(files.kernel(), PARAMETERS, TUNABLES).buffer("x")
    assert (x.shape, x.stored_shape, x.nbytes) == ((5, 64), (5, 68), 5 * 68)


def test_an_axis_that_is_no_whole_number_of_blocks(files):
    files.replace(
        "kernel", "{shape: [rows, width], dtype: dtype, role: in", "{shape: [rows, width], dtype: q4_k, role: in"
    )
    with pytest.raises(
        SpecForgeError, match="64 elements are no whole number of q4_k's blocks of 256 for rows=5"
    ) as caught:
        plan(files.kernel(), PARAMETERS, TUNABLES)
    (fault,) = caught.value.diagnostics
    assert fault.code == "SF304"
    assert fault.position == files.find("kernel", "width], dtype: q4_k")


def test_ranges_in_numbers(files):
    files.replace("kernel", "[normal, ties]", '[normal, {between: [-1, "rows / 2"]}]')
    found = plan(files.kernel(), PARAMETERS, TUNABLES).buffer("x")
    assert found.values == ("normal", "between")
    assert found.ranges == {"between": Bounds("between", -1, 2.5)}


@pytest.mark.parametrize(
    ("dtype", "values", "at", "words"),
    [
        ("i32", '{between: ["rows", 4]}', 'rows", 4', "x has no value between 5 and 4 for rows=5, width=64"),
        ("i32", '[normal, {distinct: "width - 1"}]', "width - 1", "x takes 64 distinct values, and there are 63"),
        (
            "i32",
            '{permutation: "width * rows - splits"}',
            "width * rows - ",
            "takes 320 distinct values, and there are 317",
        ),
        ("i32", '{between: [0, "rows / 2"]}', 'rows / 2"]', "a whole number is due"),
        ("i8", "{between: [0, 128]}", "0, 128", "i8 does not hold every value of x between 0 and 128"),
        ("u8", "{between: [-1, 12]}", "-1, 12", "u8 does not hold every value"),
        ("u8", "{distinct: 257}", "257", "u8 does not hold every value"),
        ("f16", "{between: [0, 70000]}", "0, 70000", "f16 does not hold every value"),
        ("f32", '{between: [0, "1 / (rows - 5)"]}', "/ (rows - 5)", "division by zero"),
    ],
)
def test_ranges_that_a_case_cannot_have(files, dtype, values, at, words):
    files.replace(
        "kernel", "dtype: dtype, role: in, values: [normal, ties]", f"dtype: {dtype}, role: in, values: {values}"
    )
    with pytest.raises(SpecForgeError) as caught:
        plan(files.kernel(), PARAMETERS, TUNABLES)
    (fault,) = caught.value.diagnostics
    assert fault.code == "SF304"
    assert words in fault.message
    line = files.path("kernel").read_text().splitlines()[fault.position.line - 1]
    assert line[fault.position.column - 1 :].lstrip('"').startswith(at) or "division" in words, line[
        fault.position.column - 1 :
    ]
