"""Trying one mutant: first built plain, then as `check` builds the kernel, until something tells it apart.

A plain build is the cheap way to most kills. A sanitized run of the same example compares the same outputs with the
same tolerance, and locals that nothing has set hold the same bytes in both builds, so what is wrong, crashes or hangs
plain does not pass sanitized either. Other memory that nothing has written may be right by chance, which the sanitizer
does not let pass. Only what passes plain is compiled again, and no mutant whose code is the kernel's own.

Measured on one core, norm/embed_row and norm/rms_norm: a killed mutant takes 0.4 to 0.55 s of processor time,
four fifths of it the one compilation; drawing, reference, runs, the fork and Python together 0.1. One that survives
takes three builds of each variant: 12 s with nine, a minute of moe/experts, whose examples are long. A process for each
mutant that crashed (0.6 s), the cheapest variant first (twice as many builds) and a search that drew its examples anew
made it 1.1 to 2.7 s on average where it is 0.6 to 1.6 now.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from specforge.backend.worker import TaskFailed, Worker, WorkerTimeout
from specforge.diagnostics import SpecForgeError, shorten
from specforge.kernel.render import render
from specforge.mutate.baseline import Baseline, Bindings
from specforge.mutate.build import Way, code_of
from specforge.mutate.mutant import Mutant
from specforge.mutate.outcome import Outcome
from specforge.spec.interface import Kernel
from specforge.verify.example import ExampleResult, Task

WAYS: tuple[Way, ...] = "plain", "bare"
"""Unsanitized builds that tell code apart."""


def attempt(mutant: Mutant, baseline: Baseline, worker: Worker) -> Outcome:
    """Build and run a mutant, variant by variant, until it fails.

    Each variant is built plain; where its code is not the kernel's own it runs a few of the examples that `check` ran
    for the unchanged kernel, and where it passes it is built as `check` does, and runs them again. The variant with the
    most code comes first: it has loops that are none in others, and branches that others leave out, so it kills nearly
    all that any variant kills. What passes everywhere runs all of `check`'s examples, plain: the sanitizer would take
    three times as long, so what it alone finds in those counts as survived. A score is a lower bound.
    """
    with _folder(mutant, baseline) as kernel:
        try:
            left: dict[tuple[Bindings, str], Path] = {}
            equal = True
            for variant in baseline.variants:
                library = _differing(kernel, variant, baseline)
                if library is None:
                    continue
                quick = baseline.quick(variant)
                if killed := _run(mutant, baseline, worker, library, tasks=quick, known=baseline.plain_seconds):
                    return killed
                if not left and _differing(kernel, variant, baseline, "bare") is None:
                    continue  # one option more or less, and code is equal that was not
                code = variant, code_of(library)
                left[code] = library
                if code not in baseline.tried:
                    baseline.tried[code] = _check(mutant, kernel, variant, baseline, worker)
                cubin, killed = baseline.tried[code]
                if killed:
                    return replace(killed, mutant=mutant.id)
                equal &= cubin == baseline.cubin(variant)
            if equal:
                return _compare_further(mutant, kernel, baseline)
            for code, library in left.items():
                every, known = baseline.every(code[0]), baseline.plain_seconds
                if code not in baseline.passed:
                    if killed := _run(mutant, baseline, worker, library, tasks=every, known=known):
                        return killed
                    baseline.passed.add(code)
            return Outcome(mutant.id, "survived")
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
    """The same code, for the CPU or the card, in every variant that `check` compiles: equivalent, if in others too."""
    for variant in baseline.further():
        if all(_differing(kernel, variant, baseline, way) is not None for way in WAYS) and (
            baseline.build.cubin(kernel, render(kernel, dict(variant))) != baseline.cubin(variant)
        ):
            values = ", ".join(f"{name}: {value}" for name, value in variant)
            return Outcome(mutant.id, "survived", detail=f"changes only variants that check does not build: {values}")
    return Outcome(mutant.id, "equivalent", detail="compiles to the same code")


def _check(
    mutant: Mutant, kernel: Kernel, variant: Bindings, baseline: Baseline, worker: Worker
) -> tuple[str, Outcome | None]:
    """Build a variant as `check` does and run a few examples: the digest of the card's code, and what killed it."""
    rendered = render(kernel, dict(variant))
    cubin = baseline.build.cubin(kernel, rendered)
    library = baseline.build.own_library(kernel, rendered, "checked")
    quick = baseline.quick(variant)
    return cubin, _run(mutant, baseline, worker, library, tasks=quick, known=baseline.seconds)


def _run(
    mutant: Mutant,
    baseline: Baseline,
    worker: Worker,
    library: Path,
    *,
    tasks: Sequence[Task],
    known: Mapping[str, float],
) -> Outcome | None:
    """What killed the mutant, or None."""
    try:
        failure = baseline.run(worker, library, tasks, known).failure
    except TaskFailed:  # it wrote into its process's own memory, which says nothing: the sanitizer will tell where
        return None
    except WorkerTimeout as late:
        return Outcome(mutant.id, "killed", "hang", str(late))
    if failure is None:
        return None
    said = shorten(failure.result.failure or "", 300)
    return Outcome(mutant.id, "killed", cause(failure.result), said, failure.example.to_row())


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
