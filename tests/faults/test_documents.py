"""The pages that the corpus writes are up to date."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.faults import table, transcript
from tests.faults.corpus import FAULTS, Fault, read_fault


def test_the_table_is_up_to_date() -> None:
    assert table.DOCUMENT.read_text(encoding="utf-8") == table.render(), "run `python -m tests.faults.table --write`"
    assert set(table.read(table.EMULATED)["faults"]) == {str(fault) for fault in FAULTS}, (
        "run `python -m tests.faults.table`"
    )
    assert not table.amiss(table.read(table.EMULATED))


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_reasons_fit_what_the_card_said(fault: Fault) -> None:
    said = {check: answers["fault"] for check, answers in table.read(table.CARD)["faults"][str(fault)].items()}
    excuse = re.search(r"Neither of the card's cases|In ten plain runs|the plain run is right", fault.card)
    assert bool(excuse) == (said["plain"] == "right")
    assert ("The kernel never ends" in fault.card) == (said["plain"] == "hang")
    tools = [tool for tool in table.CHECKS[1:] if table.found(tool, said[tool])]
    assert re.findall(r"\b(\w+) alone (?:looks|knows|passes)", fault.card) in ([], tools)
    assert fault.card.endswith(".")


def test_the_transcript_says_what_check_says(tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = tmp_path_factory.getbasetemp().parent / "specforge-cache"
    cache.mkdir(exist_ok=True)
    written = transcript.DOCUMENT.read_text(encoding="utf-8")
    assert transcript.normal(written) == transcript.normal(transcript.render(cache)), (
        "run `python -m tests.faults.transcript`"
    )
    assert "race: " in written
    assert "shared `partial`" in written
    assert len(set(re.findall(r"kernel\.cu\.j2:\d+", written))) >= 2
    assert len(set(re.findall(r"thread \(\d+, 0, 0\)", written))) >= 2
    assert "smallest failing case: {rows: 3, " in written
    assert "--case '{rows: 3, " in written


@pytest.mark.parametrize("first", ["// a comment", '// finds: race "tile"', "#include <a>"])
def test_a_template_says_what_is_found(tmp_path: Path, first: str) -> None:
    template = tmp_path / "broken.cu.j2"
    template.write_text(f"{first}\n")
    with pytest.raises(ValueError, match=r"broken\.cu\.j2:1: .* does not say what is found"):
        read_fault(template)
