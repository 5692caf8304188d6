"""What became of a mutant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["killed", "survived", "equivalent", "invalid"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mutant. `equivalent`: its code is the kernel's own; `invalid`: it does not compile."""

    mutant: str
    status: Status
    by: str = ""
    """What killed it: `wrong`, `hang`, `crash`, or the fault's kind."""
    detail: str = ""
    """The failure in one sentence, or where the mutant survives what is special about it."""
    example: str = ""
    """The row that killed it."""
