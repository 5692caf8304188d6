"""What a card and compute-sanitizer say of the fault corpus: `python -m tests.faults.on_card FILE` writes it down.

Each fault and each twin is run with the case on which the emulator found the fault, and with the largest case: plainly,
through the CUDA backend, against the reference; then under memcheck, racecheck, initcheck and synccheck, every run in a
process of its own with a time limit. Twins of an interface share a process, unless that reports something.
The tools see bare launches (bare_launch.py): no guard zones, no poison, an allocation for every tensor.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from specforge.backend.emulated import _typed
from specforge.backend.probe import probe
from specforge.backend.runner import KernelFault
from specforge.backend.worker import Worker, WorkerCrashed, WorkerTimeout
from specforge.kernel.nvrtc import compile_source
from specforge.kernel.render import render
from specforge.kernel.signature import parse_entries
from specforge.verify.example import Example, ExampleResult, draw_inputs, plan_example, run_example
from specforge.verify.row import parse_row
from tests.faults.corpus import FAULTS, Fault, ends, kind_of, load
from tests.faults.table import EMULATED, ENDS, FAILED, read

TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")
LIMIT, PLAIN_LIMIT = 25.0, 8.0
"""Seconds that a process may take under a tool, and a plain run."""
REPEATS = 5
"""Plain runs of every case, with other values each: what goes wrong at the fourth launch shows."""
_SUMMARY = re.compile(r"(?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard)")
_NOISE = re.compile(
    r"COMPUTE-SANITIZER|SUMMARY|Saved host|Host Frame|Program hit|Target application|^=+\s*$|^=+ +by |at 0x"
)


def examples_of(fault: Fault) -> list[Example]:
    """The emulator's smallest failing case, where it is known, and the largest case."""
    kernel = load(fault)
    least, most = ends(kernel, True)
    row = read(EMULATED)["faults"].get(str(fault), {}).get("row") if EMULATED.exists() else None
    return [parse_row(row, kernel) if row else least, replace(most, seed=1)]


def prepare(fault: Fault, faulty: bool, architecture: str, folder: Path) -> tuple[Path, list[Any]]:
    """Compile, plan and draw: the file for bare_launch.py, and what `run_example` takes."""
    kernel = load(fault)
    source = render(kernel, {"faulty": faulty})
    folders = (kernel.folder, *kernel.include_dirs)
    done = compile_source(source.text, source.template, architecture, folders, extra=("--generate-line-info",))
    if done.cubin is None:
        raise RuntimeError(f"{fault}: {done.log}")
    stem = f"{fault.interface}.{fault.name}.{'fault' if faulty else 'twin'}"
    cubin = folder / f"{stem}.cubin"
    cubin.write_bytes(done.cubin)
    entries = parse_entries(source.text)
    cases, tasks = [], []
    for example in examples_of(fault):
        for repeat in range(REPEATS):
            own = Example(example.parameters | {"faulty": faulty}, {}, example.values, example.seed + repeat)
            case = plan_example(kernel, own, {})
            tasks.append((case, str(cubin), own))
        inputs = draw_inputs(*tasks[-REPEATS][::2])
        tensors = {buffer.name: inputs.get(buffer.name, buffer.nbytes) for buffer in case.buffers}
        launches = []
        for launch in case.launches:
            sizes = [8 if known.ctype == "long long" else 4 for known in entries[launch.entry].arguments]
            arguments = [
                given if isinstance(given, str) else _scalar(launch.entry, given, size)
                for given, size in zip(launch.args, sizes, strict=True)
            ]
            launches.append((launch.entry, launch.grid, launch.block, launch.shared_bytes, arguments))
        cases.append([tensors, launches])
    job = folder / f"{stem}.pickle"
    job.write_bytes(pickle.dumps({"cubin": done.cubin, "cases": cases}))
    return job, tasks


def _scalar(entry: str, given: Any, size: int) -> tuple[str, Any]:
    typed = _typed(entry, given, size)
    return type(typed).__name__, typed.value


def run_plainly(tasks: Sequence[Any], worker: Worker) -> str:
    """What the first run says that is not right; `right` where all are."""
    for task in tasks:
        try:
            result = worker.call(run_example, task, timeout=PLAIN_LIMIT)
        except KernelFault as fault:
            result = ExampleResult("fault", str(fault))
        except WorkerTimeout:
            return "hang"
        except WorkerCrashed as crash:
            return f"crash: {crash.reason}"
        if not result.passed:
            return f"{kind_of(result)}: {result.failure}"
    return "right"


