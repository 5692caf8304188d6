from __future__ import annotations

from types import ModuleType

import pytest

from specforge.record.model import AgainstEntry, ChangeEntry, Record
from specforge.report.against import HEADS, change_rows, change_sentence, heading, percent, sentences, slower


def cell(verdict: str, ratio: float, case: str = "b[n=1]") -> ChangeEntry:
    return ChangeEntry(
        case=case,
        mode="amortised",
        before=1e-5,
        after=ratio * 1e-5,
        ratio=ratio,
        low=ratio - 0.002,
        high=ratio + 0.002,
        verdict=verdict,  # type: ignore[arg-type]
        processes=[3, 3],
    )


@pytest.fixture
def record(samples: ModuleType) -> Record:
    against = AgainstEntry(
        path="results/before.json",
        digest="ab" * 32,
        created="2026-11-21T10:00:00+00:00",
        commit="cd" * 20,
        tolerance=0.01,
        cells=[cell("same", 1.001), cell("faster", 0.95), cell("slower", 1.03), cell("undecided", 1.01)],
        left_out={"b[n=2]": "it was not timed now", "b[n=3]": "it was not timed now", "b[n=4]": "other parameters"},
        warnings=["another driver: 1, now 2"],
    )
    verified: Record = samples.SAMPLES["verified"]()
    return verified.model_copy(update={"against": against})


def test_rows_come_worst_first_and_what_is_the_same_is_counted_only(record: Record) -> None:
    found = change_rows(record)
    assert [row[-1] for row in found] == ["slower", "undecided", "faster"]
    assert found[0] == ("b[n=1]", "amortised", "10 us", "10.3 us", "+3.0 %", "+2.8 % .. +3.2 %", "slower")
    assert {len(row) for row in found} == {len(HEADS)}


def test_sentences(record: Record) -> None:
    assert list(sentences(record)) == [
        "1 slower, 1 undecided, 1 faster, 1 same; a change of less than 1 % does not matter",
        "not compared: b[n=2] and 1 more: it was not timed now",
        "not compared: b[n=4]: other parameters",
        "warning: another driver: 1, now 2",
    ]
    assert record.against is not None
    assert heading(record.against) == (
        "against results/before.json (record abababababab of 2026-11-21, commit cdcdcdcdcdcd)"
    )


def test_what_counts(record: Record) -> None:
    assert [change_sentence(one) for one in slower(record)] == [
        "+3.0 % (+2.8 % .. +3.2 %): 10.3 us amortised, 10 us before"
    ]


def test_without_a_comparison_there_is_nothing(record: Record) -> None:
    bare = record.model_copy(update={"against": None})
    assert (change_rows(bare), list(sentences(bare)), slower(bare)) == ([], [], [])


@pytest.mark.parametrize(("ratio", "said"), [(1.021, "+2.1 %"), (0.9, "-10.0 %"), (1.0, "+0.0 %")])
def test_percent(ratio: float, said: str) -> None:
    assert percent(ratio) == said
