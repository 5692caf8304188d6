"""Which of llama.cpp's operations are timed: the products, attention and recurrences of both Qwen models' steps."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from specforge.expressions import Scalar

WARM_BYTES = 32 << 20
"""Cases that read no more are timed warm too: such weights stay in the L2 of a Hopper."""
TOOL = ("q4_k_4096x2048_t1", "q6_k_8192x2048_t1", "id_q4_k_768x2048_128_t1", "id_q4_k_512x2048_256_t1",
        "flash_16_2_256_c2048_b1", "flash_32_4_128_c2048_b1")  # fmt: skip
"""Cases that llama.cpp's test-backend-ops times as well, warm: whether both ways of timing agree."""


@dataclass(frozen=True, slots=True)
class Case:
    """One operation at one shape; `words` is its line for ops.cpp, behind name and mode."""

    name: str
    kernel: str
    """Ours, which does the same or, as with the norms and the gate around DeltaNet's recurrence, more."""
    words: tuple[str, ...]
    bytes: float
    """Of cold tensors that it reads, roughly: whether it is timed warm."""

    def line(self, mode: str) -> str:
        """What ops.cpp reads."""
        return " ".join((self.name, mode, *self.words))

    @property
    def shape(self) -> dict[str, Scalar] | None:
        """Parameters of our kernel that reads as many bytes and does as much, or more; None where there is none.

        Of how many experts those of a token are taken is left out: copies of a few take turns there, and are as cold.
        """
        kind, *words = self.words
        numbers = [int(word) for word in words if word.isdigit()]
        match kind:
            case "mul_mat":
                return {"dtype": words[0], **dict(zip(("rows", "columns", "tokens"), numbers, strict=True))}
            case "experts" if numbers[-1] == 1:  # of several tokens, each draws experts of its own there and not here
                hidden, width = numbers[:2]
                given = {"dtype": words[0], "down_dtype": words[1], "hidden": hidden, "width": width}
                return {**given, "tokens": 1, "top_k": 8, "shared": False}
            case "flash_attn":
                names = ("q_heads", "kv_heads", "head_dim", "context", "batch")
                plain = {"cache": "bf16", "paged": False, "gated": False, "emit": False}
                return {**dict(zip(names, numbers, strict=True)), **plain}
            case "delta_net":
                return dict(zip(("k_heads", "v_heads", "tokens"), numbers, strict=True))
        return None


BITS = {"q4_k": 4.5, "q5_k": 5.5, "q6_k": 6.5625, "q8_0": 8.5}


def cases() -> list[Case]:
    """All of them, in order."""
    return [*_products(), *_routed(), *_others()]


def _products() -> Iterator[Case]:
    shapes: list[tuple[str, int, int, tuple[int, ...]]]
    shapes = [("q4_k", rows, 2048, (1, 4, 8)) for rows in (32, 512, 4096, 5120, 8192, 9216, 12352)]
    shapes += [("q6_k", rows, 2048, (1, 4)) for rows in (512, 8192)]
    shapes += [(dtype, rows, 2048, (1, 4)) for dtype in ("q5_k", "q8_0") for rows in (512, 4096, 8192)]
    shapes += [(dtype, 2048, 4096, (1, 4, 8)) for dtype in ("q4_k", "q5_k", "q8_0")]
    shapes += [("q6_k", rows, 2048, (1, 4, 8)) for rows in (151936, 248320)]
    for dtype, rows, columns, every in shapes:
        for tokens in every:
            words = ("mul_mat", dtype, *map(str, (rows, columns, tokens)))
            yield Case(
                f"{dtype}_{rows}x{columns}_t{tokens}", "gemm/quant_gemv", words, rows * columns * BITS[dtype] / 8
            )


