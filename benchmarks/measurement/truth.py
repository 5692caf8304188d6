"""SpecForge's times against times that are known: programmed waits, a copy by the host's clock, a planted slow-down.

    python -m benchmarks.measurement.truth [--results DIR] [--quick]

Writes truth.json. A wait of N ns on the card's global timer must be reported as N, net of what the same mode reads for
a wait of 0, and a copy as the host's clock around thousands of it says, within max(1 %, 0.5 us). Of fresh processes
that read 2 % more tiles, `compare` must find the slow-down; of processes that read the same, none. The samples of these
processes are kept: the CPU simulation that counts hundreds of trials draws from them.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.measurement import events
from benchmarks.measurement.command import Session, open_session
from benchmarks.measurement.engine import measure
from benchmarks.measurement.result import variation
from benchmarks.measurement.subject import Ready, copy, read, spin
from specforge.measure.compare import TOLERANCE, compare
from specforge.spec.timing import Mode

SHARE, LEAST = 0.01, 0.5e-6
WAITS = (2_000, 5_000, 10_000, 50_000, 200_000, 1_000_000, 5_000_000)
COPIES = (1024, 4096, 16384)
MODES: tuple[Mode, ...] = ("isolated", "amortised")
TILES = 16384
"""So many that the launch itself is a small part: of two percent more tiles, hardly less than two percent more time."""
SLOWER = TILES + TILES // 50
PROCESSES = 5
"""Of each side in a trial."""
POOL_SAME, POOL_SLOWER = 16, 9
TRIALS = 20
KEPT = 200
"""Samples of a process that the result keeps."""


def net(reported: float, nothing: float, known: float) -> dict[str, Any]:
    """A reported time less what the mode reads for nothing, beside the known one; seconds."""
    found = reported - nothing
    limit = max(SHARE * known, LEAST)
    return {
        "known": known,
        "reported": found,
        "off": found - known,
        "allowed": limit,
        "within": abs(found - known) <= limit,
    }


def trials(
    before: Sequence[Sequence[float]], after: Sequence[Sequence[float]], count: int, draw: random.Random
) -> dict[str, int]:
    """How often `compare` says what, of processes drawn without replacement; equal pools are split into two sides."""
    said: dict[str, int] = {}
    for _ in range(count):
        if before is after:
            chosen = draw.sample(list(before), 2 * PROCESSES)
            one, other = chosen[:PROCESSES], chosen[PROCESSES:]
        else:
            one, other = draw.sample(list(before), PROCESSES), draw.sample(list(after), PROCESSES)
        found = compare(one, other)
        verdict = "undecided" if found is None else found.verdict
        said[verdict] = said.get(verdict, 0) + 1
    return said


def waits(session: Session, failures: list[str]) -> dict[str, Any]:
    """Every wait in both modes, net of the wait of 0."""
    nothing, *built = session.build([spin(0), *(spin(wait) for wait in WAITS)])
    floor = measure(nothing, precision=0.005, seconds=1.0)
    floors = {mode: statistics.median(floor.samples(mode)) for mode in MODES}
    found: dict[str, Any] = {"nothing": floors, "waits": {}}
    for wait, ready in zip(WAITS, built, strict=True):
        try:
            seen = measure(ready, precision=0.005, seconds=1.0)
        except Exception as error:
            failures.append(f"{ready.subject.name}: {error!r}")
            continue
        found["waits"][ready.subject.name] = {
            mode: net(statistics.median(seen.samples(mode)), floors[mode], wait * 1e-9) for mode in MODES
        }
    return found


def copies(session: Session, by_hand: dict[str, Any], built: Sequence[Ready], failures: list[str]) -> dict[str, Any]:
    """Amortised time of copies beside the host's clock around a graph of the same launches."""
    found = {}
    for ready in built:
        name = ready.subject.name
        try:
            seen = measure(ready, precision=0.005, seconds=1.0)
        except Exception as error:
            failures.append(f"{name}: {error!r}")
            continue
        amortised = statistics.median(seen.samples("amortised"))
        host = by_hand["jobs"][name]["host"]
        found[name] = net(amortised, 0.0, host) | {
            "bytes": ready.plan.bytes,
            "bytes_per_second": ready.plan.bytes / amortised,
        }
    return found


