from __future__ import annotations

import subprocess
import sys
import time

import pytest

from specforge.diagnostics import SpecForgeError
from specforge.kernel.render import render

BINDINGS = {"factor": 2, "dtype": "f32", "threads": 32}
USES_ALL = "{% if threads and dtype and factor %}{% endif %}\n"


def diagnose(kernel, bindings=BINDINGS):
    with pytest.raises(SpecForgeError) as caught:
        render(kernel, bindings)
    return caught.value.diagnostics


def test_values_are_written_the_way_of_cpp(make_kernel, texts):
    template = USES_ALL + "{{ factor > 1 }} {{ dtype | ctype }} {{ 64 ** -0.5 }} {{ factor // 2 }} {{ threads ~ 'u' }}"
    text = render(make_kernel(template=template), {**BINDINGS, "dtype": "bf16"}).text
    assert "true __nv_bfloat16 0.125 1 32u" in text


def test_equal_bindings_render_equal_texts_and_other_bindings_others(make_kernel):
    kernel = make_kernel()
    assert render(kernel, BINDINGS) == render(kernel, BINDINGS)
    assert render(kernel, BINDINGS).sha256 != render(kernel, {**BINDINGS, "threads": 64}).sha256


def test_a_changed_template_is_read_again(make_kernel, texts):
    kernel = make_kernel()
    before = render(kernel, BINDINGS).text
    kernel.template.write_text(texts["template"] + "// more\n")
    assert render(kernel, BINDINGS).text == before + "// more\n"


@pytest.mark.parametrize("bindings", [{}, {**BINDINGS, "count": 3}, {"factor": 2, "dtype": "f32"}])
def test_bindings_are_exactly_the_compile_names(make_kernel, bindings):
    with pytest.raises(ValueError, match="renders with factor, dtype, threads"):
        render(make_kernel(), bindings)


def test_an_undeclared_variable_is_named_with_its_place_and_the_nearest_name(make_kernel, texts):
    (found,) = diagnose(make_kernel(template=USES_ALL + "int a;\nint b = {{ thread }} + {{ thread }};\n"))
    assert (found.code, found.value) == ("SF502", "thread")
    assert (found.position.line, found.position.column) == (3, 12)
    assert found.position.file.name == "kernel.cu.j2"
    assert "did you mean 'threads'" in found.hint


def test_a_launch_parameter_in_the_template_gets_its_own_hint(make_kernel, texts):
    (found,) = diagnose(make_kernel(template=USES_ALL + "{{ count }}"))
    assert found.code == "SF502"
    assert "bind: compile" in found.hint


def test_names_are_checked_even_where_the_branch_is_not_taken(make_kernel, texts):
    (found,) = diagnose(make_kernel(template=USES_ALL + "{% if factor == 3 %}\n{{ fact }}\n{% endif %}\n"))
    assert (found.code, found.position.line) == ("SF502", 3)


def test_locals_of_a_template_are_no_undeclared_names(make_kernel, texts):
    template = (
        USES_ALL
        + "{% set a = 1 %}{% for i in range(a) %}{{ i }}{{ loop.last }}{% endfor %}"
        + "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(2) }}"
    )
    assert render(make_kernel(template=template), BINDINGS).text.endswith("0true2")


def test_every_unused_compile_name_stands_at_its_key(make_kernel, texts):
    kernel = make_kernel(template="{{ dtype }}\n")
    factor, threads = diagnose(kernel)
    assert {factor.code, threads.code} == {"SF503"}
    lines = kernel.document.path.read_text().split("\n")
    assert lines[factor.position.line - 1][factor.position.column - 1 :].startswith("factor:")
    assert lines[threads.position.line - 1][threads.position.column - 1 :].startswith("threads:")


def test_an_included_template_uses_and_misuses_names(make_kernel, texts):
    yes = make_kernel(
        template='{% include "part.j2" %}\n{{ dtype }}', files={"part.j2": "{{ threads }} {{ factor }}\n"}
    )
    assert "32 2" in render(yes, BINDINGS).text
    no = make_kernel(template=USES_ALL + '{% include "part.j2" %}', files={"part.j2": "\n{{ fector }}\n"})
    (found,) = diagnose(no)
    assert (found.code, found.position.file.name, found.position.line) == ("SF502", "part.j2", 2)


@pytest.mark.parametrize("name", ["../other/secret.j2", "/etc/passwd", "absent.j2"])
def test_nothing_outside_the_kernel_is_included(make_kernel, texts, name):
    kernel = make_kernel(template=USES_ALL + '{% include "' + name + '" %}')
    (kernel.folder.parent / "other").mkdir(exist_ok=True)
    (kernel.folder.parent / "other" / "secret.j2").write_text("secret")
    assert diagnose(kernel)[0].code == "SF501"


