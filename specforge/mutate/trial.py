"""Trying one mutant: built as `check` builds the kernel, run as `check` runs it, until something tells it apart."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from specforge.backend.worker import Worker
from specforge.diagnostics import SpecForgeError, shorten
from specforge.kernel.render import render
from specforge.mutate.baseline import Baseline, Bindings
from specforge.mutate.mutant import Mutant
from specforge.spec.interface import Kernel
from specforge.verify.example import Example, ExampleResult
from specforge.verify.fuzz import FuzzReport

Status = Literal["killed", "survived", "equivalent", "invalid"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mutant. `equivalent`: its code is the kernel's own; `invalid`: it does not compile."""

    mutant: str
    status: Status
    by: str = ""
    """What killed it: `wrong`, `hang`, `crash`, or the fault's kind."""
    detail: str = ""
    """The failure in one sentence, or where the mutant survives what is special about it."""
    example: str = ""
    """The row that killed it."""


def attempt(mutant: Mutant, baseline: Baseline, worker: Worker) -> Outcome:
    """Build and run a mutant, variant by variant, until it fails; then search as `check` does.

    First each variant runs a few of the examples that `check` drew for the unchanged kernel, cheapest variant first:
    most mutants cost one compilation. What survives them is searched as `check` does, all variants together.
    """
    with _folder(mutant, baseline) as kernel:
        binaries: dict[Bindings, Path] = {}
        first, alike = True, False
        try:
            for variant in baseline.variants:
                rendered = render(kernel, dict(variant))
                # Code is compared where it may be equal: once something passed, and from then on before it is run.
                if rendered.text == baseline.text(variant) or (alike and not _differs(kernel, variant, baseline)):
                    continue
                binaries[variant] = baseline.build.own_library(kernel, rendered)
                if killed := _run(mutant, baseline, worker, {variant: binaries[variant]}, baseline.quick(variant)):
                    return killed
                alike = first and not _differs(kernel, variant, baseline)
                first = False
                if alike:
                    del binaries[variant]
            if not binaries:
                return _compare_further(mutant, kernel, baseline)
            outcome = _run(mutant, baseline, worker, binaries, None)
            worker.restart()  # it keeps every library that it has loaded
            return outcome or Outcome(mutant.id, "survived")
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


def _differs(kernel: Kernel, variant: Bindings, baseline: Baseline) -> bool:
    """Whether a mutant's code is another than the original's in a variant."""
    rendered = render(kernel, dict(variant))
    if rendered.text == baseline.text(variant):
        return False
    return baseline.build.code(kernel, rendered) != baseline.code(variant)


def _compare_further(mutant: Mutant, kernel: Kernel, baseline: Baseline) -> Outcome:
    """Equal code in every variant that `check` compiles: equivalent, if it is equal in others as well."""
    for variant in baseline.further():
        if _differs(kernel, variant, baseline):
            values = ", ".join(f"{name}: {value}" for name, value in variant)
            return Outcome(mutant.id, "survived", detail=f"changes only variants that check does not build: {values}")
    return Outcome(mutant.id, "equivalent", detail="compiles to the same code")


def _run(
    mutant: Mutant, baseline: Baseline, worker: Worker, binaries: dict[Bindings, Path], examples: list[Example] | None
) -> Outcome | None:
    """Search with these binaries; what killed the mutant, or None. A crash is believed of a fresh process only."""
    used = worker.pid is not None
    report = baseline.search(baseline.watch(worker), binaries, examples)
    if report.failure is not None and report.failure.result.kind != "wrong":
        worker.restart()  # it may have written where it should not
        if used and cause(report.failure.result) == "crash":
            report = baseline.search(baseline.watch(worker), binaries, [report.failure.example])
            worker.restart()
    return _killed(mutant, report)


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
