"""The routed path of a mixture-of-experts layer in a captured CUDA graph against plain launches of the same kernels.

    python -m benchmarks.routed_path [--results DIR] [--quick]

Writes results/measurement/routed_path.json, and routed_path.partial.json until all turns are done; `python -m
tests.readme` then writes the table of docs/kernels.md anew.
The path: the router with its top-k, then the routed experts and the shared one with the residual; then the same with
the norm ahead that quantises for both. Each kernel reads what the one before it wrote; weights are cold. Shapes: a
layer of Qwen3.5-35B-A3B and one of Qwen3-30B-A3B, Q4_K. Every process checks every stage of all paths.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.joined import PathTask, Stage, measure_path
from benchmarks.measurement.command import Session, open_session
from benchmarks.measurement.subject import Subject
from specforge.backend.worker import Worker
from specforge.expressions import Scalar
from specforge.measure.compare import compare
from specforge.measure.estimate import estimate

PROCESSES = 5
TIMEOUT = 300.0
MODES = ("alone", "plain", "hosted", "graph")
EXPERTS: dict[str, dict[str, Scalar]] = {
    "Qwen3.5-35B-A3B": {"experts": 256, "width": 512, "shared": True},
    "Qwen3-30B-A3B": {"experts": 128, "width": 768, "shared": False},
}
TOKENS = (1, 4)
ROUTED = {"ids": "router.ids", "weights": "router.weights"}
NORMED = {"xq": "norm.xq", "xs": "norm.xs", "residual": "norm.sum"}
Links = tuple[tuple[str, Subject, dict[str, str]], ...]
"""The stages of a path: name, kernel and shape, and what each reads of others."""


def paths(*, quick: bool) -> dict[str, Links]:
    """Every path by its name; `quick`: the first of them."""
    found: dict[str, Links] = {}
    for model, shape in EXPERTS.items():
        for tokens in TOKENS:
            for normed in (False, True):
                name = f"{model}, {tokens} token{'s' if tokens > 1 else ''}, {'norm, ' * normed}router, experts"
                found[name] = _path(model, shape, tokens, normed=normed)
    return dict([*found.items()][:1]) if quick else found


def _path(model: str, shape: dict[str, Scalar], tokens: int, *, normed: bool) -> Links:
    common: dict[str, Scalar] = {"tokens": tokens, "hidden": 2048}
    centred = model.startswith("Qwen3.5")
    norm = Subject("norm", "norm/rms_norm", {**common, "residual": True, "zero_centred": centred})
    router = Subject("router", "moe/router", {**common, "experts": shape["experts"], "top_k": 8})
    types: dict[str, Scalar] = {"dtype": "q4_k", "down_dtype": "q4_k"}
    experts = Subject("experts", "moe/experts", {**common, **shape, **types, "top_k": 8})
    first: Links = (("norm", norm, {}),) if normed else ()
    return (
        *first,
        ("router", router, {"x": "norm.y"} if normed else {}),
        ("experts", experts, {**ROUTED, **(NORMED if normed else {})}),
    )


def built(session: Session, links: Links) -> tuple[Stage, ...]:
    """Compile a path's kernels for the card."""
    ready = session.build([subject for _, subject, _ in links])
    return tuple(
        Stage(name, one.plan, str(one.cubin), reads) for (name, _, reads), one in zip(links, ready, strict=True)
    )


def run(session: Session, *, quick: bool) -> Iterator[dict[str, Any]]:
    """All paths by turns, each turn in a fresh process; after every turn what the result file then holds."""
    tasks = {name: PathTask(built(session, links), session.bandwidth) for name, links in paths(quick=quick).items()}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in tasks}
    failures: list[tuple[str, str]] = []
    for turn in range(PROCESSES):
        with Worker("cuda:0") as worker:
            for name, task in tasks.items():
                print(f"process {turn + 1} of {PROCESSES}: {name}", file=sys.stderr, flush=True)
                try:
                    rounds[name].append(worker.call(measure_path, task, timeout=TIMEOUT))
                except Exception as error:  # one measurement less; the rest is worth having
                    failures.append((f"{name}, process {turn}", " ".join(str(error).split())[:400]))
                    worker.restart()
        yield {
            "processes": turn + 1,
            "failures": failures,
            "paths": {name: summary(found) | {"rounds": found} for name, found in rounds.items() if found},
        }


def summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """What the processes say together: each mode's time, and how many times the graph's each other one is."""
    medians = {mode: [[one["modes"][mode]["median"]] for one in rounds] for mode in MODES}
    times = {mode: estimate(found) for mode, found in medians.items()}
    ratios = {mode: compare(medians["graph"], medians[mode]) for mode in MODES if mode != "graph"}
    return {
        "times": {mode: one and [one.value, one.low, one.high] for mode, one in times.items()},
        "over_graph": {mode: one and [one.ratio, one.low, one.high] for mode, one in ratios.items()},
        "cold": sorted({one["cold"] for one in rounds}),
        "notes": sorted({note for one in rounds for note in one["notes"]}),
    }


def section(path: Path) -> str:
    """The result as a section of docs/kernels.md; where there is none, how to make it."""
    if not path.exists():
        return "Not measured yet: `python -m benchmarks.routed_path` on a card makes this section.\n"
    result = json.loads(path.read_text())
    commit = (result["commit"] or "unknown")[:12] + (" with changes" if result["dirty"] else "")
    lines = [
        f"{result['card']['name']}, driver {result['card']['driver']}, {result['created'][:10]}, commit {commit}; "
        f"{result['processes']} processes.",
        "",
        "| path | graph | 95 % interval | plain | over the graph | one group alone | host in it | cold |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name, found in result["paths"].items():
        times, ratio = found["times"], found["over_graph"]["plain"]
        interval = _us(times["graph"], 1), _us(times["graph"], 2)
        cells = [name, _us(times["graph"]), " .. ".join(interval), _us(times["plain"]), _times(ratio)]
        cells += [_us(times["alone"]), _us(times["hosted"]), ", ".join(found["cold"])]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"- failed: {name}: {reason}" for name, reason in result["failures"])]
    return "\n".join(lines).rstrip() + "\n"


def _us(found: list[float] | None, place: int = 0) -> str:
    return "-" if found is None else f"{found[place] * 1e6:.2f} us"


def _times(ratio: list[float] | None) -> str:
    return "-" if ratio is None else f"{ratio[0]:.3f} ({ratio[1]:.3f} to {ratio[2]:.3f})"


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; 1 where a process failed."""
    session, options = open_session(__doc__, arguments, quick=True)
    result: dict[str, Any] = {}
    for result in run(session, quick=options.quick):  # what is cut off leaves its turns here, and no result
        session.write("routed_path.partial", result)
    (options.results / "routed_path.partial.json").replace(options.results / "routed_path.json")
    print(section(options.results / "routed_path.json"))
    return 1 if result["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
