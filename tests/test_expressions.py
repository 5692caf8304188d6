"""The expression language: it says what Python says, costs next to nothing, and points at the fault."""

from __future__ import annotations

import ast
import gc
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specforge.dtypes import DTYPES
from specforge.expressions import FUNCTIONS, MAX_DEPTH, MAX_LENGTH, Expression, ExpressionError

NAMES = {"batch": 4, "context": 2048, "head_dim": 128, "model.layers": 40, "share": 0.25, "flag": True, "dtype": "bf16"}
PYTHON = {
    "ceil_div": lambda a, b: -(-a // b),
    "clamp": lambda x, low, high: max(low, min(x, high)),
    "align_up": lambda x, n: -(-x // n) * n,
    "log2": math.log2,
    "sqrt": math.sqrt,
    "min": min,
    "max": max,
    "abs": abs,
}
ENVIRONMENT = {"__builtins__": {}, **PYTHON, **{name: value for name, value in NAMES.items() if "." not in name}}


# --- agreement with Python --------------------------------------------------------------------------------------------

numbers = st.one_of(
    st.integers(0, 99).map(str),
    st.integers(0, 2**62).map(str),
    st.floats(0, 1e6, allow_nan=False).map(repr),
    st.sampled_from(["batch", "context", "head_dim", "share"]),
)


def arithmetic(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner).map(" ".join),
        st.tuples(inner, st.integers(0, 6)).map(lambda it: f"({it[0]}) ** {it[1]}"),
        inner.map(lambda text: f"-({text})"),
        inner.map(lambda text: f"({text})"),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda it: f"{it[0]}({it[1]}, {it[2]})"),
        st.tuples(st.sampled_from(["ceil_div", "align_up"]), inner, inner).map(lambda it: f"{it[0]}({it[1]}, {it[2]})"),
        st.tuples(inner, inner, inner).map(lambda it: f"clamp({it[0]}, {it[1]}, {it[2]})"),
        st.tuples(st.sampled_from(["abs", "sqrt", "log2"]), inner).map(lambda it: f"{it[0]}({it[1]})"),
        st.tuples(inner, comparisons(inner), inner).map(lambda it: f"({it[0]} if {it[1]} else {it[2]})"),
    )


def comparisons(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    plain = st.tuples(inner, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), inner).map(" ".join)
    chained = st.tuples(inner, inner, inner).map(lambda it: f"{it[0]} < {it[1]} <= {it[2]}")
    one = st.one_of(plain, chained, st.just("flag"))
    return st.one_of(
        one,
        one.map(lambda text: f"not {text}"),
        st.tuples(one, st.sampled_from(["and", "or"]), one).map(lambda it: f"({it[0]}) {it[1]} ({it[2]})"),
    )


expressions = st.recursive(numbers, arithmetic, max_leaves=12)


def outcome(text: str) -> object:
    """The value of an expression, or its fault."""
    try:
        return Expression(text).evaluate(NAMES)
    except ExpressionError as error:
        return error


@given(st.one_of(expressions, comparisons(expressions)))
def test_agrees_with_python(text):
    try:
        want = eval(text, ENVIRONMENT)
    except (ZeroDivisionError, OverflowError, ValueError, TypeError):
        want = None
    got = outcome(text)
    if isinstance(got, ExpressionError):
        assert got.code in ("SF304", "SF305")
        assert 0 <= got.offset < len(text)
        # Refused where Python fails, or where anything on the way leaves 64 bits: Python only sees the end of it.
        assert want is None or leaves_range(text)
    else:
        assert want is not None
        assert got == want
        assert type(got) is type(want) or float(got).is_integer()  # log2 of a power of two is a whole number


