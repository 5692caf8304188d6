"""How much the median of a cell differs between fresh processes, next to nvbench's in the same run.

    python -m benchmarks.measurement.repeatability [--results DIR] [--quick]

Writes repeatability.json. Asked: a coefficient of variation of the cell median over five processes of at most 0.5 % for
kernels of 20 us and more, and no larger than nvbench's. The two tools take turns, process by process. The amortised
times must vary no more than nvbench's; the isolated ones, which read the same as nvbench's by the same two events, not
more beyond what chance makes of five processes of equal tools.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.measurement import nvbench
from benchmarks.measurement.command import Session, open_session
from benchmarks.measurement.engine import measure
from benchmarks.measurement.result import median_of, variation
from benchmarks.measurement.subject import copy, read, spin

PROCESSES = 5
MOST = 0.005
FROM_SECONDS = 20e-6
SUBJECTS = (read(4096), copy(4096), read(16384), spin(20000))
QUICK = (read(4096),)
BY_CHANCE = 6.39**0.5
"""Two equal tools' coefficients of variation, of five processes each, differ by more in one of twenty runs (F test)."""
OURS, OURS_MANY, THEIRS = "SpecForge isolated", "SpecForge amortised", "nvbench cold"


def judge(medians: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """One subject: the variation of each tool, and whether SpecForge's are as small as asked.

    `met` is None for kernels shorter than those that the bound is for; nothing to compare with is not met.
    """
    found = {tool: variation(values) for tool, values in medians.items() if len(values) > 1}
    middle = statistics.median(medians[OURS])
    theirs = found.get(THEIRS, 0.0)
    small = max(found[OURS], found[OURS_MANY]) <= MOST
    no_larger = found[OURS] <= BY_CHANCE * theirs and found[OURS_MANY] <= theirs
    return {"median": middle, "variation": found, "met": None if middle < FROM_SECONDS else small and no_larger}


def run(session: Session, *, quick: bool) -> dict[str, Any]:
    """Everything, as the result file holds it."""
    built = session.build(QUICK if quick else SUBJECTS)
    seen: dict[str, dict[str, list[tuple[float, ...]]]] = {ready.subject.name: {} for ready in built}
    failures: list[str] = []
    for turn in range(PROCESSES):
        for ready in built:
            try:
                found = measure(ready, seconds=0.7)
            except Exception as error:
                failures.append(f"SpecForge, {ready.subject.name}, process {turn}: {error!r}")
                continue
            for tool, mode in ((OURS, "isolated"), (OURS_MANY, "amortised")):
                seen[ready.subject.name].setdefault(tool, []).append(found.samples(mode))  # type: ignore[arg-type]
        try:
            other = nvbench.run(
                built, session.l2_bytes, session.state / f"nvbench-{turn}", nvbench.COLD, graphs=False, batched=False
            )
        except Exception as error:
            failures.append(f"nvbench, process {turn}: {error!r}")
            continue
        for name, timed in other.timed.items():
            seen[name].setdefault(THEIRS, []).append(timed.cold)
    medians = {
        name: {tool: [statistics.median(samples) for samples in rounds if samples] for tool, rounds in tools.items()}
        for name, tools in seen.items()
    }
    return {
        "processes": PROCESSES,
        "most": MOST,
        "from_seconds": FROM_SECONDS,
        "failures": failures,
        "subjects": {
            name: judge(tools)
            | {"rounds": {tool: [median_of(samples) for samples in rounds] for tool, rounds in seen[name].items()}}
            for name, tools in medians.items()
            if len(tools.get(OURS, ())) > 1
        },
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; 1 where a bound is missed or a process failed."""
    session, options = open_session(__doc__, arguments, quick=True)
    result = run(session, quick=options.quick)
    session.write("repeatability", result)
    bad = len(result["failures"])
    for name, found in result["subjects"].items():
        shown = ", ".join(f"{tool} {100 * value:.3f} %" for tool, value in found["variation"].items())
        missed = found["met"] is False
        bad += missed
        print(f"{name:18} {found['median'] * 1e6:10.2f} us  {shown}{'  MISSED' if missed else ''}")
    for failure in result["failures"]:
        print(f"FAILED {failure}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
