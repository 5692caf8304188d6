"""What a comparison found, as JSON that a stranger can check against the kernel's files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from specforge.diagnostics import Position, SpecForgeError, fail
from specforge.kernel.comments import said_sha256
from specforge.parity.builds import Name
from specforge.record.entry import Entry
from specforge.roots import search_roots
from specforge.spec.document import read_text
from specforge.spec.headers import local_headers
from specforge.spec.interface import Kernel, find_kernel

VERSION = 1


class OutputSummary(Entry):
    """One output over all cases of a build."""

    elements: int
    unequal: int
    """Elements whose bits differ."""
    ulps: int
    """The most representable numbers between the two sides, in any element."""


class BuildSummary(Entry):
    """All cases of one build."""

    card_flags: list[str]
    """NVRTC's, beside the usual ones and the architecture."""
    emulator_flags: list[str]
    """The host compiler's, beside the usual ones."""
    agreed: int
    """Cases in which both sides agree as this build must."""
    outputs: dict[str, OutputSummary]
    card_ratio: float
    """The card's largest error against the float64 reference, as a share of the tolerance."""
    emulator_ratio: float


class Disagreement(Entry):
    """One case that failed, with the row that runs it again."""

    build: Name
    row: str
    failure: str


class ParityResult(Entry):
    """One kernel on one card and on the emulator."""

    parity_version: int
    kernel: str
    created: str
    commit: str | None
    tree: Literal["clean", "changed", "supplied"] | None = None
    """Whether the files were those of `commit`; `supplied`: there was no git history to ask. None: not recorded."""
    tool_sha256: str
    files: dict[str, str]
    """SHA-256 of the kernel's files, as `kernel_files` has them, and of every header that they include."""
    card: str
    compute_capability: str
    driver: str
    architecture: str
    nvrtc: str
    host_compiler: str
    seed: int
    cases: int
    variants: int
    seconds: float
    covered: dict[str, str]
    builds: dict[Name, BuildSummary]
    disagreements: list[Disagreement]
    """The simplest few."""

    @property
    def agreed(self) -> bool:
        """Whether every case agreed in every build, and there was one."""
        return self.cases > 0 and all(build.agreed == self.cases for build in self.builds.values())


def kernel_files(kernel: Kernel) -> dict[str, str]:
    """SHA-256 of all that a kernel's results depend on, by names that do not depend on where the files lie.

    Of kernel.yaml it is of what it says, of the template of what is left without its comments.
    """
    headers = local_headers(read_text(kernel.template), (kernel.folder, *kernel.include_dirs))
    found = {
        kernel.document.path.name: kernel.said_sha256(),
        kernel.template.name: said_sha256(kernel.template),
        kernel.reference.name: hashlib.sha256(kernel.reference.read_bytes()).hexdigest(),
    }
    own = {f"{kernel.identity}/{name}": digest for name, digest in found.items()}
    return own | {f"include/{label.partition(':')[2] or label}": digest for label, digest in headers.items()}


def is_current(result: ParityResult) -> bool:
    """Whether the result is of the kernel as it is now."""
    try:
        return kernel_files(find_kernel(result.kernel, search_roots(Path.cwd() / "kernels"))) == result.files
    except SpecForgeError:
        return False


def result_path(folder: Path, kernel: str) -> Path:
    """Where a kernel's result stands under a folder of results."""
    return folder / f"{kernel.replace('/', '_')}.json"


def write_result(result: ParityResult, folder: Path) -> Path:
    """Write it; raises SF605 where that cannot be done."""
    path = result_path(folder, result.kernel)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise fail("SF605", f"cannot write the result: {error.strerror or error}", Position(path)) from None
    return path


def read_results(folder: Path) -> list[ParityResult]:
    """Every result of a folder, by name; raises SF601 for one that cannot be read."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(ParityResult.model_validate_json(read_text(path)))
        except ValidationError as error:
            raise fail(
                "SF601", f"no result of `specforge parity`: {error.errors()[0]['msg']}", Position(path)
            ) from None
    return found
