"""What this machine can do: compilers, headers, driver, card, and which device file the card matches."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from specforge.diagnostics import SpecForgeError
from specforge.roots import search_roots
from specforge.settings import Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at; `works` is None where its absence only means less can be done."""

    subject: str
    works: bool | None
    detail: str


def examine(settings: Settings) -> list[Finding]:
    """Look at everything that some step needs; nothing is changed and no kernel runs."""
    return [*_software(settings), *_ledger(), *_cards()]


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


def _cards() -> Iterator[Finding]:
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
