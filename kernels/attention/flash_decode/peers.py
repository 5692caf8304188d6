"""Others that attend from one token to a KV cache: PyTorch's backends, a split-KV kernel in Triton, FlashInfer.

All read k and v as they lie, [batch, capacity, kv_heads, head_dim]; nobody gets them packed anew. Triton's takes all
that the kernel does, FlashInfer's pages; what else had to be gathered, widened or multiplied were no time of theirs.
"""

from functools import cache

from specforge.kernel.peers import Peer


def torch_sdpa_flash(tensors, parameters, stream):
    from torch.nn.attention import SDPBackend

    del stream
    return _sdpa(tensors, parameters, SDPBackend.FLASH_ATTENTION)


def torch_sdpa_cudnn(tensors, parameters, stream):
    from torch.nn.attention import SDPBackend

    del stream
    return _sdpa(tensors, parameters, SDPBackend.CUDNN_ATTENTION)


def torch_sdpa_efficient(tensors, parameters, stream):
    from torch.nn.attention import SDPBackend

    del stream
    return _sdpa(tensors, parameters, SDPBackend.EFFICIENT_ATTENTION)


def torch_sdpa_math(tensors, parameters, stream):
    """What is left where no fused kernel takes a head: products and a softmax in f32, of caches widened anew."""
    from torch.nn.attention import SDPBackend

    del stream
    return _sdpa(tensors, parameters, SDPBackend.MATH)


def _caches(tensors, parameters):
    """Both caches up to their length, which is the same for all sequences in a case that is timed."""
    unlike = [name for name in ("paged", "gated", "emit") if parameters[name]] + ["i8"] * (parameters["cache"] == "i8")
    if unlike:
        raise RuntimeError(f"takes 16-bit caches in one piece and leaves the result as it is, which is not: {unlike}")
    return (tensors[name][:, : parameters["context"]] for name in ("k", "v"))


