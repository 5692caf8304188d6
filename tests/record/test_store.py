from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specforge.diagnostics import SpecForgeError
from specforge.record.measured import SessionEntry
from specforge.record.store import (
    canonical,
    default_path,
    published_path,
    read_record,
    seal,
    to_json,
    write_record,
)


@pytest.fixture(scope="module")
def record(samples):
    return samples.every_verdict()


def code_of(error: pytest.ExceptionInfo[SpecForgeError]) -> str:
    return error.value.diagnostics[0].code


def test_what_is_written_is_read_back(record, tmp_path):
    path = tmp_path / "deep" / "down" / "record.json"
    write_record(record, path)
    assert read_record(path) == record
    assert [entry.name for entry in path.parent.iterdir()] == ["record.json"]


def test_sealing_is_stable_and_depends_on_every_field(record):
    assert seal(record) == record
    assert seal(record.model_copy(update={"seconds": 1.0})).digest != record.digest
    assert len(record.digest) == 64


def test_writing_replaces_an_older_file_whole(record, tmp_path):
    path = tmp_path / "record.json"
    path.write_text("older and longer " * 10_000)
    write_record(record, path)
    assert read_record(path) == record


def test_an_unsealed_record_is_not_written(record, tmp_path):
    with pytest.raises(ValueError, match="not sealed"):
        write_record(record.model_copy(update={"status": 0}), tmp_path / "record.json")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_an_error_of_its_own(record, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecForgeError) as error:
        write_record(record, tmp_path / "file" / "record.json")
    assert code_of(error) == "SF605"


def session(**changes: object) -> SessionEntry:
    """A session in which nothing was measured, or something."""
    empty = {"event_overhead": None, "null_kernel": {}, "rates": {}, "calibration": [], "missing": {}, "clocks": None}
    return SessionEntry(**empty, telemetry_missing={}, foreign_processes=[], notes=[]).model_copy(update=changes)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_refused_by_name(record, number):
    with pytest.raises(ValueError, match=r"record\.session\.null_kernel\.isolated is not a finite number"):
        seal(record.model_copy(update={"session": session(null_kernel={"isolated": number})}))


def test_an_infinite_error_is_text(record, tmp_path):
    case = next(case for case in record.cases if case.errors)
    error = case.errors[0].model_copy(update={"ratio": math.inf, "got": math.nan, "want": -math.inf})
    sealed = seal(record.model_copy(update={"cases": [case.model_copy(update={"errors": [error]})]}))
    read = sealed.cases[0].errors[0]
    assert (read.ratio, read.got, read.want) == ("inf", "nan", "-inf")
    write_record(sealed, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == sealed


def test_tuples_in_what_was_measured_read_back_equal(record, tmp_path):
    found = session(calibration=[{"sizes": (1.0, 2.0)}])
    sealed = seal(record.model_copy(update={"session": found}))
    write_record(sealed, tmp_path / "record.json")
    assert read_record(tmp_path / "record.json") == sealed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a record"),
        (b"[]", "states no record_version"),
        (b"{}", "states no record_version"),
        (b"\xff\xfe\x00", "not a record"),
        (b"{", "not a record"),
        (b'{"record_version": 1, "seconds": NaN}', "NaN is no JSON number"),
        (b'{"record_version": 1, "seconds": 1e999}', "1e999 is out of range"),
        (b'{"record_version": 1, "seconds": 1, "seconds": 2}', "'seconds' stands twice"),
        (b'{"record_version": ' + b"9" * 5000 + b"}", "not a record"),
        (b"[" * 100_000, "not a record"),
        (b'{"record_version": 3}', "a version that this SpecForge does not read"),
        (b'{"record_version": true}', "a version that this SpecForge does not read"),
        (b'{"record_version": "1"}', "a version that this SpecForge does not read"),
    ],
)
def test_what_is_no_record_is_said_to_be_none(tmp_path, content, message):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(SpecForgeError, match=message) as error:
        read_record(path)
    assert code_of(error) == "SF601"


def test_another_version_names_the_one_that_can_be_read(tmp_path):
    path = tmp_path / "record.json"
    path.write_text('{"record_version": 7}')
    with pytest.raises(SpecForgeError, match="reads versions 1 and 2"):
        read_record(path)


def test_a_missing_file_and_a_folder_are_no_records(tmp_path):
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(SpecForgeError) as error:
            read_record(path)
        assert code_of(error) == "SF601"


def _leaves(node, place=()):
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _leaves(value, (*place, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, (*place, index))
    else:
        yield place


def test_every_changed_leaf_is_found(record, tmp_path):
    """Whatever single value is changed, the record no longer reads: as tampered, or as no record at all."""
    text = to_json(record)
    path = tmp_path / "record.json"
    places = list(_leaves(json.loads(text)))
    for place in places[:: max(1, len(places) // 150)]:
        data = json.loads(text)
        node = data
        for key in place[:-1]:
            node = node[key]
        old = node[place[-1]]
        node[place[-1]] = (not old) if isinstance(old, bool) else old + 1 if isinstance(old, int | float) else f"{old}x"
        path.write_text(json.dumps(data))
        with pytest.raises(SpecForgeError) as error:
            read_record(path)
        assert code_of(error) in ("SF601", "SF602"), place


def test_a_dropped_or_added_key_is_found(record, tmp_path):
    path = tmp_path / "record.json"
    data = json.loads(to_json(record))
    for changed in ({**data, "extra": 1}, {key: value for key, value in data.items() if key != "judgements"}):
        path.write_text(json.dumps(changed))
        with pytest.raises(SpecForgeError) as error:
            read_record(path)
        assert code_of(error) == "SF602"


def test_a_sealed_file_of_the_wrong_shape_names_the_place(record, tmp_path):
    import hashlib

    data = {**json.loads(to_json(record)), "status": "zero", "digest": ""}
    data["digest"] = hashlib.sha256(canonical(data)).hexdigest()
    path = tmp_path / "record.json"
    path.write_text(json.dumps(data))
    with pytest.raises(SpecForgeError, match="status") as error:
        read_record(path)
    assert code_of(error) == "SF601"


def test_layout_of_the_file_does_not_matter(record, tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(json.loads(to_json(record)), sort_keys=True))
    assert read_record(path) == record


def test_paths_are_by_device_and_spec(record, tmp_path):
    short = record.digest[:12]
    assert default_path(record, tmp_path) == tmp_path / f"records/rtx5090/every_verdict/20261121T213341Z-{short}.json"
    assert published_path(record, tmp_path) == tmp_path / f"rtx5090/every_verdict/2026-11-21-{short}.json"


def test_a_name_cannot_lead_out_of_the_folder(record, tmp_path):
    with pytest.raises(ValueError, match="cannot name a folder"):
        published_path(record.model_copy(update={"spec": "../../etc"}), tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
@settings(max_examples=60, deadline=None)
def test_canonical_form_survives_a_round_trip(data):
    assert canonical(json.loads(canonical(data))) == canonical(data)


def test_lists_of_numbers_stand_on_one_line_and_nothing_else_changes(record, tmp_path):
    tricky = "[\n  1.0,\n  2.0\n ] and [  3 ]"
    case = record.cases[0].model_copy(update={"wrong": tricky, "errors": record.cases[0].errors})
    sealed = seal(record.model_copy(update={"cases": [case, *record.cases[1:]]}))
    path = tmp_path / "record.json"
    write_record(sealed, path)
    assert read_record(path) == sealed
    assert read_record(path).cases[0].wrong == tricky
    lines = path.read_text().splitlines()
    assert any(line.strip() == '"index": [0, 3, 17],' for line in lines)