def pools(session: Session, failures: list[str], *, quick: bool) -> dict[str, Any]:
    """Fresh processes of the two kernels, by turns, and what `compare` makes of triples of them."""
    same, slower = session.build([read(TILES, name="A"), read(SLOWER, name="B")])
    sizes = {"A": 2 * PROCESSES if quick else POOL_SAME, "B": PROCESSES if quick else POOL_SLOWER}
    order = [same] * sizes["A"] + [slower] * sizes["B"]
    random.Random(0).shuffle(order)
    seen: dict[str, list[tuple[float, ...]]] = {"A": [], "B": []}
    for ready in order:
        try:
            seen[ready.subject.name].append(measure(ready, seconds=1.0, modes=("isolated",)).samples("isolated"))
        except Exception as error:
            failures.append(f"{ready.subject.name}: {error!r}")
    if len(seen["A"]) < 2 * PROCESSES or len(seen["B"]) < PROCESSES:
        return {"failed": "too few processes"}
    middles = {name: [statistics.median(samples) for samples in rounds] for name, rounds in seen.items()}
    return {
        "planted": SLOWER / TILES - 1,
        "ratio_of_medians": statistics.median(middles["B"]) / statistics.median(middles["A"]),
        "variation": {name: variation(values) for name, values in middles.items()},
        "tolerance": TOLERANCE,
        "trials": TRIALS,
        "processes_of_a_side": PROCESSES,
        "slower": trials(seen["A"], seen["B"], TRIALS, random.Random(1)),
        "same": trials(seen["A"], seen["A"], TRIALS, random.Random(2)),
        "samples": {name: [list(samples[:KEPT]) for samples in rounds] for name, rounds in seen.items()},
    }


def run(session: Session, *, quick: bool) -> dict[str, Any]:
    """Everything, as the result file holds it."""
    failures: list[str] = []
    built = session.build([copy(tiles) for tiles in COPIES])
    timer = events.build_timer(session.architecture, session.state)
    names = [ready.subject.name for ready in built]
    by_hand = events.run(built, session.l2_bytes, session.state / "events", host=names, timer=timer)
    return {
        "timer_nanoseconds": by_hand["timer_steps"],
        "spin": waits(session, failures),
        "copy": copies(session, by_hand, built, failures),
        "slow_down": pools(session, failures, quick=quick),
        "failures": failures,
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; 1 where a time is off, a slow-down is missed or a change is seen that is none."""
    session, options = open_session(__doc__, arguments, quick=True)
    result = run(session, quick=options.quick)
    session.write("truth", result)
    bad = len(result["failures"])
    print(f"the global timer moves in steps of {result['timer_nanoseconds']} ns")
    rows = [(name, mode, entry) for name, modes in result["spin"]["waits"].items() for mode, entry in modes.items()]
    rows += [(name, "amortised", entry) for name, entry in result["copy"].items()]
    for name, mode, entry in rows:
        bad += not entry["within"]
        known, reported, off = (entry[key] * 1e6 for key in ("known", "reported", "off"))
        said = f"known {known:10.2f} us, reported {reported:10.2f}, off {off:+.3f}"
        print(f"{name:16} {mode:10} {said}{'' if entry['within'] else '  OFF'}")
    planted = result["slow_down"]
    print({key: value for key, value in planted.items() if key != "samples"})
    bad += planted.get("slower", {}).get("slower", 0) < 0.95 * TRIALS
    bad += any(planted.get("same", {}).get(verdict) for verdict in ("slower", "faster"))
    for failure in result["failures"]:
        print(f"FAILED {failure}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
