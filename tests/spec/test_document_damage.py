"""Whatever stands in a file, reading it gives data, or one clear error with a place inside it."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from specforge.diagnostics import SpecForgeError
from specforge.spec import document as document_module
from tests.spec.documents import SHIPPED

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
