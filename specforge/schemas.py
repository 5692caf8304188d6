"""JSON Schemas of SpecForge's files, generated from the models that read them."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel

from specforge.record.model import Record
from specforge.spec.device import DeviceFile
from specforge.spec.kernel import KernelFile
from specforge.spec.model import ModelFile
from specforge.spec.workload import SpecFile, WorkloadFile

KINDS: dict[str, type[BaseModel]] = {
    "spec": SpecFile,
    "workload": WorkloadFile,
    "device": DeviceFile,
    "model": ModelFile,
    "kernel": KernelFile,
    "record": Record,
}


def schema_text(kind: str) -> str:
    """The schema of one kind of file, as JSON that ends with a newline."""
    schema = KINDS[kind].model_json_schema()
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"SpecForge {kind}",
        **{key: value for key, value in schema.items() if key != "title"},
    }
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


def write_schemas(folder: Path) -> list[Path]:
    """Write every schema as `<kind>.schema.json`; returns the files that changed."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for kind in KINDS:
        path = folder / f"{kind}.schema.json"
        text = schema_text(kind)
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
            changed.append(path)
    return changed
