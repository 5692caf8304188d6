"""Sweeps: which cases they make, in which order, and every way in which one can be malformed."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specforge.spec.document import Document
from specforge.spec.sweep import MAX_CASES, Frame, expand
from specforge.spec.workload import StepBenchmark


@pytest.fixture
def sweep(files):
    """Put another sweep into the workload, without exclusions, targets and narrowing; gives the cases' ids."""

    def put(text: str, bind: str = "{width: 64, dtype: bf16, flip: false}") -> None:
        workload = files.path("workload").read_text().partition("  scale:\n")[0]
        sweep = "".join(f"    {line}\n" for line in text.strip().splitlines())
        files.write("workload", f"{workload}  scale:\n    kernel: demo/scale\n    bind: {bind}\n{sweep}")
        files.write("spec", "specforge: 1\nspec: demo\ndevice: devices/card.yaml\nworkload: workloads/demo.yaml\n")

    return put


def ids(files) -> list[str]:
    return [case.id.removeprefix("scale") for case in files.load().benchmark("scale").cases]


# --- what they make ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cases"),
    [
        ("matrix: {rows: [3, 1, 2]}", ["[rows=3]", "[rows=1]", "[rows=2]"]),
        ("matrix: {rows: 7}", ["[rows=7]"]),
        ("matrix: {rows: 1..3}", ["[rows=1]", "[rows=2]", "[rows=3]"]),
        ("matrix: {rows: pow2(2..8)}", ["[rows=2]", "[rows=4]", "[rows=8]"]),
        ("cases: [{rows: 5}, {rows: 4}]", ["[rows=5]", "[rows=4]"]),
        ("matrix: {rows: [1]}\ncases: [{rows: 9}]", ["[rows=1]", "[rows=9]"]),
        ("zip: {rows: [1, 2]}", ["[rows=1]", "[rows=2]"]),
    ],
)
def test_one_axis(files, sweep, text, cases):
    sweep(text)
    assert ids(files) == cases


def test_the_last_axis_turns_fastest(files, sweep):
    sweep("matrix: {rows: [1, 2], flip: [true, false], dtype: [f32, bf16]}", "{width: 64}")
    assert ids(files) == [
        f"[rows={r},flip={f},dtype={d}]" for r in (1, 2) for f in ("true", "false") for d in ("f32", "bf16")
    ]


def test_zip_is_one_axis_of_the_product(files, sweep):
    sweep("matrix: {flip: [true, false]}\nzip: {rows: [1, 2], width: [32, 64]}", "{dtype: f32}")
    assert ids(files) == [f"[flip={f},rows={r},width={w}]" for f in ("true", "false") for r, w in ((1, 32), (2, 64))]


def test_explicit_rows_join_the_product(files, sweep):
    sweep("matrix: {rows: [1], width: [32, 64]}\ncases: [{width: 32, rows: 7}]", "{dtype: f32, flip: false}")
    assert ids(files) == ["[rows=1,width=32]", "[rows=1,width=64]", "[rows=7,width=32]"]


def test_no_sweep_is_one_case(files, sweep):
    sweep("summary: nothing varies", "{rows: 1, width: 32, dtype: f32, flip: false}")
    assert ids(files) == [""]
    assert files.load().benchmark("scale").cases[0].id == "scale"


def test_parameters_are_in_the_kernels_order(files, sweep):
    sweep("matrix: {flip: [true], rows: [1]}", "{dtype: f32, width: 32}")
    case = files.load().benchmark("scale").cases[0]
    assert list(case.parameters) == ["rows", "width", "dtype", "flip"]
    assert case.axes == ("flip", "rows")


def test_origins_are_exact(files, sweep):
    sweep(
        "matrix: {rows: pow2(16..32)}\nzip: {width: [32], flip: [true]}\ncases: [{rows: 3, width: 64, flip: false}]",
        "{dtype: f32}",
    )
    first, second, last = files.load().benchmark("scale").cases
    assert first.origins["rows"] == second.origins["rows"] == files.find("workload", "pow2(")
    assert first.origins["width"] == files.find("workload", "32], flip")
    assert last.origins == {
        "dtype": files.find("workload", "f32}"),
        "rows": files.find("workload", "3, width"),
        "width": files.find("workload", "64, flip"),
        "flip": files.find("workload", "false}"),
    }


