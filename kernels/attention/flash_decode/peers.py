"""Others that attend from one token to a KV cache: PyTorch's three fused kernels, a split-KV one in Triton, FlashInfer.

All read k and v as they lie, [batch, context, kv_heads, head_dim]; nobody gets them packed anew.
"""

from functools import cache

from specforge.kernel.peers import Peer


def torch_sdpa_flash(tensors, parameters, stream):
    import torch
    from torch.nn.attention import SDPBackend

    del torch, parameters, stream
    return _sdpa(tensors, SDPBackend.FLASH_ATTENTION)


def torch_sdpa_cudnn(tensors, parameters, stream):
    from torch.nn.attention import SDPBackend

    del parameters, stream
    return _sdpa(tensors, SDPBackend.CUDNN_ATTENTION)


def torch_sdpa_efficient(tensors, parameters, stream):
    from torch.nn.attention import SDPBackend

    del parameters, stream
    return _sdpa(tensors, SDPBackend.EFFICIENT_ATTENTION)


def _sdpa(tensors, backend):
    """Query heads that share a KV head stand as one head's query tokens: the same sums, and no backend repeats k."""
    from torch.nn.attention import sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    q, k, v = tensors["q"], tensors["k"].transpose(1, 2), tensors["v"].transpose(1, 2)
    batch, q_heads, head_dim = q.shape
    kv_heads = k.shape[1]
    queries = q.view(batch, kv_heads, q_heads // kv_heads, head_dim)

    def run():
        with sdpa_kernel(backend):
            return scaled_dot_product_attention(queries, k, v)

    run()  # raises RuntimeError where the backend does not take this shape
    return run


def triton_split(tensors, parameters, stream):
    import torch

    q, k, v, out = (tensors[name] for name in ("q", "k", "v", "out"))
    batch, q_heads, head_dim = q.shape
    context, kv_heads = k.shape[1], k.shape[2]
    block = max(16, min(128, 8192 // head_dim))  # tokens of a tile: 16 KiB of k, as much of v
    processors = torch.cuda.get_device_properties(q.device).multi_processor_count if q.is_cuda else 4
    splits = max(1, min(-(-2 * processors // (batch * kv_heads)), -(-context // block), 128))
    length = -(-context // (splits * block)) * block
    splits = -(-context // length)
    group = q_heads // kv_heads
    sums = torch.empty(batch, q_heads, splits, head_dim, dtype=torch.float32, device=q.device)
    stats = torch.empty(batch, q_heads, splits, 2, dtype=torch.float32, device=q.device)
    attend, combine = _triton_kernels()
    scale = head_dim**-0.5 * 1.4426950408889634  # weights are powers of two

    def run():
        attend[(splits, kv_heads, batch)](
            q, k, v, sums, stats, context, length, splits, scale,
            HEADS=q_heads, KV_HEADS=kv_heads, GROUP=group, ROWS=max(16, 1 << (group - 1).bit_length()),
            DIM=head_dim, BLOCK=block, num_warps=8 if head_dim > 128 else 4, num_stages=3 if head_dim <= 256 else 2,
        )  # fmt: skip
        combine[(q_heads, batch)](
            sums, stats, out, splits, HEADS=q_heads, DIM=head_dim, SPLITS=1 << (splits - 1).bit_length(), num_warps=4
        )

    run()
    return run


@cache
def _triton_kernels():
    import triton
    import triton.language as tl

    @triton.jit
    def attend(
        q, k, v, sums, stats, context, length, splits, scale,
        HEADS: tl.constexpr, KV_HEADS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr,
        DIM: tl.constexpr, BLOCK: tl.constexpr,
    ):  # fmt: skip
        """One split of the context for the query heads of one KV head: sum of weights times v, maximum, weight."""
        split, kv_head, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2)
        row = tl.arange(0, ROWS)
        dim = tl.arange(0, DIM)
        place = tl.arange(0, BLOCK)
        head = batch * HEADS + kv_head * GROUP + row
        real = row < GROUP
        queries = tl.load(q + head[:, None] * DIM + dim[None, :], mask=real[:, None], other=0.0)
        largest = tl.full([ROWS], float("-inf"), tl.float32)
        weight = tl.zeros([ROWS], tl.float32)
        total = tl.zeros([ROWS, DIM], tl.float32)
        first = split * length
        last = tl.minimum(first + length, context)
        cache_row = batch.to(tl.int64) * context
        for start in range(first, last, BLOCK):
            token = start + place
            there = token < last
            at = ((cache_row + token)[:, None] * KV_HEADS + kv_head) * DIM + dim[None, :]
            keys = tl.load(k + at, mask=there[:, None], other=0.0)
            scores = tl.dot(queries, tl.trans(keys)) * scale
            scores = tl.where(there[None, :], scores, float("-inf"))
            above = tl.maximum(largest, tl.max(scores, 1))
            shrink = tl.exp2(largest - above)
            weights = tl.exp2(scores - above[:, None])
            values = tl.load(v + at, mask=there[:, None], other=0.0)
            total = total * shrink[:, None] + tl.dot(weights.to(values.dtype), values)
            weight = weight * shrink + tl.sum(weights, 1)
            largest = above
        part = head * splits + split
        tl.store(sums + part[:, None] * DIM + dim[None, :], total, mask=real[:, None])
        tl.store(stats + part * 2, largest, mask=real)
        tl.store(stats + part * 2 + 1, weight, mask=real)

    @triton.jit
    def combine(sums, stats, out, splits, HEADS: tl.constexpr, DIM: tl.constexpr, SPLITS: tl.constexpr):
        """One head: the splits' sums brought to one maximum, added up, over their weight."""
        head = tl.program_id(1) * HEADS + tl.program_id(0)
        split = tl.arange(0, SPLITS)
        dim = tl.arange(0, DIM)
        there = split < splits
        part = head * splits + split
        largest = tl.load(stats + part * 2, mask=there, other=float("-inf"))
        weight = tl.load(stats + part * 2 + 1, mask=there, other=0.0)
        shrink = tl.exp2(largest - tl.max(largest, 0))
        total = tl.load(sums + part[:, None] * DIM + dim[None, :], mask=there[:, None], other=0.0)
        result = tl.sum(total * shrink[:, None], 0) / tl.sum(weight * shrink, 0)
        tl.store(out + head * DIM + dim, result.to(out.dtype.element_ty))

    return attend, combine


def flashinfer_single(tensors, parameters, stream):
    import flashinfer

    if parameters["batch"] != 1:
        raise RuntimeError("single_decode_with_kv_cache takes one sequence; FlashInfer's batched decode wants pages")
    q, k, v = tensors["q"][0], tensors["k"][0], tensors["v"][0]

    def run():
        return flashinfer.single_decode_with_kv_cache(q, k, v, kv_layout="NHD")

    run()
    return run


# All of them round the softmax weights to the cache type before the second product: for bf16 by up to 2^-8 of each,
# where this kernel keeps 2^-17. Simulated (head_dim 256) that is up to 28 times the tolerance at 128 tokens of context,
# 12 at 2048, 3 at 32768. Beyond 64 times are a result off by 10 %, a scale by 5 %, a sixteenth of the tokens left out.
PEERS = {
    "torch_sdpa_flash": Peer(
        torch_sdpa_flash, tolerance_times=64, reason="rounds softmax weights to 16 bits, which the kernel does not"
    ),
    "torch_sdpa_cudnn": Peer(
        torch_sdpa_cudnn, tolerance_times=64, reason="rounds softmax weights to 16 bits, which the kernel does not"
    ),
    "torch_sdpa_efficient": Peer(
        torch_sdpa_efficient, tolerance_times=64, reason="rounds softmax weights to 16 bits, which the kernel does not"
    ),
    "triton_split": Peer(
        triton_split,
        tolerance_times=64,
        reason="rounds softmax weights to 16 bits, which the kernel does not",
        packages=("torch", "triton"),
    ),
    "flashinfer": Peer(
        flashinfer_single,
        tolerance_times=64,
        reason="rounds softmax weights to 16 bits, which the kernel does not",
        packages=("torch", "flashinfer-python"),
    ),
}
