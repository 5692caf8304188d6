"""Others that norm, rotate and append: PyTorch operation by operation, and one fused kernel in Triton.

In plain f32, as models' own code has it, the product of position and frequency loses bits that an int8 cache shows.
PyTorch takes it in float64, Triton puts what it lost back, to first order: enough up to some 10,000 tokens.
"""

from functools import cache

from specforge.kernel.peers import Peer


def torch_eager(tensors, parameters, stream):
    import torch

    head_dim, capacity = parameters["head_dim"], parameters["capacity"]
    q, k, v, position = (tensors[name] for name in ("q", "k", "v", "position"))
    q_norm, k_norm, inv_freq = (tensors[name] for name in ("q_norm", "k_norm", "inv_freq"))
    rows = torch.arange(len(q), device=q.device)

    def turned(x, weight, cosine, sine):
        x = x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6) * weight
        half = cosine.shape[-1]
        first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine, rest], -1)

    def run():
        angle = position[:, None, None] * inv_freq.double()
        cosine, sine = angle.cos().float(), angle.sin().float()
        row, place = rows, position.long() % capacity
        if parameters["paged"]:
            place = tensors["block_table"][rows, place // 16].long() * 16 + place % 16
            row, place = place // capacity, place % capacity
        new = turned(k, k_norm, cosine, sine), v
        for name, x in zip(("k", "v"), new, strict=True):
            stored = x
            if parameters["cache"] == "i8":
                largest = x.abs().amax(-1, keepdim=True)
                tensors[f"{name}_scale"][row, place] = largest[..., 0] / 127
                stored = torch.round(torch.where(largest > 0, x / largest * 127, 0))
            tensors[f"{name}_cache"][row, place] = stored.to(tensors[f"{name}_cache"].dtype)
        return {"q_out": turned(q[..., :head_dim], q_norm, cosine, sine).to(torch.bfloat16)}

    run()
    return run


def triton_fused(tensors, parameters, stream):
    append = _triton_kernel()
    given = list(tensors.values())  # in kernel.yaml's order
    shape = {name.upper(): parameters[name] for name in ("q_heads", "kv_heads", "head_dim")}
    gates = 2 if parameters["gated"] else 1

    def run():
        append[(parameters["q_heads"] + 2 * parameters["kv_heads"], parameters["tokens"])](
            *given, parameters["capacity"],
            HALF=parameters["rope_dims"] // 2, GATES=gates, INT8=parameters["cache"] == "i8", PAGED=parameters["paged"],
            **shape, num_warps=1,
        )  # fmt: skip

    run()
    return run


@cache
def _triton_kernel():
    import triton
    import triton.language as tl

    @triton.jit
    def append(
        q, k, v, position, q_norm, k_norm, inv_freq, table, q_out, k_cache, v_cache, k_scale, v_scale, capacity,
        HALF: tl.constexpr, GATES: tl.constexpr, INT8: tl.constexpr, PAGED: tl.constexpr,
        Q_HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HEAD_DIM: tl.constexpr,
    ):  # fmt: skip
        """One head of one token."""
        row, token = tl.program_id(0), tl.program_id(1).to(tl.int64)
        dim = tl.arange(0, HEAD_DIM)
        pair = tl.where(dim < HALF, dim + HALF, dim - HALF)  # of those that rotate
        rotates = dim < 2 * HALF
        p = tl.load(position + token)
        is_query, is_value = row < Q_HEADS, row >= Q_HEADS + KV_HEADS
        head = tl.where(is_query, row, (row - Q_HEADS) % KV_HEADS)
        if is_query:
            source, weight = q + (token * Q_HEADS + head) * GATES * HEAD_DIM, q_norm
        elif is_value:
            source, weight = v + (token * KV_HEADS + head) * HEAD_DIM, k_norm
        else:
            source, weight = k + (token * KV_HEADS + head) * HEAD_DIM, k_norm
        x = tl.load(source + dim)
        if not is_value:
            other = tl.load(source + pair, mask=rotates, other=0.0)
            scale = 1 / tl.sqrt(tl.sum(x * x, 0) / HEAD_DIM + 1e-6)
            x = x * scale * tl.load(weight + dim)
            other = other * scale * tl.load(weight + pair, mask=rotates, other=0.0)
            count, frequency = p.to(tl.float32), tl.load(inv_freq + dim % HALF)
            angle = count * frequency
            lost = tl.fma(count + tl.zeros([HEAD_DIM], tl.float32), frequency, -angle)
            cosine, sine = tl.cos(angle), tl.sin(angle)
            turned = x * (cosine - lost * sine) + tl.where(dim < HALF, -other, other) * (sine + lost * cosine)
            x = tl.where(rotates, turned, x)
        if is_query:
            tl.store(q_out + (token * Q_HEADS + head) * HEAD_DIM + dim, x.to(tl.bfloat16))
        else:
            place = token * capacity + p % capacity
            if PAGED:
                place = tl.load(table + place // 16).to(tl.int64) * 16 + place % 16
            place = place * KV_HEADS + head
            if INT8:
                largest = tl.max(tl.abs(x), 0)
                shares = tl.where(largest > 0, x / largest * 127, 0.0)
                x = shares + 12582912.0 - 12582912.0  # to nearest: no bits are left behind the point
                tl.store(tl.where(is_value, v_scale, k_scale) + place, largest / 127)
            to = tl.where(is_value, v_cache, k_cache) + place * HEAD_DIM + dim
            tl.store(to, x.to(k_cache.dtype.element_ty))

    return append


PEERS = {
    "torch_eager": Peer(torch_eager, tolerance_times=64, reason="fast roots and quotients, angles to 2^-22"),
    "triton_fused": Peer(
        triton_fused,
        tolerance_times=64,
        reason="fast roots and quotients, angles to 2^-22",
        packages=("torch", "triton"),
    ),
}
