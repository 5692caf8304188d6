"""What every step of a run is given beside its input."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from specforge.check.options import Options
from specforge.check.progress import Reporter
from specforge.check.shared import Shared
from specforge.settings import Settings

if TYPE_CHECKING:
    from specforge.check.ahead import Ahead


@dataclass(frozen=True, slots=True)
class Context:
    """The command line, the environment, where progress goes, and what the specs of a run verify but once."""

    options: Options
    settings: Settings
    progress: Reporter
    shared: Shared = field(default_factory=Shared)
    ahead: Ahead | None = None
    """None where no case is measured as `check` does."""
