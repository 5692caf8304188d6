"""Joules per launch group, from the card's own counter over a stretch of work long enough for it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from specforge.backend.probe import NvmlUnavailable

if TYPE_CHECKING:
    from specforge.backend.telemetry import CardWatch

CHUNK = 0.01
"""Seconds of work between two looks at the counter, as a share of which its ticks are placed in the work."""
LEAST_TICKS = 5
"""The counter moves every 20 to 100 ms; over fewer moves than these it says too little."""
LEAST_SECONDS = 0.5
LEAST_BUSY = 0.97
"""Share of the stretch in which the work must have run: what an idle card takes is not the kernel's."""
AHEAD = 0.05
"""Seconds of work in the queue: what the card has while the host reads the counter, or is kept from it by others."""
_MOST_GROUPS = 1 << 24


@dataclass(frozen=True, slots=True)
class Energy:
    """What `groups` launch groups took from the counter's first tick in the work to its last.

    All that the card took meanwhile is in it, what it takes when idle too: `idle_power` stands beside, not subtracted.
    """

    joules: float
    """Per launch group."""
    groups: int
    seconds: float
    ticks: int
    precision: float
    """How far off `joules` may be, as a share: a tick falls somewhere in a chunk of work."""
    idle_power: float | None = None
    """Watts of the idle card with its context, from the same counter; None where it was not asked for."""
    busy: float | None = None
    """Share of the stretch in which the groups surely ran, by the card's own clock."""

    @property
    def power(self) -> float:
        """Watts, the mean over the stretch."""
        return self.joules * self.groups / self.seconds


class Work(Protocol):
    """Launch groups enqueued in chunks, which run in the order enqueued."""

    def enqueue(self, count: int) -> None:
        """Enqueue a chunk of so many groups, back to back."""

    def ran(self) -> int:
        """How many of the chunks not waited for have run."""

    def wait(self) -> tuple[float, float]:
        """Wait for the oldest chunk not waited for; when it began and ended, in seconds by the card's clock."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Ends of a chunk by the card's clock; `sure`: the card cannot have waited for the host in its midst."""

    begin: float
    end: float
    sure: bool


def measure_energy(
    work: Work,
    watch: CardWatch,
    seconds: float = 1.0,
    idle_power: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Energy | str:
    """Joules per launch group, or why they cannot be said.

    The work runs for `seconds` (half a second at least) and as long again at most, in chunks of some 10 ms. A few are
    in the queue at a time, so that the card does not idle while the counter is read. The groups counted are those
    between two ticks of the counter, so its coarse steps cancel.
    """
    seconds = max(seconds, LEAST_SECONDS)
    waiting: deque[bool] = deque()
    try:
        last = watch.energy()
        count, ahead = _sizes(work, clock)
        done: list[_Chunk] = []
        ticks: list[tuple[float, float, int]] = []  # when, joules, chunks done until then
        before = begin = clock()
        longest = 0.0
        while True:
            while len(waiting) < ahead:
                chunks = len(waiting)
                work.enqueue(count)  # what is ahead must outlast this, else the card waited for the host
                waiting.append(chunks > 0 and work.ran() < chunks)
            for _ in range(max(1, work.ran())):
                sure = waiting.popleft()
                done.append(_Chunk(*work.wait(), sure or len(done) == 0))
            now, joules = clock(), watch.energy()
            before, longest = now, max(longest, clock() - before)
            if joules < last:
                return f"the energy counter went back from {last:.3f} to {joules:.3f} J"
            if joules > last:
                ticks.append((now, joules, len(done)))
                last = joules
            enough = len(ticks) > LEAST_TICKS and ticks[-1][0] - ticks[0][0] >= seconds
            if enough or now - begin > 2 * seconds + 10 * longest:
                break
    except NvmlUnavailable as error:
        return str(error)
    finally:
        for _ in waiting:
            work.wait()
    if len(ticks) <= LEAST_TICKS:
        return f"the energy counter moved {len(ticks)} times in {now - begin:.2f} s; {LEAST_TICKS + 1} moves are due"
    (start, least, skipped), (end, most, until) = ticks[0], ticks[-1]
    busy = _busy(done[skipped - 1 : until])
    if busy < LEAST_BUSY:
        return f"the work ran for {busy:.1%} of the time only, {LEAST_BUSY:.0%} are due: the rest is an idle card's"
    groups, precision = (until - skipped) * count, longest / (end - start)
    return Energy((most - least) / groups, groups, end - start, len(ticks) - 1, precision, idle_power, busy)


def _busy(chunks: list[_Chunk]) -> float:
    """Share of the time from the end of the first chunk to the end of the last in which work surely ran."""
    ran = sum(after.end - max(after.begin, ahead.end) for ahead, after in pairwise(chunks) if after.sure)
    return ran / (chunks[-1].end - chunks[0].end)


def measure_idle(
    watch: CardWatch,
    seconds: float = 0.5,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> float | str:
    """Watts that the card takes with its context but no work, or why they cannot be said."""
    first: tuple[float, float] | None = None
    try:
        last, begin = watch.energy(), clock()
        while clock() - begin < 2 * seconds + 1:
            sleep(CHUNK / 2)
            now, joules = clock(), watch.energy()
            if joules > last and first is None:
                first = now, joules
            elif joules > last and first is not None and now - first[0] >= seconds:
                return (joules - first[1]) / (now - first[0])
            last = joules
    except NvmlUnavailable as error:
        return str(error)
    return f"the energy counter did not move over {seconds:g} s of idleness"


def _sizes(work: Work, clock: Callable[[], float]) -> tuple[int, int]:
    """Groups that fill a chunk, found by doubling, which warms the card as well; and chunks to have in the queue."""
    count = 1
    while True:
        since = clock()
        work.enqueue(count)
        work.wait()
        taken = max(clock() - since, 1e-9)
        if taken >= CHUNK / 2 or count >= _MOST_GROUPS:
            groups = max(1, min(_MOST_GROUPS, round(count * CHUNK / taken)))
            return groups, max(2, round(AHEAD * count / (taken * groups)))
        count *= 2
