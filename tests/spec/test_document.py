"""Whatever stands in a file, reading it gives data with places, or one clear error with a code and a place."""

from __future__ import annotations

import os
import random
import signal
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specforge.cli import main
from specforge.diagnostics import Diagnostic, Position, SpecForgeError
from specforge.spec import document as document_module
from specforge.spec.document import MAX_BYTES, Document, load_document, read_text
from specforge.spec.strict import MAX_NESTING, MAX_NODES

ROOT = Path(__file__).parents[2]
SHIPPED = sorted([*ROOT.glob("specs/**/*.yaml"), *ROOT.glob("kernels/**/kernel.yaml")])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "some.yaml"


def read(file: Path, content: bytes | str) -> Document:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_document(file)


def refusal(path: Path, content: bytes | str | None = None) -> Diagnostic:
    """The one diagnostic that a file gives."""
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SpecForgeError) as caught:
        load_document(path)
    (finding,) = caught.value.diagnostics
    return finding


def place(finding: Diagnostic) -> tuple[int, int]:
    assert finding.position is not None
    return finding.position.line, finding.position.column


# --- faults of the text -----------------------------------------------------------------------------------------------

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


# --- not a file -------------------------------------------------------------------------------------------------------


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Fail instead of hanging."""

    def stop(_signal: int, _frame: object) -> None:
        raise TimeoutError(f"still reading after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_missing_file_names_its_neighbour(tmp_path):
    (tmp_path / "rtx5090.yaml").write_text("a: 1\n")
    finding = refusal(tmp_path / "rtx509.yaml")
    assert finding.code == "SF001"
    assert finding.hint == f"did you mean {tmp_path / 'rtx5090.yaml'}?"
    finding = refusal(tmp_path / "nowhere" / "x.yaml")
    assert finding.code == "SF001"
    assert "does not exist either" in str(finding.hint)


def test_a_folder(tmp_path):
    finding = refusal(tmp_path)
    assert (finding.code, place(finding)) == ("SF002", (1, 1))
    assert "inside it" in str(finding.hint)


def test_a_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with within(5):
        assert refusal(tmp_path / "pipe.yaml").code == "SF002"


def test_a_socket_does_not_hang(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server, within(5):
        server.bind("socket.yaml")
        assert refusal(Path("socket.yaml")).code == "SF002"


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/dev/stdin"])
def test_a_device_does_not_hang(path):
    with within(5), pytest.raises(SpecForgeError) as caught:
        load_document(Path(path))
    assert caught.value.diagnostics[0].code in ("SF002", "SF106")  # standard input may be a file


def test_links_in_a_circle(tmp_path):
    (tmp_path / "a.yaml").symlink_to(tmp_path / "b.yaml")
    (tmp_path / "b.yaml").symlink_to(tmp_path / "a.yaml")
    assert refusal(tmp_path / "a.yaml").code == "SF001"


def test_a_name_too_long_or_with_nul(tmp_path):
    assert refusal(tmp_path / ("a" * 300)).code == "SF001"
    assert refusal(tmp_path / "a\0b").code == "SF001"


def test_a_file_below_a_file(file):
    file.write_text("a: 1\n")
    assert refusal(file / "b.yaml").code == "SF001"


def test_an_unreadable_file(file):
    file.write_text("a: 1\n")
    file.chmod(0)
    try:
        if os.access(file, os.R_OK):
            assert load_document(file).data == {"a": 1}  # root may read anything
        else:
            finding = refusal(file)
            assert (finding.code, place(finding)) == ("SF001", (1, 1))
            assert "denied" in finding.message
    finally:
        file.chmod(stat.S_IRUSR | stat.S_IWUSR)


def test_a_read_that_fails(file, monkeypatch):
    file.write_text("a: 1\n")

    def broken(self: Path, *_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", broken)
    finding = refusal(file)
    assert finding.code == "SF001"
    assert "Input/output error" in finding.message


def test_ten_megabytes_are_refused_at_once(file):
    start = time.perf_counter()
    finding = refusal(file, b"# filler\n" * (10 * 2**20 // 9))
    assert (finding.code, place(finding)) == ("SF004", (1, 1))
    assert time.perf_counter() - start < 0.5
    assert "10,485,7" in finding.message


def test_the_limit_of_size_itself_is_readable(file):
    assert read(file, "a: 1\n" + "#" * (MAX_BYTES - 5)).data == {"a": 1}
    assert refusal(file, "a: 1\n" + "#" * (MAX_BYTES - 4)).code == "SF004"


def test_the_limit_of_depth_itself_is_readable(file):
    fits = MAX_NESTING - 1
    assert read(file, "a: " + "[" * (fits - 1) + "]" * (fits - 1) + "\n").data["a"] is not None
    assert refusal(file, "a: " + "[" * (fits + 1) + "]" * (fits + 1) + "\n").code == "SF101"


def test_read_text_shares_the_checks(file):
    file.write_text("not: [yaml")
    assert read_text(file) == "not: [yaml"
    file.write_bytes(b"\xff")
    with pytest.raises(SpecForgeError, match="SF003"):
        read_text(file)


# --- what is read -----------------------------------------------------------------------------------------------------


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
    assert len(found.keys) > 5
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


# --- nothing else ever ------------------------------------------------------------------------------------------------

TOKENS = [
    *[
        "a",
        "b: ",
        ":",
        "- ",
        "? ",
        "\n",
        "\n  ",
        "\n    ",
        " ",
        "#",
        " # c\n",
        "[",
        "]",
        "{",
        "}",
        ",",
        '"',
        "'",
        "|",
        ">",
    ],
    *[
        "|+\n",
        "&a ",
        "*a ",
        "!t ",
        "!!str ",
        "%YAML 1.2\n",
        "---\n",
        "...\n",
        "\t",
        "1",
        "0x",
        "-",
        "+",
        ".",
        ".inf",
        "~",
    ],
    *[
        "<<: ",
        "2027-02-30",
        "\\",
        "\\x",
        "\\U",
        "\r",
        "\ufeff",
        "\u2028",
        "\x85",
        "=",
        "_",
        "e",
        "@",
        "`",
        "a: 1\n",
        "é",
    ],
]


def check_any(path: Path, text: str) -> None:
    """Data, or one positioned diagnostic inside the text."""
    try:
        document_module._parse.__wrapped__(path, text.encode())
    except SpecForgeError as error:
        (finding,) = error.diagnostics
    else:
        return
    assert finding.position is not None
    assert 1 <= finding.position.line <= max(1, len(text.replace("\r\n", "\n").replace("\r", "\n").split("\n")))
    assert finding.position.column >= 1


@given(st.lists(st.sampled_from(TOKENS), max_size=25).map("".join))
def test_any_tokens(text):
    check_any(Path("x.yaml"), text)


def test_any_damage_to_the_shipped_files():
    random_ = random.Random(2026)
    texts = [path.read_text() for path in SHIPPED]
    for _ in range(1000):
        text = random_.choice(texts)
        middle = random_.randrange(len(text))
        piece = list(text[max(0, middle - 200) : middle + 200])
        for _ in range(random_.randint(1, 4)):
            where = random_.randrange(len(piece))
            piece[where : where + random_.choice([0, 1, 1, 10])] = random_.choice(TOKENS)
        check_any(Path("x.yaml"), "".join(piece))
