"""What the README shows: its files, its commands, and its blocks that are generated from records, as docs/kernels.md's.

`python -m tests.readme` writes the generated blocks anew; `tests/test_readme.py` checks that they are up to date.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import routed_path
from benchmarks.llama_cpp import comparison
from specforge.judge.verdict import STATUS_MEANINGS
from specforge.record.ledger import published
from specforge.record.model import Record
from specforge.record.provenance import changed_since
from specforge.record.store import read_record
from specforge.report import kernels, measured, text

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, ROOT / "docs" / "kernels.md")
_FILE = re.compile(r"<!-- file: (?P<path>\S+) -->\n```\w+\n(?P<text>.*?)```\n", re.DOTALL)
_GENERATED = re.compile(
    r"(?P<head><!-- (?P<what>record: (?P<record>\S+) as (?P<form>\w+)|ledger: (?P<ledger>\S+)"
    r"|routed path: (?P<routed>\S+)|llama\.cpp: (?P<llama>\S+)|statuses) -->\n).*?<!-- end -->",
    re.DOTALL,
)


def files() -> dict[str, str]:
    """The files that the README shows whole, by path."""
    return {found["path"]: found["text"] for found in _FILE.finditer(README.read_text())}


def commands() -> list[str]:
    """The lines of the README's first shell block: the two commands of a newcomer."""
    block = re.search(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    assert block
    return block[1].splitlines()


def regenerated(page: Path = README) -> str:
    """A page with every generated block made anew."""
    return _GENERATED.sub(lambda found: f"{found['head']}{_block(found)}<!-- end -->", page.read_text())


def _block(found: re.Match[str]) -> str:
    if found["what"] == "statuses":
        lines = [f"| {status.value} | {meaning} |" for status, meaning in STATUS_MEANINGS.items()]
        return "\n| status | when |\n|---|---|\n" + "\n".join(lines) + "\n\n"
    if found["ledger"]:
        return f"\n{kernels.render(_with_changes(found['ledger']))}\n"
    if found["routed"]:
        return f"\n{routed_path.section(ROOT / found['routed'])}\n"
    if found["llama"]:
        return f"\n{comparison.section(ROOT / found['llama'], _with_changes('results/ledger.jsonl'))}\n"
    record = newest(ROOT / found["record"])
    if found["form"] == "measured":
        return "\n" + measured.render(record) + "\n"
    return "\n```\n" + text.render(record, width=100) + "```\n\n"


def _with_changes(ledger: str) -> list[tuple[Record, list[str]]]:
    """The newest records, each with the names of inputs that have changed since."""
    records = kernels.newest(published(ROOT / ledger))
    return [(each, changed_since(each, ROOT / each.spec_path)) for each in records]


def newest(path: Path) -> Record:
    """The record of that name; of a folder, the one that was made last."""
    if path.is_dir():
        return max((read_record(file) for file in path.glob("*.json")), key=lambda record: record.created)
    return read_record(path)


if __name__ == "__main__":
    for one in PAGES:
        one.write_text(regenerated(one))
