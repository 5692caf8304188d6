"""The last lines of a report, in plain words: what was proven, what was not, what would settle it, the exit status."""

from __future__ import annotations

from collections.abc import Iterable

from specforge.judge.verdict import STATUS_MEANINGS, Status, Verdict
from specforge.record.model import JudgementEntry, Record, TargetEntry
from specforge.report.against import slower
from specforge.report.findings import fuzz_finding, silent_faults
from specforge.spec.metrics import METRICS, STAGES

_AGAINST = (Verdict.WRONG, Verdict.ERROR, Verdict.IMPLAUSIBLE, Verdict.MISSED)
_OPEN = (Verdict.UNMEASURED, Verdict.INCONCLUSIVE)
_WORDS: dict[str, str] = {Verdict.ERROR: "in error"}
_QUIET = "run it again on a quiet card: no other processes, steady clocks"
_SHOWN_REASONS = 4

Judged = list[tuple[TargetEntry, JudgementEntry]]


def closing(record: Record) -> list[tuple[str, str]]:
    """Label and sentence, in order. A label appears as often as it has sentences; the exit status comes last."""
    targets = {target.id: target for target in record.targets}
    judged = [(targets[item.target], item) for item in record.judgements if item.target in targets]
    found: list[tuple[str, str]] = []
    found += [("proven", sentence) for sentence in _proven(record, judged)]
    found += [("failed", sentence) for sentence in _failed(record, judged)]
    found += [("open", sentence) for sentence in _open(record, judged)]
    found += [("not requested", sentence) for sentence in _skipped(record, judged)]
    found += [("to settle it", sentence) for sentence in _settle(record, judged)]
    return [*found, (f"exit status {record.status}", STATUS_MEANINGS[Status(record.status)])]


def _proven(record: Record, judged: Judged) -> list[str]:
    found = []
    clean = [fuzz for fuzz in record.fuzz if fuzz.failure is None and fuzz.examples]
    for backend in dict.fromkeys(fuzz.backend for fuzz in clean):
        here = [fuzz for fuzz in clean if fuzz.backend == backend]
        names = _listing(f"{fuzz.kernel} ({plural(fuzz.examples, 'example')})" for fuzz in here)
        verb = "agree with their references" if len(here) > 1 else "agrees with its reference"
        found.append(f"{names} {verb} on {'the emulator' if backend == 'emulator' else backend}")
    proxied = [case.id for case in record.cases if case.verified and "error_ratio" in case.missing]
    if proxied:
        found.append(
            f"{plural(len(proxied), 'case')} too large to emulate ({_listing(proxied)}): smaller examples of the same "
            "binary stand for them; a card runs them"
        )
    met = [(target, item) for target, item in judged if item.verdict in (Verdict.MET, Verdict.UNEXPECTED_MET)]
    if met:
        names = _listing(dict.fromkeys(target.metric for target, _ in met))
        unproven = "" if _reaches(record, "verify") else "; no result was checked, nothing was executed"
        found.append(f"{len(met)} of {plural(len(judged), 'verdict')} met ({names}){unproven}")
    return found or ["nothing"]


def _failed(record: Record, judged: Judged) -> list[str]:
    found = [f"{fuzz.kernel} went wrong in fuzzing" for fuzz in record.fuzz if fuzz.failure is not None]
    against = [(target, item) for target, item in judged if item.verdict in _AGAINST and not item.infrastructure]
    for verdict in _AGAINST:
        here = [target for target, item in against if item.verdict == verdict]
        if here:
            names = _listing(dict.fromkeys(f"{target.benchmark} {target.metric}" for target in here))
            level = _required(here) if verdict is Verdict.MISSED else ""
            found.append(f"{plural(len(here), 'verdict')} {_WORDS.get(verdict, verdict)}{level} ({names})")
    cells = slower(record)
    if cells:
        found.append(
            f"{plural(len(cells), 'cell')} slower than before ({_listing(f'{c.case} {c.mode}' for c in cells)})"
        )
    silent = list(
        dict.fromkeys(f"{case.id} is {_WORDS.get(verdict, verdict)}" for case, verdict, _ in silent_faults(record))
    )
    if silent:
        found.append(f"without a target that says so, which counts all the same: {_listing(silent)}")
    return found


