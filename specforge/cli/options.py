"""What several commands share: choices, the list of exit statuses, the environment read once."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def settings() -> Settings:
    """The environment, read; a variable that makes no sense ends the command with status 2."""
    from specforge.settings import read_settings

    try:
        return read_settings()
    except ValueError as error:
        raise click.UsageError(str(error)) from None
