"""Compiling mutants for the emulator: as `check` does, and once more without the sanitizer where code is compared."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from specforge.backend.emulator.sanitize import Sanitize
from specforge.check.options import Options
from specforge.check.prepare import build_hosts
from specforge.check.variants import Variant
from specforge.kernel.render import Rendered
from specforge.settings import Settings
from specforge.spec.interface import Kernel


@dataclass(frozen=True, slots=True)
class Build:
    """Compiles rendered kernels; what a mutant needs is taken out of the cache, which would grow by it for good."""

    settings: Settings

    @property
    def folder(self) -> Path:
        """Where mutants have their own folders, on the file system of the cache."""
        return self.settings.state / "mutate"

    def library(self, kernel: Kernel, rendered: Rendered) -> Path:
        """The library that is run, as `check` builds it by default; raises SF506 where the compiler refuses."""
        return self._compile(kernel, rendered, Options().sanitize)

    def own_library(self, kernel: Kernel, rendered: Rendered) -> Path:
        """The same, moved into the kernel's folder, which is a mutant's own."""
        return self._take(kernel, rendered, Options().sanitize, kernel.folder)

    def code(self, kernel: Kernel, rendered: Rendered) -> str:
        """A digest of the code. The library that it is of holds no path, no time and no column of the source."""
        with tempfile.TemporaryDirectory(prefix="code-", dir=self.folder) as folder:
            library = self._take(kernel, rendered, "off", Path(folder))
            return hashlib.sha256(library.read_bytes()).hexdigest()

    def _take(self, kernel: Kernel, rendered: Rendered, sanitize: Sanitize, folder: Path) -> Path:
        while True:
            library = self._compile(kernel, rendered, sanitize)
            try:
                os.link(library, folder / library.name)
            except FileNotFoundError:  # another run took the same one
                continue
            library.unlink(missing_ok=True)
            return folder / library.name

    def _compile(self, kernel: Kernel, rendered: Rendered, sanitize: Sanitize) -> Path:
        settings = replace(self.settings, state=self.folder, jobs=1)
        variant = Variant(kernel, ())
        return build_hosts({variant: rendered}, settings, lambda _done, _total: None, sanitize=sanitize)[variant]
