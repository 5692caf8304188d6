"""Compiling mutants for the emulator: plain, which is cheap and tells code apart, and as `check` does."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from specforge.backend.emulator.compiler import HostCompilerMissing, find_host_compiler
from specforge.backend.emulator.sanitize import Sanitize, kernel_flags
from specforge.check.options import Options
from specforge.check.prepare import build_hosts
from specforge.check.variants import Variant
from specforge.kernel.build import build_cubin
from specforge.kernel.cache import Cache
from specforge.kernel.render import Rendered
from specforge.settings import Settings
from specforge.spec.interface import Kernel

Way = Literal["plain", "bare", "checked"]
"""How a mutant is built: unsanitized; the same with whatever locals hold that nothing has set; as `check` does."""
CHECKED: Sanitize = Options().sanitize
"""How `check` builds by default."""


@dataclass(frozen=True, slots=True)
class Build:
    """Compiles rendered kernels; what a mutant needs is taken out of the cache, which would grow by it for good."""

    settings: Settings
    architecture: str
    """Of the card that `check` compiles for as well."""
    fills: tuple[str, ...] = ()
    """What makes a local that nothing has set hold in a plain build what it holds in `check`'s, and not something else
    by chance: there nothing else tells of it. (`check`'s builds have the option already.)"""

    @property
    def folder(self) -> Path:
        """Where mutants have their own folders, on the file system of the cache."""
        return self.settings.state / "mutate"

    def library(self, kernel: Kernel, rendered: Rendered, way: Way) -> Path:
        """The library in the cache; raises SF506 where the compiler refuses."""
        settings = replace(self.settings, state=self.folder, jobs=1)
        variant = Variant(kernel, ())
        options = self.fills if way == "plain" else ()
        sanitize: Sanitize = CHECKED if way == "checked" else "off"
        built = build_hosts({variant: rendered}, settings, _tell_nobody, options=options, sanitize=sanitize)
        return built[variant]

    def cubin(self, kernel: Kernel, rendered: Rendered) -> str:
        """Compile as `check` does for the card; a digest of the code.

        Raises SF506 where NVRTC refuses, as for too much shared memory.
        """
        return build_cubin(rendered, kernel, self.architecture, Cache(self.folder / "cubins")).cubin_sha256

    def own_library(self, kernel: Kernel, rendered: Rendered, way: Way) -> Path:
        """The same, moved into the kernel's folder, which is a mutant's own."""
        while True:
            library = self.library(kernel, rendered, way)
            own = kernel.folder / library.name
            try:
                with contextlib.suppress(FileExistsError):  # two variants that render to the same text
                    os.link(library, own)
            except FileNotFoundError:  # another run took the same one
                continue
            library.unlink(missing_ok=True)
            return own


def _tell_nobody(_done: int, _total: int | None) -> None:
    """Compiling one library is no progress worth a line."""


def code_of(library: Path) -> str:
    """A digest of an unsanitized library's code. Such a library holds no path, no time and no column of the source."""
    return hashlib.sha256(library.read_bytes()).hexdigest()


def size_of(library: Path) -> int:
    """How much a library says: sections are padded to whole pages, and other measures need an ELF reader."""
    return len(zlib.compress(library.read_bytes()))


def build_with(settings: Settings, architecture: str) -> Build:
    """With the host compiler's options; raises SF701 later, where there is none."""
    try:
        flags = kernel_flags(CHECKED, find_host_compiler(settings.cxx))
    except HostCompilerMissing:
        flags = []
    return Build(settings, architecture, tuple(flag for flag in flags if flag.startswith("-ftrivial-auto-var-init")))
