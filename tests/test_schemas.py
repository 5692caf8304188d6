"""The published JSON Schemas: generated, true of the shipped files, and as strict as the loader about keys."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from specforge.record.model import RECORD_VERSION
from specforge.schemas import KINDS, schema_text, write_schemas
from specforge.spec.document import load_document

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "spec": "specs/*.yaml",
    "workload": "specs/workloads/*.yaml",
    "device": "specs/devices/*.yaml",
    "model": "specs/models/*.yaml",
    "kernel": "kernels/*/*/kernel.yaml",
    "tuning": "tunings/*/*.yaml",  # perhaps none; tests/tune/test_write.py tries what `tune` writes
    "record": "results/*/*/*.json",  # results/mutation holds no records
}
FILES = [(kind, path) for kind, pattern in FOLDERS.items() for path in sorted(ROOT.glob(pattern))]
NAMES = [f"{kind}:{path.relative_to(ROOT)}" for kind, path in FILES]


def load(path: Path) -> Any:
    """The file's data as JSON has it: dates as texts."""
    if path.suffix == ".json":
        return json.loads(path.read_text())
    return json.loads(
        json.dumps(load_document(path).data, default=lambda day: day.isoformat() if isinstance(day, date) else None)
    )


def validator(kind: str, data: Any = None) -> jsonschema.Draft202012Validator:
    """By today's schema, or by that of the earlier version that a record says it has."""
    if kind == "record" and data is not None and data["record_version"] < RECORD_VERSION:
        text = (ROOT / "schemas" / f"record.v{data['record_version']}.schema.json").read_text()
    else:
        text = schema_text(kind)
    return jsonschema.Draft202012Validator(json.loads(text))


def mappings(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of every mapping in some data."""
    if isinstance(node, dict):
        yield path
        for key, child in node.items():
            yield from mappings(child, (*path, key))
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from mappings(child, (*path, index))


@pytest.mark.parametrize("kind", KINDS)
def test_no_drift(kind):
    path = ROOT / "schemas" / f"{kind}.schema.json"
    assert path.read_text() == schema_text(kind), "run `specforge schema --write schemas`"


def test_no_schema_of_nothing():
    earlier = [f"record.v{version}" for version in range(1, RECORD_VERSION)]
    names = sorted(f"{kind}.schema.json" for kind in (*KINDS, *earlier))
    assert sorted(path.name for path in (ROOT / "schemas").iterdir()) == names


def test_earlier_schemas_are_left_alone():
    kept = {"record.v1.schema.json": "176cc757e40f97a68cf64e24ab91a02998725ea803991daf39b2ffc916f4d433"}
    found = {name: hashlib.sha256((ROOT / "schemas" / name).read_bytes()).hexdigest() for name in kept}
    assert found == kept


@pytest.mark.parametrize("kind", KINDS)
def test_schemas_are_schemas(kind):
    jsonschema.Draft202012Validator.check_schema(json.loads(schema_text(kind)))


@pytest.mark.parametrize(("kind", "path"), FILES, ids=NAMES)
def test_shipped_files_are_valid(kind, path):
    data = load(path)
    errors = [f"{list(error.path)}: {error.message}" for error in validator(kind, data).iter_errors(data)]
    assert not errors


def test_every_kind_of_yaml_is_shipped():
    assert {kind for kind, _ in FILES} >= set(KINDS) - {"tuning", "record"}


@pytest.mark.parametrize(("kind", "path"), FILES, ids=NAMES)
def test_editors_are_told_the_schema(kind, path):
    if path.suffix == ".yaml":
        first = path.read_text().splitlines()[0]
        relative = first.removeprefix("# yaml-language-server: $schema=")
        assert (path.parent / relative).resolve() == ROOT / "schemas" / f"{kind}.schema.json"


@pytest.mark.parametrize("kind", ["spec", "workload", "device", "model", "kernel"])
def test_unknown_keys_are_refused_wherever_the_loader_refuses_them(kind):
    path = max((path for name, path in FILES if name == kind), key=lambda path: path.stat().st_size)
    data, checker = load(path), validator(kind)
    refused = 0
    for where in mappings(data):
        broken = copy.deepcopy(data)
        node = broken
        for part in where:
            node = node[part]
        node["no such key"] = 1
        assert not checker.is_valid(broken), where
        refused += 1
    assert refused >= 3


@pytest.mark.parametrize("kind", ["spec", "workload", "device", "model", "kernel", "tuning"])
def test_descriptions_reach_the_editor(kind):
    schema = json.loads(schema_text(kind))
    assert all(part["title"] == name for name, part in schema.get("$defs", {}).items())
    described = sum("description" in part for part in schema.get("$defs", {}).values())
    assert described == len(schema.get("$defs", {}))
    assert schema["description"]
    assert schema["title"] == f"SpecForge {kind}"


def test_writing_reports_what_changed(tmp_path):
    folder = tmp_path / "new" / "schemas"
    assert len(write_schemas(folder)) == len(KINDS)
    assert write_schemas(folder) == []
    (folder / "spec.schema.json").write_text("{}")
    assert write_schemas(folder) == [folder / "spec.schema.json"]
