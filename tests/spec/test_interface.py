"""A kernel's file: what the rest sees of it, and every check of it shown to fail."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from specforge.diagnostics import Diagnostic, SpecForgeError
from specforge.roots import search_roots, shipped
from specforge.spec.interface import find_kernel, list_kernels, load_kernel

ROOT = Path(__file__).parents[2]


def kernel_faults(files) -> tuple[Diagnostic, ...]:
    with pytest.raises(SpecForgeError) as caught:
        files.kernel()
    return caught.value.diagnostics


# --- what is seen of it -----------------------------------------------------------------------------------------------


def test_a_kernel_folder(files):
    kernel = files.kernel()
    assert kernel.identity == "demo/scale"
    assert kernel.template == files.path("kernels/demo/scale/kernel.cu.j2")
    assert kernel.reference == files.path("kernels/demo/scale/reference.py")
    assert kernel.compile_names() == ("width", "dtype", "flip", "warps")
    assert kernel.inputs() == ("x",)
    assert kernel.outputs() == ("out", "best")
    assert kernel.include_dirs == ()


def test_what_is_updated_in_place_is_an_input_and_an_output(files):
    files.replace("kernel", "dtype: i32, role: out", "dtype: i32, role: inout")
    kernel = files.kernel()
    assert kernel.inputs() == ("x", "best")
    assert kernel.outputs() == ("out", "best")


def test_no_result_depends_on_what_is_called_fast(files):
    said = files.kernel().said_sha256()
    files.replace("kernel", "work: {", 'specialised: "width == 64"\nwork: {')
    assert files.kernel().said_sha256() == said


def test_defaults_of_a_tensor(files):
    tensors = files.kernel().file.tensors
    assert tensors["out"].values == ["normal"]
    assert tensors["out"].residency == "hot"
    assert tensors["out"].rows is None
    files.replace("kernel", "values: [normal, ties]", "values: wide")
    assert files.kernel().file.tensors["x"].values == ["wide"]


def test_labels_of_values(files):
    files.replace("kernel", "[normal, ties]", "[ties, {between: [0, rows]}, {between: [1, 2]}]")
    assert files.kernel().file.tensors["x"].labels == ["ties", "between", "between_2"]
    files.replace("kernel", "[ties, {between: [0, rows]}, {between: [1, 2]}]", "{between: [0, rows]}")
    assert files.kernel().file.tensors["x"].labels == ["between"]


def test_whole_numbers_may_be_conditioned_alone(files):
    files.replace("kernel", "best: exact", 'best: {conditioned: "1"}')
    assert files.kernel().file.tolerance["best"].conditioned.text == "1"


@pytest.mark.parametrize("identity", list_kernels((ROOT,)))
def test_shipped_kernels(identity):
    kernel = find_kernel(identity, (ROOT,))
    assert kernel.identity == identity
    assert kernel.include_dirs == (ROOT / "kernels" / "include",)
    assert kernel.outputs()


def test_the_first_root_wins(files):
    roots = (files.root, ROOT)
    assert list(list_kernels(roots)) == ["demo/scale", *list_kernels((ROOT,))]
    files.write("kernels/moe/router_topk/kernel.yaml", "specforge: 1\n")
    assert list_kernels(roots)["moe/router_topk"] == files.root / "kernels/moe/router_topk/kernel.yaml"
    with pytest.raises(SpecForgeError, match="missing key 'kernel'"):
        find_kernel("moe/router_topk", roots)
    assert search_roots(files.path("spec")) == roots


@pytest.mark.parametrize(
    ("identity", "near"), [("demo/scael", "demo/scale"), ("scale", "demo/scale"), ("x" * 300, None)]
)
def test_a_kernel_that_is_not_there(files, identity, near):
    with pytest.raises(SpecForgeError) as caught:
        find_kernel(identity, (files.root,))
    (fault,) = caught.value.diagnostics
    assert fault.code == "SF401"
    assert fault.hint == (f"did you mean '{near}'? valid here: demo/scale" if near else "valid here: demo/scale")


# --- every check, shown to fail ---------------------------------------------------------------------------------------

FAULTS = {
    # the folder
    "another name": ("kernel: scale", "kernel: scales", "SF206", "scales"),
    "no template": ("kernel.cu.j2", "kernel.cu.j3", "SF001", "kernel.cu.j3"),
    "a folder as template": ("kernel.cu.j2", "..", "SF001", ".."),
    "a device as template": ("kernel.cu.j2", "/dev/zero", "SF001", "/dev/zero"),
    "a template's name too long": ("kernel.cu.j2", "k" * 300, "SF001", "kkk"),
    "no reference": ("reference.py", "refrence.py", "SF001", "refrence.py"),
    # parameters
    "a parameter named as a type": ("rows:  {type", "f32:  {type", "SF206", "f32:  {type"),
    "a parameter named as a tunable": ("splits: {bind", "rows: {bind", "SF206", "rows:  {type"),
    "a parameter named as a tensor": ("x:       {shape", "rows:       {shape", "SF206", "rows:  {type"),
    "a tunable named as a tensor": ("splits: {bind", "partial: {bind", "SF206", "partial: {bind"),
    "a tunable named as a type": ("splits: {bind", "f16: {bind", "SF206", "f16: {bind"),
    "a range to compile": ("domain: [32, 64]", 'domain: "32..64"', "SF203", '"32..64"'),
    "a range of tunables to compile": ("domain: [4, 8]", 'domain: "4..8"', "SF203", '"4..8"'),
    "a range of truths": ("domain: [false, true]", 'domain: "0..1"', "SF203", '"0..1"'),
    "a text for a number": ("domain: [32, 64]", "domain: [32, a]", "SF203", "[32, a]"),
    "a truth for a number": ("domain: [32, 64]", "domain: [32, true]", "SF203", "[32, true]"),
    "a number for a truth": ("domain: [false, true]", "domain: [false, 1]", "SF203", "[false, 1]"),
    "an unknown element type": ("domain: [f32, bf16]", "domain: [f32, bf61]", "SF203", "[f32, bf61]"),
    "an edge outside": ("edges: [31, 32]", "edges: [31, 3200]", "SF405", "3200"),
    "a domain of nothing": ("domain: [32, 64]", "domain: []", "SF203", "[]}"),
    "a downward domain": ("1..1024", "1024..1", "SF203", '"1024..1"'),
    # expressions
    "a constraint on a tunable": ("rows * width <= 65536", "rows * warps <= 65536", "SF303", "warps <= 6"),
    "a default of another tunable": ('"4 if width == 32 else 8"', '"splits"', "SF303", 'splits"'),
    "a default of an unknown fact": ("device.multiprocessors //", "device.multiprocesors //", "SF303", "device.multip"),
    "a shape of a fact": (
        "[rows, splits, 2]",
        "[rows, device.multiprocessors, 2]",
        "SF303",
        "device.multiprocessors, 2",
    ),
    "a shape of a tensor": ("[rows, splits, 2]", "[rows, x, 2]", "SF303", "x, 2]"),
    "a grid of nothing known": ("grid: [rows, splits]", "grid: [rows, split]", "SF303", "split]"),
    "a block of nothing known": ('block: ["32 * warps"]', 'block: ["32 * warp"]', "SF303", 'warp"]'),
    "shared memory of nothing known": ('"4 * warps"', '"4 * warp"', "SF303", 'warp"'),
    "an argument of nothing known": ('"rows / 2.5"', '"row / 2.5"', "SF303", "row / 2.5"),
    "an argument within an expression": ('"rows / 2.5"', '"out + 1"', "SF504", '"out + 1"'),
    "an output that is not passed": ("partial, out, best,", "partial, x, best,", "SF504", "out:     {shape"),
    "a fast variant of nothing known": ("work: {", 'specialised: "widht == 64"\nwork: {', "SF303", "widht"),
    "a fast variant by a tunable": ("work: {", 'specialised: "warps == 4"\nwork: {', "SF303", "warps == 4"),
    "work of nothing known": ('"2 * rows * width"', '"2 * row * width"', "SF303", "row * width"),
    "steps of nothing known": ("rows * width * splits", "rows * width * split", "SF303", 'split"}'),
    "a tolerance of nothing known": ("2 * roundoff(dtype)", "2 * roundoff(dtyp)", "SF303", "dtyp)"),
    "a broken expression": ("rows * width * splits", "rows * width *", "SF301", '*"}'),
    "a list for an expression": ("grid: [rows, splits]", "grid: [[rows], splits]", "SF203", "[rows], splits]"),
    "no function": ("width * roundoff(f32)", "width * epsilon(f32)", "SF302", "epsilon"),
    # tensors
    "an unknown type of a tensor": ("dtype: i32", "dtype: i33", "SF204", "i33"),
    "a type that is a number": ("dtype: i32", "dtype: rows", "SF204", "rows, role"),
    "no such axis": ("rows: [0]", "rows: [1]", "SF203", "1]}"),
    "an axis before the first": ("rows: [0]", "rows: [-1]", "SF203", "-1]}"),
    "an unknown distribution": ("values: [normal, ties]", "values: [normal, odd]", "SF204", "odd]"),
    "no distribution": ("values: [normal, ties]", "values: []", "SF203", "[]"),
    "a distribution twice": ("[normal, ties]", "[normal, ties, normal]", "SF203", "normal]"),
    "blocks that are written": ("dtype: f32, role: scratch", "dtype: q4_k, role: scratch", "SF203", "q4_k"),
    "blocks that are perhaps written": ("[f32, bf16]", "[f32, q8_0]", "SF203", "dtype, role: out"),
    "an unknown range": ("[normal, ties]", "[{betwen: [0, 1]}]", "SF201", "betwen"),
    "two ranges in one": ("[normal, ties]", "{between: [0, 1], distinct: 3}", "SF203", "{between"),
    "an empty range": ("[normal, ties]", "[normal, {}]", "SF203", "{}"),
    "a range of one": ("[normal, ties]", "{between: [0]}", "SF203", "[0]"),
    "a bound of nothing known": ("[normal, ties]", '[normal, {between: [0, "2 * row"]}]', "SF303", 'row"]}'),
    "a bound of a tensor": ("[normal, ties]", '{between: [0, "best"]}', "SF303", 'best"'),
    "a count of nothing known": ("[normal, ties]", '{distinct: "row"}', "SF303", 'row"'),
    "a broken bound": ("[normal, ties]", '{between: [0, "2 *"]}', "SF301", '*"]}'),
    "distinct fractions": ("[normal, ties]", "{distinct: 99}", "SF203", "99}"),
    "permuted fractions": ("[normal, ties]", "{permutation: 99}", "SF203", "99}"),
    "a range of blocks": (
        "{shape: [rows, width], dtype: dtype, role: in, values: [normal, ties]",
        "{shape: [rows, width], dtype: q8_0, role: in, values: {between: [0, 1]}",
        "SF203",
        "0, 1]}",
    ),
    "an unknown role": ("role: scratch", "role: scrtch", "SF204", "scrtch"),
    "an unknown residency": ("residency: cold", "residency: warm", "SF204", "warm"),
    "no shape": ("shape: [rows, splits, 2], ", "", "SF202", "partial: {dtype"),
    "nine axes": ("[rows, splits, 2]", "[rows, splits, 2, 2, 2, 2, 2, 2, 2]", "SF203", "[rows, splits, 2, 2"),
    # launches
    "a grid of four": ("grid: [rows, splits]", "grid: [rows, splits, 1, 1]", "SF203", "[rows, splits, 1, 1]"),
    "an entry that is no name": ("entry: find", "entry: 2find", "SF203", "2find"),
    "no arguments": ("args: [x, partial, rows]", "args: []", "SF203", "[]"),
    # tolerances
    "an update without tolerance": ("role: scratch", "role: inout", "SF202", "tolerance:"),
    "an output without tolerance": ("  best: exact\n", "", "SF202", "tolerance:"),
    "a tolerance of no output": ("best: exact", "best: exact\n  bset: exact", "SF201", "bset"),
    "a bound on whole numbers": ("best: exact", 'best: {absolute: "1"}', "SF203", '{absolute: "1"}'),
    "a word for a tolerance": ("best: exact", "best: close", "SF204", "close"),
    "an unknown part of a tolerance": ("conditioned:", "conditoned:", "SF201", "conditoned"),
    # unknown and missing keys
    "an unknown key": ("summary: Every", "sumary: x\nsummary: Every", "SF201", "sumary"),
    "an unknown key of a parameter": ("edges: [31, 32]", "edgs: [31, 32]", "SF201", "edgs"),
    "an unknown key of a launch": ("shared_bytes:", "shared_byte:", "SF201", "shared_byte"),
    "no work": ("work: {bytes", "wrk: {bytes", "SF201", "wrk"),
    "no emulation": ("emulation: {steps", "emulation: {stps", "SF201", "stps"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_at_its_place(files, name):
    old, new, code, at = FAULTS[name]
    files.replace("kernel", old, new)
    faults = {fault.code: fault for fault in kernel_faults(files)}  # a missing name has others in its wake
    assert code in faults, faults
    found = faults[code].position
    assert found.file == files.path("kernel")
    line = files.path("kernel").read_text().splitlines()[found.line - 1]
    assert line[found.column - 1 :].startswith(at)


def test_a_kernel_without_outputs(files):
    text = files.path("kernel").read_text().replace("role: out", "role: scratch")
    files.write("kernel", text)
    assert ("SF202", files.find("kernel", "tensors:")) in {
        (fault.code, fault.position) for fault in kernel_faults(files)
    }


def test_faults_come_together_in_the_files_order(files):
    files.replace("kernel", "dtype: i32", "dtype: i33")
    files.replace("kernel", "edges: [31, 32]", "edges: [31, 3200, 3300]")
    files.replace("kernel", "grid: [rows, splits]", "grid: [row, split]")
    files.replace("kernel", "2 * roundoff(dtype)", "2 * roundoff(dtyp)")
    faults = kernel_faults(files)
    assert [fault.code for fault in faults] == ["SF405", "SF405", "SF204", "SF303", "SF303", "SF303"]
    lines = [(fault.position.line, fault.position.column) for fault in faults]
    assert lines == sorted(lines)


def test_hints_name_what_is_valid(files):
    files.replace("kernel", "dtype: i32", "dtype: dtyp")
    (fault,) = kernel_faults(files)
    assert fault.hint.startswith("did you mean 'dtype'? valid here: ")
    assert "bf16" in fault.hint


@pytest.mark.parametrize(
    ("section", "code", "said"),
    [
        ("reductions:\n  contxt: {parts: 4}\n", "SF201", "'contxt' is no parameter"),
        ("reductions:\n  sum: {axes: {out: 0}}\n", "SF201", "'out' is no input"),
        ("reductions:\n  sum: {axes: {q: 9}}\n", "SF203", "'q' has no axis 9"),
        ("reductions:\n  context: {parts: splitz}\n", "SF303", "splitz"),
        ('waivers:\n  - {when: "contxt == 1", reason: known, until: 2999-01-01}\n', "SF303", "contxt"),
        ('waivers:\n  - {when: "context == 1", reason: known, until: 2999-01-01, output: q}\n', "SF201", "no output"),
    ],
)
def test_reductions_and_waivers_are_checked(tmp_path, section, code, said):
    source = shipped() / "kernels" / "attention" / "flash_decode"
    folder = tmp_path / "kernels" / "attention" / "flash_decode"
    shutil.copytree(source, folder)
    text = (folder / "kernel.yaml").read_text()
    text = text[: text.index("reductions:")]
    (folder / "kernel.yaml").write_text(text + section)
    with pytest.raises(SpecForgeError) as raised:
        load_kernel(folder / "kernel.yaml", "attention/flash_decode", (tmp_path, shipped()))
    (found,) = raised.value.diagnostics
    assert found.code == code
    assert said in found.message
    assert found.position.line > text.count("\n")
