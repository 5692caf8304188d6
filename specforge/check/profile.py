"""How much `check` verifies: its profiles, which the command line's help names as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specforge.spec.kernel import ProfileName


@dataclass(frozen=True, slots=True)
class Profile:
    """How much verifying one kernel may take."""

    name: ProfileName
    examples: int
    """Fuzzing examples."""
    seconds: float
    """Wall budget; an example under way ends within `verify.session.GRACE` after it."""
    shrink_seconds: float
    """How long a failure may be made smaller, within that budget."""


PROFILES: dict[ProfileName, Profile] = {
    "quick": Profile("quick", 50, 30.0, 5.0),
    "ci": Profile("ci", 200, 120.0, 10.0),
    "deep": Profile("deep", 5000, 1800.0, 60.0),
}
"""What a profile means for a kernel that says nothing else in kernel.yaml."""
