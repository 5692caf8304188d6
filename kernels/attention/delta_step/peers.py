"""Others that take a step of gated DeltaNet: flash-linear-attention's recurrent kernel, and one Triton kernel for all.

flash-linear-attention's kernel does the recurrence (with the norms of q and k, decay and beta). The convolution before
it and the gated norm and quantisation behind it are PyTorch's here: its time is that of the whole step.
"""

from functools import cache

from specforge.kernel.peers import Peer


def fla(tensors, parameters, stream):
    import torch

    fused_recurrent_gated_delta_rule = _fla_kernel()
    qkv, ring, state = (tensors[name] for name in ("qkv", "conv_state", "state"))
    tokens, k_heads, v_heads = (parameters[name] for name in ("tokens", "k_heads", "v_heads"))
    rows = torch.arange(tokens, device=qkv.device)
    taps = tensors["conv"].t().contiguous()
    decay_log, bias = torch.log(-tensors["ssm_a"]), tensors["dt_bias"]  # its kernel takes -exp(A_log)
    places = torch.arange(1, 5, device=qkv.device)
    # Its value head h reads key head h * k_heads // v_heads; ours h % k_heads.
    heads = torch.arange(v_heads, device=qkv.device) % k_heads

    def run():
        slot = tensors["position"].long() % 4
        ring[rows, slot] = qkv
        window = ring[rows[:, None], (slot[:, None] + places) % 4]
        c = torch.nn.functional.silu((window * taps).sum(1)).view(tokens, 1, -1, 128)
        o, after = fused_recurrent_gated_delta_rule(
            c[:, :, heads], c[:, :, k_heads + heads], c[:, :, 2 * k_heads :].contiguous(),
            g=tensors["a"][:, None], beta=tensors["b"][:, None], initial_state=state, output_final_state=True,
            use_qk_l2norm_in_kernel=True, use_gate_in_kernel=True, A_log=decay_log, dt_bias=bias,
            use_beta_sigmoid_in_kernel=True, state_v_first=True,
        )  # fmt: skip
        o = o.view(tokens, v_heads, 128)
        o = o * torch.rsqrt((o * o).mean(-1, keepdim=True) + 1e-6) * tensors["norm"]
        out = o.view(tokens, -1) * torch.nn.functional.silu(tensors["z"])
        groups = out.view(tokens, -1, 32)
        largest = groups.abs().amax(-1, keepdim=True)
        xq = torch.round(torch.where(largest > 0, groups / largest * 127, 0)).to(torch.int8)
        return {"state": after, "out": out, "xq": xq.view(tokens, -1), "xs": largest[..., 0] / 127}

    run()
    return run


def _fla_kernel():
    """Its file and what that needs: with all that its packages import beside it 14 s of searching a disk."""
    import sys
    from importlib.util import find_spec
    from types import ModuleType

    for extension in ("fla.layers", "fla.models"):
        sys.modules.setdefault(extension, None)  # as if only fla-core were installed
    for name in ("fla.ops", "fla.ops.utils", "fla.ops.gated_delta_rule"):
        if name not in sys.modules:
            package = ModuleType(name)
            package.__path__ = find_spec(name).submodule_search_locations
            sys.modules[name] = package
    from fla.ops.gated_delta_rule.fused_recurrent import fused_recurrent_gated_delta_rule

    return fused_recurrent_gated_delta_rule


def triton_fused(tensors, parameters, stream):
    step = _triton_kernel()
    given = [tensor for name, tensor in tensors.items() if name != "arrived"]  # in kernel.yaml's order

    def run():
        step[(parameters["v_heads"], parameters["tokens"])](
            *given, K_HEADS=parameters["k_heads"], V_HEADS=parameters["v_heads"], num_warps=16
        )

    run()
    return run