def leaves_range(text: str) -> bool:
    """Whether a part of the expression is beyond 64 bits, not finite, or not computable at all."""
    inside = set(NAMES) | set(PYTHON)
    for node in ast.walk(ast.parse(text, mode="eval").body):
        if not isinstance(node, ast.expr) or ast.unparse(node) in inside:
            continue
        try:
            value = eval(ast.unparse(node), ENVIRONMENT)
        except (ZeroDivisionError, OverflowError, ValueError, TypeError):
            return True
        if isinstance(value, complex) or not math.isfinite(value) or (isinstance(value, int) and abs(value) >= 2**63):
            return True
    return False


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("ceil_div(513, 512)", 2),
        ("align_up(1, 16)", 16),
        ("clamp(ceil_div(context, 512), 1, 128)", 4),
        ("sizeof(dtype) * 3", 6),
        ("roundoff(f32)", 2.0**-24),
        ("roundoff(dtype)", 2.0**-8),
        ("log2(1024)", 10),
        ("2 ** -8 if dtype == bf16 else 2 ** -11", 2.0**-8),
        ("'bf16' == dtype", True),
        ("model.layers * 2", 80),
        ("  batch\n * 2\t", 8),
        ("True", True),
        ("1e3", 1000.0),
        ("-7 // 2", -4),
        ("2 ** 62", 2**62),
        ("0x10", 16),
    ],
)
def test_values(text, value):
    got = Expression(text).evaluate(NAMES)
    assert got == value
    assert type(got) is type(value)


def test_every_element_type_is_a_name():
    for name, dtype in DTYPES.items():
        assert Expression(f"nbytes({name}, 512)").evaluate({}) == dtype.nbytes(512)
        assert Expression(name).names() == {}
        if not dtype.is_block:
            assert Expression(f"sizeof({name})").evaluate({}) == dtype.size


def test_bytes_of_blocks():
    sizes = [Expression(f"nbytes(dtype, 2 * {elements})").integer({"dtype": name}) for name, elements, _ in BLOCKS]
    assert sizes == [2 * size for _, _, size in BLOCKS]


BLOCKS = [("q4_k", 256, 144), ("q5_k", 256, 176), ("q6_k", 256, 210), ("q8_0", 32, 34), ("q5_0", 32, 22)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2 + sizeof(q4_k)", "nbytes(q4_k, count)"),
        ("2 + nbytes(q8_0, 48)", "48 elements are no whole number of q8_0's blocks of 32"),
        ("2 + nbytes(f32, 1 / 2)", "a whole number of elements, not 0.5"),
        ("2 + nbytes(f32, -1)", "not -1"),
        ("2 + nbytes(q4, 256)", "unknown name"),
        ("2 + nbytes(16, 256)", "16 is no element type"),
        ("2 + nbytes(f32, q4_k)", "cannot evaluate"),
    ],
)
def test_bytes_that_do_not_exist(text: str, words: str):
    with pytest.raises(ExpressionError) as caught:
        Expression(text).evaluate({})
    assert words in caught.value.message
    assert caught.value.offset == (11 if "q4," in text else 4)


def test_a_binding_hides_an_element_type():
    assert Expression("f32").evaluate({"f32": 5}) == 5


# --- names ------------------------------------------------------------------------------------------------------------


def test_names_are_whole_and_at_their_first_use():
    found = Expression("min(model.layers, batch) + batch * sizeof(bf16)").names()
    assert found == {"model.layers": 4, "batch": 18}


def test_an_undeclared_name_is_found_without_evaluating():
    with pytest.raises(ExpressionError) as caught:
        Expression("1 if batch > 0 else contxt").check_names({"batch", "context"})
    assert (caught.value.code, caught.value.offset, caught.value.name) == ("SF303", 20, "contxt")


@pytest.mark.parametrize("text", ["renormalise == true", "false"])
def test_yaml_spellings_of_truth_are_explained(text):
    with pytest.raises(ExpressionError, match=r"write (True|False)"):
        Expression(text).check_names({"renormalise"})


# --- what is due ------------------------------------------------------------------------------------------------------


