"""The table of docs/parity.md, from the committed results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from specforge.diagnostics import Position, fail
from specforge.parity.result import ParityResult, is_current

HEAD = """# The emulator beside a card

Made by `specforge parity --table docs/parity.md` from results/parity/; `specforge parity KERNEL` on a machine with a
card makes those. Every case is drawn as fuzzing draws it and run on both sides, on the same inputs, in two builds:

- **ordinary**: the binaries that `check` verifies. Both sides must be within the declared tolerance of the float64
  reference, and whole numbers and indices must agree in every bit.
- **parity**: nothing is fused into multiply-adds on either side, the elementary functions are those of
  `kernels/include/parity.cuh` on both, and the emulator's tensor cores add as the card's do, to the last bit
  (`emulator_parity.h`). Every bit of every output must agree.

"Apart" is the largest number of representable values between the two sides, in any element; "of tolerance" the largest
error against the reference, on the card and on the emulator.
"""


def render_table(results: Iterable[ParityResult]) -> str:
    """The page: a table of all results, then where each comes from."""
    shown = list(results)
    lines = [
        HEAD,
        "| kernel | card | build | cases | agree | output | elements | not bit for bit | apart | of tolerance |",
    ]
    lines.append("|---|---|---|--:|--:|---|--:|--:|--:|---|")
    for result in shown:
        lines += _rows(result)
    lines.append("")
    for result in shown:
        stale = "" if is_current(result) else " (**stale**: it has changed since)"
        lines.append(
            f"- {result.kernel}{stale}: {result.created[:10]}, {result.card}, driver {result.driver}, {result.nvrtc} "
            f"for {result.architecture}, {result.host_compiler}; commit {_commit(result)}, "
            f"seed {result.seed}, {result.variants} variants. "
            f"Covered: {'; '.join(f'{name} {what}' for name, what in result.covered.items())}."
        )
        lines += [f"  - **{each.build}** `{each.row}`: {each.failure}" for each in result.disagreements]
    return "\n".join(lines) + "\n"


def _commit(result: ParityResult) -> str:
    said = {
        "clean": "",
        "supplied": " (as supplied)",
        "changed": " with changes",
        None: " (the tree's state is not recorded)",
    }
    return (result.commit or "unknown")[:12] + said[result.tree]


def _rows(result: ParityResult) -> Iterator[str]:
    for name, build in result.builds.items():
        ratios = f"{build.card_ratio:.2g}, {build.emulator_ratio:.2g}"
        for output, summary in build.outputs.items():
            cells = [result.kernel, result.card, name, f"{result.cases}", f"{build.agreed}", output]
            cells += [f"{summary.elements:,}", f"{summary.unequal:,}", f"{summary.ulps:,}", ratios]
            yield "| " + " | ".join(cells) + " |"


def write_table(results: Iterable[ParityResult], path: Path) -> None:
    """Write the page; raises SF605 where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render_table(results), encoding="utf-8")
    except OSError as error:
        raise fail("SF605", f"cannot write the table: {error.strerror or error}", Position(path)) from None
