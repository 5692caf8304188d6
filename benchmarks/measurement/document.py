"""docs/measurement.md, generated from the results that are committed.

python -m benchmarks.measurement.document [--results DIR] [--page FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.measurement.cost import cheapest
from benchmarks.measurement.repeatability import BY_CHANCE

TOP = Path(__file__).resolve().parents[2]
RESULTS = TOP / "results" / "measurement"
PAGE = TOP / "docs" / "measurement.md"

HEAD = """# What SpecForge's measurements are worth

Made by `python -m benchmarks.measurement.document` from the files in results/measurement/, which the scripts of the
same names in benchmarks/measurement/ write on a card (power.json without one, with `--write`). Clocks are as found;
nothing is locked. All intervals are of 95 %.
"""


def page(results: Path) -> str:
    """The whole page; a result that is not there is said to be missing."""
    parts = [HEAD]
    for name, title, write in SECTIONS:
        path = results / f"{name}.json"
        parts.append(f"## {title}\n")
        if path.exists():
            result = json.loads(path.read_text())
            parts += [_origin(name, result), *write(result)]
        else:
            parts.append(f"Not measured yet: `python -m benchmarks.measurement.{name}` on a card makes this section.\n")
        if name == "truth" and (results / "power.json").exists():
            parts += _power(json.loads((results / "power.json").read_text()))
    return "\n".join(parts)


def _origin(name: str, result: dict[str, Any]) -> str:
    card, commit = result["card"], (result["commit"] or "unknown")[:12]
    packages = result["packages"]
    tools = ", ".join(f"{tool} {packages[tool]}" for tool in ("cuda-bench", "kernel-tuner") if tool in packages)
    changed = " with changes" if result["dirty"] else ""
    return (
        f"`results/measurement/{name}.json`: {card['name']}, driver {card['driver']}, {result['created'][:10]}, commit "
        f"{commit}{changed}{f'; {tools}' if tools else ''}.\n"
    )


def _agreement(result: dict[str, Any]) -> Iterator[str]:
    yield (
        "One cubin, one launch configuration, cold. *duration*: ncu's `gpu__time_duration` (its cache control off, "
        "copies rotated), and the others' times between events less what the same tool reads for an empty kernel "
        "beyond ncu's duration of it. *isolated*: between two events. *amortised*: per launch among many. A tool "
        "agrees within max(2 %, 0.5 us) of the group's median; what is outside is marked and explained below.\n"
    )
    reasons: list[str] = []
    total = outside = 0
    yield "| kernel | compared | consensus, us | off the consensus, us |\n|---|---|--:|---|"
    for name, groups in result["compared"].items():
        for group, found in groups.items():
            shown = []
            for tool, entry in found["tools"].items():
                total += 1
                mark = ""
                if not entry["within"]:
                    outside += 1
                    mark = f" [{len(reasons) + 1}]"
                    reasons.append(f"{name}, {group}, {tool}: {entry['explanation'] or 'not explained'}.")
                shown.append(f"{tool} {entry['off'] * 1e6:+.2f}{mark}")
            yield f"| {name} | {group} | {found['consensus'] * 1e6:.2f} | {', '.join(shown)} |"
    yield f"\n{total - outside} of {total} comparisons are within the bound.\n"
    for number, reason in enumerate(reasons, start=1):
        yield f"{number}. {reason}"
    if reasons:
        yield ""
    yield from _failures(result)


def _repeatability(result: dict[str, Any]) -> Iterator[str]:
    yield (
        f"Coefficient of variation of the cell's median over {result['processes']} fresh processes. Asked of both "
        f"medians: at most {result['most']:.1%} from {result['from_seconds'] * 1e6:g} us on, and no more than "
        "nvbench's; of the isolated one, which reads the same two events, not more beyond chance: up to "
        f"{BY_CHANCE:.2f} times nvbench's, as two equal tools differ by more in one of twenty runs (F test).\n"
    )
    tools = list(dict.fromkeys(tool for found in result["subjects"].values() for tool in found["variation"]))
    yield f"| kernel | median, us | {' | '.join(tools)} | met |\n|---|--:|{'--:|' * len(tools)}---|"
    for name, found in result["subjects"].items():
        cells = [f"{found['variation'][tool]:.3%}" if tool in found["variation"] else "-" for tool in tools]
        met = "not asked" if found["met"] is None else _yes(found["met"])
        yield f"| {name} | {found['median'] * 1e6:.2f} | {' | '.join(cells)} | {met} |"
    yield ""
    yield from _failures(result)


def _truth(result: dict[str, Any]) -> Iterator[str]:
    timer = result["timer_nanoseconds"]
    yield (
        "Waits on the card's global timer, which one thread sees move in steps of "
        f"{timer['least']:g} to {timer['most']:g} ns (median {timer['median']:g}); reported net of what the mode "
        "reads for a wait of 0. Copies: the amortised time beside the host's clock around a third of a second of the "
        "same graphs. Bound: max(1 %, 0.5 us).\n"
    )
    yield "| kernel | mode | known, us | reported, us | off, us | met |\n|---|---|--:|--:|--:|---|"
    rows = [(name, mode, entry) for name, modes in result["spin"]["waits"].items() for mode, entry in modes.items()]
    rows += [(name, "amortised", entry) for name, entry in result["copy"].items()]
    for name, mode, entry in rows:
        known, reported, off = (entry[key] * 1e6 for key in ("known", "reported", "off"))
        yield f"| {name} | {mode} | {known:.2f} | {reported:.2f} | {off:+.3f} | {_yes(entry['within'])} |"
    found = result["slow_down"]
    if "failed" in found:
        yield f"\nThe planted slow-down was not tried: {found['failed']}.\n"
    else:
        yield (
            f"\nA kernel that reads {found['planted']:.1%} more against itself: medians of fresh processes differ by "
            f"{found['ratio_of_medians'] - 1:+.2%}, processes of one kernel by {found['variation']['A']:.2%}. Of "
            f"{found['trials']} comparisons of {found['processes_of_a_side']} processes with as many others, drawn "
            f"from {len(found['samples']['A'])} and {len(found['samples']['B'])}: {_said(found['slower'])}. Of as many "
            f"comparisons of the first kernel with itself: {_said(found['same'])}.\n"
        )
    yield from _failures(result)


def _power(result: dict[str, Any]) -> Iterator[str]:
    yield (
        "`results/measurement/power.json`: a simulation on the CPU (`benchmarks/measurement/power.py`) that draws from "
        f"the samples of {len(result['records'])} records: {result['processes']} processes a side, a planted "
        f"slow-down of {result['slower']:.1%}.\n"
    )
    yield "| cell | spread between processes | found | changes seen where there is none |\n|---|--:|--:|--:|"
    for cell in result["cells"]:
        known = "" if cell["recorded"] else " (assumed)"
        found, alarms = f"{cell['found']}/{cell['trials']}", f"{cell['alarms']}/{cell['like_trials']}"
        yield f"| {cell['name']} | {cell['spread']:.2%}{known} | {found} | {alarms} |"
    total = {key: sum(cell[key] for cell in result["cells"]) for key in ("found", "trials", "alarms", "like_trials")}
    found, alarms = f"{total['found']}/{total['trials']}", f"{total['alarms']}/{total['like_trials']}"
    yield f"| all | | {found} | {alarms} |\n"


def _cost(result: dict[str, Any]) -> Iterator[str]:
    yield (
        f"A sweep over {_product(result['tunables'])} configurations of a kernel that reads "
        f"{result['bytes'] / 2**20:g} MiB. *to 1 %*: the time in which the samples were taken that one estimator "
        "needs, in order, to know the median to 1 % (half the interval): the time that was taken, scaled to so many "
        "samples. SpecForge's cheapest may cost a cell no more than the others'. *busy*: the timed launches' share of "
        "all wall time; then the share in which the card ran anything, by NVML. *whole sweep to 1 %*: all but the "
        "start-up; SpecForge and nvbench get cubins that were compiled ahead, which Kernel Tuner's sweep includes. "
        "Only SpecForge checks results: *checking* is values, uploads, references and comparison.\n"
    )
    yield (
        "| tool | wall, s | start-up, s | compiling, s | checking, s | sampling, s | to 1 %, s | a cell to 1 %, ms "
        "| whole sweep to 1 %, s | worst half-width | busy | NVML |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    )
    for name, found in result["tools"].items():
        parts = [
            f"{found[key]:.2f}" if key in found else "-" for key in ("startup", "compiling", "checking", "sampling")
        ]
        nvml = "-" if found["busy_by_nvml"] is None else f"{found['busy_by_nvml']:.0%}"
        yield (
            f"| {name} | {found['wall']:.2f} | {' | '.join(parts)} | {found['to_precision']:.3f} | "
            f"{found['median_cell_to_precision'] * 1e3:.1f} | {found['whole']:.2f} | {found['worst_precision']:.2%} | "
            f"{found['busy_by_samples']:.1%} | {nvml} |"
        )
    first = cheapest(result["tools"])
    yield f"\nCheapest to 1 % of a cell: {first or 'none'}. Met: {_yes(first.startswith('SpecForge'))}.\n"
    yield from _failures(result)


def _resilience(result: dict[str, Any]) -> Iterator[str]:
    torn, hostile = result["resume"], result["hostile"]
    if "kills" in torn:
        rounds = sum(cell["rounds"] for cell in torn["cells"].values())
        yield (
            f"A run of {len(torn['cells'])} cases ({rounds} rounds, {torn['undisturbed_seconds']:.0f} s undisturbed) "
            f"was killed {torn['killed']} times, after {_span([kill['seconds'] for kill in torn['kills']])} s, and "
            f"resumed each time; journals held {torn['journaled_sample_sets']} sample sets at the kills. What the end "
            f"lacked or had too much of against the undisturbed run: {_list(torn['faults'])}.\n"
        )
    ended = f"status {hostile['status']} after {hostile['seconds']:.0f} s"
    yield f"A sweep with kernels that scribble, gorge and hang ended with {ended}:\n"
    yield "| case | rounds | verdict | what it says |\n|---|--:|---|---|"
    for case, cell in hostile.get("cells", {}).items():
        said = " ".join((cell["said"] or "").split()).replace("|", "/")
        verdicts = ", ".join(sorted(set(cell["verdicts"].values())))
        yield f"| {case} | {cell['rounds']} | {verdicts} | {said[:200]} |"
    yield f"\nWhat was wrong with that: {_list(hostile['faults'])}.\n"


def _failures(result: dict[str, Any]) -> Iterator[str]:
    failures = result["failures"]
    for entry in failures.items() if isinstance(failures, dict) else failures:
        yield f"- failed: {': '.join(entry) if isinstance(entry, tuple) else entry}"
    if failures:
        yield ""


def _said(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {verdict}" for verdict, number in sorted(counts.items()))


def _yes(value: bool) -> str:
    return "yes" if value else "**no**"


def _span(values: list[float]) -> str:
    return f"{min(values):.1f} to {max(values):.1f}"


def _list(values: list[str]) -> str:
    return "; ".join(values) or "nothing"


def _product(axes: dict[str, list[int]]) -> int:
    count = 1
    for values in axes.values():
        count *= len(values)
    return count


SECTIONS: tuple[tuple[str, str, Callable[[dict[str, Any]], Iterator[str]]], ...] = (
    ("agreement", "Agreement with nvbench and ncu", _agreement),
    ("repeatability", "Repeatability", _repeatability),
    ("truth", "Known truth", _truth),
    ("cost", "Cost", _cost),
    ("resilience", "Kills and hostile kernels", _resilience),
)


def main(arguments: list[str] | None = None) -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder with the JSON (results/measurement)")
    parser.add_argument("--page", type=Path, default=PAGE, help="what to write (docs/measurement.md)")
    options = parser.parse_args(arguments)
    options.page.write_text(page(options.results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
