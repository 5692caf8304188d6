"""One token of gated DeltaNet in float64, head by head, with what each rounding of the kernel may do to the result.

`_magnitude`s are bounds in units of f32's roundoff u: each quantity x has an `x_err`, and errors go through every step
to first order. Counts, beside one rounding for each product, sum: exp, rsqrt and quotients 4 (2 ulp), log 2.
"""

from __future__ import annotations

import numpy as np

DIM = 128
EPSILON = 1e-6
LEAST = 2.0**-100  # a group of 32 below it is quantised as zeros
UNIT = 2.0**-24


def reference(
    *,
    qkv: np.ndarray,
    z: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    conv: np.ndarray,
    ssm_a: np.ndarray,
    dt_bias: np.ndarray,
    norm: np.ndarray,
    position: np.ndarray,
    conv_state: np.ndarray,
    state: np.ndarray,
    arrived: np.ndarray,
    k_heads: int,
    v_heads: int,
) -> dict[str, np.ndarray]:
    """Return the updated states, the layer's output and its quantised form: see the kernel's header."""
    tokens = len(qkv)
    slot = position.astype(np.int64) % 4
    ring = conv_state.copy()
    ring[np.arange(tokens), slot] = qkv

    # The last four inputs, oldest first: [tokens, 4, channels].
    window = ring[np.arange(tokens)[:, None], (slot[:, None] + np.arange(1, 5)) % 4]
    products = window * conv.T
    summed = products.sum(axis=1)
    c = silu(summed)
    c_err = 1.1 * 4 * np.abs(products).sum(axis=1) + 10 * np.abs(c)  # SiLU's slope is at most 1.1
    heads = c.reshape(tokens, -1, DIM)
    heads_err = c_err.reshape(tokens, -1, DIM)

    key_of = np.arange(v_heads) % k_heads
    q, q_err, q_common = normalised(heads[:, key_of], heads_err[:, key_of])
    k, k_err, k_common = normalised(heads[:, k_heads + key_of], heads_err[:, k_heads + key_of])
    q, q_err, q_common = q / np.sqrt(DIM), q_err / np.sqrt(DIM), q_common + 1
    v, v_err = heads[:, 2 * k_heads :], heads_err[:, 2 * k_heads :]

    t = a + dt_bias
    soft = np.logaddexp(0.0, t)
    exponent = ssm_a * soft
    decay = np.exp(exponent)[..., None]  # [tokens, heads, 1]
    decay_rel = (np.abs(ssm_a) * (np.abs(t) * logistic(t) + 12 * soft) + np.abs(exponent) + 4)[..., None]
    beta = logistic(b)[..., None]

    # state[t, h, j, i]: of element j of v and i of k. Sums over i: 4 in a lane, 5 steps of folding.
    sizes = np.abs(state)
    recalled = decay * along(state, k)
    recalled_err = decay * along(sizes, k_err + 9 * np.abs(k)) + np.abs(recalled) * (k_common + decay_rel + 3)
    change = beta * (v - recalled)
    change_err = beta * (v_err + recalled_err + np.abs(v - recalled)) + 12 * np.abs(change)
    kept = decay[..., None] * state
    new = kept + change[..., None] * k[:, :, None, :]
    new_err = (
        np.abs(kept) * (decay_rel[..., None] + 2)
        + change_err[..., None] * np.abs(k)[:, :, None, :]
        + np.abs(change)[..., None] * (k_err + np.abs(k) * (k_common + 3))[:, :, None, :]
    )

    o = along(new, q)
    kq = (k * q).sum(axis=-1, keepdims=True)
    kq_err = (10 * np.abs(k * q) + k_err * np.abs(q) + np.abs(k) * q_err).sum(axis=-1, keepdims=True)
    from_state = decay * along(state, q)
    o_err = (
        decay * along(sizes, q_err + 9 * np.abs(q))
        + np.abs(from_state) * (q_common + decay_rel + 4)
        + np.abs(change) * (kq_err + np.abs(kq) * (q_common + k_common + 5))
        + np.abs(kq) * change_err
        + np.abs(o)
    )

    gate = norm * silu(z.reshape(tokens, v_heads, DIM))
    out, out_err, xq, may_tip, xs, xs_err = gated(o, o_err, gate)
    return {
        "conv_state": ring,
        "state": new,
        "state_magnitude": new_err,
        "out": out,
        "out_magnitude": out_err,
        "xq": xq,
        "xq_magnitude": may_tip,
        "xs": xs,
        "xs_magnitude": xs_err,
        "arrived": np.zeros(arrived.shape, np.int64),
    }


def gated(o: np.ndarray, o_err: np.ndarray, gate: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return heads [tokens, v_heads, DIM] over their root mean square, gated, and quantised by 32; and the errors.

    An int8's error is 1 where an error of its quotient may round that to the other neighbour, else 0.
    """
    mean = (o * o).mean(axis=-1, keepdims=True) + EPSILON
    scale = 1 / np.sqrt(mean)
    scale_rel = (np.abs(o) * o_err).mean(axis=-1, keepdims=True) / mean + 11 / 2 + 4
    y = o * gate  # what is quantised: the norm's factor cancels
    y_err = np.abs(gate) * o_err + 12 * np.abs(y)
    out = y * scale
    out_err = y_err * scale + np.abs(out) * (scale_rel + 1)

    y, y_err = (array.reshape(*o.shape[:2], 4, 32) for array in (y, y_err))
    largest = np.abs(y).max(axis=-1, keepdims=True)
    largest = np.where(largest < LEAST, 0.0, largest)
    largest_err = y_err.max(axis=-1, keepdims=True)
    safe = np.where(largest > 0, largest, 1.0)
    quotient = np.where(largest > 0, 127 * y / safe, 0.0)
    quotient_err = UNIT * (127 * (y_err + np.abs(y) / safe * largest_err) / safe + 6 * np.abs(quotient))
    xs = largest * scale[..., None] / 127
    xs_err = largest_err * scale[..., None] / 127 + xs * (scale_rel[..., None] + 3)
    may_tip = np.abs(quotient - np.floor(quotient) - 0.5) <= quotient_err
    found = out, out_err, np.rint(quotient).astype(np.int64), may_tip.astype(np.float64), xs, xs_err
    return tuple(array.reshape(len(o), -1) for array in found)


def logistic(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x)), with no exponential above 1."""
    small = np.exp(-np.minimum(np.abs(x), 700))
    return np.where(x < 0, small, 1.0) / (1 + small)


def silu(x: np.ndarray) -> np.ndarray:
    """Return x times its logistic function."""
    return x * logistic(x)


def along(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return the product of each head's matrix [of v, of k] with its vector."""
    return (matrices @ vectors[..., None])[..., 0]


def normalised(x: np.ndarray, x_err: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x over its length, its own error, and the relative error that all of it shares: that of the factor."""
    square = (x * x).sum(axis=-1, keepdims=True) + EPSILON
    factor = 1 / np.sqrt(square)
    shared = (np.abs(x) * x_err).sum(axis=-1, keepdims=True) / square + 10 / 2 + 4
    return x * factor, x_err * factor, shared
