"""What `check --against` finds: the share of planted slow-downs that is found, and of comparisons of like with like
in which a change is reported. A simulation on the CPU that resamples recorded samples; it needs no card.

    python -m benchmarks.measurement.power RECORD... [--processes 3] [--spread 0.2] [--slower 2] [--write FILE]

Each side of a trial has as many processes as asked for, and each of them batches drawn with replacement from one
recorded process. Where the records hold twice as many processes of a cell as a side has, processes are drawn without
replacement, and a comparison of like with like is a real one. Where they hold fewer, a process's median is moved to
where chance puts it, by the recorded spread between processes or, where one process was recorded, by --spread.
Records of one card only: what cards differ by is not what processes differ by.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from specforge.measure.compare import TOLERANCE, compare
from specforge.record.model import CaseEntry, Record
from specforge.record.rounds import modes_of
from specforge.record.store import read_record

BATCH = 50
"""Samples in a batch of records that do not say where batches end."""
Batches = list[list[float]]


@dataclass(frozen=True, slots=True)
class Cell:
    """One case in one mode: each recorded process's batches, and the spread between processes as a share."""

    name: str
    processes: tuple[Batches, ...]
    spread: float
    recorded: bool
    """Whether the spread is recorded rather than assumed."""


@dataclass(frozen=True, slots=True)
class Power:
    """What was found in one cell; `alarms` are changes reported in trials without one."""

    name: str
    spread: float
    recorded: bool
    found: int
    trials: int
    alarms: int
    like_trials: int


def cells_of(records: Sequence[Record], spread: float) -> list[Cell]:
    """The cells of several runs on one card, their processes pooled; raises ValueError for different cards."""
    cards = {str((record.environment.card or {}).get("uuid")) for record in records}
    if len(cards) > 1:
        raise ValueError(f"records of several cards: {', '.join(sorted(cards))}")
    pooled: dict[str, list[Batches]] = {}
    for record in records:
        for case in record.cases:
            for mode in modes_of(case):
                pieces = [[part for batch in batches for part in _cut(batch)] for batches in _batches(case, mode)]
                pooled.setdefault(f"{case.id} {mode}", []).extend(pieces)
    found = []
    for name, processes in pooled.items():
        medians = [statistics.median(_joined(batches)) for batches in processes]
        recorded = len(medians) > 1
        known = statistics.stdev(medians) / statistics.mean(medians) if recorded else spread
        found.append(Cell(name, tuple(processes), known, recorded))
    return found


def power_of(cell: Cell, *, processes: int, slower: float, trials: int, like_trials: int, seed: int) -> Power:
    """Try a cell with a slow-down by the share `slower`, and without one."""
    chance = random.Random(f"{seed} {cell.name}")
    verdicts = []
    for number in range(trials + like_trials):
        before, after = _draw(cell, processes, chance)
        if number < trials:
            after = [[(1 + slower) * sample for sample in samples] for samples in after]
        compared = compare(before, after)
        verdicts.append(None if compared is None else compared.verdict)
    return Power(
        cell.name,
        cell.spread,
        cell.recorded,
        verdicts[:trials].count("slower"),
        trials,
        sum(verdict in ("slower", "faster") for verdict in verdicts[trials:]),
        like_trials,
    )


def binomial_interval(hits: int, trials: int) -> tuple[float, float]:
    """The interval of 95 % for a share (Wilson)."""
    z2, share = 1.959964**2, hits / trials
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = math.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials * trials))) / (1 + z2 / trials)
    return max(0.0, middle - half), min(1.0, middle + half)


def main(arguments: list[str] | None = None) -> None:
    """Print both rates for every cell and for all together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", nargs="+", type=Path, metavar="RECORD")
    parser.add_argument("--processes", type=int, default=3, help="on each side (3)")
    parser.add_argument("--spread", type=float, default=0.2, help="between processes where unknown, in percent (0.2)")
    parser.add_argument("--slower", type=float, default=2.0, help="the planted slow-down in percent (2)")
    parser.add_argument("--trials", type=int, default=100, help="with a slow-down, for each cell (100)")
    parser.add_argument("--like-trials", type=int, default=200, help="without one (200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="write the result here as JSON")
    options = parser.parse_args(arguments)
    records = [read_record(path) for path in options.records]
    asked = {key: getattr(options, key) for key in ("processes", "trials", "like_trials", "seed")}
    try:
        cells = cells_of(records, options.spread / 100)
    except ValueError as error:
        parser.error(str(error))
    found = [power_of(cell, slower=options.slower / 100, **asked) for cell in cells]
    if not found:
        parser.error("no case in these records has samples")
    print(f"{options.processes} processes a side, a slow-down of {options.slower:g} %, tolerance {TOLERANCE:.0%}")
    for one in found:
        known = "recorded" if one.recorded else "assumed"
        share = f"{one.found}/{one.trials} found, {one.alarms}/{one.like_trials} false alarms"
        print(f"{one.name}: spread {one.spread:.2%} ({known}), {share}")
    total = [sum(getattr(one, key) for one in found) for key in ("found", "trials", "alarms", "like_trials")]
    print(f"all: found {_rate(*total[:2])}; false alarms {_rate(*total[2:])}")
    if options.write is not None:
        data = {
            "records": [record.digest for record in records],
            "slower": options.slower / 100,
            "tolerance": TOLERANCE,
            **asked,
            "cells": [asdict(one) for one in found],
        }
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(json.dumps(data, indent=1) + "\n")


def _draw(cell: Cell, processes: int, chance: random.Random) -> tuple[list[list[float]], list[list[float]]]:
    if len(cell.processes) >= 2 * processes:
        chosen = chance.sample(cell.processes, 2 * processes)
        sides = [_resampled(batches, chance) for batches in chosen]
    else:
        medians = [statistics.median(_joined(batches)) for batches in cell.processes]
        centre, sides = statistics.mean(medians), []
        for _ in range(2 * processes):
            place = chance.randrange(len(medians))
            moved = centre / medians[place] * (1 + cell.spread * chance.gauss(0, 1))
            sides.append([moved * sample for sample in _resampled(cell.processes[place], chance)])
    return sides[:processes], sides[processes:]


def _resampled(batches: Batches, chance: random.Random) -> list[float]:
    """A process's samples with its batches drawn anew; where one batch is all there is, in pieces of it."""
    pool = batches if len(batches) > 1 else [batches[0][n : n + 10] for n in range(0, len(batches[0]), 10)]
    return _joined(chance.choices(pool, k=len(pool)))


def _batches(case: CaseEntry, mode: str) -> list[Batches]:
    """A case's samples by process and batch, without discarded batches; version 1 of records kept no bounds of them."""
    rounds = case.measurement.rounds if case.measurement is not None else []
    series = [process.series[mode] for process in rounds if mode in process.series]
    return [[batch.samples for batch in one.batches if batch.discarded is None] for one in series]


def _cut(batch: list[float]) -> Batches:
    return [batch[n : n + BATCH] for n in range(0, len(batch), BATCH)]


def _joined(batches: Batches) -> list[float]:
    return [sample for batch in batches for sample in batch]


def _rate(hits: int, trials: int) -> str:
    low, high = binomial_interval(hits, trials)
    return f"{hits}/{trials} = {hits / trials:.2%} ({low:.2%} to {high:.2%})"


if __name__ == "__main__":
    main()
