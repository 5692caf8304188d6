"""Others that multiply by such a matrix: cuBLAS on weights decoded ahead of time, and a decoding kernel in Triton."""

from functools import cache

from specforge.kernel.peers import Peer


def torch_matmul(tensors, parameters, stream):
    """cuBLAS reads two bytes a weight, decoded outside the clock; a kernel before it makes bf16 of the activations."""
    import torch

    xq, xs = tensors["xq"], tensors["xs"]
    tokens, columns = xq.shape
    weights = _decoded(tensors["weights"], columns)
    x = torch.empty(tokens, columns, dtype=torch.bfloat16, device=xq.device)

    def run():
        torch.mul(xq.view(tokens, -1, 32), xs.unsqueeze(2), out=x.view(tokens, -1, 32))
        return torch.matmul(x, weights.T)

    run()
    return run


def _decoded(stored, columns):
    import torch

    rows, size = stored.shape
    weights = torch.empty(rows, columns, dtype=torch.bfloat16, device=stored.device)
    kinds = ((32, 34, _q8_0), (256, 144, _q4_k), (256, 176, _q5_k), (256, 210, _q6_k))
    block, decode = next((each, make) for count, each, make in kinds if columns * each == size * count)
    for start in range(0, rows, 8192):
        part = stored[start : start + 8192]
        weights[start : start + 8192] = decode(part.reshape(-1, block)).reshape(len(part), columns)
    return weights


def _half(blocks, place):
    import torch

    return blocks[:, place : place + 2].contiguous().view(torch.float16).float()


def _q8_0(blocks):
    import torch

    return _half(blocks, 0) * blocks[:, 2:].contiguous().view(torch.int8)


def _scaled(blocks, quants):
    """d * scale * quant - dmin * minimum for eight groups, with scales and minima of six bits in twelve bytes."""
    import torch

    first, second, third = blocks[:, 4:8], blocks[:, 8:12], blocks[:, 12:16]
    scales = torch.cat([first & 63, (third & 15) | (first >> 6 << 4)], 1)
    minima = torch.cat([second & 63, (third >> 4) | (second >> 6 << 4)], 1)
    return (_half(blocks, 0) * scales).unsqueeze(2) * quants - (_half(blocks, 2) * minima).unsqueeze(2)


def _nibbles(bytes_, group):
    """The lower nibbles of each group of bytes, then the upper ones."""
    import torch

    groups = bytes_.reshape(len(bytes_), -1, 1, group)
    return torch.cat([groups & 15, groups >> 4], 2)


def _q4_k(blocks):
    return _scaled(blocks, _nibbles(blocks[:, 16:], 32).reshape(-1, 8, 32))


def _q5_k(blocks):
    import torch

    bits = torch.stack([blocks[:, 16:48] >> place & 1 for place in range(8)], 1)
    return _scaled(blocks, _nibbles(blocks[:, 48:], 32).reshape(-1, 8, 32) + 16 * bits)


def _q6_k(blocks):
    import torch

    lower = _nibbles(blocks[:, :128], 64).reshape(-1, 2, 4, 32)
    upper = torch.stack([blocks[:, 128:192].reshape(-1, 2, 32) >> place & 3 for place in (0, 2, 4, 6)], 2)
    quants = (lower + 16 * upper).to(torch.int8) - 32
    scales = blocks[:, 192:208].contiguous().view(torch.int8).unsqueeze(2)
    return _half(blocks, 208).unsqueeze(2) * scales * quants.reshape(-1, 16, 16)


def triton_decode(tensors, parameters, stream):
    """Q4_K as it is stored, decoded to f32 on the way; half a warp's width of bytes at a time, 8 rows to a program."""
    import triton

    if parameters["dtype"] != "q4_k":
        raise RuntimeError("written for q4_k alone")
    weights, xq, xs, y = (tensors[name] for name in ("weights", "xq", "xs", "y"))
    rows, columns = weights.shape[0], xq.shape[1]
    multiply = _triton_kernel()

    def run():
        multiply[(triton.cdiv(rows, 8),)](
            weights, xq, xs, y, rows, COLUMNS=columns, BLOCKS=triton.next_power_of_2(columns // 256),
            TOKENS=parameters["tokens"], ROWS=8, num_warps=4,
        )  # fmt: skip

    run()
    return run


@cache
def _triton_kernel():
    import triton
    import triton.language as tl

    @triton.jit
    def multiply(
        weights, xq, xs, y, rows,
        COLUMNS: tl.constexpr, BLOCKS: tl.constexpr, TOKENS: tl.constexpr, ROWS: tl.constexpr,
    ):  # fmt: skip
        """All blocks of some rows at once, 64 columns of each in turn: [row, block, byte]."""
        row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
        block = tl.arange(0, BLOCKS)[None, :]
        there = (row < rows) & (block < COLUMNS // 256)
        start = (row.to(tl.int64) * (COLUMNS // 256) + block) * 144
        halves = weights.to(tl.pointer_type(tl.float16))
        d = tl.load(halves + start // 2, mask=there, other=0.0).to(tl.float32)
        dmin = tl.load(halves + start // 2 + 1, mask=there, other=0.0).to(tl.float32)
        byte = tl.arange(0, 32)[None, None, :]
        for token in tl.static_range(TOKENS):
            total = tl.zeros([ROWS, BLOCKS], tl.float32)
            for pair in tl.static_range(4):
                quants = tl.load(weights + start[:, :, None] + 16 + 32 * pair + byte, mask=there[:, :, None], other=0)
                for half in tl.static_range(2):
                    group = 2 * pair + half
                    if group < 4:
                        scale = tl.load(weights + start + 4 + group, mask=there, other=0) & 63
                        minimum = tl.load(weights + start + 8 + group, mask=there, other=0) & 63
                    else:
                        last = tl.load(weights + start + 8 + group, mask=there, other=0)
                        scale = (last & 15) | (tl.load(weights + start + group, mask=there, other=0) >> 6 << 4)
                        minimum = (last >> 4) | (tl.load(weights + start + 4 + group, mask=there, other=0) >> 6 << 4)
                    column = token * COLUMNS + block * 256 + group * 32
                    inside = block < COLUMNS // 256
                    x = tl.load(xq + column[:, :, None] + byte, mask=inside[:, :, None], other=0).to(tl.float32)
                    factor = tl.load(xs + column // 32, mask=inside, other=0.0)
                    nibble = ((quants >> 4 * half) & 15).to(tl.float32)
                    products = d * scale.to(tl.float32) * tl.sum(nibble * x, 2)
                    total += factor * (products - dmin * minimum.to(tl.float32) * tl.sum(x, 2))
            at = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
            tl.store(y + token * rows + at, tl.sum(total, 1), mask=at < rows)

    return multiply


PEERS = {
    "torch_matmul": Peer(torch_matmul, tolerance_times=512, reason="rounds weights, activations and results to bf16"),
    "triton_decode": Peer(triton_decode, packages=("torch", "triton")),
}
