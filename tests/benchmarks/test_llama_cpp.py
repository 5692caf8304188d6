"""The benchmark of llama.cpp's kernels, without a card: cases, what the programs print, the build's stubs."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from benchmarks.llama_cpp import __main__ as command
from benchmarks.llama_cpp import build, cases, parse, source
from specforge.backend.probe import LiveCard
from specforge.roots import shipped
from specforge.spec.interface import find_kernel

HEADER = """
    enum ggml_type {
        GGML_TYPE_F32     = 0,
        GGML_TYPE_F16     = 1,
        // GGML_TYPE_Q4_2 = 4, support has been removed
        GGML_TYPE_Q4_K    = 12,
        GGML_TYPE_Q5_K    = 13,
        GGML_TYPE_Q6_K    = 14,
        GGML_TYPE_I32     = 26,
        GGML_TYPE_COUNT   = 39,
    };

    enum ggml_op {
        GGML_OP_NONE = 0,

        GGML_OP_MUL_MAT, /* one */
        GGML_OP_MUL_MAT_ID,
        GGML_OP_FLASH_ATTN_EXT,
    };
"""

# What test-backend-ops of llama.cpp 0c1e57098 printed for the first two cases, on its CPU backend; the third row was
# written by reading its source.
COLUMNS = """test_time, build_commit, backend_name, op_name, op_params, test_mode, supported, passed, error_message, \
time_us, flops, bandwidth_gb_s, memory_kb, n_runs, device_description, backend_reg_name"""
SQL = f"""CREATE TABLE IF NOT EXISTS test_backend_ops (
  test_time TEXT,
  build_commit TEXT,
  backend_reg_name TEXT
);

INSERT INTO test_backend_ops ({COLUMNS}) VALUES ('2026-11-22T11:01:47Z', '0c1e57098', 'CPU', 'MUL_MAT', \
'name=small_product,type=f32,ne=[32,1,1,1],op_params=[],sources=q4_K[256,32,1,1],f32[256,1,1,1]', 'perf', '1', '1', \
'', '257.032593', '0.000000', '0.020871', '5', '8192', '', '');
INSERT INTO test_backend_ops ({COLUMNS}) VALUES ('2026-11-22T11:01:49Z', '0c1e57098', 'CPU', 'MUL_MAT_ID', \
'name=small_routed,type=f32,ne=[16,2,1,1],op_params=[],sources=q6_K[256,16,4,1],f32[256,1,1,1],i32[2,1,1,1]', 'perf', \
'1', '1', '', '264.271606', '0.000000', '0.051452', '14', '8192', '', '');
INSERT INTO test_backend_ops ({COLUMNS}) VALUES ('2026-11-22T11:01:50Z', '0c1e57098', 'CUDA0', 'FLASH_ATTN_EXT', \
'name=flash,type=f32,ne=[256,16,1,1],op_params=[],sources=f32[256,1,16,1]', 'perf', '0', '0', 'not supported', \
'0.000000', '0.000000', '0.000000', '0', '0', '', '');
"""

LINE = (
    '{"case": "a", "mode": "cold", "bytes": 4718592, "copies": 45, "groups": 394, "launches": 2, "nmse": 2e-05, '
    '"us": [4.5, 4.6]}'
)


def test_every_case_names_a_kernel_and_stands_once():
    every = cases.cases()
    assert len({case.name for case in every}) == len(every)
    for kernel in {case.kernel for case in every}:
        find_kernel(kernel, [shipped()])
    known = {case.name for case in every}
    assert set(cases.TOOL) <= known


def test_a_case_is_a_line_of_words():
    one = next(case for case in cases.cases() if case.name == "experts_q4_k_q6_k_768_128_t4")
    assert one.line("cold") == "experts_q4_k_q6_k_768_128_t4 cold experts q4_k q6_k 2048 768 128 8 4"


def test_enumerations_are_read_from_the_header():
    assert cases.enumeration(HEADER, "ggml_op")["GGML_OP_FLASH_ATTN_EXT"] == 3
    types = cases.enumeration(HEADER, "ggml_type")
    assert (types["GGML_TYPE_Q6_K"], types["GGML_TYPE_I32"]) == (14, 26)
    assert "GGML_TYPE_Q4_2" not in types
    with pytest.raises(ValueError, match="no enum ggml_status"):
        cases.enumeration(HEADER, "ggml_status")


def test_the_test_file_has_numbers_where_the_tool_reads_them():
    lines = {
        name: numbers for numbers, _, name in (line.rpartition(" ") for line in cases.test_file(HEADER).splitlines())
    }
    product = lines["q4_k_4096x2048_t1"]
    assert product == "1 0 4096 1 1 1 0 2 12 2048 4096 1 1 0 0 0 0 0 2048 1 1 1 0 0 0 0"
    routed = lines["id_q4_k_768x2048_128_t1"]
    assert routed.startswith("2 0 768 8 1 1 0 3 12 ")
    assert routed.endswith(" 26 8 1 1 1 0 0 0 0")
    attention = lines["flash_16_2_256_c2048_b1"]
    assert attention.startswith(f"3 0 256 16 1 1 3 {0x3D800000} 0 0 4 ")  # 1/16 as its bits


def test_lines_of_a_run_that_was_cut_off_count_as_far_as_they_are_whole():
    assert parse.timed(f'{LINE}\n{{"case": "b", "mode": "co') == [json.loads(LINE)]


def test_a_wrong_result_has_no_time():
    (found,) = parse.timed(LINE.replace("2e-05", "0.2"))
    assert "us" not in found
    assert found["error"] == "wrong: error 0.2"
    (found,) = parse.timed(LINE.replace("2e-05", "NaN"))
    assert "us" not in found


def test_rows_of_the_tool_are_read():
    product, routed, attention = parse.perf(SQL)
    assert product == {"case": "small_product", "operation": "MUL_MAT", "us": 257.032593, "runs": 8192}
    assert (routed["case"], routed["us"]) == ("small_routed", 264.271606)
    assert attention == {"case": "flash", "operation": "FLASH_ATTN_EXT", "error": "not supported"}
    assert parse.perf("no SQL at all") == []


PROGRAM = f"""#!{sys.executable}
import sys
for text in sys.stdin:
    name, mode, *_ = text.split()
    if name == "dies":
        print("this build has no kernel", file=sys.stderr)
        sys.exit(3)
    print({LINE!r}.replace('"a"', f'"{{name}}"').replace("cold", mode), flush=True)
