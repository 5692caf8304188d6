"""What several commands share: choices, the list of exit statuses, the environment read once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from specforge.settings import Settings

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


class Number(click.FloatRange):
    """A number within a range. click lets nan pass, which is in no range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401
        """Refuse what is no number."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail("nan is no number", param, ctx)
        return number


seed = click.option(
    "--seed",
    metavar="N",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Seed of everything that is drawn.",
)


def _one(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> str | None:
    if len(values) > 1:
        raise click.BadParameter("given more than once; one GLOB may match several, such as 'gemv_*'", ctx, param)
    return values[0] if values else None


only = click.option(
    "--only",
    multiple=True,
    callback=_one,
    metavar="GLOB",
    help="Only benchmarks whose name or kernel matches, such as 'flash_decode' or 'moe/*'.",
)
wait = click.option(
    "--wait",
    type=Number(0, 86_400),
    default=60.0,
    show_default=True,
    metavar="S",
    help="How long to wait for a card that others use; what is not measured then is undecided.",
)
lock_clocks = click.option(
    "--lock-clocks",
    is_flag=False,
    flag_value="base",
    metavar="[MHZ|base]",
    help="Lock the card's SM clock while measuring (base: what it holds at its power limit), check that it holds, and "
    "undo it; needs administrator's rights.  [default: clocks as found]",
)
form = click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="What goes to standard output.",
)


def settings() -> Settings:
    """The environment, read; a variable that makes no sense ends the command with status 2."""
    from specforge.settings import read_settings

    try:
        return read_settings()
    except ValueError as error:
        raise click.UsageError(str(error)) from None
