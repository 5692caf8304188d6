from __future__ import annotations

from pathlib import Path

import pytest

from specforge.judge.verdict import Verdict
from specforge.report.findings import failures, findings, silent_faults
from specforge.report.rows import SEVERITY

ROOT = Path(__file__).parents[2]


def test_required_comes_first_then_the_worst(samples):
    found = findings(samples.every_verdict())
    levels = ["required", "warn", "record"]
    order = [(levels.index(item.level), SEVERITY.index(item.verdict)) for item in found]
    assert order == sorted(order)
    assert found[0].verdict is Verdict.WRONG


def test_two_records_are_sorted_together(samples):
    found = findings(samples.undecided(), samples.wrong())
    assert found[0].verdict is Verdict.WRONG


def test_a_place_is_the_line_of_the_target(samples):
    record = samples.every_verdict()
    lines = (ROOT / samples.SAMPLE).read_text().splitlines()
    missed = [item for item in findings(record) if item.verdict is Verdict.MISSED]
    assert missed
    for item in missed:
        line = lines[item.place.line - 1]
        assert line[item.place.column - 1 :].startswith("{metric: ")
        assert item.subject.split(": ")[1].split()[0] in line


def test_a_fuzz_failure_names_kernel_row_and_replay_once(samples):
    found = failures(samples.wrong())
    assert len(found) == 1, "the cases' own verdicts repeat it and are not shown again"
    assert found[0].subject == "attention/flash_decode"
    assert found[0].row == samples.ROW
    assert "--case" in found[0].replay
    assert found[0].place.line == 14


def test_a_fault_of_another_kind_is_shown_besides_fuzzing(samples):
    record = samples.wrong()
    case = record.cases[0].model_copy(update={"wrong": None, "fault": "deadlock: thread 3 never arrives"})
    found = failures(record.model_copy(update={"cases": [case, *record.cases[1:]]}))
    assert [item.verdict for item in found] == [Verdict.WRONG, Verdict.ERROR]


def test_a_kernel_without_targets_is_placed_in_its_own_file(samples):
    record = samples.wrong()
    bare = record.model_copy(update={"targets": [], "judgements": []})
    assert str(findings(bare)[0].place) == "kernels/attention/flash_decode/kernel.yaml"


def test_a_case_without_a_target_that_says_so_is_not_lost(samples):
    record = samples.every_verdict()
    assert [(case.id, verdict) for case, verdict, _ in silent_faults(record)] == [
        ("untargeted[tokens=1024]", Verdict.WRONG)
    ]


def test_an_implausible_case_with_static_targets_only_is_silent_and_shown(samples):
    record = samples.verified()
    case = record.cases[0].model_copy(update={"implausible": "faster than light"})
    changed = record.model_copy(update={"cases": [case, *record.cases[1:]]})
    assert [verdict for _, verdict, _ in silent_faults(changed)] == [Verdict.IMPLAUSIBLE]
    assert failures(changed)[0].sentence == "faster than light"


def test_missed_cases_show_beside_worse_ones(samples):
    record = samples.missed()
    judgements = [
        item.model_copy(update={"verdict": "wrong", "reason": "broken"})
        if item.case.endswith("[batch=1,context=2048]")
        else item
        for item in record.judgements
    ]
    found = findings(record.model_copy(update={"judgements": judgements}))
    assert any(item.verdict is Verdict.MISSED and "48 B is not == 0 B" in item.sentence for item in found)


def test_running_out_of_time_is_a_finding_and_no_failure(samples):
    record = samples.out_of_time()
    assert any("ran out of time after 61 of 200 examples" in item.sentence for item in findings(record))
    assert failures(record) == []
    (idle,) = [item for item in findings(samples.idle()) if item.level == "required"]
    assert (idle.verdict, idle.sentence) == (Verdict.UNMEASURED, "fuzzing ran no example")


def test_a_target_that_only_records_is_no_failure(samples):
    record = samples.missed()
    targets = [target.model_copy(update={"level": "record"}) for target in record.targets]
    assert failures(record)
    assert failures(record.model_copy(update={"targets": targets})) == []


@pytest.mark.parametrize("name", ["verified", "built"])
def test_a_run_that_met_everything_has_no_findings(samples, name):
    assert findings(samples.SAMPLES[name]()) == []


def test_replay_repeats_the_stage_and_the_seed(samples):
    missed = failures(samples.missed())[0]
    assert missed.replay == f"specforge check {samples.SAMPLE} --only attention --seed 7 --until verify"


def test_replay_can_be_pasted_into_a_shell(samples):
    import shlex

    record = samples.missed().model_copy(update={"spec_path": "my specs/it's.yaml"})
    assert shlex.split(failures(record)[0].replay)[2] == "my specs/it's.yaml"
