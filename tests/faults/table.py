"""The table of who finds what: `python -m tests.faults.table` runs the corpus in full on the CPU and writes it anew.

    python -m tests.faults.table           all faults, all twins in 500 examples under 20 schedules, then docs/faults.md
    python -m tests.faults.table --write   only docs/faults.md, from results/faults/

What a card says comes from `python -m tests.faults.on_card results/faults/card.json`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from specforge.backend.worker import Worker
from specforge.settings import Settings
from specforge.verify.fuzz import isolate_hypothesis
from tests.faults.corpus import FAULTS, ROOT, Fault, kind_of
from tests.faults.search import find, try_twin

EMULATED = ROOT / "results" / "faults" / "emulator.json"
CARD = ROOT / "results" / "faults" / "card.json"
DOCUMENT = ROOT / "docs" / "faults.md"
EXAMPLES, SCHEDULES = 500, 20
CHECKS = ("plain", "memcheck", "racecheck", "initcheck", "synccheck")
ENDS, FAILED = "the smallest and the largest case", "the smallest case that failed on the emulator and the largest case"
"""What a card may have run; `on_card` says which."""

_HEAD = """\
# Who finds what

{count} small kernels that are wrong in one way each (`tests/faults/`), each with a twin that is right, and what is said
of them: by the emulator, in the search of `specforge check` with its default settings; and on a card, by a plain run
compared with the reference and by the tools of compute-sanitizer. Generated from `results/faults/` by
`python -m tests.faults.table`.

- **Emulator**: {emulator}
- **Card**: {card}

A dash: nothing is reported, or the result is right. The card ran {cases}: plainly five times each, with
other values each time; under each tool once, every tensor in an allocation of its own. A hang is found by a plain run,
which has a time limit; a tool that hangs has found nothing.

"""


def read(path: Path) -> dict[str, Any]:
    """A result file."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def run_all(settings: Settings) -> dict[str, Any]:
    """Search every fault and run every twin in full, on all cores; what is `amiss` is written down like the rest."""
    isolate_hypothesis(settings.state / "hypothesis")

    def one(fault: Fault) -> tuple[str, dict[str, Any]]:
        with Worker("emulator") as worker:
            try:
                failure = find(fault, worker, settings)
                said = {
                    "kind": kind_of(failure.result),
                    "says": failure.result.failure,
                    "row": failure.example.to_row(),
                }
            except AssertionError as error:
                said = {"amiss": str(error)}
            runs, alarm = try_twin(fault, worker, settings, EXAMPLES, SCHEDULES)
        return str(fault), said | {"twin": runs} | ({"alarm": alarm} if alarm else {})

    with ThreadPoolExecutor(settings.jobs) as pool:
        found = dict(pool.map(one, FAULTS))
    return {"examples": EXAMPLES, "schedules": SCHEDULES, "faults": found}


def amiss(emulated: dict[str, Any]) -> list[str]:
    """Faults that the emulator does not find or misnames, and alarms that it raises on twins."""
    said = [(name, entry.get(key)) for name, entry in emulated["faults"].items() for key in ("amiss", "alarm")]
    return [text if text.startswith(name) else f"{name}, the twin: {text}" for name, text in said if text]


def render() -> str:
    """The document."""
    emulated = read(EMULATED)
    card = read(CARD) if CARD.exists() else None
    rows = [_row(fault, emulated["faults"][str(fault)], card and card["faults"].get(str(fault))) for fault in FAULTS]
    runs = sum(entry["twin"] for entry in emulated["faults"].values())
    right, alarms = _own(emulated)
    emulator = (
        f"finds {right} of {len(FAULTS)} for what they are, by kind, array and line. Alarms on twins, each run with "
        f"{emulated['examples']} examples under {emulated['schedules']} schedules: {alarms} ({runs:,} runs)."
    )
    emulator += "".join(f"\n  - Amiss: {text}" for text in amiss(emulated))
    cases = card.get("cases", ENDS) if card else FAILED
    head = _HEAD.format(count=len(FAULTS), emulator=emulator, card=_card(card), cases=cases)
    lines = ["| fault | what is wrong | emulator | plain run | memcheck | racecheck | initcheck | synccheck | why |"]
    lines += ["|---|---|---|---|---|---|---|---|---|", *rows, *_totals(emulated, card)]
    return head + "\n".join(lines) + "\n"