def test_integer_takes_whole_floats_only():
    assert Expression("context / 2").integer(NAMES) == 1024
    assert isinstance(Expression("context / 2").integer(NAMES), int)
    for text in ("share", "flag", "dtype", "1.5"):
        with pytest.raises(ExpressionError, match="whole number") as caught:
            Expression(text).integer(NAMES)
        assert caught.value.code == "SF304"


def test_number_refuses_truth_and_text():
    assert Expression("share").number(NAMES) == 0.25
    for text in ("flag", "dtype", "1 == 1"):
        with pytest.raises(ExpressionError, match="a number is due"):
            Expression(text).number(NAMES)


def test_truth_refuses_numbers():
    assert Expression("batch == 4").truth(NAMES) is True
    for text in ("batch", "dtype", "1"):
        with pytest.raises(ExpressionError, match="true or false is due"):
            Expression(text).truth(NAMES)


def test_conditions_short_circuit():
    assert Expression("batch == 0 or 10 // batch == 2").truth(NAMES)
    assert not Expression("batch != 4 and 1 // 0 == 1").truth(NAMES)
    assert Expression("1 if flag else 1 // 0").evaluate(NAMES) == 1


# --- faults and where they are ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "offset"),
    [
        ("", "SF301", 0),
        ("   ", "SF301", 0),
        ("1 +", "SF301", 2),
        ("(1", "SF301", 0),
        ("1 + + )", "SF301", 6),
        ("a b", "SF301", 2),
        ("batch ≥ 1", "SF301", 6),
        ("'\\x41'", "SF301", 1),
        ("1if batch else 2", "SF301", 0),
        ("batch = 4", "SF301", 6),
        ("x := 4", "SF301", 2),
        ("a; b", "SF301", 1),
        ("lambda: 1", "SF302", 0),
        ("1 + [2]", "SF302", 4),
        ("{1: 2}", "SF302", 0),
        ("[x for x in y]", "SF302", 0),
        ("f'{batch}'", "SF302", 0),
        ("batch[0]", "SF302", 0),
        ("1 + batch.__class__", "SF302", 4),
        ("(1).real", "SF302", 0),
        ("'a'.join", "SF302", 0),
        ("batch()", "SF302", 0),
        ("__import__('os')", "SF302", 0),
        ("1 + open('x')", "SF302", 4),
        ("model.layers()", "SF302", 0),
        ("min(1)", "SF302", 0),
        ("2 * ceil_div(1, 2, 3)", "SF302", 4),
        ("min(1, key=2)", "SF302", 0),
        ("min(*batch)", "SF302", 0),
        ("batch is 4", "SF302", 0),
        ("batch in (1, 2)", "SF302", 0),
        ("1 << 40", "SF302", 0),
        ("1 @ 2", "SF302", 0),
        ("~1", "SF302", 0),
        ("None", "SF302", 0),
        ("...", "SF302", 0),
        ("1j", "SF302", 0),
        ("b'x'", "SF302", 0),
        ("await x", "SF302", 0),
        ("yield", "SF301", 0),
        ("batch + nothing", "SF303", 8),
        ("  batch + nothing", "SF303", 10),
        ("batch +\n nothing", "SF303", 9),
        ("1 + 1 // 0", "SF304", 4),
        ("1 + 1 % 0.0", "SF304", 4),
        ("10 ** 80", "SF304", 0),
        ("3 + 2 ** 64", "SF304", 4),
        ("2.0 ** 2000", "SF304", 0),
        ("9223372036854775807 + 1", "SF304", 0),
        ("1e308 * 10", "SF304", 0),
        ("sqrt(-1)", "SF304", 0),
        ("(0 - 8) ** 0.5", "SF304", 0),
        ("2 + log2(0)", "SF304", 4),
        ("1 + dtype", "SF304", 4),
        ("1 + flag", "SF304", 4),
        ("min(1, flag)", "SF304", 7),
        ("min(1, dtype)", "SF304", 0),
        ("not batch", "SF304", 4),
        ("flag and batch", "SF304", 9),
        ("1 if batch else 2", "SF304", 5),
        ("batch < dtype", "SF304", 8),
        ("batch == dtype", "SF304", 9),
        ("sizeof(batch)", "SF304", 0),
        ("sizeof('f33')", "SF304", 0),
        ("dtype * 3", "SF304", 0),
        ("-dtype", "SF304", 1),
        ("9223372036854775808", "SF305", 0),
        ("1 + 1e999", "SF305", 4),
    ],
)
def test_offsets_point_at_the_fault(text, code, offset):
    with pytest.raises(ExpressionError) as caught:
        Expression(text).evaluate(NAMES)
    assert (caught.value.code, caught.value.offset) == (code, offset), caught.value.message


