"""What this machine can do: compilers, headers, driver, card, and which device file the card matches."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from specforge.diagnostics import SpecForgeError
from specforge.roots import search_roots
from specforge.settings import Settings

if TYPE_CHECKING:
    from specforge.backend.probe import LiveCard


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `works` is None where its absence only means less can be done."""

    subject: str
    works: bool | None
    detail: str


def examine(settings: Settings) -> list[Finding]:
    """Look at everything that some step needs; nothing is changed and no kernel runs."""
    return [*_software(settings), *_ledger(), *_cards(settings)]


def _ledger() -> Iterator[Finding]:
    from specforge.record.ledger import verify_ledger

    ledger = Path("results") / "ledger.jsonl"
    if ledger.is_file():
        faults = verify_ledger(ledger)
        detail = (
            "; ".join(fault.message for fault in faults[:3]) or "every record it names is whole, and none is missing"
        )
        yield Finding(f"ledger {ledger}", not faults, detail)


def _software(settings: Settings) -> Iterator[Finding]:
    yield Finding("Python", True, f"{platform.python_version()} on {platform.platform()}")
    yield _host_compiler(settings)
    yield _nvrtc()
    yield Finding("parallel jobs", True, f"{settings.jobs} (SPECFORGE_JOBS)")
    yield Finding("state folder", True, f"{settings.state.absolute()} (SPECFORGE_STATE)")


def _host_compiler(settings: Settings) -> Finding:
    from specforge.backend.emulator.compiler import HostCompilerMissing, find_host_compiler

    try:
        compiler = find_host_compiler(settings.cxx)
    except HostCompilerMissing as error:
        return Finding("host C++ compiler", False, str(error))
    return Finding(
        "host C++ compiler",
        True,
        f"{compiler.version.splitlines()[0]} at {compiler.path}: the CPU emulator can run kernels",
    )


def _nvrtc() -> Finding:
    from specforge.kernel.nvrtc import compiler_name, load_toolchain

    try:
        toolchain = load_toolchain()
    except SpecForgeError as error:
        return Finding("NVRTC and headers", False, error.diagnostics[0].message)
    newest = ", ".join(f"sm_{number}" for number in sorted(toolchain.architectures)[-4:])
    return Finding(
        "NVRTC and headers", True, f"{compiler_name()}, headers in {toolchain.include_dirs[0]}: compiles up to {newest}"
    )


def _cards(settings: Settings) -> Iterator[Finding]:
    from specforge.backend.probe import probe
    from specforge.check.backends import match_device

    found = probe()
    if not found.cards:
        yield Finding("GPU", None, f"none ({found.reason}): nothing can be measured here; everything else works")
    for card in found.cards:
        device = match_device(card, search_roots(Path.cwd() / "specs"))
        matched = f"matches {device.document.path}" if device else "matches no device file: portable shares need one"
        yield Finding(
            f"GPU {card.index}",
            True,
            f"{card.name}, compute capability {card.compute_capability}, driver {card.driver}; {matched}",
        )
        yield _state(card)
        yield _clocks(card, settings)


def _state(card: LiveCard) -> Finding:
    """What would disturb a measurement on this card now; it works where nothing does."""
    from specforge.backend.telemetry import CardWatch

    with CardWatch(card.uuid) as watch:
        now = watch.read()
    subject = f"GPU {card.index} now"
    if now.reason is not None:
        return Finding(subject, None, f"not known: {now.reason}")
    said = [f"slowed by {', '.join(now.throttled)}" if now.throttled else "not slowed"]
    said += [f"used by processes {', '.join(map(str, now.foreign_processes))}"] if now.foreign_processes else []
    said += [f"busy {now.utilisation:.0%} of the time"] if now.utilisation else []
    said += [] if now.power is None else [f"{now.power:.0f} W"]
    said += [] if now.temperature is None else [f"{now.temperature:.0f} degrees"]
    said += [f"{now.ecc_uncorrected} uncorrected memory errors"] if now.ecc_uncorrected else []
    said += [] if card.persistence is None else [f"persistence mode {'on' if card.persistence else 'off'}"]
    unknown = [name for name in ("throttled", "foreign_processes", "energy", "ecc_uncorrected") if name in now.missing]
    said += [f"not told: {', '.join(unknown)}"] if unknown else []
    return Finding(subject, None if now.throttled or now.foreign_processes else True, "; ".join(said))


def _clocks(card: LiveCard, settings: Settings) -> Finding:
    from specforge.backend.clocks import left_over, may_lock

    subject = f"GPU {card.index} clocks"
    try:
        left = left_over(settings.locks, card.uuid)
    except SpecForgeError as error:
        return Finding(subject, False, str(error.diagnostics[0]))
    if left is not None:
        return Finding(subject, None, f"{left}; unless it still runs, `specforge doctor --restore-clocks` undoes it")
    return Finding(subject, None, f"locking is {may_lock()}")


def restore_clocks(settings: Settings) -> list[Finding]:
    """Undo the locks that killed runs left on any card; a card that a run holds now is left alone."""
    from specforge.backend.clocks import restore_left_over
    from specforge.backend.lock import CardBusy, hold_card
    from specforge.backend.probe import probe

    found = []
    for card in probe().cards:
        subject = f"GPU {card.index} clocks"
        try:
            with hold_card(settings.locks, card.uuid, wait=0, purpose="specforge doctor"):
                detail = restore_left_over(settings.locks, card.uuid) or "no run left them locked"
            found.append(Finding(subject, True, detail))
        except CardBusy as busy:
            found.append(Finding(subject, False, str(busy)))
        except SpecForgeError as error:
            found.append(Finding(subject, False, str(error.diagnostics[0])))
    return found
