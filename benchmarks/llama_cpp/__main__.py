"""llama.cpp's own kernels at our shapes, as peers: built from its source, timed cold in graphs that rotate copies.

    python -m benchmarks.llama_cpp --source DIR [--results DIR] [--build DIR] [--jobs N] [--only REGEX] [--without-tool]

DIR is what `python -m benchmarks.llama_cpp.source` unpacked. Writes results/peers/llama_cpp.json. `cold` times compare
with SpecForge's amortised ones: four times L2 passes between two uses of a byte. `warm` times are those of one copy, as
llama.cpp's test-backend-ops gives them; that program times a few cases too, and only warm. A product's time includes
rounding its activations to int8, which llama.cpp does at every product and SpecForge's kernels leave to the one before.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.llama_cpp import parse
from benchmarks.llama_cpp.build import BuildError, build
from benchmarks.llama_cpp.cases import TOOL, WARM_BYTES, Case, cases, test_file
from benchmarks.llama_cpp.source import NOTE
from benchmarks.measurement import result
from specforge.settings import read_settings

RESULTS = result.TOP / "results" / "peers"
READING = (
    "seconds: of a product, of gate, up, SwiGLU and down together, or of one attention or recurrence, in CUDA graphs "
    "of many. cold: copies take turns, four times L2 between two uses of a byte. warm: one copy, which stays in L2. "
    "test_backend_ops: llama.cpp's own program, microseconds, warm. Products include rounding activations to int8."
)
PATIENCE = 400
"""Seconds for a program."""


def measure(program: Path, every: list[Case]) -> list[dict[str, Any]]:
    """Run ops.cpp on all cases, again behind one at which it ended; a result or the reason why there is none each."""
    lines = [case.line("cold") for case in every]
    lines += [case.line("warm") for case in every if case.bytes <= WARM_BYTES]
    found: list[dict[str, Any]] = []
    total = len(lines)
    while lines:
        text, said = _run(program, lines, total)
        done = parse.timed(text)
        found += done
        broke, lines = parse.remaining(lines, len(done))
        if broke is not None:
            name, mode = broke.split()[:2]
            found.append({"case": name, "mode": mode, "error": said})
    return found


def _run(program: Path, lines: list[str], total: int) -> tuple[str, str]:
    """What the program prints of the last of all lines, and why it ended; says which case it is at."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(PATIENCE, process.kill)
        late.start()
        try:
            with suppress(BrokenPipeError):  # it may end before it has read them all
                process.stdin.write("\n".join(lines) + "\n")
                process.stdin.close()
            text = ""
            for place, line in enumerate(process.stdout, total - len(lines) + 1):
                print(f"timed {place} of {total}", file=sys.stderr, flush=True)
                text += line
        finally:
            timely = late.is_alive()
            late.cancel()
        process.wait()
        errors.seek(0)
        last = (errors.read().strip().splitlines() or [f"it ended with status {process.returncode}"])[-1]
    return text, last if timely else f"not done after {PATIENCE} s"


def summed(one: dict[str, Any], kernels: dict[str, str]) -> dict[str, Any]:
    """A case's samples as median and interval, in seconds."""
    given = {key: value for key, value in one.items() if key != "us"} | {"kernel": kernels[one["case"]]}
    return given | ({"seconds": result.median_of([us * 1e-6 for us in one["us"]])} if "us" in one else {})


def main(arguments: list[str] | None = None) -> int:
    """Build, time, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="llama.cpp's sources, with SOURCE.json")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for llama_cpp.json (results/peers)")
    parser.add_argument("--build", type=Path, help="folder for what is built (default: a temporary one)")
    parser.add_argument("--jobs", type=int, default=16, help="compilers at a time (default 16)")
    parser.add_argument("--only", default="", help="cases whose name this expression finds")
    parser.add_argument("--without-tool", action="store_true", help="do not build or run test-backend-ops")
    options = parser.parse_args(arguments)
    try:
        card = result.live_card()
    except RuntimeError as error:
        parser.exit(4, f"{parser.prog}: {error}; this benchmark needs one\n")
    note = json.loads((options.source / NOTE).read_text())
    out = options.build or Path(tempfile.mkdtemp(prefix="specforge-llama-"))
    architecture = card.compute_capability.replace(".", "")
    leave = {"test-backend-ops"} if options.without_tool else set()
    try:
        built = build(
            options.source, out, architecture=architecture, jobs=options.jobs, commit=note["commit"],
            version=note["ggml"], leave=leave,
        )  # fmt: skip
    except BuildError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"built in {built.seconds:.0f} s")
    chosen = [case for case in cases() if re.search(options.only, case.name)]
    kernels = {case.name: case.kernel for case in chosen}
    found = [summed(one, kernels) for one in measure(built.programs["ops"], chosen)]
    for one in found:
        print(one["case"], one["mode"], one.get("error") or f"{one['seconds']['median'] * 1e6:.2f} us")
    how = {"flags": built.flags, "seconds": built.seconds, "by_file": built.by_file, "stubs": built.left_out}
    data = result.header(read_settings()) | {"llama_cpp": note | how, "reading": READING, "cases": found}
    result.write(options.results, "llama_cpp", data | {"test_backend_ops": []})
    if "test-backend-ops" in built.programs:
        tool = _tool(built.programs["test-backend-ops"], options.source, out)
        result.write(options.results, "llama_cpp", data | {"test_backend_ops": tool})
    return 0 if any("seconds" in one for one in found) else 1


def _tool(program: Path, source: Path, out: Path) -> list[dict[str, Any]]:
    """What llama.cpp's own program says of a few cases, warm; a reason where it says nothing."""
    listed = out / "cases.txt"
    listed.write_text(test_file((source / "ggml/include/ggml.h").read_text()))
    command = [str(program), "perf", "--test-file", str(listed), "-b", "CUDA0", "--output", "sql"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return [{"case": name, "error": f"not done after {PATIENCE} s"} for name in TOOL]
    found = parse.perf(ran.stdout)
    there = {one["case"] for one in found}
    said = (ran.stderr.strip().splitlines() or ["no word of it"])[-1]
    return found + [{"case": name, "error": said} for name in TOOL if name not in there]


if __name__ == "__main__":
    sys.exit(main())
