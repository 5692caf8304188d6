"""The command line: each command parses, calls one function, prints, and ends with a documented status."""

from __future__ import annotations

import click

from specforge import __version__
from specforge.cli.check import check
from specforge.cli.group import Group
from specforge.cli.kernels import mutate, parity, tune
from specforge.cli.specs import bounds, doctor, explain, judge, list_, render, schema


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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


for command in (bounds, check, doctor, explain, judge, list_, mutate, parity, render, schema, tune):
    main.add_command(command)
