"""What git knows of a spec's sources."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

_SECONDS = 20


def git_state(spec: Path, inputs: Iterable[Path], *, results: Iterable[Path]) -> tuple[str | None, bool | None]:
    """Commit and dirtiness of the repository that tracks the spec or an input; both None where there is none.

    It is dirty where a tracked file was changed, or where the spec or an input is not tracked. Files below the top's
    own `results` and those named are left out: publishing one record must not keep the next from being published.
    """
    top = next((folder for folder in spec.resolve().parents if (folder / ".git").exists()), None)
    if top is None:
        return None, None
    resolved = [path.resolve() for path in (spec, *inputs)]
    here = {path.relative_to(top).as_posix() for path in resolved if path.is_relative_to(top)}
    head = _git(top, "rev-parse", "--verify", "HEAD")
    tracked = _git(top, "ls-files", "-z", "--", *(f":(literal){path}" for path in sorted(here)))
    if head is None or not tracked:  # no commit yet, or a repository further up that knows nothing of these files
        return None, None
    left_out = {
        folder.relative_to(top).as_posix() for folder in (top / "results", *results) if folder.is_relative_to(top)
    }
    excluded = (f":(top,exclude){folder}" for folder in sorted(left_out))
    changed = _git(top, "status", "--porcelain", "--untracked-files=no", "--", ":(top)", *excluded)
    if changed is None:
        return None, None
    return head.strip(), bool(changed.strip()) or not here <= set(tracked.split("\0"))


def _git(top: Path, *arguments: str) -> str | None:
    """What git says of this very repository, or None where it is absent, refuses or hangs."""
    command = [
        "git",
        "--no-optional-locks",
        "-c",
        "core.fsmonitor=false",
        f"--git-dir={top / '.git'}",
        f"--work-tree={top}",
    ]
    try:
        done = subprocess.run(
            [*command, *arguments],
            cwd=top,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return os.fsdecode(done.stdout) if done.returncode == 0 else None
