"""A process that crashed, in words."""

from __future__ import annotations

_SIGNALS = {
    "SIGSEGV": "illegal memory access",
    "SIGBUS": "illegal memory access",
    "SIGABRT": "aborted: an assertion or a heap that was overwritten",
    "SIGFPE": "integer division by zero",
    "SIGILL": "trap",
    "SIGTRAP": "trap",
    "SIGKILL": "killed, perhaps for want of memory",
}


def describe_crash(reason: str, output: str) -> str:
    """A crash in words: what the signal means, its name and the last line that the process printed."""
    meaning = next((text for name, text in _SIGNALS.items() if name in reason), "the process ended")
    lines = [line for line in output.splitlines() if line.strip()]
    return f"{meaning} ({reason}{': ' + lines[-1].strip() if lines else ''})"