def run_tool(sanitizer: str, tool: str, jobs: Sequence[Path]) -> str:
    """The first thing that a tool reports, also of a run that never ends; else `hang`, or `nothing`."""
    command = [sanitizer, "--tool", tool, "--print-limit", "3", "--show-backtrace", "device"]
    command += ["--racecheck-report", "all"] if tool == "racecheck" else []
    command += [sys.executable, str(Path(__file__).with_name("bare_launch.py")), *map(str, jobs)]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        ended = True
        try:
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the watched process, too
            process.wait()
            ended = False
        output.seek(0)
        text = output.read()
    return reported(text, ended)


def reported(text: str, ended: bool = True) -> str:
    """The first message of a tool's output with the line it names; `nothing` where it counts no error.

    A run that was stopped counts nothing: its first message, too, or `hang`.
    """
    if not ended:
        return _message(text) or "hang"
    counts = [int(first or second) for first, second in _SUMMARY.findall(text)]
    if not counts:
        return f"no answer: {text.strip().splitlines()[-1] if text.strip() else 'no output'}"
    if not any(counts):
        return "nothing"
    return _message(text) or f"{sum(counts)} errors"


def _message(text: str) -> str | None:
    marked = [line.lstrip("= ").strip() for line in text.splitlines() if line.startswith("=========")]
    message = next((line for line in marked if line and not _NOISE.search(line)), None)
    if message is None:
        return None
    line = re.search(r"([\w/]+\.cu\.j2):(\d+)", text)
    return f"{message} ({Path(line[1]).name}:{line[2]})" if line else message


def main(target: Path) -> None:
    """Run everything and write what was said."""
    started = time.monotonic()
    sanitizer = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    card = probe().cards[0]
    architecture = f"sm_{card.compute_capability.replace('.', '')}"
    version = subprocess.run([sanitizer, "--version"], capture_output=True, text=True, check=True).stdout
    found: dict[str, dict[str, dict[str, str]]] = {
        str(fault): {check: {} for check in ("plain", *TOOLS)} for fault in FAULTS
    }
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(os.cpu_count()) as pool:
        folder = Path(name)
        both = [(fault, faulty) for fault in FAULTS for faulty in (True, False)]
        prepared = dict(zip(both, pool.map(lambda one: prepare(*one, architecture, folder), both), strict=True))
        print(f"compiled {len(both)} kernels: {time.monotonic() - started:.0f} s", flush=True)

        def plainly(share: int) -> None:
            with Worker("cuda:0") as worker:
                for fault, faulty in both[share::4]:
                    said = run_plainly(prepared[fault, faulty][1], worker)
                    found[str(fault)]["plain"]["fault" if faulty else "twin"] = said

        list(pool.map(plainly, range(4)))
        print(f"plain runs done: {time.monotonic() - started:.0f} s", flush=True)

        def faulty_under(work: tuple[Fault, str]) -> None:
            fault, tool = work
            found[str(fault)][tool]["fault"] = run_tool(sanitizer, tool, [prepared[fault, True][0]])

        def twins_under(work: tuple[str, str]) -> None:
            interface, tool = work
            here = [fault for fault in FAULTS if fault.interface == interface]
            said = run_tool(sanitizer, tool, [prepared[fault, False][0] for fault in here])
            for fault in here:
                alone = said if said == "nothing" else run_tool(sanitizer, tool, [prepared[fault, False][0]])
                found[str(fault)][tool]["twin"] = alone

        interfaces = dict.fromkeys(fault.interface for fault in FAULTS)
        waiting = [pool.submit(twins_under, (interface, tool)) for tool in TOOLS for interface in interfaces]
        waiting += [pool.submit(faulty_under, (fault, tool)) for tool in TOOLS for fault in FAULTS]
        for future in waiting:
            future.result()
    print(f"tools done: {time.monotonic() - started:.0f} s", flush=True)
    result = {
        "card": card.name,
        "cases": FAILED if EMULATED.exists() else ENDS,
        "driver": card.driver,
        "compute_sanitizer": version.strip().splitlines()[-1],
        "faults": found,
    }
    target.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
