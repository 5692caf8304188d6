"""The same cubins timed by SpecForge, nvbench and ncu, cold, clocks as found; like compared with like.

    python -m benchmarks.measurement.agreement [--results DIR] [--quick]

Writes agreement.json. `duration`: what the kernel itself takes: ncu's counter; SpecForge's isolated time and nvbench's
cold time, each less what the same tool reads for a kernel that does nothing beyond ncu's duration of that kernel.
`isolated`: a launch between two events. `amortised`: per launch among many: SpecForge's graph, nvbench's batch of
launches, nvbench's batch of graphs. Tools agree where each is within max(2 %, 0.5 us) of the median of the group.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.measurement import events, ncu, nvbench
from benchmarks.measurement.command import Session, open_session
from benchmarks.measurement.engine import measure
from benchmarks.measurement.result import median_of
from benchmarks.measurement.subject import Subject, copy, read, spin

SHARE, LEAST = 0.02, 0.5e-6
HOST_BOUND = 1.3
"""A launch among many that takes less than so many times an empty one's time is bound by the host."""
CLOSE = 0.25
"""How near, as a share, an effect done by hand must come to a disagreement to explain it."""
NULL = spin(0)
SUBJECTS = (
    NULL, read(64), read(256), read(1024), copy(1024), read(4096), read(16384), read(16384, 8), read(16384, 56),
    spin(20000),
)  # fmt: skip
QUICK = (NULL, read(256), read(4096), spin(20000))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What may explain a disagreement. Seconds."""

    launch_seconds: float
    """What nvbench takes for one launch among many of a kernel that does nothing: the host's rate of enqueueing."""
    rotated: float
    """Median by hand, cold by rotation."""
    flushed: float
    """The same with L2's size of memory written right before each launch."""
    queued: float
    """By hand, per plain launch among many, the host far ahead."""
    streamed: float
    """The same, enqueued while the card runs, as other tools do."""
    graphed: float
    """By hand, per launch among many that are nodes of a graph."""


def allowed(consensus: float) -> float:
    """How far from the consensus a tool may be, in seconds."""
    return max(SHARE * consensus, LEAST)


def compare(group: str, values: Mapping[str, float], evidence: Evidence) -> dict[str, Any]:
    """One group of one subject: the consensus, each tool's distance from it, and the reason where it is too far."""
    consensus = statistics.median(values.values())
    limit = allowed(consensus)
    tools = {
        tool: {
            "seconds": value,
            "off": value - consensus,
            "within": abs(value - consensus) <= limit,
            "explanation": None if abs(value - consensus) <= limit else explain(group, tool, value, values, evidence),
        }
        for tool, value in values.items()
    }
    return {"consensus": consensus, "allowed": limit, "tools": tools}


def explain(group: str, tool: str, value: float, values: Mapping[str, float], evidence: Evidence) -> str | None:
    """Why a tool differs, where something that was measured says so; None for a disagreement nobody explains."""
    if group == "amortised" and "launches" in tool and value < HOST_BOUND * evidence.launch_seconds:
        return (
            f"the same batch of a kernel that does nothing takes {_us(evidence.launch_seconds)} a launch: the card "
            "waits for the host, which graphs do not need"
        )
    if group == "amortised" and "launches" in tool:
        off = value - statistics.median(other for name, other in values.items() if name != tool)
        for seconds, how in ((evidence.queued, "with the host far ahead"), (evidence.streamed, "while the card runs")):
            added = seconds - evidence.graphed
            if added > LEAST / 2 and max(abs(value - seconds), abs(off - added)) <= max(allowed(value), CLOSE * added):
                return (
                    f"plain launches take longer than nodes of a graph: enqueued by hand {how}, one takes "
                    f"{_us(seconds)}, {_us(added)} more than in a graph"
                )
    extra = evidence.flushed - evidence.rotated
    if group in ("duration", "isolated") and abs(extra) > LEAST / 2:
        ours = next((other for name, other in values.items() if name.startswith("SpecForge")), None)
        nvbench_cold = next((other for name, other in values.items() if name.startswith("nvbench")), None)
        close = max(allowed(value), CLOSE * abs(extra))
        if ours is not None and nvbench_cold is not None and abs(nvbench_cold - ours - extra) <= close:
            return (
                "nvbench writes L2's size of memory before each launch, and those lines are still to be written back "
                f"while the kernel runs; done by hand, that adds {_us(extra)} to the same launch"
            )
    return None


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.2f} us"


