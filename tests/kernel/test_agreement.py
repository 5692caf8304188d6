from __future__ import annotations

import itertools

import pytest

from specforge.kernel.agreement import check_agreement
from specforge.kernel.render import render
from specforge.roots import shipped
from specforge.spec.geometry import plan
from specforge.spec.interface import find_kernel, list_kernels


def check(kernel, dtype="f32", count=12):
    bindings = {"factor": 2, "dtype": dtype, "threads": 32}
    parameters = {"count": count, "factor": 2, "dtype": dtype}
    return check_agreement(kernel, render(kernel, bindings), plan(kernel, parameters, {"threads": 32}))


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_what_agrees_gives_nothing(make_kernel, dtype):
    assert check(make_kernel(), dtype) == []


@pytest.mark.parametrize(
    ("old", "new", "message", "line"),
    [
        ("const T* __restrict__ x, float", "T* __restrict__ x, float", "an input is not written", 13),
        ("const T* __restrict__ x", "const double* x", "`const float*` is due, not a pointer to double", 13),
        ("const T* __restrict__ x", "T x", "a tensor needs a pointer", 13),
        ("const T* __restrict__ x", "const T** x", "a tensor needs a pointer", 13),
        ("const float* partial, T* y", "const float* partial, const T* y", "output 'y' is const", 18),
        ("float* __restrict__ partial, int", "const float* partial, int", "scratch tensor 'partial' is const", 13),
        ("float* __restrict__ partial, int count", "float* partial, float count", "a whole number", 13),
        (
            "float* __restrict__ partial, int count",
            "float* partial, int* count",
            "a number, but the argument is a pointer",
            13,
        ),
        ("T* y, int count", "T* y, short count", "not `short`", 18),
        ("T* y, int count", "float8* y, int count", "not a pointer to float8", 18),
    ],
)
def test_disagreements_point_at_the_argument(make_kernel, texts, *, old, new, message, line):
    assert old in texts["template"]
    kernel = make_kernel(template=texts["template"].replace(old, new))
    found = check(kernel)
    assert [(d.code, d.position.file, d.position.line) for d in found] == [("SF504", kernel.template, line)], found
    assert message in found[0].message
    text = kernel.template.read_text().split("\n")[line - 1]
    assert text[found[0].position.column - 1 :].startswith(found[0].value.split()[0])


def test_what_is_updated_in_place_is_written_by_some_launch(make_kernel, texts):
    yaml = texts["yaml"].replace("dtype: f32, role: scratch", "dtype: f32, role: inout") + "  partial: exact\n"
    reference = texts["reference"].replace("return {", 'return {"partial": x * factor, ')
    assert check(make_kernel(yaml=yaml, reference=reference)) == []
    template = texts["template"].replace("float* __restrict__ partial, int", "const float* partial, int")
    (found,) = check(make_kernel(yaml=yaml, template=template, reference=reference))
    assert "'partial' is updated in place, and const in every launch" in found.message


def test_vector_types_of_the_element_are_its_pointers(make_kernel, texts):
    kernel = make_kernel(template=texts["template"].replace("const float* partial", "const float4* partial"))
    assert check(kernel, count=12) == []
    (found,) = check(kernel, count=13)
    assert "13 elements are no whole number of float4" in found.message


@pytest.mark.parametrize("ctype", ["unsigned", "long long", "uint32_t"])
def test_whole_numbers_have_several_types(make_kernel, texts, ctype):
    assert check(make_kernel(template=texts["template"].replace("T* y, int count", f"T* y, {ctype} count"))) == []


@pytest.mark.parametrize(
    ("argument", "ctype", "message"),
    [
        ('"0.5 * count"', "float", None),
        ('"0.5 * count"', "int", "a float, so `float` is due"),
        ('"count * 2 ** 32"', "int", "does not fit into `int`"),
        ('"count * 2 ** 32"', "long long", None),
        ('"-count"', "unsigned", "does not fit"),
    ],
)
def test_scalars_are_of_their_expressions_kind(make_kernel, texts, argument, ctype, message):
    yaml = texts["yaml"].replace("args: [partial, y, count]", f"args: [partial, y, {argument}]")
    found = check(make_kernel(yaml=yaml, template=texts["template"].replace("T* y, int count", f"T* y, {ctype} count")))
    assert [message in d.message for d in found] == ([True] if message else [])


def test_a_wrong_number_of_arguments_stands_in_the_yaml(make_kernel, texts):
    kernel = make_kernel(yaml=texts["yaml"].replace("args: [partial, y, count]", "args: [partial, y]"))
    (found,) = check(kernel)
    assert (found.code, found.position) == ("SF504", kernel.document.at(("launches", 1, "args")))
    assert "takes 3 arguments, the launch passes 2" in found.message


def test_a_missing_entry_names_the_nearest(make_kernel, texts):
    kernel = make_kernel(yaml=texts["yaml"].replace("entry: narrow", "entry: narow"))
    (found,) = check(kernel)
    assert found.position == kernel.document.at(("launches", 1, "entry"))
    assert "did you mean 'narrow'" in found.hint


def test_an_entry_that_is_not_extern_c_gets_told(make_kernel, texts):
    found = check(make_kernel(template=texts["template"].replace('extern "C" ', "")))
    assert all('extern "C"' in d.hint for d in found)
    assert len(found) == 2


def test_every_tensor_is_passed_to_some_launch(make_kernel, texts):
    yaml = texts["yaml"].replace("  y: {shape", "  spare: {shape: [count], dtype: f32, role: scratch}\n  y: {shape")
    kernel = make_kernel(yaml=yaml)
    (found,) = check(kernel)
    assert found.position == kernel.document.at(("tensors", "spare"), key=True)


def test_the_reference_is_checked_too(make_kernel, texts):
    assert [d.code for d in check(make_kernel(reference=texts["reference"].replace("factor:", "facter:")))] == ["SF505"]


@pytest.mark.parametrize("identity", list_kernels((shipped(),)))
def test_shipped_kernels_agree(identity):
    kernel = find_kernel(identity, (shipped(),))
    for pick in (0, -1):
        ends = [parameter.domain.edges()[:: 1 if pick == 0 else -1] for parameter in kernel.file.parameters.values()]
        cases = (dict(zip(kernel.file.parameters, values, strict=True)) for values in itertools.product(*ends))
        parameters = next(case for case in cases if all(one.that.truth(case) for one in kernel.file.constraints))
        tunables = {name: declared.domain.edges()[pick] for name, declared in kernel.file.tunables.items()}
        rendered = render(kernel, {name: {**parameters, **tunables}[name] for name in kernel.compile_names()})
        assert check_agreement(kernel, rendered, plan(kernel, parameters, tunables)) == []