@given(
    st.dictionaries(
        st.sampled_from("abcd"), st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True), max_size=4
    )
)
def test_a_product_has_every_combination_once(matrix):
    section = StepBenchmark.model_validate({"matrix": matrix, "step": [{"part": "x", "launches": "1", "bytes": "1"}]})
    document = Document(None, {}, {}, {(): (0, 0)}, {}, "")  # type: ignore[arg-type]  # positions are not looked at
    cases, excluded = expand(section, Frame("b", document, ("benchmarks", "b"), None, {}, {}))
    count = 1
    for values in matrix.values():
        count *= len(values)
    assert len(cases) == len({case.id for case in cases}) == count
    assert not excluded
    assert all(case.parameters[name] in matrix[name] for case in cases for name in matrix)


def test_exclusions_apply_in_order_and_say_why(files, sweep):
    sweep(
        'matrix: {rows: 1..6}\nexclude:\n  - {when: "rows > 4", reason: large}\n'
        '  - {when: "rows % 2 == 1", reason: odd}'
    )
    scale = files.load().benchmark("scale")
    assert ids(files) == ["[rows=2]", "[rows=4]"]
    assert [(item.id, item.reason) for item in scale.excluded] == [
        ("scale[rows=5]", "large"),
        ("scale[rows=6]", "large"),
        ("scale[rows=1]", "odd"),
        ("scale[rows=3]", "odd"),
    ]


def test_a_constraint_does_not_concern_what_is_excluded(files, sweep):
    sweep('matrix: {rows: [1, 1024]}\nexclude: [{when: "rows == 1024", reason: large}]')
    files.replace("kernel", "rows * width <= 65536", "rows <= 512")
    assert ids(files) == ["[rows=1]"]


# --- how they are malformed -------------------------------------------------------------------------------------------

