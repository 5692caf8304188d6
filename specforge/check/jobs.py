"""What is to be measured of each case: its binary, its modes, its precision, and where its targets draw a line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from specforge.check.backends import Choice
from specforge.check.metrics import rate_at
from specforge.check.options import Options
from specforge.check.peers import peers_of
from specforge.check.variants import Variant, variant_of
from specforge.kernel.build import Binary
from specforge.measure.case import MeasureTask
from specforge.measure.stopping import StopRule
from specforge.spec.geometry import Plan
from specforge.spec.load import Benchmark
from specforge.spec.peers import DeclaredPeer
from specforge.spec.sweep import Case
from specforge.spec.timing import Timing
from specforge.verify.example import Example

ENERGY_SECONDS = 1.0
"""Work over which joules are counted, in each process, where a target asks for them."""
START_SECONDS = 30.0
DRAWN = 5e6
"""Bytes of inputs a second that drawing them and calling the reference surely manage."""


@dataclass(frozen=True, slots=True)
class Job:
    """One case to be measured in several processes."""

    case: str
    task: MeasureTask
    processes: int
    peers: tuple[DeclaredPeer, ...] = ()
    peer_rounds: int = 0
    """The first so many of the processes have peers measured beside them."""

    @property
    def given_bytes(self) -> int:
        """Of its inputs."""
        return sum(buffer.nbytes for buffer in self.task.plan.buffers if buffer.is_given)

    @property
    def timeout(self) -> float:
        """Seconds after which a process that gives no answer hangs: each mode may settle anew, and inputs are drawn."""
        rule, plan = self.task.rule, self.task.plan
        modes = len(self.task.modes) + (len(plan.launches) > 1)
        drawn = self.given_bytes / DRAWN
        return START_SECONDS + 3 * modes * (rule.seconds + rule.warmup_seconds + 1) + 3 * self.task.energy + drawn


def timing_of(benchmark: Benchmark, options: Options) -> Timing:
    """A benchmark's timing, with what the command line says over it."""
    timing = benchmark.timing
    return timing if options.processes is None else replace(timing, processes=options.processes, peer_processes=None)


def jobs_of(
    benchmarks: Sequence[Benchmark],
    cases: Iterable[Case],
    plans: Mapping[str, Plan],
    binaries: Mapping[Variant, Binary],
    *,
    choice: Choice,
    options: Options,
) -> list[Job]:
    """A job for each of these cases, in order; `plans` go by case, for the card that runs."""
    homes = {benchmark.name: benchmark for benchmark in benchmarks}
    facts = choice.device.names if choice.device is not None else {}
    bandwidth = facts.get("device.memory_bandwidth")
    found = []
    for case in cases:
        assert case.kernel is not None
        plan, home = plans[case.id], homes[case.benchmark]
        timing = timing_of(home, options)
        binary = binaries[variant_of(case.kernel, plan.parameters, plan.tunables)]
        asked = {target.metric.name for target in home.targets if case.id in target.cases}
        task = MeasureTask(
            plan,
            str(binary.cubin),
            binary.cubin_sha256,
            Example(dict(case.parameters), seed=options.seed),
            None if bandwidth is None else float(bandwidth),
            timing.modes_of(chained=bool(plan.chain)),
            StopRule(
                precision=timing.precision, seconds=timing.seconds, bounds=tuple(_bounds(home, case, plan, choice))
            ),
            energy=ENERGY_SECONDS if asked & {"energy", "tokens_per_joule"} else 0.0,
        )
        peers = peers_of(home, case.id, every=options.peers)
        found.append(Job(case.id, task, timing.processes, peers, timing.peer_rounds))
    return found


def _bounds(home: Benchmark, case: Case, plan: Plan, choice: Choice) -> Iterable[float]:
    """Times, in seconds, at which a verdict would change: samples go on while one lies inside the interval."""
    for target in home.targets:
        if case.id in target.cases and target.metric.mode is not None and target.bound > 0:
            rate = rate_at(target.metric.name, plan, choice)
            if target.metric.unit == "s":
                yield target.bound
            elif rate is not None:
                yield rate / target.bound
