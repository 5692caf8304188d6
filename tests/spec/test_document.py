"""Reading a document gives plain data with the places where it stands in the file."""

from __future__ import annotations

from datetime import date

import pytest

from specforge.diagnostics import Position
from specforge.spec.document import load_document
from tests.spec.documents import SHIPPED, read

VALUES = {
    "hello": "hello",
    "'12'": "12",
    '"a\\tb"': "a\tb",
    "no": "no",
    "on": "on",
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "-7": -7,
    "+7": 7,
    "0xFF": 255,
    "0o17": 15,
    "017": 17,
    "9223372036854775807": 2**63 - 1,
    "1:30": "1:30",
    "1.5": 1.5,
    "1e3": 1000.0,
    "2027-02-01": date(2027, 2, 1),
    "[1, [2], {a: b}]": [1, [2], {"a": "b"}],
    "{a: {b: c}}": {"a": {"b": "c"}},
    "|\n  x\n  y": "x\ny\n",
    ">-\n  x\n  y": "x y",
    "x\n  y": "x y",
    "x  # comment": "x",
    "'it''s'": "it's",
}


@pytest.mark.parametrize("text", VALUES)
def test_values_are_yaml_1_2_and_plain(file, text):
    got = read(file, f"key: {text}\n").data["key"]
    assert got == VALUES[text]
    assert type(got) is type(VALUES[text])


def test_containers_are_plain_too(file):
    data = read(file, "a: [{b: c}]\n").data
    assert [type(data), type(data["a"]), type(data["a"][0]), type(next(iter(data)))] == [dict, list, dict, str]


def test_places_of_keys_and_values(file):
    found = read(file, "a: 1\nb:\n  - {c: x, 'd': [2, 3]}\n  -\n    e:   y\n")
    at = {
        ("a",): ((1, 1), (1, 4)),
        ("b",): ((2, 1), (3, 3)),
        ("b", 0): ((3, 5), (3, 5)),
        ("b", 0, "c"): ((3, 6), (3, 9)),
        ("b", 0, "d"): ((3, 12), (3, 17)),
        ("b", 0, "d", 1): ((3, 21), (3, 21)),
        ("b", 1, "e"): ((5, 5), (5, 10)),
    }
    for location, (key, value) in at.items():
        assert found.at(location, key=True) == Position(file, *key), location
        assert found.at(location) == Position(file, *value), location


def test_the_place_of_what_is_missing_is_the_nearest_that_exists(file):
    found = read(file, "a:\n  b: 1\n")
    assert found.at(("a", "c", 3)) == found.at(("a",))
    assert found.at(("x",)) == Position(file, 1, 1)
    assert found.at(()) == Position(file, 1, 1)


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ("plain + x", 4),
        ("'plain + x'", 5),
        ('"plain + x"', 5),
        ("{b: plain + x}", None),
        ('"plain \\x2b x"', 4),
        ("|\n  plain + x", 4),
        ("plain\n  + x", 4),
    ],
)
def test_inside_a_text(file, line, column):
    found = read(file, f"k: 1\na: {line}\n")
    if column is None:
        assert found.inside(("a", "b"), 8) == Position(file, 2, 16)
    else:
        verbatim = found.inside(("a",), 8).column != column
        assert found.inside(("a",), 0) == Position(file, 2, column)
        assert found.inside(("a",), 8) == Position(file, 2, column + 8 if verbatim else column)
        assert verbatim == (line.strip("'\"") == "plain + x")


def test_the_hash_is_of_the_bytes(file):
    import hashlib

    content = "\ufeffa: 1\r\n"
    assert read(file, content).sha256 == hashlib.sha256(content.encode()).hexdigest()


def test_a_changed_file_is_read_again(file):
    assert read(file, "a: 1\n").data == {"a": 1}
    assert read(file, "a: 2\n").data == {"a": 2}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: "/".join(path.parts[-2:]))
def test_places_of_shipped_files_hold_what_they_say(path):
    found = load_document(path)
    lines = path.read_text().splitlines()
    assert len(found.keys) >= 5
    for location in found.keys:
        key = location[-1]
        if isinstance(key, str):
            where = found.at(location, key=True)
            assert lines[where.line - 1][where.column - 1 :].lstrip("'\"").startswith(key)
    for location in found.starts:
        where = found.inside(location, 0)
        value: object = found.data
        for part in location:
            value = value[part]  # type: ignore[index]
        assert lines[where.line - 1][where.column - 1 :].startswith(str(value))
