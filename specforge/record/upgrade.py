"""Records of earlier versions, turned into today's form when read; their files and digests stay as they are."""

from __future__ import annotations

from typing import Any

_TELEMETRY = ("reason", "throttled", "foreign_processes")


def upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """A record of any version as today's model takes it; one that is malformed is left for the model to refuse."""
    if data["record_version"] != 1 or not isinstance(data.get("cases"), list):
        return data
    cases = [_case(case) if isinstance(case, dict) else case for case in data["cases"]]
    return {**data, "record_version": 2, "cases": cases}


def _case(case: dict[str, Any]) -> dict[str, Any]:
    """Version 1 knew one process and one mode, isolated, and took the telemetry before and after it all."""
    old = case.get("measurement")
    if not isinstance(old, dict) or "binary_sha256" not in old:
        return case
    state = {key: value for key, value in (old["telemetry_after"] or {}).items() if value or key not in _TELEMETRY}
    series = {
        "groups": 1,
        "warmup": old["warmup"],
        "stop": {
            "reason": "precision" if old["converged"] else "samples",
            "precision": old["precision"],
            "asked": 0.005,
        },
        "batches": [{"samples": old["samples"], "telemetry": state}],
    }
    kept = ("card", "uuid", "binary_sha256", "copies", "cold_bytes", "rotated_bytes", "refusal", "notes", "seconds")
    one = {
        **{key: old[key] for key in kept},
        "cold": "hot" if not old["cold_bytes"] else "unproven" if old["implausible"] else "proven",
        "series": {"isolated": series} if old["samples"] else {},
        "launches": {},
        "energy": None,
        "telemetry": old["telemetry_before"],
    }
    figures = {key: old[name] for key, name in (("value", "median"), ("low", "low"), ("high", "high"))}
    known = all(value is not None for value in figures.values())
    half = (figures["high"] - figures["low"]) / 2 if known else None
    estimate = {**figures, "within": half, "between": None, "processes": 1}
    return {**case, "measurement": {"rounds": [one], "estimates": {"isolated": estimate} if known else {}}}
