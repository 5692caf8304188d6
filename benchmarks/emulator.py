"""What the emulator costs: thread-steps a second, fuzzing, memory, and a whole `check`, plain and sanitized.

    python benchmarks/emulator.py                       measure, write results/benchmarks/emulator.json and the table
    python benchmarks/emulator.py --table               only make docs/benchmarks.md again from the JSON
    python benchmarks/emulator.py --skip-check --examples 20     a quick look

Everything runs on two cores of this machine (`--cores`), one kernel at a time. A thread-step is the unit of
`emulation.steps` in kernel.yaml. CPU seconds are the worker's own; wall seconds include drawing and the pipe to it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "results" / "benchmarks" / "emulator.json"
TABLE = ROOT / "docs" / "benchmarks.md"
SPEC = "specs/qwen35_rtx5090.yaml"
MODES = ("off", "shadow")
COLD, WARM = 180.0, 60.0
"""Seconds that `check --until verify` may take with an empty state folder, and again."""
ALL = 480.0
"""Seconds that a check of all specs may take with an empty state folder."""
CASE_STEPS = 2e7
"""The case whose thread-steps a second are measured has about this many."""

sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

import emulator_tasks  # noqa: E402 - found through the path above

from specforge.backend.emulator.compile import compile_host, find_host_compiler  # noqa: E402
from specforge.backend.worker import Worker  # noqa: E402
from specforge.check.fuzzing import EMULATED_STEPS  # noqa: E402
from specforge.kernel.nvrtc import load_toolchain  # noqa: E402
from specforge.kernel.render import render  # noqa: E402
from specforge.record.history import git_state  # noqa: E402
from specforge.record.provenance import tool_sha256  # noqa: E402
from specforge.roots import shipped  # noqa: E402
from specforge.spec.facts import load_device  # noqa: E402
from specforge.spec.interface import Kernel, find_kernel, list_kernels  # noqa: E402
from specforge.verify.covering import cover  # noqa: E402
from specforge.verify.draw import Drawer  # noqa: E402
from specforge.verify.example import Example, plan_example  # noqa: E402
from specforge.verify.fuzz import fuzz, isolate_hypothesis  # noqa: E402

DEVICE = load_device(shipped() / "specs" / "devices" / "rtx5090.yaml").names


@dataclass
class Timed:
    """A worker whose calls are measured, as fuzzing's Caller."""

    worker: Worker
    cpu: float = 0.0
    wall: float = 0.0
    peak: int = 0
    by_step: dict[str, float] = field(default_factory=dict)

    def call(self, task: Callable[[Any, Any], Any], payload: Any, *, timeout: float) -> Any:  # noqa: ANN401
        """Run the task as the worker would."""
        found = self.worker.call(emulator_tasks.measure, (task, payload), timeout=timeout)
        self.cpu += found.cpu
        self.wall += found.wall
        self.peak = max(self.peak, found.peak)
        for step, seconds in found.by_step.items():
            self.by_step[step] = self.by_step.get(step, 0.0) + seconds
        return found.result


def build(kernel: Kernel, mode: str, cache: Path) -> tuple[list[tuple[dict[str, Any], str]], float]:
    """Every variant that fuzzing covers with its library, and the seconds that compiling them took, one at a time."""
    started = time.perf_counter()
    found = []
    for variant in cover(kernel, [], 0):
        library = compile_host(
            render(kernel, variant).text,
            [launch.entry for launch in kernel.file.launches],
            include_dirs=(kernel.folder, *kernel.include_dirs),
            cuda_include_dirs=load_toolchain().include_dirs,
            cache_dir=cache,
            compiler=find_host_compiler(),
            sanitize=mode,  # type: ignore[arg-type]  # one of MODES
        )
        found.append((variant, str(library)))
    return found, time.perf_counter() - started