def test_an_include_by_a_computed_name_is_refused(make_kernel, texts):
    (found,) = diagnose(make_kernel(template=USES_ALL + "{% include dtype %}"))
    assert found.code == "SF501"
    assert "computed" in found.message


@pytest.mark.parametrize(
    ("template", "line", "message"),
    [
        ("a\n{% if %}\n", 2, ""),
        ("a\n\n{{ 1 + }}\n", 3, ""),
        ("{% for i in range(3) %}\n", 2, "end of template"),
        ("\n{{ 3 | urlize }}\n", 2, "urlize"),
        ("\n{{ 1 // 0 }}\n", 2, "zero"),
        ("\n\n{{ 'f33' | ctype }}\n", 3, "f33"),
        ("\n{{ [1, 2] }}\n", 2, "list"),
        ("\n{{ none }}\n", 2, "NoneType"),
        ("\n{{ 'a'.upper() }}\n", 2, "unsafe"),
        ("\n{{ (1).__class__ }}\n", 2, "unsafe"),
        ("\n{{ 1.0 * 10 ** 308 * 10 }}\n", 2, "range"),
        ("{% macro m() %}\n{{ m() }}\n{% endmacro %}{{ m() }}", 2, "without end"),
        ("\n{% for a in [1] recursive %}{% endfor %}", 2, "recursive"),
        ("x\n{% extends 'nowhere.j2' %}", 2, "nowhere"),
    ],
)
def test_faults_of_a_template_have_a_line(make_kernel, texts, template, line, message):
    (found,) = diagnose(make_kernel(template=template + USES_ALL))
    assert found.code == "SF501"
    assert found.position.line == line
    assert message in found.message


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 10 ** 10 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ 2 ** 62 * 4 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ range(10 ** 9) | list | length }}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% set r = range(9999) %}{% for a in r %}{% for b in r %}x{% endfor %}{% endfor %}",
        "{% set n = namespace(s='a') %}{% for i in range(64) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "{% set n = namespace(s='a') %}{% for i in range(64) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% set n = namespace(s=[1]) %}{% for i in range(64) %}{% set n.s = n.s + n.s %}{% endfor %}",
        "{% set n = namespace(s='a') %}{% for i in range(64) %}{% set n.s %}{{ n.s }}{{ n.s }}{% endset %}{% endfor %}",
        "{% set n = namespace(s='a') %}{% for i in range(64) %}{% set n.s = [n.s, n.s] | join %}{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "{% for a in range(9000) %}" + "x" * 1000 + "{% endfor %}",
        "x" * (1 << 21),
        "{{ " + "9" * 5000 + " }}",
        "{{ " + "(" * 5000 + ")" * 5000 + " }}",
    ],
)
def test_a_template_cannot_blow_up(make_kernel, texts, template):
    kernel = make_kernel(template=USES_ALL + template)
    start = time.monotonic()
    assert diagnose(kernel)[0].code == "SF501"
    assert time.monotonic() - start < 5


def test_texts_with_lines_compare_as_they_read(make_kernel, texts):
    template = USES_ALL + (
        "{% macro kind(n) %}\nvec{{ n }}\n{%- endmacro %}{% macro empty() %}{% endmacro %}\n"
        "{% if kind(4) == 'vec4' and kind(4) | length == 4 and not empty() %}same{% endif %} {{ kind(2) ~ 'x' }}\n"
    )
    assert "same vec2x" in render(make_kernel(template=template), BINDINGS).text


def test_a_call_block_hands_over_its_body(make_kernel, texts):
    template = (
        USES_ALL + "{% macro wrap(n) %}[{{ caller(n + 1) }}]{% endmacro %}{% call(i) wrap(1) %}{{ i }}{% endcall %}"
    )
    assert "[2]" in render(make_kernel(template=template), BINDINGS).text


def test_an_import_reads_no_bindings_but_works_with_arguments(make_kernel, texts):
    template = USES_ALL + '{% import "m.j2" as m %}{{ m.twice(factor) }}'
    assert (
        "4"
        in render(
            make_kernel(template=template, files={"m.j2": "{% macro twice(n) %}{{ 2 * n }}{% endmacro %}"}), BINDINGS
        ).text
    )
    kernel = make_kernel(template=template, files={"m.j2": "{% macro twice(n) %}{{ factor * n }}{% endmacro %}"})
    (found,) = diagnose(kernel)
    assert (found.code, found.position.file.name) == ("SF502", "m.j2")


def test_importing_the_room_is_light():
    code = (
        "import sys, specforge.kernel.render, specforge.kernel.build, specforge.kernel.agreement; "
        "print([name for name in ('jinja2', 'numpy', 'cuda', 'hypothesis') if name in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
