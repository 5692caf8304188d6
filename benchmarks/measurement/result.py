"""Result files: JSON under results/measurement/, each with where and from what it came."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measurement.subject import HERE
from specforge.backend.probe import LiveCard, probe
from specforge.disk import write_whole
from specforge.measure.samples import estimate_median
from specforge.record.history import git_state
from specforge.record.provenance import package_versions, tool_sha256
from specforge.settings import Settings

TOP = HERE.parents[1]
RESULTS = TOP / "results" / "measurement"
PEERS = ("cuda-bench", "kernel-tuner", "cupy-cuda13x", "torch")


def header(settings: Settings) -> dict[str, Any]:
    """Commit, tool, packages and card; raises RuntimeError where there is no card."""
    card = live_card()
    inputs = [path for path in HERE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    commit, dirty = git_state(HERE / "__init__.py", inputs, results=(TOP / "results",))
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit or settings.commit,
        "dirty": dirty,
        "tool_sha256": tool_sha256(),
        "packages": package_versions() | _versions(PEERS),
        "card": asdict(card),
    }


def live_card() -> LiveCard:
    """The first card; raises RuntimeError with the reason where there is none."""
    found = probe()
    if not found.cards:
        raise RuntimeError(f"no card: {found.reason}")
    return found.cards[0]


def architecture(card: LiveCard) -> str:
    """What NVRTC compiles for on this card."""
    return f"sm_{card.compute_capability.replace('.', '')}"


def write(folder: Path, name: str, data: dict[str, Any]) -> None:
    """Write one result whole or not at all, numbers shortened to nine digits: no timer is better."""
    write_whole(folder / f"{name}.json", json.dumps(_shortened(data), indent=1) + "\n")


def median_of(samples: Sequence[float]) -> dict[str, Any]:
    """Median, interval of 95 % and half of it as a share, by the one estimator for every tool's samples."""
    found = estimate_median(samples)
    known = found.low is not None and found.high is not None
    return {
        "count": len(samples),
        "median": found.value,
        "low": found.low,
        "high": found.high,
        "precision": found.precision if known else None,
    }


def variation(values: Sequence[float]) -> float:
    """Coefficient of variation: standard deviation over mean, of at least two values."""
    return statistics.stdev(values) / statistics.mean(values)


def _shortened(node: Any) -> Any:  # noqa: ANN401 -- any JSON
    if isinstance(node, float):
        return float(f"{node:.9g}")
    if isinstance(node, dict):
        return {key: _shortened(value) for key, value in node.items()}
    return [_shortened(value) for value in node] if isinstance(node, list | tuple) else node


def _versions(names: Sequence[str]) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
