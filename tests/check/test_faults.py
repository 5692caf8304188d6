"""Planted faults: each makes `check` end with status 3 on the emulator, naming the kernel and a shrunken case."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

FLASH = "attention/flash_decode"
ROUTER = "moe/router_topk"
FAULTS = {
    (FLASH, "scale"): ("{{ head_dim ** -0.5 }}f", "{{ (head_dim // 2) ** -0.5 }}f"),
    (FLASH, "tail off by one"): ("i / 2 * 8 + g < end ?", "i / 2 * 8 + g <= end ?"),
    (FLASH, "missing barrier"): ("  __syncthreads();\n\n  float factor[2]", "\n  float factor[2]"),
    (FLASH, "dropped split"): ("if (split >= splits) stat[i]", "if (split >= splits - 1) stat[i]"),
    (FLASH, "one row NaN"): (
        "narrow(numerator / denominator)",
        "narrow(blockIdx.y == 3 ? __int_as_float(0x7fffffff) : numerator / denominator)",
    ),
    (FLASH, "stale rows"): ("    if (next < limit) load_values(next);\n", ""),
    (FLASH, "wrong stride for one head size"): (
        "stride = kv_heads * HEAD_DIM;",
        "stride = kv_heads * (HEAD_DIM == 512 ? 256 : HEAD_DIM);",
    ),
    (FLASH, "lost precision"): ("          mma_m16n8k16<T>(sums[j][c], rows, small);\n", ""),
    (FLASH, "unwritten output"): ("if (threadIdx.x < COMBINE_DIMS) {", "if (threadIdx.x < COMBINE_DIMS - 1) {"),
    (FLASH, "wrong KV head"): (
        "context * kv_heads + kv_head) * HEAD_DIM",
        "context * kv_heads + kv_heads - 1 - kv_head) * HEAD_DIM",
    ),
    (ROUTER, "scale"): ("weight = expf(chosen - high);", "weight = 1.001f * expf(chosen - high);"),
    (ROUTER, "tail off by one"): ("if (token >= tokens) return;", "if (token > tokens) return;"),
    (ROUTER, "missing reduction step"): ("mask > 0; mask /= 2) x += ", "mask > 1; mask /= 2) x += "),
    (ROUTER, "dropped expert"): ("i < OWN; ++i) best = max", "i < OWN - 1; ++i) best = max"),
    (ROUTER, "one row NaN"): ("weight / total;", "token == 0 ? __int_as_float(0x7fffffff) : weight / total;"),
    (ROUTER, "tie broken the wrong way"): ("for (int i = OWN - 1; i >= 0; --i)", "for (int i = 0; i < OWN; ++i)"),
    (ROUTER, "stale choice"): ("key[i] = TAKEN;", "key[i] = key[i];"),
    (ROUTER, "wrong stride for one type"): (
        "(long long)token * EXPERTS + lane",
        "(long long)token * (sizeof(T) == 2 ? 128 : EXPERTS) + lane",
    ),
    (ROUTER, "lost precision"): (
        "sum += expf(logit[i] - high);",
        "sum += __bfloat162float(__float2bfloat16_rn(expf(logit[i] - high)));",
    ),
    (ROUTER, "unwritten output"): ("  if (lane < TOP_K) {\n    ids", "  if (lane < TOP_K - 1) {\n    ids"),
}


def test_ten_faults_of_ten_kinds_each() -> None:
    for kernel in (FLASH, ROUTER):
        assert len({kind for owner, kind in FAULTS if owner == kernel}) == 10


@pytest.mark.parametrize(("kernel", "kind"), FAULTS, ids=lambda part: part.replace(" ", "-"))
def test_fault_is_found(kernel: str, kind: str, copy: Path, specforge: Callable) -> None:
    template = copy / "kernels" / kernel / "kernel.cu.j2"
    right, wrong = FAULTS[kernel, kind]
    text = template.read_text()
    assert text.count(right) == 1, "the template changed: plant this fault anew"
    template.write_text(text.replace(right, wrong))

    # Values alone must tell: what the sanitizer sees besides is the fault corpus' business (tests/faults).
    options = ("--only", kernel, "--until", "verify", "--examples", "100", "--sanitize", "off")
    ended = specforge("check", "specs/qwen35_rtx5090.yaml", *options)

    assert ended.status == 3, ended.text
    assert f"wrong  {kernel}" in ended.text or f"error  {kernel}" in ended.text
    row = re.search(r"smallest failing case: (\{.*\})", ended.text)
    assert row, ended.text
    size = int(re.search(r"(?:context|tokens): (\d+)", row[1])[1])
    # Stale rows show from a warp's second tile on: 32,769 tokens, which a slow machine may only come near in time.
    assert size <= (66_000 if kind == "stale rows" else 2100), f"not shrunk: {row[1]}"
