"""The command line: each command parses, calls one function, prints, and ends with a documented status."""

from __future__ import annotations

import io
import math
import os
import select
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from specforge import __version__

if TYPE_CHECKING:
    from specforge.settings import Settings
    from specforge.spec.load import Spec

STAGES = ("validate", "render", "build", "verify", "measure", "judge")
FORMATS = ("text", "json", "md", "junit", "github")
STATUS_HELP = """\b
Exit status; where several apply, the first of this list wins:
  2  bad command line, spec, template or reference
  3  a kernel is wrong or implausible, or crashed, hung, deadlocked
  1  a required target was missed, or a cell is slower than in the record of --against
  4  undecided: something required is unmeasured or inconclusive
  5  nothing was selected
  0  every required target that was to be decided is met
"""


class _Group(click.Group):
    """Turns every error that a user can cause into diagnostics and status 2; Ctrl-C into 130 without a traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - click's signature
        """Run a command and exit with its status."""
        kwargs["standalone_mode"] = False
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # as standard error does, whatever the locale
        try:
            result = super().main(*args, **kwargs)
        except click.ClickException as error:
            error.show()
            sys.exit(2)
        except (click.Abort, KeyboardInterrupt):
            click.echo("specforge: stopped; nothing was left half-written", err=True)
            sys.exit(130)
        except Exception as error:
            from specforge.diagnostics import SpecForgeError

            if not isinstance(error, SpecForgeError):
                _confess(error)
            for diagnostic in error.diagnostics:
                click.echo(str(diagnostic), err=True)
            sys.exit(2)
        sys.exit(result if isinstance(result, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Give a closed pipe its own status; click's is 1, which here means a missed target."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            if not _reader_is_gone():
                raise RuntimeError("a pipe broke that was not standard output") from error  # click would end with 1
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit must not fail again
            return 141


def _confess(error: Exception) -> NoReturn:
    """A fault of SpecForge's own, or of the machine: undecided, and never the status of a missed target."""
    import traceback

    traceback.print_exception(error)
    click.echo(
        "specforge: this is a fault of SpecForge or of this machine, not of your files; please report it", err=True
    )
    sys.exit(4)


def _reader_is_gone() -> bool:
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (OSError, ValueError):  # no file behind it
        return False


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="specforge")
def main() -> None:
    """Say in YAML what CUDA kernels must do on a card; prove it, or fail.

    \b
    Try first:
      specforge doctor                                            what this machine can do
      specforge list                                              specs and kernels at hand
      specforge check specs/qwen35_rtx5090.yaml --until verify    no GPU needed
      specforge explain specs/qwen35_rtx5090.yaml decode          where the time of a token goes
    """


