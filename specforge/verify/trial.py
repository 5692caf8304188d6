"""Checking the checker: outputs that are known to be wrong must be rejected at the declared tolerance.

Before a kernel is judged, its outputs are replaced by what a wrong kernel would leave there, made from the reference's
own results. A tolerance that lets one through would let such a kernel through, so the kernel file is invalid. What
makes no sense for an output, or cannot be told from a right result, is listed with its reason.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from specforge.diagnostics import SpecForgeError
from specforge.spec.geometry import BufferPlan, Plan, plan
from specforge.spec.interface import Kernel
from specforge.verify.accumulator import bf16_error
from specforge.verify.compare import OutputError, allowance, judge, stored, terms
from specforge.verify.corruption import EVERY, FLOATS, INTEGERS, Ground, Idle
from specforge.verify.example import Example, draw_inputs
from specforge.verify.reduction import Gap, NoGap, gaps
from specforge.verify.reference import call_reference

if TYPE_CHECKING:
    from specforge.backend.runner import Runner

Array = np.ndarray[Any, np.dtype[Any]]
OTHER_SEED = 0x0DD
"""Added to the seed for the output that is stale."""
RIGHT = "the rounded reference itself"
FAINT = 4
"""Roundings of an output's own type up to which a small error may hide."""
FEW = 64
"""Elements of an output below which three parts left out would say too little of what a part holds."""
SWAPPED = "the last choice swapped with the next"


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one corruption of one output.

    `survived`: it passes, at `ratio` of the tolerance. `unseen`: so does it, and no tolerance is to blame: one element
    of a long sum, which shorter ones show, or hardly more than the output's own rounding. `idle`: it could not be
    tried, and `reason` says why.
    """

    output: str
    corruption: str
    outcome: Literal["rejected", "survived", "unseen", "idle"]
    ratio: float = 0.0
    """The largest error as a multiple of the tolerance."""
    reason: str = ""
    """Where, both values and what is allowed there; or why it was not tried."""
    cure: str = ""
    """The tolerance that would reject it."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What to try on one case. `deeper` chooses one more along the axis `choice`; `least` is the kernel's smallest."""

    plan: Plan
    example: Example
    gaps: tuple[tuple[Gap, Gap] | NoGap, ...]
    choice: str = ""
    deeper: Plan | None = None
    least: bool = True


def prepare(kernel: Kernel, case: Plan, example: Example, *, least: bool = True, only: str | None = None) -> Trouble:
    """Everything that a worker needs to try each corruption on a case; `only` leaves out parts of that axis alone."""
    found = gaps(kernel, case)
    if only is not None:
        elsewhere = "tried at the smallest size"
        found = [one if _axis(one) == only else NoGap(_axis(one), elsewhere) for one in found]
    inputs = {name for tensor in kernel.inputs() for size in kernel.file.tensors[tensor].shape for name in size.names()}
    for tensor in kernel.outputs():
        for size in kernel.file.tensors[tensor].shape:
            name = size.text.strip()
            declared = kernel.file.parameters.get(name)
            if declared is None or name in inputs or case.buffer(tensor).element.is_float:
                continue
            more = {**case.parameters, name: int(case.parameters[name]) + 1}
            try:
                if all(constraint.that.truth(more) for constraint in kernel.file.constraints):
                    return Trouble(case, example, tuple(found), name, plan(kernel, more, case.tunables), least)
            except SpecForgeError:
                continue
    return Trouble(case, example, tuple(found), least=least)


def _axis(gap: tuple[Gap, Gap] | NoGap) -> str:
    return gap.axis if isinstance(gap, NoGap) else gap[0].axis


def check_tolerances(_runner: Runner, trouble: Trouble) -> list[Trial]:
    """Corrupt each output in every way that there is and say what became of it; a task for a worker.

    A tolerance that rejects the best possible result is found too: as RIGHT, which survives with a ratio above 1.
    """
    court = _Court(trouble)
    trials = list(court.rounding())
    for buffer in court.outputs:
        trials += court.plain(buffer)
    trials += court.swapped()
    for gap in trouble.gaps:
        trials += court.left_out(gap)
    return trials


def time_reference(_runner: Runner, payload: tuple[Plan, Example]) -> float:
    """Seconds that the reference takes for an example; a task for a worker."""
    case, example = payload
    inputs = draw_inputs(case, example)
    begin = time.monotonic()
    call_reference(case, inputs)
    return time.monotonic() - begin


