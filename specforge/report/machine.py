"""Records themselves, for programs."""

from __future__ import annotations

from collections.abc import Sequence

from specforge.record.model import Record
from specforge.record.store import to_json


def render(record: Record) -> str:
    """A sealed record as indented JSON, exactly as it is stored."""
    return to_json(record)


def render_all(records: Sequence[Record]) -> str:
    """One record as it is stored; several as a JSON array of them."""
    if len(records) == 1:
        return render(records[0])
    return "[\n" + ",\n".join(render(record).rstrip() for record in records) + "\n]\n"
