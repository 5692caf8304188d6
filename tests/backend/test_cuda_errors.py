from __future__ import annotations

import enum
import pickle

import pytest

from specforge.backend.cuda_errors import FAULTS, REFUSALS, CudaError, checked, driver_calls
from specforge.backend.runner import KernelFault


class Code(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_INVALID_VALUE = 1
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_ILLEGAL_ADDRESS = 700


def test_success_unpacks() -> None:
    assert checked((Code(0),), "x") is None
    assert checked((Code(0), 5), "x") == 5
    assert checked((Code(0), 5, 6), "x") == (5, 6)


@pytest.mark.parametrize(("code", "kind", "poisoned"), [(700, "illegal access", True), (1, "launch refused", False)])
def test_what_a_kernel_causes_is_its_fault(code: int, kind: str, poisoned: bool) -> None:
    with pytest.raises(KernelFault, match="while waiting") as caught:
        checked((Code(code),), "waiting")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.kind, again.poisoned) == (kind, poisoned)
    assert str(again) == str(caught.value)


def test_the_rest_is_the_machines() -> None:
    with pytest.raises(CudaError, match="CUDA_ERROR_OUT_OF_MEMORY while allocating") as caught:
        checked((Code(2), None), "allocating")
    assert pickle.loads(pickle.dumps(caught.value)).name == "CUDA_ERROR_OUT_OF_MEMORY"


def test_errors_of_cuda_core_are_translated_by_their_text() -> None:
    with pytest.raises(KernelFault, match="illegal access"), driver_calls("launching"):
        raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS: An illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="something else"), driver_calls("launching"):
        raise RuntimeError("something else, not CUDA_ERROR_ILLEGAL_ADDRESS")
    with pytest.raises(KernelFault, match="deadlock"), driver_calls("launching"):
        raise KernelFault("deadlock", "kept as it is")


def test_no_error_is_both() -> None:
    assert not set(FAULTS) & set(REFUSALS)