class _Court:
    """One case, its reference, and the judging of what stands in for its outputs."""

    def __init__(self, trouble: Trouble) -> None:
        self.trouble, self.plan, example = trouble, trouble.plan, trouble.example
        self.inputs = draw_inputs(self.plan, example)
        self.want = call_reference(self.plan, self.inputs)
        other = Example(example.parameters, seed=example.seed + OTHER_SEED)
        self.elsewhere = call_reference(self.plan, draw_inputs(self.plan, other))
        self.outputs = [buffer for buffer in self.plan.buffers if buffer.is_judged]
        self.right = {buffer.name: stored(buffer, self.want) for buffer in self.outputs}

    def rounding(self) -> Iterator[Trial]:
        """The best possible result, where it is rejected."""
        for error in judge(self.plan, self.right, self.want):
            if not error.passed:
                yield Trial(error.output, RIGHT, "survived", error.ratio, str(error))

    def plain(self, buffer: BufferPlan) -> Iterator[Trial]:
        """Corruptions of the output alone."""
        allowed = allowance(self.plan, buffer, self.want)
        stale = self.inputs[buffer.name] if buffer.role == "inout" else stored(buffer, self.elsewhere)
        ground = Ground(self.right[buffer.name], stale, buffer, allowed)
        other, kind = (INTEGERS, "floating-point") if buffer.element.is_float else (FLOATS, "whole")
        for name, corrupt in {**EVERY, **(FLOATS if buffer.element.is_float else INTEGERS)}.items():
            try:
                yield self.judged(buffer, name, corrupt(ground))
            except Idle as idle:
                yield Trial(buffer.name, name, "idle", reason=str(idle))
        yield from (Trial(buffer.name, name, "idle", reason=f"it holds {kind} numbers") for name in other)

    def swapped(self) -> Iterator[Trial]:
        """The last choice of a top-k replaced by the one after it, in every output that follows the choice."""
        names = ", ".join(buffer.name for buffer in self.outputs)
        if self.trouble.deeper is None:
            yield Trial(names, SWAPPED, "idle", reason="no whole-number output has an axis of chosen places")
            return
        deeper = self.trouble.deeper
        try:
            more = call_reference(deeper, self.inputs)
        except SpecForgeError as error:
            yield Trial(names, SWAPPED, "idle", reason=_refused(error, f"{self.trouble.choice} one larger"))
            return
        wrong = {}
        for buffer in self.outputs:
            axes = [axis for axis, size in enumerate(deeper.buffer(buffer.name).shape) if size != buffer.shape[axis]]
            if len(axes) == 1:
                array = np.moveaxis(self.right[buffer.name].copy(), axes[0], -1)
                array[..., -1] = np.moveaxis(stored(buffer, more), axes[0], -1)[..., -1]
                wrong[buffer.name] = np.ascontiguousarray(np.moveaxis(array, -1, axes[0]))
        errors = [error for error in judge(self.plan, self.right | wrong, self.want) if error.output in wrong]
        worst = max(errors, key=lambda error: error.ratio)
        yield self.ruled(worst, SWAPPED, ", ".join(wrong))

    def left_out(self, gap: tuple[Gap, Gap] | NoGap) -> Iterator[Trial]:
        """A part of an axis missing, its last piece missing, and its sums held in bf16."""
        if isinstance(gap, NoGap):
            for buffer in self.outputs:
                yield Trial(buffer.name, f"a part of {gap.axis} left out", "idle", reason=gap.reason)
                yield Trial(buffer.name, f"sums over {gap.axis} held in bf16", "idle", reason=gap.reason)
            return
        part, piece = gap
        outputs = [buffer for buffer in self.outputs if buffer.name not in part.cuts]
        for buffer in self.outputs:
            if buffer not in outputs:
                yield Trial(buffer.name, f"a part of {part.axis} left out", "idle", reason="it has this axis itself")
        named = f"{part.length:,} of {part.axis}={part.size:,} left out"
        few = min((buffer.nbytes // buffer.element.size for buffer in outputs), default=FEW) < FEW
        starts = part.starts(9 if few else 3)
        try:
            shorter = [call_reference(part.plan, part.leave_out(self.inputs, start)) for start in starts]
            last = call_reference(piece.plan, piece.leave_out(self.inputs, piece.size - piece.length))
        except SpecForgeError as error:
            for buffer in outputs:
                yield Trial(buffer.name, named, "idle", reason=_refused(error, "the inputs that are left"))
            return
        for buffer in outputs:
            tried = [self.fine(buffer, named, stored(buffer, less)) for less in shorter]
            ranked = sorted(tried, key=lambda trial: (trial.outcome == "idle", trial.ratio))
            # What a part adds to a few elements may be next to nothing by chance: there the middle one counts.
            yield ranked[sum(trial.outcome != "idle" for trial in ranked) // 2 if few else 0]
            if piece.length < part.length:
                name = f"the last {piece.length:,} of {part.axis}={part.size:,} left out"
                trial = self.fine(buffer, name, stored(buffer, last))
                hidden = trial.outcome == "survived" and not self.trouble.least
                yield replace(trial, outcome="unseen") if hidden else trial
            yield self.accumulated(buffer, part, [less[buffer.name] for less in shorter])

    def accumulated(self, buffer: BufferPlan, part: Gap, shorter: list[Array]) -> Trial:
        """The sums over an axis held in bf16, by the mildest kernel that does so."""
        name = f"sums over {part.axis}={part.size:,} held in bf16"
        if not buffer.element.is_float:
            return Trial(buffer.name, name, "idle", reason="it holds whole numbers")
        if part.accumulator == "bf16":
            return Trial(buffer.name, name, "idle", reason="kernel.yaml promises no more than bf16")
        want = self.want[buffer.name]
        error = bf16_error(want, shorter, part, buffer.rows)
        if not error.any():
            return Trial(buffer.name, name, "idle", reason=f"no part of {part.axis} changes it")
        return self.fine(buffer, name, (want + error).astype(buffer.element.numpy()))

    def fine(self, buffer: BufferPlan, name: str, wrong: Array) -> Trial:
        """As `judged`; what is hardly larger than the output's own rounding needs a case with other elements."""
        trial = self.judged(buffer, name, wrong)
        if trial.outcome != "survived" or not buffer.element.is_float:
            return trial
        want = np.abs(self.want[buffer.name])
        off = np.abs(wrong.astype(np.float64) - self.want[buffer.name])
        hidden = (off <= FAINT * buffer.element.roundoff * want).all()
        return replace(trial, outcome="unseen") if hidden else trial

    def judged(self, buffer: BufferPlan, name: str, wrong: Array) -> Trial:
        """Put `wrong` in the place of an output."""
        wrong = np.ascontiguousarray(wrong)
        right, want = self.right[buffer.name], self.want[buffer.name]
        if wrong.tobytes() == right.tobytes():
            return Trial(buffer.name, name, "idle", reason="it leaves this output as it is")
        if buffer.element.is_float:
            with np.errstate(invalid="ignore"):
                off = np.abs(wrong.astype(np.float64) - want)
            if (off <= buffer.element.roundoff * np.abs(want) * (1 + 2**-20)).all():
                return Trial(
                    buffer.name, name, "idle", reason="it changes nothing by more than the output's own rounding"
                )
        errors = judge(self.plan, self.right | {buffer.name: wrong}, self.want)
        return self.ruled(next(error for error in errors if error.output == buffer.name), name, buffer.name)

    def ruled(self, error: OutputError, name: str, outputs: str) -> Trial:
        """What the comparison says."""
        if not error.passed:
            return Trial(outputs, name, "rejected", error.ratio)
        values = f"{error.place} {error.got:.6g} for {error.want:.6g}, {error.allowed:.3g} allowed"
        return Trial(outputs, name, "survived", error.ratio, values, self.cure(error))

    def cure(self, error: OutputError) -> str:
        """How the formula has to change for the worst element to be rejected."""
        buffer = self.plan.buffer(error.output)
        sizes = {key: float(values[error.index]) for key, values in terms(self.plan, buffer, self.want).items()}
        off = abs(error.got - error.want) - error.rounding
        if off <= 0:
            return "it is a rounding that the reference leaves open: either neighbour of a tie is right"
        key = max(sizes, key=lambda name: sizes[name])
        room = off - (error.allowed - sizes[key])
        need = f"less than {off:.3g} allowed there"
        if room <= 0:
            return f"{need}: every term below {error.ratio:.3g} of what it is"
        now = getattr(self.plan.tolerances[error.output], key)
        return f"{need}: `{key}` below {now * room / sizes[key]:.3g}, where it is {now:.3g} for this case"


def _refused(error: SpecForgeError, what: str) -> str:
    return f"the reference does not take {what}: {error.diagnostics[0].message}"
