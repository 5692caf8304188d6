"""Locking a card's SM clock: only when asked for, read back, and undone on every way out."""

from __future__ import annotations

import atexit
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from specforge.backend.lock import card_file
from specforge.backend.probe import NvmlUnavailable, ask, nvml
from specforge.backend.telemetry import Telemetry
from specforge.diagnostics import fail

AS_FOUND = "as found"
"""The clocks policy of a run that locks nothing."""
BASE = "base"
"""The clock that the card can hold at its power limit, whatever runs: the one to lock where no other is known."""

_TDP = 0xFFFFFF01  # nvml.h: NVML_CLOCK_LIMIT_ID_TDP
_STEP = 15e6
"""Hertz between neighbouring clocks of a card, at most; a locked clock that reads further off is not held."""
_ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals that end a process without unwinding it; Ctrl-C unwinds."""


@dataclass(frozen=True, slots=True)
class Lock:
    """An SM clock that was asked for and accepted; `hertz` is None where the card chooses (BASE)."""

    hertz: float | None

    def fault(self, loaded: Sequence[Telemetry]) -> str | None:
        """Why the lock cannot be vouched for, from readings of the card under load; None where all agree with it."""
        clocks = [reading.sm_clock for reading in loaded if reading.sm_clock is not None]
        if not clocks:
            return "the SM clock was locked, but the card does not tell it"
        held = median(clocks) if self.hertz is None else self.hertz
        worst = max(clocks, key=lambda clock: abs(clock - held))
        if abs(worst - held) <= _STEP:
            return None
        return f"the SM clock was locked to {held / 1e6:.0f} MHz and read {worst / 1e6:.0f} MHz under load"

    def policy(self, loaded: Sequence[Telemetry]) -> str:
        """The clocks policy as a record states it, from readings of the card under load."""
        fault = self.fault(loaded)
        if fault is not None:
            return f"not held: {fault}"
        held = median(reading.sm_clock for reading in loaded if reading.sm_clock is not None)
        return f"locked to {held / 1e6:.0f} MHz (verified)"


@contextmanager
def locked_clocks(locks: Path, uuid: str, asked: str | None) -> Iterator[Lock | None]:
    """Lock the SM clock for the length of a block, by a run that holds the card; None asks for nothing.

    `asked` is megahertz as text, or BASE. Undone at the block's end, at the interpreter's, and at SIGTERM and SIGHUP;
    after SIGKILL by `restore_left_over`, from the file in `locks` that says so. NVML cannot tell an earlier lock, so
    undoing one returns to the driver's own clocks. Raises SF704 where the card or the user's rights do not allow it,
    and where it could not be undone.
    """
    if asked is None:
        yield None
        return
    note = card_file(locks, uuid, "clocks")
    with ExitStack() as stack:
        try:
            library = stack.enter_context(nvml())
            handle = library.nvmlDeviceGetHandleByUUID(uuid)
            clock, hertz = _chosen(library, handle, asked)
        except NvmlUnavailable as error:
            raise fail("SF704", f"clocks cannot be locked: {error}", value=asked, hint=_WITHOUT) from None
        except library.NVMLError as error:
            raise fail("SF704", f"clocks cannot be locked: {error}", value=asked, hint=_WITHOUT) from None
        stack.enter_context(_unwinding())
        with _undisturbed():
            _write(note, asked)
            try:
                library.nvmlDeviceSetGpuLockedClocks(handle, clock, clock)
            except library.NVMLError as error:
                note.unlink()
                raise fail("SF704", f"the driver refuses to lock clocks: {error}", value=asked, hint=_RIGHTS) from None
            stack.enter_context(_undone(_resetter(library, handle, note)))
        yield Lock(hertz)


def restore_left_over(locks: Path, uuid: str) -> str | None:
    """Undo a lock that a killed run left behind, by a run that holds the card; what was done, or None.

    Raises SF704 where that is not possible now: nothing may be measured as found on clocks that were not.
    """
    note = card_file(locks, uuid, "clocks")
    left = left_over(locks, uuid)
    if left is None:
        return None
    try:
        with nvml() as library:
            _resetter(library, library.nvmlDeviceGetHandleByUUID(uuid), note)()
    except NvmlUnavailable as error:
        raise fail("SF704", f"{left}; they cannot be restored: {error}", value=str(note), hint=_BY_HAND) from None
    return f"{left}; they were restored"


def left_over(locks: Path, uuid: str) -> str | None:
    """What a run wrote that locked clocks and did not undo it, or is still at it; None where there is none."""
    try:
        said = json.loads(card_file(locks, uuid, "clocks").read_text())
        return f"clocks were locked ({said['asked']}) by process {said['process']} since {said['since']}"
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return "clocks were locked by a run that was cut short"


def may_lock() -> str:
    """Whether this user may lock clocks, as far as can be told without trying it."""
    if os.geteuid() == 0:
        return "may be possible (--lock-clocks; root in a container may lack the right)"
    return "not possible (it takes administrator's rights); cards are measured with clocks as found"


def parse_clock(text: str) -> str:
    """Check the argument of `--lock-clocks`; raises SF801."""
    if text == BASE or (text.isascii() and text.isdecimal() and 100 <= int(text) <= 10_000):
        return text
    raise fail("SF801", "--lock-clocks is a clock in MHz, or base", value=text, hint="such as --lock-clocks=1500")


_WITHOUT = "without --lock-clocks the card is measured as found"
_RIGHTS = f"it takes administrator's rights; {_WITHOUT}"
_BY_HAND = "one with administrator's rights runs `nvidia-smi -rgc` and removes this file"


def _chosen(library: Any, handle: Any, asked: str) -> tuple[int, float | None]:  # noqa: ANN401 -- pynvml and its handle
    """What to give the driver, and the hertz to expect; raises SF704 for a clock that the card does not have."""
    if asked == BASE:
        return _TDP, None
    wanted = int(asked)
    memory = ask(library, "nvmlDeviceGetSupportedMemoryClocks", handle)
    known = ask(library, "nvmlDeviceGetSupportedGraphicsClocks", handle, max(memory)) if memory else None
    if known and wanted not in known:
        near = sorted(sorted(known, key=lambda clock: abs(clock - wanted))[:3])
        hint = f"near it are {', '.join(map(str, near))}; it has {min(known)} to {max(known)}"
        raise fail("SF704", "the card has no such SM clock", value=f"{wanted} MHz", hint=hint)
    return wanted, wanted * 1e6


def _write(note: Path, asked: str) -> None:
    said = {"asked": asked, "process": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z")}
    with note.open("w") as file:
        json.dump(said, file)
        file.flush()
        os.fsync(file.fileno())  # before the clocks change: a crash of the machine must not forget them


def _resetter(library: Any, handle: Any, note: Path) -> Callable[[], None]:  # noqa: ANN401 -- pynvml and its handle
    def reset() -> None:
        library.nvmlDeviceResetGpuLockedClocks(handle)
        note.unlink(missing_ok=True)  # only now: where the reset fails, the next run tries again

    return reset


@contextmanager
def _undone(reset: Callable[[], None]) -> Iterator[None]:
    """Reset once, at the end of the block or of the interpreter, whichever comes first."""
    atexit.register(reset)
    try:
        yield
    finally:
        atexit.unregister(reset)
        with _undisturbed():
            try:
                reset()
            except Exception as error:
                message = f"the clocks stay locked, as the driver refuses to restore them: {error}"
                raise fail("SF704", message, hint="specforge doctor --restore-clocks") from error


@contextmanager
def _unwinding() -> Iterator[None]:
    """Let signals that would end this process at once unwind it first; only the main thread may ask for that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def unwind(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    heeded = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]  # as under nohup
    before = {number: signal.signal(number, unwind) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold signals back for a moment, a second Ctrl-C among them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_ENDING, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
