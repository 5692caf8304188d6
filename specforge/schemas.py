"""JSON Schemas of SpecForge's files, generated from the models that read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from specforge.record.model import Record
from specforge.spec import files

KINDS: dict[str, type[BaseModel]] = {**files.KINDS, "record": Record}


def schema_text(kind: str) -> str:
    """The schema of one kind of file, as JSON that ends with a newline."""
    schema = KINDS[kind].model_json_schema()
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"SpecForge {kind}",
        **{key: value for key, value in schema.items() if key != "title"},
    }
    text = json.dumps(_closed(schema), indent=1, sort_keys=True)
    for name, part in schema.get("$defs", {}).items():  # pydantic's names of generic models differ between its versions
        text = text.replace(f'"{name}": ', f'"{part["title"]}": ').replace(
            f'"#/$defs/{name}"', f'"#/$defs/{part["title"]}"'
        )
    return text + "\n"


def _closed(node: Any) -> Any:  # noqa: ANN401 - JSON
    """Refuse keys that are no names, as the loader does; pydantic leaves such mappings open."""
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {key: _closed(value) for key, value in node.items()}
    return {**closed, "additionalProperties": False} if "patternProperties" in node else closed


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
