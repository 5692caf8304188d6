from __future__ import annotations

import pytest

from specforge.kernel.signature import parse_entries


def arguments(text):
    (entry,) = parse_entries(text).values()
    return [(a.name, a.ctype, a.pointers, a.const) for a in entry.arguments]


@pytest.mark.parametrize(
    ("written", "ctype", "pointers", "const"),
    [
        ("const float* __restrict__ a", "float", 1, True),
        ("float const *a", "float", 1, True),
        ("float* const a", "float", 1, False),
        ("const T* const __restrict__ a", "__nv_bfloat16", 1, True),
        ("U a", "unsigned int", 0, False),
        ("unsigned long long* a", "unsigned long long", 1, False),
        ("long long int a", "long long", 0, False),
        ("const half2* a", "__half2", 1, True),
        ("In a", "int", 1, True),
        ("M * a", "float", 1, False),
        ("float a[]", "float", 1, False),
        ("const float** a", "float", 2, True),
        ("[[maybe_unused]] uint8_t *a", "unsigned char", 1, False),
        ("Pair<int, 3> a", "Pair int 3", 0, False),
    ],
)
def test_types_come_down_to_cuda_types(written, ctype, pointers, const):
    text = f"""
typedef __nv_bfloat16 T; using U = unsigned; typedef const int* In;
#define M float
extern "C" __global__ void f({written}, int n) {{}}"""
    assert arguments(text) == [("a", ctype, pointers, const), ("n", "int", 0, False)]


@pytest.mark.parametrize(
    "head",
    [
        'extern "C" __global__ void f',
        'extern "C" __global__ void __launch_bounds__(32 * WARPS, 1) f',
        'extern "C" __global__ __launch_bounds__(max(1, 2)) void\nf',
        'extern "C" void __global__ f',
        'extern "C"\n#line 3 "x"\n__global__ void f',
        'extern "C" /* void g( */ __global__ void // h(\nf',
    ],
)
def test_heads_in_every_order(head):
    assert arguments(f"{head} (int n) {{}}") == [("n", "int", 0, False)]


def test_directives_and_comments_between_arguments_do_not_count():
    text = 'extern "C" __global__ void f(int a, // b, c\n#line 7 "x"\n /* int d, */ float* e) {}'
    assert [name for name, *_ in arguments(text)] == ["a", "e"]


@pytest.mark.parametrize(
    "text",
    [
        '// extern "C" __global__ void f(int n) {}',
        '/* extern "C" __global__ void f(int n) {} */',
        "__global__ void f(int n) {}",
        'extern "C" void f(int n);',
        'extern "C" __device__ void f(int n);',
        'extern "C" __global__ void f(int n',
    ],
)
def test_what_is_no_entry(text):
    assert not [entry for entry in parse_entries(text).values() if entry.name == "f" and text.count(")")]


def test_no_arguments_and_offsets():
    heads = ("f()", "g(void)", "h(int n)")
    text = "\n".join(f'extern "C" __global__ void {head} {{}}' for head in heads)
    entries = parse_entries(text)
    assert [len(entry.arguments) for entry in entries.values()] == [0, 0, 1]
    assert text[entries["h"].offset] == "h"
    assert text[entries["h"].arguments[0].offset :].startswith("int n")
