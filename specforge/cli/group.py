"""How a command ends: what a user can cause becomes diagnostics and a status; so do Ctrl-C and a closed pipe."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Any, NoReturn

import click

from specforge.cli.interrupt import heard


class Group(click.Group):
    """Turns every error that a user can cause into diagnostics and status 2; Ctrl-C into 130 without a traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - click's signature
        """Run a command and exit with its status."""
        kwargs["standalone_mode"] = False
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # as standard error does, whatever the locale
        try:
            with heard():
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
