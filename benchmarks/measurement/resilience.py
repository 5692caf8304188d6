"""A run killed at ten random moments and resumed each time; and a sweep with kernels that hang, scribble and gorge.

    python -m benchmarks.measurement.resilience [--results DIR] [--quick] [--seed N]

Writes resilience.json. Killed: `check resume.yaml` gets SIGKILL at random moments and is resumed; the record it ends
with must have the cells and verdicts of an undisturbed run, every round that a journal held at a kill, none twice, and
no process may stay on the card. Hostile: `check hostile.yaml` must give every healthy cell its verdict, and each of the
other three one of its own with a message.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measurement.command import Session, open_session
from benchmarks.measurement.result import TOP
from benchmarks.measurement.subject import HERE
from specforge.backend.probe import nvml

KILLS = 10
EARLY = 3
"""Kills at any moment of a run; the others come while it measures."""
LATE = 0.4, 1.7
"""When those come, in rounds of the spec, which has more rounds than there are kills: none finds it done."""
SETTLE = 10.0
"""Seconds within which a killed run's processes must have left the card."""
HOSTILE = ("outside", "exhaust", "hang")
CHECK = (sys.executable, "-m", "specforge", "check")
OPTIONS = ("--backend", "cuda:0", "--profile", "quick", "--examples", "5")
TIMEOUT = 240.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How one `check` ended. Seconds."""

    status: int
    seconds: float
    measuring_after: float | None
    """When it began to measure."""
    said: str


def cells(record: dict[str, Any]) -> dict[str, Any]:
    """By case: its verdicts by metric, how many rounds it has, and what it says of a fault."""
    metrics = {target["id"]: target["metric"] for target in record["targets"]}
    found: dict[str, Any] = {}
    for case in record["cases"]:
        rounds = (case.get("measurement") or {}).get("rounds") or []
        said = next((case[key] for key in ("fault", "trouble", "wrong", "implausible") if case.get(key)), None)
        found[case["id"]] = {"verdicts": {}, "rounds": len(rounds), "said": said}
    for judgement in record["judgements"]:
        cell = found[judgement["case"]]
        cell["verdicts"][metrics[judgement["target"]]] = judgement["verdict"]
        if judgement["verdict"] != "met":
            cell["said"] = cell["said"] or judgement["reason"]
    return found


def sample_sets(node: object) -> Iterator[str]:
    """A digest of each process's samples of a case in a JSON document, wherever it stands: a record's or a journal's.

    Of those that count, sorted, with as many digits as a record has.
    """
    if isinstance(node, dict) and node.get("series") and "binary_sha256" in node:
        kept = sorted(float(f"{sample:.7g}") for sample in _samples(node["series"]))
        yield hashlib.sha256(json.dumps(kept).encode()).hexdigest()
    elif isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from sample_sets(value)


def _samples(node: object) -> Iterator[float]:
    if isinstance(node, dict) and not node.get("discarded"):
        yield from node.get("samples", ())
    if isinstance(node, dict | list):
        for value in node.values() if isinstance(node, dict) else node:
            yield from _samples(value)


def journaled(state: Path) -> set[str]:
    """Sample sets in every journal under a state folder; a line cut short by a kill counts as not there."""
    found: set[str] = set()
    for path in state.rglob("*"):
        if path.is_file() and "journal" in path.relative_to(state).as_posix():
            for line in path.read_text(errors="replace").splitlines():
                try:
                    found |= set(sample_sets(json.loads(line)))
                except ValueError:
                    continue
    return found


def difference(undisturbed: dict[str, Any], resumed: dict[str, Any], held: set[str]) -> list[str]:
    """What a resumed run's record lacks or has too much of, in sentences; empty where nothing."""
    want, got = cells(undisturbed), cells(resumed)
    found = [f"{case} is missing" for case in want if case not in got]
    found += [f"{case} was not there before" for case in got if case not in want]
    for case in want.keys() & got.keys():
        found += [
            f"{case}: {key} is {got[case][key]}, undisturbed {want[case][key]}"
            for key in ("verdicts", "rounds")
            if got[case][key] != want[case][key]
        ]
    counted = Counter(sample_sets(resumed))
    found += [f"{number} times the same samples: {digest[:12]}" for digest, number in counted.items() if number > 1]
    lost = held - counted.keys()
    if lost:
        found.append(f"{len(lost)} of {len(held)} sample sets that a journal held at a kill are not in the record")
    if not any(cell["rounds"] for cell in want.values()):
        found.append("the undisturbed run measured nothing")
    return found


def hostile_faults(record: dict[str, Any]) -> list[str]:
    """What is wrong with the record of the hostile sweep, in sentences; empty where nothing."""
    found = []
    for case, cell in cells(record).items():
        hostile = case.partition("[")[0] in HOSTILE
        met = set(cell["verdicts"].values()) == {"met"}
        if hostile and met:
            found.append(f"{case} passed")
        if hostile and not cell["said"]:
            found.append(f"{case} gives no reason")
        if not hostile and not met:
            found.append(f"{case} paid for another: {cell['verdicts']}, {cell['said']}")
    return found


