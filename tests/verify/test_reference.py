"""The reference call: exact inputs in, checked arrays out, faults at the reference's own line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from specforge.diagnostics import SpecForgeError
from specforge.spec.geometry import Plan, plan
from specforge.spec.interface import Kernel
from specforge.verify.reference import call_reference, widen

CASE = {"rows": 2, "width": 3, "dtype": "bf16", "group": 1, "signed": True}
TUNABLES = {"splits": 1, "warps": 4}


def planned(kernel: Kernel) -> Plan:
    return plan(kernel, CASE, TUNABLES)


def inputs() -> dict[str, np.ndarray]:
    x = np.arange(6, dtype=np.float32).reshape(2, 3).astype(ml_dtypes.bfloat16)
    return {"x": x, "scale": np.array([1.0, 0.5], np.float32)}


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_widening_is_exact_for_every_bit_pattern(name: str) -> None:
    dtype = np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)
    stored = np.arange(65536, dtype=np.uint16).view(dtype)
    wide = widen(stored)
    assert wide.dtype == np.float64
    finite = np.isfinite(wide)
    assert (wide[finite].astype(dtype).view(np.uint16) == stored[finite].view(np.uint16)).all()


def test_a_good_reference(blend: Kernel) -> None:
    returned = call_reference(planned(blend), inputs())
    assert returned["out"].dtype == np.float64
    assert returned["best"].dtype == np.int64
    np.testing.assert_array_equal(returned["best"], [2, 2])
    np.testing.assert_array_equal(returned["out"][0], [1.0, 0.0, -1.0])
    assert "out_magnitude" in returned
    assert not list(blend.folder.glob("__pycache__"))


def test_a_whole_number_may_be_given_as_what_is_rounded(
    make_kernel: Callable[[str, str], Kernel], blend: Kernel
) -> None:
    declared = (blend.folder / "kernel.yaml").read_text()
    assert declared.count("best: exact") == 1
    text = "def reference(*, x):\n    found = {'out': x, 'best': x[:, 0] + 0.25}\n"
    text += "    return found | {'out_magnitude': x * x, 'best_magnitude': x[:, 1] ** 2}\n"
    kernel = make_kernel(declared.replace("best: exact", "best: {conditioned: 0.5}"), text)
    np.testing.assert_array_equal(call_reference(planned(kernel), inputs())["best"], [0.25, 3.25])


@pytest.mark.parametrize(
    ("best", "fits"),
    [
        ("x[:, 0] + 2147483644.4", True),
        ("x[:, 0] + 2147483644.6", False),
        ("np.full(2, 2**63, np.uint64)", False),
        ("x[:, 0] > 1", True),
        ("(x[:, 0] > 1).astype(np.int8)", True),
    ],
)
def test_a_whole_number_that_its_type_holds(
    make_kernel: Callable[[str, str], Kernel], blend: Kernel, best: str, fits: bool
) -> None:
    """What is rounded is held to the range that it is rounded into."""
    declared = (blend.folder / "kernel.yaml").read_text().replace("best: exact", "best: {conditioned: 0.5}")
    text = f"import numpy as np\n\ndef reference(*, x):\n    found = {{'out': x, 'best': {best}}}\n"
    text += "    return found | {'out_magnitude': x * x, 'best_magnitude': np.zeros(2)}\n"
    kernel = make_kernel(declared, text)
    if fits:
        call_reference(planned(kernel), inputs())
        return
    with pytest.raises(SpecForgeError, match="that i32 cannot hold"):
        call_reference(planned(kernel), inputs())


@pytest.mark.parametrize(
    ("body", "line", "words"),
    [
        ("    y = x\n    return {'out': 1 / (y * 0)}\n", 5, "FloatingPointError"),
        ("    raise ValueError('no way')\n", 4, "ValueError for rows=2"),
        ("    return helper(x)\n\n\ndef helper(x):\n    return x[99]\n", 8, "IndexError"),
        ("    return [x]\n", 3, "returned a list"),
        ("    return {'out': x}\n", 3, "does not return 'best'"),
        ("    return {'out': x, 'best': x.argmax(1), 'out_magnitude': x, 'owt': x}\n", 3, "no output"),
        ("    return {'out': x[0], 'best': x.argmax(1), 'out_magnitude': x}\n", 3, "shape (3,)"),
        ("    return {'out': x.astype('f4'), 'best': x.argmax(1), 'out_magnitude': x}\n", 3, "float32"),
        ("    return {'out': x, 'best': x[:, 0], 'out_magnitude': x}\n", 3, "whole numbers"),
        ("    return {'out': x, 'best': x.argmax(1) + 2**31, 'out_magnitude': x}\n", 3, "cannot hold"),
        ("    return {'out': x, 'best': x.argmax(1), 'out_magnitude': -x}\n", 3, "negative"),
        (
            "    return {'out': np.where(x > 4, np.inf, x), 'best': x.argmax(1), 'out_magnitude': x}\n",
            3,
            "inf at out[1, 2]",
        ),
    ],
)
def test_a_bad_reference_is_located(
    make_kernel: Callable[[str, str], Kernel], blend: Kernel, body: str, line: int, words: str
) -> None:
    text = "import numpy as np\n\ndef reference(*, x, scale):\n" + body
    kernel = make_kernel((blend.folder / "kernel.yaml").read_text(), text)
    with pytest.raises(SpecForgeError) as caught:
        call_reference(planned(kernel), inputs())
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "SF507"
    assert words in diagnostic.message
    assert diagnostic.position is not None
    assert (diagnostic.position.file, diagnostic.position.line) == (kernel.reference, line)


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("def reference(*, x, scael):\n    return {}\n", "SF505", "scael"),
        ("def other():\n    return {}\n", "SF505", "no function"),
        ("def reference(:\n", "SF507", "not valid Python"),
        ("import nothing_of_that_name\n", "SF507", "ModuleNotFoundError on import"),
    ],
)
def test_an_unusable_reference_file(
    make_kernel: Callable[[str, str], Kernel], blend: Kernel, text: str, code: str, words: str
) -> None:
    kernel = make_kernel((blend.folder / "kernel.yaml").read_text(), text)
    with pytest.raises(SpecForgeError) as caught:
        call_reference(planned(kernel), inputs())
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == code
    assert words in diagnostic.message
    assert diagnostic.hint is None or "scale" in diagnostic.hint or "def reference" in diagnostic.hint


def test_underflow_is_ordinary(make_kernel: Callable[[str, str], Kernel], blend: Kernel, tmp_path: Path) -> None:
    body = "    y = np.exp(x * 0 - 1e4) + x\n    return {'out': y, 'best': x.argmax(1), 'out_magnitude': y}\n"
    text = f"import numpy as np\n\ndef reference(*, x, **rest):\n    assert rest['rows'] == 2\n{body}"
    kernel = make_kernel((blend.folder / "kernel.yaml").read_text(), text)
    np.testing.assert_array_equal(call_reference(planned(kernel), inputs())["out"], np.arange(6).reshape(2, 3))
