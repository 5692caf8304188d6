"""Choosing where kernels run: a card that matches the spec, else the card that is there, else the emulator."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from specforge.diagnostics import SpecForgeError, fail
from specforge.roots import home
from specforge.spec.facts import Device, load_device
from specforge.spec.load import Spec
from specforge.spec.tuning import Tunings, load_tunings

if TYPE_CHECKING:
    from specforge.backend.probe import LiveCard


@dataclass(frozen=True, slots=True)
class Choice:
    """`runner` is what a Worker takes: `emulator` or `cuda:N`; `device` the card that runs, where a file knows it."""

    runner: str
    card: LiveCard | None
    device: Device | None
    matches: bool
    """Whether the card that runs is the spec's own."""
    absent: str
    """Why nothing can be measured here; empty where something can."""
    tunings: Tunings = field(default_factory=Tunings)
    """For the card that runs; on the emulator, for the spec's own."""

    @property
    def name(self) -> str:
        """As the record names it: `emulator`, or `cuda:0` and the card's name."""
        return f"{self.runner} {self.card.name}" if self.card else self.runner


def choose(requested: str, spec: Spec) -> Choice:
    """Follow `--backend`; raises SF702 where the card that was named is not there."""
    from specforge.backend.probe import probe

    if requested == "emulator":
        return _emulator("the emulator was asked for, and it measures nothing", spec)
    found = probe()
    if requested.startswith("cuda:"):
        index = int(requested[5:])
        card = next((card for card in found.cards if card.index == index), None)
        if card is None:
            there = ", ".join(f"cuda:{card.index} ({card.name})" for card in found.cards) or f"none ({found.reason})"
            raise fail(
                "SF702",
                f"no card {index} on this machine",
                value=requested,
                hint=f"cards here: {there}; or use --backend emulator",
            )
        return _on_card(card, spec)
    if not found.cards:
        return _emulator(f"no card on this machine ({found.reason})", spec)
    own = [card for card in found.cards if card.name in spec.device.file.match.names]
    return _on_card((own or list(found.cards))[0], spec)


def _emulator(absent: str, spec: Spec) -> Choice:
    return Choice("emulator", None, None, False, absent, spec.tunings)


def _on_card(card: LiveCard, spec: Spec) -> Choice:
    matches = _fits(spec.device, card)
    device = spec.device if matches else match_device(card, spec.roots)
    tunings = spec.tunings
    if not matches:
        kernels = [benchmark.kernel for benchmark in spec.benchmarks if benchmark.kernel is not None]
        tunings = Tunings() if device is None else load_tunings(home(spec.path), device.file.device, kernels)
    return Choice(f"cuda:{card.index}", card, device, matches, "", tunings)


def _fits(device: Device, card: LiveCard) -> bool:
    return card.name in device.file.match.names and card.compute_capability == device.file.match.compute_capability


def match_device(card: LiveCard, roots: tuple[Path, ...]) -> Device | None:
    """The first device file under any root that recognises this card; files that cannot be read recognise none."""
    for root in roots:
        for path in sorted((root / "specs" / "devices").glob("*.yaml")):
            try:
                device = load_device(path)
            except SpecForgeError:
                continue
            if _fits(device, card):
                return device
    return None


def live_architecture(choice: Choice, spec: Spec) -> str:
    """What to compile for: the device file's architecture, or the plain one of the card's compute capability."""
    if choice.device is not None:
        return choice.device.architecture
    if choice.card is not None:
        return "sm_" + choice.card.compute_capability.replace(".", "")
    return spec.device.architecture