class Runner:
    """Runs `check` on one spec with a state folder of its own."""

    def __init__(self, spec: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._command = [*CHECK, str(HERE / spec), *OPTIONS]
        self.state, self.record = folder / "state", folder / "record.json"
        self._environment = {**os.environ, "SPECFORGE_STATE": str(self.state), "PYTHONPATH": _with_top()}

    def run(self, *more: str, early: float | None = None, late: float | None = None) -> Ended:
        """Run to the end, or until a SIGKILL: `early` seconds from the start, or `late` ones after measuring began."""
        with tempfile.TemporaryFile("w+") as errors:
            began = time.monotonic()
            process = subprocess.Popen(
                [*self._command, "--record", str(self.record), *more],
                cwd=TOP, env=self._environment, stdout=subprocess.DEVNULL, stderr=errors, text=True,
            )  # fmt: skip
            measuring: float | None = None
            due = early
            while process.poll() is None:
                now = time.monotonic() - began
                if measuring is None and _measures(errors):
                    measuring = now
                    due = due if late is None else now + late
                if now > TIMEOUT or (due is not None and now >= due):
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    break
                time.sleep(0.02)
            seconds = time.monotonic() - began
            errors.seek(0)
            return Ended(process.returncode, seconds, measuring, errors.read()[-2000:])

    def read(self) -> dict[str, Any]:
        """The record."""
        found: dict[str, Any] = json.loads(self.record.read_text())
        return found


def _measures(errors: Any) -> bool:  # noqa: ANN401 -- an open text file that another process writes to
    return "measuring" in Path(f"/proc/self/fd/{errors.fileno()}").read_text()


def _with_top() -> str:
    return os.pathsep.join(filter(None, (str(TOP), os.environ.get("PYTHONPATH"))))


def left_on_card() -> list[int]:
    """Processes on the card, once those of a killed run had time to go."""
    end = time.monotonic() + SETTLE
    with nvml() as library:
        handle = library.nvmlDeviceGetHandleByIndex(0)
        while True:
            found = [process.pid for process in library.nvmlDeviceGetComputeRunningProcesses(handle)]
            if not found or time.monotonic() > end:
                return found
            time.sleep(0.1)


def killed(folder: Path, draw: random.Random, kills: int) -> dict[str, Any]:
    """The undisturbed run, the killed one, and what differs; a run that ended ahead of its kill is a fault as well."""
    plain = Runner("resume.yaml", folder / "undisturbed")
    whole = plain.run()
    if not plain.record.exists():
        return {"faults": [f"the undisturbed run ended with {whole.status}: {whole.said}"]}
    measured = whole.seconds - (whole.measuring_after or 0.0)
    a_round = measured / max(cell["rounds"] for cell in cells(plain.read()).values())
    torn = Runner("resume.yaml", folder / "killed")
    held: set[str] = set()
    faults, log = [], []
    for number in range(kills):
        resume = ("--resume",) if number else ()
        if number < EARLY:
            ended = torn.run(*resume, early=draw.uniform(0.2, 0.8 * (whole.seconds - measured)))
        else:
            ended = torn.run(*resume, late=draw.uniform(*LATE) * a_round)
        left = left_on_card()
        held |= journaled(torn.state)
        log.append({"seconds": ended.seconds, "measuring_after": ended.measuring_after, "status": ended.status,
                    "sample_sets": len(held), "left_on_card": left})  # fmt: skip
        if ended.status != -signal.SIGKILL:
            faults.append(f"kill {number} came too late: the run had ended with {ended.status}")
            break
        if left:
            faults.append(f"a process stayed on the card after kill {number}")
    last = torn.run("--resume")
    if torn.record.exists():
        faults += difference(plain.read(), torn.read(), held)
    else:
        faults.append(f"the resumed run ended with {last.status}: {last.said}")
    done = sum(entry["status"] == -signal.SIGKILL for entry in log)
    return {"undisturbed_seconds": whole.seconds, "kills": log, "killed": done, "last_seconds": last.seconds,
            "journaled_sample_sets": len(held), "cells": cells(plain.read()), "faults": faults}  # fmt: skip


def hostile(folder: Path) -> dict[str, Any]:
    """The hostile sweep, and what is wrong with it."""
    runner = Runner("hostile.yaml", folder / "hostile")
    ended = runner.run()
    if not runner.record.exists():
        return {"status": ended.status, "seconds": ended.seconds, "faults": [f"no record: {ended.said}"]}
    record = runner.read()
    return {"status": ended.status, "seconds": ended.seconds, "cells": cells(record), "faults": hostile_faults(record)}


def run(session: Session, seed: int, *, quick: bool) -> dict[str, Any]:
    """Everything, as the result file holds it."""
    found = {"seed": seed, "hostile": hostile(session.state)}
    return found | {"resume": killed(session.state, random.Random(seed), 3 if quick else KILLS)}


def main(arguments: list[str] | None = None) -> int:
    """Run, print, write; 1 where something is wrong."""
    session, options = open_session(__doc__, arguments, quick=True, seed=True)
    result = run(session, options.seed, quick=options.quick)
    session.write("resilience", result)
    for part in ("hostile", "resume"):
        print(part, json.dumps({key: value for key, value in result[part].items() if key not in ("cells", "faults")}))
        for case, cell in result[part].get("cells", {}).items():
            print(f"  {case:32} {cell['rounds']} rounds, {cell['verdicts']} {(cell['said'] or '')[:150]}")
        for fault in result[part]["faults"]:
            print(f"FAILED {part}: {fault}")
    return 1 if result["hostile"]["faults"] or result["resume"]["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
