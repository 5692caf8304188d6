"""The one place where environment variables are read."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment asks for; every field has a default that works without it."""

    state: Path
    """Folder for the cache, failing examples and local records (SPECFORGE_STATE; default `.specforge`, here)."""
    cxx: str | None
    """Host C++ compiler to prefer (CXX)."""
    step_summary: Path | None
    """File that GitHub Actions shows as the step's summary (GITHUB_STEP_SUMMARY)."""
    jobs: int
    """Parallel compilations and workers (SPECFORGE_JOBS; default: the cores this process may use)."""
    commit: str | None
    """Commit of the sources where there is no git history to ask (SPECFORGE_COMMIT)."""
    held_out_seed: str | None = field(default=None, repr=False)
    """Secret that held-out inputs are drawn with (SPECFORGE_HELD_OUT_SEED)."""
    locks: Path = field(default_factory=lambda: Path(f"/tmp/specforge-{os.geteuid()}"))
    """Folder where all runs of a user on a machine meet: which cards are held, which clocks were locked
    (SPECFORGE_LOCKS; default `specforge-UID` in /tmp, whatever TMPDIR says, as runs must find one another)."""


def read_settings() -> Settings:
    """Read the environment once; raises ValueError with the variable's name where a value makes no sense.

    The secret of held-out inputs is taken out of it: compilers, references and kernels inherit the rest.
    """
    env = os.environ
    jobs = env.get("SPECFORGE_JOBS")
    if jobs and not (jobs.isdecimal() and 1 <= int(jobs) <= 1024):
        raise ValueError(f"SPECFORGE_JOBS must be a whole number from 1 to 1024, not {jobs!r}")
    summary = env.get("GITHUB_STEP_SUMMARY")
    settings = Settings(
        state=Path(env.get("SPECFORGE_STATE") or ".specforge"),
        cxx=env.get("CXX") or None,
        step_summary=Path(summary) if summary else None,
        jobs=int(jobs) if jobs else len(os.sched_getaffinity(0)),
        commit=env.get("SPECFORGE_COMMIT") or None,
        held_out_seed=env.pop("SPECFORGE_HELD_OUT_SEED", None) or None,
    )
    locks = env.get("SPECFORGE_LOCKS")
    return replace(settings, locks=Path(locks)) if locks else settings
