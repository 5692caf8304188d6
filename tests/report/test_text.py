from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specforge.judge.verdict import Verdict
from specforge.report.text import SHOWN_FAILURES, fuzz_sentences, render

ANSI = re.compile(r"\x1b\[[0-9;]*m")
COPIED = ("    smallest failing case: ", "    replay: ", "    at ")
"""Lines that are there to be copied, and so are never broken."""


@given(width=st.integers(80, 140), name=st.sampled_from(["every_verdict", "wrong", "undecided", "missed"]))
@settings(max_examples=25, deadline=None)
def test_no_line_is_wider_than_the_console(samples, width, name):
    text = render(samples.SAMPLES[name](), width=width)
    for line in text.splitlines():
        assert len(line) <= width or line.startswith(COPIED), line


def test_a_run_of_the_real_spec_fits_a_screen(samples):
    spec = samples.spec_at("specs/qwen35_rtx5090.yaml")
    record = samples.record_of(spec, samples.clean_evidence(spec), until="verify", fuzz=samples.CLEAN)
    lines = render(record).splitlines()
    assert len(lines) <= 75
    assert max(map(len, lines)) <= 100
    assert "20 of 20 kernels of the decode step are covered" in lines[1]
    assert sum("spill_bytes" in line for line in lines[:-12]) == 1, "what all benchmarks meet alike is said once"


def test_what_one_of_many_benchmarks_does_not_meet_is_said_of_it(samples):
    spec = samples.spec_at("specs/qwen35_rtx5090.yaml")
    record = samples.record_of(spec, samples.clean_evidence(spec), until="verify", fuzz=samples.CLEAN)
    of_router = next(t.id for t in record.targets if (t.benchmark, t.metric) == ("router", "spill_bytes"))
    found = [
        item.model_copy(update={"verdict": "missed", "value": 8.0}) if item.target == of_router else item
        for item in record.judgements
    ]
    before, after = (render(one) for one in (record, record.model_copy(update={"judgements": found})))
    count = re.search(r"spill_bytes  in (\d+) benchmarks", before)
    assert count
    assert f"spill_bytes  in {int(count[1]) - 1} benchmarks" in after
    assert re.search(r"router  moe/router\n  spill_bytes +missed +8 B", after)


@pytest.mark.parametrize("path", ["specs/qwen35_rtx5090.yaml", "specs/qwen35_h100.yaml"])
def test_shipped_specs_render(samples, path):
    spec = samples.spec_at(path)
    text = render(samples.record_of(spec, samples.clean_evidence(spec)))
    assert text.startswith(f"{spec.name} on {spec.device.file.name}")


@pytest.mark.parametrize("name", ["every_verdict", "wrong", "verified", "empty"])
def test_colour_changes_nothing_but_colour(samples, name):
    record = samples.SAMPLES[name]()
    assert ANSI.sub("", render(record, colour=True)) == render(record)
    assert not ANSI.search(render(record))


def test_only_decided_words_are_green(samples):
    text = "".join(render(make(), colour=True) for make in samples.SAMPLES.values())
    green = set(re.findall(r"\x1b\[32m(.*?)\x1b\[0m", text))
    assert green == {"met", "unexpected_met", "exit status 0"}


def test_every_verdict_of_the_record_is_shown_as_a_word(samples):
    text = render(samples.every_verdict())
    shown = set(Verdict) - {Verdict.WRONG, Verdict.SKIPPED}
    assert all(re.search(rf"^  .*\s{verdict}\s", text, re.MULTILINE) for verdict in shown)


def test_a_failure_shows_sentence_place_row_and_replay(samples):
    text = render(samples.wrong())
    assert "`out` is wrong in 2 of 16 rows" in text
    assert f"    at {samples.SAMPLE}:14:9 (and 7 more targets)\n" in text
    assert f"    smallest failing case: {samples.ROW}\n" in text
    assert "    replay: specforge check " in text


def test_many_failures_are_summed_up(samples):
    record = samples.every_verdict()
    cases = [
        case.model_copy(update={"wrong": f"wrong in its own way, number {index}"})
        for index, case in enumerate(record.cases)
    ]
    text = render(record.model_copy(update={"cases": cases}))
    assert text.count("wrong in its own way") == SHOWN_FAILURES
    assert re.search(r"and \d+ more, which --format md and --format json show", text)


def test_known_misses_carry_their_date_and_promotions_their_hint(samples):
    text = " ".join(render(samples.every_verdict()).split())
    assert (
        "known_miss attention: latency <= 9 us when batch == 1 and context == 2048: launch bound (until 2027-02-01)"
        in text
    )
    assert "drop known_miss, at tests/report/samples/every_verdict.yaml:16:9" in text


def test_fuzzing_says_what_it_reached(samples):
    first, covered = fuzz_sentences(samples.CLEAN[0])
    assert first == "attention/flash_decode (emulator): 200 examples, 12 variants, 21.4 s, worst 0.43 x tolerance"
    assert covered == "covered: context 1..9216 of 1..262144; every other domain from end to end"
    cut, _ = fuzz_sentences(samples.fuzzed("k/k", out_of_time=True, examples=1, variants=1, worst_ratio="inf"))
    assert (
        cut == "k/k (emulator): 1 example, 1 variant, 21.4 s, out of time before all that was asked for, worst infinite"
    )
    none, _ = fuzz_sentences(samples.fuzzed("k/k", examples=0))
    assert "worst" not in none


def test_two_reports_follow_one_another(samples):
    text = render(samples.verified()) + "\n" + render(samples.undecided())
    assert text.count("\nexit status ") == 2
