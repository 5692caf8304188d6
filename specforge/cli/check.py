"""`specforge check`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from specforge.check.profile import PROFILES
from specforge.cli import options as shared


@click.command(epilog=shared.STATUS_HELP)
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...", type=click.Path(path_type=Path))
@shared.only
@click.option(
    "--until",
    type=click.Choice(shared.STAGES),
    default="judge",
    show_default=True,
    help="Stop after this step; what later steps decide is not requested and does not count.",
)
@click.option(
    "--backend",
    default="auto",
    show_default=True,
    metavar="auto|emulator|cuda:N",
    help="Where kernels run: a card that fits, else the CPU emulator, or the one named.",
)
@click.option(
    "--sanitize",
    type=click.Choice(("off", "shadow", "address")),
    default="shadow",
    show_default=True,
    help="What the emulator looks for beside wrong results. shadow: accesses out of bounds, of memory that nothing "
    "wrote, races, misalignment, integer overflow. address: what runs over the end of a local array, and no races.",
)
@click.option(
    "--case",
    metavar="ROW",
    help="Run this one example of a kernel instead of fuzzing: a YAML row as a failure prints it. Needs --only.",
)
@shared.seed
@click.option(
    "--examples",
    type=click.IntRange(1, 1_000_000),
    default=None,
    metavar="N",
    help="Fuzzing examples per kernel.  [default: the profile's]",
)
@click.option(
    "--seconds",
    type=shared.Number(1, 86_400),
    default=None,
    metavar="S",
    help="Wall budget of verifying each kernel.  [default: the profile's]",
)
@click.option(
    "--profile",
    type=click.Choice(tuple(PROFILES)),
    default="ci",
    show_default=True,
    help="Examples and wall budget for each kernel: "
    + ", ".join(f"{one.name} {one.examples} in {one.seconds:g} s" for one in PROFILES.values())
    + "; kernel.yaml may say otherwise.",
)
@click.option(
    "--held-out-seed",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw as many examples again with the secret text in FILE (or in SPECFORGE_HELD_OUT_SEED), which the record "
    "shows only afterwards.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the record here instead of under .specforge/.",
)
@click.option(
    "--against",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="RECORD",
    help="Compare times with an earlier record, cell by cell: faster, slower, same or undecided. A slower cell ends "
    "with status 1, an undecided one does not; records that may not be compared are refused with status 2.",
)
@click.option(
    "--tolerance",
    type=shared.Number(0, 100, min_open=True),
    default=1.0,
    show_default=True,
    metavar="PERCENT",
    help="With --against: a smaller change of a time does not matter.",
)
@click.option("--publish", is_flag=True, help="Put the record under results/ and into the ledger; needs a clean tree.")
@click.option("--peers", is_flag=True, help="Measure every peer of a kernel, not only those that targets name.")
@click.option(
    "--processes",
    type=click.IntRange(1, 100),
    default=None,
    metavar="N",
    help="Fresh processes that measure each case; what they differ by is in every interval.  [default: the spec's]",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with a run that was killed while it measured: what its journal holds is not measured again.",
)
@shared.wait
@shared.lock_clocks
@shared.form
def check(  # noqa: PLR0917 - one argument for each option
    specs: tuple[Path, ...],
    only: str | None,
    until: str,
    backend: str,
    sanitize: str,
    case: str | None,
    seed: int,
    examples: int | None,
    seconds: float | None,
    profile: str,
    held_out_seed: Path | None,
    record: Path | None,
    against: Path | None,
    tolerance: float,
    publish: bool,
    peers: bool,
    processes: int | None,
    resume: bool,
    wait: float,
    lock_clocks: str | None,
    form: str,
) -> int:
    """Validate, compile, verify, measure and judge the specs; fail where a target is missed."""
    from specforge.backend.clocks import parse_clock
    from specforge.check.held_out import read_seed
    from specforge.check.options import Options, parse_backend
    from specforge.check.run import check_specs

    found = shared.settings()
    options = Options(
        until=until,  # type: ignore[arg-type]  # click.Choice has checked it
        only=only,
        backend=parse_backend(backend),
        sanitize=sanitize,  # type: ignore[arg-type]  # click.Choice has checked it
        case=case,
        seed=seed,
        profile=profile,  # type: ignore[arg-type]  # click.Choice has checked it
        examples=examples,
        seconds=seconds,
        held_out_seed=read_seed(held_out_seed, found),
        record=record,
        against=against,
        tolerance=tolerance / 100,
        publish=publish,
        peers=peers,
        processes=processes,
        resume=resume,
        wait=wait,
        lock_clocks=None if lock_clocks is None else parse_clock(lock_clocks),
        arguments=tuple(sys.argv[1:]),
    )
    return check_specs(specs, options, form, found)
