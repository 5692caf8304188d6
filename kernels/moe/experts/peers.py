"""Others that run a token's experts: batched products in PyTorch on weights decoded to bf16, and Triton on the blocks.

PyTorch reads 3.6 times the bytes of Q4_K; nothing in it takes GGUF's blocks. Decoding is outside its clock, choosing
experts by ids inside. The Triton kernels read Q4_K as it lies, and keep everything else in f32.
"""

from specforge.kernel.peers import Peer

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None


def torch_bf16(tensors, parameters, stream):
    import torch

    names = ("gate", "up", "down", "shared_gate", "shared_up", "shared_down")
    types = [parameters["down_dtype" if name.endswith("down") else "dtype"] for name in names]
    gate, up, down, *shared = (_decode(tensors[name], kind) for name, kind in zip(names, types, strict=True))
    xq, xs, ids, weights, residual = (tensors[name] for name in ("xq", "xs", "ids", "weights", "residual"))
    router = tensors["shared_router"]
    tokens, hidden = xq.shape

    def run():
        x = (xq.view(tokens, -1, 32) * xs.unsqueeze(2)).view(tokens, hidden)
        small = x.bfloat16()
        total = residual.clone()
        for token in range(tokens):
            chosen = ids[token]
            column = small[token].view(1, hidden, 1).expand(len(chosen), -1, -1)
            h = torch.nn.functional.silu(gate[chosen] @ column) * (up[chosen] @ column)
            total[token] += weights[token] @ (down[chosen] @ h).squeeze(2).float()
        if parameters["shared"]:
            h = torch.nn.functional.silu(small @ shared[0].T) * (small @ shared[1].T)
            total += torch.sigmoid(x @ router).unsqueeze(1) * (h @ shared[2].T)
        return total

    run()
    return run


def _decode(stored, kind):
    """Blocks as bf16, an expert at a time."""
    import torch

    stacked = stored if stored.dim() == 3 else stored.unsqueeze(0)
    rows = stacked.shape[1]
    found = [_VALUES[kind](matrix.reshape(rows, -1)).reshape(rows, -1).bfloat16() for matrix in stacked]
    return torch.stack(found) if stored.dim() == 3 else found[0]


def _halves(bytes_):
    import torch

    return bytes_.contiguous().view(torch.float16).float()


def _q4_k(matrix):
    import torch

    blocks = matrix.view(-1, 144)
    packed = blocks[:, 4:16].int()
    scale = torch.cat([packed[:, :4] & 63, packed[:, 8:] & 15 | packed[:, :4] >> 6 << 4], 1)
    least = torch.cat([packed[:, 4:8] & 63, packed[:, 8:] >> 4 | packed[:, 4:8] >> 6 << 4], 1)
    quants = blocks[:, 16:].reshape(-1, 4, 1, 32)
    q = torch.cat([quants & 15, quants >> 4], 2).view(-1, 8, 32)
    d, dmin = _halves(blocks[:, 0:2]), _halves(blocks[:, 2:4])
    return (d * scale).unsqueeze(2) * q - (dmin * least).unsqueeze(2)


def _q6_k(matrix):
    import torch

    blocks = matrix.view(-1, 210)
    low, high = blocks[:, :128].reshape(-1, 2, 1, 64), blocks[:, 128:192].reshape(-1, 2, 32)
    low = torch.cat([low & 15, low >> 4], 2).view(-1, 2, 4, 32)
    high = torch.stack([high & 3, high >> 2 & 3, high >> 4 & 3, high >> 6], 2)
    q = (low | high << 4).view(-1, 16, 16).char() - 32
    scale = blocks[:, 192:208].contiguous().view(torch.int8)
    return (_halves(blocks[:, 208:210]) * scale).unsqueeze(2) * q


def _q8_0(matrix):
    import torch

    blocks = matrix.view(-1, 34)
    return _halves(blocks[:, :2]) * blocks[:, 2:].contiguous().view(torch.int8)


_VALUES = {"q4_k": _q4_k, "q6_k": _q6_k, "q8_0": _q8_0}


