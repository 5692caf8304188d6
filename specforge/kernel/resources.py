"""What the compiler says each entry takes: registers, spills, stack, shared memory, barriers."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ENTRY = re.compile(r"ptxas info\s*: Compiling entry function '([^']+)' for '[^']+'")
_FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"ptxas info\s*: Used (\d+) registers(.*)")
_BARRIERS = re.compile(r"used (\d+) barriers")
_SHARED = re.compile(r"(\d+) bytes smem")
_CUMULATIVE = re.compile(r"(\d+) bytes cumulative stack size")


@dataclass(frozen=True, slots=True)
class EntryResources:
    """Per entry, sizes in bytes. Spills are stores plus loads; the stack is per thread and holds local arrays too."""

    registers: int
    spill_bytes: int
    stack_bytes: int
    static_shared_bytes: int
    barriers: int
    max_threads: int | None
    """Threads per block that the entry was compiled for (`__launch_bounds__`); None where it says nothing."""


def parse_resources(log: str, bounds: dict[str, int]) -> dict[str, EntryResources]:
    """Read ptxas' verbose report; functions that an entry calls count toward that entry. `bounds` is from the cubin."""
    found: dict[str, EntryResources] = {}
    pieces = _ENTRY.split(log)
    for name, report in zip(pieces[1::2], pieces[2::2], strict=True):
        used = _USED.search(report)
        if used is None:
            continue
        frames = [tuple(map(int, numbers)) for numbers in _FRAME.findall(report)]
        stack = max((_number(_CUMULATIVE, report), *(frame for frame, _, _ in frames)))
        found[name] = EntryResources(
            registers=int(used[1]),
            spill_bytes=sum(stores + loads for _, stores, loads in frames),
            stack_bytes=stack,
            static_shared_bytes=_number(_SHARED, used[2]),
            barriers=_number(_BARRIERS, used[2]),
            max_threads=bounds.get(name),
        )
    return found


def _number(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.search(text)
    return int(found[1]) if found else 0
