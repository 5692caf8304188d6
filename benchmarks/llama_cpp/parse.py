"""What the programs print, as results: JSON lines of ops.cpp, SQL of test-backend-ops."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

WRONG = 1e-3
"""Squared error over squared size beyond which a result is taken to be wrong; llama.cpp's own tests allow 5e-4 of one
product, and ours chain two."""


def timed(text: str) -> list[dict[str, Any]]:
    """What ops.cpp finished, in order; a last line that was cut off is no result."""
    found = []
    for line in text.splitlines():
        try:
            one = json.loads(line)
        except json.JSONDecodeError:
            break
        if "error" not in one and not one["nmse"] <= WRONG:
            one = {key: one[key] for key in ("case", "mode", "nmse")} | {"error": f"wrong: error {one['nmse']:.3g}"}
        found.append(one)
    return found


def perf(text: str) -> list[dict[str, Any]]:
    """Rows of `test-backend-ops perf --output sql`: case, microseconds, runs; `error` where it was not supported."""
    found = []
    for columns, values in re.findall(r"^INSERT INTO test_backend_ops \((.*?)\) VALUES \((.*)\);$", text, re.MULTILINE):
        given = values.strip().removeprefix("'").removesuffix("'").split("', '")
        row = dict(zip(columns.split(", "), given, strict=True))
        name = re.search(r"\bname=([^,]+)", row["op_params"])
        one: dict[str, Any] = {"case": name[1] if name else row["op_params"], "operation": row["op_name"]}
        if row["supported"] == "1" and float(row["time_us"]) > 0:
            one |= {"us": float(row["time_us"]), "runs": int(row["n_runs"])}
        else:
            one["error"] = row["error_message"] or "not supported"
        found.append(one)
    return found


def remaining(lines: Iterable[str], done: int) -> tuple[str | None, list[str]]:
    """The line at which a program ended too early, and those behind it."""
    left = list(lines)[done:]
    return (left[0], left[1:]) if left else (None, [])
