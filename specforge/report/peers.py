"""How a record's cases stand beside other implementations: one row per case and peer."""

from __future__ import annotations

from collections.abc import Iterator

from specforge.record.model import CaseEntry, PeerEntry, Record
from specforge.report.rows import NONE, quantity

HEADS = ("case", "peer", "isolated", "amortised", "speedup", "amortised speedup")
"""Times are the peer's; a speedup is the peer's time over the kernel's, with its interval of 95 %."""


def peer_rows(record: Record) -> list[tuple[str, ...]]:
    """What was measured of peers; those that are absent are in `absences`."""
    return [
        _row(case, name, peer)
        for case in record.cases
        for name, peer in case.peers.items()
        if peer.absent is None
    ]  # fmt: skip


def absences(record: Record) -> list[str]:
    """One sentence per peer and reason that it has no times, with the cases."""
    found: dict[tuple[str, str], list[str]] = {}
    for case in record.cases:
        for name, peer in case.peers.items():
            if peer.absent is not None:
                found.setdefault((name, peer.absent), []).append(case.id)
    return [f"{name} is absent in {some_cases(cases)}: {reason}" for (name, reason), cases in found.items()]


def versions(record: Record) -> str:
    """Which releases the peers came from; empty where none was measured."""
    entries = [peer for case in record.cases for peer in case.peers.values()]
    return ", ".join(sorted({f"{package} {version}" for peer in entries for package, version in peer.versions.items()}))


def allowances(record: Record) -> list[str]:
    """Peers whose errors were allowed more than the kernel's, and why."""
    found = {
        f"{name} may err by {peer.tolerance_times:g} times the kernel's tolerance: {peer.reason}": None
        for case in record.cases
        for name, peer in case.peers.items()
        if peer.tolerance_times != 1
    }
    return list(found)


def _row(case: CaseEntry, name: str, peer: PeerEntry) -> tuple[str, ...]:
    return (case.id, name, *_times(peer), *(_ratio(case, metric, name) for metric in ("speedup", "amortised_speedup")))


def _times(peer: PeerEntry) -> Iterator[str]:
    for mode in ("isolated", "amortised"):
        found = peer.times.get(mode)
        yield quantity(found.value, found.unit) if found is not None else NONE


def _ratio(case: CaseEntry, metric: str, name: str) -> str:
    found = case.metrics.get(f"{metric}[{name}]")
    if found is None or found.low is None or found.high is None:
        return NONE
    return f"{found.value:.3g} ({found.low:.3g} to {found.high:.3g})"


def some_cases(cases: list[str]) -> str:
    """One case by its name; of several, how many and the first."""
    return cases[0] if len(cases) == 1 else f"{len(cases)} cases, {cases[0]} the first"
