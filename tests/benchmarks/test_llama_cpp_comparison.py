"""llama.cpp's times beside ours, from imagined results and a published record."""

import json
from pathlib import Path

from benchmarks.llama_cpp import cases, comparison
from specforge.record.ledger import published
from specforge.roots import shipped
from specforge.spec.interface import find_kernel

RECORDS = [one for one in published(shipped() / "results" / "ledger.jsonl") if one.spec == "qwen35_h100"][-1:]
PRODUCT, ATTENTION = "q4_k_4096x2048_t1", "flash_16_2_256_c2048_b1"


def written(tmp_path: Path, name: str = "NVIDIA H100 80GB HBM3", **changes: object) -> Path:
    timed = {"median": 8e-6, "low": 7.9e-6, "high": 8.1e-6}
    every = [
        {"case": PRODUCT, "mode": "cold", "seconds": timed},
        {"case": PRODUCT, "mode": "warm", "seconds": timed},
        {"case": ATTENTION, "mode": "cold", "error": "wrong: error 0.2"},
        {"case": "q4_k_4096x2048_t8", "mode": "cold", "seconds": timed},  # a shape that the record has not
    ]
    build = {"commit": "0c1e5", "ggml": "0.25", "package": "llama_cpp_python", "version": "0.3", "seconds": 80.2}
    card = {"name": name, "driver": "580"}
    path = tmp_path / "llama_cpp.json"
    path.write_text(json.dumps({"card": card, "created": "2026-11-23", "llama_cpp": build, "cases": every, **changes}))
    return path


def test_a_shape_says_parameters_of_our_kernel() -> None:
    for case in cases.cases():
        assert (case.shape or {}).keys() <= find_kernel(case.kernel, [shipped()]).file.parameters.keys(), case.name


def test_what_does_more_or_reads_other_bytes_has_no_shape() -> None:
    shapes = {case.name: case.shape for case in cases.cases()}
    assert shapes["id_q4_k_768x2048_128_t1"] is None
    assert shapes["experts_q4_k_q6_k_768_128_t4"] is None
    assert shapes["experts_q4_k_q6_k_768_128_t1"] == {
        "dtype": "q4_k", "down_dtype": "q6_k", "hidden": 2048, "width": 768, "tokens": 1, "top_k": 8, "shared": False,
    }  # fmt: skip


def test_a_row_has_both_medians_and_the_worst_of_both_intervals(tmp_path: Path) -> None:
    shape = {"dtype": "q4_k", "rows": 4096, "columns": 2048, "tokens": 1}
    ours = comparison.amortised(RECORDS, "gemm/quant_gemv", shape)
    assert ours is not None
    text = comparison.section(written(tmp_path), [(one, ()) for one in RECORDS])
    (row,) = [line for line in text.splitlines() if PRODUCT in line]
    assert f"| {8e-6 / ours.value:.2f} ({7.9e-6 / ours.high:.2f} to {8.1e-6 / ours.low:.2f}) |" in row
    assert f"- {ATTENTION} has no time: wrong: error 0.2." in text
    assert "q4_k_4096x2048_t8" not in text
    assert "- 1 more have no time of ours beside them: " in text
    assert "Stale" not in text


def test_figures_of_inputs_that_changed_are_stale(tmp_path: Path) -> None:
    changed = ["kernels/gemm/quant_gemv/kernel.cu.j2"]
    text = comparison.section(written(tmp_path), [(one, changed) for one in RECORDS])
    assert "**Stale**: `gemm/quant_gemv` has changed since SpecForge's figures." in text


def test_another_card_is_not_compared(tmp_path: Path) -> None:
    assert PRODUCT not in comparison.section(written(tmp_path, "NVIDIA H200"), [(one, ()) for one in RECORDS])


def test_no_result_is_said_to_be_missing(tmp_path: Path) -> None:
    assert "Not measured yet" in comparison.section(tmp_path / "llama_cpp.json", [])
