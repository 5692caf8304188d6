"""`specforge mutate`: make the mutants of kernels, try them side by side, say which ones nothing noticed."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from specforge.backend.worker import Worker
from specforge.check.progress import Reporter, reporter
from specforge.diagnostics import Diagnostic, SpecForgeError, fail, suggest
from specforge.mutate.baseline import Baseline, prepare
from specforge.mutate.journal import Journal
from specforge.mutate.mutant import Mutant, make
from specforge.mutate.operators import OPERATORS, changes
from specforge.mutate.outcome import Outcome
from specforge.mutate.score import Scored, score
from specforge.mutate.tokens import read
from specforge.mutate.trial import attempt
from specforge.roots import is_file, search_roots, shipped
from specforge.settings import Settings
from specforge.spec.facts import Device, load_device
from specforge.spec.interface import Kernel, find_kernel, load_kernel
from specforge.verify.fuzz import isolate_hypothesis


@dataclass(frozen=True, slots=True)
class Choice:
    """Which mutants are tried, and what is due of them."""

    sample: int | None = None
    seed: int = 0
    """Of the sample."""
    operators: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()
    shard: tuple[int, int] | None = None
    """Number, from 1, and count: every so manieth mutant."""
    at_least: float = 95.0
    """Percent of the mutants that count."""
    table: Path | None = None
    """Where the table of all stored results goes, after those of these kernels were stored."""

    @property
    def partial(self) -> bool:
        """Whether only some mutants are tried."""
        return self.sample is not None or bool(self.operators or self.lines or self.shard)


def mutate(names: Sequence[str], choice: Choice, device: Path | None, settings: Settings) -> int:
    """Try the mutants of each kernel and print what became of them; 0, or 1 where a score is below what is due."""
    from specforge.mutate.report import tell, write_table

    _check(names, choice)
    kernels = [find(name) for name in names]
    card = load_device(device or shipped() / "specs" / "devices" / "rtx5090.yaml")
    found: list[Scored] = []
    for kernel in kernels:
        with reporter(live=sys.stderr.isatty()) as progress:
            found.append(try_kernel(kernel, choice, card, settings, progress))
        print(tell(found[-1], choice.at_least, partial=choice.partial), end="")
    if choice.table is not None:
        write_table(found, choice.table)
    wrong = [diagnostic for scored in found for diagnostic in _contradicted(scored)]
    if wrong:
        raise SpecForgeError(*wrong)
    return 0 if all(scored.percent >= choice.at_least for scored in found) else 1


def _check(names: Sequence[str], choice: Choice) -> None:
    for operator in choice.operators:
        if operator not in OPERATORS:
            raise fail("SF801", "no such operator", value=operator, hint=suggest(operator, OPERATORS))
    if choice.table is not None and choice.partial:
        raise fail("SF801", "--table stores whole results", hint="leave out --sample, --operator, --line and --shard")
    if choice.table is not None and choice.table.suffix != ".md":
        raise fail("SF801", "--table names a Markdown file", value=str(choice.table), hint="docs/mutation.md")
    if not names and choice.table is None:
        raise fail("SF801", "name a kernel", hint="`specforge list` shows those at hand")


def read_shard(text: str) -> tuple[int, int]:
    """`3/16`: number and count."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise fail("SF801", "no shard", value=text, hint="NUMBER/COUNT, such as 3/16; numbers count from 1")
    return int(number), int(count)


def find(name: str) -> Kernel:
    """A kernel by its identity, or by its folder or file."""
    path = Path(name)
    path = path if path.suffix == ".yaml" else path / "kernel.yaml"
    if is_file(path):
        whole = path.resolve()
        return load_kernel(path, f"{whole.parent.parent.name}/{whole.parent.name}", search_roots(path))
    return find_kernel(name, search_roots(Path.cwd() / "kernels"))