def _routed() -> Iterator[Case]:
    for width, experts in ((768, 128), (512, 256)):
        for tokens in (1, 4, 8):
            one = width * 2048 / 8 * 8 * tokens
            for dtype, rows, columns in (("q4_k", width, 2048), ("q6_k", 2048, width)):
                words = ("mul_mat_id", dtype, *map(str, (rows, columns, experts, 8, tokens)))
                yield Case(f"id_{dtype}_{rows}x{columns}_{experts}_t{tokens}", "moe/experts", words, one * BITS[dtype])
            for down in ("q4_k", "q6_k"):
                words = ("experts", "q4_k", down, *map(str, (2048, width, experts, 8, tokens)))
                size = one * (2 * BITS["q4_k"] + BITS[down])
                yield Case(f"experts_q4_k_{down}_{width}_{experts}_t{tokens}", "moe/experts", words, size)


def _others() -> Iterator[Case]:
    for heads, kv_heads, dim, contexts in ((16, 2, 256, (2048, 8192, 32768)), (32, 4, 128, (512, 2048, 8192, 32768))):
        for context in contexts:
            for batch in (1, 4):
                words = ("flash_attn", *map(str, (heads, kv_heads, dim, context, batch)))
                size = 4 * context * batch * kv_heads * dim
                yield Case(f"flash_{heads}_{kv_heads}_{dim}_c{context}_b{batch}", "attention/flash_decode", words, size)
    for batch in (1, 4, 8):
        yield Case(
            f"delta_16_32_b{batch}", "attention/delta_step", ("delta_net", "16", "32", str(batch)), batch * 2**22
        )


def enumeration(header: str, name: str) -> dict[str, int]:
    """The values of one of ggml.h's enumerations."""
    found = re.search(rf"enum {name} \{{(.*?)\}}", header, re.DOTALL)
    if found is None:
        raise ValueError(f"ggml.h has no enum {name}")
    values: dict[str, int] = {}
    following = 0
    for entry in re.sub(r"//[^\n]*|/\*.*?\*/", "", found[1], flags=re.DOTALL).split(","):
        key, _, given = (part.strip() for part in entry.partition("="))
        if key:
            values[key] = following = int(given) if given else following
            following += 1
    return values


def test_file(header: str) -> str:
    """The cases of TOOL as test-backend-ops reads them: numbers of operation and types, shapes, parameters, sources."""
    operations, types = enumeration(header, "ggml_op"), enumeration(header, "ggml_type")
    known = {case.name: case for case in cases()}
    return "".join(f"{_test_line(known[name], operations, types)}\n" for name in TOOL)


def _test_line(case: Case, operations: Mapping[str, int], types: Mapping[str, int]) -> str:
    kind, *words = case.words
    if kind == "flash_attn":
        heads, kv_heads, dim, context, batch = map(int, words)
        out, cache = (dim, heads, 1, batch), ("F16", (dim, context, kv_heads, batch))
        sources = [("F32", (dim, 1, heads, batch)), cache, cache, ("F16", (context, 1, 1, 1))]
        operation, parameters = "FLASH_ATTN_EXT", [_bits(dim**-0.5), 0, 0]
    else:
        rows, columns, *experts, tokens = map(int, words[1:])
        count, top = experts or (1, 1)
        out = (rows, top, tokens, 1) if experts else (rows, tokens, 1, 1)
        x = (columns, 1, tokens, 1) if experts else (columns, tokens, 1, 1)
        sources = [(words[0].upper(), (columns, rows, count, 1)), ("F32", x), ("I32", (top, tokens, 1, 1))]
        operation, parameters, sources = kind.upper(), [], sources[: 3 if experts else 2]
    numbers = [
        operations[f"GGML_OP_{operation}"],
        types["GGML_TYPE_F32"],
        *out,
        len(parameters),
        *parameters,
        len(sources),
    ]
    for dtype, shape in sources:
        numbers += [types[f"GGML_TYPE_{dtype}"], *shape, 0, 0, 0, 0]  # strides of a tensor in one piece
    return f"{' '.join(map(str, numbers))} {case.name}"


def _bits(value: float) -> int:
    return int(struct.unpack("<i", struct.pack("<f", value))[0])