"""


def test_the_run_goes_on_behind_a_case_at_which_the_program_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    program = tmp_path / "ops"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    every = [cases.Case(name, "kernel", ("mul_mat",), size) for name, size in (("a", 1), ("dies", 2**30), ("b", 2**30))]
    found = command.measure(program, every)
    assert [(one["case"], one["mode"], one.get("error")) for one in found] == [
        ("a", "cold", None),
        ("dies", "cold", "this build has no kernel"),
        ("b", "cold", None),
        ("a", "warm", None),
    ]
    assert capsys.readouterr().err == "timed 1 of 4\ntimed 3 of 4\ntimed 4 of 4\n"
    first, died = (command.summed(one, {"a": "gemm/quant_gemv", "dies": "k"}) for one in found[:2])
    assert first["seconds"]["median"] == pytest.approx(4.55e-6)
    assert "seconds" not in died


def test_a_case_that_does_not_end_has_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "ops"
    program.write_text(PROGRAM.replace("sys.exit(3)", "__import__('time').sleep(60)"))
    program.chmod(0o755)
    monkeypatch.setattr(command, "PATIENCE", 1)
    found = command.measure(program, [cases.Case(name, "kernel", ("mul_mat",), 2**30) for name in ("dies", "b")])
    assert [(one["case"], one.get("error")) for one in found] == [("dies", "not done after 1 s"), ("b", None)]


def test_the_command_writes_what_was_timed_and_from_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "ops"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    (tmp_path / source.NOTE).write_text('{"commit": "0c1e57098", "ggml": "0.25.3"}')
    asked: dict[str, object] = {}

    def built(folder: Path, out: Path, **options: object) -> build.Built:
        asked.update(options)
        return build.Built({"ops": program}, ("-O3",), 1.0, {"mmvq": 1.0}, 3)

    card = LiveCard(0, "NVIDIA H100 80GB HBM3", "GPU-1", "9.0", "580", "13.0", None, None, None, None, None, None, None)
    monkeypatch.setattr(command, "build", built)
    monkeypatch.setattr(command.result, "live_card", lambda: card)
    monkeypatch.setattr(command.result, "header", lambda settings: {"commit": "abc"})
    options = ["--source", str(tmp_path), "--results", str(tmp_path), "--build", str(tmp_path), "--without-tool"]
    assert command.main([*options, "--only", "^(q4_k_32x2048_t1|q6_k_248320x2048_t8)$"]) == 0
    assert (asked["architecture"], asked["commit"], asked["leave"]) == ("90", "0c1e57098", {"test-backend-ops"})
    written = json.loads((tmp_path / "llama_cpp.json").read_text())
    assert [(one["case"], one["mode"]) for one in written["cases"]] == [
        ("q4_k_32x2048_t1", "cold"),
        ("q6_k_248320x2048_t8", "cold"),
        ("q4_k_32x2048_t1", "warm"),
    ]
    assert written["cases"][0]["seconds"]["median"] == pytest.approx(4.55e-6)
    assert written["llama_cpp"]["flags"] == ["-O3"]
    assert "warm: one copy, which stays in L2" in written["reading"]
    assert written["test_backend_ops"] == []
    assert command.main([*options, "--only", "no such case"]) == 1


def test_stubs_stand_for_what_is_llama_cpps_and_lacking():
    undefined = ["_Z14mul_mat_q_caseIL9ggml_type12EEvv", "cublasSgemm_v2", "malloc", "ggml_init", "cudaMalloc"]
    assert build.stubs(undefined, ["ggml_init"]) == ["_Z14mul_mat_q_caseIL9ggml_type12EEvv", "cublasSgemm_v2"]


def test_a_stub_says_what_was_left_out(tmp_path: Path):
    (tmp_path / "stubs.s").write_text(build.assembler(["ggml_missing"]))
    (tmp_path / "main.c").write_text("void ggml_missing(void); int main(void) { ggml_missing(); }")
    command = ["g++", "-x", "c", "main.c", "-x", "assembler", "stubs.s", "-x", "c++", str(build.HERE / "left_out.cpp")]
    subprocess.run([*command, "-o", "program"], cwd=tmp_path, check=True)
    ran = subprocess.run([tmp_path / "program"], capture_output=True, text=True, check=False)
    assert ran.returncode < 0
    assert ran.stderr == "this build has no ggml_missing\n"


def test_a_package_gives_its_files_and_where_they_come_from(tmp_path: Path):
    package = tmp_path / "llama_cpp_python-0.3.36.tar.gz"
    cmake = "set(GGML_VERSION_MAJOR 0)\nset(GGML_VERSION_MINOR 25)\nset(GGML_VERSION_PATCH 3)\n"
    tree = "llama_cpp_python-0.3.36/vendor/llama.cpp"
    files = {f"{tree}/ggml/src/{name}": "" for name in build.BASE}
    files |= {f"{tree}/ggml/src/ggml-cuda/{name}.cu": "" for name in (*build.CUDA, "rope")}
    files |= {
        f"{tree}/ggml/{name}": ""
        for name in ("src/ggml-cpu/b.h", "include/ggml.h", "src/ggml-cuda/vendors/cuda.h", "src/ggml-vulkan/a.h")
    }
    files |= {f"{tree}/{name}": "" for name in ("tests/test-backend-ops.cpp", "LICENSE", "models/a.gguf")}
    files |= {f"{tree}/ggml/CMakeLists.txt": cmake}
    files |= {"llama_cpp_python-0.3.36/CHANGELOG.md": "- update to ggml-org/llama.cpp@0c1e57098\n- llama.cpp@4df29be4f"}
    with tarfile.open(package, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    note = source.take(package, tmp_path / "taken")
    assert note | {"sha256": ""} == {
        "package": "llama_cpp_python", "version": "0.3.36", "sha256": "", "commit": "0c1e57098", "ggml": "0.25.3",
    }  # fmt: skip
    assert len(note["sha256"]) == 64
    assert json.loads((tmp_path / "taken" / source.NOTE).read_text()) == note
    taken = {path.name for path in (tmp_path / "taken").rglob("*") if path.is_file()}
    assert {"ggml.h", "mmvq.cu", "test-backend-ops.cpp", "LICENSE", "cuda.h"} <= taken
    assert not taken & {"rope.cu", "a.h", "a.gguf"}
