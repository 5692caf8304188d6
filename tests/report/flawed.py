"""What is wrong with a recorded case whose times then count for nothing, and what is said of it."""

from __future__ import annotations

from typing import Any

FLAWED: list[tuple[dict[str, Any], str]] = [
    ({"wrong": "ids[3] is 1"}, "ids[3] is 1"),
    ({"fault": "illegal access"}, "illegal access"),
    ({"implausible": "faster than memory"}, "faster than memory"),
    ({"waived": "issue 17"}, "issue 17"),
    ({"verified": False}, "its result was not verified"),
]
