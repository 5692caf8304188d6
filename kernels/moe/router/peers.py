"""Others that route: PyTorch's projection and topk, and two kernels in Triton.

Among equal logits the lower expert comes first. `torch.topk` promises no order among equals: where a draw holds some,
it is wrong and so no peer. Logits that rounding tips are judged as the kernel's are.
"""

from functools import cache

from specforge.kernel.peers import Peer


def torch_linear(tensors, parameters, stream):
    import torch
    from torch.nn.functional import linear

    x, w, count = tensors["x"], tensors["w"], parameters["top_k"]

    def run():
        logits = linear(x, w)
        top, ids = torch.topk(logits, count, dim=1)
        return {"logits": logits, "ids": ids, "weights": torch.softmax(top, 1)}

    run()
    return run


def triton_pair(tensors, parameters, stream):
    x, w, logits, ids, weights = (tensors[name] for name in ("x", "w", "logits", "ids", "weights"))
    tokens, hidden = x.shape
    experts = len(w)
    project, choose = _triton_kernels()

    def run():
        project[(experts,)](x, w, logits, tokens, EXPERTS=experts, HIDDEN=hidden, num_warps=4)
        choose[(tokens,)](logits, ids, weights, EXPERTS=experts, TOP_K=parameters["top_k"], num_warps=1)

    run()
    return run


@cache
def _triton_kernels():
    import triton
    import triton.language as tl

    @triton.jit
    def project(x, w, logits, tokens, EXPERTS: tl.constexpr, HIDDEN: tl.constexpr):
        """One expert's logit of every token."""
        expert = tl.program_id(0)
        at = tl.arange(0, HIDDEN)
        row = tl.load(w + expert * HIDDEN + at)
        for token in range(tokens):
            tl.store(logits + token * EXPERTS + expert, tl.sum(row * tl.load(x + token * HIDDEN + at), 0))

    @triton.jit
    def choose(logits, ids, weights, EXPERTS: tl.constexpr, TOP_K: tl.constexpr):
        """One token: its experts in registers, the largest taken out `TOP_K` times."""
        token = tl.program_id(0)
        expert = tl.arange(0, EXPERTS)
        chosen = tl.arange(0, TOP_K)
        values = tl.load(logits + token * EXPERTS + expert)
        largest = tl.max(values, 0)
        top = tl.full([TOP_K], float("-inf"), tl.float32)
        taken = tl.zeros([TOP_K], tl.int32)
        for turn in tl.static_range(TOP_K):
            best = tl.argmax(values, 0, tie_break_left=True)
            top = tl.where(chosen == turn, tl.max(values, 0), top)
            taken = tl.where(chosen == turn, best, taken)
            values = tl.where(expert == best, float("-inf"), values)
        terms = tl.exp(top - largest)
        tl.store(ids + token * TOP_K + chosen, taken)
        tl.store(weights + token * TOP_K + chosen, terms / tl.sum(terms, 0))

    return project, choose


PEERS = {
    "torch_linear": Peer(torch_linear, tolerance_times=4, reason="sums in an order of its own"),
    "triton_pair": Peer(
        triton_pair, tolerance_times=4, reason="sums in an order of its own", packages=("torch", "triton")
    ),
}
