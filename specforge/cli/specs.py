"""What is asked of specs, records and this machine: list, explain, render, judge, bounds, doctor, schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from specforge.cli import options as shared

if TYPE_CHECKING:
    from specforge.spec.load import Spec


@click.command(name="list")
def list_() -> int:
    """List the specs and kernels at hand: this repository's own, then the shipped ones."""
    from specforge.listing import listing

    click.echo(listing(Path.cwd()), nl=False)
    return 0


@click.command()
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


@click.command()
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


@click.command(epilog=shared.STATUS_HELP)
@click.argument("record", metavar="RECORD", type=click.Path(path_type=Path))
@shared.form
@click.option(
    "--publish",
    is_flag=True,
    help="Put a record made elsewhere under results/ and into the ledger; needs the record's own commit, clean.",
)
def judge(record: Path, form: str, publish: bool) -> int:
    """Judge a stored record again, without a GPU: against today's targets, after checking its digests and inputs."""
    from specforge.check.rejudge import rejudge

    return rejudge(record, form, shared.settings(), publish_it=publish)


@click.command()
@click.argument("record", metavar="RECORD", type=click.Path(path_type=Path))
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="Only this metric; may be repeated. A speedup is bounded over each peer that was measured.  "
    "[default: amortised_latency, overlapped_latency, latency]",
)
def bounds(record: Path, metrics: tuple[str, ...]) -> int:
    """Print target lines that hold what a RECORD reached, to be put into its spec: the ratchet after an improvement.

    One line for each case and metric. The bound is the measured median, moved to the bad side by 3 % or by twice the
    width of its interval of 95 %, whichever is more, and rounded outward: noise does not turn it red, a loss does. What
    was measured in one process only has no such interval, and gets no line.

    Behind each line stands how it compares with the spec's own bound: tighter, looser, unchanged or new. Take the
    tighter and the new ones. A looser one means that the run was noisier or the kernel slower than the bound allows
    for; a bound that holds stays. A goal that is a `known_miss` stays beside them.

    \b
    specforge bounds results/h100_sxm/qwen35_h100/2026-11-22-637acee50187.json
    specforge bounds RECORD --metric amortised_speedup --metric achievable_bandwidth_share

    \b
    Exit status:
      2  bad command line; no record, one of another card than its spec's, or nothing in it to bound
      0  lines were printed
    """
    from specforge.report.bounds import bounds as lines

    click.echo(lines(record, metrics), nl=False)
    return 0


@click.command()
@click.option("--restore-clocks", is_flag=True, help="Undo the clocks that a killed `check --lock-clocks` left locked.")
def doctor(*, restore_clocks: bool) -> int:
    """Say what this machine can do: compiler, NVRTC, driver, GPU, and the device file that the GPU matches."""
    from specforge import doctor

    findings = doctor.restore_clocks(shared.settings()) if restore_clocks else doctor.examine(shared.settings())
    for finding in findings:
        mark = {True: "ok  ", False: "FAIL", None: "-   "}[finding.works]
        click.echo(f"{mark} {finding.subject}: {finding.detail}")
    return 4 if any(finding.works is False for finding in findings) else 0


@click.command()
@click.argument(
    "kind",
    required=False,
    metavar="[KIND]",
    type=click.Choice(("spec", "workload", "device", "model", "kernel", "tuning", "record")),
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
