from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from specforge.judge.verdict import Status, Verdict
from specforge.report.junit import render

NAMES = ("every_verdict", "wrong", "undecided", "verified", "missed", "out_of_time", "idle", "built", "empty")
SUITE = {"id", "package", "name", "timestamp", "hostname", "tests", "failures", "errors", "skipped", "time"}


def suite_of(record):
    return ElementTree.fromstring(render(record)).find("testsuite")


def outcomes_of(record):
    """Name of each test case -> its outcome and type or message."""
    found = {}
    for case in suite_of(record).iter("testcase"):
        outcome = next(iter(case), None)
        key = (case.get("classname"), case.get("name"))
        assert key not in found, "a viewer would merge the two"
        found[key] = ("passed", "") if outcome is None else (outcome.tag, outcome.get("type") or outcome.get("message"))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_structure_is_what_the_schemas_ask_for(samples, name):
    """The rules of Ant's JUnit.xsd, the stricter of the two; Jenkins' junit-10.xsd allows all of it."""
    record = samples.SAMPLES[name]()
    root = ElementTree.fromstring(render(record))
    assert root.tag == "testsuites"
    assert not root.attrib
    (suite,) = root
    assert set(suite.attrib) == SUITE
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.get("timestamp"))
    tags = [child.tag for child in suite]
    assert tags == ["properties", *["testcase"] * tags.count("testcase"), "system-out", "system-err"]
    for child in suite.iter("testcase"):
        assert set(child.attrib) == {"classname", "name", "time"}
        assert float(child.get("time")) >= 0
        assert len(child) <= 1
        for outcome in child:
            wanted = {"message"} if outcome.tag == "skipped" else {"type", "message"}
            assert outcome.tag in ("skipped", "failure", "error")
            assert set(outcome.attrib) == wanted
            assert len(outcome) == 0
    counted = {"tests": tags.count("testcase")}
    counted |= {
        name: len(list(suite.iter(tag)))
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))
    }
    assert {name: int(suite.get(name)) for name in counted} == counted


@pytest.mark.parametrize("name", NAMES)
def test_the_document_is_red_exactly_when_the_status_is(samples, name):
    record = samples.SAMPLES[name]()
    red = any(outcome in ("failure", "error") for outcome, _ in outcomes_of(record).values())
    assert red == (record.status != Status.MET)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_not_decided_well_never_passes(samples, name):
    record = samples.SAMPLES[name]()
    passed = sum(outcome == "passed" for outcome, _ in outcomes_of(record).values())
    good = sum(item.verdict in (Verdict.MET, Verdict.UNEXPECTED_MET) for item in record.judgements)
    clean = sum(fuzz.failure is None and fuzz.examples > 0 and not fuzz.out_of_time for fuzz in record.fuzz)
    assert passed == good + clean


def test_each_verdict_is_mapped_honestly(samples):
    found = {
        (outcome, what.split(":")[0])
        for outcome, what in outcomes_of(samples.every_verdict()).values()
        if outcome != "passed"
    }
    assert found == {
        ("failure", "missed"),
        ("skipped", "missed"),  # a target of level warn
        ("failure", "wrong"),
        ("failure", "implausible"),
        ("failure", "inconclusive"),
        ("failure", "unmeasured"),
        ("skipped", "unmeasured"),  # a target of level record
        ("error", "error"),
        ("skipped", "known_miss"),
    }
    assert ("skipped", "skipped: not requested") in {
        (outcome, what[:22]) for outcome, what in outcomes_of(samples.verified()).values()
    }


def test_a_failed_fuzz_run_carries_its_replay(samples):
    record = samples.wrong()
    case = next(
        case for case in suite_of(record).iter("testcase") if case.get("name") == "attention/flash_decode on emulator"
    )
    assert samples.ROW in case.find("failure").text
    assert "replay: specforge check" in case.find("failure").text


def test_a_fuzz_run_without_an_example_does_not_pass(samples):
    record = samples.built().model_copy(update={"fuzz": [samples.fuzzed("moe/router_topk", examples=0)]})
    assert outcomes_of(record)["every_verdict.fuzz", "moe/router_topk on emulator"] == ("failure", "unmeasured")


def test_a_fuzz_run_cut_short_neither_passes_nor_fails(samples):
    found = outcomes_of(samples.out_of_time())["every_verdict.fuzz", "attention/flash_decode on emulator"]
    assert found == ("skipped", "inconclusive: fuzzing ran out of time after 61 of 200 examples")


def test_several_records_make_one_document(samples):
    root = ElementTree.fromstring(render(samples.verified(), samples.missed()))
    assert [suite.get("id") for suite in root] == ["0", "1"]


def test_characters_that_xml_cannot_hold_are_replaced(samples):
    record = samples.wrong()
    fuzz = record.fuzz[0].model_copy(update={"failure": "bad \x00\x1b\ud800 & <b> ]]> \"'"})
    suite = suite_of(record.model_copy(update={"fuzz": [fuzz]}))
    messages = {failure.get("message") for failure in suite.iter("failure")}
    assert "bad \ufffd\ufffd\ufffd & <b> ]]> \"'" in messages