@cache
def _triton_kernel():
    import triton
    import triton.language as tl

    @triton.jit
    def step(
        qkv, z, a, b, conv, ssm_a, dt_bias, norm, position, ring, state, out, xq, xs,
        K_HEADS: tl.constexpr, V_HEADS: tl.constexpr,
    ):  # fmt: skip
        """One head of one token."""
        head, token = tl.program_id(0), tl.program_id(1)
        CHANNELS: tl.constexpr = (2 * K_HEADS + V_HEADS) * 128
        dim = tl.arange(0, 128)
        place = token * V_HEADS + head
        tile = state + place * 128 * 128 + dim[:, None] * 128 + dim[None, :]
        s = tl.load(tile)
        slot = tl.load(position + token) % 4
        first = ring + (token * 4 + slot) * CHANNELS
        q_channel = head % K_HEADS * 128 + dim
        k_channel, v_channel = q_channel + K_HEADS * 128, (2 * K_HEADS + head) * 128 + dim
        base = qkv + token * CHANNELS
        q_new, k_new, v_new = tl.load(base + q_channel), tl.load(base + k_channel), tl.load(base + v_channel)
        q = q_new * tl.load(conv + q_channel * 4 + 3)
        k = k_new * tl.load(conv + k_channel * 4 + 3)
        v = v_new * tl.load(conv + v_channel * 4 + 3)
        for tap in tl.static_range(3):
            past = ring + (token * 4 + (slot + 1 + tap) % 4) * CHANNELS
            q += tl.load(past + q_channel) * tl.load(conv + q_channel * 4 + tap)
            k += tl.load(past + k_channel) * tl.load(conv + k_channel * 4 + tap)
            v += tl.load(past + v_channel) * tl.load(conv + v_channel * 4 + tap)
        q, k, v = q / (1 + tl.exp(-q)), k / (1 + tl.exp(-k)), v / (1 + tl.exp(-v))
        tl.store(first + v_channel, v_new)
        if head < K_HEADS:
            tl.store(first + q_channel, q_new)
            tl.store(first + k_channel, k_new)
        q = q / tl.sqrt(tl.sum(q * q, 0) + 1e-6) * 0.08838834764831845
        k = k / tl.sqrt(tl.sum(k * k, 0) + 1e-6)
        t = tl.load(a + place) + tl.load(dt_bias + head)
        soft = tl.maximum(t, 0.0) + tl.log(1 + tl.exp(-tl.abs(t)))
        s = s * tl.exp(tl.load(ssm_a + head) * soft)
        change = (v - tl.sum(s * k[None, :], 1)) / (1 + tl.exp(-tl.load(b + place)))
        s += change[:, None] * k[None, :]
        tl.store(tile, s)
        o = tl.sum(s * q[None, :], 1)
        gate = tl.load(z + place * 128 + dim)
        y = o / tl.sqrt(tl.sum(o * o, 0) / 128 + 1e-6) * tl.load(norm + dim) * (gate / (1 + tl.exp(-gate)))
        tl.store(out + place * 128 + dim, y)
        groups = tl.reshape(y, [4, 32])
        largest = tl.max(tl.abs(groups), 1)
        quotient = tl.where(largest[:, None] > 0, groups / largest[:, None] * 127, 0.0)
        rounded = quotient + 12582912.0 - 12582912.0  # to nearest: no bits are left behind the point
        group = tl.arange(0, 4)
        tl.store(xq + place * 128 + group[:, None] * 32 + tl.arange(0, 32)[None, :], rounded.to(tl.int8))
        tl.store(xs + place * 4 + group, largest / 127)

    return step


PEERS = {
    "fla": Peer(
        fla,
        tolerance_times=16,
        reason="fast exponentials, roots and quotients; other orders of sums",
        packages=("torch", "triton", "fla-core"),
    ),
    "triton_fused": Peer(
        triton_fused,
        tolerance_times=16,
        reason="fast exponentials, roots and quotients; other orders of sums",
        packages=("torch", "triton"),
    ),
}
