"""What every step of a run is given beside its input."""

from __future__ import annotations

from dataclasses import dataclass

from specforge.check.options import Options
from specforge.check.progress import Reporter
from specforge.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """The command line, the environment, and where progress goes."""

    options: Options
    settings: Settings
    progress: Reporter
