"""The two builds of a kernel, on both sides: as it is shipped, and so that both sides compute the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from specforge.check.prepare import Progress, build_hosts, build_variants
from specforge.check.variants import Variant
from specforge.diagnostics import fail
from specforge.kernel.render import Rendered
from specforge.settings import Settings

Name = Literal["ordinary", "parity"]
OLDEST = 80
"""The first compute capability whose tensor cores emulator_parity.h knows."""


@dataclass(frozen=True, slots=True)
class Build:
    """Flags beside the usual ones: NVRTC's for the card, and the host compiler's for the emulator."""

    name: Name
    card: tuple[str, ...] = ()
    emulator: tuple[str, ...] = ()


def builds(capability: str) -> tuple[Build, Build]:
    """Both builds for a card of this compute capability, such as `9.0`. Raises SF701 for one that is not modelled.

    In the parity build nothing is fused into multiply-adds (the emulator never does), elementary functions are those of
    parity.cuh on both sides, and the emulator's tensor cores are exact.
    """
    number = int(capability.replace(".", ""))
    if number < OLDEST:
        raise fail(
            "SF701",
            f"how tensor cores of compute capability {capability} add is not known here",
            hint=f"a card of {OLDEST // 10}.{OLDEST % 10} or later is needed",
        )
    define = f"-DSPECFORGE_PARITY={number}"
    return Build("ordinary"), Build("parity", ("--fmad=false", define), (define,))


def build_hosts_of(
    rendered: Mapping[Variant, Rendered], pair: tuple[Build, ...], settings: Settings, progress: Progress
) -> dict[Name, dict[Variant, Path]]:
    """Shared libraries for the emulator, by build and variant."""
    return {build.name: build_hosts(rendered, settings, progress, options=build.emulator) for build in pair}


def build_cubins_of(
    rendered: Mapping[Variant, Rendered],
    pair: tuple[Build, ...],
    architecture: str,
    settings: Settings,
    progress: Progress,
) -> dict[Name, dict[Variant, Path]]:
    """Cubins for the card, by build and variant."""
    return {
        build.name: {
            variant: binary.cubin
            for variant, binary in build_variants(rendered, architecture, settings, progress, flags=build.card).items()
        }
        for build in pair
    }
