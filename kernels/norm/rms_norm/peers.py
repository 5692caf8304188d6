"""Others that normalise: PyTorch's operations one after another, and one fused kernel in Triton."""

from functools import cache

from specforge.kernel.peers import Peer

EPS = 1e-6


def torch_operations(tensors, parameters, stream):
    import torch
    from torch.nn.functional import rms_norm

    x, r, w = (tensors[name] for name in ("x", "r", "w"))
    tokens, hidden = x.shape
    weight = 1.0 + w if parameters["zero_centred"] else w  # once: a weight may be prepared
    nothing = torch.zeros_like(tensors["sum"])

    def run():
        total = x + r if parameters["residual"] else x
        y = rms_norm(total, (hidden,), weight, EPS)
        blocks = y.view(tokens, hidden // 32, 32)
        largest = blocks.abs().amax(2, keepdim=True)
        xq = (blocks * (127.0 / largest)).nan_to_num(0.0).round().to(torch.int8)
        return {
            "sum": total if parameters["residual"] else nothing,
            "y": y,
            "xq": xq.view(tokens, hidden),
            "xs": largest[:, :, 0] / 127.0,
        }

    run()
    return run


def triton_fused(tensors, parameters, stream):
    x, r, w, total, y, xq, xs = (tensors[name] for name in ("x", "r", "w", "sum", "y", "xq", "xs"))
    tokens, hidden = x.shape
    normalise = _triton_kernel()

    def run():
        normalise[(tokens,)](
            x, r, w, total, y, xq, xs, EPS,
            HIDDEN=hidden, RESIDUAL=parameters["residual"], ZERO_CENTRED=parameters["zero_centred"], num_warps=8,
        )  # fmt: skip

    run()
    return run


@cache
def _triton_kernel():
    import triton
    import triton.language as tl

    @triton.jit
    def normalise(
        x, r, w, total, y, xq, xs, eps,
        HIDDEN: tl.constexpr, RESIDUAL: tl.constexpr, ZERO_CENTRED: tl.constexpr,
    ):  # fmt: skip
        """One token's row in registers, as blocks of 32."""
        block = tl.arange(0, HIDDEN // 32)
        at = block[:, None] * 32 + tl.arange(0, 32)[None, :]
        place = tl.program_id(0) * HIDDEN + at
        row = tl.load(x + place)
        if RESIDUAL:
            row += tl.load(r + place)
            tl.store(total + place, row)
        else:
            tl.store(total, 0.0)
        weight = tl.load(w + at)
        if ZERO_CENTRED:
            weight += 1.0
        scale = 1.0 / tl.sqrt(tl.sum(tl.sum(row * row, 1), 0) / HIDDEN + eps)
        row = row * weight * scale
        largest = tl.max(tl.abs(row), 1)
        to_byte = tl.where(largest > 0.0, 127.0 / largest, 0.0)
        tl.store(y + place, row)
        tl.store(xs + tl.program_id(0) * (HIDDEN // 32) + block, largest / 127.0)
        # 1.5 * 2^23 has no place for fractions: adding it rounds to the nearest, ties to even
        tl.store(xq + place, ((row * to_byte[:, None] + 12582912.0) - 12582912.0).to(tl.int8))

    return normalise


# Both round each element once more, by the row's scale, before it becomes a byte; Triton's square root, division and
# sums are its own. A byte that lies closer to a tie than that may be one off where the kernel's may not.
PEERS = {
    "torch_operations": Peer(torch_operations, tolerance_times=4, reason="sums in an order of its own"),
    "triton_fused": Peer(
        triton_fused,
        tolerance_times=4,
        reason="sums in an order of its own, approximate square root and division",
        packages=("torch", "triton"),
    ),
}
