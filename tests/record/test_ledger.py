from __future__ import annotations

import hashlib
import json
import threading

import pytest

from specforge.diagnostics import SpecForgeError
from specforge.record import ledger as ledgers
from specforge.record.ledger import append, verify_ledger
from specforge.record.store import canonical, published_path, read_record, seal, write_record


def published(samples, results, count):
    """A results folder with so many records; the ledger's path."""
    ledger = results / "ledger.jsonl"
    base = samples.undecided()
    for number in range(count):
        record = seal(base.model_copy(update={"seconds": float(number)}))
        path = published_path(record, results)
        write_record(record, path)
        append(ledger, record, path)
    return ledger


@pytest.fixture
def ledger(samples, tmp_path):
    return published(samples, tmp_path / "results", 4)


def test_a_whole_ledger_has_no_fault(ledger):
    assert verify_ledger(ledger) == []
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [line["sequence"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["path"].startswith("rtx5090/every_verdict/2026-11-21-")
    assert [entry.name for entry in ledger.parent.iterdir() if entry.is_file()] == ["ledger.jsonl"]


def test_its_records_in_the_order_of_publishing(ledger):
    assert [record.seconds for record in ledgers.published(ledger)] == [0.0, 1.0, 2.0, 3.0]


def test_a_broken_one_gives_no_records(ledger):
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines[1:]))
    with pytest.raises(SpecForgeError) as caught:
        ledgers.published(ledger)
    assert {fault.code for fault in caught.value.diagnostics} == {"SF606"}


def test_no_ledger_and_no_records_is_whole(tmp_path):
    assert verify_ledger(tmp_path / "ledger.jsonl") == []


@pytest.mark.parametrize("number", [0, 1, 3])
@pytest.mark.parametrize("key", ["sequence", "previous", "record", "path", "created", "spec", "status"])
def test_an_edited_line_is_found(ledger, number, key):
    lines = ledger.read_text().splitlines()
    data = json.loads(lines[number])
    data[key] = (
        data[key] + 1
        if isinstance(data[key], int)
        else data[key].replace(data[key][-1], "e" if data[key][-1] != "e" else "d")
    )
    lines[number] = json.dumps(data, sort_keys=True, separators=(",", ":"))
    ledger.write_text("".join(f"{line}\n" for line in lines))
    faults = verify_ledger(ledger)
    assert faults
    assert all(fault.code == "SF606" for fault in faults)
    assert any(fault.position.line in (number + 1, number + 2) for fault in faults)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_dropped_line_is_found(ledger, number):
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines[:number] + lines[number + 1 :]))
    assert verify_ledger(ledger)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 2), (0, 3)])
def test_swapped_lines_are_found(ledger, first, second):
    lines = ledger.read_text().splitlines(keepends=True)
    lines[first], lines[second] = lines[second], lines[first]
    ledger.write_text("".join(lines))
    assert verify_ledger(ledger)


def test_an_unlinked_line_is_found(ledger):
    last = json.loads(ledger.read_text().splitlines()[-1])
    slipped = {**last, "sequence": 5, "previous": "0" * 64}
    ledger.write_text(ledger.read_text() + json.dumps(slipped, sort_keys=True, separators=(",", ":")) + "\n")
    assert any("does not follow" in fault.message for fault in verify_ledger(ledger))


def test_a_record_is_published_once(ledger):
    before = ledger.read_bytes()
    for path in ledger.parent.glob("*/*/*.json"):
        with pytest.raises(SpecForgeError, match="SF604"):
            append(ledger, read_record(path), path)
    assert ledger.read_bytes() == before


def test_a_repeated_record_is_found(ledger):
    lines = ledger.read_bytes().splitlines()
    again = {**json.loads(lines[0]), "sequence": 5, "previous": hashlib.sha256(lines[-1]).hexdigest()}
    ledger.write_bytes(ledger.read_bytes() + canonical(again) + b"\n")
    assert any("already" in fault.message for fault in verify_ledger(ledger))


@pytest.mark.parametrize("text", ["", "not json", "[]", '{"sequence": 1}', "[" * 100_000])
def test_garbage_in_the_middle_is_found(ledger, text):
    lines = ledger.read_text().splitlines()
    ledger.write_text("\n".join([lines[0], text, *lines[1:]]) + "\n")
    assert verify_ledger(ledger)


def test_another_layout_of_the_same_line_is_found(ledger):
    lines = ledger.read_text().splitlines()
    lines[-1] = json.dumps(json.loads(lines[-1]))
    ledger.write_text("\n".join(lines) + "\n")
    assert any("form" in fault.message for fault in verify_ledger(ledger))


def test_an_edited_a_dropped_and_an_added_record_are_found(ledger):
    edited, dropped, *_ = sorted(ledger.parent.glob("*/*/*.json"))
    edited.write_text(edited.read_text().replace("emulator", "cuda:0 NVIDIA H100", 1))
    kept = dropped.read_text()
    dropped.unlink()
    (dropped.parent / "2026-11-22-000000000000.json").write_text(kept)
    messages = " ".join(fault.message for fault in verify_ledger(ledger))
    assert "does not match its own digest" in messages
    assert "cannot read" in messages
    assert "stands on no line" in messages


def test_a_path_out_of_the_folder_is_not_followed(ledger):
    line = json.loads(ledger.read_text().splitlines()[0])
    line["path"] = "../../elsewhere.json"
    ledger.write_text(json.dumps(line, sort_keys=True, separators=(",", ":")) + "\n")
    assert any("outside" in fault.message for fault in verify_ledger(ledger))


def test_nothing_is_added_to_a_broken_chain(ledger, samples):
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines[1:]))
    before = ledger.read_text()
    record = samples.undecided()
    path = published_path(record, ledger.parent)
    write_record(record, path)
    with pytest.raises(SpecForgeError, match="SF606"):
        append(ledger, record, path)
    assert ledger.read_text() == before


def test_appending_at_once_keeps_the_chain_whole(samples, tmp_path):
    results = tmp_path / "results"
    base = samples.undecided()
    records = [seal(base.model_copy(update={"seconds": float(number)})) for number in range(8)]
    for record in records:
        write_record(record, published_path(record, results))
    workers = [
        threading.Thread(target=append, args=(results / "ledger.jsonl", record, published_path(record, results)))
        for record in records
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert verify_ledger(results / "ledger.jsonl") == []
    assert len((results / "ledger.jsonl").read_text().splitlines()) == 8
