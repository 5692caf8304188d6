"""What the shipped specs promise: every part of a step has a benchmark, and every shape of a model a fast variant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from specforge.check.plans import own_plans
from specforge.spec.geometry import is_specialised
from specforge.spec.load import Spec, load_spec

ROOT = Path(__file__).parents[2]
SPECS = sorted((ROOT / "specs").glob("*.yaml"))
STEPS = [path for path in SPECS if path.stem.startswith("qwen")]
WHOLE = ["qwen35_rtx5090", "qwen35_h200", "qwen3_rtx_spark", "qwen3_h200"]
"""Of each workload two specs that leave no case out."""
GEMV = "gemm/quant_gemv"


def uncovered(spec: Spec) -> list[str]:
    """The parts of the spec's steps that no benchmark covers."""
    return [part.name for step in spec.benchmarks for part in step.parts if part.name not in step.covered]


def slow(spec: Spec) -> list[str]:
    """Cases that miss the fast variant of their kernel, where kernel.yaml says which cases hit it."""
    every = [case for benchmark in spec.benchmarks for case in benchmark.cases if case.kernel is not None]
    return [case.id for case in every if is_specialised(case.kernel, case.parameters) is False]


def projections(spec: Spec) -> Iterator[tuple[str, str, int, int]]:
    """Every product with a matrix that a step has: kernel, type, rows, columns; one by one and joined."""
    assert spec.model is not None
    names = {name.removeprefix("model."): value for name, value in spec.names().items()}
    hidden, vocabulary = int(names["transformer.hidden"]), int(names["transformer.vocabulary"])
    query = int(names["attention.q_heads"]) * int(names["attention.head_dim"])
    value = int(names["attention.kv_heads"]) * int(names["attention.head_dim"])
    wide = query * (2 if names.get("attention.output_gate") else 1)
    every, columns = {vocabulary, wide, value, wide + 2 * value}, {query}
    if "linear_attention.v_heads" in names:
        heads, channels = int(names["linear_attention.v_heads"]), int(names["linear_attention.conv_channels"])
        z = heads * int(names["linear_attention.head_dim"])
        every |= {channels, z, heads, channels + z + 2 * heads}
        columns.add(z)
    for kernel, dtype in (*((GEMV, dtype) for dtype in ("q4_k", "q5_k", "q6_k", "q8_0")), ("gemm/bf16_gemv", "f32")):
        yield from ((kernel, dtype, rows, hidden) for rows in every)
        yield from ((kernel, dtype, hidden, width) for width in columns)


def unmet(spec: Spec) -> list[tuple[str, str, int, int]]:
    """Products of the model that no case of the spec runs in a fast variant."""
    there = {
        (case.kernel.identity, case.parameters["dtype"], case.parameters["rows"], case.parameters["columns"])
        for benchmark in spec.benchmarks
        for case in benchmark.cases
        if case.kernel is not None and case.kernel.folder.parent.name == "gemm"
        if is_specialised(case.kernel, case.parameters)
    }
    return sorted(set(projections(spec)) - there)


def planted(project: Path, name: str, right: str, wrong: str) -> Path:
    """The project with a text of one of its files replaced."""
    path = project / name
    text = path.read_text()
    assert text.count(right) == 1, "the file changed: plant this fault anew"
    path.write_text(text.replace(right, wrong))
    return project / "specs"


def test_the_specs_are_of_six_cards_each() -> None:
    for model in ("qwen35", "qwen3"):
        cards = {load_spec(path).device.file.device for path in STEPS if path.stem.startswith(f"{model}_")}
        assert cards == {"rtx5090", "rtx_pro_6000", "rtx_spark", "jetson_thor", "h100_sxm", "h200_sxm"}


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_it_loads_and_plans_and_nothing_is_left_uncovered(path: Path) -> None:
    spec = load_spec(path)
    assert own_plans(case for benchmark in spec.benchmarks for case in benchmark.cases)
    assert (uncovered(spec), slow(spec)) == ([], [])
    assert any(benchmark.parts for benchmark in spec.benchmarks) == (path in STEPS)
    assert all(benchmark.targeted() == len(benchmark.cases) for benchmark in spec.benchmarks)


@pytest.mark.parametrize("name", WHOLE)
def test_every_product_of_the_model_hits_a_fast_variant(name: str) -> None:
    assert unmet(load_spec(ROOT / "specs" / f"{name}.yaml")) == []


@pytest.mark.parametrize(
    ("right", "wrong", "missing"),
    [
        (", benchmark: router}", "}", ["router"]),
        (", benchmark: linear_step}", "}", ["linear_recurrence", "linear_convolution", "linear_norm"]),
        ("bytes: model.attention_qkv_bytes, benchmark: [gemv_q4_k, gemv_q6_k]}", 'bytes: "0"}', ["attention_qkv"]),
    ],
)
def test_a_part_without_a_benchmark_shows(project: Path, right: str, wrong: str, missing: list[str]) -> None:
    specs = planted(project, "specs/workloads/qwen35_decode.yaml", right, wrong)
    assert uncovered(load_spec(specs / "qwen35_rtx5090.yaml")) == missing


@pytest.mark.parametrize(
    ("file", "right", "wrong", "missing"),
    [
        (
            "specs/workloads/qwen35_decode.yaml",
            "9216, 12352], tokens: [1, 4, 8]}",
            "9216], tokens: [1, 4, 8]}",
            (GEMV, "q4_k", 12352, 2048),
        ),
        ("specs/workloads/qwen35_decode.yaml", "rows: [512, 8192]", "rows: [8192]", (GEMV, "q6_k", 512, 2048)),
        ("specs/models/qwen35_35b_a3b.yaml", "    kv_heads: 2\n", "    kv_heads: 4\n", (GEMV, "q6_k", 1024, 2048)),
        (
            "kernels/gemm/quant_gemv/kernel.yaml",
            'specialised: "nbytes(dtype, columns) % 16 == 0',
            'specialised: "columns < 4096 and nbytes(dtype, columns) % 16 == 0',
            (GEMV, "q4_k", 2048, 4096),
        ),
    ],
)
def test_a_product_that_no_fast_variant_runs_shows(
    project: Path, file: str, right: str, wrong: str, missing: tuple[str, str, int, int]
) -> None:
    specs = planted(project, file, right, wrong)
    assert missing in unmet(load_spec(specs / "qwen35_rtx5090.yaml"))


def test_a_case_that_misses_its_fast_variant_shows(project: Path) -> None:
    specs = planted(
        project, "kernels/moe/router/kernel.yaml", 'specialised: "hidden == 2048"', 'specialised: "hidden == 1024"'
    )
    found = slow(load_spec(specs / "qwen3_jetson_thor.yaml"))
    assert found == ["router[tokens=1]", "router[tokens=4]", "router[tokens=8]"]
