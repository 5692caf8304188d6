"""The transcript of a planted race: `python -m tests.faults.transcript` plants it, checks, and writes docs/race.md.

A right kernel (the twin of `row_sum/reused_without_barrier`) loses one barrier; what `specforge check` says is shown as
it is. A test runs it again and compares all but times and counts, which differ from run to run.
"""

from __future__ import annotations

import difflib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.faults.corpus import FOLDER, ROOT

DOCUMENT = ROOT / "docs" / "race.md"
COMMAND = ("check", "specs/row_sum.yaml", "--until", "verify")
_SPEC = """\
specforge: 1
spec: row_sum
device: devices/rtx5090.yaml
benchmarks:
  row_sum:
    kernel: reduction/row_sum
    matrix: {rows: [6], width: [256]}
    targets:
      - {metric: spill_bytes, equals: 0}
"""
_TEXT = """\
# A planted race

A kernel that adds up rows of a matrix loses a barrier:

```diff
{diff}```

The sum that is stored in shared memory for the next row may now replace the one that the first thread has yet to read.
`specforge check`, on a machine without a card:

```
$ specforge {command}
{output}```

It exits with status {status}. The report names the array, both threads and the template's lines, the smallest case it
could find, and the command that runs that case again. This page is written by `python -m tests.faults.transcript`.
"""


def templates() -> tuple[str, str]:
    """The right kernel and the one without the barrier, as an author would have them: no switch, no marks."""
    text = (FOLDER / "row_sum" / "reused_without_barrier.cu.j2").read_text(encoding="utf-8")
    text = re.sub(r"\A(//.*\n)+|^// card: .*\n|  // <- here$", "", text, flags=re.MULTILINE)
    right, wrong = (re.sub(r"\{% if not faulty %\}\n(.*\n)\{% endif %\}\n", keep, text) for keep in (r"\1", ""))
    if right == wrong or "faulty" in right:
        raise ValueError("the template changed: the transcript plants another fault")
    return right, wrong


def plant(home: Path) -> str:
    """Write spec and faulty kernel into an empty folder; returns the difference to the right one."""
    folder = home / "kernels" / "reduction" / "row_sum"
    folder.mkdir(parents=True)
    right, wrong = templates()
    interface = (FOLDER / "row_sum" / "kernel.yaml").read_text(encoding="utf-8")
    interface = re.sub(r"(?m)^(# yaml-language-server.*|  faulty: .*)\n", "", interface)
    (folder / "kernel.yaml").write_text(re.sub(r"template: .*", "template: kernel.cu.j2", interface), encoding="utf-8")
    (folder / "reference.py").write_bytes((FOLDER / "row_sum" / "reference.py").read_bytes())
    (folder / "kernel.cu.j2").write_text(wrong, encoding="utf-8")
    (home / "specs").mkdir()
    (home / "specs" / "row_sum.yaml").write_text(_SPEC, encoding="utf-8")
    name = "kernels/reduction/row_sum/kernel.cu.j2"
    lines = difflib.unified_diff(right.splitlines(True), wrong.splitlines(True), name, name, n=2)
    return "".join(lines)


def render(cache: Path | None = None) -> str:
    """Plant, check, and write down what was said; `cache` holds compiled kernels of before."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        diff = plant(home)
        if cache is not None:
            (home / ".specforge").mkdir()
            (home / ".specforge" / "cache").symlink_to(cache)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SPECFORGE_")}
        environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")]), "COLUMNS": "100"}
        ended = subprocess.run(
            [sys.executable, "-m", "specforge", *COMMAND, "--backend", "emulator"],
            cwd=home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    output = ended.stdout.rstrip() + "\n"
    return _TEXT.format(diff=diff, command=" ".join(COMMAND), output=output, status=ended.returncode)


def normal(text: str) -> str:
    """Without what differs between two runs: times, and how many examples fitted into the time for shrinking."""
    text = re.sub(r"\b\d+(\.\d+)? (s|examples)\b", r"N \2", text)
    return re.sub(r"(?m)^fuzzed .*\n(        .*\n)*?        covered: .*$", "fuzzed", text)


if __name__ == "__main__":
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(render(), encoding="utf-8")
