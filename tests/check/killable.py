"""Whole commands in a process of their own, to be killed in the midst of measuring."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FEW = ("--examples", "1", "--seconds", "20")


@dataclass
class Card:
    """A folder with a spec, the command that checks it, and the card's UUID."""

    home: Path
    entry: tuple[str, ...]
    uuid: str
    options: tuple[str, ...] = FEW
    faults: dict[str, str] = field(default_factory=dict)
    jobs: int = 1
    patient: bool = False
    """Kills come after a measurement was made: on a real card, what is done once per run takes longer than they do."""
    said: tuple[str, str] = ("", "")
    """What the last killed command printed."""

    @property
    def journal(self) -> Path:
        return self.home / ".specforge" / "journals" / f"small-{self.uuid}.jsonl"

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line)["what"] for line in self.journal.read_text().splitlines()]

    def start(self, *options: str) -> subprocess.Popen[str]:
        state, locks = self.home / ".specforge", self.home / "locks"
        env = os.environ | {
            "SPECFORGE_STATE": str(state),
            "SPECFORGE_LOCKS": str(locks),
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
        }
        env |= {"FAKE_FAULTS": json.dumps(self.faults), "SPECFORGE_JOBS": str(self.jobs)}
        command = [sys.executable, *self.entry, "check", "specs/small.yaml", *self.options, *options]
        kinds = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=self.home, env=env, **kinds)  # type: ignore[call-overload,no-any-return]

    def run(self, *options: str) -> tuple[int, str, str]:
        process = self.start(*options)
        out, errors = process.communicate(timeout=300)
        return process.returncode, out, errors

    def record(self, name: str) -> dict[str, Any]:
        return json.loads((self.home / name).read_text())  # type: ignore[no-any-return]

    def kill_in_the_midst(self, after: float, *options: str) -> bool:
        """Kill the command so many seconds after it began to measure; whether it was still at it."""
        process = self.start(*options)
        before = self._reached()
        while process.poll() is None and self._reached() == before:
            time.sleep(0.005)
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        self.said = process.communicate(timeout=60)
        return process.returncode == -signal.SIGKILL and self.journal.exists()

    def seconds_of_measuring(self, *options: str) -> float:
        """Run undisturbed; how long its journal was there."""
        process = self.start(*options)
        while process.poll() is None and not self.journal.exists():
            time.sleep(0.005)
        begin = time.monotonic()
        while process.poll() is None and self.journal.exists():
            time.sleep(0.005)
        seconds = time.monotonic() - begin
        self.said = process.communicate(timeout=300)
        assert process.returncode == 0, self.said
        return seconds

    def _reached(self) -> int:
        """Something that changes once there is anything to kill."""
        if not self.journal.exists():
            return 0 if self.patient else -1
        return self.journal.read_bytes().count(b'"measurement":') if self.patient else self.journal.stat().st_size


def measured(record: dict[str, Any]) -> Any:
    """All that was measured, less what the clock on the wall says."""
    cases = [
        {key: case[key] for key in ("id", "verified", "metrics", "missing", "measurement")} for case in record["cases"]
    ]
    for case in cases:
        for one in case["measurement"]["rounds"]:
            one.pop("seconds")
            for series in one["series"].values():
                series.pop("warmup")
    return cases


def kill_and_resume(card: Card, times: int, longest: float, seed: int) -> tuple[int, int]:
    """Kill and resume at random moments; how often that was, and how many measurements are kept by then."""
    chance, kills, kept = random.Random(seed), 0, 0
    while kills < times and card.kill_in_the_midst(
        chance.uniform(0.0, longest), "--resume", "--record", "resumed.json"
    ):
        kills += 1
        done = [(line["case"], line["round"]) for line in card.lines if "case" in line]
        assert len(done) == len(set(done)) >= kept, "something was measured twice, or lost"
        kept = len(done)
    return kills, kept
