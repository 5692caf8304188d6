from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specforge.diagnostics import SpecForgeError
from specforge.kernel.lines import read_places
from specforge.kernel.render import render

COMPILER = shutil.which("g++") or shutil.which("clang++")

# Each block is template lines; `@` becomes the line's own number, so that the preprocessor can be asked to agree.
BLOCKS = {
    "plain": ["L@ __LINE__"],
    "blank": ["", "L@ __LINE__"],
    "expression": ["{{ factor }} L@ __LINE__"],
    "split expression": ["{{", "  factor", "}} x", "L@ __LINE__"],
    "if": ["{% if factor > 1 %}", "L@ __LINE__", "{% else %}", "never", "{% endif %}"],
    "inline if": ["{% if factor > 1 %}1{% else %}2{% endif %} L@ __LINE__"],
    "indented if": ["  {% if factor > 1 %}", "  L@ __LINE__", "  {% endif %}"],
    "stripping": ["{% if factor > 1 -%}", "", "  L@ __LINE__", "{%- endif %}", "", "L@ __LINE__"],
    "loop": ["{% for i in range(3) %}", "L@ __LINE__", "x{{ i }}", "", "{% endfor %}"],
    "comment": ["{# of", "  two lines #}", "L@ {# here #} __LINE__"],
    "macro": [
        "{% macro twice(n) %}",
        "L@ __LINE__",
        "{{ n }} L@ __LINE__",
        "{% endmacro %}",
        "{{ twice(2) }}",
        "L@ __LINE__",
    ],
    "inline macro": ["{% macro plus(n) %}{{ n }} + 1{% endmacro %}{{ plus(2) }} L@ __LINE__"],
    "block": ["{% set text %}", "L@ __LINE__", "", "L@ __LINE__", "{% endset %}", "{{ text }}"],
    "raw": ["{% raw %}", "L@ __LINE__ {{", "{% endraw %}"],
    "continued": ["#define A@ 1 \\", "{% if factor > 1 %}", "  + 2 \\", "{% endif %}", "  + 3", "L@ __LINE__"],
    "C comment": ["/* one", "{% if factor > 1 %}", "two", "{% endif %}", "*/", "L@ __LINE__"],
    "line comment": ["// it's /* \"", "{% set z = 1 %}", "L@ __LINE__"],
    "digits": ["int a@ = 1'000'000;", "{% set z = 1 %}", "L@ __LINE__"],
    "raw string": ['R"x(', "{% if factor > 1 %}", " ' \" )", "{% endif %}", ')x"', "L@ __LINE__"],
}


def preprocess(text):
    command = [COMPILER, "-E", "-P", "-x", "c++", "-std=c++17", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(COMPILER is None, reason="needs a host C++ compiler as the judge of #line")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.sampled_from(sorted(BLOCKS)), min_size=1, max_size=12))
def test_a_preprocessor_counts_template_lines(make_kernel, texts, names):
    lines = [line for name in names for line in BLOCKS[name]]
    numbered = "\n".join(line.replace("@", str(number)) for number, line in enumerate(lines, 1))
    tail = "\n{# {{ dtype }} #}{% if threads and dtype %}{% endif %}{% if factor %}{% endif %}\n"
    kernel = make_kernel(template=numbered + tail)
    seen = preprocess(render(kernel, {"factor": 2, "dtype": "f32", "threads": 32}).text).split()
    pairs = [(word, seen[index + 1]) for index, word in enumerate(seen[:-1]) if word[0] == "L" and word[1:].isdigit()]
    assert pairs
    assert all(word == f"L{counted}" for word, counted in pairs), (numbered, pairs)


def test_the_judge_would_notice_a_missing_directive():
    assert preprocess("L1 __LINE__\n\nL2 __LINE__\n").split() == ["L1", "1", "L2", "3"]


def test_directives_stand_only_where_the_count_breaks(make_kernel, texts):
    text = render(make_kernel(), {"factor": 2, "dtype": "f32", "threads": 32}).text
    directives = [line for line in text.split("\n") if line.startswith("#line")]
    assert directives == [f'#line {number} "kernels/math/scale/kernel.cu.j2"' for number in (1, 9, 12)]


def test_every_line_of_shipped_text_maps_back(make_kernel, texts):
    kernel = make_kernel()
    text = render(kernel, {"factor": 3, "dtype": "f32", "threads": 32}).text
    template = kernel.template.read_text().split("\n")
    for line, place in zip(text.split("\n"), read_places(text), strict=True):
        if line.strip() and not line.startswith("#line") and "{{" not in template[place.line - 1]:
            assert template[place.line - 1] == line


def test_included_templates_have_their_own_lines(make_kernel, texts):
    template = texts["template"].replace(
        "{# a comment\n", '{% include "part.j2" %}\n{% include "shared.j2" %}\n{# a comment\n'
    )
    kernel = make_kernel(template=template, files={"part.j2": "\nint part;\n"}, include={"shared.j2": "int shared;\n"})
    rendered = render(kernel, {"factor": 2, "dtype": "f32", "threads": 32})
    places = dict(zip(rendered.text.split("\n"), read_places(rendered.text), strict=True))
    assert (places["int part;"].name, places["int part;"].line) == ("kernels/math/scale/part.j2", 2)
    assert (places["int shared;"].name, places["int shared;"].line) == ("kernels/include/shared.j2", 1)
    assert places["#define FACTOR 2.0f"].line == 11
    position = rendered.position(rendered.text.index("shared;"))
    assert position.file == kernel.folder.parents[1] / "include" / "shared.j2"
    assert (position.line, position.column) == (1, 5)


def test_the_text_does_not_depend_on_where_the_checkout_lies(make_kernel, tmp_path):
    bindings = {"factor": 2, "dtype": "f32", "threads": 32}
    first, second = (render(make_kernel(root=tmp_path / name), bindings) for name in ("here", "there"))
    assert first.sha256 == second.sha256
    assert first.template != second.template


def test_control_characters_are_refused(make_kernel, texts):
    with pytest.raises(SpecForgeError, match=r"SF501.*control characters"):
        render(make_kernel(template=texts["template"] + "\x02x:1\x03"), {"factor": 2, "dtype": "f32", "threads": 32})
