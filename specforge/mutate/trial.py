"""Trying one mutant: first built plain, then as `check` builds the kernel, until something tells it apart.

A plain build is the cheap way to most kills. A sanitized run of the same example compares the same outputs with the
same tolerance, and locals that nothing has set hold the same bytes in both builds, so what is wrong, crashes or hangs
plain does not pass sanitized either. Other memory that nothing has written may be right by chance, which the sanitizer
does not let pass. Only what passes plain is compiled again, and no mutant whose code is the kernel's own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from specforge.backend.worker import TaskFailed, Worker
from specforge.diagnostics import SpecForgeError, shorten
from specforge.kernel.render import render
from specforge.mutate.baseline import Baseline, Bindings
from specforge.mutate.build import Way, code_of
from specforge.mutate.mutant import Mutant
from specforge.mutate.outcome import Outcome
from specforge.spec.interface import Kernel
from specforge.verify.example import ExampleResult
from specforge.verify.fuzz import FuzzReport
from specforge.verify.session import Failure


def attempt(mutant: Mutant, baseline: Baseline, worker: Worker) -> Outcome:
    """Build and run a mutant, variant by variant, until it fails; then search as `check` does.

    Each variant, the cheapest first, is built plain; where its code is not the kernel's own it runs a few of the
    examples that `check` drew for the unchanged kernel. What passes does the same as `check` builds it, and what passes
    that runs all of `check`'s examples, plain: the sanitizer would take three times as long, so what it alone finds in
    those counts as survived. A score is a lower bound.
    """
    with _folder(mutant, baseline) as kernel:
        try:
            plain: dict[Bindings, Path] = {}
            for variant in baseline.variants:
                library = _differing(kernel, variant, baseline)
                if library is None:
                    continue
                plain[variant] = library
                try:
                    killed = _run_plain(mutant, baseline, worker, variant, library)
                except TaskFailed:  # it wrote into the process's own memory: the sanitizer will tell where
                    worker.restart()
                    continue
                if killed:
                    return killed
            for variant in list(plain):  # one option more or less, and code may be equal that was not
                if _differing(kernel, variant, baseline, "bare") is not None:
                    break
                del plain[variant]
            if not plain:
                return _compare_further(mutant, kernel, baseline)
            code = tuple((variant, code_of(library)) for variant, library in plain.items())
            if code not in baseline.tried:
                baseline.tried[code] = _run_checked(mutant, kernel, plain, baseline, worker)
            return replace(baseline.tried[code], mutant=mutant.id)
        except SpecForgeError as error:
            if error.diagnostics[0].code != "SF506":
                raise
            return Outcome(mutant.id, "invalid", detail=shorten(error.diagnostics[0].message, 200))


@contextmanager
def _folder(mutant: Mutant, baseline: Baseline) -> Iterator[Kernel]:
    """The kernel with the changed template, in a folder of its own beside links to the other files."""
    kernel = baseline.kernel
    folder = Path(tempfile.mkdtemp(prefix="mutant-", dir=baseline.build.folder))
    try:
        for path in kernel.folder.iterdir():
            (folder / path.name).symlink_to(path.resolve())
        (folder / kernel.file.template).unlink()
        (folder / kernel.file.template).write_text(mutant.template, encoding="utf-8")
        yield replace(kernel, folder=folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _differing(kernel: Kernel, variant: Bindings, baseline: Baseline, way: Way = "plain") -> Path | None:
    """A mutant's unsanitized library in a variant, where its code is another than the original's."""
    rendered = render(kernel, dict(variant))
    if rendered.text == baseline.text(variant):
        return None
    library = baseline.build.own_library(kernel, rendered, way)
    return None if code_of(library) == baseline.original(variant, way)[1] else library


def _compare_further(mutant: Mutant, kernel: Kernel, baseline: Baseline) -> Outcome:
    """Equal code in every variant that `check` compiles: equivalent, if it is equal in others as well."""
    for variant in baseline.further():
        if all(_differing(kernel, variant, baseline, way) is not None for way in ("plain", "bare")):
            values = ", ".join(f"{name}: {value}" for name, value in variant)
            return Outcome(mutant.id, "survived", detail=f"changes only variants that check does not build: {values}")
    return Outcome(mutant.id, "equivalent", detail="compiles to the same code")


def _run_plain(mutant: Mutant, baseline: Baseline, worker: Worker, variant: Bindings, library: Path) -> Outcome | None:
    """Run a variant's few examples; what killed the mutant, or None.

    Mutants before it had the same process, and a plain build may write anywhere. So a failure is believed where the
    process lives and the unchanged kernel passes the same example in it, else only of a fresh process.
    """
    examples = baseline.quick(variant)
    before = worker.pid
    report = baseline.search(baseline.watch(worker, plain=True), {variant: library}, examples)
    if report.failure is not None and before and not _is_sound(baseline, worker, before, variant, report.failure):
        worker.restart()
        report = baseline.search(baseline.watch(worker, plain=True), {variant: library}, examples)
    if report.failure is not None and report.failure.result.kind != "wrong":
        worker.restart()  # it may have written where it should not
    return _killed(mutant, report)


def _is_sound(baseline: Baseline, worker: Worker, pid: int, variant: Bindings, failure: Failure) -> bool:
    """Whether a process that a mutant failed in still runs the unchanged kernel as it should."""
    if worker.pid != pid or cause(failure.result) in {"crash", "hang"}:
        return False
    original, _ = baseline.original(variant)
    report = baseline.search(baseline.watch(worker, plain=True), {variant: original}, [failure.example])
    return report.failure is None


def _run_checked(
    mutant: Mutant, kernel: Kernel, plain: dict[Bindings, Path], baseline: Baseline, worker: Worker
) -> Outcome:
    """Build as `check` does and run a few examples of each variant; then all of them, plain."""
    worker.restart()
    watch = baseline.watch(worker, plain=False)
    killed = None
    for variant in plain:
        rendered = render(kernel, dict(variant))
        baseline.build.check_cubin(kernel, rendered)
        library = baseline.build.own_library(kernel, rendered, "checked")
        killed = _killed(mutant, baseline.search(watch, {variant: library}, baseline.quick(variant)))
        if killed:
            break
    worker.restart()  # it keeps every library that it has loaded, and whatever it has written
    if killed is None:
        with suppress(TaskFailed):  # a process whose own memory was overwritten says nothing
            killed = _killed(mutant, baseline.search(baseline.watch(worker, plain=True), plain, None))
        worker.restart()
    return killed or Outcome(mutant.id, "survived")


def _killed(mutant: Mutant, report: FuzzReport) -> Outcome | None:
    if report.failure is None:
        return None
    result = report.failure.result
    said = shorten(result.failure or "", 300)
    return Outcome(mutant.id, "killed", cause(result), said, report.failure.example.to_row())


def cause(result: ExampleResult) -> str:
    """What a failing example showed, in one word."""
    said = result.failure or ""
    if result.kind == "violation":
        return "bounds" if "overwritten" in said else "read-only"
    if result.kind == "wrong":
        return "wrong"
    if "SIGPROF" in said:
        return "hang"
    kind = said.partition(":")[0]
    return kind if kind.replace("-", "").isalpha() and kind.islower() and " " not in kind else "crash"
