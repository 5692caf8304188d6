"""The record itself, for programs."""

from __future__ import annotations

from specforge.record.model import Record
from specforge.record.store import to_json


def render(record: Record) -> str:
    """A sealed record as indented JSON, exactly as it is stored."""
    return to_json(record)
