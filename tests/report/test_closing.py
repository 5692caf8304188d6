from __future__ import annotations

import pytest

from specforge.judge.verdict import STATUS_MEANINGS, Status
from specforge.report.closing import closing


def said(record, label):
    return [sentence for name, sentence in closing(record) if name == label]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("every_verdict", 3),
        ("wrong", 3),
        ("undecided", 4),
        ("verified", 0),
        ("missed", 1),
        ("out_of_time", 0),
        ("idle", 4),
        ("built", 0),
        ("empty", 5),
    ],
)
def test_the_last_line_is_the_status_and_its_meaning(samples, name, status):
    record = samples.SAMPLES[name]()
    assert record.status == status
    assert closing(record)[-1] == (f"exit status {status}", STATUS_MEANINGS[Status(status)])


def test_open_verdicts_are_counted_with_their_reason(samples):
    record = samples.undecided()
    assert said(record, "open") == [
        f"9 unmeasured (latency, peak_bandwidth_share and bandwidth): {samples.NO_CARD}",
        f"2 unmeasured, 1 of them required (decode_throughput): {samples.NO_STEP}",
    ]
    counted = sum(item.verdict == "unmeasured" for item in record.judgements)
    assert counted == 11


def test_what_would_settle_it_names_the_card_and_the_missing_kernels(samples):
    assert said(samples.undecided(), "to settle it") == [
        "run this spec on NVIDIA GeForce RTX 5090; shares and ratios can be decided on any card that SpecForge drives",
        "decode_throughput: write kernels for the other 2 parts of the decode step",
    ]


def test_a_run_on_the_card_itself_is_not_sent_to_it_again(samples):
    assert not any("run this spec on" in sentence for sentence in said(samples.every_verdict(), "to settle it"))
    record = samples.undecided()
    environment = record.environment.model_copy(
        update={"backend": "cuda:0 NVIDIA GeForce RTX 5090", "device_matches": True}
    )
    again = said(record.model_copy(update={"environment": environment}), "to settle it")
    assert again[0] == "run it again on a quiet card: no other processes, steady clocks"


def test_on_another_card_only_the_spec_own_card_is_left(samples):
    record = samples.undecided()
    environment = record.environment.model_copy(update={"backend": "cuda:0 NVIDIA H100", "device_matches": False})
    changed = record.model_copy(update={"environment": environment})
    assert said(changed, "to settle it")[0] == "run this spec on NVIDIA GeForce RTX 5090"


def test_status_zero_until_verify_says_what_was_not_requested(samples):
    record = samples.verified()
    names = "latency, peak_bandwidth_share, bandwidth and decode_throughput"
    assert said(record, "not requested") == [f"11 verdicts (--until verify), not counted: {names}"]
    assert said(record, "to settle it") == ["drop --until verify to have the rest decided"]
    assert said(record, "open") == []


def test_a_build_claims_no_result(samples):
    assert any(
        "no result was checked, nothing was executed" in sentence for sentence in said(samples.built(), "proven")
    )
    assert not any("agree" in sentence for sentence in said(samples.built(), "proven"))


def test_a_failed_kernel_is_not_proven(samples):
    record = samples.wrong()
    assert not any("flash_decode" in sentence for sentence in said(record, "proven"))
    assert "attention/flash_decode went wrong in fuzzing" in said(record, "failed")


def test_nothing_selected_proves_nothing(samples):
    record = samples.empty()
    assert said(record, "proven") == ["nothing"]
    assert said(record, "to settle it")[0].startswith("--only 'no_such_*' selects nothing here")


def test_a_fuzz_run_without_an_example_proves_nothing(samples):
    record = samples.built()
    none = record.model_copy(update={"fuzz": [samples.fuzzed("moe/router_topk", examples=0)], "judgements": []})
    assert said(none, "proven") == ["nothing"]


def test_out_of_time_is_open_and_has_a_way_out(samples):
    record = samples.out_of_time()
    assert "attention/flash_decode: fuzzing ran out of time after 61 of 200 examples" in said(record, "open")
    assert any("--seconds" in sentence for sentence in said(record, "to settle it"))


def test_fuzzing_that_ran_nothing_is_open_and_proves_nothing(samples):
    record = samples.idle()
    assert "attention/flash_decode: fuzzing ran no example" in said(record, "open")
    assert not any("flash_decode" in sentence for sentence in said(record, "proven"))


def test_many_reasons_are_summed_up(samples):
    record = samples.undecided()
    judgements = [
        item.model_copy(update={"reason": f"reason {index}"}) if item.verdict == "unmeasured" else item
        for index, item in enumerate(record.judgements)
    ]
    lines = said(record.model_copy(update={"judgements": judgements}), "open")
    assert len(lines) == 5
    assert lines[-1] == "7 more for other reasons, all in the record"