def _card(card: dict[str, Any] | None) -> str:
    if card is None:
        return "not run yet."
    faults = card["faults"].values()
    by_tools = sum(any(found(tool, said[tool]["fault"]) for tool in CHECKS[1:]) for said in faults)
    by_any = sum(any(found(check, said[check]["fault"]) for check in CHECKS) for said in faults)
    where = f"{card['card']}, driver {card['driver']}, compute-sanitizer {card['compute_sanitizer']}"
    return (
        f"{where}. Of {len(faults)} faults the plain run finds {_count(card, 'plain', 'fault')}, the four tools "
        f"together {by_tools}, all five together {by_any}."
    )


def found(check: str, said: str) -> bool:
    """Whether a check of the card reported something; a tool that was stopped, or failed itself, did not."""
    stopped = said.startswith("no answer") or (check != "plain" and said == "hang")
    return said not in ("right", "nothing") and not stopped


def _count(card: dict[str, Any], check: str, which: str) -> int:
    return sum(found(check, said[check][which]) for said in card["faults"].values())


def _own(emulated: dict[str, Any]) -> tuple[int, int]:
    """How many faults the emulator finds for what they are, and on how many twins it raises an alarm."""
    entries = emulated["faults"].values()
    return sum("amiss" not in entry for entry in entries), sum("alarm" in entry for entry in entries)


def _totals(emulated: dict[str, Any], card: dict[str, Any] | None) -> list[str]:
    """Two lines: how many faults each column found, and on how many twins it raised an alarm."""
    lines = []
    for title, which, own in zip(("faults found", "alarms on twins"), ("fault", "twin"), _own(emulated), strict=True):
        counts = [own, *(_count(card, check, which) for check in CHECKS)] if card else [own]
        cells = [f"**{count} of {len(FAULTS)}**" for count in counts] + [""] * (6 - len(counts))
        lines.append("| " + " | ".join([f"**{title}**", "", *cells, ""]) + " |")
    return lines


def _row(fault: Fault, emulated: dict[str, Any], card: dict[str, Any] | None) -> str:
    cells = [f"[{fault}](../{fault.template.relative_to(ROOT)})", fault.summary, _emulator(emulated)]
    cells += [_cell(card[check]["fault"]) + _alarm(check, card[check]["twin"]) if card else "" for check in CHECKS]
    cells.append(fault.card)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _emulator(emulated: dict[str, Any]) -> str:
    """The kind, and of a fault of memory what it is about."""
    if "amiss" in emulated:
        return "**amiss**"
    kind, said = emulated["kind"], emulated["says"]
    place = re.search(r"`[^`]+`|dynamic shared memory|'\w+ [\[\]\d]+'", said)
    return f"{kind}: {place[0]}" if place and said.startswith(kind) else kind


def _cell(said: str) -> str:
    said = re.sub(r"^(Error|Warning): (\(Warp Level Programming\) )?", "", said)
    return "-" if said in ("right", "nothing") else re.split(r":| \(| at | detected", said, maxsplit=1)[0][:60]


def _alarm(check: str, said: str) -> str:
    return f"; **the twin, too: {_cell(said)}**" if found(check, said) else ""


def main(arguments: list[str]) -> None:
    """Run, unless only writing is asked for, and write."""
    started = time.monotonic()
    if "--write" not in arguments:
        state = Path(os.environ.get("SPECFORGE_STATE") or ROOT / ".specforge")
        found = run_all(Settings(state, None, None, len(os.sched_getaffinity(0)), None))
        EMULATED.parent.mkdir(parents=True, exist_ok=True)
        EMULATED.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(render(), encoding="utf-8")
    print(f"wrote {DOCUMENT.relative_to(ROOT)} after {time.monotonic() - started:.0f} s")
    raise SystemExit("\n".join(amiss(read(EMULATED))) or None)


if __name__ == "__main__":
    main(sys.argv[1:])