def triton_blocks(tensors, parameters, stream):
    import torch

    if triton is None:
        raise ImportError("triton is not there")
    if (parameters["dtype"], parameters["down_dtype"]) != ("q4_k", "q4_k"):
        raise RuntimeError("written for Q4_K alone")
    tokens, hidden = tensors["xq"].shape
    width, top_k, shared = parameters["width"], parameters["top_k"], parameters["shared"]
    slots = top_k + shared
    device = tensors["xq"].device
    h = torch.empty(tokens, slots, width, dtype=torch.float32, device=device)
    share = torch.empty(tokens, dtype=torch.float32, device=device)
    inputs = [tensors[name] for name in ("xq", "xs", "ids")]
    wide = [tensors[name] for name in ("gate", "up", "shared_gate", "shared_up", "shared_router")]
    narrow = [tensors[name] for name in ("ids", "weights", "down", "shared_down", "residual", "out")]

    def run():
        expand[(width // 8, slots, tokens)](
            *inputs, *wide, h, share, HIDDEN=hidden, WIDTH=width, TOP_K=top_k, SLOTS=slots, ROWS=8, num_warps=4
        )
        contract[(hidden // 8, tokens)](
            *narrow, h, share, HIDDEN=hidden, WIDTH=width, TOP_K=top_k, SLOTS=slots, ROWS=8, num_warps=4
        )

    run()
    return run


if triton is not None:

    @triton.jit
    def scales(block, s):
        """A sub-block's scale and minimum, six bits each; `block` points to blocks' first bytes."""
        same = tl.load(block + 4 + s).to(tl.int32)
        later = tl.load(block + 8 + s).to(tl.int32)
        earlier = tl.load(block + 4 + tl.maximum(s - 4, 0)).to(tl.int32)
        scale = tl.where(s < 4, same & 63, (later & 15) | ((earlier >> 6) << 4))
        least = tl.where(s < 4, later & 63, (later >> 4) | ((same >> 6) << 4))
        return scale.to(tl.float32), least.to(tl.float32)

    @triton.jit
    def values(block):
        """256 elements of a block of each row, as two tiles [rows, 4, 32]: lower nibbles and upper ones."""
        group = tl.arange(0, 4)[None, :, None]
        byte = tl.arange(0, 32)[None, None, :]
        pairs = (block).to(tl.pointer_type(tl.float16))
        d = tl.load(pairs).to(tl.float32)
        dmin = tl.load(pairs + 1).to(tl.float32)
        q = tl.load(block + 16 + group * 32 + byte).to(tl.int32)
        scale0, least0 = scales(block, 2 * group)
        scale1, least1 = scales(block, 2 * group + 1)
        lower = d * scale0 * (q & 15).to(tl.float32) - dmin * least0
        upper = d * scale1 * (q >> 4).to(tl.float32) - dmin * least1
        return lower, upper

    @triton.jit
    def expand(
        xq, xs, ids, gate, up, shared_gate, shared_up, router, h, share,
        HIDDEN: tl.constexpr, WIDTH: tl.constexpr, TOP_K: tl.constexpr, SLOTS: tl.constexpr, ROWS: tl.constexpr,
    ):  # fmt: skip
        """Rows of gate and up of one expert for one token."""
        slot, token = tl.program_id(1), tl.program_id(2)
        row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        column = tl.arange(0, 4)[None, :, None] * 64 + tl.arange(0, 32)[None, None, :]
        if slot < TOP_K:
            expert = tl.load(ids + token * TOP_K + slot).to(tl.int64) * WIDTH
            gates = gate + (expert + row)[:, None, None] * (HIDDEN // 256 * 144)
            ups = up + (expert + row)[:, None, None] * (HIDDEN // 256 * 144)
        else:
            gates = shared_gate + row.to(tl.int64)[:, None, None] * (HIDDEN // 256 * 144)
            ups = shared_up + row.to(tl.int64)[:, None, None] * (HIDDEN // 256 * 144)
        g = tl.zeros([ROWS], tl.float32)
        u = tl.zeros([ROWS], tl.float32)
        logit = tl.zeros([1], tl.float32)
        for block in range(HIDDEN // 256):
            first = block * 256 + column
            x0 = tl.load(xq + token * HIDDEN + first).to(tl.float32)
            x0 *= tl.load(xs + token * (HIDDEN // 32) + first // 32)
            x1 = tl.load(xq + token * HIDDEN + first + 32).to(tl.float32)
            x1 *= tl.load(xs + token * (HIDDEN // 32) + first // 32 + 1)
            lower, upper = values(gates + block * 144)
            g += tl.sum(tl.sum(lower * x0 + upper * x1, 2), 1)
            lower, upper = values(ups + block * 144)
            u += tl.sum(tl.sum(lower * x0 + upper * x1, 2), 1)
            if (slot == TOP_K) & (tl.program_id(0) == 0):
                logit += tl.sum(tl.sum(tl.load(router + first) * x0 + tl.load(router + first + 32) * x1, 2), 1)
        tl.store(h + (token * SLOTS + slot) * WIDTH + row, g * tl.sigmoid(g) * u)
        if (slot == TOP_K) & (tl.program_id(0) == 0):
            tl.store(share + token + tl.arange(0, 1), tl.sigmoid(logit))

    @triton.jit
    def contract(
        ids, weights, down, shared_down, residual, out, h, share,
        HIDDEN: tl.constexpr, WIDTH: tl.constexpr, TOP_K: tl.constexpr, SLOTS: tl.constexpr, ROWS: tl.constexpr,
    ):  # fmt: skip
        """Rows of the output: all experts of a token, in order."""
        token = tl.program_id(1)
        row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
        column = tl.arange(0, 4)[None, :, None] * 64 + tl.arange(0, 32)[None, None, :]
        total = tl.load(residual + token * HIDDEN + row)
        for slot in tl.static_range(SLOTS):
            if slot < TOP_K:
                expert = tl.load(ids + token * TOP_K + slot).to(tl.int64) * HIDDEN
                weight = tl.load(weights + token * TOP_K + slot)
                rows = down + (expert + row)[:, None, None] * (WIDTH // 256 * 144)
            else:
                weight = tl.load(share + token)
                rows = shared_down + row.to(tl.int64)[:, None, None] * (WIDTH // 256 * 144)
            y = tl.zeros([ROWS], tl.float32)
            for block in range(WIDTH // 256):
                first = (token * SLOTS + slot) * WIDTH + block * 256 + column
                lower, upper = values(rows + block * 144)
                y += tl.sum(tl.sum(lower * tl.load(h + first) + upper * tl.load(h + first + 32), 2), 1)
            total += weight * y
        tl.store(out + token * HIDDEN + row, total)


PEERS = {
    "torch_bf16": Peer(torch_bf16, tolerance_times=256, reason="weights, activations and products rounded to bf16"),
    "triton_blocks": Peer(triton_blocks, packages=("torch", "triton")),
}
