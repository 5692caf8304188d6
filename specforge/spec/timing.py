"""How cases are timed: the precision asked for, how many fresh processes, how long, and in which modes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from specforge.spec.fields import Section, quantity

Mode = Literal["isolated", "amortised", "overlapped"]
MODES: tuple[Mode, ...] = ("isolated", "amortised", "overlapped")
MOST_PROCESSES = 100
MOST_SECONDS = 3600.0


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


class TimingSection(Section):
    """How cases are timed; what is left out comes from the file that this one names, else from SpecForge's own."""

    precision: quantity("%") | None = None  # type: ignore[valid-type]  # a type made by a function
    """Half the confidence interval of a median, as a share of it, at which a series ends. Default: 1 %."""
    processes: Annotated[int, Field(ge=1, le=MOST_PROCESSES)] | None = None
    """Fresh processes that measure every case; what differs between them is in the interval. Default: 3."""
    peer_processes: Annotated[int, Field(ge=1, le=MOST_PROCESSES)] | None = None
    """The first rounds, at most so many, measure the peers as well: what fewer leave open is in the ratio's interval.
    Default: all."""
    seconds: quantity("s") | None = None  # type: ignore[valid-type]  # a type made by a function
    """Wall budget of one process for one mode of one case. Default: 3 s."""
    modes: (
        Annotated[list[Mode], BeforeValidator(_listed, json_schema_input_type=Mode | list[Mode]), Field(min_length=1)]
        | None
    ) = None
    """Default: isolated and amortised, and overlapped where the kernel declares a `chain`."""

    @field_validator("precision")
    @classmethod
    def _below_one(cls, precision: float | None) -> float | None:
        if precision is not None and precision >= 1:
            raise PydanticCustomError("SF203", "a precision below 100 % is due")
        return precision

    @field_validator("seconds")
    @classmethod
    def _not_for_ever(cls, seconds: float | None) -> float | None:
        if seconds is not None and seconds > MOST_SECONDS:
            raise PydanticCustomError("SF203", "an hour for one mode of one case is the most")
        return seconds

    @field_validator("modes")
    @classmethod
    def _once_each(cls, modes: list[Mode] | None) -> list[Mode] | None:
        if modes is not None and len(set(modes)) != len(modes):
            raise PydanticCustomError("SF203", "a mode stands twice")
        return modes


@dataclass(frozen=True, slots=True)
class Timing:
    """The timing of one benchmark's cases. `precision` is a share, `seconds` wall time per process and mode."""

    precision: float = 0.01
    processes: int = 3
    seconds: float = 3.0
    modes: tuple[Mode, ...] = ()
    """In the order of MODES; empty: what the kernel supports."""
    peer_processes: int | None = None
    """Of the processes, at most so many have peers measured beside them; None: all."""

    @property
    def peer_rounds(self) -> int:
        """The first so many rounds measure peers."""
        return min(self.processes, self.peer_processes or self.processes)

    def modes_of(self, *, chained: bool) -> tuple[Mode, ...]:
        """The modes that a kernel is timed in; `overlapped` needs a `chain` and is left out without one."""
        return tuple(mode for mode in self.modes or MODES if chained or mode != "overlapped")


def resolve_timing(*sections: TimingSection | None) -> Timing:
    """Lay sections over the defaults, field by field, each over the ones before it."""
    known: dict[str, object] = {}
    for section in sections:
        for field in fields(Timing):
            value = None if section is None else getattr(section, field.name)
            if value is not None:
                known[field.name] = tuple(mode for mode in MODES if mode in value) if field.name == "modes" else value
    return Timing(**known)  # type: ignore[arg-type]  # the section has checked each
