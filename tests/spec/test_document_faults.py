"""A fault in a document's text is one clear error with a code and a place."""

from __future__ import annotations

import pytest

from specforge.cli import main
from specforge.spec.strict import MAX_NODES
from tests.spec.documents import place, refusal

FAULTS = {
    # duplicate keys
    "duplicate key": ("a: 1\nb:\n  c: 1\n  c: 2\n", "SF102", (4, 3)),
    "duplicate key in flow": ("a: {b: 1, b: 2}\n", "SF102", (1, 11)),
    "duplicate key, quoted": ('"a": 1\na: 2\n', "SF102", (2, 1)),
    "duplicate key at the top": ("a: 1\nb: 2\na: 3\n", "SF102", (3, 1)),
    # not finite
    "nan": ("a:\n  - .nan\n", "SF104", (2, 5)),
    "NaN": ("a: .NaN\n", "SF104", (1, 4)),
    "infinity": ("a: .inf\n", "SF104", (1, 4)),
    "minus infinity": ("a: {b: -.Inf}\n", "SF104", (1, 8)),
    "beyond a double": ("a: 1e400\n", "SF104", (1, 4)),
    # numbers
    "beyond 64 bits": ("a: 9223372036854775808\n", "SF203", (1, 4)),
    "thousands of digits": ("b: 1\na: " + "9" * 5000 + "\n", "SF101", (2, 4)),
    "hexadecimal of nothing": ("a: 0x_\n", "SF101", (1, 4)),
    "a point of nothing": ("a: ._\n", "SF101", (1, 4)),
    # tabs
    "tab as indentation": ("a:\n\tb: 1\n", "SF103", (2, 1)),
    "tab after spaces": ("a:\n  b: 1\n \tc: 2\n", "SF103", (3, 2)),
    "tab before a value": ("a:\n  b:\t1\n", "SF103", (2, 5)),
    "tab after a dash": ("a:\n  -\tb\n", "SF103", (2, 4)),
    "a tab elsewhere is not the fault": ("a: |\n  x\n  \ty\nb: c: 1\n", "SF101", (4, 5)),
    # anchors, aliases, merge keys, tags
    "anchor": ("a: &x 1\nb: *x\n", "SF105", (1, 4)),
    "anchor on a mapping": ("a: 1\nb: &x {c: 1}\n", "SF105", (2, 4)),
    "anchor on nothing": ("a: &x\nb: *x\n", "SF105", (1, 4)),
    "anchor on a date": ("a: &x 2027-02-01\n", "SF105", (1, 4)),
    "anchor on a key": ("&x a: 1\n", "SF105", (1, 1)),
    "anchor on everything": ("&x\na: 1\n", "SF105", (1, 1)),
    "alias of nothing": ("a: *x\n", "SF105", (1, 4)),
    "alias of itself": ("a: &x [*x]\n", "SF105", (1, 4)),
    "merge key": ("a: {b: 1}\n<<: {c: 1}\n", "SF105", (2, 1)),
    "merge key of a number": ("a:\n  <<: 3\n", "SF105", (2, 3)),
    "merge key of a list": ("<<: [{c: 1}]\n", "SF105", (1, 1)),
    "tag": ("a: !foo 1\n", "SF105", (1, 4)),
    "standard tag": ("a: 1\nb: !!str 1\n", "SF105", (2, 4)),
    "Python tag": ("a: !!python/object/apply:os.system [ls]\n", "SF105", (1, 4)),
    "binary tag": ("a: !!binary aGk=\n", "SF105", (1, 4)),
    "set": ("a: !!set {b, c}\n", "SF105", (1, 4)),
    "ordered map": ("a: !!omap [b: 1]\n", "SF105", (1, 4)),
    "bare tag": ("a: ! 1\n", "SF105", (1, 4)),
    "tag directive": ("%TAG ! x\n---\na: !y 1\n", "SF105", (3, 4)),
    # keys that are not text
    "number as key": ("a:\n  1: 2\n", "SF203", (2, 3)),
    "truth as key": ("true: 1\n", "SF203", (1, 1)),
    "nothing as key": ("a:\n  : 2\n", "SF203", (2, 3)),
    "date as key": ("2027-02-01: 1\n", "SF203", (1, 1)),
    "list as key": ("? [a]\n: 1\n", "SF203", (1, 3)),
    "mapping as key": ("a: 1\n? {b: 1}\n: 1\n", "SF203", (2, 3)),
    "jinja": ("a: 1\nb: {{ x }}\n", "SF203", (2, 5)),
    "question marks": ("? ? ? a\n", "SF203", (1, 3)),
    # dates
    "time of day": ("a: 2027-02-01T10:00:00\n", "SF203", (1, 4)),
    "time with zone": ("a: 2027-02-01 10:00:00 +01:00\n", "SF203", (1, 4)),
    "30 February": ("a:\n  until: 2027-02-30\n", "SF101", (2, 10)),
    "month 13": ("a: [2026-13-01]\n", "SF101", (1, 5)),
    # characters
    "NUL": (b"a: 1\nb: \0\n", "SF003", (1, 1)),
    "NUL escaped": ('a: 1\nb: "x\\0y"\n', "SF203", (2, 4)),
    "escape character": (b"a: 1\nb: x\x1b[31m\n", "SF003", (2, 5)),
    "escaped escape character": ('a: "\\e[31m"\n', "SF203", (1, 4)),
    "surrogate": ('a: "\\ud800"\n', "SF203", (1, 4)),
    "surrogate in a key": ('"\\ud800": 1\n', "SF203", (1, 1)),
    "beyond Unicode": ('a: "\\Uffffffff"\n', "SF101", (1, 7)),
    "Latin-1": (b"a: 1\nb: \xe9\n", "SF003", (2, 1)),
    "UTF-16": ("a: 1\n".encode("utf-16"), "SF003", (1, 1)),
    "binary garbage": (bytes(range(256)), "SF003", (2, 1)),
    "ELF": (b"\x7fELF\x02\x01\x01" + bytes(64), "SF003", (1, 1)),
    # syntax
    "unclosed list": ("a: 1\nb: [1, 2\n", "SF101", (2, 4)),
    "unclosed mapping": ("a: {b: 1\n", "SF101", (1, 4)),
    "unclosed quote": ('a: 1\nb: "x\nc: 3\n', "SF101", (2, 4)),
    "closing bracket": ("a: ]\n", "SF101", (1, 4)),
    "two colons": ("a: b: c\n", "SF101", (1, 5)),
    "no colon": ("a: 1\nfoo\nb: 2\n", "SF101", (3, 1)),
    "indentation": ("a:\n  b: 1\n c: 2\n", "SF101", (3, 2)),
    "at sign": ("a: @x\n", "SF101", (1, 4)),
    "backtick": ("a: `x`\n", "SF101", (1, 4)),
    "unknown escape": ('a: "\\q"\n', "SF101", (1, 6)),
    "two documents": ("a: 1\n---\nb: 2\n", "SF101", (2, 1)),
    "older YAML": ("%YAML 1.1\n---\na: yes\n", "SF101", (2, 1)),
    "newer YAML": ("%YAML 2.0\n---\na: yes\n", "SF101", (1, 1)),
    # no mapping
    "empty": ("", "SF106", (1, 1)),
    "blank": (" \n\n", "SF106", (1, 1)),
    "only a comment": ("# a: 1\n", "SF106", (1, 1)),
    "a list": ("- a: 1\n", "SF106", (1, 1)),
    "a text": ("hello\n", "SF106", (1, 1)),
    "nothing": ("~\n", "SF106", (1, 1)),
    "an empty document": ("---\n...\n", "SF106", (1, 1)),
    # line ends and byte order marks
    "CRLF": ("a: 1\r\nb:\r\n  - .nan\r\n", "SF104", (3, 5)),
    "CR": ("a: 1\rb: .nan\r", "SF104", (2, 4)),
    "byte order mark, first line": ("\ufeffa: .nan\n", "SF104", (1, 4)),
    "byte order mark, second line": ("\ufeffa: 1\nb: .nan\n", "SF104", (2, 4)),
    # bombs
    "deep flow lists": ("a: " + "[" * 3000, "SF101", (1, 43)),
    "deep flow mappings": ("a: " + "{b: " * 3000, "SF101", (1, 157)),
    "deep dashes": ("- " * 3000, "SF101", (1, 81)),
    "deep indentation": ("".join(" " * depth + "a:\n" for depth in range(300)), "SF101", (40, 40)),
    "billion laughs": ("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "SF105", (1, 4)),
    "many values": ("a: [" + "1," * MAX_NODES + "]\n", "SF004", (1, 5 + 2 * (MAX_NODES - 3))),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_error_at_its_place(file, name):
    content, code, where = FAULTS[name]
    finding = refusal(file, content)
    assert (finding.code, place(finding)) == (code, where), finding
    assert finding.position is not None
    assert finding.position.file == file
    assert "\n" not in finding.message
    assert len(finding.message) < 200


@pytest.mark.parametrize(
    "name", ["duplicate key", "jinja", "30 February", "deep flow lists", "surrogate", "billion laughs"]
)
def test_the_command_line_ends_with_2_and_no_traceback(file, name, capfd):
    content = FAULTS[name][0]
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SystemExit) as caught:
        main(["explain", str(file)])
    assert caught.value.code == 2
    out, err = capfd.readouterr()
    assert out == ""
    line, column = FAULTS[name][2]
    assert err.startswith(f"{file}:{line}:{column}: error {FAULTS[name][1]}: ")


def test_hints_say_the_way_out(file):
    assert "quote it" in str(refusal(file, "1: 2\n").hint)
    assert "`=`" in str(refusal(file, "a: {{ x }}\n").hint)
    assert "spaces" in str(refusal(file, "a:\n\tb: 1\n").hint)
    assert "name a file" in str(refusal(file, "a: &x 1\n").hint)
    assert refusal(file, "a: 1\na: 2\n").value == "a"
