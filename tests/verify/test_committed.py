"""Committed examples: read in order, each fault at its own line and column."""

from __future__ import annotations

import pytest

from specforge.diagnostics import SpecForgeError
from specforge.spec.interface import Kernel
from specforge.verify.committed import committed_examples
from specforge.verify.example import Example
from specforge.verify.fuzz import fuzz

ROW = "{rows: 4, width: 65, dtype: bf16, group: 2, signed: true, seed: 1}"
EXAMPLE = Example({"rows": 4, "width": 65, "dtype": "bf16", "group": 2, "signed": True}, seed=1)


def test_no_file_and_no_rows(blend: Kernel) -> None:
    assert committed_examples(blend) == ()
    blend.examples.write_text("# none yet\n\n")
    assert committed_examples(blend) == ()


def test_rows_in_order_with_comments(blend: Kernel) -> None:
    later = ROW.replace("seed: 1", "seed: 0, schedule: 3")
    blend.examples.write_text(f"# why\n- {ROW}  # *because*\n\n-   {later}\n")
    found = committed_examples(blend)
    assert [example.to_row() for example in found] == [ROW, later]


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        (f"- {ROW}\n- {ROW.replace('width: 65', 'width: 0')}\n", "SF405", "examples.yaml:2:13"),
        (f"-    {ROW.replace('width', 'witdh')}\n", "SF404", "examples.yaml:1:16"),
        (f"- {ROW.replace('width: 65, ', '')}\n", "SF403", "examples.yaml:1:3"),
        (f"- {ROW}\nrows: 3\n", "SF101", "examples.yaml:2:1"),
        ("\n- {rows: 4, [}\n", "SF101", "examples.yaml:2:"),
        (f"- {ROW}\n# again\n- {ROW}\n", "SF102", "examples.yaml:3:1"),
        (f"- {ROW.replace('rows: 4', 'rows: 3')}\n", "SF409", "examples.yaml:1:3"),
        (f"- {ROW.replace('seed: 1', 'offset: 8')}\n", "SF203", "examples.yaml:1:"),
        ("- 17\n", "SF106", "examples.yaml:1:3"),
    ],
)
def test_a_wrong_row_is_an_error_at_its_place(blend: Kernel, text: str, code: str, place: str) -> None:
    blend.examples.write_text(text)
    with pytest.raises(SpecForgeError) as caught:
        committed_examples(blend)
    assert caught.value.diagnostics[0].code == code
    assert place in str(caught.value.diagnostics[0].position)


def test_what_cannot_be_read(blend: Kernel) -> None:
    blend.examples.write_bytes(b"- \xff")
    with pytest.raises(SpecForgeError, match="SF003"):
        committed_examples(blend)
    blend.examples.unlink()
    blend.examples.mkdir()
    with pytest.raises(SpecForgeError, match="SF002"):
        committed_examples(blend)


def test_every_fault_is_told_at_once(blend: Kernel) -> None:
    blend.examples.write_text(f"- {ROW.replace('65', '0')}\nx\n- {ROW.replace('4', '0')}\n")
    with pytest.raises(SpecForgeError) as caught:
        committed_examples(blend)
    assert [fault.position.line for fault in caught.value.diagnostics] == [1, 2, 3]


def test_they_come_first_and_do_not_count(blend: Kernel, blend_runner, in_process) -> None:
    variants = [({"dtype": "bf16", "group": 2, "signed": True, "warps": 4}, "a")]
    seen: list[str] = []

    class Listening(in_process):
        def call(self, task, payload, *, timeout):
            seen.append(payload[2].to_row())
            return super().call(task, payload, timeout=timeout)

    committed = [EXAMPLE, Example(EXAMPLE.parameters, seed=9)]
    report = fuzz(
        blend,
        variants,
        Listening(blend_runner()),
        examples=3,
        seed=0,
        budget=9.0,
        cap=1e5,
        committed=committed,
        known_failures=[Example(EXAMPLE.parameters, seed=4)],
    )
    assert report.failure is None
    assert seen[:3] == [example.to_row() for example in (*committed, Example(EXAMPLE.parameters, seed=4))]
    assert report.examples == 2 + 3


def test_one_that_fails_ends_the_search(blend: Kernel, blend_runner, in_process) -> None:
    def wrong(case, outputs, schedule) -> None:
        outputs["out"][0, 0] += 9

    variants = [({"dtype": "bf16", "group": 2, "signed": True, "warps": 4}, "a")]
    worker = in_process(blend_runner(fault=wrong))
    report = fuzz(blend, variants, worker, examples=3, seed=0, budget=9.0, cap=1e5, committed=[EXAMPLE])
    assert report.failure is not None
    assert report.failure.example == EXAMPLE
    assert report.examples == 1