def _open(record: Record, judged: Judged) -> list[str]:
    groups: dict[tuple[str, str], list[TargetEntry]] = {}
    for target, item in judged:
        if item.verdict in _OPEN or (item.verdict == Verdict.ERROR and item.infrastructure):
            groups.setdefault((item.verdict, item.reason), []).append(target)
    ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
    found = []
    for (verdict, reason), targets in ordered[:_SHOWN_REASONS]:
        names = _listing(dict.fromkeys(target.metric for target in targets))
        found.append(f"{len(targets)} {_WORDS.get(verdict, verdict)}{_required(targets)} ({names}): {reason}")
    rest = sum(len(targets) for _, targets in ordered[_SHOWN_REASONS:])
    if rest:
        found.append(f"{rest} more for other reasons, all in the record")
    for fuzz in record.fuzz:
        finding = fuzz_finding(record, fuzz)
        if finding is not None and fuzz.failure is None:
            found.append(f"{fuzz.kernel}: {finding.sentence}")
    known = sum(item.verdict == Verdict.KNOWN_MISS for _, item in judged)
    if known:
        found.append(f"{plural(known, 'verdict')} missed as the spec expects, until the dates above")
    return found


def _skipped(record: Record, judged: Judged) -> list[str]:
    skipped = [target for target, item in judged if item.verdict == Verdict.SKIPPED]
    if not skipped:
        return []
    names = _listing(dict.fromkeys(target.metric for target in skipped))
    asked = f" (--until {record.request.until})" if record.request.until != STAGES[-1] else ""
    return [f"{plural(len(skipped), 'verdict')}{asked}, not counted: {names}"]


def _settle(record: Record, judged: Judged) -> list[str]:
    """What a reader can do, each once, the most useful first."""
    found = []
    if any(fuzz.failure is not None for fuzz in record.fuzz):
        found.append("correct the kernel: the replay command above runs its smallest failing case")
        found.append("keep that case for good: add its row as `- {...}` to examples.yaml beside kernel.yaml")
    found += _card(record, judged)
    uncovered = _uncovered(record)
    for target, item in judged:
        if item.verdict == Verdict.UNMEASURED and target.benchmark in uncovered:
            count = uncovered[target.benchmark]
            found.append(
                f"{target.metric}: write kernels for the other {plural(count, 'part')} of the {target.benchmark} step"
            )
        elif item.verdict == Verdict.INCONCLUSIVE:
            found.append(_QUIET)
        elif item.verdict == Verdict.ERROR and item.infrastructure:
            found.append("see what `specforge doctor` says of this machine, then run it again")
    if any(fuzz.failure is None and fuzz_finding(record, fuzz) is not None for fuzz in record.fuzz):
        found.append("give fuzzing more time (--seconds), or ask for fewer --examples")
    if any(item.verdict == Verdict.SKIPPED for _, item in judged) and record.request.until != STAGES[-1]:
        found.append(f"drop --until {record.request.until} to have the rest decided")
    if record.status == Status.EMPTY:
        only = f"--only {record.request.only!r} selects nothing here; " if record.request.only else ""
        found.append(f"{only}`specforge list` shows what there is")
    return list(dict.fromkeys(found))


def _card(record: Record, judged: Judged) -> list[str]:
    """Which card would give the values that are missing; nothing where this run was on it."""
    open_targets = [
        target for target, item in judged if item.verdict == Verdict.UNMEASURED and target.stage == "measure"
    ]
    names = {target.metric for target in open_targets if target.benchmark not in _uncovered(record)}
    on_card = record.environment.backend.startswith("cuda")
    if not names:
        return []
    if on_card and record.environment.device_matches:
        return [_QUIET]
    any_card = not on_card and any(name in METRICS and METRICS[name].scope == "portable" for name in names)
    other = "; shares and ratios can be decided on any card that SpecForge drives" if any_card else ""
    return [f"run this spec on {record.device_name or record.device}{other}"]


def _uncovered(record: Record) -> dict[str, int]:
    """Decode steps with parts that no kernel does yet, and how many."""
    missing = {benchmark.name: len(benchmark.parts) - len(benchmark.covered_parts) for benchmark in record.benchmarks}
    return {name: count for name, count in missing.items() if count}


def _required(targets: list[TargetEntry]) -> str:
    required = sum(target.level == "required" for target in targets)
    return "" if required == len(targets) else f", {required or 'none'} of them required"


def _reaches(record: Record, stage: str) -> bool:
    order: list[str] = list(STAGES)
    return order.index(record.request.until) >= order.index(stage)


def plural(number: int, noun: str) -> str:
    """`1 case`, `1,024 cases`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _listing(names: Iterable[str]) -> str:
    """A few names, and how many more."""
    known = list(names)
    shown = [*known[:5], f"{len(known) - 5} more"] if len(known) > 6 else known
    return f"{', '.join(shown[:-1])} and {shown[-1]}" if len(shown) > 1 else "".join(shown)
