"""Another that multiplies by such a matrix: cuBLAS, through PyTorch."""

from specforge.kernel.peers import Peer


def torch_matmul(tensors, parameters, stream):
    import torch

    x, weights = tensors["x"], tensors["weights"]
    if x.dtype != weights.dtype:
        raise RuntimeError("PyTorch multiplies equal types alone")

    def run():
        return torch.matmul(x, weights.T)

    run()
    return run


PEERS = {
    "torch_matmul": Peer(torch_matmul, tolerance_times=512, reason="rounds the result to bf16"),
}