def large_case(kernel: Kernel, variant: dict[str, Any]) -> Example:
    """A case of about CASE_STEPS: the launch parameter that costs most at its largest, all others at their least."""
    drawer = Drawer(kernel, [variant], CASE_STEPS, DEVICE)
    fixed = {name: value for name, value in variant.items() if name in kernel.file.parameters}
    best: tuple[float, dict[str, Any]] = (0.0, {})
    for name in kernel.file.parameters:
        least = {other: declared.domain.edges()[0] for other, declared in kernel.file.parameters.items()} | fixed
        domain = kernel.file.parameters[name].domain
        if name in fixed or domain.listed:
            continue
        low, high = domain.low, domain.high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if drawer.cost({**least, name: middle}, variant) <= CASE_STEPS else (low, middle)
        case = {**least, name: low}
        best = max(best, (drawer.cost(case, variant), case), key=lambda found: found[0])
    tunables = {name: value for name, value in variant.items() if name in kernel.file.tunables}
    return Example(best[1], tunables)


def measure_kernel(kernel: Kernel, mode: str, examples: int, cache: Path) -> dict[str, Any]:
    """All figures of one kernel in one mode."""
    variants, compiling = build(kernel, mode, cache)
    variant, library = variants[0]
    example = large_case(kernel, variant)
    case = plan_example(kernel, example, DEVICE)
    with Worker("emulator") as worker:
        cpu, wall = worker.call(emulator_tasks.emulate, (case, library, example, 5), timeout=600)
    with Worker("emulator") as worker:
        timed = Timed(worker)
        started = time.perf_counter()
        report = fuzz(
            kernel, variants, timed, examples=examples, seed=0, budget=3600, cap=EMULATED_STEPS, device=DEVICE
        )
        seconds = time.perf_counter() - started
    assert report.failure is None, report.failure
    scale = 100 / report.examples
    return {
        "steps_per_cpu_second": 5 * case.steps / cpu,
        "steps_per_second": 5 * case.steps / wall,
        "case": example.to_row(),
        "examples": report.examples,
        "seconds_per_100_examples": seconds * scale,
        "cpu_seconds_per_100_examples": timed.cpu * scale,
        "share": {step: spent / seconds for step, spent in timed.by_step.items()}
        | {"rest of the worker": (timed.wall - sum(timed.by_step.values())) / seconds}
        | {"drawing, pipe, parent": (seconds - timed.wall) / seconds},
        "peak_bytes": timed.peak,
        "compile_seconds": compiling,
        "variants": len(variants),
    }


