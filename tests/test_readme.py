"""The README tells the truth: its generated blocks are current, its commands are there, its files are valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from specforge.cli import main
from tests import readme


@pytest.mark.parametrize("page", readme.PAGES, ids=lambda page: page.name)
def test_generated_blocks_are_up_to_date(page: Path) -> None:
    assert readme.regenerated(page) == page.read_text(), "run `python -m tests.readme`"


def test_the_two_commands() -> None:
    check, tests = readme.commands()
    assert "specforge check specs/qwen35_rtx5090.yaml --until verify" in check
    assert "pytest" in tests
    assert all(command.startswith("python3 -m venv .venv && .venv/bin/pip install") for command in (check, tests))


def test_every_command_named_exists() -> None:
    text = readme.README.read_text()
    for word in ("check", "explain", "render", "doctor", "schema"):
        assert f"specforge {word}" in text
        assert word in main.commands