def try_kernel(kernel: Kernel, choice: Choice, card: Device, settings: Settings, progress: Reporter) -> Scored:
    """The outcomes of one kernel's mutants; those known from an earlier run of the same inputs are not tried again."""
    isolate_hypothesis(settings.state / "hypothesis")
    original = kernel.template.read_text(encoding="utf-8")
    source = read(original)
    mutants = make(source, changes(source))
    _check_listed(kernel, mutants)
    chosen = _choose(mutants, choice)
    journal = Journal(kernel, str(card.file.device), settings.state, choice.shard)
    waiting = [mutant for mutant in chosen if mutant.id not in journal.outcomes]
    if waiting:
        progress.stage(f"{kernel.identity}: building and searching it unchanged")
        baseline = prepare(kernel, card, settings)
        progress.stage(f"{kernel.identity}: {len(chosen)} mutants", len(chosen))
        done = len(chosen) - len(waiting)
        for outcome in _try_all(waiting, baseline, settings.jobs):
            journal.add(outcome)
            done += 1
            progress.advance(done, len(chosen))
    return score(kernel, original, chosen, journal.outcomes)


def _choose(mutants: Sequence[Mutant], choice: Choice) -> list[Mutant]:
    chosen = [
        mutant
        for mutant in mutants
        if (not choice.operators or mutant.operator in choice.operators)
        and (not choice.lines or mutant.line in choice.lines)
    ]
    if choice.shard is not None:
        chosen = chosen[choice.shard[0] - 1 :: choice.shard[1]]
    if choice.sample is None or choice.sample >= len(chosen):
        return chosen
    kept = set(random.Random(choice.seed).sample(range(len(chosen)), choice.sample))
    return [mutant for place, mutant in enumerate(chosen) if place in kept]


def _try_all(mutants: Sequence[Mutant], baseline: Baseline, jobs: int) -> Iterable[Outcome]:
    """Outcomes as they come, from `jobs` threads with a worker process each; Ctrl-C ends the workers first."""
    workers: list[Worker] = []
    local = threading.local()

    def start() -> None:
        local.worker = Worker("emulator")
        workers.append(local.worker)

    with ThreadPoolExecutor(jobs, initializer=start) as pool:
        futures = [pool.submit(lambda mutant: attempt(mutant, baseline, local.worker), mutant) for mutant in mutants]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for worker in workers:
                worker.close()
            pool.shutdown(wait=True, cancel_futures=True)


def _check_listed(kernel: Kernel, mutants: Sequence[Mutant]) -> None:
    """Every entry of `equivalent_mutants` names a mutant."""
    known = {mutant.id for mutant in mutants}
    found = []
    for index, entry in enumerate(kernel.file.equivalent_mutants):
        if entry.mutant not in known:
            where = kernel.document.at(("equivalent_mutants", index, "mutant"))
            alike = [name for name in known if name.startswith(entry.mutant.partition("-")[0])]
            hint = "its statement has changed: remove the entry, or run `specforge mutate` for the id it has now"
            near = suggest(entry.mutant, alike).partition("? ")[0] if alike else ""
            hint = f"{near}? or {hint}" if near.startswith("did") else hint
            found.append(Diagnostic("SF511", "no mutant of the template has this id", where, entry.mutant, hint))
    if found:
        raise SpecForgeError(*found)


def _contradicted(scored: Scored) -> Iterable[Diagnostic]:
    """Entries of `equivalent_mutants` that were killed: whatever their reason says, they change the result."""
    for index, entry in enumerate(scored.kernel.file.equivalent_mutants):
        outcome = scored.outcomes.get(entry.mutant)
        if outcome is not None and outcome.status in {"killed", "invalid"}:
            where = scored.kernel.document.at(("equivalent_mutants", index, "mutant"))
            said = f"is killed ({outcome.by}: {outcome.detail})" if outcome.status == "killed" else "does not compile"
            message = f"a mutant that is listed as equivalent {said}"
            hint = "remove the entry" + (f"; it fails in {outcome.example}" if outcome.example else "")
            yield Diagnostic("SF511", message, where, entry.mutant, hint)
