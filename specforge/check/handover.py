"""Which process has the card: the next one takes it where the one before is done, and says why where it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from specforge.backend.lock import CardBusy
from specforge.backend.runner import KernelFault, Runner
from specforge.backend.worker import START_TIMEOUT, TaskFailed, Worker, WorkerCrashed, WorkerTimeout
from specforge.check.card import TakenCard
from specforge.check.context import Context
from specforge.diagnostics import SpecForgeError
from specforge.verify.crash import describe_crash


class Trouble(Exception):
    """The machine, not the kernel, kept a case from being measured."""


class CardGone(Trouble):
    """No process can use the card any more: every case that is left shares this trouble."""


def greet(worker: Worker, card: TakenCard, context: Context, wait: float | None = None) -> None:
    """Start a process where none is, once nobody else uses the card.

    Raises CardBusy where others do after `wait` seconds, or as long as was asked for (`--wait`), and CardGone where two
    processes in a row cannot use the card.
    """
    if worker.is_ready:
        return
    card.wait_for_others(context, wait)
    reason = ""
    for _ in (1, 2):
        try:
            worker.call(_name, None, timeout=START_TIMEOUT)
        except SpecForgeError as error:
            reason = error.diagnostics[0].message
        except (TaskFailed, KernelFault, WorkerTimeout, WorkerCrashed) as error:
            reason = said(error)
        else:
            return
    raise CardGone(f"the card cannot be used any more: {reason}")


@contextmanager
def relieved(old: Worker, new: Worker | None, card: TakenCard, context: Context) -> Iterator[None]:
    """End a process during the block, which times nothing, and have the next one, if any, take a card that is free.

    Where it is not, or cannot be used, whoever needs it after the block waits, and says so.
    """

    def relieve() -> None:
        old.close()
        if new is not None:
            with suppress(CardBusy, CardGone):
                greet(new, card, context, wait=0)

    with ThreadPoolExecutor(1) as beside:
        done = beside.submit(relieve)
        try:
            yield
        except BaseException:
            if new is not None:
                new.close()
            raise
    done.result()


def said(error: Exception) -> str:
    """Why a process has no result, in words."""
    if isinstance(error, WorkerCrashed):
        return describe_crash(error.reason, error.output)
    return error.summary if isinstance(error, TaskFailed) else str(error)


def _name(runner: Runner, _: None) -> str:
    return runner.name