def measure_check(mode: str) -> dict[str, Any]:
    """Wall seconds of a whole check with an empty state folder and again, and the largest process."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as state:
        for name in ("cold", "warm"):
            found[f"{name}_seconds"], found[f"{name}_status"] = _timed_check([SPEC], ["--sanitize", mode], state)
    found["peak_bytes"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return found


def measure_all() -> dict[str, Any]:
    """Wall seconds of one check of all specs with an empty state folder, by its default options."""
    specs = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "specs").glob("*.yaml"))
    with tempfile.TemporaryDirectory() as state:
        seconds, status = _timed_check(specs, [], state)
    return {"seconds": seconds, "status": status, "specs": len(specs)}


def _timed_check(specs: Sequence[str], options: Sequence[str], state: str) -> tuple[float, int]:
    command = [sys.executable, "-m", "specforge", "check", *specs, "--until", "verify"]
    command += ["--backend", "emulator", *options]
    started = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "SPECFORGE_STATE": state, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - started
    if done.returncode not in (0, 4):
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return seconds, done.returncode


def machine(cores: Sequence[int]) -> dict[str, Any]:
    """Where it ran."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": len(cores),
        "compiler": find_host_compiler().version.splitlines()[0],
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def table(result: dict[str, Any]) -> str:
    """docs/benchmarks.md."""
    where = result["machine"]
    lines = [
        "# What verification costs",
        "",
        "Made by `python benchmarks/emulator.py`, which also writes results/benchmarks/emulator.json. "
        f"{where['cores']} cores of {where['cpu']}, {where['compiler']}, Python {where['python']}; "
        f"{result['created'][:10]}, commit {(result['commit'] or 'unknown')[:12]}"
        f"{' with changes' if result['dirty'] else ''}, load before {where['load_before']:.1f}.",
        "",
        "| kernel | sanitize | thread-steps a second (CPU) | wall s per 100 examples | CPU s | peak MiB "
        "| compile s, variants |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for name, modes in result["kernels"].items():
        for mode, found in modes.items():
            slower = modes["off"]["steps_per_cpu_second"] / found["steps_per_cpu_second"]
            lines.append(
                f"| {name} | {mode} | {found['steps_per_cpu_second'] / 1e6:.0f} M"
                f"{f' ({slower:.1f}x slower)' if mode != 'off' else ''} | {found['seconds_per_100_examples']:.1f} | "
                f"{found['cpu_seconds_per_100_examples']:.1f} | {found['peak_bytes'] / 2**20:.0f} | "
                f"{found['compile_seconds']:.0f}, {found['variants']} |"
            )
    lines += ["", "Where the wall time of fuzzing goes:", ""]
    steps = list(
        dict.fromkeys(
            step for modes in result["kernels"].values() for found in modes.values() for step in found["share"]
        )
    )
    lines += ["| kernel | sanitize | " + " | ".join(steps) + " |", "|---|---|" + "--:|" * len(steps)]
    for name, modes in result["kernels"].items():
        for mode, found in modes.items():
            lines.append(f"| {name} | {mode} | " + " | ".join(f"{found['share'].get(s, 0):.0%}" for s in steps) + " |")
    if result["check"]:
        lines += ["", f"`specforge check {SPEC} --until verify --backend emulator`, wall seconds; the aim is "
                  f"{COLD:.0f} with an empty state folder and {WARM:.0f} after that:", ""]  # fmt: skip
        lines += ["| sanitize | empty state | again | peak MiB of a process |", "|---|--:|--:|--:|"]
        for mode, found in result["check"].items():
            lines.append(
                f"| {mode} | {found['cold_seconds']:.0f} | {found['warm_seconds']:.0f} | "
                f"{found['peak_bytes'] / 2**20:.0f} |"
            )
    if result["all"]:
        found = result["all"]
        lines += [
            "",
            f"`specforge check specs/*.yaml --until verify --backend emulator`, {found['specs']} specs, empty state "
            f"folder: {found['seconds']:.0f} s, exit status {found['status']}; the aim is {ALL:.0f}.",
        ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100, help="fuzzing examples per kernel and mode (default 100)")
    parser.add_argument("--cores", type=int, default=2, help="cores to run on (default 2)")
    parser.add_argument("--only", metavar="KERNEL", help="one kernel, such as moe/router_topk; implies --skip-check")
    parser.add_argument("--skip-check", action="store_true", help="leave out the whole `specforge check`")
    parser.add_argument("--table", action="store_true", help="measure nothing: make the table from the JSON")
    arguments = parser.parse_args()
    if arguments.table:
        TABLE.parent.mkdir(exist_ok=True)
        TABLE.write_text(table(json.loads(RESULT.read_text())))
        return 0
    cores = sorted(os.sched_getaffinity(0))[: arguments.cores]
    os.sched_setaffinity(0, cores)
    commit, dirty = git_state(ROOT / SPEC, [ROOT / SPEC], results=(ROOT / "results",))
    result: dict[str, Any] = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "dirty": dirty,
        "tool_sha256": tool_sha256(),
        "machine": machine(cores),
        "kernels": {},
        "check": {},
        "all": {},
    }
    wanted = [arguments.only] if arguments.only else list(list_kernels((shipped(),)))
    with tempfile.TemporaryDirectory() as cache:
        isolate_hypothesis(Path(cache) / "hypothesis")
        for name in wanted:
            kernel = find_kernel(name, (shipped(),))
            result["kernels"][name] = {
                mode: measure_kernel(kernel, mode, arguments.examples, Path(cache)) for mode in MODES
            }
            print(json.dumps({name: result["kernels"][name]}, indent=1), flush=True)
    if not (arguments.skip_check or arguments.only):
        for mode in MODES:
            result["check"][mode] = measure_check(mode)
            print(json.dumps({mode: result["check"][mode]}), flush=True)
        result["all"] = measure_all()
        print(json.dumps({"all": result["all"]}), flush=True)
    if arguments.only or arguments.skip_check:
        print(table(result))
        return 0
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(table(result))
    print(f"wrote {RESULT} and {TABLE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
