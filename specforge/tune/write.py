"""Writing tuning files: one case at a time, whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from specforge.diagnostics import fail
from specforge.disk import write_whole
from specforge.measure.estimate import Estimate
from specforge.spec.interface import Kernel
from specforge.spec.tuning import TuningRun, find_tuning, kernel_inputs, load_tuning, tuning_path

HEAD = """\
yaml-language-server: $schema=../../schemas/tuning.schema.json
Written by `specforge tune`, which replaces it case by case; `specforge check` uses it on this device only."""


def keep_case(home: Path, kernel: Kernel, device: str, case: Mapping[str, Any], run: TuningRun) -> Path:
    """Put a case into its kernel's tuning file under `home` in the place of what stood there, or begin the file.

    `case` has the keys of TunedCase without `run`, times as `span` gives them. What was tuned for another state of the
    kernel goes; what is shipped and still holds is taken over. Raises SF415 where it cannot be written.
    """
    inputs = kernel_inputs(kernel)
    runs: list[dict[str, Any]] = []
    cases: list[dict[str, Any]] = []
    earlier = find_tuning(home, device, kernel)
    if earlier is not None:
        found = load_tuning(earlier, device, kernel)
        if not found.changed:
            data = found.document.data
            runs, cases = data["runs"], [one for one in data["cases"] if one["parameters"] != case["parameters"]]
    fresh = run.model_dump()
    needed = {one["run"] for one in cases}
    kept = [one for number, one in enumerate(runs) if number in needed or one == fresh]
    cases = [{**one, "run": kept.index(runs[one["run"]])} for one in cases]
    kept += [] if fresh in kept else [fresh]
    data = {
        "specforge": 1,
        "tuning": kernel.identity,
        "device": device,
        "inputs": inputs,
        "runs": kept,
        "cases": [*cases, {**case, "run": kept.index(fresh)}],
    }
    path = tuning_path(home, device, kernel.identity)
    try:
        write_whole(path, to_text(data))
    except OSError as error:
        raise fail("SF415", f"cannot write {path}: {error.strerror or error}") from None
    return path


def span(found: Estimate) -> dict[str, str]:
    """A time as a tuning file has it; the interval of a time ends above zero."""
    return {"value": _us(found.value), "low": _us(max(found.low, 1e-12)), "high": _us(found.high)}


def to_text(data: Mapping[str, Any]) -> str:
    """A tuning file: one line for each of a case's mappings."""
    tree = CommentedMap(data)
    tree.yaml_set_start_comment(HEAD)
    tree["cases"] = [
        CommentedMap({key: _flow(value) if isinstance(value, dict) else value for key, value in one.items()})
        for one in data["cases"]
    ]
    yaml = YAML()
    yaml.width = 1 << 16
    text = io.StringIO()
    yaml.dump(tree, text)
    return text.getvalue()


def _flow(value: Mapping[str, Any]) -> CommentedMap:
    found = CommentedMap(value)
    found.fa.set_flow_style()
    return found


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:.6g} us"