def test_a_wrong_function_names_the_right_ones():
    with pytest.raises(ExpressionError) as caught:
        Expression("cdiv(1, 2)")
    assert all(name in caught.value.message for name in FUNCTIONS)


@given(st.text(alphabet="batchx01.+-*/%()<>=!,'\" \n[]{}:;\\@~&|^eE_", max_size=40))
def test_any_text_is_a_value_or_a_fault_inside_the_text(text):
    got = outcome(text)
    if isinstance(got, ExpressionError):
        assert got.code in ("SF301", "SF302", "SF303", "SF304", "SF305")
        assert 0 <= got.offset <= max(0, len(text) - 1)
        assert got.message


# --- hostile inputs ---------------------------------------------------------------------------------------------------

HOSTILE = {
    "nested parens": "(" * 900 + "1" + ")" * 900,
    "open parens": "(" * 1999,
    "signs": "-" * 1999 + "1",
    "nots": "not " * 499 + "True",
    "long sum": "1" + " + 1" * 499,
    "long comparison": "1" + " < 2" * 498 + " < a",
    "long dots": "a" + ".a" * 999,
    "long name": "a" * 2000,
    "many digits": "9" * 2000,
    "tower of powers": "9 ** 9 ** 9 ** 9 ** 9",
    "huge power": "10 ** 10 ** 10",
    "float power": "2.0 ** 10 ** 15",
    "negative power": "2 ** -(10 ** 18)",
    "repeated text": "'a' * 10 ** 10",
    "long text": "'" + "a" * 1990 + "' == dtype",
    "calls": "min(1, " * 280 + "1" + ")" * 280,
    "conditions": "1 if True else " * 130 + "2",
    "lambdas": "lambda: " * 240 + "1",
    "too long": "1 + " * 100_000 + "1",
    "nul": "1 + \0",
    "surrogate": "\ud800",
    "comprehension": "[x for x in range(10**10)]",
    "format": "'%1000000000d' % 1",
    "wide product": "9223372036854775807" + " * 9223372036854775807" * 30,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_inputs_end_at_once(name):
    gc.disable()  # what earlier tests left behind is not its to collect
    try:
        start = time.thread_time()  # a busy machine takes the clock's time, and a test's left-over thread the process's
        with pytest.raises(ExpressionError) as caught:
            Expression(HOSTILE[name]).evaluate(NAMES)
        assert time.thread_time() - start < 0.2
    finally:
        gc.enable()
    assert caught.value.code.startswith("SF30")
    assert len(caught.value.message) < 400


def test_the_limits_themselves_are_usable():
    text = "1" + " + 1" * (MAX_DEPTH - 1)
    assert Expression(text).evaluate({}) == MAX_DEPTH
    with pytest.raises(ExpressionError, match="deeper") as caught:
        Expression(text + " + 1 + 1")
    assert caught.value.code == "SF305"
    assert Expression("1".ljust(MAX_LENGTH)).evaluate({}) == 1
    with pytest.raises(ExpressionError, match="at most"):
        Expression("1".ljust(MAX_LENGTH + 1))


def test_equal_texts_are_equal_expressions():
    assert Expression("a + 1") == Expression("a + 1")
    assert len({Expression("a + 1"), Expression("a + 1"), Expression("a +1")}) == 2
    assert str(Expression("a + 1")) == "a + 1"
