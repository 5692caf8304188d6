from __future__ import annotations

import pytest

from specforge.kernel.oracle import check_reference


def test_a_good_reference_gives_nothing(make_kernel, texts):
    assert check_reference(make_kernel()) == []
    helper = "import math\n\n\ndef half(a):\n    return a / math.sqrt(4)\n\n\n" + texts["reference"].replace(
        "return {", "if factor:\n        pass\n    return {"
    )
    assert check_reference(make_kernel(reference=helper)) == []


@pytest.mark.parametrize(
    ("old", "new", "message", "line", "value"),
    [
        ("import numpy as np", "import torch as np", "imports 'torch'", 1, "torch"),
        ("import numpy as np", "from specforge import dtypes as np", "imports 'specforge'", 1, "specforge"),
        ("import numpy as np", "from . import np", "imports '.'", 1, "."),
        ("    return", "    import os\n    return", "imports 'os'", 5, "os"),
        ("def reference", "def referense", "0 functions named", 1, None),
        ("def reference", "async def reference", "exactly one plain function", 4, None),
        ("*, x", "x", "not keyword-only", 4, "x"),
        ("factor: int)", "**rest)", "not keyword-only", 4, "rest"),
        ("factor: int)", "factor: int = 2)", "has a default", 4, "factor"),
        ("factor: int", "facter: int", "neither an input nor a parameter", 4, "facter"),
        ("factor: int", "threads: int", "tunable 'threads'", 4, "threads"),
        ("factor: int", "partial", "'partial', which is no input", 4, "partial"),
        ('"y": x', '"z": x', "returns 'z', which is no output", 5, "z"),
        ('"y": x * factor, ', "", "does not return 'y'", 5, None),
        (', "y_magnitude": np.abs(x * factor)', "", "does not return 'y_magnitude'", 5, None),
        ('"y": x', '"y": 1, "y": x', "returns 'y' twice", 5, "y"),
        ('{"y"', '{**{}, "y"', "not a plain text", 5, None),
        ('{"y"', '{x.name: 1, "y"', "not a plain text", 5, None),
        ("    return {", "    if factor:\n        return x\n    return {", "other than a dict display", 6, None),
        (
            "    return {",
            "    if factor:\n        return {'y': x}\n    return {",
            "does not return 'y_magnitude'",
            6,
            None,
        ),
        ("    return {", "    result = {", "returns nothing", 4, None),
        ("def reference(", "def reference((", "not valid Python", 4, None),
    ],
)
def test_faults_have_a_place(make_kernel, texts, *, old, new, message, line, value):
    assert old in texts["reference"]
    kernel = make_kernel(reference=texts["reference"].replace(old, new, 1))
    found = [diagnostic for diagnostic in check_reference(kernel) if message in diagnostic.message]
    assert found, check_reference(kernel)
    assert (found[0].code, found[0].position.file, found[0].position.line) == ("SF505", kernel.reference, line)
    assert found[0].value == value


def test_a_magnitude_without_a_conditioned_tolerance_is_needless(make_kernel, texts):
    kernel = make_kernel(yaml=texts["yaml"].replace(', conditioned: "roundoff(f32)"', ""))
    (found,) = check_reference(kernel)
    assert "no `conditioned` part" in found.message
    exact = make_kernel(
        yaml=texts["yaml"].replace('{relative: "2 * roundoff(dtype)", conditioned: "roundoff(f32)"}', "exact")
    )
    assert len(check_reference(exact)) == 1


def test_the_nearest_names_are_offered(make_kernel, texts):
    (found,) = check_reference(make_kernel(reference=texts["reference"].replace("factor: int", "facter: int")))
    assert "did you mean 'factor'" in found.hint
    assert found.position.column == texts["reference"].split("\n")[3].index("factor") + 1


def test_returns_of_inner_functions_are_not_its_own(make_kernel, texts):
    inner = texts["reference"].replace(
        "    return {", "    def inner(a):\n        return a\n    for _ in []:\n        pass\n    return {"
    )
    assert check_reference(make_kernel(reference=inner)) == []
