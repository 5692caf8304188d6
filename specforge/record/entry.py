"""What every part of a record is."""

from __future__ import annotations

from pydantic import ConfigDict

from specforge.spec.described import Described


class Entry(Described):
    """Any part of a record: frozen, unknown keys forbidden."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