def _sdpa(tensors, parameters, backend):
    """Query heads that share a KV head stand as one head's query tokens: the same sums, and no backend repeats k."""
    from torch.nn.attention import sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    q, (k, v) = tensors["q"], (cache.transpose(1, 2) for cache in _caches(tensors, parameters))
    batch, q_heads, head_dim = q.shape
    kv_heads = k.shape[1]
    queries = q.view(batch, kv_heads, q_heads // kv_heads, head_dim)

    def run():
        with sdpa_kernel(backend):
            return {"out": scaled_dot_product_attention(queries, k, v).reshape(q.shape)}  # `efficient` has it permuted

    run()  # raises RuntimeError where the backend does not take this shape
    return run


def triton_split(tensors, parameters, stream):
    import torch

    q, out = tensors["q"], tensors["out"]
    caches = [tensors[name] for name in ("k", "v", "k_scale", "v_scale", "block_table", "length")]
    batch, q_heads, head_dim = q.shape
    context, kv_heads = parameters["context"], parameters["kv_heads"]
    kind = {"DIM": head_dim, "SCALED": parameters["cache"] == "i8", "PAGED": parameters["paged"]}
    block = max(16, min(128, 8192 // head_dim))  # tokens of a tile: 16 KiB of k, as much of v
    processors = torch.cuda.get_device_properties(q.device).multi_processor_count if q.is_cuda else 4
    splits = max(1, min(-(-2 * processors // (batch * kv_heads)), -(-context // block), 128))
    share = -(-context // (splits * block)) * block
    splits = -(-context // share)
    group = q_heads // kv_heads
    sums = torch.empty(batch, q_heads, splits, head_dim, dtype=torch.float32, device=q.device)
    stats = torch.empty(batch, q_heads, splits, 2, dtype=torch.float32, device=q.device)
    attend, combine = _triton_attend(), _triton_combine()
    scale = head_dim**-0.5 * 1.4426950408889634  # weights are powers of two

    def run():
        attend[(splits, kv_heads, batch)](
            q, *caches, sums, stats, -(-context // 16), share, splits, scale,
            HEADS=q_heads, KV_HEADS=kv_heads, GROUP=group, ROWS=max(16, 1 << (group - 1).bit_length()), BLOCK=block,
            num_warps=8 if head_dim > 128 else 4, num_stages=3 if head_dim <= 256 else 2, **kind,
        )  # fmt: skip
        combine[(q_heads, batch)](
            sums, stats, tensors["gate"], out, tensors["xq"], tensors["xs"], splits, HEADS=q_heads, DIM=head_dim,
            GATED=parameters["gated"], EMIT=parameters["emit"], SPLITS=1 << (splits - 1).bit_length(), num_warps=4,
        )  # fmt: skip

    run()
    return run


@cache
def _triton_attend():
    import triton
    import triton.language as tl

    @triton.jit
    def attend(
        q, k, v, k_scale, v_scale, table, lengths, sums, stats, pages, share, splits, scale,
        HEADS: tl.constexpr, KV_HEADS: tl.constexpr, GROUP: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
        DIM: tl.constexpr, SCALED: tl.constexpr, PAGED: tl.constexpr,
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
        first = split * share
        last = tl.minimum(first + share, tl.load(lengths + batch))
        for start in range(first, last, BLOCK):
            token = start + place
            there = token < last
            page = batch.to(tl.int64) * pages + token // 16
            if PAGED:
                page = tl.load(table + page, mask=there, other=0).to(tl.int64)
            entry = (page * 16 + token % 16) * KV_HEADS + kv_head  # not `row` again: a loop keeps its variables' types
            at = entry[:, None] * DIM + dim[None, :]
            keys = tl.load(k + at, mask=there[:, None], other=0).to(queries.dtype)
            scores = tl.dot(queries, tl.trans(keys)) * scale
            if SCALED:
                scores *= tl.load(k_scale + entry, mask=there, other=0.0)[None, :]
            scores = tl.where(there[None, :], scores, float("-inf"))
            above = tl.maximum(largest, tl.max(scores, 1))
            shrink = tl.exp2(largest - above)
            weights = tl.exp2(scores - above[:, None])
            values = tl.load(v + at, mask=there[:, None], other=0).to(queries.dtype)
            weight = weight * shrink + tl.sum(weights, 1)
            if SCALED:
                weights *= tl.load(v_scale + entry, mask=there, other=0.0)[None, :]
            total = total * shrink[:, None] + tl.dot(weights.to(values.dtype), values)
            largest = above
        part = head * splits + split
        tl.store(sums + part[:, None] * DIM + dim[None, :], total, mask=real[:, None])
        tl.store(stats + part * 2, largest, mask=real)
        tl.store(stats + part * 2 + 1, weight, mask=real)

    return attend


@cache
def _triton_combine():
    import triton
    import triton.language as tl

    @triton.jit
    def combine(
        sums, stats, gate, out, xq, xs, splits,
        HEADS: tl.constexpr, DIM: tl.constexpr, SPLITS: tl.constexpr, GATED: tl.constexpr, EMIT: tl.constexpr,
    ):  # fmt: skip
        """One head: the splits' sums brought to one maximum, added up, over their weight; as bytes, too."""
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
        if GATED:
            result = result * tl.sigmoid(tl.load(gate + (head * 2 + 1) * DIM + dim))
        tl.store(out + head * DIM + dim, result.to(out.dtype.element_ty))
        if EMIT:
            blocks = tl.reshape(result, [DIM // 32, 32])
            largest = tl.max(tl.abs(blocks), 1)
            largest = tl.where(largest < 2.0**-100, 0.0, largest)
            steps = blocks * tl.where(largest > 0, 127.0 / largest, 0.0)[:, None]
            block = tl.arange(0, DIM // 32)
            place = (head * DIM + block * 32)[:, None] + tl.arange(0, 32)[None, :]
            tl.store(xq + place, tl.floor(steps + 0.5).to(tl.int8))
            tl.store(xs + head * (DIM // 32) + block, largest * (1.0 / 127.0))

    return combine


def flashinfer(tensors, parameters, stream):
    return _flashinfer(tensors, parameters, tensor_cores=True)


def flashinfer_cuda_cores(tensors, parameters, stream):
    return _flashinfer(tensors, parameters, tensor_cores=False)


@cache
def _planned():
    """FlashInfer's wrappers by case: all copies of a case's tensors share one, as its workspaces take 150 MB."""
    import weakref

    return weakref.WeakValueDictionary()


def _flashinfer(tensors, parameters, tensor_cores):
    """Its batched decode, which wants pages: those of a cache in one piece are shown as they lie, in order."""
    import torch
    from flashinfer import BatchDecodeWithPagedKVCacheWrapper

    unlike = [name for name in ("gated", "emit") if parameters[name]] + ["i8"] * (parameters["cache"] == "i8")
    if unlike:
        raise RuntimeError(f"takes 16-bit caches and leaves the result as it is, which is not: {unlike}")
    q, out, context = tensors["q"], tensors["out"], parameters["context"]
    k, v = (tensors[name].view(-1, 16, *tensors[name].shape[2:]) for name in ("k", "v"))
    batch, q_heads, head_dim = q.shape
    pages = -(-context // 16)
    key = (tensor_cores, q.dtype, *q.shape, k.shape[2], context, parameters["paged"])
    wrapper = _planned().get(key)
    if wrapper is None:
        table = tensors["block_table"]  # read by reference: by every copy's work, as all have the same one
        if not parameters["paged"]:
            table = torch.arange(batch * pages, dtype=torch.int32, device=q.device)
        wrapper = BatchDecodeWithPagedKVCacheWrapper(
            torch.zeros(128 << 20, dtype=torch.uint8, device=q.device),
            "NHD",
            use_tensor_cores=tensor_cores,
            backend="fa2",
        )
        wrapper.plan(  # lengths are the host's to know: in a case that is timed all are `context`
            torch.arange(batch + 1, dtype=torch.int32) * pages,
            table.reshape(-1),
            torch.full((batch,), (context - 1) % 16 + 1, dtype=torch.int32),
            q_heads, k.shape[2], head_dim, 16, q_data_type=q.dtype, kv_data_type=k.dtype,
        )  # fmt: skip
        _planned()[key] = wrapper

    def run():
        wrapper.run(q, (k, v), out=out)

    run()  # raises RuntimeError where FlashInfer does not take this shape
    return run


# All but FlashInfer's on CUDA cores and PyTorch's in f32 round the softmax weights to the cache type before the second
# product: for bf16 by up to 2^-8 of each, where this kernel keeps 2^-17. Simulated (head_dim 256) that is up to 28
# times the tolerance at 128 tokens of context, 12 at 2048, 3 at 32768. Beyond 64 times are a result off by 10 %, a
# scale by 5 %, a sixteenth of the tokens left out.
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
    "torch_sdpa_math": Peer(torch_sdpa_math, tolerance_times=16, reason="another order of sums and scales"),
    "triton_split": Peer(
        triton_split,
        tolerance_times=64,
        reason="rounds softmax weights to 16 bits, which the kernel does not",
        packages=("torch", "triton"),
    ),
    "flashinfer": Peer(
        flashinfer,
        tolerance_times=64,
        reason="rounds softmax weights to 16 bits, which the kernel does not",
        packages=("torch", "flashinfer-python"),
    ),
    "flashinfer_cuda_cores": Peer(
        flashinfer_cuda_cores,
        tolerance_times=16,
        reason="fast exponentials and quotients; another order of sums",
        packages=("torch", "flashinfer-python"),
    ),
}
