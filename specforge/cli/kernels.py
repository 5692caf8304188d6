"""What is done with kernels beside checking them: mutate, tune, parity."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from specforge.cli import options as shared


@click.command(
    epilog="""\b
Exit status:
  2  bad command line, kernel or entry of equivalent_mutants
  1  a kernel's score is below what is due
  0  every score is at or above it
"""
)
@click.argument("kernels", nargs=-1, metavar="KERNEL...")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Try so many mutants only, drawn at random.")
@shared.seed
@click.option("--operator", "operators", multiple=True, metavar="NAME", help="Only this operator's; may be repeated.")
@click.option(
    "--line",
    "lines",
    metavar="N",
    multiple=True,
    type=click.IntRange(min=1),
    help="Only mutants of this template line.",
)
@click.option(
    "--shard",
    metavar="N/COUNT",
    help="Only every COUNTth mutant, from the Nth; a run without this puts together what such runs found.",
)
@click.option(
    "--at-least",
    metavar="PERCENT",
    type=shared.Number(0, 100),
    default=95.0,
    show_default=True,
    help="The score that is due, percent.",
)
@click.option(
    "--table",
    is_flag=False,
    flag_value="docs/mutation.md",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="[FILE]",
    help="Store the results under results/mutation and write the table of all stored ones.  [FILE: docs/mutation.md]",
)
@click.option(
    "--device",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="The card whose figures choose tunables.  [default: the shipped rtx5090.yaml]",
)
def mutate(  # noqa: PLR0917 - one argument for each option
    kernels: tuple[str, ...],
    sample: int | None,
    seed: int,
    operators: tuple[str, ...],
    lines: tuple[int, ...],
    shard: str | None,
    at_least: float,
    table: Path | None,
    device: Path | None,
) -> int:
    """Change a kernel's template in one place at a time and see whether its check notices, on the CPU.

    KERNEL is an identity such as moe/router_topk, or a kernel's folder. What survives is a hole in the check, or
    equivalent and to be listed in kernel.yaml: `equivalent_mutants: [{mutant: ID, reason: "..."}]`. A run that was
    stopped goes on where it was.
    """
    from specforge.mutate.run import Choice, mutate, read_shard

    choice = Choice(sample, seed, operators, lines, read_shard(shard) if shard else None, at_least, table)
    return mutate(kernels, choice, device, shared.settings())


@click.command(
    epilog="""\b
Exit status; where several apply, the first of this list wins:
  2  bad command line, spec, template or tuning file
  3  a configuration is wrong or crashes: a fault of the kernel, which never wins
  4  something could not be tuned: no card, a busy one, a default that cannot be timed
  5  no case with a tunable kernel was selected
  0  every selected case is tuned
"""
)
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...", type=click.Path(path_type=Path))
@shared.only
@click.option(
    "--metric",
    type=click.Choice(("amortised_latency", "latency")),
    default="amortised_latency",
    show_default=True,
    help="What to make small: the time among many launches in a row, or that of one launch alone.",
)
@click.option(
    "--most",
    type=click.IntRange(2, 100_000),
    default=200,
    show_default=True,
    metavar="N",
    help="Configurations to try for each case. A space of no more is tried whole, a larger one is searched.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 100),
    default=None,
    metavar="N",
    help="Fresh processes that time the best few against the default.  [default: the spec's]",
)
@click.option("--backend", default="auto", show_default=True, metavar="auto|cuda:N", help="The card to tune on.")
@shared.seed
@shared.wait
@shared.lock_clocks
def tune(  # noqa: PLR0917 - one argument for each option
    specs: tuple[Path, ...],
    only: str | None,
    metric: str,
    most: int,
    processes: int | None,
    backend: str,
    seed: int,
    wait: float,
    lock_clocks: str | None,
) -> int:
    """Search the tunables of each SPEC's kernels on the card that is here, case by case, and keep the fastest.

    A configuration counts only where its result is right before and after it is timed, and replaces the default only
    where it is faster by more than chance, in fresh processes that time both. What is found is written to
    tunings/DEVICE/FAMILY__KERNEL.yaml beside the spec's `kernels/`: `check` uses it on that device, until the kernel
    changes. Run it again to see what changed; each case is written as soon as it is decided.

    \b
    specforge tune specs/qwen35_h100.yaml --only flash_decode
    specforge tune specs/qwen35_h100.yaml --only router_topk --metric latency
    """
    from specforge.backend.clocks import parse_clock
    from specforge.check.options import Options, parse_backend
    from specforge.tune.run import Request, tune_specs

    options = Options(
        only=only,
        backend=parse_backend(backend),
        seed=seed,
        processes=processes,
        wait=wait,
        lock_clocks=None if lock_clocks is None else parse_clock(lock_clocks),
    )
    request = Request(metric, most)  # type: ignore[arg-type]  # click.Choice has checked it
    return tune_specs(specs, options, request, shared.settings())


@click.command()
@click.argument("kernels", nargs=-1, metavar="[KERNEL]...")
@click.option(
    "--examples",
    type=click.IntRange(1, 100_000),
    default=500,
    show_default=True,
    metavar="N",
    help="Cases per kernel.",
)
@shared.seed
@click.option("--case", metavar="ROW", help="Run this one case, a YAML row as a disagreement prints it.")
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results/parity"),
    show_default=True,
    help="Where results are written to (not with --case) and the table is made from.",
)
@click.option("--table", type=click.Path(path_type=Path, dir_okay=False), help="Write the table of all results here.")
def parity(  # noqa: PLR0917 - one argument for each option
    kernels: tuple[str, ...], examples: int, seed: int, case: str | None, results: Path, table: Path | None
) -> int:
    """Run each KERNEL (such as moe/router_topk) on a card and on the emulator, and compare: within tolerance as
    shipped, bit for bit in a build in which both sides compute alike. Needs a card; the table alone does not.

    Exit status: 0 everything agrees, 3 something does not, 4 there is no card, 2 bad command line or files.
    """
    from specforge.parity.result import read_results, write_result
    from specforge.parity.run import NoCard, Request, describe, run_parity
    from specforge.parity.table import write_table

    if not kernels and table is None:
        raise click.UsageError("name a KERNEL (`specforge list`), or give --table alone")
    if case is not None and len(kernels) != 1:
        raise click.UsageError("--case is a row of one KERNEL")
    agreed = True
    if kernels:
        try:
            found = run_parity(Request(kernels, examples, seed, case), shared.settings(), live=sys.stderr.isatty())
        except NoCard as error:
            click.echo(f"specforge: there is no card to compare with: {error}", err=True)
            return 4
        for result in found:
            click.echo(describe(result))
            if case is None:
                click.echo(f"  written to {write_result(result, results)}")
        agreed = all(result.agreed for result in found)
    if table is not None:
        write_table(read_results(results), table)
        click.echo(f"wrote {table}")
    return 0 if agreed else 3