@main.command(epilog=STATUS_HELP)
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...", type=click.Path(path_type=Path))
@click.option(
    "--only", metavar="GLOB", help="Only benchmarks whose name or kernel matches, such as 'flash_decode' or 'moe/*'."
)
@click.option(
    "--until",
    type=click.Choice(STAGES),
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
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of everything that is drawn."
)
@click.option(
    "--examples",
    type=click.IntRange(1, 1_000_000),
    default=None,
    metavar="N",
    help="Fuzzing examples per kernel.  [default: the profile's]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 86_400),
    default=None,
    metavar="S",
    help="Wall budget of verifying each kernel.  [default: the profile's]",
)
@click.option(
    "--profile",
    type=click.Choice(("quick", "ci", "deep")),
    default="ci",
    show_default=True,
    help="Examples and seconds for each kernel: quick 50 in 30 s, ci 200 in 120 s, deep 5000 in 30 min; "
    "kernel.yaml may say otherwise.",
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
    type=click.FloatRange(0, 100, min_open=True),
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
@click.option(
    "--wait",
    type=click.FloatRange(0, 86_400),
    default=60.0,
    show_default=True,
    metavar="S",
    help="How long to wait for a card that others use; what is not measured then is undecided.",
)
@click.option(
    "--lock-clocks",
    is_flag=False,
    flag_value="base",
    metavar="[MHZ|base]",
    help="Lock the card's SM clock while measuring (base: what it holds at its power limit), check that it holds, and "
    "undo it; needs administrator's rights.  [default: clocks as found]",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="What goes to standard output.",
)
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

    for name, number in (("--seconds", seconds), ("--wait", wait), ("--tolerance", tolerance)):
        if number is not None and math.isnan(number):
            raise click.BadParameter("nan is no number", param_hint=name)
    settings = _settings()
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
        held_out_seed=read_seed(held_out_seed, settings),
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
    return check_specs(specs, options, form, settings)


@main.command(name="list")
def list_() -> int:
    """List the specs and kernels at hand: this repository's own, then the shipped ones."""
    from specforge.listing import listing

    click.echo(listing(Path.cwd()), nl=False)
    return 0


@main.command()
@click.argument("words", nargs=-1, required=True, metavar="[SPEC] WHAT")
def explain(words: tuple[str, ...]) -> int:
    """Explain a diagnostic code, a metric, a verdict or `status`; or anything in a SPEC and where it comes from.

    \b
    specforge explain SF203
    specforge explain peak_bandwidth_share
    specforge explain specs/qwen35_rtx5090.yaml                             an overview
    specforge explain specs/qwen35_rtx5090.yaml decode                      how a token's time divides
    specforge explain specs/qwen35_rtx5090.yaml '#1'                        a target
    specforge explain specs/qwen35_rtx5090.yaml model.kv_bytes_per_token    a value and its origin
    specforge explain specs/qwen35_rtx5090.yaml 'router_topk[tokens=1]'     a case, its tolerances
    specforge explain moe/router_topk                                       a kernel's tolerances
    """
    from specforge.report.explain import explain_in, explain_kernel, explain_word

    if words[0].endswith((".yaml", ".yml")):
        click.echo(explain_in(_load(Path(words[0])), " ".join(words[1:]) or None), nl=False)
    elif "/" in words[0]:
        click.echo(explain_kernel(words[0], " ".join(words[1:]) or None, Path.cwd()), nl=False)
    else:
        click.echo(explain_word(" ".join(words)), nl=False)
    return 0


@main.command()
@click.argument("spec", metavar="SPEC", type=click.Path(path_type=Path))
@click.argument("case", metavar="CASE")
def render(spec: Path, case: str) -> int:
    """Print the CUDA source of a case, as the compiler and the emulator see it. CASE is an id that `explain` lists."""
    from specforge.diagnostics import fail, suggest
    from specforge.kernel.render import render as render_source

    cases = {item.id: item for benchmark in _load(spec).benchmarks for item in benchmark.cases if item.kernel}
    if case not in cases:
        raise fail("SF801", f"no case {case!r} with a kernel in {spec}", value=case, hint=suggest(case, cases))
    chosen = cases[case]
    assert chosen.kernel is not None
    known = {**chosen.parameters, **chosen.tunables}
    click.echo(
        render_source(chosen.kernel, {name: known[name] for name in chosen.kernel.compile_names()}).text, nl=False
    )
    return 0


@main.command(epilog=STATUS_HELP)
@click.argument("record", metavar="RECORD", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="What goes to standard output.",
)
@click.option(
    "--publish",
    is_flag=True,
    help="Put a record made elsewhere under results/ and into the ledger; needs the record's own commit, clean.",
)
def judge(record: Path, form: str, publish: bool) -> int:
    """Judge a stored record again, without a GPU: against today's targets, after checking its digests and inputs."""
    from specforge.check.rejudge import rejudge

    return rejudge(record, form, _settings(), publish_it=publish)


@main.command(
    epilog="""\b
Exit status:
  2  bad command line, kernel or entry of equivalent_mutants
  1  a kernel's score is below what is due
  0  every score is at or above it
"""
)
@click.argument("kernels", nargs=-1, metavar="KERNEL...")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Try so many mutants only, drawn at random.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of the sample.")
@click.option("--operator", "operators", multiple=True, metavar="NAME", help="Only this operator's; may be repeated.")
@click.option("--line", "lines", multiple=True, type=click.IntRange(min=1), help="Only mutants of this template line.")
@click.option(
    "--at-least", type=click.FloatRange(0, 100), default=95.0, show_default=True, help="The score that is due, percent."
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
    at_least: float,
    table: Path | None,
    device: Path | None,
) -> int:
    """Change a kernel's template in one place at a time and see whether its check notices, on the CPU.

    KERNEL is an identity such as moe/router_topk, or a kernel's folder. What survives is a hole in the check, or
    equivalent and to be listed in kernel.yaml: `equivalent_mutants: [{mutant: ID, reason: "..."}]`. A run that was
    stopped goes on where it was.
    """
    from specforge.mutate.run import Choice, mutate

    if math.isnan(at_least):
        raise click.BadParameter("nan is no score", param_hint="--at-least")
    return mutate(kernels, Choice(sample, seed, operators, lines, at_least, table), device, _settings())


@main.command(
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
@click.option("--only", metavar="GLOB", help="Only benchmarks whose name or kernel matches, as with `check`.")
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
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of the search.")
@click.option(
    "--wait",
    type=click.FloatRange(0, 86_400),
    default=60.0,
    show_default=True,
    metavar="S",
    help="How long to wait for a card that others use.",
)
@click.option(
    "--lock-clocks",
    is_flag=False,
    flag_value="base",
    metavar="[MHZ|base]",
    help="Lock the card's SM clock while timing, as with `check`.  [default: clocks as found]",
)
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

    if math.isnan(wait):
        raise click.BadParameter("nan is no number", param_hint="--wait")
    options = Options(
        only=only,
        backend=parse_backend(backend),
        seed=seed,
        processes=processes,
        wait=wait,
        lock_clocks=None if lock_clocks is None else parse_clock(lock_clocks),
    )
    request = Request(metric, most)  # type: ignore[arg-type]  # click.Choice has checked it
    return tune_specs(specs, options, request, _settings())


@main.command()
@click.argument("kernels", nargs=-1, metavar="[KERNEL]...")
@click.option(
    "--examples",
    type=click.IntRange(1, 100_000),
    default=500,
    show_default=True,
    metavar="N",
    help="Cases per kernel.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Seed of the cases.")
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
            found = run_parity(Request(kernels, examples, seed, case), _settings(), live=sys.stderr.isatty())
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


@main.command()
@click.option("--restore-clocks", is_flag=True, help="Undo the clocks that a killed `check --lock-clocks` left locked.")
def doctor(*, restore_clocks: bool) -> int:
    """Say what this machine can do: compiler, NVRTC, driver, GPU, and the device file that the GPU matches."""
    from specforge import doctor

    findings = doctor.restore_clocks(_settings()) if restore_clocks else doctor.examine(_settings())
    for finding in findings:
        mark = {True: "ok  ", False: "FAIL", None: "-   "}[finding.works]
        click.echo(f"{mark} {finding.subject}: {finding.detail}")
    return 4 if any(finding.works is False for finding in findings) else 0


@main.command()
@click.argument(
    "kind",
    required=False,
    metavar="[KIND]",
    type=click.Choice(("spec", "workload", "device", "model", "kernel", "record")),
)
@click.option("--write", type=click.Path(path_type=Path, file_okay=False), help="Write all schemas into this folder.")
def schema(kind: str | None, write: Path | None) -> int:
    """Print the JSON Schema of one KIND of file, or write them all."""
    from specforge.schemas import schema_text, write_schemas

    if (kind is None) == (write is None):
        raise click.UsageError("give a KIND to print, or --write FOLDER")
    if write is not None:
        try:
            changed = write_schemas(write)
        except OSError as error:
            raise click.UsageError(f"cannot write into {write}: {error.strerror or error}") from None
        for path in changed:
            click.echo(f"wrote {path}")
    else:
        assert kind is not None
        click.echo(schema_text(kind), nl=False)
    return 0


def _load(path: Path) -> Spec:
    from specforge.spec.load import load_spec

    return load_spec(path)


def _settings() -> Settings:
    from specforge.settings import read_settings

    try:
        return read_settings()
    except ValueError as error:
        raise click.UsageError(str(error)) from None
