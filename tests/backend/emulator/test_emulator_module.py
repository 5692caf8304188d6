from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest

from specforge.backend.emulator.module import EmulatedModule, EmulationFault

SOURCE = r"""
constexpr int kWarps = 4;
extern "C" __global__ void __launch_bounds__(kWarps * 32, 2) bounded(int* y) { y[threadIdx.x] = 1; }
extern "C" __global__ __launch_bounds__(64) void early(int* y) { y[threadIdx.x] = 1; }
extern "C" __global__ void unbounded(int* y) { y[threadIdx.x] = 1; }
extern "C" __global__ void scalars(double* y, int a, long long b, float c, unsigned char d) {
  *y = a + double(b) + c + d;
}
extern "C" __global__ void nothing() {}
extern "C" __global__ void count(unsigned* y) {
  __syncthreads();
  for (int i = 0; i < 50; ++i) { atomicAdd(y, 1u); __syncwarp(); }
}
extern "C" __global__ void said(int* y) { printf("lane %u says %d\n", threadIdx.x, y[0]); }
"""
ENTRIES = ["bounded", "early", "unbounded", "scalars", "nothing", "count", "said"]


@pytest.fixture(scope="module")
def module(build):
    return build(SOURCE, ENTRIES).module


def launch(module, entry, arguments=(), *, grid=(1, 1, 1), block=(1, 1, 1), shared=0):
    module.launch(entry, grid, block, shared, arguments)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"block": (1025, 1, 1)}, r"block\.x is 1025, of 1 to 1024"),
        ({"block": (1, 1, 65)}, r"block\.z is 65, of 1 to 64"),
        ({"block": (64, 17, 1)}, "1088 threads exceeds 1024"),
        ({"block": (0, 1, 1)}, r"block\.x is 0"),
        ({"block": (-5, 1, 1)}, r"block\.x is 0"),
        ({"grid": (1, 65536, 1)}, r"grid\.y is 65536, of 1 to 65535"),
        ({"grid": (2**31, 1, 1)}, r"grid\.x is 2147483648"),
        ({"grid": (1, 1, 0)}, r"grid\.z is 0"),
        ({"shared": 227 * 1024 + 1}, "232449 bytes of dynamic shared memory exceed 232448"),
        ({"shared": -1}, "dynamic shared memory is negative"),
    ],
)
def test_a_launch_that_the_driver_would_refuse_is_refused(module, where, message):
    with pytest.raises(EmulationFault, match=message) as fault:
        launch(module, "nothing", **where)
    assert (fault.value.kind, fault.value.entry, fault.value.block) == ("launch", "nothing", None)


def test_the_limits_themselves_are_allowed(module):
    launch(module, "nothing", block=(1024, 1, 1), shared=227 * 1024)
    launch(module, "nothing", block=(1, 1, 64), grid=(1, 65535, 1))


@pytest.mark.parametrize(("entry", "bound"), [("bounded", 128), ("early", 64)])
def test_launch_bounds_are_enforced(module, entry, bound):
    y = np.zeros(1024, np.int32)
    launch(module, entry, [int(y.ctypes.data)], block=(bound, 1, 1))
    assert y.sum() == bound
    with pytest.raises(EmulationFault, match=rf"{bound + 1} threads exceeds the entry's __launch_bounds__ of {bound}"):
        launch(module, entry, [int(y.ctypes.data)], block=(bound + 1, 1, 1))
    launch(module, "unbounded", [int(y.ctypes.data)], block=(1024, 1, 1))
    assert y.sum() == 1024


def test_scalars_arrive_by_type(module):
    y = np.zeros(1)
    arguments = [ctypes.c_void_p(int(y.ctypes.data)), ctypes.c_int(-3), ctypes.c_longlong(2**40), ctypes.c_float(0.5)]
    launch(module, "scalars", [*arguments, ctypes.c_ubyte(200)])
    assert y[0] == -3 + 2**40 + 0.5 + 200


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (1, ctypes.c_longlong(1), "argument 1 of scalars is an integer of 4 bytes, not an integer of 8"),
        (1, ctypes.c_float(1), "argument 1 of scalars is an integer of 4 bytes, not a floating-point number of 4"),
        (3, ctypes.c_double(1), "argument 3 of scalars is a floating-point number of 4 bytes, not .* of 8"),
        (1, 7, "argument 1 of scalars is an integer of 4 bytes, not a pointer of 8"),
        (0, ctypes.c_longlong(0), "argument 0 of scalars is a pointer of 8 bytes, not an integer of 8"),
    ],
)
def test_arguments_of_another_type_are_refused(module, position, value, message):
    arguments = [0, ctypes.c_int(1), ctypes.c_longlong(1), ctypes.c_float(1), ctypes.c_ubyte(1)]
    arguments[position] = value
    with pytest.raises(TypeError, match=message):
        launch(module, "scalars", arguments)


def test_too_few_arguments_and_unknown_entries_are_refused(module):
    with pytest.raises(TypeError, match="scalars takes 5 arguments, not 1"):
        launch(module, "scalars", [0])
    with pytest.raises(AttributeError, match="absent"):
        launch(module, "absent")


def test_threads_of_python_take_turns(module):
    totals = [np.zeros(1, np.uint32) for _ in range(4)]
    other = EmulatedModule(module.path)  # the same library, loaded twice

    def work(number: int) -> None:
        for _ in range(10):
            launch((module, other)[number % 2], "count", [int(totals[number].ctypes.data)], block=(128, 1, 1))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [int(total[0]) for total in totals] == [10 * 128 * 50] * 4


def test_printf_is_written_before_the_launch_returns(module, capfd):
    y = np.full(1, 42, np.int32)
    launch(module, "said", [int(y.ctypes.data)], block=(2, 1, 1))
    assert capfd.readouterr().out == "lane 0 says 42\nlane 1 says 42\n"


def test_parameters_are_described(module):
    assert module.parameters("scalars") == [("p", 8), ("i", 4), ("i", 8), ("f", 4), ("i", 1)]
    assert module.parameters("nothing") == []
