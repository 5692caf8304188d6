"""Others that look for the largest logit: PyTorch's max, and two passes in Triton.

Among equal logits the first is right. `torch.max` promises no order among equals: where a draw holds some, it is wrong
and so no peer.
"""

from functools import cache

from specforge.kernel.peers import Peer


def torch_max(tensors, parameters, stream):
    import torch

    logits = tensors["logits"]

    def run():
        value, place = torch.max(logits, dim=1)
        return {"id": place, "value": value}

    run()
    return run


def triton_two_passes(tensors, parameters, stream):
    import torch

    logits, place, value = (tensors[name] for name in ("logits", "id", "value"))
    tokens, vocabulary = logits.shape
    block = 2048
    blocks = -(-vocabulary // block)
    keys = torch.empty(tokens, blocks, dtype=torch.float32, device=logits.device)
    places = torch.empty(tokens, blocks, dtype=torch.int32, device=logits.device)
    first, second = _triton_kernels()

    def run():
        first[(blocks, tokens)](logits, keys, places, vocabulary, BLOCK=block, num_warps=4)
        second[(tokens,)](keys, places, place, value, blocks, BLOCKS=1 << (blocks - 1).bit_length(), num_warps=4)

    run()
    return run


@cache
def _triton_kernels():
    import triton
    import triton.language as tl

    @triton.jit
    def first(logits, keys, places, vocabulary, BLOCK: tl.constexpr):
        """One block's largest logit and its place."""
        block, token = tl.program_id(0), tl.program_id(1)
        at = block * BLOCK + tl.arange(0, BLOCK)
        row = logits + token.to(tl.int64) * vocabulary
        values = tl.load(row + at, mask=at < vocabulary, other=float("-inf"))
        slot = token * tl.num_programs(0) + block
        tl.store(keys + slot, tl.max(values, 0))
        tl.store(places + slot, block * BLOCK + tl.argmax(values, 0, tie_break_left=True))

    @triton.jit
    def second(keys, places, place, value, blocks, BLOCKS: tl.constexpr):
        """The first of the blocks with the largest logit."""
        token = tl.program_id(0)
        block = tl.arange(0, BLOCKS)
        values = tl.load(keys + token * blocks + block, mask=block < blocks, other=float("-inf"))
        tl.store(value + token, tl.max(values, 0))
        tl.store(place + token, tl.load(places + token * blocks + tl.argmax(values, 0, tie_break_left=True)))

    return first, second


PEERS = {
    "torch_max": torch_max,
    "triton_two_passes": Peer(triton_two_passes, packages=("torch", "triton")),
}