def groups(
    ours: Mapping[str, Mapping[str, float]],
    theirs: Mapping[str, nvbench.Timed],
    profiled: Mapping[str, float],
    null: str,
) -> dict[str, dict[str, dict[str, float]]]:
    """By subject and group, each tool's figure in seconds; a tool without one is left out."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    cold = {name: statistics.median(timed.cold) for name, timed in theirs.items() if timed.cold}
    for name, modes in ours.items():
        isolated: dict[str, float] = {"SpecForge isolated": modes["isolated"]}
        duration: dict[str, float] = {}
        amortised: dict[str, float] = {"SpecForge amortised": modes["amortised"]}
        if name in profiled:
            duration["ncu"] = profiled[name]
        if null in profiled:
            duration["SpecForge isolated, net"] = modes["isolated"] - (ours[null]["isolated"] - profiled[null])
        if name in cold:
            isolated["nvbench cold"] = cold[name]
            if null in profiled and null in cold:
                duration["nvbench cold, net"] = cold[name] - (cold[null] - profiled[null])
        if name in theirs:
            batches = {"nvbench batch of launches": theirs[name].batch, "nvbench batch of graphs": theirs[name].graph}
            amortised |= {tool: value for tool, value in batches.items() if value is not None}
        found[name] = {"duration": duration, "isolated": isolated, "amortised": amortised}
    return found


def run(session: Session, subjects: tuple[Subject, ...]) -> dict[str, Any]:
    """Everything, as the result file holds it."""
    built = session.build(subjects)
    folder = session.state / "agreement"
    rounds, failures = {}, {}
    for ready in built:
        try:
            rounds[ready.subject.name] = measure(ready, precision=0.005, seconds=1.0)
        except Exception as error:  # one subject less; the rest is worth having
            failures[f"SpecForge, {ready.subject.name}"] = repr(error)
    profiled: dict[str, dict[str, tuple[float, ...]]] = {}
    for cache in ("none", "all"):
        try:
            profiled[cache] = ncu.run(built, session.l2_bytes, folder / f"ncu-{cache}", cache=cache)
        except Exception as error:
            failures[f"ncu, cache control {cache}"] = repr(error)
            profiled[cache] = {}
    try:
        other = nvbench.run(built, session.l2_bytes, folder / "nvbench")
    except Exception as error:
        failures["nvbench"] = repr(error)
        other = nvbench.Run({}, "", 0.0, 0.0, 0.0)
    by_hand = events.run(built, session.l2_bytes, folder)["jobs"]
    ours = {
        name: {mode: statistics.median(found.samples(mode)) for mode in ("isolated", "amortised")}
        for name, found in rounds.items()
    }
    durations = {name: statistics.median(seen) for name, seen in profiled["none"].items()}
    values = groups(ours, other.timed, durations, NULL.name)
    compared = {}
    nothing = other.timed.get(NULL.name)
    host = max(other.launch_seconds, (nothing.batch or 0.0) if nothing else 0.0)
    for name, sets in values.items():
        hand = by_hand[name]
        ways = ("rotated", "flushed", "queued", "streamed", "graphed")
        evidence = Evidence(host, *(statistics.median(hand[way]) for way in ways))
        compared[name] = {group: compare(group, tools, evidence) for group, tools in sets.items() if len(tools) > 1}
    return {
        "failures": failures,
        "nvbench": {"version": other.version, "options": list(nvbench.QUIET), "launch_seconds": other.launch_seconds},
        "compared": compared,
        "samples": {
            name: {
                "SpecForge isolated": median_of(found.samples("isolated")),
                "SpecForge amortised": median_of(found.samples("amortised")),
                "nvbench cold": median_of(other.timed[name].cold) if name in other.timed else None,
                "ncu": list(profiled["none"].get(name, ())),
                "ncu, caches flushed": list(profiled["all"].get(name, ())),
                "by hand": {key: median_of(seen) for key, seen in by_hand[name].items()},
                "residency": found.measurement.cold,
            }
            for name, found in rounds.items()
        },
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, print what disagrees, write the result; 1 where a disagreement has no explanation or a tool failed."""
    session, options = open_session(__doc__, arguments, quick=True)
    result = run(session, QUICK if options.quick else SUBJECTS)
    session.write("agreement", result)
    bad = list(result["failures"].items())
    for name, sets in result["compared"].items():
        for group, found in sets.items():
            for tool, entry in found["tools"].items():
                mark = "" if entry["within"] else f"  OFF: {entry['explanation'] or 'not explained'}"
                print(f"{name:18} {group:10} {tool:28} {_us(entry['seconds']):>14} {entry['off'] * 1e6:+8.2f}{mark}")
                if not entry["within"] and entry["explanation"] is None:
                    bad.append((f"{name}, {group}, {tool}", "not explained"))
    for name, reason in bad:
        print(f"FAILED {name}: {reason}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
