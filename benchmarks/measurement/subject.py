"""What is measured: one case of a kernel, built once, so that every tool launches the same cubin with the same grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from specforge.diagnostics import SpecForgeError
from specforge.expressions import Scalar
from specforge.kernel.build import Job, build_all
from specforge.kernel.cache import Cache
from specforge.kernel.render import render
from specforge.roots import shipped
from specforge.spec.geometry import LaunchPlan, Plan
from specforge.spec.interface import find_kernel
from specforge.verify.example import Example, bindings, plan_example

HERE = Path(__file__).resolve().parent
ROOTS = (HERE, shipped())
TIMES_L2 = 4
"""Other tools rotate through copies of cold tensors that total this many times L2, as SpecForge does."""
MOST_COPIES = 1024
LARGEST_ANSWER = 1 << 24
"""Bytes of outputs up to which the reference's answer is kept for the next process."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A name for tables, a kernel under `kernels/`, and the case's parameters and tunables."""

    name: str
    kernel: str
    parameters: dict[str, Scalar]
    tunables: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ready:
    """A subject with its plan and its binary."""

    subject: Subject
    plan: Plan
    cubin: Path
    cubin_sha256: str
    source: str
    """The rendered text."""
    answers: Path | None
    """A folder in which SpecForge's processes keep the reference's answer; None where it is too large for that."""

    bandwidth: float | None
    """The most that the card's memory gives, in bytes per second; what proves a cell cold. None: nobody knows."""

    @property
    def launch(self) -> LaunchPlan:
        """The one launch that all these kernels have."""
        (launch,) = self.plan.launches
        return launch

    def copies(self, l2_bytes: int) -> int:
        """How many copies of its cold tensors another tool rotates through; 1 where none is cold."""
        cold = sum(buffer.nbytes for buffer in self.plan.buffers if buffer.residency == "cold")
        return min(max(2, -(-TIMES_L2 * l2_bytes // cold)), MOST_COPIES) if cold else 1

    def to_job(self) -> dict[str, Any]:
        """What a driver in another process needs, as JSON."""
        launch = self.launch
        return {
            "name": self.subject.name,
            "cubin": str(self.cubin),
            "entry": launch.entry,
            "grid": list(launch.grid),
            "block": list(launch.block),
            "arguments": list(launch.args),
            "tensors": {
                buffer.name: {"bytes": buffer.nbytes, "cold": buffer.residency == "cold", "input": buffer.role == "in"}
                for buffer in self.plan.buffers
            },
        }


def build(
    subjects: Iterable[Subject],
    architecture: str,
    state: Path,
    facts: Mapping[str, Scalar],
    bandwidth: float | None = None,
) -> list[Ready]:
    """Plan and compile subjects, side by side; raises SpecForgeError where a template or a case is at fault."""
    kept = state / "answers"
    kept.mkdir(parents=True, exist_ok=True)
    planned, jobs = [], []
    for subject in subjects:
        kernel = find_kernel(subject.kernel, ROOTS)
        example = Example(subject.parameters, subject.tunables)
        planned.append((subject, plan_example(kernel, example, facts)))
        jobs.append(Job(render(kernel, bindings(kernel, example, facts)), kernel, architecture))
    found = []
    built = build_all(jobs, Cache(state / "cache" / "cubin"))
    for (subject, plan), job, binary in zip(planned, jobs, built, strict=True):
        if isinstance(binary, SpecForgeError):
            raise binary
        small = sum(buffer.nbytes for buffer in plan.buffers if buffer.role == "out") <= LARGEST_ANSWER
        text, answers = job.rendered.text, kept if small else None
        found.append(Ready(subject, plan, binary.cubin.resolve(), binary.cubin_sha256, text, answers, bandwidth))
    return found


def read(tiles: int, rounds: int = 1, name: str | None = None, **tunables: Scalar) -> Subject:
    """`rounds` times `tiles` tiles of 16 KiB, read from memory."""
    size = f"{tiles / 64:g} MiB" + (f" x {rounds}" if rounds > 1 else "")
    return Subject(name or f"read {size}", "bench/read", {"tiles": tiles, "rounds": rounds}, dict(tunables))


def copy(tiles: int) -> Subject:
    """`tiles` tiles of 16 KiB read and written."""
    return Subject(f"copy {tiles / 64:g} MiB", "bench/copy", {"tiles": tiles})


def spin(nanoseconds: int) -> Subject:
    """One warp that waits; 0 is the kernel that tells what a launch costs."""
    return Subject(f"spin {nanoseconds / 1000:g} us", "bench/spin", {"nanoseconds": nanoseconds})
