"""What the commands here share: options, the card, a folder for what is built, and where results go."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measurement import result
from benchmarks.measurement.subject import ROOTS, Ready, Subject, build
from specforge.check.backends import match_device
from specforge.expressions import Scalar
from specforge.settings import Settings, read_settings


@dataclass(frozen=True, slots=True)
class Session:
    """One run of a benchmark on this machine's first card."""

    settings: Settings
    state: Path
    results: Path
    architecture: str
    l2_bytes: int
    facts: Mapping[str, Scalar]
    """By name, what the card's device file says; empty where no file knows it."""

    @property
    def bandwidth(self) -> float | None:
        """Bytes a second; None where no file knows it."""
        peak = self.facts.get("device.memory_bandwidth")
        return None if peak is None else float(peak)

    def build(self, subjects: Iterable[Subject]) -> list[Ready]:
        """Compile subjects for the card."""
        return build(subjects, self.architecture, self.state, self.facts, self.bandwidth)

    def write(self, name: str, data: dict[str, Any]) -> None:
        """Write the result with its header."""
        result.write(self.results, name, {**result.header(self.settings), **data})


def open_session(
    description: str | None, arguments: list[str] | None, *, quick: bool = False, seed: bool = False
) -> tuple[Session, argparse.Namespace]:
    """Parse the command line and find the card; ends the program with a sentence where there is none."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--results", type=Path, default=result.RESULTS, help="folder for the JSON (results/measurement)"
    )
    parser.add_argument("--state", type=Path, help="folder for what is built (default: a temporary one)")
    if quick:
        parser.add_argument("--quick", action="store_true", help="a few subjects only")
    if seed:
        parser.add_argument("--seed", type=int, default=0, help="of what is drawn at random (default 0)")
    options = parser.parse_args(arguments)
    try:
        card = result.live_card()
    except RuntimeError as error:
        parser.exit(4, f"{parser.prog}: {error}; this benchmark needs one\n")
    state = options.state or Path(tempfile.mkdtemp(prefix="specforge-measurement-"))
    device = match_device(card, ROOTS)
    facts = {} if device is None else device.names
    session = Session(read_settings(), state, options.results, result.architecture(card), l2_size(), facts)
    return session, options


def l2_size() -> int:
    """The card's L2 in bytes, asked in a process of its own: this one never starts CUDA."""
    from benchmarks.measurement.engine import RUNNER, TIMEOUT, l2_bytes
    from specforge.backend.worker import Worker

    with Worker(RUNNER) as worker:
        return worker.call(l2_bytes, None, timeout=TIMEOUT)
