"""`specforge tune`: search the tunables of every selected case on the card, and keep what beats the default."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from specforge.backend.lock import CardBusy
from specforge.backend.worker import Worker
from specforge.check.backends import Choice, choose
from specforge.check.card import taken_card
from specforge.check.context import Context
from specforge.check.handover import CardGone
from specforge.check.jobs import timing_of
from specforge.check.options import Options, check_only, select
from specforge.check.progress import reporter
from specforge.check.run import load_all
from specforge.diagnostics import fail
from specforge.expressions import Scalar
from specforge.record.model import Sources
from specforge.record.provenance import input_paths, sources
from specforge.roots import home, tidy
from specforge.settings import Settings
from specforge.spec.geometry import resolve_tunables
from specforge.spec.interface import Kernel
from specforge.spec.load import Benchmark, Spec
from specforge.spec.metrics import METRICS
from specforge.spec.sweep import Case
from specforge.spec.timing import Mode
from specforge.spec.tuning import TunedMetric, TuningRun
from specforge.tune.bench import Bench, Ground, feasible
from specforge.tune.race import Decision, Undecided, race
from specforge.tune.report import Result, lines
from specforge.tune.search import MOST
from specforge.tune.space import Configuration, Space
from specforge.tune.write import keep_case, span

DONE, WRONG, UNDECIDED, NOTHING = 0, 3, 4, 5


@dataclass(frozen=True, slots=True)
class Request:
    """What to tune by, and how many configurations of a case to time at most."""

    metric: TunedMetric = "amortised_latency"
    most: int = MOST

    @property
    def mode(self) -> Mode:
        """How the metric times."""
        mode = METRICS[self.metric].mode
        assert mode is not None
        return mode


def tune_specs(paths: Sequence[Path], options: Options, request: Request, settings: Settings) -> int:
    """Tune every spec's selected cases, print what came of each, and give the exit status."""
    specs = load_all(paths)
    hint = check_only(specs, options.only)
    if hint is not None:
        print(f"specforge: --only {options.only!r} selects nothing; {hint}", file=sys.stderr)
    found: set[int] = set()
    with reporter(live=sys.stderr.isatty()) as progress:
        context = Context(options, settings, progress)
        for spec in specs:
            for notice in spec.tunings.notices():
                print(notice, file=sys.stderr)
            found |= set(_tune_spec(spec, request, context))
    return next((status for status in (WRONG, UNDECIDED, DONE) if status in found), NOTHING)


def _tune_spec(spec: Spec, request: Request, context: Context) -> Iterator[int]:
    """A status for each case; what is decided is written before the next case begins."""
    work = list(_work(spec, context.options))
    if not work:
        print(f"specforge: {spec.name}: no case with a tunable kernel is selected", file=sys.stderr)
        return
    choice = choose(context.options.backend, spec)
    if choice.card is None:
        print(f"specforge: there is no card to tune on: {choice.absent}", file=sys.stderr)
        yield UNDECIDED
        return
    if choice.device is None:
        message = f"no device file knows {choice.card.name}, so nothing can say what was tuned"
        raise fail("SF702", message, value=choice.name, hint="describe the card in specs/devices/NAME.yaml")
    if not choice.matches:
        said = f"this tunes {choice.device.file.name}, the card that is here, not {spec.device.file.name}"
        print(f"specforge: {spec.name}: {said}", file=sys.stderr)
    state = sources(spec.path, input_paths(spec, choice.tunings), context.settings.commit)
    try:
        with taken_card(context, choice.card.uuid, "specforge tune") as card:
            for benchmark, case in work:
                with tempfile.TemporaryDirectory(prefix="specforge-") as answers:
                    ground = Ground(spec, choice, card, context, request.mode, answers)
                    yield _tune_case(ground, benchmark, case, request, state)
    except (CardBusy, CardGone) as reason:
        print(f"specforge: {spec.name}: {reason}; what is not tuned by now is left as it was", file=sys.stderr)
        yield UNDECIDED


def _work(spec: Spec, options: Options) -> Iterator[tuple[Benchmark, Case]]:
    """The cases to tune; one that stands in several benchmarks comes once."""
    seen: list[tuple[str, dict[str, Scalar]]] = []
    for benchmark in select(spec, options.only):
        for case in benchmark.cases:
            if case.kernel is None or not case.kernel.file.tunables:
                continue
            if (case.kernel.identity, case.parameters) not in seen:
                seen.append((case.kernel.identity, case.parameters))
                yield benchmark, case


def _tune_case(ground: Ground, benchmark: Benchmark, case: Case, request: Request, state: Sources) -> int:
    kernel, device = case.kernel, ground.choice.device
    assert kernel is not None
    assert device is not None
    usual = tuple(resolve_tunables(kernel, case.parameters, device.names).items())
    processors = int(device.names["device.multiprocessors"])
    space = Space(kernel, usual, processors, feasible(kernel, case, ground.choice))
    previous, in_force = _previous(ground.choice, kernel, case)
    ground.context.progress.stage(f"tuning {case.id}: {space.size} configurations", min(space.size, request.most))
    with Worker(ground.choice.runner) as worker:
        bench = Bench(ground, case, timing_of(benchmark, ground.context.options), worker)
        try:
            seed = ground.context.options.seed
            decision = race(space, bench, previous, in_force=in_force, most=request.most, seed=seed)
            result = Result(case, space, decision, failures=bench.failures)
        except Undecided as error:
            failure = bench.failures.get(usual)
            said = f"{error}: {failure.reason}" if failure is not None else str(error)
            result = Result(case, space, None, said, bench.failures)
    for line in lines(result, request.metric, str(ground.spec.path), ground.choice.runner):
        print(line, flush=True)
    if result.decision is not None:
        _keep(bench, kernel, result.decision, request, state)
    if result.wrong:
        return WRONG
    return DONE if result.decision is not None else UNDECIDED


def _previous(choice: Choice, kernel: Kernel, case: Case) -> tuple[Configuration | None, bool]:
    """What the tuning file says of a case, and whether it is in force: a stale one is a hint where to look."""
    tuning = choice.tunings.found.get(kernel.identity)
    index = None if tuning is None else tuning.find(case.parameters)
    if tuning is None or index is None:
        return None, False
    tuned = tuning.file.cases[index].tunables
    names = [name for name in kernel.file.tunables if name in tuned]
    return tuple((name, tuned[name]) for name in names), not tuning.changed


def _keep(bench: Bench, kernel: Kernel, decision: Decision, request: Request, state: Sources) -> None:
    """Write the case into its tuning file."""
    ground = bench.ground
    choice, spec = ground.choice, ground.spec
    assert choice.card is not None
    assert choice.device is not None
    run = TuningRun(
        at=datetime.now(UTC).date().isoformat(),
        card=choice.card.name,
        driver=choice.card.driver,
        clocks=ground.card.clocks_policy(bench.measured),
        compiler=bench.compiler,
        tool_version=state.tool_version,
        tool_sha256=state.tool_sha256,
        commit=state.commit,
        dirty=state.dirty,
        facts={name.removeprefix("device."): value for name, value in choice.device.names.items()},
    )
    entry = {
        "parameters": dict(bench.case.parameters),
        "tunables": dict(decision.winner),
        "metric": request.metric,
        "tried": decision.tried,
        "time": span(decision.times[decision.winner]),
        "default": span(decision.times[decision.default]),
    }
    path = keep_case(home(spec.path), kernel, choice.device.file.device, entry, run)
    print(f"  written to {tidy(path)}", flush=True)
