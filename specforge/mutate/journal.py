"""What became of each mutant, line by line as it is known, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

import specforge
from specforge.check.fuzzing import EMULATED_STEPS
from specforge.disk import write_whole
from specforge.kernel.comments import said_sha256
from specforge.mutate.baseline import examples_of
from specforge.mutate.build import CHECKED
from specforge.mutate.outcome import Outcome
from specforge.spec.headers import local_headers
from specforge.spec.interface import Kernel

_TOOL = ("mutate", "verify", "backend", "kernel", "check/prepare.py")
"""The parts of SpecForge that decide what becomes of a mutant."""
_CARD = ("cuda*.py", "device_*.py", "lock.py", "probe.py", "stopwatch.py", "telemetry.py", "watchdog.py")
"""Of `backend`, what only a card's process imports; a file that is not named here counts."""


class Journal:
    """One kernel's outcomes under the state folder. The first line says of what; another kernel or tool starts anew.

    Each shard of a run writes a file of its own, and every run reads all of them.
    """

    def __init__(self, kernel: Kernel, device: str, state: Path, shard: tuple[int, int] | None = None) -> None:
        name = kernel.identity.replace("/", "__")
        own = f".{shard[0]}of{shard[1]}" if shard else ""
        self.path = state / "mutate" / f"{name}{own}.jsonl"
        self._key = {
            "kernel": kernel.identity,
            "inputs": inputs_sha256(kernel),
            "device": device,
            "tool": tool_sha256(),
            "search": [examples_of(kernel), EMULATED_STEPS, CHECKED],
        }
        self._turn = Lock()
        self.outcomes: dict[str, Outcome] = {}
        for path in sorted(self.path.parent.glob(f"{name}.*jsonl")):
            self.outcomes |= self._known(path)
        whole = [self._key, *(asdict(outcome) for outcome in self._known(self.path).values())]
        write_whole(self.path, "".join(f"{json.dumps(line)}\n" for line in whole))

    def _known(self, path: Path) -> dict[str, Outcome]:
        """What a file says of these inputs and this tool."""
        lines = _read(path)
        return {line["mutant"]: Outcome(**line) for line in lines[1:]} if lines[:1] == [self._key] else {}

    def add(self, outcome: Outcome) -> None:
        """Note an outcome; from now on it survives whatever happens to this process."""
        with self._turn, self.path.open("a", encoding="utf-8") as stream:
            self.outcomes[outcome.mutant] = outcome
            stream.write(f"{json.dumps(asdict(outcome))}\n")


def _read(path: Path) -> list[dict[str, Any]]:
    """The lines up to the first that is not whole."""
    found: list[dict[str, Any]] = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return found
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return found


def file_digests(kernel: Kernel) -> dict[str, str]:
    """SHA-256 of the template less its comments, of the reference, and of what kernel.yaml says."""
    return {
        "template": said_sha256(kernel.template),
        "reference": hashlib.sha256(kernel.reference.read_bytes()).hexdigest(),
        "kernel": kernel.said_sha256(),
    }


def inputs_sha256(kernel: Kernel) -> str:
    """Of all that an outcome may depend on: what lies in the kernel's folder, and the headers that it includes."""
    left_out = {path.resolve() for path in (kernel.document.path, kernel.template, kernel.peers) if path is not None}
    others = sorted(path for path in kernel.folder.iterdir() if path.is_file() and path.resolve() not in left_out)
    headers = local_headers(kernel.template.read_text(encoding="utf-8"), (kernel.folder, *kernel.include_dirs))
    said = json.dumps([file_digests(kernel), headers]).encode()
    return _sha256([said, *(path.name.encode() + path.read_bytes() for path in others)])


def tool_sha256() -> str:
    """Of SpecForge's own files that decide."""
    package = Path(specforge.__file__).parent
    files = [path for part in _TOOL for path in _files(package / part) if not is_card(path)]
    return _sha256(path.name.encode() + path.read_bytes() for path in files)


def is_card(path: Path) -> bool:
    """Whether a file of `backend` has no part in emulating."""
    return path.parent.name == "backend" and any(path.match(pattern) for pattern in _CARD)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(found for found in path.rglob("*") if found.suffix in {".py", ".h", ".cc", ".cuh"})


def _sha256(parts: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(b"%d " % len(part) + part)
    return whole.hexdigest()
