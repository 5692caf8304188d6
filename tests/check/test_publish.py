"""A record made elsewhere is judged again and published, or refused: whole commands in a repository of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from specforge.record.ledger import verify_ledger
from specforge.record.store import read_record, seal, write_record

IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
LEDGER = Path("results/ledger.jsonl")
CHECK = ("check", "specs/demo.yaml", "--until", "verify", "--backend", "emulator", "--examples", "5")


def git(*arguments: str) -> str:
    return subprocess.run(["git", *IDENTITY, *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def record(home: Path, demo: Callable, specforge: Callable) -> Path:
    """A record of the README's kernel on the emulator, made in the repository that the working folder now is."""
    demo([1])
    Path(".gitignore").write_text(".specforge/\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "one")
    path = home.parent / "record.json"
    ended = specforge(*CHECK, "--record", str(path))
    assert ended.status == 0, ended.errors
    return path


@pytest.fixture
def publish(specforge: Callable) -> Callable:
    return lambda path: specforge("judge", str(path), "--publish", "--format", "json")


def reseal(path: Path, **sources: object) -> None:
    """Change what a record says of its sources and seal it anew, as one who knows how may."""
    record = read_record(path)
    write_record(seal(record.model_copy(update={"sources": record.sources.model_copy(update=sources)})), path)


def refused(publish: Callable, path: Path, code: str, said: str) -> None:
    """Status 2, the reason, and nothing published."""
    before = sorted(Path("results").rglob("*")), LEDGER.read_bytes() if LEDGER.exists() else None
    ended = publish(path)
    assert (ended.status, ended.text) == (2, "")
    assert f"error {code}" in ended.errors
    assert said in ended.errors
    assert (sorted(Path("results").rglob("*")), LEDGER.read_bytes() if LEDGER.exists() else None) == before


def test_published_once(record: Path, publish: Callable) -> None:
    ended = publish(record)
    assert ended.status == 0, ended.errors
    assert {item["verdict"] for item in json.loads(ended.text)["judgements"]} == {"met"}
    made = read_record(record)
    (line,) = map(json.loads, LEDGER.read_text().splitlines())
    assert (line["record"], line["spec"], line["status"]) == (made.digest, "demo", 0)
    published = LEDGER.parent / line["path"]
    assert f"published {published}" in ended.errors
    assert published.read_bytes() == record.read_bytes()
    assert verify_ledger(LEDGER) == []
    refused(publish, record, "SF604", "is published already")
    assert verify_ledger(LEDGER) == []


def test_a_missed_target_is_published_as_missed(record: Path, specforge: Callable, publish: Callable) -> None:
    spec = Path("specs/demo.yaml")
    spec.write_text(spec.read_text().replace("spill_bytes, equals: 0", "registers, at_most: 4"))
    git("commit", "-q", "-a", "-m", "two")
    assert specforge(*CHECK, "--record", str(record)).status == 1
    assert publish(record).status == 1
    assert json.loads(LEDGER.read_text())["status"] == 1


def test_a_record_of_a_copy_without_history(
    home: Path, record: Path, specforge: Callable, publish: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `--publish` is for: the machine with the card has the files and not the repository."""
    copy = home.parent / "copy"
    shutil.copytree(home, copy, ignore=shutil.ignore_patterns(".git"), symlinks=True)
    with monkeypatch.context() as away:
        away.chdir(copy)
        away.setenv("SPECFORGE_COMMIT", git("-C", str(home), "rev-parse", "HEAD"))
        assert specforge(*CHECK, "--record", str(record)).status == 0
    assert read_record(record).sources.dirty is None
    refused(publish, "elsewhere.json", "SF601", "elsewhere.json")
    assert publish(record).status == 0
    assert verify_ledger(LEDGER) == []


def test_a_dirty_tree(home: Path, record: Path, publish: Callable) -> None:
    Path(".gitignore").write_text(".specforge/\nbuild/\n")
    refused(publish, record, "SF604", "this tree is not a clean checkout")


def test_no_repository(record: Path, publish: Callable) -> None:
    shutil.rmtree(".git")
    refused(publish, record, "SF604", "this tree is not a clean checkout")


def test_another_commit(record: Path, publish: Callable) -> None:
    git("commit", "-q", "--allow-empty", "-m", "two")
    refused(publish, record, "SF604", f"the record was made from commit {read_record(record).sources.commit}, this is")


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ({"tool_sha256": "0" * 64}, "SpecForge itself differs"),
        ({"commit": "0" * 40}, "the record was made from commit 000"),
        ({"dirty": True}, "the sources are not committed"),
    ],
)
def test_other_sources(record: Path, publish: Callable, sources: dict[str, object], said: str) -> None:
    reseal(record, **sources)
    refused(publish, record, "SF604", said)


@pytest.mark.parametrize(
    "name", ["specs/demo.yaml", "kernels/activation/silu/reference.py", "kernels/activation/silu/kernel.cu.j2"]
)
def test_a_stale_record_though_committed(record: Path, publish: Callable, name: str) -> None:
    file = Path(name)
    file.write_text(file.read_text() + (";\n" if name.endswith(".j2") else "# more\n"))
    git("commit", "-q", "-a", "-m", "two")
    refused(publish, record, "SF603", "the record is stale")


def test_a_tampered_record(record: Path, publish: Callable) -> None:
    text = record.read_text()
    assert text.count('"status": 0') == 1
    record.write_text(text.replace('"status": 0', '"status": 1'))
    refused(publish, record, "SF602", "does not match its own digest")


def test_nothing_compiled(record: Path, specforge: Callable, publish: Callable) -> None:
    assert specforge("check", "specs/demo.yaml", "--until", "render", "--record", str(record)).status == 0
    refused(publish, record, "SF604", "nothing was compiled")


def test_a_ledger_that_is_not_whole(record: Path, publish: Callable) -> None:
    LEDGER.parent.mkdir()
    LEDGER.write_text("not a line\n")
    ended = publish(record)
    assert ended.status == 2
    assert "error SF606" in ended.errors
    assert LEDGER.read_text() == "not a line\n"