ALL = "{width: 64, dtype: bf16, flip: false}"
WHEN = "matrix: {rows: [1]}\nexclude: [{when: "
MALFORMED = {
    "unequal zip": ("zip: {rows: [1, 2], width: [32]}", "{dtype: f32, flip: false}", "SF406", "zip: {rows"),
    "empty axis": ("matrix: {rows: []}", ALL, "SF406", "[]}"),
    "value twice on an axis": ("matrix: {rows: [1, 2, 1]}", ALL, "SF406", "[1, 2, 1]"),
    "a mapping as a value": ("matrix: {rows: [{a: 1}]}", ALL, "SF203", "[{a: 1}]"),
    "no axis at all": ("matrix: {rows: ~}", ALL, "SF203", "~}"),
    "downward range": ("matrix: {rows: 9..1}", ALL, "SF406", "9..1"),
    "odd power": ("matrix: {rows: pow2(1..9)}", ALL, "SF203", "pow2("),
    "too long a range": ("matrix: {rows: 1..20000}", ALL, "SF406", "1..20000"),
    "axis in matrix and zip": ("matrix: {rows: [1]}\nzip: {rows: [2]}", ALL, "SF404", "rows: [2]"),
    "bound and swept": ("matrix: {rows: [1], width: [32]}", ALL, "SF404", "width: [32]"),
    "bound and in a case": ("cases: [{rows: 1, width: 32}]", ALL, "SF404", "cases:"),
    "unbound": ("matrix: {rows: [1]}", "{width: 64, dtype: bf16}", "SF403", "scale:"),
    "unbound in one case": (
        "matrix: {rows: [1], width: [32]}\ncases: [{rows: 2}]",
        "{dtype: f32, flip: true}",
        "SF403",
        "scale:",
    ),
    "unknown parameter bound": ("matrix: {rows: [1]}", ALL.replace("}", ", wdth: 1}"), "SF404", "wdth"),
    "unknown parameter swept": ("matrix: {rows: [1], rws: [1]}", ALL, "SF404", "rws"),
    "outside a range": ("matrix: {rows: [1, 2000]}", ALL, "SF405", "2000]"),
    "outside a list": ("matrix: {rows: [1]}", ALL.replace("64", "48"), "SF405", "48"),
    "a float for a whole number": ("matrix: {rows: [1.0]}", ALL, "SF405", "1.0]"),
    "a float for a listed number": ("matrix: {rows: [1]}", ALL.replace("64", "64.0"), "SF405", "64.0"),
    "a number for truth": ("matrix: {rows: [1]}", ALL.replace("false", "0"), "SF405", "0}"),
    "truth for a number": ("matrix: {rows: [true]}", ALL, "SF405", "true]"),
    "a text for a number": ("matrix: {rows: ['1']}", ALL, "SF405", "'1'"),
    "an unknown type": ("matrix: {rows: [1]}", ALL.replace("bf16", "bf61"), "SF405", "bf61"),
    "a case twice": ("matrix: {rows: [1, 2]}\ncases: [{rows: 2}]", ALL, "SF406", "2}]"),
    "a constraint violated": ("matrix: {rows: [1024]}", ALL, "SF409", "scale:"),
    "an exclusion of nothing": (WHEN + '"rows > 5", reason: x}]', ALL, "SF407", '"rows > 5"'),
    "an exclusion of all": (WHEN + '"rows > 0", reason: x}]', ALL, "SF406", '"rows > 0"'),
    "an exclusion of what is not there": (WHEN + '"row > 5", reason: x}]', ALL, "SF303", "row > 5"),
    "an exclusion that is no condition": (WHEN + "rows, reason: x}]", ALL, "SF304", "rows, reason"),
    "an exclusion without a reason": (WHEN + '"rows > 0"}]', ALL, "SF202", '{when: "rows > 0"}'),
    "too many cases": (
        "matrix: {rows: 1..1024, width: [32, 64], dtype: [f32, bf16], flip: [false, true]}\n"
        f"cases: [{'{rows: 1},' * 1809}]",
        "{}",
        "SF412",
        "scale:",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(files, sweep, name):
    if name == "a constraint violated":
        files.replace("kernel", "rows * width <= 65536", "rows * width <= 1000")
    text, bind, code, at = MALFORMED[name]
    sweep(text, bind)
    fault = files.fault()
    assert fault.code == code, fault
    assert fault.position == files.find("workload", at)


def test_a_constraint_that_cannot_be_computed(files, sweep):
    sweep("matrix: {rows: [1]}")
    files.replace("kernel", "rows * width <= 65536", "rows // (width - 64) > 0")
    assert files.fault().code == "SF304"


def test_a_default_outside_its_own_domain(files, sweep):
    sweep("matrix: {rows: [1]}")
    files.replace("kernel", "clamp(device.multiprocessors // rows, 1, 8)", "device.multiprocessors")
    fault = files.fault()
    assert (fault.code, fault.position) == ("SF405", files.find("kernel", '"device.multiprocessors"'))
    assert "rows=1" in fault.message


def test_the_cases_of_a_step_bind_the_same_axes(files):
    files.replace("workload", "matrix: {context: [1, 100]}", "cases: [{context: 1}, {batch: 2}]")
    faults = files.faults()
    assert [fault.code for fault in faults] == ["SF403", "SF403"]
    assert faults[0].position == files.find("workload", "1}, {batch")


def test_narrowing_leaves_something_out_and_something_in(files):
    files.replace("spec", "rows != 1", "rows >= 1")
    fault = files.fault()
    assert (fault.code, fault.position) == ("SF407", files.find("spec", '"rows >= 1"'))
    files.replace("spec", "rows >= 1", "rows > 5000")
    fault = files.fault()
    assert (fault.code, fault.position) == ("SF406", files.find("spec", '"rows > 5000"'))
    files.replace("spec", "rows > 5000", "rwos > 5000")
    fault = files.fault()
    assert (fault.code, fault.position) == ("SF303", files.find("spec", "rwos"))


def test_several_faults_of_a_sweep_come_together(files, sweep):
    sweep("matrix: {rows: [0, 1, 2000]}", "{width: 48, dtype: f16, flip: false}")
    assert [(fault.code, fault.value) for fault in files.faults()] == [
        ("SF405", "0"),
        ("SF405", "48"),
        ("SF405", "f16"),
        ("SF405", "2000"),
    ]


def test_thousands_of_faults_are_told_in_time_and_not_all(files, sweep):
    sweep("matrix: {rows: 2000..11000}")
    start = time.process_time()
    assert len(files.faults()) == 20
    assert time.process_time() - start < 1


def test_the_largest_sweep_is_expanded_in_time(files, sweep):
    sweep("matrix: {rows: 1..1024, width: [32, 64], dtype: [f32, bf16], flip: [false, true]}", "{}")
    start = time.process_time()
    assert len(files.load().benchmark("scale").cases) == 8192 <= MAX_CASES
    assert time.process_time() - start < 5
