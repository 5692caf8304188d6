"""A cell: one case measured by several fresh processes, and what they say together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from specforge.measure.estimate import Estimate, estimate
from specforge.measure.measurement import Cold, Measurement
from specforge.measure.series import MODES, Mode, Series
from specforge.units import format_quantity
from specforge.verify.example import ExampleResult

UNLIKE = 0.2
"""By this share of the whole, launches taken one by one may differ from it before a reader is told."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What every process measured of one case, in the order of the rounds. Times are seconds per launch group."""

    rounds: tuple[Measurement, ...]

    def estimate(self, mode: Mode) -> Estimate | None:
        """The median in one mode over all processes; None where no process has samples of it."""
        return _together(self.series(mode))

    def series(self, mode: Mode) -> tuple[Series, ...]:
        """One mode's series of every process that took it."""
        return tuple(found.series[mode] for found in self.rounds if mode in found.series)

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The modes with samples."""
        return tuple(mode for mode in MODES if any(series.samples for series in self.series(mode)))

    @property
    def energy(self) -> Estimate | None:
        """Joules per launch group, amortised, one figure from each process that has one; None where none has."""
        counted = [[found.energy.joules] for found in self.rounds if found.energy is not None]
        return estimate(counted) if counted else None

    @property
    def verified(self) -> bool:
        """Whether every process checked the result before and after timing it, and found it right."""
        return bool(self.rounds) and all(found.verified for found in self.rounds)

    @property
    def cold(self) -> Cold:
        """`proven` only where every process has proved it; `hot` where the kernel declares no tensor cold."""
        labels = {found.cold for found in self.rounds}
        return "proven" if labels == {"proven"} else "hot" if labels == {"hot"} else "unproven"

    @property
    def refusal(self) -> str | None:
        """Why a process timed nothing; None where all did."""
        return next((found.refusal for found in self.rounds if found.refusal is not None), None)

    @property
    def checks(self) -> tuple[ExampleResult, ...]:
        """Every check of every process, in order."""
        return tuple(check for found in self.rounds for check in (found.before, found.after) if check is not None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the processes noted, each once."""
        series = (item for found in self.rounds for item in found.series.values())
        said = [*(note for found in self.rounds for note in found.notes), *(n for item in series for n in item.notes)]
        return tuple(dict.fromkeys(said))

    def doubt(self, mode: Mode) -> str | None:
        """Why the median of a mode is not known as well as was asked; None where every process reached that."""
        open_ = [series.stop for series in self.series(mode) if not series.stop.converged]
        if not open_:
            return None
        throttled = any(stop.reason == "throttled" for stop in open_)
        known = [stop.precision for stop in open_ if stop.precision is not None]
        asked = format_quantity(open_[0].asked, "%")
        reached = f"{100 * max(known):.2g} %" if len(known) == len(open_) else "too few samples for an interval"
        where = f"in {len(open_)} of {len(self.rounds)} processes"
        if throttled:
            return f"throttled: too many batches did not count; {reached} of {asked} asked, {where}"
        return f"did not converge: {reached} of {asked} asked, {where}"

    def implausible(self, floors: Mapping[Mode, float]) -> str | None:
        """A sentence where a mode's median lies below the least seconds that physics allows it."""
        for mode in self.modes:
            found, floor = self.estimate(mode), floors.get(mode)
            if found is not None and floor is not None and found.value < floor:
                return f"{found.value * 1e6:.3f} us ({mode}) is faster than the roofline's {floor * 1e6:.3f} us"
        return None

    def telling(self, overhead: float = 0.0) -> tuple[str, ...]:
        """Warnings where modes tell different stories; `overhead` as `Session.overhead`: each launch alone pays it."""
        return tuple(self._stories(overhead))

    def _stories(self, overhead: float) -> Iterable[str]:
        alone, among, over = (self.estimate(mode) for mode in MODES)
        if alone and among and among.low > alone.high:
            times = f"{_us(among.value)} amortised, {_us(alone.value)} isolated"
            yield f"slower among its like than alone: {times}; launches in a row get in each other's way"
        if among and over and over.low > among.high:
            times = f"{_us(over.value)} overlapped, {_us(among.value)} amortised"
            yield f"overlapping does not pay: {times}"
        entries = {name: _together(_named(self.rounds, name)) for name in _names(self.rounds)}
        parts = [found.value for found in entries.values() if found is not None]
        if alone and len(parts) > 1 and len(parts) == len(entries):
            total = sum(parts) - (len(parts) - 1) * overhead
            if abs(total - alone.value) > UNLIKE * alone.value:
                times = " + ".join(f"{name} {_us(found.value)}" for name, found in entries.items() if found)
                yield f"its launches one by one ({times}) do not add up to the whole ({_us(alone.value)})"


def _together(series: Iterable[Series]) -> Estimate | None:
    rounds = [item.samples for item in series if item.samples]
    return estimate(rounds) if rounds else None


def _names(rounds: Iterable[Measurement]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for found in rounds for name in found.launches))


def _named(rounds: Iterable[Measurement], name: str) -> tuple[Series, ...]:
    return tuple(found.launches[name] for found in rounds if name in found.launches)


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.2f} us"
