"""Others that choose experts: PyTorch's topk and its stable sort, and one fused kernel in Triton.

Among equal logits the lower expert comes first. `torch.topk` promises no order among equals: where a draw holds some,
it is wrong and so no peer; `torch_sort` keeps the order.
"""

from functools import cache

from specforge.kernel.peers import Peer


def torch_topk(tensors, parameters, stream):
    import torch

    logits, count = tensors["logits"], parameters["top_k"]

    def run():
        top, ids = torch.topk(logits, count, dim=1)
        return {"ids": ids, "weights": _weights(top, logits, parameters)}

    run()
    return run


def torch_sort(tensors, parameters, stream):
    import torch

    logits, count = tensors["logits"], parameters["top_k"]

    def run():
        ordered, ids = torch.sort(logits, dim=1, descending=True, stable=True)
        return {"ids": ids[:, :count], "weights": _weights(ordered[:, :count], logits, parameters)}

    run()
    return run


def _weights(top, logits, parameters):
    """Softmax of the chosen alone is the renormalised one; otherwise the denominator runs over all experts."""
    import torch

    if parameters["renormalise"]:
        return torch.softmax(top, 1, dtype=torch.float32)
    return torch.exp(top.float() - torch.logsumexp(logits.float(), 1, keepdim=True))


def triton_fused(tensors, parameters, stream):
    logits, ids, weights = (tensors[name] for name in ("logits", "ids", "weights"))
    tokens, experts = logits.shape
    route = _triton_kernel()

    def run():
        route[(tokens,)](
            logits, ids, weights,
            EXPERTS=experts, TOP_K=parameters["top_k"], RENORMALISE=parameters["renormalise"], num_warps=1,
        )  # fmt: skip

    run()
    return run


@cache
def _triton_kernel():
    import triton
    import triton.language as tl

    @triton.jit
    def route(
        logits, ids, weights, EXPERTS: tl.constexpr, TOP_K: tl.constexpr, RENORMALISE: tl.constexpr
    ):  # fmt: skip
        """One token: its experts in registers, the largest taken out `TOP_K` times."""
        token = tl.program_id(0)
        expert = tl.arange(0, EXPERTS)
        chosen = tl.arange(0, TOP_K)
        values = tl.load(logits + token * EXPERTS + expert).to(tl.float32)
        largest = tl.max(values, 0)
        total = tl.sum(tl.exp(values - largest), 0)
        top = tl.full([TOP_K], float("-inf"), tl.float32)
        taken = tl.zeros([TOP_K], tl.int32)
        for turn in tl.static_range(TOP_K):
            best = tl.argmax(values, 0, tie_break_left=True)
            top = tl.where(chosen == turn, tl.max(values, 0), top)
            taken = tl.where(chosen == turn, best, taken)
            values = tl.where(expert == best, float("-inf"), values)
        terms = tl.exp(top - largest)
        if RENORMALISE:
            total = tl.sum(terms, 0)
        tl.store(ids + token * TOP_K + chosen, taken)
        tl.store(weights + token * TOP_K + chosen, terms / total)

    return route


PEERS = {
    "torch_topk": torch_topk,
    "torch_sort": torch_sort,
    "triton_fused": Peer(triton_fused, packages=("torch", "triton")),
}
